"""What a thousand points cost from bytes to windows: by tick, by block, and done in other ways.

The line-up is 29 meters of 35 float32 registers, 9 of them counters. The plain and the numpy
version do the easy part only: decode, trapezoids with a gap limit, signs apart, quarters of an
hour, a factor; no sentinels, no late samples, no events of counters, no compensated sums.
"""

import struct
import sys
import time
from collections.abc import Callable
from functools import partial
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from joulemark_agent.contract.profile import Point
from joulemark_agent.kernels.chain import Chain, Factors, begun_chain, chain_of, step_chain
from joulemark_agent.kernels.decode_block import decode_block
from joulemark_agent.kernels.stream import INST, Rule, begun, rules_of, step_many
from support.lineup import Readings, readings
from support.streams import DAY, FIRST_US, HOUR, QUARTER, S

pytestmark = pytest.mark.bench

METERS, SLOTS = 29, 3600
GOAL_NS, GOAL_SHARE = 50.0, 0.02
FACTORS = Factors(FIRST_US + np.arange(25) * HOUR, np.full(24, 0.4173), np.full(24, 0.05))


@pytest.fixture(scope="module")
def made() -> Readings:
    """An hour of slots; the loads waver, and the counters count."""
    found = readings(["eastron_sdm630"] * METERS, SLOTS, np.random.default_rng(1), stirred=0.0)
    draw = np.random.default_rng(2)
    width = found.data.shape[1] // METERS
    points = numbers(found)
    for meter in range(METERS):
        for at, point in points:
            if point.counter:
                values = np.linspace(1000, 1100, SLOTS)
            else:
                values = np.round(200 + 20 * draw.standard_normal(SLOTS), 1)
            column = values.astype(">f4").view(np.uint8).reshape(SLOTS, 4)
            found.data[:, meter * width + at : meter * width + at + 4] = column
    return found


def numbers(found: Readings) -> list[tuple[int, Point]]:
    """Where each point of a meter stands in its bytes."""
    device = found.devices[0]
    places, at = [], 0
    for table, address, size in device.layout:
        for point in device.profile.points:
            assert isinstance(point, Point)
            if point.table == table and address <= point.address < address + size // 2:
                places.append((at + 2 * (point.address - address), point))
        at += size
    return places


def test_ns_per_value_of_the_chain_against_other_ways_and_the_limit(made: Readings) -> None:
    chain = chain_of(made.devices, QUARTER, ZoneInfo("Asia/Seoul"))
    count = len(chain.points)
    by_block = {size: ns(partial(run, chain, made, size), SLOTS * count) for size in (1, 60, SLOTS)}
    values, quality, _ = decode_block(chain.decoding, made.data)
    decoding = ns(lambda: decode_block(chain.decoding, made.data), SLOTS * count)
    stepping = ns(lambda: step(made, values), SLOTS * count)
    plain = ns(lambda: plainly(made, 60), 60 * count)
    arrays = ns(lambda: with_numpy(made, SLOTS), SLOTS * count)
    ticks = ns(lambda: numpy_by_tick(made, 60), 60 * count)
    copying = ns(lambda: (values.copy(), quality.copy()), SLOTS * count)
    tick = by_block[1]
    lines = [
        f"{count} points, {METERS} meters; CPU ns per value, bytes to windows and CO2e:",
        *(
            f"  chain, {size:5} slots a call {cost:8.1f}   {cost / GOAL_NS:.1f} of the goal,"
            f" {cost / copying:.0f} times copying"
            for size, cost in by_block.items()
        ),
        f"    of which decoding         {decoding:8.1f}",
        f"    step_many alone           {stepping:8.1f}",
        f"  plain Python                {plain:8.1f}   {plain / tick:.0f} times the chain by tick",
        f"  numpy by tick               {ticks:8.1f}   {ticks / tick:.1f} times the chain by tick",
        f"  numpy by hour               {arrays:8.1f}   {arrays / by_block[SLOTS]:.1f} times it",
        f"  copying value and quality   {copying:8.1f}",
        f"1,000 points at 1 Hz: {tick * 1e3 / 1e9:.3%} of a core, the goal is {GOAL_SHARE:.0%}",
    ]
    sys.stdout.write("\n" + "\n".join(lines) + "\n")


def run(chain: Chain, made: Readings, size: int) -> None:
    """All slots, so many a call."""
    state = begun_chain(chain)
    for start in range(0, SLOTS, size):
        step_chain(chain, state, *made.part(start, start + size), FACTORS)


def step(made: Readings, values: np.ndarray) -> None:
    """The integrator alone, on gauges."""
    rules = rules_of([Rule(INST, 3 * S, QUARTER)] * values.shape[1])
    quality = np.zeros(values.shape, np.uint8)
    step_many(rules, begun(values.shape[1]), made.t_us, values, quality, made.cut)


class Accumulator:
    """One point as one would write it first."""

    __slots__ = ("at_us", "back_wh", "co2e_kg", "covered_us", "edge_us", "energy_wh", "value")

    def __init__(self) -> None:
        self.at_us, self.value, self.edge_us = 0, 0.0, 0
        self.energy_wh = self.back_wh = self.co2e_kg = 0.0
        self.covered_us = 0

    def take(self, t_us: int, value: float) -> None:
        step_us = t_us - self.at_us
        if 0 < step_us <= 3 * S:
            energy = (self.value + value) / 2 * step_us / HOUR
            if energy >= 0:
                self.energy_wh += energy
            else:
                self.back_wh -= energy
            self.covered_us += step_us
        if t_us >= self.edge_us:
            self.co2e_kg = self.energy_wh / 1000 * 0.4173
            self.energy_wh = self.back_wh = 0.0
            self.covered_us, self.edge_us = 0, t_us // QUARTER * QUARTER + QUARTER
        self.at_us, self.value = t_us, value


def plainly(made: Readings, slots: int) -> None:
    """A loop over slots, meters and points."""
    points = [(at, float(point.scale)) for at, point in numbers(made)]
    width = made.data.shape[1] // METERS
    sums = [Accumulator() for _ in range(METERS * len(points))]
    for slot in range(slots):
        data, t_us, k = made.data[slot].tobytes(), int(made.t_us[slot]), 0
        for meter in range(METERS):
            for at, scale in points:
                (value,) = struct.unpack_from(">f", data, meter * width + at)
                if value == value and abs(value) < 1e9:  # noqa: PLR0124 -- not NaN
                    sums[k].take(t_us, value * scale)
                k += 1


def with_numpy(made: Readings, slots: int, start: int = 0) -> None:
    """Whole arrays, all points and slots at once."""
    points = numbers(made)
    width = made.data.shape[1] // METERS
    starts = [meter * width + at for meter in range(METERS) for at, _ in points]
    offsets = [first + k for first in starts for k in range(4)]
    rows = slice(start, start + slots)
    words = np.ascontiguousarray(made.data[rows][:, offsets])
    scale = np.tile([float(point.scale) for _, point in points], METERS)
    values = words.view(">f4").astype(np.float64) * scale
    t_us = made.t_us[rows]
    step_us = np.diff(t_us)
    ok = np.isfinite(values[1:]) & np.isfinite(values[:-1]) & (step_us <= 3 * S)[:, None]
    energy = np.where(ok, (values[1:] + values[:-1]) / 2 * step_us[:, None] / HOUR, 0.0)
    edges = np.flatnonzero(np.diff(t_us[1:] // QUARTER, prepend=-1))
    inward = np.add.reduceat(np.maximum(energy, 0), edges, axis=0)
    back = np.add.reduceat(np.minimum(energy, 0), edges, axis=0)
    covered = np.add.reduceat(ok * step_us[:, None], edges, axis=0)
    assert inward.shape == back.shape == covered.shape
    assert (inward / 1000 * 0.4173).shape == inward.shape
    assert int(t_us[-1]) < FIRST_US + DAY


def numpy_by_tick(made: Readings, slots: int) -> None:
    """The same, as often as values come: each step needs the slot before it."""
    for slot in range(slots):
        with_numpy(made, 2, slot)


def ns(work: Callable[[], object], values: int) -> float:
    """CPU time per value, the least of three runs after one that compiles. [ns]"""
    work()
    took = []
    for _ in range(3):
        begun_s = time.process_time()
        work()
        took.append(time.process_time() - begun_s)
    return min(took) / values * 1e9
