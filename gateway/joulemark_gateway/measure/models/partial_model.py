"""A fitted model of cells and temperature: what is settled before the fit, and the fit itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from joulemark_agent.kernels.jit import compiled
from joulemark_gateway.measure.data import Data, Flags
from joulemark_gateway.measure.linear import Positions
from joulemark_gateway.measure.models.cells import Cells
from joulemark_gateway.measure.models.occupancy import occupied_cells
from joulemark_gateway.measure.models.partial import (
    intercepts,
    partial_fit,
    predicted,
    pull,
    two_state_fit,
)
from joulemark_gateway.measure.models.temperature_bins import bin_terms, merged_knots
from joulemark_gateway.measure.qr import Array

_US_PER_HOUR = 3_600_000_000
_TOGETHER = 256  # units that are looked at side by side


@dataclass(frozen=True, eq=False)
class Form:
    """What is settled before the fit.

    A slope in each temperature bin, one for busy cells and one for the others, and one for each
    product; `temperature` is None where the energy is not asked to follow it.
    """

    cells: Cells
    temperature: str | None
    occupied: Flags  # (cells,)
    knots_c: Array
    production: tuple[str, ...]

    @property
    def names(self) -> tuple[tuple[str, str], ...]:
        """Name and unit of the coefficient of each column, in their order."""
        found = []
        if self.temperature is not None:
            edges = [f"{knot:.1f}" for knot in self.knots_c]
            bins = [f"{low}..{high}" for low, high in zip(["", *edges], [*edges, ""], strict=True)]
            for state in ("busy", "quiet"):
                found += [(f"{self.temperature} {state} {bin_c}", "Wh/K") for bin_c in bins]
        return (*found, *((name, f"Wh/{name.rpartition('_')[2]}") for name in self.production))

    def columns(self, data: Data, cell: Positions) -> Array:
        """Everything but the cells, each column along a row, shape (q, n)."""
        rows = [data.driver(name) for name in self.production]
        if self.temperature is not None:
            temperature_c = data.driver(self.temperature)
            busy = self.occupied[cell]
            return np.vstack([by_state(temperature_c, self.knots_c, busy), *rows])
        return np.array(rows).reshape(len(rows), data.n)


@dataclass(frozen=True, eq=False)
class PartialModel:
    """A weighted fit; see `partial.partial_fit`."""

    form: Form
    weight: Array
    beta: Array
    root: Array
    means: Array
    total: Array
    alpha: Array

    @property
    def seen(self) -> Positions:
        """The cells that have units."""
        return np.flatnonzero(self.total > 0)

    @property
    def kept(self) -> Positions:
        """The columns that say something of their own."""
        return np.flatnonzero(np.diag(self.root) != 0)

    def predict_wh(self, data: Data) -> Array:
        """The fit's energy for each unit, NaN where its cell was never seen. [Wh]"""
        cell = self.form.cells.of(data)
        return predicted(self.form.columns(data, cell), cell, self.alpha, self.beta)

    def pull(self, baseline: Data, data: Data, weights: Array) -> Array:
        """How much of each unit of the baseline enters sum_i weights_i predicted_i, shape (n,)."""
        cell = self.form.cells.of(data)
        cell_sums, sums = weighted_sums(self.form.columns(data, cell), cell, weights, self.total)
        of_cells, z = pull(self.root, self.means, self.total, cell_sums, sums)
        own = self.form.cells.of(baseline)
        entering = predicted(self.form.columns(baseline, own), own, of_cells, z)
        return np.where(self.weight > 0, self.weight * entering, 0.0)

    def leverage(self, baseline: Data) -> Array:
        """How much of each unit's own energy enters its prediction, shape (n,)."""
        cell = self.form.cells.of(baseline)
        columns = self.form.columns(baseline, cell)
        return self.weight * leverages(columns, cell, self.root, self.means, self.total)


def settle(
    data: Data,
    cells: Cells,
    cell: Positions,
    weight: Array,
    *,
    temperature: str | None,
    knots_c: tuple[float, ...],
    least_bin_h: float,
    production: tuple[str, ...] = (),
) -> Form:
    """The busy cells and the knots, from the units that have a weight, in their cells."""
    names = len(cells.names)
    if temperature is None:
        return Form(cells, None, np.zeros(names, np.bool_), np.empty(0), production)
    temperature_c = data.driver(temperature)
    occupied = occupied_cells(data.energy_wh, temperature_c, cell, names, weight)
    hours = data.median_length_us / _US_PER_HOUR
    left = merged_knots(temperature_c[weight > 0], np.array(knots_c), least_bin_h / hours)
    return Form(cells, temperature, occupied, left, production)


def solve(data: Data, form: Form, cell: Positions, weight: Array) -> PartialModel:
    """The weighted least-squares fit of a form."""
    if form.temperature is not None and not form.production:
        terms = bin_terms(data.driver(form.temperature), form.knots_c)
        block = np.vstack([terms, data.energy_wh])
        beta, root, means, total = two_state_fit(block, cell, form.occupied, weight)
    else:
        block = np.vstack([form.columns(data, cell), data.energy_wh])
        beta, root, means, total = partial_fit(block, cell, len(form.cells.names), weight)
    return PartialModel(form, weight, beta, root, means, total, intercepts(beta, means))


@compiled
def by_state(temperature_c: Array, knots_c: Array, busy: Flags) -> Array:
    """The bins of the busy units and then those of the others, shape (2 (knots + 1), n). [C]"""
    terms = bin_terms(temperature_c, knots_c)
    bins, n = terms.shape
    out = np.zeros((2 * bins, n))
    for k in range(bins):
        for i in range(n):
            out[k if busy[i] else bins + k, i] = terms[k, i]
    return out


@compiled
def weighted_sums(
    columns: Array, cell: Positions, weights: Array, total: Array
) -> tuple[Array, Array]:
    """The weighted sums of the design over units: by cell, and of the columns."""
    cell_sums = np.zeros(total.size)
    for i in range(cell.size):
        cell_sums[cell[i]] += weights[i]
    sums = np.zeros(columns.shape[0])
    for j in range(columns.shape[0]):
        for i in range(cell.size):
            sums[j] += weights[i] * columns[j, i]
    return cell_sums, sums


@compiled
def leverages(columns: Array, cell: Positions, root: Array, means: Array, total: Array) -> Array:
    """How far each unit lies from the others, x' (X'WX)^-1 x, shape (n,)."""
    q, n = columns.shape
    out = np.empty(n)
    away, inner = np.empty((q, _TOGETHER)), np.empty(_TOGETHER)
    first = np.zeros(q, np.int64)
    for j in range(q):  # columns of the one state say nothing of the other
        while first[j] < j and root[first[j], j] == 0.0:
            first[j] += 1
    for begin in range(0, n, _TOGETHER):
        size = min(_TOGETHER, n - begin)
        for i in range(size):
            out[begin + i] = 1.0 / total[cell[begin + i]]
        for k in range(q):
            for i in range(size):
                away[k, i] = columns[k, begin + i] - means[k, cell[begin + i]]
        for j in range(q):
            for i in range(size):
                inner[i] = 0.0
            for k in range(first[j], j + 1):
                weight = root[k, j]
                for i in range(size):
                    inner[i] += weight * away[k, i]
            for i in range(size):
                out[begin + i] += inner[i] * inner[i]
    return out
