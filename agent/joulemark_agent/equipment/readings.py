"""From what the readings of a device showed to the samples that its model takes.

The agent does it live and whoever holds the evidence does it again: both by these functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Protocol
from zoneinfo import ZoneInfo

import numpy as np

from joulemark_agent.contract.profile import Profile, own_period_us
from joulemark_agent.equipment.base import Flags, Samples, Times, Values, at_device_time
from joulemark_agent.kernels.counter import semantics_of
from joulemark_agent.kernels.decode import NOT_DUE


class Shown(Protocol):
    """One reading: when it was taken, its values as text and the codes of those not good."""

    @property
    def t_utc_us(self) -> int:
        """When it was read, UTC. [us]"""

    @property
    def values(self) -> Mapping[str, str]:
        """Decimal text by point."""

    @property
    def quality(self) -> Mapping[str, str]:
        """The code of each point that is not good."""


def longest_step_us(period_us: int) -> int:
    """The longest step between two readings that is measured, as measurement has it. [us]"""
    return period_us * 3 // 2


def of_readings(
    profile: Profile, shown: Sequence[Shown], period_us: int, zone: ZoneInfo
) -> Samples:
    """The samples of every point of a device, with what its profile says of its counters.

    Args:
        profile: of the device.
        shown: its readings, in any order.
        period_us: from slot to slot. [us]
        zone: of its site, whose days a daily counter has.
    """
    names = [point.name for point in profile.points]
    samples = of_records(shown, names, period_us, slow_us=slow_gauges_us(profile))
    return as_declared(samples, profile, period_us, zone)


def of_records(
    records: Sequence[Shown],
    points: Sequence[str],
    period_us: int,
    *,
    slow_us: Mapping[str, int] = MappingProxyType({}),
) -> Samples:
    """The samples of several points, one row an instant; NaN where one is not good.

    Slots increase, their instants need not: a clock that was set back reads the same time again.
    In the order of time they are the rows of the series.

    Args:
        records: the readings.
        points: names of the points.
        period_us: from slot to slot. [us]
        slow_us: of points that are asked for more seldom, see `slow_gauges_us`. [us]
    """
    records = sorted(
        (record for record in records if any(_is_asked(record, point) for point in points)),
        key=lambda record: record.t_utc_us,
    )
    t_us = np.array([record.t_utc_us for record in records], np.int64)
    values: dict[str, Values] = {}
    for point in points:
        texts = [
            float("nan") if point in record.quality else float(record.values.get(point, "nan"))
            for record in records
        ]
        is_asked = np.array([_is_asked(record, point) for record in records], np.bool_)
        values[point] = held_on(t_us, np.array(texts, np.float64), is_asked, slow_us.get(point))
    return at_device_time(t_us, values, longest_step_us(period_us))


def slow_gauges_us(profile: Profile) -> dict[str, int]:
    """The periods of the gauges that have one of their own. [us]

    A counter is followed from count to count and needs nothing in between.
    """
    return {
        point.name: own_period_us(point, 0)
        for point in profile.registers
        if point.every_s and not point.counter
    }


def as_declared(samples: Samples, profile: Profile, period_us: int, zone: ZoneInfo) -> Samples:
    """The samples, with what the profile says of the device's counters and whose days they have."""
    counters = {p.name: semantics_of(profile, p, period_us) for p in profile.points if p.counter}
    return replace(samples, counters=counters, zone=zone)


def held_on(t_us: Times, column: Values, is_asked: Flags, own_us: int | None) -> Values:
    """The column; a point with a period of its own shows its last value until it is due again.

    Args:
        t_us: instants, shape (n,). [us]
        column: values at them, NaN where none is good, shape (n,).
        is_asked: where it was due, shape (n,).
        own_us: its period; None: it is due at every instant. [us]
    """
    if own_us is None or t_us.size == 0:
        return column
    last = np.maximum.accumulate(np.where(is_asked, np.arange(t_us.size), -1))
    is_held = (last >= 0) & (t_us - t_us[last] <= longest_step_us(own_us))
    return np.where(is_held, column[last], np.nan)


def _is_asked(record: Shown, point: str) -> bool:
    return record.quality.get(point) != NOT_DUE
