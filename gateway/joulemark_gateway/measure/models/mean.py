"""The mean: a meter that answers to nothing that is known has the same rate all year."""

from __future__ import annotations

from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.models.base import Fitted
from joulemark_gateway.measure.models.shapes import Part, Shape, fit_parts, own_temperature


def fit_mean(data: Data) -> Fitted:
    """The 1P model; it reads no driver.

    Raises:
        MeasureError: `too_few_units`, `no_load`, `constant_load`.
    """
    return fit_parts("mean-1p", data, [Part("", Shape("1p"))], own_temperature)
