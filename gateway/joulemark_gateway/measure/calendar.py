"""Local days and hours as instants: days of 23 and 25 hours are what they are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

US_PER_S = 1_000_000
US_PER_HOUR = 3600 * US_PER_S
US_PER_DAY = 24 * US_PER_HOUR
_BLOCK_DAYS = 128  # whose offsets are kept together


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

    The offset is asked once per zone and UTC day, and only inside a day in which it changes per
    instant.
    """
    if not instants_us.size:
        return instants_us.copy()
    day = instants_us // US_PER_DAY
    first, last = int(day.min()) // _BLOCK_DAYS, (int(day.max()) + 1) // _BLOCK_DAYS
    offset_us = np.concatenate([_offsets_us(block, zone) for block in range(first, last + 1)])
    place = day - first * _BLOCK_DAYS
    before_us, after_us = offset_us[place], offset_us[place + 1]
    wall_us: NDArray[np.int64] = instants_us + before_us
    for k in np.flatnonzero(before_us != after_us).tolist():
        wall_us[k] = instants_us[k] + _offset_us(int(instants_us[k]), zone)
    return wall_us


@lru_cache(maxsize=4096)
def _offsets_us(block: int, zone: ZoneInfo) -> NDArray[np.int64]:
    """The offset at the UTC midnight with which each day of a block begins. [us]"""
    days = range(block * _BLOCK_DAYS, (block + 1) * _BLOCK_DAYS)
    return np.array([_offset_us(day * US_PER_DAY, zone) for day in days], np.int64)


def _offset_us(instant_us: int, zone: ZoneInfo) -> int:
    moment = datetime.fromtimestamp(instant_us // US_PER_S, UTC).astimezone(zone)
    offset = moment.utcoffset()
    assert offset is not None  # a ZoneInfo always has one
    return int(offset.total_seconds()) * US_PER_S
