"""What is said of a model and of each of its terms: error, t, p, F and variance inflation.

The p values are those of independent residuals, as the rules for choosing drivers ask for them.
They choose a model; the interval of a saving does not rest on them.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from joulemark_gateway.measure import fisher, student
from joulemark_gateway.measure.finding import Finding
from joulemark_gateway.measure.linear import Linear
from joulemark_gateway.measure.models.base import Fitted


@dataclass(frozen=True)
class TermStatistics:
    """One coefficient; `vif` is None for the base load, which is like no other term."""

    name: str
    unit: str
    coefficient: float
    standard_error: float
    t: float
    p: float  # two-sided
    vif: float | None


@dataclass(frozen=True)
class ModelTest:
    """Whether the drivers together explain anything."""

    f: float
    p: float
    above: int  # degrees of freedom of the drivers
    below: int  # and of the residuals


def term_statistics(fitted: Fitted) -> tuple[TermStatistics, ...]:
    """Each term of a model, in the order of its design."""
    linear = fitted.linear
    inverse, variance = linear.inverse, linear.residual_variance
    found = []
    for j, term in enumerate(fitted.terms):
        coefficient = float(linear.beta[j])
        error = math.sqrt(variance * float(inverse[j, j]))
        t = _ratio(coefficient, error)
        p = 0.0 if math.isinf(t) else 2 * student.tail(abs(t), linear.n - linear.p)
        vif = linear.vif(j) if j else None
        found.append(TermStatistics(term.name, term.unit, coefficient, error, t, p, vif))
    return tuple(found)


def model_test(linear: Linear) -> ModelTest:
    """The F test of all drivers together against the mean."""
    return _against(linear, linear.sst, linear.p - 1)


def group_p(linear: Linear, without: Linear | None) -> float:
    """The p value of some of a model's terms together, by what leaving them out costs.

    Args:
        linear: the model.
        without: the same units without these terms; None: nothing is left but the mean.
    """
    sse, terms = (linear.sst, 1) if without is None else (without.sse, without.p)
    return _against(linear, sse, linear.p - terms).p


def sign_findings(fitted: Fitted, positive: Collection[str], by: str) -> tuple[Finding, ...]:
    """For each term that physics makes positive, whether it is.

    Args:
        fitted: the model.
        positive: names of the terms that can only add energy.
        by: id of the policy that asks.
    """
    return tuple(
        Finding(
            "unphysical_sign",
            by,
            term.name,
            "more of it never lowers the energy",
            float(beta),
            0.0,
            None,
            term.unit,
            bool(beta >= 0),
        )
        for term, beta in zip(fitted.terms, fitted.linear.beta, strict=True)
        if term.name in positive
    )


def _against(linear: Linear, sse: float, terms: int) -> ModelTest:
    below = linear.n - linear.p
    f = _ratio((sse - linear.sse) / terms, linear.residual_variance)
    return ModelTest(f, fisher.tail(f, terms, below), terms, below)


def _ratio(above: float, below: float) -> float:
    """The ratio; without any noise endless, or 0 where nothing is there to be seen."""
    if below > 0:
        return above / below
    return math.copysign(math.inf, above) if above else 0.0
