"""Non-routine events of a plan that are not left out: what each is worth in the saving."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np

from joulemark_agent.contract.errors import MeasureError
from joulemark_agent.contract.factor import Factor
from joulemark_gateway.measure.adjustments import by_indicator
from joulemark_gateway.measure.data import Flags
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
        MeasureError: `event_partly_outside`, `event_not_counted`; those of
            `adjustments.by_indicator`.
    """
    found = []
    for item in prepared.project.non_routine:
        day = max(item.dates.first, prepared.project.reporting.first)
        if item.treatment == "exclude" or day not in by_day or item.dates.end <= day:
            continue
        inside = _inside(item, kept)
        if item.treatment == "engineering-estimate":
            _check_counted(item, prepared.project.reporting.end, inside)
        usual = ~_of_others(item, prepared.project.non_routine, kept)
        worth = _worth(item, kept, inside, usual)
        factor, ratio = _factor([by_day[kept.days[k]] for k in np.flatnonzero(inside).tolist()])
        found.append(
            ValuedEvent(
                item.id,
                item.treatment,
                worth.value,
                worth.u,
                worth.degrees_of_freedom,
                factor,
                ratio,
            )
        )
    return tuple(found)


def _inside(item: NonRoutine, kept: Reported) -> Flags:
    return np.array([item.dates.first <= day < item.dates.end for day in kept.days], np.bool_)


def _of_others(item: NonRoutine, events: Sequence[NonRoutine], kept: Reported) -> Flags:
    """The units of other events with a value: what is usual cannot be seen in them."""
    found = np.zeros(kept.units.n, np.bool_)
    for other in events:
        if other.id != item.id and other.treatment != "exclude":
            found |= _inside(other, kept)
    return found


def _worth(item: NonRoutine, kept: Reported, inside: Flags, usual: Flags) -> Uncertain:
    if item.treatment == "indicator":
        return by_indicator(kept.avoided_wh[usual], kept.units.position[usual], inside[usual])
    assert item.value_wh is not None
    assert item.u_wh is not None
    return Uncertain(float(item.value_wh), float(item.u_wh), ENDLESS_DEGREES)


def _check_counted(item: NonRoutine, end: date, inside: Flags) -> None:
    """Let pass only a stated value that belongs to the sums: it is that of the whole event."""
    if item.dates.end > end:
        raise MeasureError(
            f"The event {item.id!r} goes on after {end}, where the saving ends.",
            "Wait for its end, or state its value up to there.",
            code="event_partly_outside",
        )
    if not inside.any():
        raise MeasureError(
            f"The event {item.id!r} has a value, and none of its days counts in the saving.",
            "Take it out of the plan, or its value would stand for what neither sum holds.",
            code="event_not_counted",
        )


def _factor(factors: Sequence[Factor]) -> tuple[float, float]:
    """The mean factor of an event's units, and its uncertainty, the same in all, as a share."""
    per_kwh = [float(factor.factor_kg_per_kwh) for factor in factors]
    ratios = [float(factor.standard_uncertainty_ratio) for factor in factors]
    if len(set(factors)) == 1 or not any(per_kwh):
        return per_kwh[0], ratios[0]
    total = math.fsum(per_kwh)
    error = math.fsum(value * ratio for value, ratio in zip(per_kwh, ratios, strict=True))
    return total / len(factors), error / total
