"""The units of one period: what each used and made, and which are masked, with the reasons.

Only time that every stream measured counts, in all of them alike: a day with a hole of a quarter of
an hour is a day of 23.75 hours, and what it used in the hole is neither claimed nor filled in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from joulemark_gateway.measure.calendar import Grid
from joulemark_gateway.measure.intervals import US_PER_MS, Counted, Flags, Times, Totals
from joulemark_gateway.measure.project import NonRoutine
from joulemark_gateway.measure.qr import Array

Indices = NDArray[np.int64]
FREEZING_MK = 273_150


@dataclass(frozen=True, eq=False)
class Units:
    """All units of one period; `kept` are those of which every stream measured enough.

    `streams` holds the totals of energy and then of each driver; `measured` the same over the time
    that all of them measured (of a temperature its mean, in mK), `joint_us` that time, and
    `exposure` how much of a nominal unit it is. `worst` is, per unit, the stream that covered it
    least.
    """

    grid: Grid
    streams: tuple[Totals, ...]
    measured: tuple[Times, ...]
    is_mean: tuple[bool, ...]
    joint_us: Times
    exposure: Array
    worst: Indices
    kept: Flags
    reasons: tuple[tuple[str, ...], ...]

    @property
    def position(self) -> Indices:
        """The places of the kept units on the grid, shape (n,)."""
        return np.flatnonzero(self.kept).astype(np.int64)

    @property
    def energy_wh(self) -> Array:
        """Energy of the kept units, shape (n,). [Wh]"""
        return self.measured[0][self.kept].astype(np.float64)

    @property
    def drivers(self) -> Array:
        """Drivers of the kept units, temperatures in degrees Celsius, shape (n, d)."""
        columns = [self.driver(k)[self.kept] for k in range(1, len(self.measured))]
        return np.array(columns).reshape(len(columns), self.position.size).T.copy()

    def driver(self, stream: int) -> Array:
        """A stream of all units, a temperature in degrees Celsius, shape (n,)."""
        values = self.measured[stream].astype(np.float64)
        return (values - FREEZING_MK) / 1000 if self.is_mean[stream] else values

    @property
    def kept_exposure(self) -> Array:
        """How much of a nominal unit each kept one is, shape (n,)."""
        return self.exposure[self.kept]

    @property
    def kept_us(self) -> int:
        """The time of the kept units together. [us]"""
        return int(np.diff(self.grid.edges_us)[self.kept].sum())

    def days(self, *, kept: bool) -> tuple[date, ...]:
        """The local day of each kept, or of each masked unit."""
        pairs = zip(self.grid.days, self.kept.tolist(), strict=True)
        return tuple(day for day, is_kept in pairs if is_kept == kept)

    def kept_total(self, stream: int) -> int:
        """The total of a stream over the measured time of the kept units, or its mean. [mK]"""
        values = self.measured[stream][self.kept]
        if not self.is_mean[stream]:
            return int(values.sum())
        times_us = self.joint_us[self.kept].tolist()
        weighted = sum(value * us for value, us in zip(values.tolist(), times_us, strict=True))
        return round(weighted / sum(times_us)) if any(times_us) else 0


def units_of(
    grid: Grid,
    counters: Sequence[Counted],
    excluded: Sequence[NonRoutine],
    *,
    nominal_us: int,
    least_measured: float,
) -> Units:
    """The units between the grid's edges.

    Args:
        grid: the units.
        counters: energy, then the drivers.
        excluded: what else happened, and when.
        nominal_us: length of a nominal unit; a day of 23 hours is 23/24 of one. [us]
        least_measured: share of a unit's time that all streams must have measured together; a unit
            below it is masked.
    """
    totals = tuple(counter.totals(grid.edges_us) for counter in counters)
    measured = [total.total.copy() for total in totals]
    length_us = np.diff(grid.edges_us)
    covered = np.array([total.covered_us for total in totals])
    joint_us = length_us.copy()
    reasons: list[tuple[str, ...]] = []
    kept = np.ones(length_us.size, np.bool_)
    for k, day in enumerate(grid.days):
        found = [
            f"non_routine: {item.id}"
            for item in excluded
            if item.dates.first <= day < item.dates.end
        ]
        kept[k] = not found
        if np.any(covered[:, k] != length_us[k]):
            found += _why(counters, grid.edges_us, k)
            edges_us = _measured_edges(counters, grid.edges_us, k)
            joint_us[k] = int(np.diff(edges_us)[::2].sum())
            for one, counter in zip(measured, counters, strict=True):
                one[k] = int(counter.totals(edges_us).total[::2].sum()) if edges_us.size else 0
        reasons.append(tuple(found))
    kept &= joint_us >= least_measured * length_us
    is_mean = tuple(counter.is_mean for counter in counters)
    for k in np.flatnonzero(is_mean).tolist():
        measured[k] = _mean_mk(measured[k], joint_us)
    return Units(
        grid,
        totals,
        tuple(measured),
        is_mean,
        joint_us,
        joint_us / nominal_us,
        np.argmin(covered, axis=0),
        kept,
        tuple(reasons),
    )


def _measured_edges(counters: Sequence[Counted], edges_us: Times, k: int) -> Times:
    """Edges of the parts of unit k that all counters measured: start, end, start, end ..."""
    position_us, end_us = int(edges_us[k]), int(edges_us[k + 1])
    holes = sorted(
        (span.start_us, span.end_us)
        for counter in counters
        for span in counter.spans_in(position_us, end_us)
    )
    edges: list[int] = []
    for low_us, high_us in [*holes, (end_us, end_us)]:
        if low_us > position_us:
            edges += [position_us, low_us]
        position_us = max(position_us, high_us)
    return np.array(edges, np.int64)


def _mean_mk(total: Times, joint_us: Times) -> Times:
    """The mean over the measured time of each unit, to the millikelvin; 0 where there is none."""
    time_ms = joint_us // US_PER_MS
    mean = np.zeros(total.size)
    np.divide(total, time_ms, out=mean, where=time_ms > 0)
    return np.rint(mean).astype(np.int64)


def _why(counters: Sequence[Counted], edges_us: Times, k: int) -> list[str]:
    found: dict[str, None] = {}
    for counter in counters:
        where = f"{counter.history.device}/{counter.point.name}"
        for span in counter.spans_in(int(edges_us[k]), int(edges_us[k + 1])):
            found.update(dict.fromkeys(f"{where}: {reason}" for reason in span.reasons))
    return list(found)
