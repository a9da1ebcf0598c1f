"""What the errors of meter and emission factor add to the interval of a saving.

A meter's class is a limit: its bias lies anywhere inside it, so its standard uncertainty is the
class over sqrt(3). The bias is the same in every unit and adds linearly; the random part is new in
each and adds in quadrature:

    u^2(E) = model + (class / sqrt(3) * sum E)^2 + sum of (random part)^2.

One meter that read both periods reads both wrong by the same share, the baseline's model with it:
of a saving S = sum (Yhat - y) it makes S (1 + b), so its bias is worth class * |S| at most and not
class * E. Two meters, one for each period, have nothing to cancel.

Source: JCGM 100:2008, 4.3.7 (rectangular distribution), 5.1.2, G.4.1 (Welch-Satterthwaite).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from joulemark_agent.kernels.carbon import WH_PER_KWH
from joulemark_gateway.measure.qr import Array
from joulemark_gateway.measure.student import quantile

ENDLESS_DEGREES = 1e9  # of what was not estimated from a handful of units


@dataclass(frozen=True)
class Uncertain:
    """A figure with its standard uncertainty and degrees of freedom, all of one unit."""

    value: float
    u: float
    degrees_of_freedom: float = ENDLESS_DEGREES

    def half_width(self, confidence: float) -> float:
        """Half of the two-sided interval."""
        return quantile((1 + confidence) / 2, self.degrees_of_freedom) * self.u


@dataclass(frozen=True)
class MeterClass:
    """A meter's errors as shares of its reading: the limit of its bias, and the sd of the rest."""

    limit_ratio: float  # class 1: 0.01
    random_ratio: float = 0.0  # standard uncertainty of one unit's reading

    @property
    def bias_ratio(self) -> float:
        """Standard uncertainty of the bias."""
        return self.limit_ratio / math.sqrt(3)


@dataclass(frozen=True)
class MeterError:
    """What a meter is worth in a saving. [Wh]"""

    bias_limit_wh: float  # the most that the class allows
    bias_u_wh: float
    random_u_wh: float

    @property
    def u_wh(self) -> float:
        """Both parts together."""
        return math.hypot(self.bias_u_wh, self.random_u_wh)


def of_energy(energy_wh: Array, meter: MeterClass) -> MeterError:
    """The meter's error in a sum of its units, shape (m,)."""
    total_wh = abs(math.fsum(energy_wh.tolist()))
    return MeterError(
        meter.limit_ratio * total_wh, meter.bias_ratio * total_wh, _random_wh(energy_wh, meter)
    )


def of_saving(
    predicted_wh: Array,
    measured_wh: Array,
    reporting: MeterClass,
    baseline: MeterClass | None = None,
) -> MeterError:
    """The meter's error in a saving.

    The random part of the baseline's units is not added: the residuals of the model hold it.

    Args:
        predicted_wh: of each reporting unit, shape (m,). [Wh]
        measured_wh: of the same units, shape (m,). [Wh]
        reporting: the meter of the reporting period.
        baseline: that of the baseline, if it was another one; None: the same meter read both.
    """
    own_wh = _random_wh(measured_wh, reporting)
    before_wh, after_wh = math.fsum(predicted_wh.tolist()), math.fsum(measured_wh.tolist())
    if baseline is None:
        saving_wh = abs(before_wh - after_wh)
        return MeterError(
            reporting.limit_ratio * saving_wh, reporting.bias_ratio * saving_wh, own_wh
        )
    return MeterError(
        baseline.limit_ratio * abs(before_wh) + reporting.limit_ratio * abs(after_wh),
        math.hypot(baseline.bias_ratio * before_wh, reporting.bias_ratio * after_wh),
        own_wh,
    )


def with_meter(saving: Uncertain, meter: MeterError) -> Uncertain:
    """The saving, its model's uncertainty and the meter's in quadrature. [Wh]"""
    return combined(saving.value, (saving, Uncertain(0.0, meter.u_wh)))


@dataclass(frozen=True)
class Co2e:
    """CO2e of a saving, and what its parts are worth. [kg]"""

    total: Uncertain
    from_energy_kg: float
    from_factor_kg: float  # signed like the saving: one factor's error adds linearly


def co2e_of(saving_wh: Uncertain, factor_kg_per_kwh: float, factor_u_kg_per_kwh: float) -> Co2e:
    """CO2e of a saving under one factor: u^2 = EF^2 u^2(E) + E^2 u^2(EF)."""
    energy_kwh = saving_wh.value / WH_PER_KWH
    from_energy_kg = abs(factor_kg_per_kwh) * saving_wh.u / WH_PER_KWH
    from_factor_kg = energy_kwh * factor_u_kg_per_kwh
    parts = (
        Uncertain(0.0, from_energy_kg, saving_wh.degrees_of_freedom),
        Uncertain(0.0, abs(from_factor_kg)),
    )
    total = combined(energy_kwh * factor_kg_per_kwh, parts)
    return Co2e(total, from_energy_kg, from_factor_kg)


def combined(value: float, parts: Sequence[Uncertain]) -> Uncertain:
    """A value whose independent errors are those of the parts, by Welch and Satterthwaite."""
    u = math.hypot(*(part.u for part in parts))
    if u == 0:
        return Uncertain(value, 0.0)
    shares = [(part.u / u) ** 4 / part.degrees_of_freedom for part in parts]
    degrees = 1 / max(math.fsum(shares), 1 / ENDLESS_DEGREES)
    return Uncertain(value, u, degrees)


def _random_wh(energy_wh: Array, meter: MeterClass) -> float:
    return meter.random_ratio * math.sqrt(math.fsum((energy_wh**2).tolist()))
