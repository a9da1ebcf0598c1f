"""Local days and hours as instants: days of 23 and 25 hours are what they are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

US_PER_S = 1_000_000
US_PER_HOUR = 3600 * US_PER_S
US_PER_DAY = 24 * US_PER_HOUR


@dataclass(frozen=True)
class Grid:
    """Units of one period: unit k is [edges_us[k], edges_us[k + 1]) and belongs to days[k]."""

    edges_us: NDArray[np.int64]
    days: tuple[date, ...]
    labels: tuple[str, ...]


def midnight_us(day: date, zone: ZoneInfo) -> int:
    """The instant at which the local day starts, UTC. [us]"""
    return int(datetime.combine(day, time(), zone).timestamp()) * US_PER_S


def grid(first: date, end: date, unit: Literal["day", "hour"], zone: ZoneInfo) -> Grid:
    """The local days or hours from `first` to before `end`.

    Hours are counted from local midnight in elapsed time, so a day of 25 hours has 25 of them, and
    a day that is not a whole number of hours ends with a shorter one.
    """
    days = [first + timedelta(days=k) for k in range((end - first).days)]
    if unit == "day":
        edges = [midnight_us(day, zone) for day in (*days, end)]
        return Grid(np.array(edges, np.int64), tuple(days), tuple(day.isoformat() for day in days))
    starts: list[int] = []
    owners: list[date] = []
    for day in days:
        start, stop = midnight_us(day, zone), midnight_us(day + timedelta(days=1), zone)
        hours = range(start, stop, US_PER_HOUR)
        starts += hours
        owners += [day] * len(hours)
    labels = tuple(local_time(start, zone) for start in starts)
    edges_us = np.array([*starts, midnight_us(end, zone)], np.int64)
    return Grid(edges_us, tuple(owners), labels)


def local_time(instant_us: int, zone: ZoneInfo) -> str:
    """The instant as local date and time with its offset, to the minute."""
    return datetime.fromtimestamp(instant_us // US_PER_S, zone).isoformat(timespec="minutes")


def minute_of_week(starts_us: NDArray[np.int64], zone: ZoneInfo) -> NDArray[np.int64]:
    """Local minutes since Monday 00:00 of each instant, shape (n,)."""
    minute = local_us(starts_us, zone) // (60 * US_PER_S)
    minute_of_week: NDArray[np.int64] = (minute + 3 * 24 * 60) % (7 * 24 * 60)  # 1970: a Thursday
    return minute_of_week


def local_us(instants_us: NDArray[np.int64], zone: ZoneInfo) -> NDArray[np.int64]:
    """What the clock on the wall shows, counted like an instant in UTC, shape (n,). [us]

    The offset is asked once per UTC day and only inside a day in which it changes per instant.
    """
    day = instants_us // US_PER_DAY
    offset_us = np.empty(instants_us.size, np.int64)
    for one in np.unique(day).tolist():
        inside = day == one
        before, after = (_offset_us(edge * US_PER_DAY, zone) for edge in (one, one + 1))
        if before == after:
            offset_us[inside] = before
        else:
            offset_us[inside] = [_offset_us(t, zone) for t in instants_us[inside].tolist()]
    wall_us: NDArray[np.int64] = instants_us + offset_us
    return wall_us


def _offset_us(instant_us: int, zone: ZoneInfo) -> int:
    moment = datetime.fromtimestamp(instant_us // US_PER_S, UTC).astimezone(zone)
    offset = moment.utcoffset()
    assert offset is not None  # a ZoneInfo always has one
    return int(offset.total_seconds()) * US_PER_S
