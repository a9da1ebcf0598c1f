"""Models of bills by the degree days inside them: HDD and CDD of daily temperatures, not of means.

A bill's energy is its days times base + slopes x mean degrees of its days; bills count by their
days. The base temperatures are those of the grid that SSE likes best; then the line is solved by
QR. A bill is one value: its days are not taken for data.

Source: CalTRACK 2.0, sections 3.3 and 3.4.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.contract.errors import MeasureError
from joulemark_agent.kernels.jit import compiled
from joulemark_gateway.measure.calendar import US_PER_DAY
from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.models.base import Fitted
from joulemark_gateway.measure.models.change_point import GRID, Grid, shape_of
from joulemark_gateway.measure.models.change_point_search import Counts
from joulemark_gateway.measure.models.hinges import (
    BENT,
    BOTH,
    COOLING,
    HEATING,
    HIGH,
    KINDS,
    LINE,
    LOW,
    MEAN,
    PARAMETERS,
    SSE,
    TERMS,
    Rules,
    Totals,
    solved,
    wanted,
)
from joulemark_gateway.measure.models.shapes import (
    TEMPERATURE,
    Degrees,
    Part,
    Reader,
    fit_parts,
    nominal_units,
    nominal_us,
)
from joulemark_gateway.measure.qr import Array


class Bills(NamedTuple):
    """The bills of many meters, one after another; those of meter b start at offsets[b].

    The days of bill i are t_c[first[i]] to before t_c[last[i]]; `weight` is days over nominal ones.
    """

    t_c: Array
    first: Counts
    last: Counts
    rate: Array
    weight: Array
    offsets: Counts


@dataclass(frozen=True, eq=False)
class DaysOfBills:
    """The degrees of bills, of the days whose temperature is known; NaN where none is."""

    t_c: Array
    first: Counts
    last: Counts

    def mean(self) -> Array:
        """The mean temperature. [deg C]"""
        return means(self.t_c, self.first, self.last)

    def beyond(self, point_c: float, sign: int) -> Array:
        """Mean of (point - t)+ for sign -1, of (t - point)+ for sign 1. [K]"""
        return means(np.maximum(sign * (self.t_c - point_c), 0.0), self.first, self.last)

    def share(self, point_c: float, sign: int) -> Array:
        """Share of the days beyond the point. [1]"""
        beyond = np.where(sign * (self.t_c - point_c) > 0, 1.0, 0.0)
        return means(np.where(np.isfinite(self.t_c), beyond, np.nan), self.first, self.last)


def daily_reader(daily: Data) -> Reader:
    """Reads bills by days, which must cover whatever the model is to predict, too."""
    t_c = daily.driver(TEMPERATURE)

    def read(bills: Data) -> Degrees:
        ends_us = bills.start_us + bills.length_us
        first, last = (np.searchsorted(daily.start_us, us) for us in (bills.start_us, ends_us))
        return DaysOfBills(t_c, first, last)

    return read


def fit_degree_days(bills: Data, daily: Data, kind: str, *, grid: Grid = GRID) -> Fitted:
    """The best model of one kind for bills; `facts` has its base temperatures.

    Args:
        bills: energy of bills without holes, with their lengths.
        daily: the driver `temperature_c` of days, of these bills and of those to be predicted.
        kind: `1p`, `2p`, `3ph`, `3pc`, `4p` or `5p`.
        grid: candidates; `min_units` and `min_degree_days` are those of days.

    Raises:
        MeasureError: `unknown_kind`; `no_change_point`, no candidate is valid; those of
            `fit_parts`.
    """
    rules = grid.rules(nominal_us(bills) / US_PER_DAY)
    found = search_bills(bills_of(bills, daily), wanted([kind]), rules)[0, KINDS.index(kind)]
    if not np.isfinite(found[SSE]):
        raise MeasureError(
            f"No base temperature of a {kind.upper()} model is valid for {bills.n} bills.",
            "Take a model with fewer parameters, or more bills.",
            code="no_change_point",
        )
    part = Part("", shape_of(kind, found))
    return fit_parts(f"degree-days-{kind}", bills, [part], daily_reader(daily))


def fit_best_degree_days(bills: Data, daily: Data, *, grid: Grid = GRID) -> Fitted:
    """The model of the largest adjusted R2 among 1P, 3PH, 3PC and 5P, as CalTRACK has it.

    Base temperatures are not counted there: a dozen bills would hardly carry them.

    Raises:
        MeasureError: those of `fit_degree_days`.
    """
    rules = grid.rules(nominal_us(bills) / US_PER_DAY)
    kinds = wanted(["1p", "3ph", "3pc", "5p"])
    sse = search_bills(bills_of(bills, daily), kinds, rules)[0, :, SSE]
    variance = np.where(np.isfinite(sse), sse / np.maximum(bills.n - TERMS, 1), np.inf)
    return fit_degree_days(bills, daily, KINDS[int(variance.argmin())], grid=grid)


def bills_of(bills: Data, daily: Data) -> Bills:
    """The bills of one meter as they are searched."""
    degrees = daily_reader(daily)(bills)
    assert isinstance(degrees, DaysOfBills)
    weight = nominal_units(bills)
    offsets = np.array([0, bills.n])
    rate = bills.energy_wh / weight
    return Bills(degrees.t_c, degrees.first, degrees.last, rate, weight, offsets)


@compiled
def means(values: Array, first: Counts, last: Counts) -> Array:
    """The mean of the known values of each slice, NaN where there is none, shape (n,)."""
    out = np.full(first.size, np.nan)
    for i in range(first.size):
        total, known = 0.0, 0
        for u in range(first[i], last[i]):
            if not np.isnan(values[u]):
                total += values[u]
                known += 1
        if known > 0:
            out[i] = total / known
    return out


@compiled
def search_bills(bills: Bills, kinds: NDArray[np.bool_], rules: Rules) -> Array:
    """The best candidate of each kind for each meter.

    Args:
        bills: those of many meters.
        kinds: which are searched, shape (6,).
        rules: the grid, and what a candidate must satisfy.

    Returns:
        As `search_many` for one segment, shape (b, 6, 6).
    """
    number = bills.offsets.size - 1
    found = np.full((number, 6, 6), np.nan)
    out = np.empty(6)
    for b in range(number):
        begin, end = bills.offsets[b], bills.offsets[b + 1]
        totals = _totals(bills, begin, end)
        cold, warm = (
            np.empty((rules.candidates, end - begin)),
            np.empty((rules.candidates, end - begin)),
        )
        hinges = _hinges(bills, begin, end, totals, rules, cold, warm)
        for kind in range(6):
            found[b, kind, SSE] = np.inf
            if not kinds[kind] or end - begin <= PARAMETERS[kind]:
                continue
            for j in range(1 if kind in (MEAN, LINE) else rules.candidates):
                for k in range(j, rules.candidates if kind == BOTH else j + 1):
                    overlap = 0.0
                    if kind in (BENT, BOTH):
                        for i in range(end - begin):
                            overlap += bills.weight[begin + i] * cold[j, i] * warm[k, i]
                    sse = solved(
                        totals, kind, hinges[j], hinges[k], rules.is_physical, overlap, out
                    )
                    if sse < found[b, kind, SSE]:
                        found[b, kind] = out
                        found[b, kind, SSE] = sse
                        low_c = rules.lowest_c + j * rules.step_k
                        high_c = rules.lowest_c + k * rules.step_k
                        found[b, kind, LOW] = low_c if kind in (HEATING, BENT, BOTH) else np.nan
                        found[b, kind, HIGH] = high_c if kind in (COOLING, BOTH) else np.nan
    return found


@compiled
def _totals(bills: Bills, begin: int, end: int) -> Totals:
    """The sums of a meter's bills."""
    t_c = means(bills.t_c, bills.first[begin:end], bills.last[begin:end])
    weight = total_t = total_r = 0.0
    for i in range(end - begin):
        weight += bills.weight[begin + i]
        total_t += bills.weight[begin + i] * t_c[i]
        total_r += bills.weight[begin + i] * bills.rate[begin + i]
    mean_c, rate = total_t / weight, total_r / weight
    square = line_square = line_product = 0.0
    for i in range(end - begin):
        w, t, r = bills.weight[begin + i], t_c[i] - mean_c, bills.rate[begin + i] - rate
        square, line_square = square + w * r * r, line_square + w * t * t
        line_product += w * t * r
    return Totals(weight, rate, square, mean_c, line_square, line_product)


@compiled
def _hinges(  # noqa: PLR0917 -- one meter's bills, and where their degrees go
    bills: Bills,
    begin: int,
    end: int,
    totals: Totals,
    rules: Rules,
    cold: Array,
    warm: Array,
) -> Array:
    """The hinges of every candidate as in `change_point_search`, and the degrees of each bill."""
    hinges = np.zeros((rules.candidates, 8))
    for j in range(rules.candidates):
        g_c = rules.lowest_c + j * rules.step_k
        colder, warmer = 0, 0
        for i in range(begin, end):
            below = above = 0.0
            known = 0
            for u in range(bills.first[i], bills.last[i]):
                t_c = bills.t_c[u]
                if np.isnan(t_c):
                    continue
                known += 1
                below += max(g_c - t_c, 0.0)
                above += max(t_c - g_c, 0.0)
                colder += 1 if t_c < g_c else 0
                warmer += 1 if t_c >= g_c else 0
            cold[j, i - begin], warm[j, i - begin] = below / known, above / known
        for side in range(2):
            degrees = cold[j] if side == 0 else warm[j]
            total = 0.0
            for i in range(end - begin):
                total += bills.weight[begin + i] * degrees[i]
            mean = total / totals.weight
            square = product = 0.0
            for i in range(end - begin):
                w, away = bills.weight[begin + i], degrees[i] - mean
                square += w * away * away
                product += w * away * (bills.rate[begin + i] - totals.rate)
            units = colder if side == 0 else warmer
            hinges[j, 3 * side], hinges[j, 3 * side + 1] = total, square
            hinges[j, 3 * side + 2] = product
            if units >= rules.min_units and total >= rules.min_degree_days:
                hinges[j, 6 + side] = 1.0
    return hinges
