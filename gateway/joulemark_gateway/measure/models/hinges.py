"""The kinds of change-point models, and the line through two hinges: one or two centred equations.

A hinge is eight numbers: sum, centred square and centred product with the rate of H = (g - t)+, the
same of C = (t - g)+, and whether the colder and the warmer side are valid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.contract.errors import MeasureError
from joulemark_agent.kernels.jit import compiled
from joulemark_gateway.measure.qr import Array

KINDS = ("1p", "2p", "3ph", "3pc", "4p", "5p")
PARAMETERS = np.array([1, 2, 3, 3, 4, 5])  # change points counted
TERMS = np.array([1, 2, 2, 2, 3, 3])
MEAN, LINE, HEATING, COOLING, BENT, BOTH = range(6)
SSE, LOW, HIGH, BASE, FIRST, SECOND = range(6)  # what is found, a column each

Hinge = tuple[float, float, float, float, float, float, float, float]
FLAT = 1e-12  # of a sum of squares: below it a column is the others'


class Rules(NamedTuple):
    """What a candidate must satisfy, and where candidates stand."""

    lowest_c: float
    step_k: float
    candidates: int
    min_units: int  # on each side of a change point
    min_degree_days: float  # on each side [K d, or K units of weight 1]
    is_physical: bool  # slopes and base above 0; 2P and 4P may slope either way


class Totals(NamedTuple):
    """Sums over the chosen units, centred where they are squares or products."""

    weight: float
    rate: float  # mean
    square: float  # of the rate
    mean_c: float
    line_square: float  # of the temperature
    line_product: float  # of temperature and rate


def wanted(kinds: Sequence[str]) -> NDArray[np.bool_]:
    """Which of `KINDS` are asked for, shape (6,).

    Raises:
        MeasureError: `unknown_kind`.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise MeasureError(
                f"There is no temperature model {kind!r}.",
                f"Take some of: {', '.join(KINDS)}.",
                code="unknown_kind",
            )
    return np.array([kind in kinds for kind in KINDS])


@compiled
def hinge_at(hinges: Array, j: int) -> Hinge:
    """Row j of some, shape (count, 8)."""
    row = hinges[j]
    return row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7]


@compiled
def solved(  # noqa: PLR0917 -- a candidate: its two hinges among what it stands on
    totals: Totals,
    kind: int,
    low: Hinge,
    high: Hinge,
    is_physical: bool,
    overlap: float,
    out: Array,
) -> float:
    """SSE of a candidate, with base and slopes into `out`; infinite where it is not valid.

    `overlap` is sum w H C: 0 for units that have one temperature.
    """
    base = first = second = gain = 0.0
    if kind == MEAN:
        base = totals.rate
    elif kind == LINE:
        if totals.line_square <= 0.0:
            return np.inf
        first = totals.line_product / totals.line_square
        gain = first * totals.line_product
        base = totals.rate - first * totals.mean_c
    elif kind in (HEATING, COOLING):
        is_valid, total, square, product = low[6] * low[7], low[0], low[1], low[2]
        if kind == COOLING:
            is_valid, total, square, product = high[6] * high[7], high[3], high[4], high[5]
        if is_valid == 0.0 or square <= 0.0:
            return np.inf
        first = product / square
        gain = first * product
        base = totals.rate - first * total / totals.weight
    else:
        if low[6] * low[7] * high[6] * high[7] == 0.0:
            return np.inf
        cross = overlap - low[0] * high[3] / totals.weight
        determinant = low[1] * high[4] - cross * cross
        if determinant <= FLAT * low[1] * high[4]:
            return np.inf
        first = (low[2] * high[4] - high[5] * cross) / determinant
        second = (high[5] * low[1] - low[2] * cross) / determinant
        gain = first * low[2] + second * high[5]
        base = totals.rate - (first * low[0] + second * high[3]) / totals.weight
    if is_physical and kind in (HEATING, COOLING, BOTH):
        is_positive = first > 0.0 and base > 0.0 and (kind != BOTH or second > 0.0)
        if not is_positive:
            return np.inf
    out[BASE], out[FIRST], out[SECOND] = base, first, second
    return max(totals.square - gain, 0.0)
