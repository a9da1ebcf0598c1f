"""Energy that follows what a plant makes and the weather: production beside a broken line.

E = b0 h + sum b_j P_j + bh HDD + bc CDD, h being how much of a nominal unit was measured, as in
`production`; the degree days are those below one change point and above another, which are searched
with production in the model. Without it the line would take for weather what the season's orders
did. Which kind of line it is, or none, BIC decides by the effective number of units, as in
`temperature_choice`: a plant that does not answer to the temperature gets no change point.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure import linear as linear_model
from joulemark_gateway.measure.calendar import US_PER_DAY
from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.models.base import Fitted, Term
from joulemark_gateway.measure.models.change_point import GRID, Grid, shape_of
from joulemark_gateway.measure.models.hinges import KINDS, PARAMETERS, SSE, wanted
from joulemark_gateway.measure.models.metrics import Metrics, bic, effective_units, metrics_of
from joulemark_gateway.measure.models.production import Predictor, fit_production
from joulemark_gateway.measure.models.production_temperature_search import Plant, search_plant
from joulemark_gateway.measure.models.shapes import (
    Shape,
    nominal_units,
    nominal_us,
    own_temperature,
)
from joulemark_gateway.measure.models.temperature_choice import Alternative
from joulemark_gateway.measure.qr import Array
from joulemark_gateway.measure.uncertainty import lag_one_correlation

NONE = "1p"  # production alone
PLANT_KINDS = (NONE, "2p", "3ph", "3pc", "5p")


@dataclass(frozen=True)
class PlantChoice:
    """The chosen model, and the other kinds by rising BIC."""

    fitted: Fitted
    metrics: Metrics
    others: tuple[Alternative, ...]


def choose_plant(
    data: Data,
    predictors: Sequence[Predictor],
    *,
    kinds: Sequence[str] = PLANT_KINDS,
    grid: Grid = GRID,
) -> PlantChoice:
    """The model of a plant with the kind of line that BIC likes best, solved by QR.

    Args:
        data: units without holes; the driver `temperature_c` and those of the predictors.
        predictors: what the plant makes, all of which enter; at least one.
        kinds: which lines are candidates; `1p` is none.
        grid: where change points are looked for.

    Raises:
        MeasureError: `unknown_kind`; `no_change_point`, no candidate is valid; those of
            `fit_production`.
    """
    shapes = _shapes(data, predictors, kinds, grid)
    fits = {kind: _fit(data, predictors, shape) for kind, shape in shapes.items()}
    closest = min(fits.values(), key=lambda one: one.linear.sse)
    rho = lag_one_correlation(closest.linear.e, closest.linear.position)
    effective_n = effective_units(rho, data.n, closest.parameters)
    score = {kind: _score(one, effective_n) for kind, one in fits.items()}
    ranked = sorted(fits, key=lambda kind: score[kind])
    chosen = fits[ranked[0]]
    others = tuple(_alternative(fits[kind], score[kind]) for kind in ranked[1:])
    return PlantChoice(chosen, metrics_of(chosen, effective_n), others)


def fit_plant(
    data: Data, predictors: Sequence[Predictor], kind: str, *, grid: Grid = GRID
) -> Fitted:
    """The best model of one kind; `facts` has its change points.

    Base and production are as in `fit_production`; the slopes are those of the degree days of a
    unit's mean temperature, for as long as it was measured.

    Raises:
        MeasureError: as `choose_plant`.
    """
    return _fit(data, predictors, _shapes(data, predictors, (kind,), grid)[kind])


def _shapes(
    data: Data, predictors: Sequence[Predictor], kinds: Sequence[str], grid: Grid
) -> Mapping[str, Shape]:
    """The closest line of each kind that has a valid one, by what production leaves."""
    asked = wanted(kinds)
    if unknown := [kind for kind in kinds if kind not in PLANT_KINDS]:
        raise MeasureError(
            f"No plant has the line {unknown[0]!r} beside its production.",
            f"Take some of: {', '.join(PLANT_KINDS)}.",
            code="unknown_kind",
        )
    plain = fit_production(data, predictors).linear
    plant = Plant(
        own_temperature(data).mean(),
        nominal_units(data),
        np.ascontiguousarray(plain.coordinates(plain.x).T),
        plain.e,
    )
    found = search_plant(plant, asked, grid.rules(nominal_us(data) / US_PER_DAY))
    carried = np.isfinite(found[:, SSE]) & (data.n > plain.p + PARAMETERS - 1)
    shapes = {
        kind: shape_of(kind, row)
        for kind, row, is_carried in zip(KINDS, found, carried.tolist(), strict=True)
        if is_carried
    }
    if not shapes:
        raise MeasureError(
            f"No line of {', '.join(kinds)} is valid: each side of a change point needs "
            f"{grid.min_units} units and {grid.min_degree_days:.1f} K d, and slopes above 0.",
            "Let 1p be one of the kinds, or take a longer baseline.",
            code="no_change_point",
        )
    return shapes


def _fit(data: Data, predictors: Sequence[Predictor], shape: Shape) -> Fitted:
    """The least-squares fit of production and a line whose change points are known."""
    plain = fit_production(data, predictors)
    if shape.kind == NONE:
        return plain

    def columns(of: Data) -> list[Array]:
        days = of.counted_us / US_PER_DAY
        return [days * column for column in shape.columns(own_temperature(of))]

    def rows(of: Data) -> Array:
        return np.column_stack([plain.rows(of), *columns(of)])

    x = rows(data)
    linear = linear_model.fit(x[:, 1:], data.energy_wh, data.position, x[:, 0])
    slopes = linear.beta[plain.linear.p :].tolist()

    def tangent(of: Data) -> Array:
        days = of.counted_us / US_PER_DAY
        moved = shape.derivatives(own_temperature(of), slopes)
        return np.column_stack([rows(of), *(days * column for column in moved)])

    terms = (*plain.terms, *(Term(name, "Wh/(K d)") for name in shape.terms))
    return Fitted(
        f"production-{shape.kind}",
        linear,
        terms,
        rows,
        tangent,
        len(shape.points_c),
        shape.points_c,
    )


def _score(fitted: Fitted, effective_n: float) -> float:
    """BIC; endless where the effective units do not carry a line that was searched."""
    if fitted.searched and effective_n - fitted.parameters < 1:
        return math.inf
    return bic(fitted.linear.sse, fitted.linear.n, fitted.parameters, effective_n)


def _alternative(fitted: Fitted, score: float) -> Alternative:
    metrics = metrics_of(fitted)
    return Alternative(
        fitted.id,
        fitted.parameters,
        fitted.linear.sse,
        metrics.cv_rmse,
        metrics.adjusted_r2,
        score,
    )
