"""The interval of a sum of savings, under residuals that remember their past.

With residuals of an AR(1) process the variance of sum_i w_i (Yhat_i - y_i) over the reporting
period is

    s2 * ( w'R w + a'R a ),  a = X (X'X)^-1 v,  v = sum_i w_i x_i,

with R_ij = rb^|i - j| by place on the grid. The first term is the reporting period's own noise, the
second that of the coefficients. Both rb and s2 are corrected for the bias of short series:

    rb = rho + (1 + 4 rho)/n + (p - 1)/n, from 0 to 0.99,  s2 = SSE / (n - p (1 + rb)/(1 - rb)),

and t has n (1 - rb)/(1 + rb) - p degrees of freedom. It is computed at the aggregate and never
summed from units. The second term is taken in the orthonormal basis of X, where drivers that are
much alike lose nothing to cancellation. The covariance between the periods is left out: it matters
only where fewer than 3/(1 - rb) units lie between them, and then for the first few units.

Simulated coverage of the 90 % interval: 87.7 to 90.5 % for rho from 0 to 0.9 and 30 to 365 units;
the textbook interval without rho covers 26.8 to 89.9 %. Everything is O(n).

Where parameters were searched, like change points, X is the tangent: a column more for each, the
derivative of the energy by it, and p counts them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from joulemark_agent.contract.errors import MeasureError
from joulemark_agent.kernels.jit import compiled
from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.linear import Linear, Positions
from joulemark_gateway.measure.models.base import Fitted
from joulemark_gateway.measure.qr import Array, least_squares, products
from joulemark_gateway.measure.student import quantile

_MOST_RHO = 0.99
_LEAST_DEGREES = 1.0
_LEAST_PAIRS = 10  # for a correlation at a distance
_HALVINGS = 60


@dataclass(frozen=True, eq=False)
class Noise:
    """The residuals as an AR(1) process: what the intervals of any sums are made of."""

    rho: float
    rho_used: float
    variance: float
    effective_n: float
    degrees_of_freedom: float
    model: Linear
    coefficients: Array  # Q'R Q, shape (p, p)

    def half_width(self, variance: float, confidence: float) -> float:
        """Half of the two-sided interval of a sum with this variance."""
        t = quantile((1 + confidence) / 2, self.degrees_of_freedom)
        return t * math.sqrt(variance)

    def covariance(self, x: Array, position: Positions, weights: Array) -> Array:
        """Covariances of K weighted sums of savings, shape (K, K).

        Args:
            x: rows of the reporting units, shape (m, p).
            position: their places on the grid, increasing, shape (m,).
            weights: weight of each unit in each sum, shape (K, m).
        """
        own = ar1_products(weights, position, self.rho_used)
        return self.joined(own, products(weights, self.model.coordinates(x)))

    def joined(self, own: Array, pulled: Array) -> Array:
        """Covariances of K sums of savings from their two terms, shape (K, K).

        Args:
            own: w_g'R w_h of each pair of sums, shape (K, K).
            pulled: weighted sum of the rows of each, in the orthonormal basis, shape (K, p).
        """
        return self.variance * (own + _sandwich(pulled, self.coefficients))

    def mean_covariance(self, x: Array, weights: Array) -> Array:
        """Covariances of K weighted sums of expected energies: no noise of their own, (K, K)."""
        v = products(weights, self.model.coordinates(x))
        return self.variance * _sandwich(v, self.coefficients)

    def cumulative_variance(
        self, x: Array, position: Positions, weights: Array | None = None
    ) -> Array:
        """The variance of the sum of the first k savings, for every k, shape (m,).

        Args:
            x: rows of the reporting units, shape (m, p).
            position: their places on the grid, increasing, shape (m,).
            weights: weight of each unit in the sum, shape (m,); None: 1.
        """
        rows = self.model.coordinates(x)
        each = np.ones(x.shape[0]) if weights is None else weights
        sums = _cumulative(rows, position, each, self.coefficients, self.rho_used)
        return self.variance * sums


def noise_of(model: Linear) -> Noise:
    """The AR(1) noise of a model's residuals.

    Raises:
        MeasureError: `residuals_too_correlated`, so much that less than one degree of freedom is
            left: the units do not carry an interval.
    """
    rho = lag_one_correlation(model.e, model.position)
    process = ar1_process(rho, model.n, model.p, model.sse)
    columns = np.ascontiguousarray(model.coordinates(model.x).T)
    coefficients = ar1_products(columns, model.position, process.rho_used)
    return Noise(rho, *process, model, coefficients)


class Process(NamedTuple):
    """The AR(1) process behind residuals, corrected for the bias of short series."""

    rho_used: float
    variance: float
    effective_n: float
    degrees_of_freedom: float

    def half_width(self, variance: float, confidence: float) -> float:
        """Half of the two-sided interval of a sum with this variance."""
        return quantile((1 + confidence) / 2, self.degrees_of_freedom) * math.sqrt(variance)


def ar1_process(rho: float, n: int, p: float, sse: float) -> Process:
    """The process of n residuals of a model with p parameters, maybe no whole number.

    Raises:
        MeasureError: `residuals_too_correlated`.
    """
    rho_used = min(max(rho + (1 + 4 * rho) / n + (p - 1) / n, 0.0), _MOST_RHO)
    effective_n = n * (1 - rho_used) / (1 + rho_used)
    degrees = effective_n - p
    if degrees < _LEAST_DEGREES:
        raise MeasureError(
            f"The residuals are so alike from unit to unit (correlation {rho_used:.3f}) that "
            f"{n} units count as {effective_n:.2f}.",
            "Lengthen the baseline, or find the driver that is missing.",
            code="residuals_too_correlated",
        )
    variance = sse / (n - p * (1 + rho_used) / (1 - rho_used))
    return Process(rho_used, variance, effective_n, degrees)


def noise_of_fitted(fitted: Fitted, data: Data) -> Noise:
    """The AR(1) noise of a fit of any family; its rows are those of `fitted.tangent`.

    Args:
        fitted: the model; what was searched counts as a parameter in every formula.
        data: what it was fitted to.

    Raises:
        MeasureError: `residuals_too_correlated`, `too_few_units`.
    """
    return noise_of(linearised(fitted, data))


def linearised(fitted: Fitted, data: Data) -> Linear:
    """The fit as a straight model of all its parameters, near those that were found.

    Its columns are those of the fit and, for each searched parameter, the derivative of the energy
    by it; the coefficients of the derivatives are 0, so predictions and residuals stay the same. A
    derivative that follows from the others (two change points in one place) adds no direction, but
    its parameter counts. Rows are weighted as those of the fit are.

    Raises:
        MeasureError: `too_few_units`.
    """
    model = fitted.linear
    if not fitted.searched:
        return model
    p = fitted.parameters
    if model.n <= p:
        raise MeasureError(
            f"{model.n} units cannot carry {p} parameters.",
            "Lengthen the baseline.",
            code="too_few_units",
        )
    x = fitted.tangent(data) / fitted.scale(data)[:, None]
    beta = np.concatenate([model.beta, np.zeros(fitted.searched)])
    return replace(model, x=x, beta=beta, basis=_basis(x, model.p))


def _basis(x: Array, sure: int) -> Array:
    """The basis of the columns, the first so many of which are independent, shape (p, p).

    A column that follows from those before it has a row and a column of 0.
    """
    p = x.shape[1]
    try:
        return least_squares(x, np.ascontiguousarray(x[:, 0])).basis
    except MeasureError:  # not all of them then: one by one
        kept = list(range(sure))
    for j in range(sure, p):
        try:
            least_squares(x[:, [*kept, j]], x[:, j])
        except MeasureError:
            continue
        kept.append(j)
    basis = np.zeros((p, p))
    basis[np.ix_(kept, kept)] = least_squares(x[:, kept], x[:, 0]).basis
    return basis


@compiled
def lag_one_correlation(e: Array, position: Positions) -> float:
    """The correlation of neighbouring residuals; 0 where none differ.

    Where no units are neighbours, as of a plant that is read every second day, it is the root of
    the correlation at the least distance there is; 0 where that is of too few pairs.
    """
    rho, pairs = _correlation_at(e, position, 1)
    if pairs >= 2:
        return rho
    least = 0
    for i in range(e.size - 1):
        apart = position[i + 1] - position[i]
        if apart > 1 and (least == 0 or apart < least):
            least = apart
    rho, pairs = _correlation_at(e, position, least)
    if pairs < _LEAST_PAIRS or rho <= 0.0:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        if whole_power(middle, least) < rho:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0


@compiled
def _correlation_at(e: Array, position: Positions, apart: int) -> tuple[float, int]:
    """The correlation of units that follow one another so far apart, and how many pairs those are.

    0 where the pairs are fewer than two, or do not differ.
    """
    pairs, before, after = 0, 0.0, 0.0
    for i in range(e.size - 1):
        if position[i + 1] - position[i] == apart:
            pairs += 1
            before += e[i]
            after += e[i + 1]
    if pairs < 2:
        return 0.0, pairs
    before /= pairs
    after /= pairs
    shared, squares_before, squares_after = 0.0, 0.0, 0.0
    for i in range(e.size - 1):
        if position[i + 1] - position[i] == apart:
            one, other = e[i] - before, e[i + 1] - after
            shared += one * other
            squares_before += one * one
            squares_after += other * other
    squares = squares_before * squares_after
    if squares <= 0.0:
        return 0.0, pairs
    return float(shared / np.sqrt(squares)), pairs


@compiled
def ar1_products(weights: Array, position: Positions, rho: float) -> Array:
    """sum_ij w_gi w_hj rho^|position_i - position_j| for all pairs of rows, shape (K, K).

    One forward and one backward filter per row instead of m^2 terms; they run side by side, because
    each step of one waits for the step before it.
    """
    rows, m = weights.shape
    decay = np.zeros(m)
    for i in range(1, m):
        decay[i] = whole_power(rho, position[i] - position[i - 1])
    filtered = np.zeros((rows, m))
    for h in range(rows):
        ahead, back = 0.0, 0.0
        for i in range(m):
            ahead = ahead * decay[i] + weights[h, i]
            filtered[h, i] += ahead
            if i > 0:
                k = m - i
                back = (back + weights[h, k]) * decay[k]
                filtered[h, k - 1] += back
    out = np.zeros((rows, rows))
    for g in range(rows):
        for h in range(g, rows):
            total = 0.0
            for i in range(m):
                total += weights[g, i] * filtered[h, i]
            out[g, h] = total
            out[h, g] = total
    return out


@compiled
def ar1_squares(weights: Array, position: Positions, rho: float) -> Array:
    """The diagonal of `ar1_products`, each row by itself, shape (K,)."""
    out = np.empty(weights.shape[0])
    for g in range(weights.shape[0]):
        out[g] = ar1_products(weights[g : g + 1], position, rho)[0, 0]
    return out


@compiled
def whole_power(base: float, exponent: int) -> float:
    """base^exponent by squaring, exponent >= 0: the same bits everywhere, unlike a library's."""
    result = 1.0
    while exponent > 0:
        if exponent % 2 == 1:
            result *= base
        base *= base
        exponent //= 2
    return result


@compiled
def _sandwich(v: Array, inner: Array) -> Array:
    """The product v inner v' for symmetric inner, exactly symmetric, shape (K, K)."""
    rows, p = v.shape
    out = np.zeros((rows, rows))
    for g in range(rows):
        for h in range(g, rows):
            total = 0.0
            for j in range(p):
                for k in range(p):
                    total += v[g, j] * inner[j, k] * v[h, k]
            out[g, h] = total
            out[h, g] = total
    return out


@compiled
def _cumulative(
    rows: Array, position: Positions, weights: Array, coefficients: Array, rho: float
) -> Array:
    """Both terms over s2 for the first k units, for every k, shape (m,)."""
    m, p = rows.shape
    out = np.zeros(m)
    v = np.zeros(p)
    own, carried = 0.0, 0.0
    for i in range(m):
        if i > 0:
            carried *= whole_power(rho, position[i] - position[i - 1])
        own += weights[i] * (weights[i] + 2.0 * carried)
        carried += weights[i]
        for j in range(p):
            v[j] += weights[i] * rows[i, j]
        total = own
        for j in range(p):
            for k in range(p):
                total += v[j] * coefficients[j, k] * v[k]
        out[i] = total
    return out
