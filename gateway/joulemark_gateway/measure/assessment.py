"""A project's baseline: fitted, and judged by its policy, before any saving is looked at."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.baseline import Baseline
from joulemark_gateway.measure.calendar import US_PER_DAY
from joulemark_gateway.measure.change_detection import changes
from joulemark_gateway.measure.data import Data, Flags
from joulemark_gateway.measure.detectable import detectable
from joulemark_gateway.measure.equation import levels_of, worked_of
from joulemark_gateway.measure.estimate import Estimate, LineEstimate
from joulemark_gateway.measure.families import Automatic, TimeOfWeek
from joulemark_gateway.measure.finding import ENGINE, Finding, PolicyUsed
from joulemark_gateway.measure.inputs import Prepared
from joulemark_gateway.measure.periods import Units
from joulemark_gateway.measure.plan import Plan
from joulemark_gateway.measure.planned import data_of, plan_of
from joulemark_gateway.measure.result import Change, Engine, Looked
from joulemark_gateway.measure.savings import Reported
from joulemark_gateway.measure.sufficiency import SUFFICIENCY_POLICIES, DriverFacts, Facts
from joulemark_gateway.measure.verdict import refusal

BY_POLICY, NOT_WHOLE, NOT_KNOWN = (  # why a unit is masked
    "missing_by_policy",
    "not_wholly_measured",
    "unknown_to_the_model",
)
_MOST_TURNS = 50
_NEAR = 0.01  # of the median deviation: what is nearer weighs no more
_LEAST_SPREAD = 1e-12
_SHORTEST_CHANGE = {"day": 14, "hour": 14 * 24}  # units of a stretch between two changes


@dataclass(frozen=True, eq=False)
class Assessed:
    """A baseline and what stands in the way of a saving.

    `kept` are the reporting units that count in both sums. `findings` are all rules that were
    looked at; where one of them refuses, `refused` says so.
    """

    prepared: Prepared
    plan: Plan
    baseline: Baseline
    kept: Data
    findings: tuple[Finding, ...]
    refused: bool
    overridden: tuple[str, ...] = ()
    warnings: tuple[Finding, ...] = ()

    @property
    def estimate(self) -> Estimate | None:
        """The model with its noise; None where there is none."""
        return self.baseline.estimate

    @property
    def policy(self) -> PolicyUsed:
        """The policy that judged."""
        return self.plan.sufficiency.used()

    def refusing(self, error: MeasureError) -> Assessed:
        """The same, refused by what the arithmetic of the saving does not carry."""
        return replace(self, findings=(*self.findings, refusal(error, "reporting")), refused=True)

    def engine(self, kept: Reported | None) -> Engine:
        """What the engine says beyond the figures.

        Args:
            kept: the units of the saving; None where it is refused.
        """
        metrics = self.baseline.metrics
        line = self.estimate.fitted if isinstance(self.estimate, LineEstimate) else None
        return Engine(
            method=self.baseline.method,
            bic=None if metrics is None else metrics.bic,
            alternatives=tuple(
                Looked(one.id, one.p, one.cv_rmse, one.adjusted_r2, one.bic)
                for one in self.baseline.alternatives
            ),
            warnings=self.warnings,
            detectable_ratio=self._detectable_ratio(),
            changes=() if kept is None else self._changes(kept),
            overridden=self.overridden,
            levels=() if line is None else levels_of(line),
            worked=None if line is None or kept is None else worked_of(self.prepared, line, kept),
        )

    def _detectable_ratio(self) -> float | None:
        if self.estimate is None or not self.kept.n:
            return None
        try:
            return float(detectable(self.estimate, self.kept, self.plan.confidence).ratio[-1])
        except MeasureError:  # no load to compare with: the findings say so
            return None

    def _changes(self, kept: Reported) -> tuple[Change, ...]:
        assert self.estimate is not None
        least = _SHORTEST_CHANGE[self.prepared.project.unit]
        if kept.units.n < 2 * least:
            return ()
        # A measure that saves a share of the load saves more in the cold, and nothing has changed.
        beside_wh = kept.avoided_wh - _share(kept) * kept.predicted_wh
        rho = self.estimate.process.rho_used
        found = changes(beside_wh, kept.units.position, rho, min_units=least)
        labels = self.prepared.reporting.grid.labels
        pairs = zip(found.at, found.shifts, strict=True)
        return tuple(Change(labels[place], shift) for place, shift in pairs)


def _share(kept: Reported) -> float:
    """The share of the load that is saved, by least absolute deviations: no event pulls on it."""
    x, y = kept.predicted_wh, kept.avoided_wh
    weight = np.ones(x.size)
    share = 0.0
    for _ in range(_MOST_TURNS):
        total = math.fsum(weight.tolist())
        mean_x = math.fsum((weight * x).tolist()) / total
        mean_y = math.fsum((weight * y).tolist()) / total
        square = math.fsum((weight * (x - mean_x) ** 2).tolist())
        if square <= _LEAST_SPREAD * total * mean_x**2:  # one load all the time
            return 0.0
        share = math.fsum((weight * (x - mean_x) * (y - mean_y)).tolist()) / square
        away = np.abs(y - mean_y - share * (x - mean_x))
        weight = 1.0 / np.maximum(away, _NEAR * float(np.median(away)) + np.finfo(np.float64).tiny)
    return share


def assess(prepared: Prepared) -> Assessed:
    """The baseline of a project's plan.

    A plan without a model is judged as plans were before there was a choice of one: by the rules
    of its policy over the units that count, without the checks of the data.
    """
    plan = plan_of(prepared)
    if prepared.project.model is None:
        return _as_before(prepared, plan)
    prepared = replace(
        prepared,
        baseline=_counted(prepared, prepared.baseline, plan),
        reporting=_counted(prepared, prepared.reporting, plan),
    )
    before, after = data_of(prepared, prepared.baseline), data_of(prepared, prepared.reporting)
    baseline = Baseline.fit(before, plan)
    given = baseline.read(after)
    verdict = baseline.verdict_with(given)
    units = given if baseline.estimate is None else baseline.units_of(given)
    known = units.is_whole if baseline.estimate is None else baseline.known_of(units)
    failed = {finding.code for finding in verdict.judged.findings if not finding.passed}
    refusing = {finding.code for finding in verdict.refusing}
    unknown = prepared.reporting.kept & ~known  # like a time of the week that the baseline has not
    return Assessed(
        replace(prepared, reporting=_without(prepared.reporting, {NOT_KNOWN: unknown})),
        plan,
        baseline,
        units.where(known),
        verdict.judged.findings,
        bool(verdict.refusing) or baseline.estimate is None,
        tuple(sorted(failed - refusing)),
        tuple(one for one in verdict.judged.warnings if not one.passed),
    )


def _counted(prepared: Prepared, units: Units, plan: Plan) -> Units:
    """The units of a period without those that the policy or the model cannot take."""
    data = data_of(prepared, units)
    known = np.isfinite(data.energy_wh)
    family = plan.model.family(data) if isinstance(plan.model, Automatic) else plan.model
    is_in_part = known & (data.counted_us < data.length_us)
    left = {
        BY_POLICY: known & ~np.isfinite(plan.sufficiency.masked(data, plan.carrier).energy_wh),
        NOT_WHOLE: is_in_part & isinstance(family, TimeOfWeek),
    }
    return _without(units, left)


def _without(units: Units, left: Mapping[str, Flags]) -> Units:
    """The units of a period with some more of them masked, and the reasons."""
    kept, reasons = units.kept.copy(), list(units.reasons)
    for reason, flags in left.items():
        kept &= ~flags
        for k in np.flatnonzero(flags).tolist():
            reasons[k] = (*reasons[k], reason)
    return replace(units, kept=kept, reasons=tuple(reasons))


def _as_before(prepared: Prepared, plan: Plan) -> Assessed:
    refusals: list[Finding] = []
    before, after = data_of(prepared, prepared.baseline), data_of(prepared, prepared.reporting)
    kept = after.where(prepared.reporting.kept)
    if not kept.n:
        rule = "at least one unit of the reporting period is measured enough"
        refusals.append(_no_units("no_reporting_units", "reporting", rule, 0))
    baseline = Baseline(plan, before, None, None)
    if prepared.project.drivers:
        baseline = Baseline.fit(before, plan)
        n = prepared.baseline.position.size
        refusals += [_no_units(one.code, "baseline", one.rule, n) for one in baseline.refusals]
    findings = (*_judge(prepared, baseline), *refusals)
    refused = baseline.estimate is None or not all(finding.passed for finding in findings)
    return Assessed(prepared, plan, baseline, kept, findings, refused)


def _no_units(code: str, subject: str, rule: str, units: int) -> Finding:
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


def _judge(prepared: Prepared, baseline: Baseline) -> tuple[Finding, ...]:
    """What the plan's policy says of the units that count."""
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
    metrics = baseline.metrics
    facts = Facts(
        baseline_days=float(units.position.size) if is_daily else units.kept_us / US_PER_DAY,
        production_cycle_days=project.production_cycle_days,
        drivers=drivers,
        adjusted_r2=None if metrics is None else metrics.adjusted_r2,
    )
    return SUFFICIENCY_POLICIES[project.sufficiency_policy].judge(facts)
