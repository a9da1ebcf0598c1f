"""How long data are on the clock on the wall: a local day of 23 or 25 hours is one day."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np

from joulemark_gateway.measure.calendar import US_PER_DAY, local_us
from joulemark_gateway.measure.data import Data, Times
from joulemark_gateway.measure.qr import Array

_HALF_A_DAY_US = US_PER_DAY // 2
MONTHS = 12
_EPOCH = date(1970, 1, 1)


def edges_us(data: Data) -> tuple[Times, Times]:
    """Local start and end of each unit, shapes (n,)."""
    start_us = local_us(data.start_us, data.zone)
    return start_us, local_us(data.start_us + data.length_us, data.zone)


def wall_us(data: Data) -> Times:
    """Time of each unit: of half a day and more on the wall, of less as it passes, shape (n,)."""
    start_us, end_us = edges_us(data)
    return np.where(data.length_us >= _HALF_A_DAY_US, end_us - start_us, data.length_us)


def span_days(data: Data) -> float:
    """Local days from the start of the first unit to the end of the last, holes included."""
    if not data.n:
        return 0.0
    start_us, end_us = edges_us(data)
    return float(end_us[-1] - start_us[0]) / US_PER_DAY


def month_of(local: Times) -> Times:
    """Month of the year of each local time, 0 to 11, shape (n,)."""
    return _month_of_day(local // US_PER_DAY)


def date_of(day: int) -> date:
    """The date of a day counted from 1970."""
    return _EPOCH + timedelta(days=day)


def days_by_month(data: Data) -> Array:
    """Days of each month of the year in the span of the data, holes included, shape (12,)."""
    days = np.zeros(MONTHS)
    if not data.n:
        return days
    start_us, end_us = edges_us(data)
    first, last = int(start_us[0]), int(end_us[-1])
    if first >= last:
        return days
    day = np.arange(first // US_PER_DAY, (last - 1) // US_PER_DAY + 1)
    inside_us = np.minimum((day + 1) * US_PER_DAY, last) - np.maximum(day * US_PER_DAY, first)
    np.add.at(days, _month_of_day(day), inside_us / US_PER_DAY)
    return days


def _month_of_day(day: Times) -> Times:
    """Month of the year of each day counted from 1970, 0 to 11."""
    months = day.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    return months % MONTHS
