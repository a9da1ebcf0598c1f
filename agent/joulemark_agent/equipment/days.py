"""The local days of a place, whose lengths differ where clocks change."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from joulemark_agent.equipment.base import Times

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def known_time_zone(name: str) -> str:
    """The name, where there is such a time zone (ValueError otherwise)."""
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:
        raise ValueError("there is no such time zone; write one such as 'Asia/Seoul'") from error
    return name


def iso_day(text: str) -> str:
    """The text, where it is a day (ValueError otherwise)."""
    try:
        date.fromisoformat(text)
    except ValueError as error:
        raise ValueError("write a day such as 2025-12-31") from error
    return text


def day_of(at_us: int, zone: str) -> date:
    """The local day of an instant."""
    return (_EPOCH + timedelta(microseconds=at_us)).astimezone(ZoneInfo(zone)).date()


def day_edges_us(start_us: int, end_us: int, zone: str) -> Times:
    """The local midnights before, in and after [start_us, end_us). [us]"""
    day = day_of(start_us, zone)
    edges_us: list[int] = []
    while not edges_us or edges_us[-1] < end_us:
        midnight = datetime.combine(day, time(), ZoneInfo(zone))
        midnight_us = (midnight - _EPOCH) // timedelta(microseconds=1)
        if not edges_us or midnight_us > edges_us[-1]:  # a place may skip a day of the calendar
            edges_us.append(midnight_us)
        day += timedelta(days=1)
    return np.array(edges_us, np.int64)
