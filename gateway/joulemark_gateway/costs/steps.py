"""Energy by the steps of a tariff: aligned to its clock, each in one band and one interval.

What a meter counted between two reads is cut at the edges evenly, in whole milliwatt-hours that
add up to what it counted; the time of what was cut is estimated, not covered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Self

import numpy as np
from numpy.typing import NDArray

from joulemark_gateway.costs.tariff import Tariff

Integers = NDArray[np.int64]
US_PER_MINUTE = 60_000_000
_DAY = timedelta(days=1)
_US = timedelta(microseconds=1)
_UTC_0 = datetime(1970, 1, 1, tzinfo=UTC)
_MILLI = 1000


@dataclass(frozen=True, eq=False)
class Grid:
    """Steps one after another, shape (n,); a day of 23 or 25 hours has as many as it is long."""

    start_us: Integers
    end_us: Integers
    band: Integers  # index into the bands of the tariff
    window: Integers  # index of the interval of demand, from 0

    @property
    def span_us(self) -> tuple[int, int]:
        """From the first step to the end of the last. [us UTC]"""
        return int(self.start_us[0]), int(self.end_us[-1])


@dataclass(frozen=True, eq=False)
class Energies:
    """What a site or device took in each step, shape (n,) each."""

    milliwatt_h: Integers
    covered_us: Integers
    estimated_us: Integers
    due_us: Integers  # how much of the step has passed, times the devices it is of
    lacking_us: Integers | None = None  # of the one device that is known least; None: of one device

    def __add__(self, other: Self) -> Energies:
        return Energies(
            self.milliwatt_h + other.milliwatt_h,
            self.covered_us + other.covered_us,
            self.estimated_us + other.estimated_us,
            self.due_us + other.due_us,
            np.maximum(self.most_missing_us, other.most_missing_us),
        )

    @property
    def most_missing_us(self) -> Integers:
        """What is not known of the device that is known least."""
        return self.missing_us if self.lacking_us is None else self.lacking_us

    @property
    def missing_us(self) -> Integers:
        """What has passed and is not known."""
        known_us = self.covered_us + self.estimated_us
        return np.where(known_us < self.due_us, self.due_us - known_us, 0)

    def between(self, first: int, last: int) -> Energies:
        """The steps from `first` to before `last`."""
        part = slice(first, last)
        return Energies(
            self.milliwatt_h[part],
            self.covered_us[part],
            self.estimated_us[part],
            self.due_us[part],
            self.most_missing_us[part],
        )


def midnight_us(day: date, tariff: Tariff) -> int:
    """When a day of the tariff's clock begins. [us UTC]"""
    return (datetime.combine(day, time(), tariff.zone) - _UTC_0) // _US


def grid_of(tariff: Tariff, first: date, last: date) -> Grid:
    """The steps of the days from the first to the last, both included."""
    index = {place: k for k, place in enumerate(tariff.bands)}
    step_us, zone = tariff.step_minutes * US_PER_MINUTE, tariff.zone
    starts: list[Integers] = []
    bands: list[int] = []
    windows: list[Integers] = []
    known: dict[tuple[str, str], list[int]] = {}
    count, day, start_us = 0, first, midnight_us(first, tariff)
    while day <= last:
        end_us = midnight_us(day + _DAY, tariff)
        at_us = np.arange(start_us, end_us, step_us, dtype=np.int64)
        place = (tariff.season_of(day), tariff.kind_of(day))
        if end_us - start_us == _DAY // _US:
            if place not in known:
                minutes = range(0, 1440, tariff.step_minutes)
                known[place] = [index[tariff.band_at(day, minute)] for minute in minutes]
            bands += known[place]
        else:  # the clock is put forward or back on this day: its bands go by the clock
            for one_us in at_us.tolist():
                wall = (_UTC_0 + one_us * _US).astimezone(zone)
                bands.append(index[tariff.band_at(day, wall.hour * 60 + wall.minute)])
        interval_us = tariff.interval_minutes * US_PER_MINUTE
        own = (at_us - start_us) // interval_us
        windows.append(count + own)
        count += int(own[-1]) + 1
        starts.append(at_us)
        day, start_us = day + _DAY, end_us
    start = np.concatenate(starts)
    end = np.append(start[1:], start_us).astype(np.int64)
    return Grid(start, end, np.array(bands, np.int64), np.concatenate(windows))


def on_grid(  # noqa: PLR0917 -- one for each thing it knows
    grid: Grid,
    start_us: Integers,
    end_us: Integers,
    amount_wh: NDArray[np.float64],
    covered_us: Integers,
    estimated_us: Integers,
    due: Sequence[tuple[int, int]],
) -> Energies:
    """What was counted between reads, by the steps of the grid.

    Args:
        grid: the steps.
        start_us: of each count, shape (m,). [us]
        end_us: of each, later than its start, shape (m,). [us]
        amount_wh: what was counted, shape (m,). [Wh]
        covered_us: how much of it was measured. [us]
        estimated_us: how much is known as a sum only. [us]
        due: spans in which readings were due. [us UTC]
    """
    n = grid.start_us.size
    edges = np.append(grid.start_us, grid.end_us[-1])
    milli = np.rint(np.asarray(amount_wh, np.float64) * _MILLI).astype(np.int64)
    first = np.searchsorted(edges, start_us, side="right") - 1
    last = np.searchsorted(edges, end_us, side="left") - 1
    sums = [np.zeros(n, np.int64) for _ in range(3)]
    is_whole = (first == last) & (first >= 0) & (first < n)
    for total, column in zip(sums, (milli, covered_us, estimated_us), strict=True):
        np.add.at(total, first[is_whole], column[is_whole])
    for k in np.flatnonzero(~is_whole & (last >= 0) & (first < n)).tolist():
        known_us = int(covered_us[k] + estimated_us[k])
        span = (int(start_us[k]), int(end_us[k]))
        a, b = max(int(first[k]), 0), min(int(last[k]), n - 1)
        cuts = [min(max(int(edge), span[0]), span[1]) for edge in edges[a : b + 2].tolist()]
        parts = [_part(int(milli[k]), cut, span) for cut in cuts]
        times = [_part(known_us, cut, span) for cut in cuts]
        for total, cut in ((sums[0], np.array(parts)), (sums[2], np.array(times))):
            total[a : b + 1] += cut[1:] - cut[:-1]
    due_us = np.zeros(n, np.int64)
    for begin, end in due:
        inside = np.minimum(grid.end_us, end) - np.maximum(grid.start_us, begin)
        due_us += np.maximum(inside, 0)
    return Energies(sums[0], sums[1], sums[2], due_us)


def _part(amount: int, at_us: int, span: tuple[int, int]) -> int:
    """What of an amount lies before an instant, in whole units: the parts add up to it."""
    return amount * (at_us - span[0]) // (span[1] - span[0])
