"""What a report says beside the saving of a plan that names its model: meter, events, changes.

All standard uncertainties stand by their source; totals stand with and without the events.
"""

from __future__ import annotations

import math
from datetime import date, timedelta
from typing import Any

from joulemark_gateway.measure.project import MeterAccuracy, NonRoutine, Project
from joulemark_gateway.measure.result import Change, Measurement, Saving, ValuedEvent
from joulemark_gateway.reports.figures import kwh, percent, significant, tonnes

_NEAR_DAYS = 7  # a change that begins so near an end of an event is the event's
Json = dict[str, Any]


def meter_content(project: Project, saving: Saving | None) -> Json | None:
    """What the plan states of the meter and what it is worth; None where it states nothing."""
    if project.meter is None:
        return None
    own = None if saving is None else saving.meter
    return {
        **_accuracy(project.meter),
        "baseline": None if project.baseline_meter is None else _accuracy(project.baseline_meter),
        "bias_limit_kwh": None if own is None else kwh(own.bias_limit_wh),
        "bias_u_kwh": None if own is None else kwh(own.bias_u_wh),
        "random_u_kwh": None if own is None else kwh(own.random_u_wh),
        "u_kwh": None if own is None else kwh(own.u_wh),
    }


def _accuracy(meter: MeterAccuracy) -> Json:
    return {
        "limit_percent": significant(meter.limit_ratio * 100, 6),
        "random_percent": significant(meter.random_ratio * 100, 6),
        "source": meter.source,
    }


def events_content(project: Project, saving: Saving | None) -> list[Json]:
    """Every event of the plan, with its value where the saving has one."""
    worth = {} if saving is None else {event.id: event for event in saving.events}
    return [_event(item, worth.get(item.id)) for item in project.non_routine]


def _event(item: NonRoutine, worth: ValuedEvent | None) -> Json:
    return {
        "id": item.id,
        "from": item.dates.first.isoformat(),
        "last_day": (item.dates.end - timedelta(days=1)).isoformat(),
        "cause": item.cause,
        "author": item.author,
        "approval": item.approval,
        "evidence_sha256": item.evidence_sha256,
        "treatment": item.treatment,
        "value_kwh": None if worth is None else kwh(abs(worth.value_wh)),
        "sign": None if worth is None else ("-" if worth.value_wh < 0 else "+"),
        "u_kwh": None if worth is None else kwh(worth.u_wh),
        "value_t": None if worth is None else tonnes(abs(worth.avoided_kg)),
    }


def totals_content(measurement: Measurement) -> Json | None:
    """The saving without the events that have a value, and with them; None without such."""
    saving = measurement.saving
    if saving is None or not saving.events:
        return None
    own_kg = math.fsum(use.avoided_kg for use in saving.carbon.factors)
    return {
        "policy": f"{measurement.policy.id} {measurement.policy.version}",
        "value_kwh": kwh(math.fsum(event.value_wh for event in saving.events)),
        "value_t": tonnes(math.fsum(event.avoided_kg for event in saving.events)),
        "without": {
            "avoided_kwh": kwh(saving.model_avoided_wh),
            "half_width_kwh": kwh(saving.model_half_width_wh),
            "avoided_t": tonnes(own_kg),
        },
        "with": {
            "avoided_kwh": kwh(saving.avoided_wh),
            "half_width_kwh": kwh(saving.half_width_wh),
            "avoided_t": tonnes(saving.carbon.avoided_kg),
        },
    }


def uncertainty_content(measurement: Measurement) -> Json | None:
    """Standard uncertainties by their source; they add in quadrature."""
    saving = measurement.saving
    if saving is None:
        return None
    carbon, meter = saving.carbon, saving.meter
    whole_kg = carbon.standard_uncertainty_kg

    def row(kg: float, wh: float | None) -> Json:
        return {
            "kwh": None if wh is None else kwh(wh),
            "t": tonnes(kg),
            "variance_percent": percent((kg / whole_kg) ** 2) if whole_kg else None,
        }

    events_wh = math.hypot(*(event.u_wh for event in saving.events))
    return {
        "policy": f"{measurement.policy.id} {measurement.policy.version}",
        "model": row(carbon.from_model_kg, saving.model_u_wh),
        "meter": None if meter is None else row(carbon.from_meter_kg, meter.u_wh),
        "events": row(carbon.from_events_kg, events_wh) if saving.events else None,
        "factor": row(carbon.from_factor_kg, None),
        "combined": row(whole_kg, saving.standard_error_wh),
    }


def change_content(change: Change, project: Project) -> Json:
    """A lasting change, and the event near whose ends it begins."""
    day = date.fromisoformat(change.label[:10])
    return {
        "unit": change.label,
        "shift_kwh": kwh(change.shift_wh),
        "event": next((item.id for item in project.non_routine if _explains(item, day)), None),
    }


def _explains(item: NonRoutine, day: date) -> bool:
    ends = (item.dates.first, item.dates.end)
    return any(abs((day - end).days) <= _NEAR_DAYS for end in ends)
