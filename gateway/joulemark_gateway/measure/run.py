"""One project measured: the plan, the histories of its devices and the factors in, figures out.

What cannot be backed is refused, not filled. Wrong wiring raises `MeasureError`; a baseline that
its policy or the arithmetic does not carry gives a `Measurement` that is disqualified and has no
saving in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from statistics import fmean

import numpy as np

from joulemark_agent.contract.errors import MeasureError
from joulemark_agent.contract.factor import Factor, FactorSet
from joulemark_gateway.evidence.history import DeviceHistory
from joulemark_gateway.measure.calendar import US_PER_DAY
from joulemark_gateway.measure.creditable import CREDITABLE_POLICIES
from joulemark_gateway.measure.diagnosis import model_of, warnings_of
from joulemark_gateway.measure.finding import ENGINE, Finding
from joulemark_gateway.measure.inputs import Prepared, factors_by_day, prepare
from joulemark_gateway.measure.linear import Linear, fit
from joulemark_gateway.measure.periods import Units
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
from joulemark_gateway.measure.savings import Reported, reported, saving_of, split_of
from joulemark_gateway.measure.sufficiency import SUFFICIENCY_POLICIES, DriverFacts, Facts
from joulemark_gateway.measure.time_of_week import refused_claim
from joulemark_gateway.measure.uncertainty import Noise, noise_of


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
    model, noise, refusals = _fit(prepared)
    findings = (*_judge(prepared, model), *refusals)
    units: Reported | None = None
    saving: Saving | None = None
    if model is not None and noise is not None and all(finding.passed for finding in findings):
        whole = _without_exclusions_wh(project, histories, factors)
        units = _reported(model, prepared.reporting)
        saving = _saving(prepared, noise, units, by_day, whole)
    reported_model = None if model is None or noise is None else model_of(prepared, model, noise)
    policy = SUFFICIENCY_POLICIES[project.sufficiency_policy].used()
    claim = refused_claim(prepared, policy)
    before, after = prepared.baseline, prepared.reporting
    return Measurement(
        project=project,
        clock=prepared.counters[0].history.clock,
        disqualified=saving is None,
        policy=policy,
        findings=findings,
        warnings=warnings_of(prepared, by_day.values(), reported_model, saving, plan_registered_us),
        streams=tuple(streams_of(prepared)),
        baseline=summary("baseline", project.baseline, before),
        reporting=summary("reporting", project.reporting, after),
        units=(
            *baseline_units(before, None if saving is None else model),
            *reporting_units(after, noise, units, float(project.confidence)),
        ),
        missing=tuple(missing(prepared)),
        events=tuple(events_of(prepared)),
        model=reported_model,
        saving=saving,
        split=None if units is None else split_of(before.energy_wh, units),
        refused=() if claim is None else (claim,),
    )


def _fit(prepared: Prepared) -> tuple[Linear | None, Noise | None, list[Finding]]:
    """Model and noise, as far as the arithmetic carries them, and what it refused."""
    units = prepared.baseline
    refusals: list[Finding] = []
    if not prepared.reporting.kept.any():
        rule = "at least one unit of the reporting period is measured enough"
        refusals.append(_refusal("no_reporting_units", "reporting", rule, 0))
    model, noise = None, None
    if prepared.project.drivers:
        try:
            model = fit(units.drivers, units.energy_wh, units.position, units.kept_exposure)
            noise = noise_of(model)
        except MeasureError as error:
            n = units.position.size
            refusals.append(_refusal(error.code, "baseline", error.what, n))
    return model, noise, refusals


def _refusal(code: str, subject: str, rule: str, units: int) -> Finding:
    return Finding(
        code=code,
        by=ENGINE,
        subject=subject,
        rule=rule,
        seen=float(units),
        at_least=None,
        at_most=None,
        unit="units",
        passed=False,
    )


def _judge(prepared: Prepared, model: Linear | None) -> tuple[Finding, ...]:
    """What the plan's policy says of the baseline."""
    project, units = prepared.project, prepared.baseline
    before, after = units.drivers, prepared.reporting.drivers
    is_daily = project.unit == "day"  # a local day of 23 or 25 hours is a day
    drivers = tuple(
        DriverFacts(
            driver.name,
            prepared.driver_units[j],
            before[:, j].tolist(),
            fmean(after[:, j].tolist()) if after.shape[0] else None,
        )
        for j, driver in enumerate(project.drivers)
    )
    facts = Facts(
        baseline_days=float(units.position.size) if is_daily else units.kept_us / US_PER_DAY,
        production_cycle_days=project.production_cycle_days,
        drivers=drivers,
        adjusted_r2=None if model is None else model.adjusted_r2,
    )
    return SUFFICIENCY_POLICIES[project.sufficiency_policy].judge(facts)


def _reported(model: Linear, units: Units) -> Reported:
    x = np.column_stack([units.kept_exposure, units.drivers])
    return reported(model, x, units.energy_wh, units.position, units.days(kept=True))


def _saving(
    prepared: Prepared,
    noise: Noise,
    units: Reported,
    by_day: Mapping[date, Factor],
    without_exclusions_wh: float | None,
) -> Saving:
    project = prepared.project
    return saving_of(
        noise,
        units,
        masked_days=prepared.reporting.days(kept=False),
        confidence=float(project.confidence),
        factors=[by_day[day] for day in units.days],
        policy=CREDITABLE_POLICIES[project.creditable_policy],
        without_exclusions_wh=without_exclusions_wh,
    )


def _without_exclusions_wh(
    project: Project, histories: Mapping[str, DeviceHistory], factors: FactorSet
) -> float | None:
    """What would have been avoided had no unit been excluded; None where none was."""
    if not project.non_routine:
        return None
    whole = measure(project.model_copy(update={"non_routine": ()}), histories, factors)
    return None if whole.saving is None else whole.saving.avoided_wh
