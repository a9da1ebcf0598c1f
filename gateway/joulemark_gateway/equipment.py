"""From the samples of a device, in the series or in its records, to what its model says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.profile import Profile, own_period_us
from joulemark_agent.equipment import Analysis, Samples, analyse, at_device_time, parameters_of
from joulemark_agent.kernels.counter import semantics_of
from joulemark_agent.kernels.decode import NOT_DUE
from joulemark_gateway.evidence.history import Record
from joulemark_gateway.series.base import QUALITY, SeriesReader

GOOD = QUALITY["good"]


def longest_step_us(period_us: int) -> int:
    """The longest step between two readings that is measured, as measurement has it. [us]"""
    return period_us * 3 // 2


def of_series(
    reader: SeriesReader,
    place: tuple[str, str],
    points: Sequence[str],
    span_us: tuple[int, int],
    period_us: int,
    *,
    slow_us: Mapping[str, int] = MappingProxyType({}),
) -> Samples:
    """The samples of several points of a device, one row an instant; NaN where one is not good.

    Args:
        reader: the series.
        place: site and device.
        points: their names.
        span_us: from, and before which, UTC. [us]
        period_us: from slot to slot. [us]
        slow_us: of those that are asked for more seldom, see `slow_gauges_us`. [us]

    Raises:
        StoreError: the series cannot be read.
    """
    found = {point: reader.samples(*place, point, *span_us) for point in points}
    t_us = np.unique(np.concatenate([np.empty(0, np.int64), *(s.t_utc_us for s in found.values())]))
    values: dict[str, NDArray[np.float64]] = {}
    for point, samples in found.items():
        column, is_asked = np.full(t_us.size, np.nan), np.zeros(t_us.size, np.bool_)
        rows = np.searchsorted(t_us, samples.t_utc_us)
        column[rows] = np.where(samples.quality == GOOD, samples.value, np.nan)
        is_asked[rows] = True
        values[point] = _held_on(t_us, column, is_asked, slow_us.get(point))
    return at_device_time(t_us, values, longest_step_us(period_us))


def of_records(
    records: Sequence[Record],
    points: Sequence[str],
    period_us: int,
    *,
    slow_us: Mapping[str, int] = MappingProxyType({}),
) -> Samples:
    """The same from records, what stands behind the series.

    Their slots increase, their instants need not: a clock that was set back reads the same time
    again. In the order of time they are the rows of the series.
    """
    records = sorted(
        (record for record in records if any(_is_asked(record, point) for point in points)),
        key=lambda record: record.t_utc_us,
    )
    t_us = np.array([record.t_utc_us for record in records], np.int64)
    values: dict[str, NDArray[np.float64]] = {}
    for point in points:
        shown = [
            float("nan") if point in record.quality else float(record.values.get(point, "nan"))
            for record in records
        ]
        is_asked = np.array([_is_asked(record, point) for record in records], np.bool_)
        values[point] = _held_on(t_us, np.array(shown, np.float64), is_asked, slow_us.get(point))
    return at_device_time(t_us, values, longest_step_us(period_us))


def _is_asked(record: Record, point: str) -> bool:
    return record.quality.get(point) != NOT_DUE


def _held_on(
    t_us: NDArray[np.int64],
    column: NDArray[np.float64],
    is_asked: NDArray[np.bool_],
    own_us: int | None,
) -> NDArray[np.float64]:
    """The column; a point with a period of its own shows its last value until it is due again."""
    if own_us is None or t_us.size == 0:
        return column
    last = np.maximum.accumulate(np.where(is_asked, np.arange(t_us.size), -1))
    is_held = (last >= 0) & (t_us - t_us[last] <= longest_step_us(own_us))
    return np.where(is_held, column[last], np.nan)


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


def analysis_of(kind: str, section: Mapping[str, Any] | None, samples: Samples) -> Analysis | None:
    """What the model of the device's kind makes of the samples; None where there is no model.

    Args:
        kind: of the profile.
        section: `equipment` of the device in the site document.
        samples: of one device.

    Raises:
        EvidenceError: `bad_document` where the section has mistakes.
    """
    try:
        parameters = parameters_of(kind, section)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise EvidenceError(
            f"The equipment section of the site document has mistakes: {where}: {first['msg']}.",
            "Correct the site file, have the operator approve it, and open a new epoch.",
            code="bad_document",
        ) from error
    return analyse(kind, parameters, samples)
