"""The smallest saving that a baseline can prove, before the project starts.

A saving is told from none where its interval leaves 0 out: from F_min = half-width / prediction on.
That is known as soon as there is a baseline and an idea of the weather or production to come: a
year like the last one, or a plan. A saving of exactly F_min is found in half of all cases.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.estimate import Estimate
from joulemark_gateway.measure.qr import Array


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


def detectable(estimate: Estimate, units: Data, confidence: float) -> Detectable:
    """The smallest saving that can be proven over the first k of the expected units, for every k.

    Args:
        estimate: the baseline.
        units: those to come; their energy is not looked at.
        confidence: of the two-sided interval, between 0 and 1.

    Raises:
        MeasureError: `no_reporting_units`, `no_load`, the prediction's sum is not above 0.
    """
    if units.n == 0:
        raise MeasureError(
            "There is no unit to expect a saving in.",
            "Give the drivers of the units to come.",
            code="no_reporting_units",
        )
    predicted_wh = np.cumsum(estimate.predict_wh(units))
    if not np.all(predicted_wh > 0):
        raise MeasureError(
            "The baseline predicts no energy for the units to come.",
            "Check that their drivers are like those of the baseline.",
            code="no_load",
        )
    per_deviation = estimate.process.half_width(1.0, confidence)
    variance = estimate.running_variance(units, range(1, units.n + 1))
    return Detectable(predicted_wh, per_deviation * np.sqrt(variance))
