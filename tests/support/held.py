"""Families whose change points are stated, so that a growing fit has a full one to be equal to."""

from __future__ import annotations

from dataclasses import dataclass

from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.families import Chosen
from joulemark_gateway.measure.models.metrics import metrics_of
from joulemark_gateway.measure.models.shapes import (
    TEMPERATURE,
    Part,
    Shape,
    fit_parts,
    own_temperature,
)


@dataclass(frozen=True)
class Held:
    """A shape whose change points are not searched but count as if they were."""

    shape: Shape
    drivers: tuple[str, ...] = (TEMPERATURE,)

    def fit(self, data: Data) -> Chosen:
        """The least-squares fit of the shape."""
        fitted = fit_parts("held", data, [Part("", self.shape)], own_temperature)
        return Chosen(fitted, data, metrics_of(fitted))
