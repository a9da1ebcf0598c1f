"""Avoided energy and CO2e of the reporting period, each with its interval at the aggregate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from joulemark_agent.contract.factor import Factor
from joulemark_agent.kernels.carbon import WH_PER_KWH, co2e
from joulemark_gateway.measure.creditable import CreditablePolicy
from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.estimate import Estimate
from joulemark_gateway.measure.meter_error import (
    MeterClass,
    MeterError,
    Uncertain,
    combined,
    of_saving,
)
from joulemark_gateway.measure.qr import Array
from joulemark_gateway.measure.result import (
    CarbonSaving,
    Creditable,
    FactorUse,
    Saving,
    Split,
    SubPeriod,
    ValuedEvent,
)
from joulemark_gateway.measure.student import quantile

_ENDLESS_DEGREES = 1e9


@dataclass(frozen=True, eq=False)
class Reported:
    """The kept units of the reporting period, predicted; arrays of shape (m,)."""

    units: Data
    days: tuple[date, ...]
    predicted_wh: Array

    @property
    def measured_wh(self) -> Array:
        """What the meter counted. [Wh]"""
        return self.units.energy_wh

    @property
    def avoided_wh(self) -> Array:
        """What each unit used less than predicted. [Wh]"""
        return self.predicted_wh - self.units.energy_wh


@dataclass(frozen=True)
class Beside:
    """What stands beside the model's own saving: the meter's accuracy, and events with a value."""

    meter: MeterClass | None = None
    baseline_meter: MeterClass | None = None
    events: tuple[ValuedEvent, ...] = ()


def reported(estimate: Estimate, units: Data, days: tuple[date, ...]) -> Reported:
    """The reporting units with the baseline's prediction for what was made in them."""
    return Reported(units, days, estimate.predict_wh(units))


def saving_of(
    estimate: Estimate,
    kept: Reported,
    *,
    masked_days: Sequence[date],
    confidence: float,
    factors: Sequence[Factor],
    policy: CreditablePolicy,
    without_exclusions_wh: float | None,
    beside: Beside = Beside(),
) -> Saving:
    """The saving over the kept units.

    Args:
        estimate: the baseline.
        kept: the kept units, predicted.
        masked_days: day of each masked unit.
        confidence: of the two-sided intervals.
        factors: emission factor of each kept unit, by its day.
        policy: how the creditable amount is found.
        without_exclusions_wh: the saving had no unit been excluded, where any was.
        beside: the meter, and events with a value.
    """
    everything = np.ones((1, kept.units.n))
    variance = float(estimate.covariance(kept.units, everything)[0, 0])
    degrees = estimate.process.degrees_of_freedom
    model = Uncertain(math.fsum(kept.avoided_wh.tolist()), math.sqrt(variance), degrees)
    meter = None
    if beside.meter is not None:
        meter = of_saving(kept.predicted_wh, kept.measured_wh, beside.meter, beside.baseline_meter)
    total = _total(model, meter, beside.events)
    counterfactual_wh = math.fsum(kept.predicted_wh.tolist())
    half_width_90_wh, half_width_95_wh = total.half_width(0.90), total.half_width(0.95)
    carbon = _carbon(estimate, kept, factors, confidence, meter, beside.events)
    return Saving(
        counterfactual_wh=counterfactual_wh,
        measured_wh=math.fsum(kept.measured_wh.tolist()),
        avoided_wh=total.value,
        avoided_ratio=total.value / counterfactual_wh if counterfactual_wh else 0.0,
        confidence=confidence,
        standard_error_wh=total.u,
        degrees_of_freedom=total.degrees_of_freedom,
        half_width_wh=total.half_width(confidence),
        half_width_90_wh=half_width_90_wh,
        half_width_95_wh=half_width_95_wh,
        months=_months(estimate, kept, masked_days, confidence),
        carbon=carbon,
        creditable=Creditable(
            policy=policy.used(),
            avoided_wh=total.value,
            half_width_90_wh=half_width_90_wh,
            creditable_wh=policy.amount(total.value, half_width_90_wh, half_width_95_wh),
            avoided_kg=carbon.avoided_kg,
            half_width_90_kg=carbon.half_width_90_kg,
            creditable_kg=policy.amount(
                carbon.avoided_kg, carbon.half_width_90_kg, carbon.half_width_95_kg
            ),
        ),
        without_exclusions_wh=without_exclusions_wh,
        model_avoided_wh=model.value,
        model_u_wh=model.u,
        model_half_width_wh=model.half_width(confidence),
        meter=meter,
        events=beside.events,
    )


def _total(model: Uncertain, meter: MeterError | None, events: Sequence[ValuedEvent]) -> Uncertain:
    """The model's saving with what stands beside it; itself where nothing does."""
    if meter is None and not events:
        return model
    parts = [model, *(Uncertain(0.0, event.u_wh, event.degrees_of_freedom) for event in events)]
    if meter is not None:
        parts.append(Uncertain(0.0, meter.u_wh))
    return combined(math.fsum([model.value, *(event.value_wh for event in events)]), parts)


def split_of(baseline_wh: Array, kept: Reported) -> Split:
    """The change of the measured sums as activity and efficiency."""
    before_wh = math.fsum(baseline_wh.tolist())
    counterfactual_wh = math.fsum(kept.predicted_wh.tolist())
    reporting_wh = math.fsum(kept.measured_wh.tolist())
    return Split(
        baseline_wh=before_wh,
        reporting_wh=reporting_wh,
        change_wh=before_wh - reporting_wh,
        activity_wh=before_wh - counterfactual_wh,
        efficiency_wh=math.fsum(kept.avoided_wh.tolist()),
        baseline_units=baseline_wh.size,
        reporting_units=kept.measured_wh.size,
    )


def cumulative(
    estimate: Estimate, kept: Reported, confidence: float
) -> tuple[list[float], list[float]]:
    """The model's saving up to each kept unit and its half-width; the last is that of the whole."""
    ends = range(1, kept.units.n + 1)
    variances = estimate.running_variance(kept.units, ends).tolist()
    sums: list[float] = []
    total = 0.0
    for avoided in kept.avoided_wh.tolist():
        total += avoided
        sums.append(total)
    return sums, [estimate.process.half_width(variance, confidence) for variance in variances]


def _months(
    estimate: Estimate, kept: Reported, masked_days: Sequence[date], confidence: float
) -> tuple[SubPeriod, ...]:
    label_of = [f"{day:%Y-%m}" for day in kept.days]
    masked = [f"{day:%Y-%m}" for day in masked_days]
    labels = sorted({*label_of, *masked})
    weights = np.array([[float(of == label) for of in label_of] for label in labels])
    covariance = estimate.covariance(kept.units, weights)
    months = []
    for k, label in enumerate(labels):
        inside = weights[k] > 0
        months.append(
            SubPeriod(
                label=label,
                kept=int(inside.sum()),
                masked=masked.count(label),
                measured_wh=math.fsum(kept.measured_wh[inside].tolist()),
                predicted_wh=math.fsum(kept.predicted_wh[inside].tolist()),
                avoided_wh=math.fsum(kept.avoided_wh[inside].tolist()),
                half_width_wh=estimate.process.half_width(float(covariance[k, k]), confidence),
            )
        )
    return tuple(months)


def _carbon(  # noqa: PLR0917 -- all that a tonne is made of
    estimate: Estimate,
    kept: Reported,
    factors: Sequence[Factor],
    confidence: float,
    meter: MeterError | None,
    events: Sequence[ValuedEvent],
) -> CarbonSaving:
    """Energy and factor combined as GUM has it; the factors' errors are taken as one and the same.

    u^2 = sum over units of factor-weighted energy (with its covariance) + (sum of E EF u(EF)/EF)^2.
    """
    per_wh = [float(factor.factor_kg_per_kwh) / WH_PER_KWH for factor in factors]
    variance = float(estimate.covariance(kept.units, np.array([per_wh]))[0, 0])
    uses: list[FactorUse] = []
    from_factor: list[float] = []
    for factor in dict.fromkeys(factors):
        inside = np.array([one == factor for one in factors], np.bool_)
        ratio = float(factor.standard_uncertainty_ratio)
        avoided_wh = kept.avoided_wh[inside]
        kg, _ = co2e(avoided_wh, float(factor.factor_kg_per_kwh), ratio)
        days = [day for day, is_inside in zip(kept.days, inside, strict=True) if is_inside]
        uses.append(
            FactorUse(factor, days[0], days[-1], len(days), math.fsum(avoided_wh.tolist()), kg)
        )
        from_factor.append(kg * ratio)
    model = Uncertain(0.0, math.sqrt(variance), estimate.process.degrees_of_freedom)
    from_meter = Uncertain(0.0, 0.0 if meter is None else _meter_kg(kept, per_wh, meter))
    from_events = [Uncertain(0.0, one.u_kg, one.degrees_of_freedom) for one in events]
    energy = model
    if meter is not None or events:
        energy = combined(0.0, [model, from_meter, *from_events])
        from_factor += [event.avoided_kg * event.factor_ratio for event in events]
    from_factor_kg = abs(math.fsum(from_factor))
    combined_kg = math.hypot(energy.u, from_factor_kg)
    degrees = _ENDLESS_DEGREES
    if energy.u > 0:  # Welch-Satterthwaite; the factor's part has no end of degrees
        share = combined_kg / energy.u
        degrees = min(energy.degrees_of_freedom * min(share, 1e4) ** 4, _ENDLESS_DEGREES)
    return CarbonSaving(
        avoided_kg=math.fsum(
            [*(use.avoided_kg for use in uses), *(event.avoided_kg for event in events)]
        ),
        from_energy_kg=energy.u,
        from_model_kg=model.u,
        from_meter_kg=from_meter.u,
        from_events_kg=math.hypot(*(one.u for one in from_events)),
        from_factor_kg=from_factor_kg,
        standard_uncertainty_kg=combined_kg,
        degrees_of_freedom=degrees,
        half_width_kg=quantile((1 + confidence) / 2, degrees) * combined_kg,
        half_width_90_kg=quantile(0.95, degrees) * combined_kg,
        half_width_95_kg=quantile(0.975, degrees) * combined_kg,
        factors=tuple(uses),
    )


def _meter_kg(kept: Reported, per_wh: Sequence[float], meter: MeterError) -> float:
    """What the meter's error is worth in CO2e, by the factor of what would have been used. [kg]"""
    predicted = kept.predicted_wh.tolist()
    kg = math.fsum(one * wh for one, wh in zip(per_wh, predicted, strict=True))
    total_wh = math.fsum(predicted)
    return meter.u_wh * abs(kg / total_wh) if total_wh else 0.0
