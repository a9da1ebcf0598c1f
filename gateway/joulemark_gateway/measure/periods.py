"""The units of one period: what each used and made, and which are masked, with the reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from joulemark_gateway.measure.calendar import Grid
from joulemark_gateway.measure.intervals import Counted, Flags, Times, Totals
from joulemark_gateway.measure.project import NonRoutine
from joulemark_gateway.measure.qr import Array

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Units:
    """All units of one period; `kept` are those that every stream measured wholly.

    `streams` holds the totals of energy and then of each driver; `worst` is, per unit, the stream
    that covered it least.
    """

    grid: Grid
    streams: tuple[Totals, ...]
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
        return self.streams[0].total[self.kept].astype(np.float64)

    @property
    def drivers(self) -> Array:
        """Drivers of the kept units, shape (n, d)."""
        values = np.empty((self.position.size, len(self.streams) - 1))
        for j, stream in enumerate(self.streams[1:]):
            values[:, j] = stream.total[self.kept]
        return values

    @property
    def kept_us(self) -> int:
        """The time of the kept units together. [us]"""
        return int(np.diff(self.grid.edges_us)[self.kept].sum())

    def days(self, *, kept: bool) -> tuple[date, ...]:
        """The local day of each kept, or of each masked unit."""
        pairs = zip(self.grid.days, self.kept.tolist(), strict=True)
        return tuple(day for day, is_kept in pairs if is_kept == kept)

    def kept_total(self, stream: int) -> int:
        """The total of a stream over the kept units."""
        return int(self.streams[stream].total[self.kept].sum())


def units_of(grid: Grid, counters: Sequence[Counted], excluded: Sequence[NonRoutine]) -> Units:
    """The units between the grid's edges; one with any unmeasured time is masked, never filled."""
    totals = tuple(counter.totals(grid.edges_us) for counter in counters)
    length_us = np.diff(grid.edges_us)
    covered = np.array([total.covered_us for total in totals])
    kept = np.all(covered == length_us, axis=0)
    reasons: list[tuple[str, ...]] = []
    for k, day in enumerate(grid.days):
        found = [
            f"non_routine: {item.id}"
            for item in excluded
            if item.dates.first <= day < item.dates.end
        ]
        if not kept[k]:
            found += _why(counters, grid.edges_us, k)
        reasons.append(tuple(found))
    kept &= np.array([not found for found in reasons], np.bool_)
    return Units(grid, totals, np.argmin(covered, axis=0), kept, tuple(reasons))


def _why(counters: Sequence[Counted], edges_us: Times, k: int) -> list[str]:
    found: dict[str, None] = {}
    for counter in counters:
        where = f"{counter.history.device}/{counter.point.name}"
        for span in counter.spans_in(int(edges_us[k]), int(edges_us[k + 1])):
            found.update(dict.fromkeys(f"{where}: {reason}" for reason in span.reasons))
    return list(found)
