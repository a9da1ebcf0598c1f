"""The smallest saving that a baseline can prove, before the project starts.

A saving is told from none where its interval leaves 0 out: from F_min = half-width / prediction on.
That is known as soon as there is a baseline and an idea of the weather or production to come: a
year like the last one, or a plan. A saving of exactly F_min is found in half of all cases.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.baseline import Positions
from joulemark_gateway.measure.qr import Array
from joulemark_gateway.measure.uncertainty import Noise


@dataclass(frozen=True, eq=False)
class Detectable:
    """F_min after each of the units to come; arrays of shape (m,)."""

    predicted_wh: Array  # the sum up to this unit
    half_width_wh: Array

    @property
    def ratio(self) -> Array:
        """F_min: the least share of the predicted energy that can be told from no saving."""
        return self.half_width_wh / self.predicted_wh

    def units_until(self, ratio: float) -> int | None:
        """After how many units a saving of this share stays detectable; None: not within these."""
        short = np.flatnonzero(~(self.ratio <= ratio))
        units = int(short[-1]) + 2 if short.size else 1
        return units if units <= self.predicted_wh.size else None


def detectable(noise: Noise, x: Array, position: Positions, confidence: float) -> Detectable:
    """The smallest saving that can be proven over the first k of the expected units, for every k.

    Args:
        noise: of the baseline's residuals.
        x: rows expected for the reporting units; of `Fitted.tangent` for `noise_of_fitted`,
            shape (m, p).
        position: their places on the grid, increasing, shape (m,).
        confidence: of the two-sided interval, between 0 and 1.

    Raises:
        MeasureError: `no_reporting_units`, `no_load`, the prediction's sum is not above 0.
    """
    if x.shape[0] == 0:
        raise MeasureError(
            "There is no unit to expect a saving in.",
            "Give the drivers of the units to come.",
            code="no_reporting_units",
        )
    predicted_wh = np.cumsum(noise.model.predict(x))
    if not np.all(predicted_wh > 0):
        raise MeasureError(
            "The baseline predicts no energy for the units to come.",
            "Check that their drivers are like those of the baseline.",
            code="no_load",
        )
    per_deviation = noise.half_width(1.0, confidence)
    return Detectable(predicted_wh, per_deviation * np.sqrt(noise.cumulative_variance(x, position)))
