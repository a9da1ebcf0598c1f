"""N16: how fast a backlog goes to a collector that is back, while new readings arrive.

100 machines of 50 values every second are read for a minute while the collector is away: as much
as 500 values a second make in ten. Then it starts; what is read from then on is heard beside it.
"""

import os
import time
from pathlib import Path

import pytest

from support.end_to_end import VALUES, Batches, Ear, PlainChain, machines, unwatched
from support.rounds import say

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

MACHINES, AWAY_S, USUAL_VALUES_S = 100, 60, 500


def test_rate_of_a_backlog_beside_live_readings(tmp_path: Path) -> None:
    with machines(MACHINES) as ports:
        chain = PlainChain(tmp_path, ports, batch="{}")
        try:
            chain.prepare()
            with unwatched():
                chain.begin()
            while chain.leaves_held() < 8 * MACHINES:
                time.sleep(0.2)
            chain.kill("collector")
            time.sleep(AWAY_S)
            ear = Ear(chain.ports["broker"], "joulemark/v1/up/+/+/batch", Batches())
            before, begun_s = chain.leaves_held(), time.monotonic()
            with unwatched():
                chain.start("collector")
            wanted = before + AWAY_S * MACHINES
            while (held := chain.leaves_held()) < wanted:
                assert time.monotonic() - begun_s < 300
                time.sleep(0.05)
                if held == before:
                    begun_s = time.monotonic()  # it has not started yet
            took_s = time.monotonic() - begun_s
            time.sleep(10)
            late_s = sorted(
                (one.heard_ns - one.stamp_ns) / 1e9
                for one in ear.taken()
                if one.stamp_ns / 1e9 > time.time() - took_s - 10
            )
            ear.close()
        finally:
            chain.stop()
    drained = (held - before) * VALUES
    say(
        f"N16 {drained:,} values of {MACHINES} machines drained in {took_s:.1f} s:"
        f" {drained / took_s:,.0f} values/s, {drained / took_s / USUAL_VALUES_S:.0f} times real"
        f" time for {USUAL_VALUES_S} values/s; live readings p50 {late_s[len(late_s) // 2]:.1f} s,"
        f" p99 {late_s[int(len(late_s) * 0.99)]:.1f} s late (batches of 5 s among it);"
        f" load {os.getloadavg()[0]:.0f}"
    )
