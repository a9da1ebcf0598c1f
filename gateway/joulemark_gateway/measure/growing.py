"""A baseline that grows: one unit more changes the fit without fitting all units again.

The triangle R of X = QR with Q'y beside it is all that coefficients need. A row more is turned into
it by one Givens rotation for each column, in the order of columns and units; so a fit that grew in
steps of any sizes is, to the last bit, the one that took all units at once. Residuals, their
correlation and the term Q'R Q of the interval, whose every weight changes with the correlation,
are then taken in one pass over the units: O(n p^2), 35 to 50 us for a year of days.

What was searched or chosen is held: change points, bins, the set of drivers, the nominal length of
a unit. The derivative by a change point keeps the slopes that it was found with; with the others it
spans what it would with new ones, so the interval is the same. When to search again is said by a
named policy.

Source: Golub and Van Loan, Matrix Computations, 4th ed., sections 5.1.8 and 6.5.3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from joulemark_agent.contract.errors import MeasureError
from joulemark_agent.kernels.jit import compiled
from joulemark_gateway.measure.arrivals import Seen, arrived, line_of
from joulemark_gateway.measure.baseline import Baseline
from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.estimate import LineEstimate
from joulemark_gateway.measure.finding import Finding, NamedPolicy
from joulemark_gateway.measure.linear import ROUNDING, Linear, Positions
from joulemark_gateway.measure.qr import Array, residuals
from joulemark_gateway.measure.rules import at_most
from joulemark_gateway.measure.uncertainty import noise_of

_EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class RenewalPolicy(NamedPolicy):
    """When a model that grew is to be searched again; the limits of one version of one policy."""

    most_grown_ratio: float  # units now over units of the search
    most_square_ratio: float  # mean square residual of new units over that of the search's
    least_units: int  # new ones, before their residuals are judged


RENEWAL_POLICIES = {
    policy.id: policy
    for policy in (
        RenewalPolicy(
            id="renew-grown-or-changed",
            version="1",
            text="A model is searched again when its units are a tenth more than those it was "
            "searched in, or when 30 new units or more leave residuals whose mean square is half "
            "as large again as that of the units before.",
            source="Joulemark",
            most_grown_ratio=1.1,
            most_square_ratio=1.5,
            least_units=30,
        ),
    )
}


@dataclass(frozen=True, eq=False)
class Growing:
    """A baseline with units that were added to it; it stays as it is when more are added."""

    baseline: Baseline  # as it was searched
    seen: Seen
    x: Array  # rows of the tangent over the scale, shape (n, p)
    y: Array  # energy over the scale, shape (n,)
    scale: Array  # shape (n,)
    position: Positions
    triangle: Array  # R and Q'y, shape (p, p + 1)

    @classmethod
    def of(cls, baseline: Baseline) -> Growing:
        """The baseline before anything is added.

        Raises:
            MeasureError: `no_model`; `not_one_line`.
        """
        found = line_of(baseline)
        data, model = baseline.fitted_units, found.noise.model
        start = Growing(
            baseline,
            Seen.before(data).after(data, data.position),
            np.zeros((0, model.p)),
            np.zeros(0),
            np.zeros(0),
            np.zeros(0, np.int64),
            np.zeros((model.p, model.p + 1)),
        )
        return start._with(model.x, model.y, found.fitted.scale(data), model.position, start.seen)

    @property
    def n(self) -> int:
        """Number of units."""
        return self.y.size

    def add(self, data: Data) -> Growing:
        """The baseline with some more units.

        Args:
            data: units after those that are there, with places on the same grid. One without a
                value, or excluded, leaves a hole.

        Raises:
            MeasureError: those of `arrivals.arrived`; this one is still good.
        """
        came = arrived(self.baseline, self.seen, data)
        if came is None:
            return self
        units, design, seen = came
        scale = line_of(self.baseline).fitted.scale(units)
        x, y = design / scale[:, None], units.energy_wh / scale
        return self._with(x, y, scale, units.position, seen)

    @cached_property
    def estimate(self) -> LineEstimate:
        """The least-squares fit to all units with its noise.

        Raises:
            MeasureError: `collinear_drivers`; `residuals_too_correlated`.
        """
        fitted = line_of(self.baseline).fitted
        p, tolerance = fitted.linear.p, 4 * self.n * _EPSILON
        is_solved, beta, basis = _solved(self.triangle, p, tolerance)
        if not is_solved:
            raise MeasureError(
                "Beside the new units a driver follows from the others.",
                "Look for a value that is far too large.",
                code="collinear_drivers",
            )
        e = residuals(self.x, self.y, beta)
        squares = _squares(e, self.y, self.scale, ROUNDING)
        linear = self._linear(self.x[:, :p], beta, basis[:p, :p], e, squares)
        model = linear
        if fitted.searched:
            wide = np.concatenate([beta, np.zeros(fitted.searched)])
            model = self._linear(self.x, wide, basis, e, squares)
        return LineEstimate(replace(fitted, linear=linear), noise_of(model))

    def findings(self, policy: RenewalPolicy) -> tuple[Finding, ...]:
        """Whether the model is to be searched again.

        They are `grown_since_search` and, from enough new units on, `residuals_changed`.
        """
        first = self.baseline.fitted_units.n
        e = self.estimate.residuals
        found = [
            at_most(
                "grown_since_search",
                by=policy.id,
                subject="baseline",
                rule="units over those that the model was searched in",
                seen=self.n / first,
                limit=policy.most_grown_ratio,
                unit="1",
            )
        ]
        if self.n - first >= policy.least_units:
            before, after = _mean_square(e[:first]), _mean_square(e[first:])
            found.append(
                at_most(
                    "residuals_changed",
                    by=policy.id,
                    subject="baseline",
                    rule="mean square residual of the new units over that of the units before",
                    seen=after / before if before else math.inf if after else 1.0,
                    limit=policy.most_square_ratio,
                    unit="1",
                )
            )
        return tuple(found)

    def _with(self, x: Array, y: Array, scale: Array, position: Positions, seen: Seen) -> Growing:
        triangle = self.triangle.copy()
        _turn_in(triangle, x, y)
        return Growing(
            self.baseline,
            seen,
            np.concatenate([self.x, x]),
            np.concatenate([self.y, y]),
            np.concatenate([self.scale, scale]),
            np.concatenate([self.position, position]),
            triangle,
        )

    def _linear(
        self, x: Array, beta: Array, basis: Array, e: Array, squares: tuple[float, float]
    ) -> Linear:
        x, basis = np.ascontiguousarray(x), np.ascontiguousarray(basis)
        return Linear(x, self.y, self.position, beta, basis, e, *squares)


def _mean_square(e: Array) -> float:
    return math.fsum((e**2).tolist()) / e.size


@compiled
def _turn_in(triangle: Array, x: Array, y: Array) -> None:
    """Turn rows into the triangle, one rotation for each of its columns; the diagonal is >= 0."""
    p = triangle.shape[0]
    row = np.empty(p + 1)
    for i in range(y.size):
        row[:p] = x[i]
        row[p] = y[i]
        for j in range(p):
            _rotate(triangle[j], row, j)


@compiled
def _rotate(kept: Array, row: Array, j: int) -> None:
    """Rotate two rows so that the second has a 0 in column j; columns before it are 0 in both."""
    if row[j] == 0.0:
        return
    norm = np.sqrt(kept[j] * kept[j] + row[j] * row[j])
    cosine, sine = kept[j] / norm, row[j] / norm
    kept[j], row[j] = norm, 0.0
    for k in range(j + 1, kept.size):
        upper, lower = kept[k], row[k]
        kept[k] = cosine * upper + sine * lower
        row[k] = cosine * lower - sine * upper


@compiled
def _solved(triangle: Array, sure: int, tolerance: float) -> tuple[bool, Array, Array]:
    """Whether the sure columns are independent, their coefficients, and the basis of all, (p, p).

    A column behind the sure ones that follows from those before it has a row and a column of 0.
    """
    p = triangle.shape[0]
    r = triangle.copy()
    kept = np.zeros(p, np.int64)
    rank = 0
    beta, basis = np.zeros(sure), np.zeros((p, p))
    for j in range(p):
        norm = 0.0
        for i in range(j + 1):
            norm += triangle[i, j] * triangle[i, j]
        for i in range(j, rank, -1):  # where a column before was left out
            _rotate(r[i - 1], r[i], j)
        if abs(r[rank, j]) > tolerance * np.sqrt(norm):
            kept[rank] = j
            rank += 1
        elif j < sure:
            return False, beta, basis
    for a in range(sure - 1, -1, -1):
        total = r[a, p]
        for b in range(a + 1, sure):
            total -= r[a, b] * beta[b]
        beta[a] = total / r[a, a]
    for a in range(rank - 1, -1, -1):
        at = kept[a]
        basis[at, at] = 1.0 / r[a, at]
        for b in range(a + 1, rank):
            total = 0.0
            for c in range(a + 1, b + 1):
                total -= r[a, kept[c]] * basis[kept[c], kept[b]]
            basis[at, kept[b]] = total / r[a, at]
    return True, beta, basis


@compiled
def _squares(e: Array, y: Array, scale: Array, rounding: float) -> tuple[float, float]:
    """SSE and SST about the mean rate; residuals that are rounding of an exact fit become 0."""
    largest, largest_e, weights, mean = 0.0, 0.0, 0.0, 0.0
    for i in range(y.size):
        largest, largest_e = max(largest, abs(y[i])), max(largest_e, abs(e[i]))
        weights += scale[i] * scale[i]
        mean += scale[i] * y[i]
    mean /= weights
    if largest_e <= rounding * largest:
        e[:] = 0.0
    sse, sst = 0.0, 0.0
    for i in range(y.size):
        sse += e[i] * e[i]
        off = y[i] - scale[i] * mean
        sst += off * off
    return sse, sst
