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
from joulemark_gateway.measure.linear import Linear, Positions
from joulemark_gateway.measure.qr import Array
from joulemark_gateway.measure.result import (
    CarbonSaving,
    Creditable,
    FactorUse,
    Saving,
    Split,
    SubPeriod,
)
from joulemark_gateway.measure.student import quantile
from joulemark_gateway.measure.uncertainty import Noise

_ENDLESS_DEGREES = 1e9


@dataclass(frozen=True, eq=False)
class Reported:
    """The kept units of the reporting period, predicted; arrays of shape (m,)."""

    x: Array
    position: Positions
    days: tuple[date, ...]  # of the kept units
    measured_wh: Array
    predicted_wh: Array

    @property
    def avoided_wh(self) -> Array:
        """What each unit used less than predicted. [Wh]"""
        return self.predicted_wh - self.measured_wh


def reported(
    model: Linear,
    x: Array,
    measured_wh: Array,
    position: Positions,
    days: tuple[date, ...],
) -> Reported:
    """The reporting units with the baseline's prediction for what was made in them."""
    return Reported(x, position, days, measured_wh, model.predict(x))


def saving_of(
    noise: Noise,
    units: Reported,
    *,
    masked_days: Sequence[date],
    confidence: float,
    factors: Sequence[Factor],
    policy: CreditablePolicy,
    without_exclusions_wh: float | None,
) -> Saving:
    """The saving over the kept units.

    Args:
        noise: the baseline's residuals.
        units: the kept units, predicted.
        masked_days: day of each masked unit.
        confidence: of the two-sided intervals.
        factors: emission factor of each kept unit, by its day.
        policy: how the creditable amount is found.
        without_exclusions_wh: the saving had no unit been excluded, where any was.
    """
    counterfactual_wh = math.fsum(units.predicted_wh.tolist())
    measured_wh = math.fsum(units.measured_wh.tolist())
    avoided_wh = math.fsum(units.avoided_wh.tolist())
    everything = np.ones((1, units.measured_wh.size))
    variance = float(noise.covariance(units.x, units.position, everything)[0, 0])
    half_width_90_wh = noise.half_width(variance, 0.90)
    half_width_95_wh = noise.half_width(variance, 0.95)
    carbon = _carbon(noise, units, factors, confidence)
    return Saving(
        counterfactual_wh=counterfactual_wh,
        measured_wh=measured_wh,
        avoided_wh=avoided_wh,
        avoided_ratio=avoided_wh / counterfactual_wh if counterfactual_wh else 0.0,
        confidence=confidence,
        standard_error_wh=math.sqrt(variance),
        degrees_of_freedom=noise.degrees_of_freedom,
        half_width_wh=noise.half_width(variance, confidence),
        half_width_90_wh=half_width_90_wh,
        half_width_95_wh=half_width_95_wh,
        months=_months(noise, units, masked_days, confidence),
        carbon=carbon,
        creditable=Creditable(
            policy=policy.used(),
            avoided_wh=avoided_wh,
            half_width_90_wh=half_width_90_wh,
            creditable_wh=policy.amount(avoided_wh, half_width_90_wh, half_width_95_wh),
            avoided_kg=carbon.avoided_kg,
            half_width_90_kg=carbon.half_width_90_kg,
            creditable_kg=policy.amount(
                carbon.avoided_kg, carbon.half_width_90_kg, carbon.half_width_95_kg
            ),
        ),
        without_exclusions_wh=without_exclusions_wh,
    )


def split_of(baseline_wh: Array, units: Reported) -> Split:
    """The change of the measured sums as activity and efficiency."""
    before_wh = math.fsum(baseline_wh.tolist())
    counterfactual_wh = math.fsum(units.predicted_wh.tolist())
    reporting_wh = math.fsum(units.measured_wh.tolist())
    return Split(
        baseline_wh=before_wh,
        reporting_wh=reporting_wh,
        change_wh=before_wh - reporting_wh,
        activity_wh=before_wh - counterfactual_wh,
        efficiency_wh=math.fsum(units.avoided_wh.tolist()),
        baseline_units=baseline_wh.size,
        reporting_units=units.measured_wh.size,
    )


def cumulative(noise: Noise, units: Reported, confidence: float) -> tuple[list[float], list[float]]:
    """The saving up to each kept unit and its half-width; the last is that of the whole."""
    variances = noise.cumulative_variance(units.x, units.position).tolist()
    sums: list[float] = []
    total = 0.0
    for avoided in units.avoided_wh.tolist():
        total += avoided
        sums.append(total)
    return sums, [noise.half_width(variance, confidence) for variance in variances]


def _months(
    noise: Noise, units: Reported, masked_days: Sequence[date], confidence: float
) -> tuple[SubPeriod, ...]:
    label_of = [f"{day:%Y-%m}" for day in units.days]
    masked = [f"{day:%Y-%m}" for day in masked_days]
    labels = sorted({*label_of, *masked})
    weights = np.array([[float(of == label) for of in label_of] for label in labels])
    covariance = noise.covariance(units.x, units.position, weights)
    months = []
    for k, label in enumerate(labels):
        inside = weights[k] > 0
        months.append(
            SubPeriod(
                label=label,
                kept=int(inside.sum()),
                masked=masked.count(label),
                measured_wh=math.fsum(units.measured_wh[inside].tolist()),
                predicted_wh=math.fsum(units.predicted_wh[inside].tolist()),
                avoided_wh=math.fsum(units.avoided_wh[inside].tolist()),
                half_width_wh=noise.half_width(float(covariance[k, k]), confidence),
            )
        )
    return tuple(months)


def _carbon(
    noise: Noise, units: Reported, factors: Sequence[Factor], confidence: float
) -> CarbonSaving:
    """Energy and factor combined as GUM has it; the factors' errors are taken as one and the same.

    u^2 = sum over units of factor-weighted energy (with its covariance) + (sum of E EF u(EF)/EF)^2.
    """
    weights = np.array([[float(factor.factor_kg_per_kwh) / WH_PER_KWH for factor in factors]])
    variance = float(noise.covariance(units.x, units.position, weights)[0, 0])
    uses: list[FactorUse] = []
    from_factor: list[float] = []
    for factor in dict.fromkeys(factors):
        inside = np.array([one == factor for one in factors], np.bool_)
        ratio = float(factor.standard_uncertainty_ratio)
        avoided_wh = units.avoided_wh[inside]
        kg, _ = co2e(avoided_wh, float(factor.factor_kg_per_kwh), ratio)
        days = [day for day, is_inside in zip(units.days, inside, strict=True) if is_inside]
        uses.append(
            FactorUse(factor, days[0], days[-1], len(days), math.fsum(avoided_wh.tolist()), kg)
        )
        from_factor.append(kg * ratio)
    from_energy_kg = math.sqrt(variance)
    from_factor_kg = abs(math.fsum(from_factor))
    combined_kg = math.hypot(from_energy_kg, from_factor_kg)
    degrees = _ENDLESS_DEGREES
    if from_energy_kg > 0:  # Welch-Satterthwaite; the factor's part has no end of degrees
        share = combined_kg / from_energy_kg
        degrees = min(noise.degrees_of_freedom * min(share, 1e4) ** 4, _ENDLESS_DEGREES)
    return CarbonSaving(
        avoided_kg=math.fsum(use.avoided_kg for use in uses),
        from_energy_kg=from_energy_kg,
        from_factor_kg=from_factor_kg,
        standard_uncertainty_kg=combined_kg,
        degrees_of_freedom=degrees,
        half_width_kg=quantile((1 + confidence) / 2, degrees) * combined_kg,
        half_width_90_kg=quantile(0.95, degrees) * combined_kg,
        half_width_95_kg=quantile(0.975, degrees) * combined_kg,
        factors=tuple(uses),
    )
