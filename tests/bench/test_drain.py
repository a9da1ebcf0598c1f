"""N16: how fast a backlog goes to a collector that is back, while new readings arrive.

100 machines of 50 values every second are read for a minute while the collector is away: as much
as 500 values a second make in ten. Then it starts; what is read from then on is heard beside it.
"""

import os
import time
from pathlib import Path

import pytest

from support.end_to_end import (
    LIVE,
    UP,
    VALUES,
    Batches,
    Ear,
    PlainChain,
    machines,
    shown,
    unwatched,
)
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
            ears = (
                Ear(port := chain.ports["broker"], UP, Batches()),
                Ear(port, LIVE, Batches(shown)),
            )
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
            begun_ns, ended_ns = time.time_ns() - int(took_s * 1e9), time.time_ns()
            time.sleep(10)
            late_s = lateness_s(ears, begun_ns, ended_ns)
            for ear in ears:
                ear.close()
        finally:
            chain.stop()
    drained = (held - before) * VALUES
    say(
        f"N16 {drained:,} values of {MACHINES} machines drained in {took_s:.1f} s:"
        f" {drained / took_s:,.0f} values/s, {drained / took_s / USUAL_VALUES_S:.0f} times real"
        f" time for {USUAL_VALUES_S} values/s; meanwhile the last reading of each batch was heard"
        f" p50 {late_s[len(late_s) // 2]:.1f} s, p99 {late_s[int(len(late_s) * 0.99)]:.1f} s after"
        f" the machine gave it ({len(late_s)} of them); load {os.getloadavg()[0]:.0f}"
    )


def lateness_s(ears: tuple[Ear, ...], begun_ns: int, ended_ns: int) -> list[float]:
    """How late the last reading of each batch was first heard, of those read in a span, sorted.

    Those before it waited for it: a batch is open for up to 5 s.
    """
    first_ns: dict[int, int] = {}  # by the instant of the reading, which says whose it is
    for ear in ears:
        newest: dict[int, int] = {}  # the last reading of each message, by when it was heard
        for one in ear.taken():
            newest[one.heard_ns] = max(one.stamp_ns, newest.get(one.heard_ns, 0))
        for heard_ns, stamp_ns in newest.items():
            first_ns[stamp_ns] = min(heard_ns, first_ns.get(stamp_ns, heard_ns))
    return sorted(
        (heard_ns - stamp_ns) / 1e9
        for stamp_ns, heard_ns in first_ns.items()
        if begun_ns <= stamp_ns < ended_ns
    )
