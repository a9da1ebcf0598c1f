"""What a model of cells says of units, from the 14 columns beside its cells.

A year of hours has 182 terms. Spread out, its design is 13 MB and each interval a billion
products; but a unit has one cell, so predictions, leverages and the way in which the baseline's
units enter a sum follow from the columns without their cell means (`partial`). The design itself is
made only for whoever asks for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from joulemark_agent.kernels.jit import compiled
from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.linear import Linear, Positions
from joulemark_gateway.measure.models.partial import predicted, pull
from joulemark_gateway.measure.models.partial_model import PartialModel, leverages
from joulemark_gateway.measure.qr import Array


@dataclass(frozen=True, eq=False)
class Cellwise:
    """An unweighted fit of cells, and the units it was fitted to."""

    model: PartialModel
    cell: Positions  # of the baseline's units, shape (n,)
    columns: Array  # of the same, shape (q, n)

    def predict_wh(self, data: Data) -> Array:
        """The energy of units; NaN where a driver is missing or a cell was never seen. [Wh]"""
        return self.model.predict_wh(data)

    @cached_property
    def own_leverage(self) -> Array:
        """How much of each unit's own energy enters its prediction, shape (n,)."""
        model = self.model
        return leverages(self.columns, self.cell, model.root, model.means, model.total)

    def leverage(self, data: Data) -> Array:
        """How far each unit lies from the baseline's together; NaN: not known, shape (m,)."""
        model = self.model
        cell = model.form.cells.of(data)
        columns = model.form.columns(data, cell)
        found = leverages(columns, cell, model.root, model.means, model.total)
        found[~np.isfinite(found)] = np.nan
        return found

    def entering(self, data: Data, weights: Array) -> Array:
        """How much of each baseline unit's energy enters K weighted sums, shape (K, n).

        Args:
            data: units that the model knows, m of them.
            weights: weight of each in each sum, shape (K, m).
        """
        model = self.model
        cell = model.form.cells.of(data)
        columns = model.form.columns(data, cell)
        return _entering(
            columns,
            cell,
            np.ascontiguousarray(weights),
            model.root,
            model.means,
            model.total,
            self.columns,
            self.cell,
        )


class CellLinear(Linear):
    """The sums of such a fit; its design and basis are made when they are asked for."""

    def __init__(
        self,
        data: Data,
        beta: Array,
        e: Array,
        sums: tuple[float, float],
        spread_out: Callable[[], tuple[Array, Array]],
    ) -> None:
        """Take what is there at once.

        Args:
            data: the units.
            beta: coefficients, shape (p,).
            e: residuals, shape (n,).
            sums: SSE and SST.
            spread_out: makes design and basis, shapes (n, p) and (p, p).
        """
        self.__dict__.update(
            y=data.energy_wh, position=data.position, beta=beta, e=e, sse=sums[0], sst=sums[1]
        )
        self.__dict__["_spread_out"] = spread_out

    @property
    def n(self) -> int:
        """Number of units."""
        return int(self.y.size)

    @property
    def p(self) -> int:
        """Number of terms."""
        return int(self.beta.size)

    @cached_property
    def _made(self) -> tuple[Array, Array]:
        made: tuple[Array, Array] = self.__dict__["_spread_out"]()
        return made

    @cached_property
    def x(self) -> Array:
        """The design, shape (n, p)."""
        return self._made[0]

    @cached_property
    def basis(self) -> Array:
        """The basis of its columns, shape (p, p)."""
        return self._made[1]


@compiled
def _entering(  # noqa: PLR0917 -- the units of the sums, the fit, and its own units
    columns: Array,
    cell: Positions,
    weights: Array,
    root: Array,
    means: Array,
    total: Array,
    own_columns: Array,
    own_cell: Positions,
) -> Array:
    """A vector of the baseline's units for each sum; units without weight are not looked at."""
    out = np.empty((weights.shape[0], own_cell.size))
    for g in range(weights.shape[0]):
        cell_sums = np.zeros(total.size)
        sums = np.zeros(columns.shape[0])
        used = np.flatnonzero(weights[g])
        for i in used:
            cell_sums[cell[i]] += weights[g, i]
        for j in range(columns.shape[0]):
            for i in used:
                sums[j] += weights[g, i] * columns[j, i]
        of_cells, z = pull(root, means, total, cell_sums, sums)
        out[g] = predicted(own_columns, own_cell, of_cells, z)
    return out
