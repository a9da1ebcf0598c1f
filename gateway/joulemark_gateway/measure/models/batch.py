"""A furnace batch by batch: what time, mass and heat each cost.

E = b0 hours + b1 mass + b2 (T_soak - T_in) mass + b3 idle hours. The unit is the batch, in the
order in which they ran: the residuals' memory is that from batch to batch. There is no constant
term, since a batch without time and mass uses nothing. A term that never changes by itself (one
soak temperature for all) follows from another and is left out by the caller, who names the terms.

Energy is counted in Wh of the carrier's net (lower) heating value, so that gas and electricity add;
what a change of fuel does to energy and to CO2e is told apart, since it may save one and not the
other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from joulemark_agent.contract.errors import MeasureError
from joulemark_agent.kernels.carbon import WH_PER_KWH
from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.finding import Finding
from joulemark_gateway.measure.linear import fit
from joulemark_gateway.measure.models.base import Fitted, Term
from joulemark_gateway.measure.models.terms import sign_findings
from joulemark_gateway.measure.qr import Array

HOURS, MASS, HEAT, IDLE = "batch_h", "mass_kg", "heat", "idle_h"

_Column = Callable[[Data], Array]


def _heat(data: Data) -> Array:
    """What is to be heated, by how much. [kg K]"""
    warmer: Array = data.driver("soak_c") - data.driver("charged_c")
    return warmer * data.driver("mass_kg")


_COLUMNS: dict[str, tuple[str, _Column]] = {
    HOURS: ("Wh/h", lambda data: data.driver("batch_h")),
    MASS: ("Wh/kg", lambda data: data.driver("mass_kg")),
    HEAT: ("Wh/(kg K)", _heat),
    IDLE: ("Wh/h", lambda data: data.driver("idle_h")),
}


@dataclass(frozen=True)
class ProductLine:
    """One product of the reporting period, at the baseline's rates."""

    product: int
    batches: int
    mass_kg: float
    predicted_wh: float
    measured_wh: float

    @property
    def avoided_wh(self) -> float:
        """What its batches used less than predicted. [Wh]"""
        return self.predicted_wh - self.measured_wh


@dataclass(frozen=True)
class Carrier:
    """One energy carrier of a furnace before and after, for the same batches."""

    name: str
    counterfactual_wh: float  # net heating value
    measured_wh: float
    factor_kg_per_kwh: float  # CO2e per kWh of net heating value


@dataclass(frozen=True)
class FuelSwitch:
    """What a change of carriers saved, in energy and in CO2e apart."""

    avoided_wh: Mapping[str, float]
    avoided_kg: Mapping[str, float]

    @property
    def total_wh(self) -> float:
        """Energy of all carriers. [Wh of net heating value]"""
        return math.fsum(self.avoided_wh.values())

    @property
    def total_kg(self) -> float:
        """CO2e of all carriers. [kg]"""
        return math.fsum(self.avoided_kg.values())


def fit_batches(data: Data, terms: Sequence[str] = (HOURS, MASS, HEAT, IDLE)) -> Fitted:
    """The least-squares rates of a furnace.

    Args:
        data: batches without holes, with `batch_h`, `mass_kg`, `soak_c`, `charged_c` and `idle_h`
            as far as the terms need them; `position` counts batches in their order.
        terms: those of the model, `batch_h` first.

    Raises:
        MeasureError: `no_batch_hours`, `unknown_term`, `missing_driver`, those of `linear.fit`.
    """
    unknown = [name for name in terms if name not in _COLUMNS]
    if unknown or not terms or terms[0] != HOURS:
        raise MeasureError(
            f"The terms are {', '.join(terms) or 'none'}.",
            f"Name {HOURS} first, then any of {MASS}, {HEAT}, {IDLE}.",
            code="unknown_term" if unknown else "no_batch_hours",
        )

    def rows(of: Data) -> Array:
        return np.column_stack([_COLUMNS[name][1](of) for name in terms])

    x = rows(data)
    linear = fit(np.ascontiguousarray(x[:, 1:]), data.energy_wh, data.position, x[:, 0].copy())
    named = tuple(Term(name, _COLUMNS[name][0]) for name in terms)
    return Fitted("batch", linear, named, rows, rows)


def rate_findings(fitted: Fitted, by: str) -> tuple[Finding, ...]:
    """For each rate, whether it is one that a furnace can have: none lowers the energy."""
    return sign_findings(fitted, {term.name for term in fitted.terms}, by)


def by_product(fitted: Fitted, data: Data) -> tuple[ProductLine, ...]:
    """The reporting batches by product: what the baseline would have used for this very mix.

    Args:
        fitted: the baseline.
        data: batches, with `product` as a number; those with a hole are left out of both sums.
    """
    predicted = fitted.predict_wh(data)
    product = data.driver("product")
    known = data.is_whole & np.isfinite(predicted)
    lines = []
    for code in sorted({int(one) for one in product[known].tolist()}):
        of = known & (product == code)
        lines.append(
            ProductLine(
                code,
                int(np.count_nonzero(of)),
                math.fsum(data.driver("mass_kg")[of].tolist()),
                math.fsum(predicted[of].tolist()),
                math.fsum(data.energy_wh[of].tolist()),
            )
        )
    return tuple(lines)


def fuel_switch(carriers: Sequence[Carrier]) -> FuelSwitch:
    """What changing carriers saved: each carrier's counterfactual less what it really used."""
    avoided_wh = {one.name: one.counterfactual_wh - one.measured_wh for one in carriers}
    avoided_kg = {
        one.name: avoided_wh[one.name] / WH_PER_KWH * one.factor_kg_per_kwh for one in carriers
    }
    return FuelSwitch(avoided_wh, avoided_kg)
