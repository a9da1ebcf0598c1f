"""The production baseline: energy of a unit as a straight function of what the plant made in it.

E = b0 h + sum b_j P_j by least squares, h being how much of a nominal unit was measured (1 for a
whole day): the base load lasts as long as the unit. The model is the same for days and hours; what
may be concluded from it is not decided here but by the sufficiency policy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.contract.errors import MeasureError
from joulemark_agent.kernels.jit import compiled
from joulemark_gateway.measure.qr import Array, least_squares, products
from joulemark_gateway.measure.sums import squares, total

Positions = NDArray[np.int64]
ROUNDING = 1e-12  # of the largest value
_FIXED_BY_ITSELF = 1 - 1e-9  # leverage of a unit without which there is no fit


@dataclass(frozen=True, eq=False)
class Linear:
    """A fitted model of n units with p terms, and its sums; e are the residuals.

    `position` numbers each unit on the period's grid, so that a masked unit leaves a hole between
    its neighbours instead of making them neighbours.
    """

    x: Array
    y: Array
    position: Positions
    beta: Array
    basis: Array
    e: Array
    sse: float
    sst: float

    @property
    def n(self) -> int:
        """Number of units."""
        return int(self.x.shape[0])

    @property
    def p(self) -> int:
        """Number of terms, the intercept included."""
        return int(self.x.shape[1])

    @cached_property
    def inverse(self) -> Array:
        """(X'X)^-1, shape (p, p)."""
        return products(self.basis, np.ascontiguousarray(self.basis.T))

    @property
    def residual_variance(self) -> float:
        """SSE / (n - p)."""
        return self.sse / (self.n - self.p)

    @property
    def r2(self) -> float:
        """Share of the variance that the model explains."""
        return 1 - self.sse / self.sst

    @property
    def adjusted_r2(self) -> float:
        """R2 with both variances per degree of freedom."""
        return 1 - self.residual_variance / (self.sst / (self.n - 1))

    @property
    def press_r2(self) -> float | None:
        """Share explained when each unit is predicted from the others; None where one cannot be."""
        leverage = self.leverage_of(self.x)
        if float(np.max(leverage)) > _FIXED_BY_ITSELF:
            return None
        return 1 - math.fsum(((self.e / (1 - leverage)) ** 2).tolist()) / self.sst

    @property
    def cv_rmse(self) -> float:
        """sqrt(SSE / (n - p)) over the mean."""
        return math.sqrt(self.residual_variance) / self._mean

    @property
    def nmbe(self) -> float:
        """sum(e) / ((n - p) mean): 0 up to rounding where every unit is whole."""
        return math.fsum(self.e.tolist()) / ((self.n - self.p) * self._mean)

    @property
    def _mean(self) -> float:
        return math.fsum(self.y.tolist()) / self.n

    def vif(self, term: int) -> float:
        """Variance inflation of a driver: what its likeness to the others costs."""
        column = np.ascontiguousarray(self.x[:, term])
        return float(self.inverse[term, term]) * _spread(column)

    def predict(self, x: Array) -> Array:
        """The model's energy for each row, summed in the order of the terms, shape (m,)."""
        predicted = np.zeros(x.shape[0])
        for j in range(self.p):
            predicted += x[:, j] * self.beta[j]
        return predicted

    def leverage_of(self, x: Array) -> Array:
        """How far each row lies from the baseline's units, x' (X'X)^-1 x, shape (m,)."""
        rows = self.coordinates(x)
        leverage = np.zeros(x.shape[0])
        for j in range(self.p):
            leverage += rows[:, j] * rows[:, j]
        return leverage

    def coordinates(self, x: Array) -> Array:
        """The rows in the basis in which the baseline's columns are orthonormal, shape (m, p)."""
        return products(x, self.basis)


def fit(drivers: Array, y: Array, position: Positions, exposure: Array | None = None) -> Linear:
    """The least-squares baseline.

    Args:
        drivers: value of each driver in each unit, shape (n, p - 1).
        y: energy of each unit, shape (n,).
        position: place of each unit on its period's grid, increasing, shape (n,).
        exposure: how much of a nominal unit each one is, shape (n,); None: all are whole.

    Raises:
        MeasureError: `too_few_units` (n <= p), `no_load`, `constant_load`, `constant_driver`,
            `collinear_drivers`.
    """
    n, p = y.size, drivers.shape[1] + 1
    if n <= p:
        raise _refused("too_few_units", f"{n} units cannot carry {p} terms", "Lengthen it.")
    if not np.any(y):
        raise _refused("no_load", "the meter counted nothing in it", "Check the energy point.")
    sst = _spread(y)
    if sst == 0:
        raise _refused("constant_load", "every unit uses the same", "Check the energy point.")
    for j in range(p - 1):
        if _spread(np.ascontiguousarray(drivers[:, j])) == 0:
            raise _refused("constant_driver", f"driver {j + 1} never changes", "Leave it out.")
    x = np.column_stack([np.ones(n) if exposure is None else exposure, drivers])
    try:
        solved = least_squares(x, y)
    except MeasureError as error:
        raise _refused(
            "collinear_drivers", "a driver follows from the others", "Leave one out."
        ) from error
    e = solved.residuals
    if float(np.max(np.abs(e))) <= ROUNDING * float(np.max(np.abs(y))):
        e = np.zeros(n)  # what rounding leaves of an exact fit is no noise and has no correlation
    sse = squares(e, 0.0)
    return Linear(x, y, position, solved.beta, solved.basis, e, sse, sst)


def _spread(values: Array) -> float:
    """Sum of squared deviations from the mean; exactly 0 for equal values."""
    if _is_flat(values):
        return 0.0
    return squares(values, total(values) / values.size)


@compiled
def _is_flat(values: Array) -> bool:
    same = 1
    while same < values.size and values[same] == values[0]:
        same += 1
    return same >= values.size


def _refused(code: str, what: str, do: str) -> MeasureError:
    return MeasureError(f"The baseline gives no model: {what}.", do, code=code)
