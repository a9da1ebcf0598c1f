"""A baseline: a model that was fitted under a plan, with its interval and its policy's findings."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.adjustments import excluded_units, without_excluded
from joulemark_gateway.measure.calendar import US_PER_HOUR
from joulemark_gateway.measure.checks import DATA_CHECKS
from joulemark_gateway.measure.data import Data, Flags
from joulemark_gateway.measure.estimate import Estimate, LineEstimate, estimate_of
from joulemark_gateway.measure.families import Chosen
from joulemark_gateway.measure.finding import Finding
from joulemark_gateway.measure.guard import checked
from joulemark_gateway.measure.models.metrics import Metrics
from joulemark_gateway.measure.models.temperature_choice import Alternative
from joulemark_gateway.measure.plan import Plan
from joulemark_gateway.measure.qr import Array
from joulemark_gateway.measure.rules import Judged
from joulemark_gateway.measure.sufficiency import Billing, Case
from joulemark_gateway.measure.verdict import Verdict, refusal, verdict_of

_ALIKE = 3  # times: a bill of two months beside one of one, and not a day beside an hour


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the baseline would have used in other units; NaN where a driver is missing."""

    units: Data  # of the model: hours, where it was fitted to minutes that were summed up
    energy_wh: Array  # shape (m,)
    half_width_wh: float | None  # of the expected sum over those that are known
    confidence: float

    @property
    def total_wh(self) -> float:
        """The sum over the units that are known. [Wh]"""
        return math.fsum(self.energy_wh[np.isfinite(self.energy_wh)].tolist())


@dataclass(frozen=True, eq=False)
class Baseline:
    """A plan's model of data; where the data carry none, `refusals` say why and there is none.

    `given` is what the policy lets count, with its holes; `estimate` is None where there is no
    model, or one without an interval.
    """

    plan: Plan
    given: Data
    chosen: Chosen | None
    estimate: Estimate | None
    refusals: tuple[Finding, ...] = ()
    billing: Billing | None = None
    covered_ratio: Array | None = None

    @classmethod
    def fit(
        cls,
        data: Data,
        plan: Plan,
        *,
        billing: Billing | None = None,
        covered_ratio: Array | None = None,
    ) -> Baseline:
        """The baseline of a plan; data that carry none give one that is disqualified.

        Args:
            data: units of the baseline period, NaN where something is missing.
            plan: the model and the policies.
            billing: what is known of bills besides their energy.
            covered_ratio: how much of each unit was measured, where units were rolled up,
                shape (n,).

        Raises:
            MeasureError: data that nothing can be said of, with the codes of `guard.checked`.
        """
        given = given_of(data, plan)
        chosen = _chosen(plan.model.fit, units_of_fit(given, plan))
        return cls.of(given, plan, chosen, billing=billing, covered_ratio=covered_ratio)

    @classmethod
    def of(
        cls,
        given: Data,
        plan: Plan,
        chosen: Chosen | MeasureError,
        *,
        billing: Billing | None = None,
        covered_ratio: Array | None = None,
    ) -> Baseline:
        """The baseline of a model that has been fitted to `units_of_fit`, or refused.

        Args:
            given: what the policy lets count, as `given_of` has it.
            plan: the model and the policies.
            chosen: the model, or why there is none.
            billing: as of `fit`.
            covered_ratio: as of `fit`.
        """
        if isinstance(chosen, MeasureError):
            refused = (refusal(chosen, "baseline"),)
            return cls(plan, given, None, None, refused, billing, covered_ratio)
        try:
            estimate = estimate_of(chosen.model, chosen.data)
        except MeasureError as error:
            refused = (refusal(error, "baseline"),)
            return cls(plan, given, chosen, None, refused, billing, covered_ratio)
        return cls(plan, given, chosen, estimate, (), billing, covered_ratio)

    @property
    def method(self) -> str:
        """The method of the model, or `none`."""
        return "none" if self.chosen is None else self.chosen.model.id

    @property
    def metrics(self) -> Metrics | None:
        """How well it fits; None where there is no model."""
        return None if self.chosen is None else self.chosen.metrics

    @property
    def fitted_units(self) -> Data:
        """The units that the model was fitted to; none where there is no model."""
        return (
            self.given.where(self.given.position < 0) if self.chosen is None else self.chosen.data
        )

    @property
    def alternatives(self) -> tuple[Alternative, ...]:
        """What else was looked at."""
        return () if self.chosen is None else self.chosen.alternatives

    @property
    def verdict(self) -> Verdict:
        """The baseline alone under its policy."""
        return self.verdict_with(None)

    def verdict_with(self, reporting: Data | None) -> Verdict:
        """The baseline under its policy, for what it is to prove; what is left out proves nothing.

        Args:
            reporting: units of that period; None: it has not begun.
        """
        plan = self.plan
        if reporting is not None:
            reporting = without_excluded(plan.adjustments, reporting)
        case = Case(
            without_excluded(plan.adjustments, self.given),
            reporting=reporting,
            carrier=plan.carrier,
            production_cycle_days=plan.production_cycle_days,
            adjusted_r2=None if self.metrics is None else self.metrics.adjusted_r2,
            billing=self.billing,
            covered_ratio=self.covered_ratio,
        )
        verdict = verdict_of(plan.sufficiency, case, plan.override)
        own = Judged((*self.refusals, *(() if self.chosen is None else self.chosen.findings)))
        return replace(verdict, judged=verdict.judged + own + self._far(reporting))

    def predict(self, data: Data) -> Prediction:
        """What the baseline would have used in these units.

        Raises:
            MeasureError: `no_model`; `missing_driver`; those of `guard.checked`.
        """
        estimate = self.required()
        units = self.units_of(data)
        energy_wh = estimate.predict_wh(units)
        known = np.isfinite(energy_wh)
        half_width_wh = None
        if known.any():
            weights = np.ones((1, int(np.count_nonzero(known))))
            variance = float(estimate.mean_covariance(units.where(known), weights)[0, 0])
            half_width_wh = estimate.process.half_width(variance, self.plan.confidence)
        return Prediction(units, energy_wh, half_width_wh, self.plan.confidence)

    def required(self) -> Estimate:
        """The model with its interval.

        Raises:
            MeasureError: `no_model`, with the reason.
        """
        if self.estimate is None:
            why = self.refusals[0]
            raise MeasureError(
                f"There is no baseline model: {why.rule}",
                f"Mend {why.code} first.",
                code="no_model",
            )
        return self.estimate

    def read(self, data: Data) -> Data:
        """Data fit for arithmetic, with the drivers that the model reads.

        Raises:
            MeasureError: `missing_driver`, and those of `guard.checked`.
        """
        return with_drivers(checked(data), self.plan.model.drivers)

    def units_of(self, data: Data) -> Data:
        """Data of another period as units of the model.

        Raises:
            MeasureError: as `read`; `other_units`; what the model's family says of such data.
        """
        assert self.chosen is not None
        units = self.chosen.units(self.read(data))
        check_alike(self.chosen.data, units)
        return units

    def known_of(self, units: Data) -> Flags:
        """The units that are whole and that the model knows."""
        known: Flags = units.is_whole.copy()
        known[known] = np.isfinite(self.required().predict_wh(units.where(known)))
        return known

    def _far(self, reporting: Data | None) -> Judged:
        """How far the units of a period lie from those of the baseline together; a warning."""
        if reporting is None or not isinstance(self.estimate, LineEstimate):
            return Judged(())
        try:
            fitted = self.estimate.fitted
            leverage = fitted.leverage(self.units_of(reporting))
        except MeasureError:  # what is wrong with them stands among the findings
            return Judged(())
        return Judged((), DATA_CHECKS.far(leverage, fitted.linear.p, fitted.linear.n))


def with_drivers(data: Data, names: tuple[str, ...] | None) -> Data:
    """The data with the drivers that a model reads; None: all of them.

    Raises:
        MeasureError: `missing_driver`.
    """
    if names is None or names == tuple(data.drivers):
        return data
    return replace(data, drivers={name: data.driver(name) for name in names})


def check_alike(fitted: Data, units: Data) -> None:
    """Let pass only units as long as those of the fit: the noise of an hour is not that of a day.

    Batches, which have no length of their own, are not looked at.

    Raises:
        MeasureError: `other_units`.
    """
    if not units.n:
        return
    shortest_us, longest_us = fitted.length_range_us
    if longest_us > _ALIKE * shortest_us:
        return
    before_us, now_us = fitted.median_length_us, units.median_length_us
    if max(before_us, now_us) > _ALIKE * min(before_us, now_us):
        raise MeasureError(
            f"The model is one of units of {before_us / US_PER_HOUR:g} h, these have "
            f"{now_us / US_PER_HOUR:g} h.",
            "Give all periods in units of one length; `roll_up` makes days of hours.",
            code="other_units",
        )


def given_of(data: Data, plan: Plan) -> Data:
    """The data of a baseline as the policy lets them count, with their holes.

    Raises:
        MeasureError: `missing_driver`, and those of `guard.checked`.
    """
    whole = with_drivers(checked(data), plan.model.drivers)
    return plan.sufficiency.masked(whole, plan.carrier)


def units_of_fit(given: Data, plan: Plan) -> Data:
    """The units that a model is fitted to: whole ones outside what is left out."""
    return given.where(given.is_whole & ~excluded_units(plan.adjustments, given))


def _chosen(fit: Callable[[Data], Chosen], units: Data) -> Chosen | MeasureError:
    """What a family fits, or what it refuses the units with."""
    try:
        with np.errstate(all="ignore"):
            return fit(units)
    except MeasureError as error:
        return error
