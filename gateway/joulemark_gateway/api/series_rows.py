"""The series of a device as one table: raw samples, or windows of 15 minutes, an hour, a local day.

It comes in chunks, so that a year takes no more memory than a day. Missing is not zero: a number
that is not there is none, and beside each number stands how good it is.

| | a number is | beside it stands |
|---|---|---|
| raw | a sample | its quality |
| window, counter | what its steps that begin in the window counted | seconds known, see below |
| window, gauge | mean over the time its values hold; least and greatest | the same |

The seconds of a window are covered by readings, estimated (known as a sum over a longer step only),
or missing.

Windows begin at the local midnight of the site and are cut at the next: a day has 23 or 25 hours
where the clocks change. The energy of a device without a counter is its power times the time that
holds, as everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.contract.profile import own_period_us
from joulemark_agent.equipment.base import held
from joulemark_gateway.api import energy, plant
from joulemark_gateway.api.plant import ENERGY, GENERATED, Device
from joulemark_gateway.series.base import QUALITY, Integers, SeriesReader

Resolution = Literal["raw", "15min", "hour", "day"]
STEP_US: Mapping[Resolution, int] = {"15min": 900_000_000, "hour": 3_600_000_000}
DAY_STEP_US = 86_400_000_000
NO_MEAN = ("_state", "_text", "_unstated")  # numbers of which there is no mean
_US_PER_S, _US_PER_H = 1_000_000, 3_600_000_000
_VALUES_A_CHUNK = 50_000
_DAYS_A_CHUNK = 31
_QUALITY_NAMES = np.array(
    [{code: name for name, code in QUALITY.items()}.get(code, "other") for code in range(256)],
    object,
)

Kind = Literal["time", "local_time", "number", "word"]


@dataclass(frozen=True)
class Column:
    """A column; its unit stands at the end of its name too."""

    name: str
    kind: Kind
    unit: str = ""


@dataclass(frozen=True)
class Table:
    """What is asked for."""

    reader: SeriesReader
    site: str
    device: Device
    points: Sequence[str]
    resolution: Resolution
    span_us: tuple[int, int]  # the first instant, and the one after the last. [us UTC]
    now_us: int  # the site's clock: what lies after it is not missing. [us UTC]

    @property
    def columns(self) -> list[Column]:
        """The columns, in order."""
        if self.resolution == "raw":
            found = [Column("t_utc", "time")]
            for point in self.points:
                found += [Column(point, "number", plant.unit(point))]
                found += [Column(f"{point}_quality", "word")]
            return found
        found = [Column("start_utc", "time"), Column("end_utc", "time")]
        found.append(Column("start_local", "local_time"))
        for point in self.points:
            names = [point] if self._is_counter(point) else [f"{part}_{point}" for part in _GAUGE]
            found += [Column(name, "number", plant.unit(point)) for name in names]
            found += _known_columns(point)
            if self._gives_energy(point):
                name = GENERATED if self.device.is_generator else ENERGY
                found += [Column(name, "number", "Wh"), *_known_columns(name)]
        return found

    def chunks(self, start_us: int | None = None) -> Iterator[list[NDArray[np.generic]]]:
        """The columns of some rows at a time, in the order of time; of a number NaN: none.

        Args:
            start_us: where to go on, an instant of a row; None: at the begin. [us UTC]

        Raises:
            StoreError: the series cannot be read.
        """
        extent = self.reader.extent(self.site, self.device.id)
        if extent is None:
            return
        begin_us = self.span_us[0] if start_us is None else max(start_us, self.span_us[0])
        if self.resolution == "raw":
            span_us = (max(begin_us, extent[0]), min(self.span_us[1], extent[1] + 1))
            yield from self._samples(span_us)
        else:
            recorded_us = energy.recorded_in(self.reader, self.site, self.device, self.now_us)
            yield from self._windows(begin_us, recorded_us)

    def rows(self, extent: tuple[int, int] | None) -> int:
        """How many rows there may be at most, of a device with samples in this span."""
        if extent is None:
            return 0
        first_us, last_us = max(self.span_us[0], extent[0]), min(self.span_us[1], extent[1] + 1)
        step_us = STEP_US.get(self.resolution, DAY_STEP_US)
        step_us = self.device.period_us if self.resolution == "raw" else step_us
        return max(last_us - first_us, 0) // step_us + 1

    def _samples(self, span_us: tuple[int, int]) -> Iterator[list[NDArray[np.generic]]]:
        period_us = min(one.period_us for one in self.device.epochs)
        length_us = max(_VALUES_A_CHUNK // len(self.points), 1) * period_us
        for start_us in range(span_us[0], span_us[1], length_us):
            end_us = min(start_us + length_us, span_us[1])
            place = (self.site, self.device.id)
            found = [self.reader.samples(*place, p, start_us, end_us) for p in self.points]
            t_us = np.unique(np.concatenate([samples.t_utc_us for samples in found]))
            columns: list[NDArray[np.generic]] = [t_us]
            for samples in found:
                value = np.full(t_us.size, np.nan)
                quality = np.full(t_us.size, "", object)
                rows = np.searchsorted(t_us, samples.t_utc_us)
                value[rows] = np.where(np.isfinite(samples.value), samples.value, np.nan)
                quality[rows] = _QUALITY_NAMES[samples.quality]
                columns += [value, quality]
            if t_us.size:
                yield columns

    def _windows(
        self, begin_us: int, recorded_us: tuple[int, int]
    ) -> Iterator[list[NDArray[np.generic]]]:
        """Of the windows that begin in the span those in which something was due."""
        zone = self.device.zone
        first_us = max(begin_us, recorded_us[0] - DAY_STEP_US)
        last_us = min(self.span_us[1], recorded_us[1])
        if first_us >= last_us:
            return
        day, last = plant.day_of(first_us, zone), plant.day_of(last_us - 1, zone)
        while day <= last:
            until = min(day + plant.DAY * (self._days_a_chunk() - 1), last)
            edges_us = self._edges(day, until)
            inside = (edges_us[:-1] >= begin_us) & (edges_us[:-1] < last_us)
            inside &= edges_us[1:] > recorded_us[0]
            kept = np.flatnonzero(inside)
            if kept.size:
                yield self._of_windows(edges_us[kept[0] : kept[-1] + 2], recorded_us)
            day = until + plant.DAY

    def _days_a_chunk(self) -> int:
        slots_a_day = DAY_STEP_US // min(one.period_us for one in self.device.epochs) + 1
        return min(max(_VALUES_A_CHUNK // slots_a_day, 1), _DAYS_A_CHUNK)

    def _edges(self, first: date, last: date) -> Integers:
        """Where the windows of some local days begin, and where the last ends. [us UTC]"""
        zone = self.device.zone
        days = [first + plant.DAY * k for k in range((last - first).days + 2)]
        midnights_us = [plant.midnight_us(day, zone) for day in days]
        step_us = STEP_US.get(self.resolution)
        if step_us is None:
            return np.array(midnights_us, np.int64)
        pieces = [
            np.arange(start, end, step_us, dtype=np.int64) for start, end in pairwise(midnights_us)
        ]
        return np.concatenate([*pieces, np.array(midnights_us[-1:], np.int64)])

    def _of_windows(
        self, edges_us: Integers, recorded_us: tuple[int, int]
    ) -> list[NDArray[np.generic]]:
        start_us, end_us = edges_us[:-1], edges_us[1:]
        passed_us = np.where(start_us < recorded_us[1], np.minimum(end_us, self.now_us), start_us)
        passed_us = np.maximum(passed_us - start_us, 0)
        zone = self.device.zone
        local = [plant.local(int(t_us), zone).isoformat() for t_us in start_us]
        columns: list[NDArray[np.generic]] = [start_us, end_us, np.array(local, object)]
        for point in self.points:
            if self._is_counter(point):
                place = (self.site, self.device.id, point)
                amount, covered_us, estimated_us = energy.counted_in(self.reader, place, edges_us)
                columns += _amount(amount, covered_us, estimated_us, passed_us)
            else:
                columns += self._gauge(point, edges_us, passed_us)
        return columns

    def _gauge(
        self, point: str, edges_us: Integers, passed_us: Integers
    ) -> list[NDArray[np.generic]]:
        span_us = (int(edges_us[0]), int(edges_us[-1]))
        samples = energy.held_around(self.reader, self.site, self.device, point, span_us)
        windows = held(samples, point, edges_us)
        covered_us = windows.covered_us
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = np.where(covered_us > 0, windows.amount / (covered_us / _US_PER_H), np.nan)
        value = samples.values[point]
        good = ~np.isnan(value)
        at = np.searchsorted(edges_us, samples.t_us[good], side="right") - 1
        least, greatest = np.full(mean.size, np.inf), np.full(mean.size, -np.inf)
        inside = (at >= 0) & (at < mean.size)
        np.minimum.at(least, at[inside], value[good][inside])
        np.maximum.at(greatest, at[inside], value[good][inside])
        none_us = np.zeros_like(covered_us)
        known = _known(covered_us, none_us, passed_us)
        columns: list[NDArray[np.generic]] = [
            mean,
            np.where(np.isinf(least), np.nan, least),
            np.where(np.isinf(greatest), np.nan, greatest),
            *known,
        ]
        if self._gives_energy(point):
            columns += _amount(windows.amount, covered_us, none_us, passed_us)
        return columns

    def _is_counter(self, point: str) -> bool:
        return self.device.profile.point(point).counter

    def _gives_energy(self, point: str) -> bool:
        """Whether the energy of the device comes from this gauge."""
        return energy.basis_of(self.device) == ("held", point)


_GAUGE = ("mean", "least", "greatest")


def _known_columns(name: str) -> list[Column]:
    return [
        Column(f"{name}_{part}_s", "number", "s") for part in ("covered", "estimated", "missing")
    ]


def _amount(
    amount: NDArray[np.generic], covered_us: Integers, estimated_us: Integers, passed_us: Integers
) -> list[NDArray[np.generic]]:
    is_known = covered_us + estimated_us > 0
    value = np.where(is_known, amount.astype(np.float64), np.nan)
    return [value, *_known(covered_us, estimated_us, passed_us)]


def _known(
    covered_us: Integers, estimated_us: Integers, passed_us: Integers
) -> list[NDArray[np.generic]]:
    missing_us = np.maximum(passed_us - covered_us - estimated_us, 0)
    return [part_us / _US_PER_S for part_us in (covered_us, estimated_us, missing_us)]


def finest_us(device: Device, points: Sequence[str]) -> int:
    """The shortest window that these points can be given in: none is shorter than their steps."""
    known = {point.name for point in device.profile.points}
    periods = [
        own_period_us(device.profile.point(point), device.period_us)
        for point in points
        if point in known
    ]
    return max(periods, default=device.period_us)
