"""Change-point models of temperature: 2P, 3PH, 3PC, 4P and 5P of one meter.

The change points are searched among candidates and refined, the line is then solved by QR.

Source: Kissock, Haberl and Claridge, Inverse Modeling Toolkit, ASHRAE RP-1050 (2003).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.calendar import US_PER_DAY
from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.models.base import Fitted
from joulemark_gateway.measure.models.change_point_profile import highest_sse, profile_many
from joulemark_gateway.measure.models.change_point_search import CELLS, Counts, Meters, search_many
from joulemark_gateway.measure.models.hinges import HIGH, KINDS, LOW, PARAMETERS, SSE, Rules, wanted
from joulemark_gateway.measure.models.shapes import (
    TEMPERATURE,
    Part,
    Shape,
    fit_parts,
    nominal_units,
    nominal_us,
    own_temperature,
)
from joulemark_gateway.measure.qr import Array

ALL = np.array([(1 << CELLS) - 1])
_F_PER_K = 1.8


@dataclass(frozen=True)
class Grid:
    """Where change points are looked for, and what a candidate must satisfy.

    From 30 F to 90 F; 10 units and 20 F days on each side, as CalTRACK 2.0 section 3.3 has it.
    """

    lowest_c: float = -1.0
    highest_c: float = 32.0
    step_k: float = 0.5
    min_units: int = 10
    min_degree_days: float = 20 / _F_PER_K  # [K d]
    is_physical: bool = True

    def rules(self, nominal_days: float) -> Rules:
        """The same for units of weight 1 that are so long."""
        count = round((self.highest_c - self.lowest_c) / self.step_k) + 1
        return Rules(
            self.lowest_c,
            self.step_k,
            count,
            self.min_units,
            self.min_degree_days / nominal_days,
            self.is_physical,
        )


GRID = Grid()


def fit_change_point(
    data: Data, kind: str, *, grid: Grid = GRID, confidence: float = 0.9
) -> Fitted:
    """The best model of one kind; `facts` has its change points and the ends of their intervals.

    Args:
        data: units without holes; the driver `temperature_c`.
        kind: `2p`, `3ph`, `3pc`, `4p` or `5p`.
        grid: where change points are looked for.
        confidence: of the intervals of the change points.

    Raises:
        MeasureError: `unknown_kind`, `missing_values`; `no_change_point`, no candidate satisfies
            the rules; those of `fit_parts`.
    """
    meters, rules = meters_of([data]), grid.rules(nominal_us(data) / US_PER_DAY)
    found = search_many(meters, ALL, wanted([kind]), rules)[0, 0, KINDS.index(kind)]
    if not np.isfinite(found[SSE]):
        raise MeasureError(
            f"No change point of a {kind.upper()} model is valid: each side of it needs "
            f"{grid.min_units} units and {grid.min_degree_days:.1f} K d, and slopes above 0.",
            "Take a model with fewer parameters, or a longer baseline.",
            code="no_change_point",
        )
    fitted = fit_parts(
        f"change-point-{kind}", data, [Part("", shape_of(kind, found))], own_temperature
    )
    ends = intervals_c(
        meters, ALL, np.array([KINDS.index(kind)]), found[None, :], rules, confidence
    )
    return replace(fitted, facts={**fitted.facts, **_named(fitted, ends[0])})


def shape_of(kind: str, found: Array) -> Shape:
    """The shape of a row of `search_many`."""
    low_c, high_c = (None if np.isnan(found[k]) else float(found[k]) for k in (LOW, HIGH))
    return Shape(kind, low_c, high_c)


def intervals_c(  # noqa: PLR0917 -- columns of the meters
    meters: Meters, masks: Counts, kinds: Counts, found: Array, rules: Rules, confidence: float
) -> Array:
    """The interval of each change point that was found, shape (b, 2, 2).

    Args:
        meters: what was searched.
        masks: segment of each meter, shape (b,).
        kinds: index of each kind, shape (b,).
        found: row of `search_many` of each, shape (b, 6).
        rules: those of the search.
        confidence: of the two-sided intervals.
    """
    degrees = np.diff(meters.offsets) - PARAMETERS[kinds]
    limits = [
        highest_sse(sse, d, confidence)
        for sse, d in zip(found[:, SSE].tolist(), degrees.tolist(), strict=True)
    ]
    sses = np.column_stack([found[:, SSE], limits])
    points_c = np.ascontiguousarray(found[:, [LOW, HIGH]])
    return profile_many(meters, masks, kinds, points_c, sses, rules)


def meters_of(many: Sequence[Data], cells: Sequence[Counts] | None = None) -> Meters:
    """The units of many meters in one row; `cells` is the place of each unit in the calendar.

    Raises:
        MeasureError: `missing_values`; `missing_driver`; `too_few_units`, a meter has none.
    """
    for data in many:
        if not (np.isfinite(data.energy_wh) & np.isfinite(data.driver(TEMPERATURE))).all():
            raise MeasureError(
                "Units without energy or temperature cannot be fitted.",
                "Leave them out: data.where(data.is_whole).",
                code="missing_values",
            )
    sizes = [data.n for data in many]
    weights = [nominal_units(data) for data in many]
    rates = [data.energy_wh / weight for data, weight in zip(many, weights, strict=True)]
    return Meters(
        np.concatenate([data.driver(TEMPERATURE) for data in many]),
        np.concatenate(rates),
        np.concatenate(weights),
        np.zeros(sum(sizes), np.int64) if cells is None else np.concatenate(cells),
        np.concatenate([data.position for data in many]),
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
    )


def _named(fitted: Fitted, ends: Array) -> dict[str, float]:
    """The ends of the intervals beside their change points."""
    known = ends[np.isfinite(ends[:, 0])]
    return {
        f"{name.removesuffix('_c')}_{end}_c": float(known[k, m])
        for k, name in enumerate(fitted.facts)
        for m, end in enumerate(("lowest", "highest"))
    }
