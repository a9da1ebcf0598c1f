"""Non-routine events of a plan that are not left out: what each is worth in the saving."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import numpy as np

from joulemark_agent.contract.factor import Factor
from joulemark_gateway.measure.adjustments import by_indicator
from joulemark_gateway.measure.inputs import Prepared
from joulemark_gateway.measure.meter_error import ENDLESS_DEGREES, Uncertain
from joulemark_gateway.measure.project import NonRoutine
from joulemark_gateway.measure.result import ValuedEvent
from joulemark_gateway.measure.savings import Reported


def valued_events(
    prepared: Prepared, kept: Reported, by_day: Mapping[date, Factor]
) -> tuple[ValuedEvent, ...]:
    """The events of the reporting period that have a value.

    Raises:
        MeasureError: those of `adjustments.by_indicator`.
    """
    found = []
    for item in prepared.project.non_routine:
        day = max(item.dates.first, prepared.project.reporting.first)
        if item.treatment == "exclude" or day not in by_day or item.dates.end <= day:
            continue
        worth = _worth(item, kept)
        factor = by_day[day]
        found.append(
            ValuedEvent(
                item.id,
                item.treatment,
                worth.value,
                worth.u,
                worth.degrees_of_freedom,
                float(factor.factor_kg_per_kwh),
                float(factor.standard_uncertainty_ratio),
            )
        )
    return tuple(found)


def _worth(item: NonRoutine, kept: Reported) -> Uncertain:
    if item.treatment == "indicator":
        inside = np.array([item.dates.first <= day < item.dates.end for day in kept.days], np.bool_)
        return by_indicator(kept.avoided_wh, kept.units.position, inside)
    assert item.value_wh is not None
    assert item.u_wh is not None
    return Uncertain(float(item.value_wh), float(item.u_wh), ENDLESS_DEGREES)
