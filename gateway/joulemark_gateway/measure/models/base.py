"""What every family of models gives: a fit, and the rows by which it predicts for other data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.linear import Linear
from joulemark_gateway.measure.qr import Array


def side_by_side(columns: Sequence[Array]) -> Array:
    """Columns as a design, shape (n, p); numpy's own takes longer for a day than all else does."""
    design = np.empty((columns[0].size, len(columns)))
    for j, column in enumerate(columns):
        design[:, j] = column
    return design


def _alike(data: Data) -> Array:
    return np.ones(data.n)


@dataclass(frozen=True)
class Term:
    """A column of the design."""

    name: str
    unit: str  # of its coefficient, like Wh/d or Wh/(K d)


class Structure(Protocol):
    """What a model says of units without its design, where that is large and mostly 0."""

    @property
    def own_leverage(self) -> Array:
        """How much of each baseline unit's own energy enters its prediction, shape (n,)."""

    def predict_wh(self, data: Data) -> Array:
        """The energy of units, NaN where it is not known, shape (m,). [Wh]"""

    def leverage(self, data: Data) -> Array:
        """How far each unit lies from the baseline's together; NaN: not known, shape (m,)."""

    def entering(self, data: Data, weights: Array) -> Array:
        """How much of each baseline unit's energy enters K weighted sums, shape (K, n)."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """A model that was fitted to data without holes.

    `rows` gives the design of any data, shape (n, p); `tangent` the same with a column more for
    each parameter that was found by search (the derivative of the energy by it), by which the
    interval counts what the search costs. Where nothing is searched both are one. `scale` is what
    a unit's energy and row were divided by to have noise of one size, shape (n,): 1, or for units
    of unlike length the root of it.
    """

    id: str  # of the method, like change-point-3ph
    linear: Linear
    terms: tuple[Term, ...]
    rows: Callable[[Data], Array]
    tangent: Callable[[Data], Array]
    searched: int = 0
    facts: Mapping[str, float] = field(default_factory=dict)  # change points and the like
    scale: Callable[[Data], Array] = _alike
    structure: Structure | None = None

    @property
    def parameters(self) -> int:
        """All that was fitted: the terms and what was searched."""
        return self.linear.p + self.searched

    def predict_wh(self, data: Data) -> Array:
        """The energy that the baseline would have used; NaN where a driver is missing. [Wh]"""
        if self.structure is not None:
            return self.structure.predict_wh(data)
        return self.linear.predict(self.rows(data))

    def leverage(self, data: Data) -> Array:
        """How far units lie from the baseline's together; NaN: not known, shape (m,)."""
        if self.structure is not None:
            return self.structure.leverage(data)
        return self.linear.leverage_of(np.ascontiguousarray(self.rows(data)))

    @property
    def own_leverage(self) -> Array:
        """How much of each baseline unit's own energy enters its prediction, shape (n,)."""
        if self.structure is not None:
            return self.structure.own_leverage
        return self.linear.leverage_of(self.linear.x)
