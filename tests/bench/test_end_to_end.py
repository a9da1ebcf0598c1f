"""From the register to a subscriber: CPU, lateness and load, against a peer and the least in C.

N1 to N5 of the performance targets. Machines of `data/limits/factory.c`, 50 values each; our agent
has buffer, signature, energy and CO2e, and a collector that gives receipts. Those compared run at
once, each with machines and a broker of its own, and are measured in the same spans: what others
do to the machine they do to all. The shortest period of the product is 1 s, so a load of N2's
kind, 10 machines every 100 ms, is 100 machines every second for it.

JOULEMARK_BENCH_SCALE=2 makes spans twice as long.
"""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from joulemark_gateway.broker import start_broker
from support import gateway_peer
from support.end_to_end import (
    LIVE,
    UP,
    VALUES,
    Batches,
    Cost,
    Ear,
    beside,
    limit_agent,
    machines,
    measured,
    named,
    our_chain,
    peak_mb,
    shown,
)
from support.rounds import Seen, say, show

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]

SCALE = float(os.environ.get("JOULEMARK_BENCH_SCALE", "1"))
Run = tuple[int, Ear]


@contextmanager
def ours(folder: Path, count: int, *, batch: str = "{}", units: int = 1) -> Iterator[Run]:
    """Our agent with broker and collector before so many machines."""
    with (
        machines(count) as ports,
        our_chain(folder, ports, batch=batch, units=units) as chain,
    ):
        ear = Ear(chain.ports["broker"], UP, Batches())
        try:
            yield chain.processes["agent"].pid, ear
        finally:
            ear.close()


@contextmanager
def the_limit(count: int, period_s: float) -> Iterator[Run]:
    """The agent in C."""
    with (
        machines(count) as ports,
        start_broker("mosquitto") as broker,
        limit_agent(broker.port, period_s, ports) as pid,
    ):
        ear = Ear(broker.port, "limit/#", named)
        try:
            yield pid, ear
        finally:
            ear.close()


@contextmanager
def the_peer(folder: Path, count: int, period_ms: int, style: str) -> Iterator[Run]:
    """thingsboard-gateway."""
    with (
        machines(count) as ports,
        start_broker("mosquitto") as broker,
        gateway_peer.gateway(folder, broker.port, ports, period_ms, style) as pid,
    ):
        ear = Ear(broker.port, gateway_peer.TOPIC, gateway_peer.telemetry)
        try:
            yield pid, ear
        finally:
            ear.close()


def heard(ear: Ear) -> Batches:
    """The slots in what was heard of our agent."""
    assert isinstance(ear.of, Batches)
    return ear.of


def show_costs(what: str, found: list[dict[str, Cost]]) -> Seen:
    """Print CPU, lateness and memory of each."""
    costs = {name: [one[name].cpu_s_per_million for one in found] for name in found[0]}
    seen = Seen(costs, os.getloadavg()[0])
    show(f"{what}: CPU-s per million values", seen, "s", to="joulemark")
    for name in found[0]:
        those = [one[name] for one in found]
        rates = [cost.values / cost.seconds for cost in those]
        share = sum(cost.cpu_s for cost in those) / sum(cost.seconds for cost in those)
        heard_bytes = sum(cost.bytes_heard for cost in those) / sum(cost.values for cost in those)
        say(
            f"  {name}: {min(rates):.0f}..{max(rates):.0f} values/s, {share:.1%} of a core,"
            f" p50 {those[-1].late(0.5):.1f} ms, p99 {those[-1].late(0.99):.1f} ms,"
            f" peak {those[-1].peak_mb:.0f} MB, {heard_bytes:.1f} B/value"
        )
    return seen


def test_ten_machines_every_second_against_the_peer_and_the_limit(tmp_path: Path) -> None:
    """N1: at most 1/10 of the peer's CPU; stretch 1/20."""
    with ExitStack() as stack:
        runs = {
            "joulemark": stack.enter_context(ours(tmp_path / "ours", 10)),
            "joulemark, batches of 60 s": stack.enter_context(
                ours(tmp_path / "long", 10, batch="{seconds: 60}")
            ),
            "thingsboard-gateway tags": stack.enter_context(
                the_peer(tmp_path / "peer", 10, 1000, "tags")
            ),
            "C": stack.enter_context(the_limit(10, 1.0)),
        }
        found = beside(runs, settle_s=20, for_s=20 * SCALE, rounds=3, tail_s=70)
    show_costs("N1, 10 machines of 50 values, 1 s", found)
    assert all(cost.values for costs in found for cost in costs.values())


def test_five_thousand_values_a_second_against_the_peers_best_form(tmp_path: Path) -> None:
    """N2: at most 1/5 of the peer's CPU and 5 times that in C, and no missed cycle."""
    with ExitStack() as stack:
        pid, ear = stack.enter_context(ours(tmp_path / "ours", 100))
        runs = {
            "joulemark": (pid, ear),
            "thingsboard-gateway range": stack.enter_context(
                the_peer(tmp_path / "peer", 10, 100, "range")
            ),
            "C": stack.enter_context(the_limit(10, 0.1)),
        }
        found = beside(runs, settle_s=30, for_s=15 * SCALE, rounds=3)
        batches = heard(ear)
    show_costs("N2, 5,000 values/s (ours: 100 machines at 1 s, theirs: 10 at 100 ms)", found)
    say(f"  joulemark: gap slots {batches.causes}, unaccounted for {batches.unaccounted()}")
    assert not batches.unaccounted()


def test_most_values_a_second_before_a_cycle_is_missed(tmp_path: Path) -> None:
    """N3: 184,000 values/s; devices are doubled until a slot is missed."""
    for count in (100, 200, 400, 800, 1600, 3200):
        ports = min(count, 100)
        with ours(tmp_path / str(count), ports, units=count // ports) as (pid, ear):
            time.sleep(20 + count / 40)
            batches = heard(ear)
            before = dict(batches.causes)
            cost = measured(pid, ear, settle_s=0, for_s=20 * SCALE)
            missed = {c: n - before.get(c, 0) for c, n in batches.causes.items()}
        missed = {cause: number for cause, number in missed.items() if number}
        say(
            f"N3 {count} machines, {count * VALUES} values/s asked:"
            f" {cost.values / cost.seconds:.0f} heard, {cost.cpu_s / cost.seconds:.0%} of a core,"
            f" {cost.cpu_s_per_million:.1f} CPU-s/M, peak {cost.peak_mb:.0f} MB,"
            f" gap slots {missed}, load {os.getloadavg()[0]:.0f}"
        )
        if missed or cost.values < 0.9 * count * VALUES * cost.seconds:
            return


def test_lateness_of_a_reading_that_is_sent_alone(tmp_path: Path) -> None:
    """N4: p99 at most 5 ms where each slot is a batch of its own, as an alarm's is."""
    with ours(tmp_path / "ours", 10, batch="{slots: 1}") as (pid, ear):
        time.sleep(20)
        for _ in range(3):
            cost = measured(pid, ear, settle_s=0, for_s=15 * SCALE)
            say(
                f"N4 joulemark, batches of one slot: p50 {cost.late(0.5):.2f} ms, p90"
                f" {cost.late(0.9):.2f} ms, p99 {cost.late(0.99):.2f} ms; load"
                f" {os.getloadavg()[0]:.0f}; {cost.cpu_s_per_million:.0f} CPU-s/M values"
            )
    with the_limit(10, 1.0) as (pid, ear):
        cost = measured(pid, ear, settle_s=5, for_s=15 * SCALE)
        say(f"N4 C: p50 {cost.late(0.5):.2f} ms, p99 {cost.late(0.99):.2f} ms")


def test_ten_times_what_is_sustained_for_a_minute(tmp_path: Path) -> None:
    """N5: memory grows by at most 20 %, the newest data come, and every slot is accounted for."""
    sustained = int(os.environ.get("JOULEMARK_BENCH_SUSTAINED", "200"))
    ports, devices = 100, 10 * sustained
    begun_s = time.monotonic()
    with ours(tmp_path / "ours", ports, units=devices // ports) as (pid, ear):
        live = Ear(ear.port, LIVE, Batches(shown))
        while not newest_us(ear, live):
            assert time.monotonic() - begun_s < 900, "no value was heard in 15 minutes"
            time.sleep(1)
        started_s = time.monotonic() - begun_s
        time.sleep(20)
        before_mb = peak_mb(pid)
        cost = measured(pid, ear, settle_s=0, for_s=60)
        ages_s = [time.time() - at_us / 1e6 for at_us in newest_us(ear, live).values()]
        live.close()
        batches = heard(ear)
    fresh = sum(age_s < 60 for age_s in ages_s)
    say(
        f"N5 {devices} machines, {devices * VALUES} values/s asked for 60 s:"
        f" {cost.values / cost.seconds:.0f} heard, {cost.cpu_s:.0f} CPU-s, memory"
        f" {before_mb:.0f} -> {cost.peak_mb:.0f} MB ({cost.peak_mb / before_mb - 1:+.0%}), newest"
        f" value {min(ages_s):.1f} s old, of {fresh} machines one of the last minute; first value"
        f" after {started_s:.0f} s; gap slots {batches.causes},"
        f" unaccounted for {batches.unaccounted()}, load {os.getloadavg()[0]:.0f}"
    )
    assert not batches.unaccounted()
    assert min(ages_s) < 30, "what is heard is what waited, and nothing new"


def newest_us(*ears: Ear) -> dict[str, int]:
    """The last slot of each tree of which any of these has heard values. [us UTC]"""
    found: dict[str, int] = {}
    for ear in ears:
        for tree, at_us in dict(heard(ear).newest_us).items():
            found[tree] = max(at_us, found.get(tree, 0))
    return found
