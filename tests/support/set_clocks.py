"""A gateway whose clock people, services and batteries set, before a meter that knows the truth.

The meter counts by a clock that nobody sets. The agent is the whole one, from site file to outbox;
in virtual time its clock is a `Course`. What it recorded is then judged against what was served.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np

from joulemark_agent import agent, app, cli
from joulemark_agent.clock import SystemClock
from joulemark_agent.contract.batch import parse_batch
from joulemark_agent.contract.reading import TimeQuality
from joulemark_agent.foundation import OUTBOX
from joulemark_agent.outbox import Outbox
from joulemark_agent.settings import load_site
from joulemark_agent.simulate.modbus_server import ModbusConnection
from joulemark_gateway.evidence import history
from joulemark_gateway.evidence.claims import check_energy
from joulemark_gateway.evidence.clocks import agent_clock_events
from joulemark_gateway.measure.intervals import Counted, counted
from support import fleet
from support.recording import batches_of, kept

METER, POINT = "meter", "energy_wh"
MOST_WH_S, LEAST_WH_S = 10_000, 8_000
BEGUN_US = 1_800_000_000_000_000
_US = 1_000_000
_PROFILE = """model: bounded
kind: power_meter
protocol: modbus
source: made up for a test
confidence: bench
points:
  - {name: power_w, table: holding, address: 0, type: uint32}
  - {name: energy_wh, table: holding, address: 2, type: uint32, counter: true,
     maximum_rate: 25000}
"""
_ROW = (
    '  - {{id: meter, profile: bounded.yaml, url: "modbus-tcp://127.0.0.1:{port}", unit: 1,'
    " period_s: {period_s}, timeout_s: 0.5}}\n"
)


class TrueMeter:
    """Takes more power in every other minute; counts by the clock of the event loop."""

    def __init__(self) -> None:
        self.served: set[int] = set()

    def has_unit(self, unit: int) -> bool:
        """It is alone."""
        return unit == 1

    def count(self, at_s: float) -> int:
        """What it has counted until then. [Wh]"""
        minutes, rest_s = divmod(at_s, 120.0)
        mean_wh = (MOST_WH_S + LEAST_WH_S) * 60
        low_s, high_s = min(rest_s, 60.0), max(rest_s - 60.0, 0.0)
        return int(minutes * mean_wh + low_s * LEAST_WH_S + high_s * MOST_WH_S)

    def read(self, unit: int, table: str, address: int, count: int) -> bytes | None:  # noqa: ARG002
        """The words of now."""
        now_s = asyncio.get_running_loop().time()
        power_w = (MOST_WH_S if now_s % 120.0 >= 60.0 else LEAST_WH_S) * 3600
        counted_wh = self.count(now_s)
        self.served.add(counted_wh)
        words = power_w.to_bytes(4, "big") + counted_wh.to_bytes(4, "big")
        part = words[2 * address : 2 * (address + count)]
        return part if table == "holding" and len(part) == 2 * count else None


@dataclass(frozen=True)
class Course:
    """What a clock shows and knows of itself, by a clock that nobody sets."""

    name: str
    lasts_s: float
    steps: tuple[tuple[float, float], ...] = ()  # at, by [s]
    shows_us: int = BEGUN_US  # at the start
    fast: float = 0.0  # how much faster both clocks of the computer run
    strays: float = 0.0  # how much faster the one that tells the time of day runs than the other
    unset_until_s: float = 0.0  # no time service until then
    period_s: int = 1
    zone: str = "UTC"

    def now_us(self, at_s: float) -> int:
        """What it shows."""
        set_by_s = sum(by_s for since_s, by_s in self.steps if since_s <= at_s)
        return self.shows_us + round((at_s * (1 + self.fast + self.strays) + set_by_s) * _US)

    def mono_us(self, at_s: float) -> int:
        """The computer's other clock."""
        return round(at_s * (1 + self.fast) * _US)

    def true_s(self, mono_us: int) -> float:
        """When it was, by the clock that nobody sets."""
        return mono_us / _US / (1 + self.fast)

    def step_s(self, before_s: float, after_s: float) -> float:
        """By how much it was set between two instants."""
        return sum(by_s for at_s, by_s in self.steps if before_s < at_s <= after_s)


def clock_of(course: Course) -> type[SystemClock]:
    """The agent's clock."""

    class Clock(SystemClock):
        def now_us(self) -> int:
            return course.now_us(asyncio.get_running_loop().time())

        def mono_ns(self) -> int:
            return course.mono_us(asyncio.get_running_loop().time()) * 1000

        def time_quality(self) -> TimeQuality:
            is_set = asyncio.get_running_loop().time() >= course.unset_until_s
            return TimeQuality("ntp", 1500) if is_set else TimeQuality("unsynchronised", 16_000_000)

    return Clock


@asynccontextmanager
async def metering() -> AsyncIterator[tuple[TrueMeter, int]]:
    """The meter, listening on loopback."""
    meter = TrueMeter()
    clients: set[asyncio.Transport] = set()
    connection = partial(ModbusConnection, meter, clients)
    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0)
    try:
        yield meter, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for transport in clients:
            transport.abort()


def site_file(folder: Path, port: int, *, period_s: int = 1, zone: str = "UTC") -> Path:
    """A site with the meter."""
    path = folder / "site.yaml"
    (folder / "bounded.yaml").write_text(_PROFILE)
    site = fleet.SITE.replace("time_zone: UTC", f"time_zone: {zone}")
    path.write_text(site + _ROW.format(port=port, period_s=period_s))
    return path


def enroll(path: Path, epoch: int = 1) -> None:
    """Have the operator approve the site."""
    key = path.parent / "operator.key"
    words = ["agent", "enroll", "-c", str(path), "--operator-key", str(key)]
    words += ["--epoch", str(epoch)] if key.exists() else ["--create-operator-key"]
    with contextlib.redirect_stdout(io.StringIO()):
        assert cli.main(words) == 0


@contextmanager
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


async def lived(folder: Path, lives: Sequence[Course], epochs: Sequence[int] = ()) -> TrueMeter:
    """Let the agent live through each course, started anew for each; what it recorded is on disk.

    Args:
        folder: for site file and state.
        lives: in order; the clock of the meter goes on, that of each life begins at its start.
        epochs: of each life; empty: the first for all.
    """
    async with metering() as (meter, port):
        for life, epoch in zip(lives, epochs or [1] * len(lives), strict=True):
            path = site_file(folder, port, period_s=life.period_s, zone=life.zone)
            if not (folder / "operator.key").exists() or epoch != 1:
                enroll(path, epoch)
            with _quiet(), mock.patch.object(agent, "SystemClock", clock_of(life)):
                running = asyncio.create_task(app.run(load_site(path)))
                now_s = asyncio.get_running_loop().time()
                await asyncio.wait([running], timeout=max(life.lasts_s - now_s, 1.0))
                assert not running.done(), running.result()
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
    return meter


@dataclass(frozen=True)
class Found:
    """What the evidence says."""

    tree: history.Tree
    counted: Counted

    @property
    def period_us(self) -> int:
        """Of the meter."""
        return self.counted.history.period_us

    @property
    def counts(self) -> list[int]:
        """What the meter showed, record by record. [Wh]"""
        return [int(record.values[POINT]) for record in self.tree.records]

    @property
    def causes(self) -> dict[str, int]:
        """Slots without a reading, by cause."""
        found: dict[str, int] = {}
        for _, gap in self.tree.gaps:
            found[gap.cause] = found.get(gap.cause, 0) + gap.slots
        return found

    @property
    def flagged(self) -> set[int]:
        """The records that say that their clock was not set."""
        return {i for i, record in enumerate(self.tree.records) if record.sync == "unsynchronised"}


def found_in(state: Path, epoch: int = 1) -> Found:
    """What an agent's outbox holds of the meter, after every check of the verifier's."""
    with closing(Outbox(state / OUTBOX)) as box:
        first = batches_of(box, METER, epoch)[0]
        documents = dict(parse_batch(first.payload).documents)
        tree = history.parse_tree(kept(box, METER, epoch).leaves)
    period_us = history.period_us_of(tree, documents)
    history.check_slots(tree, period_us)
    history.check_envelopes(tree)
    check_energy(tree, documents)
    profile = history.profile_of(tree, documents)
    history.check_decode(tree, profile)
    made = history.history_of(tree, documents)
    return Found(tree, counted(made, profile.point(POINT)))


@dataclass(frozen=True)
class Judged:
    """The figures of one run."""

    meter: TrueMeter
    records: int
    gap_slots: int
    steps: int  # that the records must tell
    wh: int  # in all
    lost_wh: int  # by a control that believes that slots tell how long it was


def judge(found: Found, meter: TrueMeter, lives: Sequence[Course] = ()) -> Judged:
    """Compare with the truth; AssertionError where anything is wrong.

    Args:
        found: what the agent recorded.
        meter: what it served.
        lives: what the clock did in each start of the agent; empty: somebody else compares that.
    """
    records, counts = found.tree.records, found.counts
    assert set(counts) <= meter.served, "a register was not served"
    wh = counts[-1] - counts[0]
    totals = found.counted.totals(np.array([record.slot_us for record in records], np.int64))
    assert int(totals.total.sum()) == wh, "the total is not what was served"
    for column in (totals.total, totals.covered_us, totals.estimated_us, totals.missing_us):
        assert (column >= 0).all(), "a negative interval"
    assert not found.counted.events, "the clock made the counter look wrong"
    if lives:
        _check_flags(found, lives)
    gap_slots, steps = sum(found.causes.values()), len(agent_clock_events(found.tree))
    return Judged(meter, len(records), gap_slots, steps, wh, wh - _by_slots(found))


def _check_flags(found: Found, lives: Sequence[Course]) -> None:
    """Every record that a step or a missing service concerns says so, and no other."""
    records, wanted, told = found.tree.records, set[int](), dict[int, int]()
    first = min(record.boot or 0 for record in records)
    for i, record in enumerate(records):
        assert record.boot is not None
        life = lives[record.boot - first]
        at_s = life.true_s(record.t_mono_us)
        if at_s < life.unset_until_s:
            wanted.add(i)
        if i and records[i - 1].boot == record.boot:
            step_s = life.step_s(life.true_s(records[i - 1].t_mono_us), at_s)
            if step_s:
                told[record.slot_us] = round(step_s * _US)
                wanted.add(i)
    assert found.flagged == wanted, (sorted(found.flagged ^ wanted)[:5], len(records))
    events = {event.slot_us: event.step_us for event in agent_clock_events(found.tree)}
    assert events.keys() == told.keys()
    assert all(abs(events[at] - told[at]) < _US // 10 for at in told)


def naive(meter: TrueMeter, life: Course) -> tuple[int, int]:
    """The control: power times the time between two stamps of the wall clock; and what is negative.

    Returns:
        by how much its energy is wrong [Wh], and how many of its intervals are negative.
    """
    wrong_wh, negative = 0.0, 0
    for at_s, next_s in itertools.pairwise(range(0, int(life.lasts_s) + 1, life.period_s)):
        stamps_s = (life.now_us(next_s) - life.now_us(at_s)) / _US
        taken_wh = meter.count(next_s) - meter.count(at_s)
        negative += stamps_s < 0
        wrong_wh += taken_wh / life.period_s * stamps_s - taken_wh
    return round(wrong_wh), negative


def _by_slots(found: Found) -> int:
    """What is booked where it is believed that slots tell how long it was."""
    made = replace(found.counted.history, late_us=None)
    edges_us = np.array([made.slot_us[0], made.slot_us[-1]], np.int64)
    return int(counted(made, made.profile.point(POINT)).totals(edges_us).total.sum())
