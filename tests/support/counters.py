"""A month of a counter as a device shows it, what it really counted and what happened to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from joulemark_agent.contract.profile import Point, Profile
from joulemark_agent.kernels.counter import (
    Event,
    Flags,
    Followed,
    Integers,
    Semantics,
    count_of,
    follow,
    semantics_of,
)
from joulemark_agent.kernels.decode import decode_point

PERIOD_US, HOUR_US, DAY_US = 900_000_000, 3_600_000_000, 86_400_000_000
FIRST_US = 1_514_732_400_000_000  # 2018-01-01 00:00 in Seoul
SEOUL = ZoneInfo("Asia/Seoul")
SLOTS = 30 * 96 + 1
_MOST_W = 100_000


@dataclass
class Month:
    """The readings of 30 days, the truth behind them, and the events that were put in."""

    point: Point
    semantics: Semantics
    truth_wh: Integers  # counted since the first slot, exactly, at each slot
    shown: Integers  # raw register values
    good: Flags
    quantum_wh: int
    planned: list[tuple[str, int]] = field(default_factory=list)  # code, slot at which it shows

    @property
    def t_us(self) -> Integers:
        """The slots."""
        return FIRST_US + np.arange(self.shown.size) * PERIOD_US

    @cached_property
    def counts(self) -> Integers:
        """What the agent decodes from the registers, in whole Wh; 0 where it is not good."""
        size = 2 * self.point.words
        return np.array([self._count(int(v).to_bytes(size, "big")) for v in self.shown], np.int64)

    def _count(self, data: bytes) -> int:
        text, code = decode_point(self.point, data)
        assert text is not None, code
        return count_of(text)

    def follow(self, cuts: tuple[int, ...] = ()) -> list[Followed]:
        """The counter followed in blocks."""
        t_us, counts, ok = self.t_us, self.counts, np.ones(self.shown.size, np.bool_)
        blocks: list[Followed] = []
        edges = [0, *cuts, self.shown.size]
        for start, end in pairwise(edges):
            part = slice(start, end)
            state = blocks[-1].state if blocks else ()
            columns = (t_us[part], counts[part], self.good[part], ok[part])
            blocks.append(follow(self.semantics, *columns, SEOUL, state))
        return blocks


def profile_of(**keys: Any) -> Profile:
    """A meter with one energy counter, declared so."""
    kind = keys.get("type", "uint32")
    words = {"uint16": 1, "uint32": 2, "uint64": 4, "float32": 2, "float64": 4}[kind]
    point = {"name": "energy_wh", "table": "holding", "address": 0, "type": kind, "counter": True}
    return Profile.model_validate(
        {
            "model": "a_meter",
            "kind": "power_meter",
            "protocol": "modbus",
            "source": "made for a test, no device",
            "confidence": "bench",
            "points": [{**point, **keys}],
            "golden": [{"point": "energy_wh", "words": [0] * words, "value": 0}],
        }
    )


def with_own_period(every_s: int, **keys: Any) -> Profile:
    """The same, but its energy is asked for more seldom than its power."""
    mapping = profile_of(**keys).model_dump(mode="json", exclude_unset=True)
    energy, power = mapping["points"][0], {"name": "power_w", "table": "holding", "address": 8}
    mapping["points"] = [{**energy, "every_s": every_s}, {**power, "type": "uint16"}]
    return Profile.model_validate(mapping)


def month(
    draw: np.random.Generator, *, sun: bool = False, opening_wh: int = 0, **keys: Any
) -> Month:
    """Thirty quiet days: a load that never stops, or the sun; every register as declared."""
    profile = profile_of(**({"maximum_rate": Decimal(_MOST_W) / 3600} | keys))
    point = profile.registers[0]
    hours = np.arange(1, SLOTS) % 96 / 4
    shape = np.clip(np.sin((hours - 6) / 12 * np.pi), 0, None) if sun else np.full(SLOTS - 1, 0.9)
    steps = np.rint(shape * draw.uniform(0.2, 1.0, SLOTS - 1) * _MOST_W / 4).astype(np.int64)
    truth = np.append(0, np.cumsum(steps))
    scale = int(point.scale)
    raw = (opening_wh + truth) // scale
    quantum = scale
    if point.type.startswith("float"):
        shown = (opening_wh + truth) / scale
        raw = np.asarray(shown, np.float32).view(np.uint32).astype(np.int64)
        quantum = int(np.spacing(np.float32(shown[-1])) * scale) + 1
    elif point.modulus:
        raw %= point.modulus
    good = np.ones(SLOTS, np.bool_)
    semantics = semantics_of(profile, point, PERIOD_US)
    return Month(point, semantics, truth, raw, good, quantum)


def rollover(draw: np.random.Generator, modulus: int) -> Month:
    """It wraps, at 2^16 every few hours."""
    kind = "uint16" if modulus <= 1 << 16 else "uint32"
    opening = modulus * 10 - int(draw.integers(1, 5)) * 2_000_000 if modulus > 1 << 20 else 0
    found = month(draw, type=kind, scale=10, modulus=modulus, opening_wh=opening)
    falls = np.flatnonzero(np.diff(found.shown) < 0) + 1
    found.planned = [("rollover", int(slot)) for slot in falls]
    return found


def _slots(draw: np.random.Generator, count: int, apart: int = 40) -> list[int]:
    """So many slots at random times, each well away from the next."""
    free = SLOTS - 2 * apart - count * apart
    places = np.sort(draw.integers(0, free, count))
    return [int(place) + apart * (k + 1) for k, place in enumerate(places)]


def reset(draw: np.random.Generator) -> Month:
    """A power cut, and it counts from 0."""
    found = month(draw, opening_wh=7_000_000)
    for slot in _slots(draw, 3):
        found.shown[slot:] -= found.shown[slot - 1]
        found.planned.append(("reset", slot))
    return found


def replacement(draw: np.random.Generator) -> Month:
    """Another meter hangs there: one that shows less, then one that shows more."""
    found = month(draw, opening_wh=900_000_000)
    low, high = _slots(draw, 2)
    found.shown[low:] += int(draw.integers(1_000_000, 5_000_000)) - found.shown[low]
    found.shown[high:] += int(draw.integers(10**8, 10**9))
    found.planned = [("replacement", low), ("jump", high)]
    return found


def wake_up(draw: np.random.Generator) -> Month:
    """An inverter: silent at night, 0 at dawn for a while, then its lifetime energy again."""
    found = month(draw, sun=True, opening_wh=222_000_000, false_zero=True)
    found.shown[:3] = 0
    found.planned.append(("wake_up_zero", 20))  # its first count
    hour = np.arange(SLOTS) % 96 // 4
    found.good[(hour < 5) | (hour >= 20)] = False
    found.good[:3] = True
    for day in range(1, 30):
        dawn = day * 96 + 20
        zeros = int(draw.integers(1, 5))
        found.shown[dawn : dawn + zeros] = 0
        found.planned.append(("wake_up_zero", dawn))
    return found


def false_zeros(draw: np.random.Generator) -> Month:
    """One reading of 0, or some, in the middle of work."""
    found = month(draw, opening_wh=5_000_000)
    for slot in _slots(draw, 12):
        found.shown[slot : slot + int(draw.integers(1, 6))] = 0
        found.planned.append(("false_zero", slot))
    return found


def stuck(draw: np.random.Generator) -> Month:
    """It stands still for hours while the plant works, then shows all of it at once."""
    found = month(draw, opening_wh=5_000_000, stuck_s=7200)
    for slot in _slots(draw, 4, apart=200):
        length = int(draw.integers(20, 120))
        found.shown[slot : slot + length] = found.shown[slot]
        found.planned += [("stuck", slot + 9), ("catch_up", slot + length)]
    return found


def catch_up(draw: np.random.Generator) -> Month:
    """The same, of a device that may stand still: only the leap tells."""
    found = month(draw, opening_wh=5_000_000)
    for slot in _slots(draw, 4, apart=200):
        length = int(draw.integers(20, 120))
        found.shown[slot : slot + length] = found.shown[slot]
        found.planned.append(("catch_up", slot + length))
    return found


def backwards(draw: np.random.Generator) -> Month:
    """It shows one quantum less for a reading while it stands still."""
    found = month(draw, sun=True, opening_wh=5_000_000, scale=100, quantum=100)
    for day in sorted(draw.choice(29, 8, replace=False).tolist()):
        slot = (day + 1) * 96 + int(draw.integers(2, 16))  # at night: the count does not move
        found.shown[slot] -= 1
        found.planned.append(("backwards", slot))
    return found


def daily(draw: np.random.Generator) -> Month:
    """An inverter's energy of the day; its clock is off by up to half an hour."""
    found = month(draw, sun=True, daily=True)
    for day in range(1, 31):
        slot = min(day * 96 + int(draw.integers(-2, 3)), SLOTS - 1)
        found.shown[slot:] -= found.shown[slot - 1]
        if slot < SLOTS - 1 and day < 30:
            found.planned.append(("daily_reset", slot))
    return found


def float_step(draw: np.random.Generator) -> Month:
    """float32 in kWh beyond 100 MWh, where its step is 7.8 Wh."""
    return month(draw, type="float32", scale=1000, minimum=0, opening_wh=131_000_000)


def outage(draw: np.random.Generator) -> Month:
    """Three days without a reading, while it counts on."""
    found = month(draw, opening_wh=5_000_000)
    start = _slots(draw, 1, apart=400)[0]
    found.good[start : start + 3 * 96] = False
    return found


def spikes(draw: np.random.Generator) -> Month:
    """Single readings that are wrong, up or down."""
    found = month(draw, opening_wh=50_000_000)
    for slot in _slots(draw, 10):
        found.shown[slot] = int(draw.integers(1, 2**31))
        found.planned.append(("spike", slot))
    return found


def everything(draw: np.random.Generator) -> Month:
    """What one meter may live through: false zeros, spikes, a reset, another meter, an outage."""
    found = month(draw, opening_wh=50_000_000)
    kinds = ["false_zero", "spike", "reset", "replacement", "false_zero", "jump", "spike"]
    draw.shuffle(kinds)
    for kind, slot in zip(kinds, _slots(draw, len(kinds)), strict=True):
        if kind == "false_zero":
            found.shown[slot : slot + 3] = 0
        elif kind == "spike":
            found.shown[slot] = 4_000_000_000
        elif kind == "reset":
            found.shown[slot:] -= found.shown[slot - 1]
        elif kind == "replacement":
            before = int(found.shown[slot - 1])
            other = 1_000_000 if abs(before - 1_000_000) > 200_000 else 2_000_000
            found.shown[slot:] += other - found.shown[slot]
            found.planned.append(("jump" if other > before else kind, slot))
            continue
        else:
            found.shown[slot:] += 300_000_000
        found.planned.append((kind, slot))
    return found


KINDS: dict[str, Callable[[np.random.Generator], Month]] = {
    "wrap at 2^16": lambda draw: rollover(draw, 1 << 16),
    "wrap at 10^6": lambda draw: rollover(draw, 10**6),
    "wrap at 2^32": lambda draw: rollover(draw, 1 << 32),
    "reset": reset,
    "replacement": replacement,
    "0 at wake-up": wake_up,
    "false zeros": false_zeros,
    "stuck": stuck,
    "catch-up": catch_up,
    "backwards by one quantum": backwards,
    "daily reset": daily,
    "float step": float_step,
    "outage of 3 days": outage,
    "spikes": spikes,
    "everything": everything,
}


def nodes_of(blocks: Sequence[Followed]) -> tuple[list[tuple[int, int, int]], tuple[Event, ...]]:
    """The nodes and events of a counter that was followed block by block."""
    rows: list[tuple[int, int, int]] = []
    events: list[Event] = []
    for number, found in enumerate(blocks):
        nodes = zip(found.t_us.tolist(), found.count.tolist(), found.step.tolist(), strict=True)
        rows += list(nodes)[1 if rows and number else 0 :]
        events += found.events
    return rows, tuple(events)
