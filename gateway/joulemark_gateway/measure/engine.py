"""Savings of a baseline: avoided, normalised, of many sites, and the least that can be shown.

Every figure is taken at the aggregate with its interval and stands beside the policy under which it
may be said. What a policy refuses, or the arithmetic, has no figure at all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure import detectable, sites
from joulemark_gateway.measure.adjustments import Adjusted, adjusted, check_counted, excluded_units
from joulemark_gateway.measure.baseline import Baseline
from joulemark_gateway.measure.calendar import US_PER_DAY
from joulemark_gateway.measure.checks import DATA_CHECKS
from joulemark_gateway.measure.data import Data, Flags
from joulemark_gateway.measure.finding import Finding, PolicyUsed
from joulemark_gateway.measure.guard import finite
from joulemark_gateway.measure.meter_error import Uncertain, combined, of_saving, with_meter
from joulemark_gateway.measure.qr import Array
from joulemark_gateway.measure.rules import Judged, codes_of
from joulemark_gateway.measure.span import edges_us
from joulemark_gateway.measure.verdict import NO_REPORTING, Figures, Stated, Verdict, attempted

Form = Literal["avoided-energy", "backcast", "normalised"]


@dataclass(frozen=True)
class Coverage:
    """How many units of the period count in both sums; absent ones between others are units too."""

    units: int
    kept: int

    @classmethod
    def of(cls, data: Data, kept: int) -> Coverage:
        """That of a period's data."""
        return cls(int(data.position[-1] - data.position[0]) + 1 if data.n else 0, kept)

    @property
    def ratio(self) -> float:
        """The share of the units that count; 0 where there is none."""
        return self.kept / self.units if self.units else 0.0


@dataclass(frozen=True)
class Month:
    """The saving of a local month, without adjustments."""

    label: str  # like 2026-11
    kept: int
    saving: Uncertain


@dataclass(frozen=True)
class Amounts:
    """A saving that may be stated.

    `saving` is that of the model; `total` has the meter's error and the adjustments with theirs,
    and is what may be claimed.
    """

    predicted_wh: float
    measured_wh: float | None  # None: both periods are predicted under normal conditions
    saving: Uncertain
    adjusted: Adjusted
    months: tuple[Month, ...]
    creditable_wh: float

    @property
    def total(self) -> Uncertain:
        """What may be claimed. [Wh]"""
        return self.adjusted.with_adjustments

    def figures(self, confidence: float) -> Figures:
        """All of it by name, every one a number. [Wh]

        Raises:
            MeasureError: `not_finite`.
        """
        total = self.total
        named = {
            "predicted_wh": self.predicted_wh,
            "measured_wh": self.measured_wh,
            "saving_wh": self.saving.value,
            "saving_half_width_wh": self.saving.half_width(confidence),
            "total_wh": total.value,
            "standard_uncertainty_wh": total.u,
            "half_width_wh": total.half_width(confidence),
            "half_width_90_wh": total.half_width(0.90),
            "half_width_95_wh": total.half_width(0.95),
            "creditable_wh": self.creditable_wh,
        }
        return finite({name: value for name, value in named.items() if value is not None})


@dataclass(frozen=True, eq=False)
class Savings:
    """A saving with everything that must stand beside it, or what refuses it and no amounts."""

    form: Form
    baseline: Baseline = field(repr=False)
    coverage: Coverage
    verdict: Verdict
    amounts: Amounts | None
    refused_by: tuple[Finding, ...] = ()

    @property
    def method(self) -> str:
        """The form of the saving and the model it stands on."""
        return f"{self.form}/{self.baseline.method}"

    @property
    def confidence(self) -> float:
        """Of the two-sided intervals."""
        return self.baseline.plan.confidence

    @property
    def policy(self) -> PolicyUsed:
        """The policy under which it is said, or refused."""
        return self.verdict.policy

    @property
    def value_wh(self) -> float | None:
        """What may be claimed; None where it is refused. [Wh]"""
        return None if self.amounts is None else self.amounts.total.value

    @property
    def half_width_wh(self) -> float | None:
        """Half of its interval. [Wh]"""
        return None if self.amounts is None else self.amounts.total.half_width(self.confidence)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What is told and does not refuse."""
        return tuple(one for one in self.verdict.judged.warnings if not one.passed)

    @property
    def disqualifications(self) -> tuple[Finding, ...]:
        """The rules that fail, overridden or not, and what the arithmetic does not carry."""
        failed = (one for one in self.verdict.judged.findings if not one.passed)
        return tuple(dict.fromkeys((*failed, *self.refused_by)))

    def document(self) -> dict[str, Any]:
        """All of it as plain values, for exports; no number in it is NaN or infinite."""
        amounts = self.amounts
        figures = None if amounts is None else amounts.figures(self.confidence)
        events = () if amounts is None else amounts.adjusted.adjustments
        return {
            "method": self.method,
            "confidence": self.confidence,
            "coverage": {"units": self.coverage.units, "kept": self.coverage.kept},
            "creditable_policy": self.baseline.plan.creditable_policy,
            "adjustments": [asdict(event) for event in events],
            **Stated(self.verdict, figures, self.refused_by).document(),
        }


def avoided_energy(
    baseline: Baseline,
    reporting: Data,
    *,
    form: Literal["avoided-energy", "backcast"] = "avoided-energy",
) -> Savings:
    """What the reporting period used less than the baseline would have, over the units that count.

    With `backcast` the model is that of the time after the measure and `reporting` the time before
    it: what was used more than the model says.

    Args:
        baseline: the model.
        reporting: units of the other period, NaN where something is missing.
        form: which of the two.

    Raises:
        MeasureError: data that nothing can be said of, with the codes of `guard.checked` and
            `missing_driver`.
    """
    plan = baseline.plan
    given = plan.sufficiency.masked(baseline.read(reporting), plan.carrier)
    verdict = baseline.verdict_with(given)
    if baseline.estimate is None:
        return Savings(form, baseline, Coverage.of(given, 0), verdict, None, verdict.refusing)
    units = baseline.units_of(given)
    known = baseline.known_of(units)
    kept: Flags = known & ~excluded_units(plan.adjustments, units)
    if not kept.any():
        verdict = replace(verdict, judged=verdict.judged + Judged((NO_REPORTING,)))
    sign = 1.0 if form == "avoided-energy" else -1.0
    coverage = Coverage.of(units, int(np.count_nonzero(kept)))
    amounts, refused_by = attempted(verdict, lambda: _avoided(baseline, units, known, kept, sign))
    return Savings(form, baseline, coverage, verdict, amounts, refused_by)


def normalised_savings(before: Baseline, after: Baseline, normal: Data) -> Savings:
    """The saving of an expected year: both models under normal conditions, one less the other.

    The interval is that of the two expected energies; how a real year would scatter around them is
    no part of it. Normal drivers far from those of either baseline refuse or warn like those of a
    reporting period.

    Args:
        before: the model of the time before the measure.
        after: the model of the time after it.
        normal: drivers of the units of the normal year; its energy is not looked at.

    Raises:
        MeasureError: `missing_driver`, and those of `guard.checked`.
    """
    blank = replace(normal, energy_wh=np.zeros(normal.n))
    verdict, later = (_under_normal(one, blank) for one in (before, after))
    own = Judged(
        *(
            tuple(replace(one, subject=f"after: {one.subject}") for one in some)
            for some in (later.judged.findings, later.judged.warnings)
        )
    )
    verdict = replace(verdict, judged=verdict.judged + own)
    if before.estimate is None or after.estimate is None:
        coverage = Coverage.of(normal, 0)
        return Savings("normalised", before, coverage, verdict, None, verdict.refusing)
    first, second = before.units_of(blank), after.units_of(blank)
    kept = before.known_of(first) & after.known_of(second)
    if not kept.any():
        verdict = replace(verdict, judged=verdict.judged + Judged((NO_REPORTING,)))
    coverage = Coverage.of(normal, int(np.count_nonzero(kept)))
    amounts, refused_by = attempted(
        verdict, lambda: _normalised(before, after, first.where(kept), second.where(kept))
    )
    return Savings("normalised", before, coverage, verdict, amounts, refused_by)


def minimum_detectable_saving(baseline: Baseline, expected: Data) -> detectable.Detectable:
    """The least saving that can be told from none, after each of the units to come.

    Args:
        baseline: the model.
        expected: drivers of the units to come, like those of last year; their energy is not looked
            at.

    Raises:
        MeasureError: `no_model`, `no_reporting_units`, `no_load`; those of `guard.checked`.
    """
    estimate = baseline.required()
    units = baseline.units_of(replace(expected, energy_wh=np.zeros(expected.n)))
    units = units.where(baseline.known_of(units))
    return detectable.detectable(estimate, units, baseline.plan.confidence)


def portfolio(savings: Mapping[str, Savings]) -> sites.Portfolio:
    """The saving of many sites, whose errors are taken as alike as their baselines' residuals.

    Args:
        savings: of each site by its name; every one must have its amounts.

    Raises:
        MeasureError: `no_sites`; `site_without_saving`, one is refused.
    """
    return sites.rolled_up([_site(name, one) for name, one in savings.items()])


def _under_normal(baseline: Baseline, normal: Data) -> Verdict:
    """The verdict on a baseline for a normal year, whose days no meter counted."""
    verdict = baseline.verdict_with(baseline.read(normal))
    judged = verdict.judged
    findings = tuple(
        one
        for one in judged.findings
        if one.by != DATA_CHECKS.id or not one.subject.startswith("reporting")
    )
    return replace(verdict, judged=replace(judged, findings=findings))


def _avoided(baseline: Baseline, units: Data, known: Flags, kept: Flags, sign: float) -> Amounts:
    plan, estimate = baseline.plan, baseline.required()
    used = units.where(kept)
    predicted = estimate.predict_wh(used)
    labels, weights = _by_month(used)
    variances = estimate.variances(used, np.vstack([np.ones((1, used.n)), weights]))
    degrees = estimate.process.degrees_of_freedom
    u_wh = np.sqrt(variances)
    saved = sign * (predicted - used.energy_wh)
    model = Uncertain(math.fsum(saved.tolist()), float(u_wh[0]), degrees)
    metered = model
    if plan.meter is not None:
        error = of_saving(predicted, used.energy_wh, plan.meter, plan.baseline_meter)
        metered = with_meter(model, error)
    events = tuple(one for one in plan.adjustments if one.touches(units).any())
    check_counted(events, units, used)
    unmasked_wh = None
    if any(one.method == "exclude" for one in events):
        every = units.where(known)
        unmasked_wh = sign * math.fsum((estimate.predict_wh(every) - every.energy_wh).tolist())
    total = adjusted(metered, events, unmasked_wh)
    months = tuple(
        Month(
            label,
            int(np.count_nonzero(row)),
            Uncertain(math.fsum(saved[row > 0].tolist()), float(u), degrees),
        )
        for label, row, u in zip(labels, weights, u_wh[1:], strict=True)
    )
    return _amounts(
        baseline,
        predicted=predicted,
        measured=used.energy_wh,
        saving=model,
        total=total,
        months=months,
    )


def _normalised(before: Baseline, after: Baseline, first: Data, second: Data) -> Amounts:
    one, other = before.required(), after.required()
    predicted, later = one.predict_wh(first), other.predict_wh(second)
    everything = np.ones((1, first.n))
    parts = [
        Uncertain(
            0.0,
            math.sqrt(float(estimate.mean_covariance(units, everything)[0, 0])),
            estimate.process.degrees_of_freedom,
        )
        for estimate, units in ((one, first), (other, second))
    ]
    saving = combined(math.fsum((predicted - later).tolist()), parts)
    return _amounts(
        before,
        predicted=predicted,
        measured=None,
        saving=saving,
        total=adjusted(saving, ()),
        months=(),
    )


def _amounts(
    baseline: Baseline,
    *,
    predicted: Array,
    measured: Array | None,
    saving: Uncertain,
    total: Adjusted,
    months: tuple[Month, ...],
) -> Amounts:
    claimed = total.with_adjustments
    return Amounts(
        math.fsum(predicted.tolist()),
        None if measured is None else math.fsum(measured.tolist()),
        saving,
        total,
        months,
        baseline.plan.creditable.amount(
            claimed.value, claimed.half_width(0.90), claimed.half_width(0.95)
        ),
    )


def _by_month(data: Data) -> tuple[list[str], Array]:
    """The local months of the units, and which units are in each, shape (K, n)."""
    of_unit = (edges_us(data)[0] // US_PER_DAY).astype("datetime64[D]").astype("datetime64[M]")
    months = np.unique(of_unit)
    return [str(month) for month in months], (of_unit == months[:, None]).astype(np.float64)


def _site(name: str, savings: Savings) -> sites.Site:
    amounts = savings.amounts
    if amounts is None:
        raise MeasureError(
            f"The saving of {name!r} is refused: {', '.join(codes_of(savings.refused_by))}.",
            "Leave the site out, and say so, or mend it.",
            code="site_without_saving",
        )
    baseline = savings.baseline
    estimate = baseline.required()
    assert baseline.chosen is not None
    return sites.Site(
        name,
        amounts.total,
        amounts.predicted_wh,
        baseline.chosen.data.start_us,
        estimate.residuals,
    )
