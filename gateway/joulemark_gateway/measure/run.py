"""One project measured: the plan, the histories of its devices and the factors in, figures out.

What cannot be backed is refused, not filled. Wrong wiring raises `MeasureError`; a baseline that
its policy or the arithmetic does not carry gives a `Measurement` that is disqualified and has no
saving in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from joulemark_agent.contract.errors import MeasureError
from joulemark_agent.contract.factor import Factor, FactorSet
from joulemark_gateway.evidence.history import DeviceHistory
from joulemark_gateway.measure.assessment import Assessed, assess
from joulemark_gateway.measure.diagnosis import model_of, warnings_of
from joulemark_gateway.measure.events import valued_events
from joulemark_gateway.measure.inputs import factors_by_day, prepare
from joulemark_gateway.measure.project import Project
from joulemark_gateway.measure.result import Measurement, Saving
from joulemark_gateway.measure.rows import (
    baseline_units,
    events_of,
    missing,
    reporting_units,
    streams_of,
    summary,
)
from joulemark_gateway.measure.savings import Beside, Reported, reported, saving_of, split_of
from joulemark_gateway.measure.sufficiency import SUFFICIENCY_POLICIES
from joulemark_gateway.measure.time_of_week import refused_claim


def measure(
    project: Project,
    histories: Mapping[str, DeviceHistory],
    factors: FactorSet,
    *,
    plan_registered_us: int | None = None,
) -> Measurement:
    """The measurement of one project.

    Args:
        project: the plan.
        histories: history of each device, by id; others than the plan's are not looked at.
        factors: the emission factors of the set that the plan names.
        plan_registered_us: when the plan's digest was registered, where that can be shown. [us]

    Raises:
        MeasureError: the plan, the histories and the factors do not belong together; the codes
            stand at `inputs.prepare` and `inputs.factors_by_day`.
    """
    by_day = factors_by_day(project, factors)
    prepared = prepare(project, histories)
    assessed = assess(prepared)
    prepared = assessed.prepared
    kept: Reported | None = None
    saving: Saving | None = None
    if not assessed.refused and assessed.estimate is not None:
        whole = _without_exclusions_wh(project, histories, factors)
        days = prepared.reporting.days(kept=True)
        try:
            kept = reported(assessed.estimate, assessed.kept, days)
            saving = _saving(assessed, kept, by_day, whole)
        except MeasureError as error:
            assessed, kept = assessed.refusing(error), None
    model = model_of(prepared, assessed)
    policy = assessed.policy
    claim = refused_claim(prepared, policy) if policy.id in SUFFICIENCY_POLICIES else None
    before, after = prepared.baseline, prepared.reporting
    return Measurement(
        project=project,
        clock=prepared.counters[0].history.clock,
        disqualified=saving is None,
        policy=policy,
        findings=assessed.findings,
        warnings=warnings_of(prepared, by_day.values(), model, saving, plan_registered_us),
        streams=tuple(streams_of(prepared)),
        baseline=summary("baseline", project.baseline, before),
        reporting=summary("reporting", project.reporting, after),
        units=(
            *baseline_units(before, assessed if saving is not None else None),
            *reporting_units(after, assessed.estimate, kept, float(project.confidence)),
        ),
        missing=tuple(missing(prepared)),
        events=tuple(events_of(prepared)),
        model=model,
        saving=saving,
        split=None if kept is None else split_of(before.energy_wh, kept),
        refused=() if claim is None else (claim,),
        engine=None if project.model is None else assessed.engine(kept),
    )


def _saving(
    assessed: Assessed, kept: Reported, by_day: Mapping[date, Factor], whole_wh: float | None
) -> Saving:
    prepared, plan = assessed.prepared, assessed.plan
    assert assessed.estimate is not None
    return saving_of(
        assessed.estimate,
        kept,
        masked_days=prepared.reporting.days(kept=False),
        confidence=plan.confidence,
        factors=[by_day[day] for day in kept.days],
        policy=plan.creditable,
        without_exclusions_wh=whole_wh,
        beside=Beside(plan.meter, plan.baseline_meter, valued_events(prepared, kept, by_day)),
    )


def _without_exclusions_wh(
    project: Project, histories: Mapping[str, DeviceHistory], factors: FactorSet
) -> float | None:
    """What would have been avoided had no unit been excluded; None where none was."""
    left = tuple(item for item in project.non_routine if item.treatment != "exclude")
    if len(left) == len(project.non_routine):
        return None
    whole = measure(project.model_copy(update={"non_routine": left}), histories, factors)
    return None if whole.saving is None else whole.saving.avoided_wh
