"""The intervals that others print, as named, versioned methods: to compare with, not to rely on.

Each gives the half-width of the two-sided interval of a sum of savings from the same facts. They
differ in how they count correlated residuals: an effective number n' = n (1 - rho)/(1 + rho) in
some places or in all, an empirical factor for what the coefficients add, or nothing. What they
cover in simulation stands in docs/figures/nightly/coverage.md, beside the engine's own interval.

A negative correlation counts as none, whatever a peer does with it: it would narrow the interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.finding import NamedPolicy
from joulemark_gateway.measure.models.base import Fitted
from joulemark_gateway.measure.student import quantile
from joulemark_gateway.measure.uncertainty import lag_one_correlation, linearised

Step = Literal["hour", "day", "month"]
Rule = Callable[["Case", float], float]  # facts, confidence -> half-width

_G14 = 1.26
_DAILY = (-0.00024, 0.03535, 1.00286)
_MONTHLY = (-0.00022, 0.03306, 0.94054)
_NMECR_DAYS_IN_MONTH = 30  # R's mean(30, 31) is 30
_NMECR_SWITCH = 0.5
_LEAST_N = 1.0


@dataclass(frozen=True)
class Case:
    """A baseline of n units, and the sum over m units that is asked about."""

    step: Step  # length of a unit
    n: int
    terms: int  # columns of the design, the intercept included
    searched: int  # parameters found by search, like change points
    sse_wh2: float
    mean_wh: float  # of a baseline unit
    rho: float  # correlation of neighbouring residuals
    m: int
    months: float  # that the sum spans
    predicted_wh: float  # the sum of the baseline's predictions
    saving_wh: float
    leverage: float  # v'(X'X)^-1 v, v the sum of the rows

    @property
    def p(self) -> int:
        """All that was fitted."""
        return self.terms + self.searched

    @property
    def effective_n(self) -> float:
        """n', from 1 to n."""
        rho = max(self.rho, 0.0)
        return max(self.n * (1 - rho) / (1 + rho), _LEAST_N)


def case_of(fitted: Fitted, before: Data, after: Data, *, step: Step, months: float) -> Case:
    """The facts of a fit and of the units it is used for.

    Args:
        fitted: the baseline.
        before: what it was fitted to.
        after: the reporting units, without holes.
        step: length of a unit.
        months: that the reporting units span.
    """
    model = linearised(fitted, before)
    predicted = fitted.predict_wh(after)
    rows = model.coordinates(fitted.tangent(after))
    sums = [math.fsum(rows[:, j].tolist()) for j in range(model.p)]
    return Case(
        step=step,
        n=model.n,
        terms=fitted.linear.p,
        searched=fitted.searched,
        sse_wh2=model.sse,
        mean_wh=math.fsum(model.y.tolist()) / model.n,
        rho=lag_one_correlation(model.e, model.position),
        m=after.n,
        months=months,
        predicted_wh=math.fsum(predicted.tolist()),
        saving_wh=math.fsum((predicted - after.energy_wh).tolist()),
        leverage=math.fsum(one * one for one in sums),
    )


@dataclass(frozen=True)
class IntervalMethod(NamedPolicy):
    """One version of one way to an interval."""

    rule: Rule

    def half_width_wh(self, case: Case, confidence: float) -> float:
        """Half of the two-sided interval of the saving. [Wh]

        Raises:
            MeasureError: `bad_confidence`, `no_reporting_units`, `no_load`, `too_few_units`, and
                where the method itself has no figure: `residuals_too_correlated`,
                `too_many_months`, `saving_rounds_to_zero`.
        """
        if not 0 < confidence < 1:
            raise self._refused(
                "bad_confidence", f"{confidence!r} is no confidence", "Give one like 0.9."
            )
        if case.m < 1:
            raise self._refused("no_reporting_units", "there is nothing to sum", "Wait for a unit.")
        if case.mean_wh == 0:
            raise self._refused("no_load", "the baseline's mean is 0", "Check the energy point.")
        if case.n <= case.p:
            raise self._refused(
                "too_few_units", f"{case.n} units cannot carry {case.p} parameters", "Lengthen it."
            )
        return self.rule(case, confidence)

    def _refused(self, code: str, what: str, do: str) -> MeasureError:
        return MeasureError(f"The method {self.id} gives no interval: {what}.", do, code=code)


def sun_baltazar_factor(step: Step, months: float) -> float:
    """The factor in place of 1.26, which grows with the months reported; 1.26 for hours.

    Raises:
        MeasureError: `too_many_months`, beyond six years the polynomial falls again.
    """
    if step == "hour":
        return _G14
    square, linear, constant = _DAILY if step == "day" else _MONTHLY
    if months > -linear / (2 * square):
        raise MeasureError(
            f"The factor of Sun and Baltazar falls again before {months:.0f} months.",
            "Report fewer months at a time, or use another method.",
            code="too_many_months",
        )
    return square * months**2 + linear * months + constant


def _t(confidence: float, degrees: float) -> float:
    if degrees < 1:
        raise MeasureError(
            f"The method leaves {degrees:.2f} degrees of freedom.",
            "Lengthen the baseline, or find the driver that is missing.",
            code="residuals_too_correlated",
        )
    return quantile((1 + confidence) / 2, degrees)


def _per_unit_ratio(case: Case) -> float:
    """Mean prediction over the baseline's mean: what turns CV(RMSE) into energy."""
    return abs(case.predicted_wh / case.m / case.mean_wh)


def _annex_b(case: Case, confidence: float, factor: float, parameters: int) -> float:
    """The product t factor CV (Yhat/m) sqrt(n/n' (1 + 2/n') m), t and CV with n - parameters."""
    degrees, effective = case.n - parameters, case.effective_n
    spread = math.sqrt(case.sse_wh2 / degrees * (case.n / effective) * (1 + 2 / effective) * case.m)
    return _t(confidence, degrees) * factor * spread * _per_unit_ratio(case)


def _effective_everywhere(
    case: Case, confidence: float, factor: float, effective: float, parameters: int
) -> float:
    """The product t factor sqrt(SSE/(n' - parameters) (1 + 2/n') m), t with n' - parameters."""
    degrees = effective - parameters
    t = _t(confidence, degrees)
    return t * factor * math.sqrt(case.sse_wh2 / degrees * (1 + 2 / effective) * case.m)


def _g14_effective(case: Case, confidence: float) -> float:
    width = _effective_everywhere(case, confidence, _G14, case.effective_n, case.p)
    return width * _per_unit_ratio(case)


def _nmecr(case: Case, confidence: float) -> float:
    months = case.n / _NMECR_DAYS_IN_MONTH if case.step == "day" else float(case.n)
    is_plain = case.step == "month" or case.rho < _NMECR_SWITCH
    effective = float(case.n) if is_plain else case.effective_n
    factor = sun_baltazar_factor(case.step, months)
    width = _effective_everywhere(case, confidence, factor, effective, case.terms)
    ratio = case.saving_wh / case.predicted_wh if case.predicted_wh else 0.0
    rounded = round(ratio, 2)
    if rounded == 0:
        raise MeasureError(
            f"nmecr divides by the savings fraction rounded to 2 decimals; {ratio:.4f} gives 0.",
            "Use a method that does not round.",
            code="saving_rounds_to_zero",
        )
    return abs(case.saving_wh / (case.m * case.mean_wh * rounded)) * width


def _independent(case: Case, confidence: float) -> float:
    degrees = case.n - case.p
    return _t(confidence, degrees) * math.sqrt(case.sse_wh2 / degrees * (case.m + case.leverage))


INTERVAL_METHODS = {
    method.id: method
    for method in (
        IntervalMethod(
            id="g14-2014-annex-b",
            version="1",
            text="The factor 1.26 for the coefficients, CV(RMSE) and t with n - p, n' under the "
            "root only.",
            source="ASHRAE Guideline 14-2014, annex B, as used by public code (opendsm for hours, "
            "RMV2.0); the text of the guideline itself was not at hand",
            rule=lambda case, confidence: _annex_b(case, confidence, _G14, case.p),
        ),
        IntervalMethod(
            id="g14-effective-n",
            version="1",
            text="The factor 1.26, with n' in place of n in t, in the variance and under the root.",
            source="ASHRAE Guideline 14 as read by public code; the text of the guideline itself "
            "was not at hand",
            rule=_g14_effective,
        ),
        IntervalMethod(
            id="sun-baltazar-2013",
            version="1",
            text="As g14-2014-annex-b, with a factor that grows with the months reported in place "
            "of 1.26 (days and months; hours keep 1.26).",
            source="Sun and Baltazar 2013, coefficients as given in CalTRACK 2.0, 4.3.2.4.6; the "
            "paper itself was not at hand",
            rule=lambda case, confidence: _annex_b(
                case, confidence, sun_baltazar_factor(case.step, case.months), case.p
            ),
        ),
        IntervalMethod(
            id="caltrack-fsu-2.0",
            version="1",
            text="As sun-baltazar-2013, t and CV(RMSE) with the number of units less the "
            "explanatory variables: neither intercept nor change points are counted.",
            source="CalTRACK 2.0, 4.3.2.2 and 4.3.2.4",
            rule=lambda case, confidence: _annex_b(
                case, confidence, sun_baltazar_factor(case.step, case.months), case.terms - 1
            ),
        ),
        IntervalMethod(
            id="nmecr-1.0.17",
            version="1",
            text="Plain n for months and below a correlation of 0.5, n' everywhere from there on; "
            "the factor of Sun and Baltazar with the baseline's months of 30 days, change points "
            "not counted, the savings fraction rounded to 2 decimals first.",
            source="nmecr 1.0.17, calculate_savings_and_uncertainty.R",
            rule=_nmecr,
        ),
        IntervalMethod(
            id="ols-independent",
            version="1",
            text="t sqrt(s2 (m + v'(X'X)^-1 v)): the textbook's prediction interval of a sum, as "
            "if residuals were independent.",
            source="textbook algebra of least squares, derived",
            rule=_independent,
        ),
    )
}
