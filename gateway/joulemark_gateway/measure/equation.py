"""A fitted baseline as a reader recomputes it: its terms by name, its levels, one unit by hand."""

from __future__ import annotations

import numpy as np

from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.inputs import Prepared
from joulemark_gateway.measure.models.base import Fitted, Term
from joulemark_gateway.measure.models.change_point import fit_change_point
from joulemark_gateway.measure.models.shapes import TEMPERATURE
from joulemark_gateway.measure.planned import columns_of
from joulemark_gateway.measure.result import Level, Worked, WorkedTerm
from joulemark_gateway.measure.savings import Reported

_CHANGE_POINT = "change-point-"


def levels_in(fitted: Fitted) -> int:
    """How many of the terms are levels of times of the week."""
    return int(fitted.facts.get("cells", 0))


def named_terms(prepared: Prepared, fitted: Fitted) -> list[Term]:
    """The terms under the names of the plan, levels of times of the week first."""
    names = {
        column: driver.name
        for column, driver in zip(columns_of(prepared), prepared.project.drivers, strict=True)
    }
    return [_named(term, names, prepared.project.unit) for term in fitted.terms]


def facts_of(fitted: Fitted, data: Data, confidence: float) -> dict[str, float]:
    """What a search found; of an undivided line of temperature with the ends of its intervals.

    Args:
        fitted: the model.
        data: what it was fitted to.
        confidence: of the intervals.
    """
    kind = fitted.id.removeprefix(_CHANGE_POINT)
    if kind == fitted.id or not fitted.searched:
        return dict(fitted.facts)
    again = fit_change_point(data, kind, confidence=confidence).facts
    is_same = all(again.get(name) == value for name, value in fitted.facts.items())
    return {**again} if is_same else dict(fitted.facts)


def levels_of(fitted: Fitted) -> tuple[Level, ...]:
    """The level of each time of the week, in their order; none where the model has no such."""
    cells = levels_in(fitted)
    busy = [j for j, term in enumerate(fitted.terms) if term.name.startswith(f"{TEMPERATURE} busy")]
    x = fitted.linear.x
    levels = []
    for j, term in enumerate(fitted.terms[:cells]):
        inside = x[x[:, j] == 1]
        is_busy = bool(np.any(inside[:, busy] != 0)) if busy else None
        levels.append(Level(term.name, float(fitted.linear.beta[j]), is_busy))
    return tuple(levels)


def worked_of(prepared: Prepared, fitted: Fitted, kept: Reported) -> Worked:
    """One unit of the reporting period, term by term: that of the median saving, the lower one.

    Terms that play no part in the unit, like the levels of other times, are left out.
    """
    order = np.lexsort((kept.units.position, kept.avoided_wh))
    k = int(order[(order.size - 1) // 2])
    chosen = kept.units.position == kept.units.position[k]
    row = fitted.rows(kept.units.where(chosen))[0].tolist()
    beta = fitted.linear.beta.tolist()
    is_divided = levels_in(fitted) > 0 or any("." in name for name in fitted.facts)
    terms = tuple(
        WorkedTerm(term.name, term.unit, value, amount, value * amount)
        for term, value, amount in zip(named_terms(prepared, fitted), beta, row, strict=True)
        if amount != 0 or not is_divided
    )
    label = prepared.reporting.grid.labels[int(kept.units.position[k])]
    return Worked(label, terms, float(kept.predicted_wh[k]), float(kept.measured_wh[k]))


def _named(term: Term, names: dict[str, str], unit: str) -> Term:
    if term.name == "base":
        return Term("base load", f"Wh/{unit}" if term.unit == "Wh" else "Wh/day")
    if term.name in names:
        return Term(names[term.name], _without_brackets(term.unit))
    before, _, state = term.name.partition(f"{TEMPERATURE} ")
    if state and not before:
        state, _, edges = state.partition(" ")
        return Term(f"{state} times, {_between(*edges.split('..'))}", term.unit)
    return term


def _between(low: str, high: str) -> str:
    if low and high:
        return f"{low} to {high} °C"
    if high:
        return f"below {high} °C"
    return f"above {low} °C" if low else "any temperature"


def _without_brackets(unit: str) -> str:
    if unit.startswith("Wh/(") and " " not in unit:
        return unit.replace("(", "").replace(")", "")
    return unit
