"""Which temperature model a meter gets: of every kind and division of the year, by a named rule.

`bic` (the default) weighs each parameter, change points included, by n', the effective number of
units; n' comes from the residuals of the closest undivided fit and is the same for all candidates.
A division of the year pays 2 ln 7 more for being the best of seven (extended BIC, Chen and Chen
2008). A meter that does not answer to the temperature then gets no change point. `adjusted-r2` is
the rule of CalTRACK 2.0 (3.4.3): undivided, change points not counted; it tends to give one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.contract.errors import MeasureError
from joulemark_agent.kernels.jit import compiled
from joulemark_gateway.measure.calendar import US_PER_DAY
from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.models.base import Fitted
from joulemark_gateway.measure.models.change_point import GRID, Grid, meters_of, shape_of
from joulemark_gateway.measure.models.change_point_search import CELLS, Counts, Meters, search_many
from joulemark_gateway.measure.models.hinges import (
    BASE,
    FIRST,
    HIGH,
    KINDS,
    LOW,
    PARAMETERS,
    SECOND,
    SSE,
    TERMS,
    Rules,
    wanted,
)
from joulemark_gateway.measure.models.metrics import (
    Metrics,
    bic,
    effective_units,
    metrics_of,
)
from joulemark_gateway.measure.models.shapes import nominal_us
from joulemark_gateway.measure.models.splits import (
    DIVISIONS,
    MASKS,
    NORTH,
    cells_of,
    fit_split,
    model_id,
)
from joulemark_gateway.measure.qr import Array
from joulemark_gateway.measure.sums import total

Rule = Literal["bic", "adjusted-r2"]
CALTRACK = ("1p", "3ph", "3pc", "5p")
_ONE_OF_MANY = 2 * math.log(len(DIVISIONS) - 1)
_PARAMETERS: list[int] = PARAMETERS.tolist()
_LEAST_UNITS = 30  # of a segment that may have a line of its own


@dataclass(frozen=True, eq=False)
class Choices:
    """What was chosen for each of b meters among d divisions of s segments."""

    division: Counts  # index of the chosen one, shape (b,)
    kind: Counts  # index of the best kind of each segment, shape (b, s)
    found: Array  # as `search_many` gives it, shape (b, s, 6, 6)
    effective_n: Array  # shape (b,)
    score: Array  # of each division; the lowest is chosen, shape (b, d)


@dataclass(frozen=True)
class Alternative:
    """A model that was looked at, with what it can be compared by."""

    id: str
    p: int  # change points counted
    sse: float
    cv_rmse: float | None  # sqrt(SSE / (n - p)) / mean
    adjusted_r2: float  # both variances per degree of freedom
    bic: float  # n' ln(SSE / n) + p ln n', n' being the same for all


@dataclass(frozen=True)
class Choice:
    """The chosen model, and the others by rising BIC."""

    rule: Rule
    fitted: Fitted
    metrics: Metrics
    looked: Callable[[], tuple[Alternative, ...]]

    @cached_property
    def others(self) -> tuple[Alternative, ...]:
        """Made only when asked for: of a thousand meters nobody reads them."""
        return self.looked()


def choose(
    data: Data,
    *,
    rule: Rule = "bic",
    kinds: Sequence[str] = CALTRACK,
    divided: bool = True,
    grid: Grid = GRID,
    seasons: Sequence[int] = NORTH,
) -> Choice:
    """The temperature model of a meter, solved by QR, with what else was looked at.

    Args:
        data: units without holes; the driver `temperature_c`.
        rule: how candidates are compared.
        kinds: which are candidates.
        divided: whether seasons and weekdays may have lines of their own (never by `adjusted-r2`).
        grid: where change points are looked for.
        seasons: season of each month, from January.

    Raises:
        MeasureError: those of `linear.fit`; `no_change_point`.
    """
    (found,) = choose_each(
        [data], rule=rule, kinds=kinds, divided=divided, grid=grid, seasons=seasons
    )
    if isinstance(found, MeasureError):
        raise found
    return found


def choose_each(
    many: Sequence[Data],
    *,
    rule: Rule = "bic",
    kinds: Sequence[str] = CALTRACK,
    divided: bool = True,
    grid: Grid = GRID,
    seasons: Sequence[int] = NORTH,
) -> list[Choice | MeasureError]:
    """What `choose` says of each meter, or what it refuses it with; one search for all of them.

    The search looks at each meter by itself, so what it finds does not depend on the others.

    Args:
        many: units of each meter, without holes; the driver `temperature_c`.
        rule: as of `choose`, like what follows.
        kinds: which are candidates.
        divided: whether seasons and weekdays may have lines of their own.
        grid: where change points are looked for.
        seasons: season of each month, from January.
    """
    found: list[Choice | MeasureError | None] = [None] * len(many)
    alike: dict[Rules, list[int]] = {}
    for k, data in enumerate(many):
        try:
            rules = grid.rules(nominal_us(data) / US_PER_DAY)
        except MeasureError as error:
            found[k] = error
        else:
            alike.setdefault(rules, []).append(k)
    for rules, places in alike.items():
        units = [many[k] for k in places]
        try:
            meters = meters_of(units, [cells_of(data, seasons) for data in units])
            choices = choose_many(meters, rules, rule=rule, kinds=kinds, divided=divided)
        except MeasureError as error:
            for k in places:  # one of them has no model: each by itself says which
                found[k] = (
                    error
                    if len(places) == 1
                    else choose_each(
                        [many[k]],
                        rule=rule,
                        kinds=kinds,
                        divided=divided,
                        grid=grid,
                        seasons=seasons,
                    )[0]
                )
            continue
        for b, k in enumerate(places):
            try:
                found[k] = _choice(many[k], choices, b, rule, seasons)
            except MeasureError as error:
                found[k] = error
    return [one for one in found if one is not None]


def _choice(data: Data, choices: Choices, b: int, rule: Rule, seasons: Sequence[int]) -> Choice:
    """The choice of meter b, solved by QR.

    Raises:
        MeasureError: those of `linear.fit`.
    """
    best = int(choices.division[b])
    shapes = [
        shape_of(KINDS[choices.kind[b, s]], choices.found[b, s, choices.kind[b, s]])
        for s in DIVISIONS[best].segments
    ]
    fitted = fit_split(data, DIVISIONS[best], shapes, seasons)
    metrics = metrics_of(fitted, float(choices.effective_n[b]))
    return Choice(rule, fitted, metrics, lambda: _others(choices, b, fitted, metrics))


def _others(choices: Choices, b: int, fitted: Fitted, metrics: Metrics) -> tuple[Alternative, ...]:
    """Every kind of the undivided year, and the best model of each division of it."""
    sse, n, kind = choices.found[b, :, :, SSE].tolist(), metrics.n, choices.kind[b].tolist()
    whole = [(DIVISIONS[0], (k,)) for k, value in enumerate(sse[0]) if math.isfinite(value)]
    divided = [
        (division, tuple(kind[s] for s in division.segments))
        for division, score in zip(DIVISIONS[1:], choices.score[b, 1:].tolist(), strict=False)
        if math.isfinite(score)
    ]
    mean = total(fitted.linear.y) / n
    by_mean = fitted.linear.sst / (n - 1)
    found = []
    for division, kinds in whole + divided:
        name = model_id(division, [KINDS[k] for k in kinds])
        p = sum(_PARAMETERS[k] for k in kinds)
        if name == fitted.id or n <= p:
            continue
        left = math.fsum(sse[s][k] for s, k in zip(division.segments, kinds, strict=True))
        variance = left / (n - p)
        score = bic(left, n, p, metrics.effective_n)
        cv_rmse = math.sqrt(variance) / mean if mean else None
        found.append(Alternative(name, p, left, cv_rmse, 1 - variance / by_mean, score))
    return tuple(sorted(found, key=lambda one: one.bic))


def choose_many(
    meters: Meters,
    rules: Rules,
    *,
    rule: Rule = "bic",
    kinds: Sequence[str] = CALTRACK,
    divided: bool = True,
) -> Choices:
    """The models of many meters; their lines are solved by `fit_split` for those that are wanted.

    Raises:
        MeasureError: `unknown_kind`; `no_change_point`, a meter has no valid candidate at all.
    """
    is_bic = rule == "bic"
    divisions = DIVISIONS if divided and is_bic else DIVISIONS[:1]
    masks = MASKS if len(divisions) > 1 else MASKS[:1]
    found = search_many(meters, masks, wanted(kinds), rules)
    sse, units = found[:, :, :, SSE], _units(meters, masks)
    if not np.isfinite(sse[:, 0].min(axis=1)).all():
        raise MeasureError(
            "A meter has no valid model of the kinds that were asked for.",
            "Let 1p be one of them; give every meter at least two units.",
            code="no_change_point",
        )
    closest = sse[:, 0].argmin(axis=1)
    rho = lag_one_of_many(meters, found[np.arange(closest.size), 0, closest])
    n = np.diff(meters.offsets)
    effective_n = np.array(
        [
            effective_units(r, size, p)
            for r, size, p in zip(
                rho.tolist(), n.tolist(), PARAMETERS[closest].tolist(), strict=True
            )
        ]
    )
    share = effective_n / n
    if is_bic:
        scores = _bic(sse, units[:, :, None], (units * share[:, None])[:, :, None], PARAMETERS)
    else:
        with np.errstate(divide="ignore", invalid="ignore"):
            scores = np.where(np.isfinite(sse), sse / (units[:, :, None] - TERMS), np.inf)
    kind = scores.argmin(axis=2)
    chosen_sse = np.take_along_axis(sse, kind[:, :, None], 2)[:, :, 0]
    parameters = PARAMETERS[kind]
    score = np.empty((n.size, len(divisions)))
    for d, division in enumerate(divisions):
        inside = list(division.segments)
        if d == 0:
            score[:, 0] = np.take_along_axis(scores[:, 0], kind[:, :1], 1)[:, 0]
            continue
        score[:, d] = _ONE_OF_MANY + _bic(
            chosen_sse[:, inside].sum(axis=1), n, effective_n, parameters[:, inside].sum(axis=1)
        )
        score[(units[:, inside] < _LEAST_UNITS).any(axis=1), d] = np.inf
    return Choices(score.argmin(axis=1), kind, found, effective_n, score)


def _units(meters: Meters, masks: Counts) -> Counts:
    """How many units each segment of each meter has, shape (b, s)."""
    number = meters.offsets.size - 1
    owner = np.repeat(np.arange(number), np.diff(meters.offsets))
    cells = np.bincount(owner * CELLS + meters.cell, minlength=number * CELLS)
    bits = (masks[:, None] >> np.arange(CELLS)) & 1
    counted: Counts = (cells.reshape(number, 1, CELLS) * bits).sum(axis=2)
    return counted


def _bic(sse: Array, n: Counts, effective_n: Array, p: Counts) -> Array:
    """BIC by n'; infinite where there is no fit, or where n' does not carry the parameters."""
    with np.errstate(divide="ignore", invalid="ignore"):
        score = effective_n * np.log(sse / n) + p * np.log(effective_n)
    carried = np.isfinite(sse) & ((p == 1) | (effective_n - p >= 1))
    return np.where(carried, score, np.inf)


@compiled
def lag_one_of_many(meters: Meters, lines: Array) -> NDArray[np.float64]:
    """The correlation of neighbouring residuals of an undivided line of each meter, shape (b,).

    Args:
        meters: the units.
        lines: row of `search_many` of each meter, shape (b, 6).
    """
    out = np.zeros(lines.shape[0])
    for b in range(lines.shape[0]):
        line = lines[b]
        pairs, before, after = 0, 0.0, 0.0
        for turn in range(2):
            mean_before, mean_after = before / max(pairs, 1), after / max(pairs, 1)
            product = square_before = square_after = 0.0
            last = 0.0
            for u in range(meters.offsets[b], meters.offsets[b + 1]):
                t_c = meters.t_c[u]
                fitted = line[BASE]
                if np.isnan(line[LOW]) and np.isnan(line[HIGH]):
                    fitted += line[FIRST] * t_c
                elif np.isnan(line[HIGH]):  # 3PH and 4P
                    fitted += line[FIRST] * max(line[LOW] - t_c, 0.0)
                    fitted += line[SECOND] * max(t_c - line[LOW], 0.0)
                elif np.isnan(line[LOW]):
                    fitted += line[FIRST] * max(t_c - line[HIGH], 0.0)
                else:
                    fitted += line[FIRST] * max(line[LOW] - t_c, 0.0)
                    fitted += line[SECOND] * max(t_c - line[HIGH], 0.0)
                e = (meters.rate[u] - fitted) * np.sqrt(meters.weight[u])
                follows = u > meters.offsets[b] and meters.position[u] - meters.position[u - 1] == 1
                if follows and turn == 0:
                    pairs, before, after = pairs + 1, before + last, after + e
                elif follows:
                    product += (last - mean_before) * (e - mean_after)
                    square_before += (last - mean_before) * (last - mean_before)
                    square_after += (e - mean_after) * (e - mean_after)
                last = e
        if pairs > 1 and square_before * square_after > 0.0:
            out[b] = product / np.sqrt(square_before * square_after)
    return out
