"""Several time-of-week-and-temperature models of one baseline, each for its own part of the time.

By month: each month is predicted by a model of its own units with weight 1 and those of the two
neighbouring months with weight 0.5 (CalTRACK 2.0, methods 3.11). By distance: models are centred
every `scale_d` days, units weigh s^2 / (s^2 + d^2) with their distance d, and the models are mixed
by the same weights (RMV2.0; its default of 14 days follows noise, 90 days do not).

A prediction stays linear in the energy of the baseline, so the interval is that of a single model:
with w a unit's weight in the sum and a_i how much of unit i of the baseline enters the predicted
sum, the variance is s2 (w'R w + a'R a); p is the trace of the matrix that smooths the baseline.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from joulemark_gateway.measure.calendar import US_PER_DAY
from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.linear import Positions
from joulemark_gateway.measure.models.cells import local_middle
from joulemark_gateway.measure.models.partial_model import PartialModel, settle, solve
from joulemark_gateway.measure.models.temperature_bins import KNOTS_C, LEAST_BIN_H
from joulemark_gateway.measure.models.time_of_week_temperature import check, times_of_week
from joulemark_gateway.measure.qr import Array
from joulemark_gateway.measure.uncertainty import (
    Process,
    ar1_process,
    lag_one_correlation,
)

_MONTHS = 12
_NEIGHBOUR = 0.5


@dataclass(frozen=True, eq=False)
class Blend:
    """Models of one baseline.

    `share` says how much of each predicts each unit, shape (parts, m).
    """

    id: str
    baseline: Data
    parts: tuple[PartialModel, ...]
    share: Callable[[Data], Array]

    def predict_wh(self, data: Data) -> Array:
        """The energy that the baseline would have used; NaN where no model knows it. [Wh]"""
        shares = self.share(data)
        out = np.where((shares > 0).any(axis=0), 0.0, np.nan)
        for part, share in zip(self.parts, shares, strict=True):
            used = share > 0
            out[used] += share[used] * part.predict_wh(data.where(used))
        return out

    @property
    def residuals(self) -> Array:
        """What the baseline's own prediction leaves, shape (n,). [Wh]"""
        return self.baseline.energy_wh - self.predict_wh(self.baseline)

    @property
    def parameters(self) -> float:
        """How many terms a single model of the same freedom would have."""
        shares = self.share(self.baseline)
        return math.fsum(
            value
            for part, share in zip(self.parts, shares, strict=True)
            for value in (share * part.leverage(self.baseline))[share > 0].tolist()
        )

    def process(self) -> Process:
        """The AR(1) process of the residuals.

        Raises:
            MeasureError: `residuals_too_correlated`.
        """
        e = self.residuals
        rho = lag_one_correlation(e, self.baseline.position)
        return ar1_process(rho, e.size, self.parameters, math.fsum((e**2).tolist()))

    def entering(self, data: Data, weights: Array) -> Array:
        """How much of each unit of the baseline enters a weighted sum of predictions, shape (n,).

        Args:
            data: units that are predicted.
            weights: weight of each in the sum, shape (m,).
        """
        out = np.zeros(self.baseline.n)
        for part, share in zip(self.parts, self.share(data), strict=True):
            used = share > 0
            out += part.pull(self.baseline, data.where(used), share[used] * weights[used])
        return out


def fit_by_month(
    data: Data,
    *,
    temperature: str = "temperature_c",
    knots_c: tuple[float, ...] = KNOTS_C,
    least_bin_h: float = LEAST_BIN_H,
) -> Blend:
    """A model for each calendar month that the baseline or its neighbours have.

    Args:
        data: the baseline, without holes.
        temperature: driver.
        knots_c: where the slope may change. [C]
        least_bin_h: bins with less are merged, in each model anew. [h]

    Raises:
        MeasureError: as `fit_time_of_week_temperature`.
    """
    check(data, temperature)
    month = _month(data)
    weights = [_of_month(month, number) for number in range(_MONTHS)]
    numbers = [k for k, weight in enumerate(weights) if np.any(weight > 0)]
    cells = times_of_week(data)
    cell = cells.of(data)
    parts = []
    for number in numbers:
        weight = weights[number]
        form = settle(
            data,
            cells,
            cell,
            weight,
            temperature=temperature,
            knots_c=knots_c,
            least_bin_h=least_bin_h,
        )
        parts.append(solve(data, form, cell, weight))

    def share(other: Data) -> Array:
        mine: Array = (np.array(numbers)[:, None] == _month(other)).astype(np.float64)
        return mine

    return Blend("time-of-week-temperature-by-month", data, tuple(parts), share)


def fit_by_distance(
    data: Data,
    *,
    scale_d: float = 90.0,
    temperature: str = "temperature_c",
    knots_c: tuple[float, ...] = KNOTS_C,
    least_bin_h: float = LEAST_BIN_H,
) -> Blend:
    """Models centred along the baseline; busy times and knots are those of all of it.

    Args:
        data: the baseline, without holes.
        scale_d: distance at which a unit weighs half, and at most between two centres. [d]
        temperature: driver.
        knots_c: where the slope may change. [C]
        least_bin_h: bins with less are merged. [h]

    Raises:
        MeasureError: as `fit_time_of_week_temperature`.
    """
    check(data, temperature)
    cells = times_of_week(data)
    cell = cells.of(data)
    form = settle(
        data,
        cells,
        cell,
        np.ones(data.n),
        temperature=temperature,
        knots_c=knots_c,
        least_bin_h=least_bin_h,
    )
    span_d = float(data.start_us[-1] - data.start_us[0]) / US_PER_DAY
    segments = max(1, math.ceil(span_d / scale_d))
    width = (data.n - 1) / segments
    centres_us = data.start_us[[math.floor(k * width + 1e-3) for k in range(segments + 1)]]

    def nearness(other: Data) -> Array:
        away_d: Array = (other.start_us - centres_us[:, None]) / US_PER_DAY
        near: Array = scale_d**2 / (scale_d**2 + away_d**2)
        return near

    def share(other: Data) -> Array:
        near = nearness(other)
        total = np.zeros(other.n)
        for row in near:
            total += row
        return near / total

    parts = tuple(solve(data, form, cell, weight) for weight in nearness(data))
    return Blend("time-of-week-temperature-by-distance", data, parts, share)


def _month(data: Data) -> Positions:
    """The local calendar month of each unit's middle, from 0, shape (n,)."""
    months: Positions = local_middle(data).astype("datetime64[M]").astype(np.int64) % _MONTHS
    return months


def _of_month(month: Positions, number: int) -> Array:
    """1 in the month, 0.5 in its neighbours, whatever the year, shape (n,)."""
    away = (month - number) % _MONTHS
    weight = np.zeros(month.size)
    weight[away == 0] = 1.0
    weight[(away == 1) | (away == _MONTHS - 1)] = _NEIGHBOUR
    return weight
