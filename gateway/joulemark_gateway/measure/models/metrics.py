"""How well a model fits and how well it predicts what it has not seen.

Divisors are said with each; p counts change points. With AR(1) residuals BIC takes n' for n.

Source: ASHRAE Guideline 14; Schwarz (1978); Hurvich and Tsai (1989); Allen (1974).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.data import Data, Times
from joulemark_gateway.measure.models.base import Fitted
from joulemark_gateway.measure.qr import Array
from joulemark_gateway.measure.sums import squares, total
from joulemark_gateway.measure.uncertainty import lag_one_correlation

if TYPE_CHECKING:
    from joulemark_gateway.measure.models.time_of_week_blend import Blend

_MOST_RHO = 0.99


@dataclass(frozen=True)
class Metrics:
    """Figures of one fit of n units with p parameters; None where one cannot be had."""

    n: int
    p: float  # a whole number where one model was fitted
    effective_n: float  # n'
    sse: float
    cv_rmse: float | None  # sqrt(SSE / (n - p)) / mean
    nmbe: float | None  # sum e / ((n - p) mean)
    r2: float
    adjusted_r2: float  # both variances per degree of freedom
    pnrmse: float | None  # sqrt(SSE / (n - p)) / (Q3 - Q1)
    bic: float  # n' ln(SSE / n) + p ln n'
    aicc: float
    press_cv_rmse: float | None  # each unit left out of its own prediction, change points held


def metrics_of(fitted: Fitted, effective_n: float | None = None) -> Metrics:
    """The figures of a fit.

    Args:
        fitted: the model.
        effective_n: n' by which models are compared; None: that of the model's own residuals.
    """
    linear = fitted.linear
    found = _figures(linear.y, linear.e, linear.position, fitted.parameters, effective_n)
    explained = 1 - linear.sse / linear.sst
    per_degree = linear.sse / (linear.n - fitted.parameters) / (linear.sst / (linear.n - 1))
    return replace(found, r2=explained, adjusted_r2=1 - per_degree, press_cv_rmse=_press(fitted))


def blend_metrics(blend: Blend) -> Metrics:
    """The figures of several models blended; p is how much freedom they have together."""
    data = blend.baseline
    return _figures(data.energy_wh, blend.residuals, data.position, blend.parameters, None)


def _figures(y: Array, e: Array, position: Times, p: float, effective_n: float | None) -> Metrics:
    n = y.size
    if n <= p:
        raise MeasureError(
            f"{n} units cannot carry {p:g} parameters.", "Lengthen it.", code="too_few_units"
        )
    mean = total(y) / n
    sse, sst = squares(e, 0.0), squares(y, mean)
    if effective_n is None:
        effective_n = effective_units(lag_one_correlation(e, position), n, p)
    root = math.sqrt(sse / (n - p))
    ordered = np.sort(y)
    spread = _quartile(ordered, 0.75) - _quartile(ordered, 0.25)
    return Metrics(
        n,
        p,
        effective_n,
        sse,
        root / mean if mean else None,
        total(e) / ((n - p) * mean) if mean else None,
        1 - sse / sst if sst else 0.0,
        1 - sse / (n - p) / (sst / (n - 1)) if sst else 0.0,
        root / spread if spread > 0 else None,
        bic(sse, n, p, effective_n),
        _aicc(sse, n, p),
        None,
    )


def effective_units(rho: float, n: int, p: float) -> float:
    """The n' of rho: n (1 - r) / (1 + r), at least 1; r is rho less its bias, and not below 0."""
    used = min(max(rho + (1 + 4 * rho) / n + (p - 1) / n, 0.0), _MOST_RHO)
    return max(n * (1 - used) / (1 + used), 1.0)


def bic(sse: float, n: int, p: float, effective_n: float) -> float:
    """By effective units, n' ln(SSE / n) + p ln n'; minus infinity for an exact fit."""
    return effective_n * _log(sse / n) + p * math.log(effective_n)


def _aicc(sse: float, n: int, p: float) -> float:
    """AIC with the variance as a parameter more, corrected for few units."""
    k = p + 1
    correction = 2 * k * (k + 1) / (n - k - 1) if n - k > 1 else math.inf
    return n * _log(sse / n) + 2 * k + correction


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def _press(fitted: Fitted) -> float | None:
    mean = total(fitted.linear.y) / fitted.linear.n
    leverage = fitted.own_leverage
    if not mean or float(np.max(leverage)) >= 1 - 1e-9:
        return None
    left_out = fitted.linear.e / (1 - leverage)
    return math.sqrt(squares(left_out, 0.0) / fitted.linear.n) / mean


def _quartile(ordered: Array, share: float) -> float:
    """By linear interpolation between sorted values."""
    place = share * (ordered.size - 1)
    below = int(place)
    above = min(below + 1, ordered.size - 1)
    return float(ordered[below] + (place - below) * (ordered[above] - ordered[below]))


class Predicts(Protocol):
    """What has been fitted."""

    def predict_wh(self, data: Data, /) -> Array:
        """The energy of other units. [Wh]"""


def blocked_cv_rmse(
    data: Data, fit: Callable[[Data], Predicts], *, block_units: int = 14, folds: int = 5
) -> float:
    """sqrt(mean of squared errors) / mean, each block of units predicted without it.

    Units next to each other are alike, so that random ones left out would be given away by their
    neighbours: whole blocks are left out, and with them each folds-th block after.

    Args:
        data: units without holes.
        fit: fits a model to some of them.
        block_units: length of a block. [units of the grid]
        folds: number of fits.

    Raises:
        MeasureError: `too_few_blocks`; what `fit` raises.
    """
    fold = data.position // block_units % folds
    if np.unique(fold).size < folds:
        raise MeasureError(
            f"{data.n} units are fewer than {folds} blocks of {block_units}.",
            "Take shorter blocks or fewer folds.",
            code="too_few_blocks",
        )
    errors: list[float] = []
    for k in range(folds):
        held = data.where(fold == k)
        predicted = fit(data.where(fold != k)).predict_wh(held)
        errors += ((predicted - held.energy_wh) ** 2).tolist()
    return math.sqrt(math.fsum(errors) / data.n) / (math.fsum(data.energy_wh.tolist()) / data.n)
