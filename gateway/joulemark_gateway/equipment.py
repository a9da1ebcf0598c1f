"""From the samples of a device in the series to what its model says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.equipment import Analysis, Samples, analyse, at_device_time, parameters_of
from joulemark_agent.equipment.readings import held_on, longest_step_us
from joulemark_gateway.series.base import QUALITY, SeriesReader

GOOD = QUALITY["good"]


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
        values[point] = held_on(t_us, column, is_asked, slow_us.get(point))
    return at_device_time(t_us, values, longest_step_us(period_us))


def analysis_of(kind: str, section: Mapping[str, Any] | None, samples: Samples) -> Analysis | None:
    """What the model of the device's kind makes of the samples; None where there is no model.

    Args:
        kind: of the profile.
        section: `equipment` of the device in the site document.
        samples: of one device.

    Raises:
        EvidenceError: `bad_document` where the section has mistakes.
    """
    return analyse(kind, checked(kind, section), samples)


def checked(kind: str, section: Mapping[str, Any] | None) -> BaseModel | None:
    """The section of a device as its model takes it; None where its kind has no model.

    Args:
        kind: of the profile.
        section: `equipment` of the device in the site document.

    Raises:
        EvidenceError: `bad_document` where the section has mistakes.
    """
    try:
        return parameters_of(kind, section)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise EvidenceError(
            f"The equipment section of the site document has mistakes: {where}: {first['msg']}.",
            "Correct the site file, have the operator approve it, and open a new epoch.",
            code="bad_document",
        ) from error
