"""Many meters at once: the model of `time_of_week_temperature` in one compiled call.

The same kernels as for one meter, so the coefficients are the same to the last bit; what a single
fit spreads out (182 columns of design) is never built. The meters share their stamps, not their
holes. Besides the data a meter costs some 12 kB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.contract.errors import MeasureError
from joulemark_agent.kernels.jit import compiled
from joulemark_gateway.measure.data import Flags
from joulemark_gateway.measure.linear import Positions
from joulemark_gateway.measure.models.occupancy import occupied_cells
from joulemark_gateway.measure.models.partial import intercepts, predicted, pull, two_state_fit
from joulemark_gateway.measure.models.partial_model import by_state, weighted_sums
from joulemark_gateway.measure.models.temperature_bins import (
    KNOTS_C,
    LEAST_BIN_H,
    bin_terms,
    merged_knots,
)
from joulemark_gateway.measure.qr import Array
from joulemark_gateway.measure.student import quantile
from joulemark_gateway.measure.uncertainty import Process, ar1_process, ar1_products

Counts = NDArray[np.int64]


class Meters(NamedTuple):
    """The energy and temperature of M meters over the same n units, NaN where missing.

    `cell` and `position` are those of `Cells.of(data)` and `Data.position`.
    """

    energy_wh: Array  # (M, n)
    temperature_c: Array  # (M, n), or (1, n) for all
    cell: Positions  # (n,)
    position: Positions  # (n,)


class Batch(NamedTuple):
    """The fits of M meters with C cells; K knots at most make q = 2 (K + 1) slopes.

    A meter with no more units than terms, n <= p, has no model, whatever its coefficients.
    """

    alpha: Array  # (M, C), NaN: never seen
    beta: Array  # (M, q)
    knots_c: Array  # (M, K), NaN: merged
    occupied: Flags  # (M, C)
    root: Array  # (M, q, q)
    means: Array  # (M, q + 1, C)
    total: Array  # (M, C)
    n: Counts
    p: Counts
    sse: Array
    rho: Array


@dataclass(frozen=True, eq=False)
class Avoided:
    """The saving of each meter over a reporting period, with its interval; NaN: no model."""

    predicted_wh: Array
    measured_wh: Array
    half_width_wh: Array  # NaN too where residuals carry no interval
    units: Counts  # those that count: known, and of a cell that was seen

    @property
    def saving_wh(self) -> Array:
        """Predicted less measured, shape (M,). [Wh]"""
        return self.predicted_wh - self.measured_wh


def fit_batch(
    meters: Meters,
    cells: int,
    *,
    unit_h: float,
    knots_c: tuple[float, ...] = KNOTS_C,
    least_bin_h: float = LEAST_BIN_H,
) -> Batch:
    """The time-of-week-and-temperature model of each meter.

    Args:
        meters: the baselines; units without energy or temperature are left out.
        cells: number of cells.
        unit_h: length of a unit. [h]
        knots_c: where the slope may change. [C]
        least_bin_h: bins with less are merged. [h]
    """
    knots = np.array(knots_c, np.float64)
    return _fit_all(_contiguous(meters), cells, knots, least_bin_h / unit_h)


def avoided(batch: Batch, baseline: Meters, reporting: Meters, confidence: float) -> Avoided:
    """The saving of each meter; the interval is that of the sum under AR(1) noise.

    Args:
        batch: the fits.
        baseline: what they were fitted to.
        reporting: the same meters later.
        confidence: of the two-sided interval, like 0.9.
    """
    processes = [_process(batch, k) for k in range(batch.n.size)]
    rho_used = np.array([np.nan if one is None else one.rho_used for one in processes])
    predicted_wh, measured_wh, unscaled, units = _sums(
        batch, rho_used, _contiguous(baseline), _contiguous(reporting)
    )
    half_width_wh = np.full(batch.n.size, np.nan)
    for k, one in enumerate(processes):
        if one is not None:
            t = quantile((1 + confidence) / 2, one.degrees_of_freedom)
            half_width_wh[k] = t * np.sqrt(one.variance * unscaled[k])
    return Avoided(predicted_wh, measured_wh, half_width_wh, units)


def _process(batch: Batch, k: int) -> Process | None:
    """The AR(1) process of a meter's residuals; None where it carries no interval."""
    n, p = int(batch.n[k]), int(batch.p[k])
    if n <= p:
        return None
    try:
        return ar1_process(float(batch.rho[k]), n, p, float(batch.sse[k]))
    except MeasureError:
        return None


def _contiguous(meters: Meters) -> Meters:
    """The arrays as kernels want them, so that they are compiled once."""
    return Meters(
        np.ascontiguousarray(meters.energy_wh, np.float64),
        np.ascontiguousarray(meters.temperature_c, np.float64),
        np.ascontiguousarray(meters.cell, np.int64),
        np.ascontiguousarray(meters.position, np.int64),
    )


@compiled
def _known(meters: Meters, m: int) -> tuple[Array, Array, Positions, Positions]:
    """Energy, temperature, cell and place of the units of one meter that have both values."""
    energy_wh = meters.energy_wh[m]
    temperature_c = meters.temperature_c[min(m, meters.temperature_c.shape[0] - 1)]
    known = np.isfinite(energy_wh) & np.isfinite(temperature_c)
    return energy_wh[known], temperature_c[known], meters.cell[known], meters.position[known]


@compiled
def _fit_all(all_meters: Meters, cells: int, knots_c: Array, least_units: float) -> Batch:
    """The fits, meter by meter."""
    meters, most = all_meters.energy_wh.shape[0], 2 * (knots_c.size + 1)
    alpha = np.full((meters, cells), np.nan)
    beta = np.zeros((meters, most))
    knots = np.full((meters, knots_c.size), np.nan)
    occupied = np.zeros((meters, cells), np.bool_)
    root = np.zeros((meters, most, most))
    means = np.full((meters, most + 1, cells), np.nan)
    total = np.zeros((meters, cells))
    count = np.zeros(meters, np.int64)
    terms = np.zeros(meters, np.int64)
    sse = np.full(meters, np.nan)
    rho = np.full(meters, np.nan)
    for m in range(meters):
        y, t, c, place = _known(all_meters, m)
        if y.size == 0:
            continue
        weight = np.ones(y.size)
        busy = occupied_cells(y, t, c, cells, weight)
        left = merged_knots(t, knots_c, least_units)
        q = 2 * (left.size + 1)
        block = np.empty((left.size + 2, y.size))
        block[:-1] = bin_terms(t, left)
        block[-1] = y
        b, r, mean, seen = two_state_fit(block, c, busy, weight)
        level = intercepts(b, mean)
        e = y - predicted(by_state(t, left, busy[c]), c, level, b)
        alpha[m], beta[m, :q], knots[m, : left.size], occupied[m] = level, b, left, busy
        root[m, :q, :q], means[m, : q + 1], total[m] = r, mean, seen
        count[m] = y.size
        for k in range(cells):
            terms[m] += seen[k] > 0.0
        for j in range(q):
            terms[m] += r[j, j] != 0.0
        sse[m] = 0.0
        for i in range(y.size):
            sse[m] += e[i] * e[i]
        rho[m] = _lag_one(e, place)
    return Batch(alpha, beta, knots, occupied, root, means, total, count, terms, sse, rho)


@compiled
def _lag_one(e: Array, position: Positions) -> float:
    """The correlation of neighbouring residuals; 0 where none are neighbours or none differ."""
    pairs, before, after = 0, 0.0, 0.0
    for i in range(1, e.size):
        if position[i] - position[i - 1] == 1:
            pairs += 1
            before += e[i - 1]
            after += e[i]
    if pairs < 2:
        return 0.0
    before /= pairs
    after /= pairs
    first, both, second = 0.0, 0.0, 0.0
    for i in range(1, e.size):
        if position[i] - position[i - 1] == 1:
            first += (e[i - 1] - before) ** 2
            both += (e[i - 1] - before) * (e[i] - after)
            second += (e[i] - after) ** 2
    return both / np.sqrt(first * second) if first * second > 0.0 else 0.0


@compiled
def _sums(
    batch: Batch, rho_used: Array, baseline: Meters, reporting: Meters
) -> tuple[Array, Array, Array, Counts]:
    """Predicted, measured, variance of their difference over s2, and units, of each meter."""
    meters = batch.n.size
    expected = np.full(meters, np.nan)
    measured = np.full(meters, np.nan)
    unscaled = np.full(meters, np.nan)
    units = np.zeros(meters, np.int64)
    for m in range(meters):
        if batch.n[m] <= batch.p[m]:
            continue
        left = 0
        while left < batch.knots_c.shape[1] and batch.knots_c[m, left] == batch.knots_c[m, left]:
            left += 1
        knots, q = batch.knots_c[m, :left].copy(), 2 * (left + 1)
        y, t, c, place = _known(reporting, m)
        known = batch.total[m][c] > 0.0
        y, t, c, place = y[known], t[known], c[known], place[known]
        units[m] = y.size
        if y.size == 0:
            continue
        columns = by_state(t, knots, batch.occupied[m][c])
        fit = predicted(columns, c, batch.alpha[m], batch.beta[m, :q])
        expected[m], measured[m] = 0.0, 0.0
        for i in range(y.size):
            expected[m] += fit[i]
            measured[m] += y[i]
        if np.isnan(rho_used[m]):
            continue
        one = np.ones(y.size)
        cell_sums, sums = weighted_sums(columns, c, one, batch.total[m])
        r = batch.root[m, :q, :q].copy()
        of_cells, z = pull(r, batch.means[m, : q + 1].copy(), batch.total[m], cell_sums, sums)
        own = ar1_products(one.reshape((1, y.size)), place, rho_used[m])[0, 0]
        y, t, c, place = _known(baseline, m)
        entering = predicted(by_state(t, knots, batch.occupied[m][c]), c, of_cells, z)
        pulled = ar1_products(entering.reshape((1, y.size)), place, rho_used[m])[0, 0]
        unscaled[m] = own + pulled
    return expected, measured, unscaled, units
