"""A ladle furnace as an OPC UA server shows it: a power without a unit, the heat, a dipped lance.

The recording is of events: from when to when an arc burned, and with what; when somebody measured.
It has no licence: it is read where it lies. Some heats overlap, so there are two places to heat at.
"""

from __future__ import annotations

import csv
import gzip
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.contract.profile import NODE
from joulemark_agent.kernels.datavalue import parse
from support.plant_day import Kept
from support.recorded import number, us
from support.table_factory import Table

PERIOD_S = 30  # the shortest arc: each burns at one slot at least
FRESH_S = 300  # for how long a measured temperature is one
FURNACE = """\
model: ladle_furnace
kind: furnace
protocol: opcua
source: "made for a test; the recording names no unit of power, degrees Celsius are stated"
confidence: bench
points:
  - {{name: {power}, node: "nsu=urn:test:ladle;s={place}.P", type: float64, scale: {scale}}}
  - {{name: reactive_unstated, node: "nsu=urn:test:ladle;s={place}.Q", type: float64}}
  - {{name: heat_state, node: "nsu=urn:test:ladle;s={place}.Heat", type: int32}}
  - name: temperature_k
    node: "nsu=urn:test:ladle;s={place}.Temperature"
    type: float64
    offset: 273.15
    max_age_s: {fresh}
"""
_CELSIUS_K = Decimal("273.15")
Event = tuple[int, Decimal | None]  # from when on [us], and what


@dataclass(frozen=True)
class Arc:
    """One heating; the unit of both powers is not stated."""

    heat: int
    start_us: int
    end_us: int
    active: Decimal
    reactive: Decimal


@dataclass(frozen=True)
class Dip:
    """One measurement of a melt."""

    heat: int
    at_us: int
    temperature_k: Decimal


@dataclass(frozen=True)
class Place:
    """What happened at one of the places, in the order of time."""

    arcs: tuple[Arc, ...]
    dips: tuple[Dip, ...]

    @property
    def used_us(self) -> tuple[int, int]:
        """The slots around all that happened. [us]"""
        period_us = PERIOD_S * 1_000_000
        times = [arc.start_us for arc in self.arcs] + [arc.end_us for arc in self.arcs]
        times += [dip.at_us for dip in self.dips]
        return min(times) // period_us * period_us, (max(times) // period_us + 1) * period_us


def places(folder: Path, day: str) -> list[Place]:
    """The heats of a day, each at the first place that is free when it begins."""
    arcs = sorted(_arcs(folder, day), key=lambda arc: arc.start_us)
    dips = sorted(_dips(folder, day), key=lambda dip: dip.at_us)
    times: dict[int, list[int]] = {}
    for arc in arcs:
        times.setdefault(arc.heat, []).extend((arc.start_us, arc.end_us))
    for dip in dips:
        times.setdefault(dip.heat, []).append(dip.at_us)
    spans = {heat: (min(at_us), max(at_us)) for heat, at_us in times.items()}
    free_us: list[int] = []
    where: dict[int, int] = {}
    for heat, (start_us, end_us) in sorted(spans.items(), key=lambda row: row[1]):
        free = (k for k, at_us in enumerate(free_us) if at_us <= start_us)
        where[heat] = k = next(free, len(free_us))
        free_us[k : k + 1] = [end_us]
    return [
        Place(
            tuple(arc for arc in arcs if where[arc.heat] == k),
            tuple(dip for dip in dips if where[dip.heat] == k),
        )
        for k in range(len(free_us))
    ]


def furnace(device: str, place: Place, span_us: tuple[int, int], *, watts: int = 0) -> Table:
    """The place as variables with their own times; `watts` wrongly declares the unit of its power.

    Args:
        device: its id.
        place: what happened there.
        span_us: first and last slot. [us]
        watts: how many of them the unit is taken for; 0: it is not taken for anything.
    """
    power = "power_w" if watts else "power_unstated"
    text = FURNACE.format(power=power, place=device, scale=watts or 1, fresh=FRESH_S)
    slots = range(span_us[0], span_us[1] + 1, PERIOD_S * 1_000_000)
    told: dict[str, list[Event]] = {
        power: [*_burning(place.arcs, "active", watts or 1)],
        "reactive_unstated": [*_burning(place.arcs, "reactive", 1)],
        "heat_state": [*_heats(place)],
        "temperature_k": [(dip.at_us, dip.temperature_k) for dip in place.dips],
    }
    shown = {
        point: [_at(events, slot, span_us[0], point) for slot in slots]
        for point, events in told.items()
    }
    return Table(
        device,
        text,
        span_us[0],
        PERIOD_S,
        [{point: column[k][1] for point, column in shown.items()} for k in range(len(slots))],
        source_us={point: [at_us for at_us, _ in column] for point, column in shown.items()},
        equipment=f"{{electricity: {power}}}",
        figures_every_s=3600,
    )


def changes(kept: Kept, point: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """When a variable changed by its own times, and to what, from the bytes that were received.

    The last row is the last slot: what is shown there still holds.
    """
    index = [one.name for one in kept.history.profile.points].index(point)
    values = kept.history.gauges[point]
    found: dict[int, float] = {}
    for record, value in zip(kept.tree.records, values, strict=True):
        for response in record.responses:
            if (response.table, response.address) != (NODE, index) or np.isnan(value):
                continue
            received = parse(response.data)
            assert received is not None
            assert received.source_time_us is not None
            found.setdefault(received.source_time_us, float(value))
    found.setdefault(kept.tree.records[-1].slot_us, float(values[-1]))
    return np.array(list(found), np.int64), np.array(list(found.values()))


def _arcs(folder: Path, day: str) -> Iterator[Arc]:
    for _, heat, start, end, active, reactive in _rows(folder / "data_arc_keys_1-1600.csv.gz"):
        if start.startswith(day):
            yield Arc(int(heat), us(start), us(end), number(active), number(reactive))


def _dips(folder: Path, day: str) -> Iterator[Dip]:
    for _, heat, at, celsius in _rows(folder / "data_temp_keys_1-1600.csv.gz"):
        if at.startswith(day):
            yield Dip(int(heat), us(at), number(celsius) + _CELSIUS_K)


def _rows(path: Path) -> list[list[str]]:
    with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))[1:]


def _burning(arcs: Sequence[Arc], name: str, watts: int) -> Iterator[Event]:
    for arc in arcs:
        yield arc.start_us, watts * getattr(arc, name)
        yield arc.end_us, Decimal(0)


def _heats(place: Place) -> Iterator[Event]:
    """From its first arc or measurement on, until the next one's."""
    seen = {(arc.start_us, arc.heat) for arc in place.arcs}
    seen |= {(dip.at_us, dip.heat) for dip in place.dips}
    last = None
    for at_us, heat in sorted(seen):
        if heat != last:
            yield at_us, Decimal(heat)
        last = heat


def _at(events: Sequence[Event], slot_us: int, first_us: int, point: str) -> Event:
    """What is shown at a slot: before anything happened no power, no heat, no temperature."""
    k = bisect_right(events, slot_us, key=lambda event: event[0])
    if k:
        return events[k - 1]
    return first_us, None if point == "temperature_k" else Decimal(0)
