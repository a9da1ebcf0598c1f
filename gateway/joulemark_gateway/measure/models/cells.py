"""The calendar that a model of times counts in: times of the week, or the shifts of a works."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.calendar import US_PER_S, local_us, minute_of_week
from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.linear import Positions

DAY_MIN = 24 * 60
WEEK_MIN = 7 * DAY_MIN
_US_PER_MIN = 60 * US_PER_S
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


class Cells(Protocol):
    """Divides time; each part has an intercept of its own."""

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each cell."""

    def of(self, data: Data) -> Positions:
        """The cell of each unit, by its middle, shape (n,)."""


@dataclass(frozen=True)
class TimesOfWeek:
    """A cell for each step of the local week: 7 of a day, 168 of an hour, 672 of 15 minutes."""

    step_min: int

    def __post_init__(self) -> None:
        if self.step_min <= 0 or DAY_MIN % self.step_min:
            raise MeasureError(
                f"{self.step_min} minutes do not divide a day.",
                "Give units of a day, an hour or 15 minutes.",
                code="bad_time_of_week",
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Like `Mon 06:00`."""
        return _names(self.step_min)

    def of(self, data: Data) -> Positions:
        """The time of the week of each unit.

        Raises:
            MeasureError: `bad_time_of_week`, units that are no such step; a day may have 23 hours.
        """
        step_us = self.step_min * _US_PER_MIN
        if np.any(np.abs(data.length_us - step_us) > step_us // 20):
            raise MeasureError(
                f"Units from {int(data.length_us.min()) / _US_PER_MIN:g} to "
                f"{int(data.length_us.max()) / _US_PER_MIN:g} minutes are no steps of "
                f"{self.step_min} minutes.",
                "Give the units of the baseline.",
                code="bad_time_of_week",
            )
        return minute_of_week(_middle_us(data), data.zone) // self.step_min


@lru_cache(maxsize=16)
def _names(step_min: int) -> tuple[str, ...]:
    starts = range(0, WEEK_MIN, step_min)
    return tuple(f"{_DAYS[at // DAY_MIN]} {at % DAY_MIN // 60:02}:{at % 60:02}" for at in starts)


@dataclass(frozen=True)
class Shifts:
    """A cell for each shift of a weekly rota, and one for the days on which the works is closed.

    `starts` are minutes since Monday 00:00 with the name of the shift that begins, increasing; the
    last one goes on until the first of the next week. A name that returns is one shift.
    """

    starts: tuple[tuple[int, str], ...]
    closed: frozenset[date] = frozenset()

    def __post_init__(self) -> None:
        minutes = [minute for minute, _ in self.starts]
        if not minutes or minutes != sorted(set(minutes)):
            raise _bad_rota(minutes)
        if minutes[0] < 0 or minutes[-1] >= WEEK_MIN:
            raise _bad_rota(minutes)

    @property
    def names(self) -> tuple[str, ...]:
        """In the order in which they first begin."""
        shifts = tuple(dict.fromkeys(name for _, name in self.starts))
        return (*shifts, "closed") if self.closed else shifts

    def of(self, data: Data) -> Positions:
        """The shift of each unit."""
        number = {name: k for k, name in enumerate(self.names)}
        minute = minute_of_week(_middle_us(data), data.zone)
        entry = np.searchsorted([start for start, _ in self.starts], minute, side="right") - 1
        shift = np.array([number[name] for _, name in self.starts], np.int64)[entry]
        if self.closed:
            days = local_middle(data).astype("datetime64[D]")
            shift[np.isin(days, np.array(sorted(self.closed), "datetime64[D]"))] = number["closed"]
        return shift


def local_middle(data: Data) -> NDArray[np.datetime64]:
    """What the clock on the wall shows in the middle of each unit, shape (n,)."""
    return local_us(_middle_us(data), data.zone).astype("datetime64[us]")


def _middle_us(data: Data) -> Positions:
    return data.start_us + data.length_us // 2


def _bad_rota(minutes: Sequence[int]) -> MeasureError:
    return MeasureError(
        f"The shifts begin at the minutes {list(minutes)} of the week.",
        f"Give increasing minutes from 0 to {WEEK_MIN - 1}.",
        code="bad_shifts",
    )
