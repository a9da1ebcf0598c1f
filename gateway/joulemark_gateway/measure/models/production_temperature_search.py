"""The search for the change points of a plant: a broken line of temperature beside what it makes.

Base and production are taken out of the energy and of every candidate's hinge first, exactly: with
orthonormal columns Q of theirs a hinge h keeps h'h - |Q'h|^2 and h'y, y being what they leave of
the energy (Frisch and Waugh 1933, Econometrica 1(4)). One or two equations remain. The best
candidate of the grid is refined by golden section; whoever uses it solves it again by QR.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.kernels.jit import compiled
from joulemark_gateway.measure.models.hinges import (
    BOTH,
    COOLING,
    FLAT,
    HEATING,
    HIGH,
    LINE,
    LOW,
    MEAN,
    SSE,
    Rules,
)
from joulemark_gateway.measure.qr import Array

_SQUARE, _PRODUCT, _IS_VALID, _PULL = 0, 1, 2, 3  # of a hinge; from _PULL on Q'h
_GOLDEN = 0.6180339887498949
_STEPS = 12  # golden sections: 2 steps of the grid shrink to 1/320
_ROUNDS = 2  # of turns between the two change points


class Plant(NamedTuple):
    """The units of a plant, base and production taken out of their energy."""

    t_c: Array  # shape (n,)
    weight: Array  # length in nominal units, shape (n,)
    basis: Array  # orthonormal columns of base and production, each along a row, shape (q, n)
    left: Array  # what they leave of the energy, shape (n,)


@compiled
def search_plant(plant: Plant, kinds: NDArray[np.bool_], rules: Rules) -> Array:
    """The best change points of each kind.

    Args:
        plant: what is searched.
        kinds: which of `hinges.KINDS` are searched, shape (6,); 4P is not made for plants.
        rules: the grid, and what a candidate must satisfy; the base may have any sign.

    Returns:
        SSE, low and high change point (NaN where there is none), shape (6, 3); SSE is infinite
        where no candidate is valid.
    """
    found = np.full((6, 3), np.nan)
    found[:, SSE] = np.inf
    square = 0.0
    for i in range(plant.left.size):
        square += plant.left[i] * plant.left[i]
    if kinds[MEAN]:
        found[MEAN, SSE] = square
    if kinds[LINE]:
        line = _line(plant)
        if line[_SQUARE] > 0.0:
            found[LINE, SSE] = max(square - line[_PRODUCT] ** 2 / line[_SQUARE], 0.0)
    width = _PULL + plant.basis.shape[0]
    low, high = np.empty((rules.candidates, width)), np.empty((rules.candidates, width))
    for j in range(rules.candidates):
        point_c = rules.lowest_c + j * rules.step_k
        low[j] = _hinge(plant, point_c, -1.0, rules)
        high[j] = _hinge(plant, point_c, 1.0, rules)
    for kind in (HEATING, COOLING):
        if kinds[kind]:
            _one(plant, low if kind == HEATING else high, kind, square, rules, found[kind])
    if kinds[BOTH]:
        _two(plant, low, high, square, rules, found[BOTH])
    return found


@compiled
def _line(plant: Plant) -> Array:
    """The straight line of temperature, as a hinge."""
    total = 0.0
    for i in range(plant.t_c.size):
        total += plant.t_c[i]
    mean_c = total / plant.t_c.size
    column = np.empty(plant.t_c.size)
    for i in range(column.size):
        column[i] = plant.weight[i] * (plant.t_c[i] - mean_c)
    return _projected(plant, column)


@compiled
def _hinge(plant: Plant, point_c: float, sign: float, rules: Rules) -> Array:
    """The hinge of the units colder (sign -1) or warmer (1) than a point."""
    column = np.empty(plant.t_c.size)
    units = colder = 0
    here = there = 0.0
    for i in range(column.size):
        beyond = sign * (plant.t_c[i] - point_c)
        column[i] = plant.weight[i] * max(beyond, 0.0)
        here += column[i]
        there += plant.weight[i] * max(-beyond, 0.0)
        units += 1 if beyond > 0.0 else 0
        colder += 1 if beyond < 0.0 else 0
    hinge = _projected(plant, column)
    enough = min(units, colder) >= rules.min_units and min(here, there) >= rules.min_degree_days
    hinge[_IS_VALID] = 1.0 if enough and hinge[_SQUARE] > 0.0 else 0.0
    return hinge


@compiled
def _projected(plant: Plant, column: Array) -> Array:
    """A column without base and production; its square is 0 where nothing is left of it."""
    q = plant.basis.shape[0]
    out = np.zeros(_PULL + q)
    square = 0.0
    for i in range(column.size):
        square += column[i] * column[i]
        out[_PRODUCT] += column[i] * plant.left[i]
    out[_SQUARE] = square
    for j in range(q):
        pull = 0.0
        for i in range(column.size):
            pull += plant.basis[j, i] * column[i]
        out[_PULL + j] = pull
        out[_SQUARE] -= pull * pull
    if out[_SQUARE] <= FLAT * square:
        out[_SQUARE] = 0.0
    return out


@compiled
def _gain(hinge: Array, other: Array, rules: Rules) -> float:
    """By how much a hinge lowers the SSE, alone (`other` is empty) or beside one of the other side.

    The colder point is not above the warmer, so that they never meet. Below 0 where it is not
    valid.
    """
    if hinge[_IS_VALID] == 0.0:
        return -1.0
    first: float = hinge[_PRODUCT]
    gain: float = first * first / hinge[_SQUARE]
    if other.size == 0:
        return -1.0 if rules.is_physical and first <= 0.0 else gain
    if other[_IS_VALID] == 0.0:
        return -1.0
    cross = 0.0
    for j in range(_PULL, hinge.size):
        cross -= hinge[j] * other[j]
    determinant = hinge[_SQUARE] * other[_SQUARE] - cross * cross
    if determinant <= FLAT * hinge[_SQUARE] * other[_SQUARE]:
        return -1.0
    second: float = other[_PRODUCT]
    slope: float = (first * other[_SQUARE] - second * cross) / determinant
    slope_of_other: float = (second * hinge[_SQUARE] - first * cross) / determinant
    if rules.is_physical and min(slope, slope_of_other) <= 0.0:
        return -1.0
    return slope * first + slope_of_other * second


@compiled
def _one(  # noqa: PLR0917 -- a kind: its hinges among what it stands on
    plant: Plant, hinges: Array, kind: int, square: float, rules: Rules, out: Array
) -> None:
    """The best candidate of 3PH or 3PC, refined, into `out`."""
    at, best, alone = -1, -1.0, np.empty(0)
    for j in range(rules.candidates):
        gain = _gain(hinges[j], alone, rules)
        if gain > best:
            at, best = j, gain
    if at < 0:
        return
    sign = -1.0 if kind == HEATING else 1.0
    bounds = _around(rules.lowest_c + at * rules.step_k, rules.lowest_c, _top_c(rules), rules)
    point_c, best, _ = _golden(plant, sign, bounds, best, hinges[at], alone, rules)
    out[SSE] = max(square - best, 0.0)
    out[LOW if kind == HEATING else HIGH] = point_c


@compiled
def _two(  # noqa: PLR0917 -- as above
    plant: Plant, low: Array, high: Array, square: float, rules: Rules, out: Array
) -> None:
    """The best pair of 5P, refined by turns, into `out`."""
    at_low, at_high, best = -1, -1, -1.0
    for j in range(rules.candidates):
        for k in range(j, rules.candidates):
            gain = _gain(low[j], high[k], rules)
            if gain > best:
                at_low, at_high, best = j, k, gain
    if at_low < 0:
        return
    low_c, high_c = rules.lowest_c + at_low * rules.step_k, rules.lowest_c + at_high * rules.step_k
    cold, warm = low[at_low].copy(), high[at_high].copy()
    for _ in range(_ROUNDS):
        bounds = _around(low_c, rules.lowest_c, high_c, rules)
        low_c, best, cold = _golden(plant, -1.0, bounds, best, cold, warm, rules)
        bounds = _around(high_c, low_c, _top_c(rules), rules)
        high_c, best, warm = _golden(plant, 1.0, bounds, best, warm, cold, rules)
    out[SSE], out[LOW], out[HIGH] = max(square - best, 0.0), low_c, high_c


@compiled
def _top_c(rules: Rules) -> float:
    top_c: float = rules.lowest_c + (rules.candidates - 1) * rules.step_k
    return top_c


@compiled
def _around(
    point_c: float, floor_c: float, ceiling_c: float, rules: Rules
) -> tuple[float, float, float]:
    """A step of the grid to each side, as far as that is open, with the point between."""
    return max(point_c - rules.step_k, floor_c), point_c, min(point_c + rules.step_k, ceiling_c)


@compiled
def _golden(  # noqa: PLR0917 -- as above
    plant: Plant,
    sign: float,
    range_c: tuple[float, float, float],
    best: float,
    own: Array,
    other: Array,
    rules: Rules,
) -> tuple[float, float, Array]:
    """The change point of one side between two bounds, never worse than where it began.

    `other` is the hinge of the point that stays; empty where there is none.
    """
    below, point_c, above = range_c
    tried_c = np.array([above - _GOLDEN * (above - below), below + _GOLDEN * (above - below)])
    gains = np.full(2, -1.0)
    at, hinge = 0, own.copy()
    for step in range(_STEPS + 2):
        row = _hinge(plant, tried_c[at], sign, rules)
        gains[at] = _gain(row, other, rules)
        if gains[at] > best:
            point_c, best, hinge = tried_c[at], gains[at], row
        if step == 0:
            at = 1
        elif gains[0] >= gains[1]:
            above, tried_c[1], gains[1], at = tried_c[1], tried_c[0], gains[0], 0
            tried_c[0] = above - _GOLDEN * (above - below)
        else:
            below, tried_c[0], gains[0], at = tried_c[0], tried_c[1], gains[1], 1
            tried_c[1] = below + _GOLDEN * (above - below)
    return point_c, best, hinge
