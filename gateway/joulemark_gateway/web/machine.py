"""What a machine did, on its page: figures, states over time, charts of its kind, episodes."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, cast

from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.equipment import Figure, Span
from joulemark_gateway.api import machines, models, plant
from joulemark_gateway.api.answers import Open
from joulemark_gateway.api.problems import Problem
from joulemark_gateway.web import charts, figures
from joulemark_gateway.web.machines.base import Panel, Shows, View
from joulemark_gateway.web.words import Words

_EPISODES = 60  # rows of one table of spans
_ALARMS = {"sun_without_ac", "light_without_ac", "alarm"}
_KEY = {
    "energy_wh", "total_wh", "generated_wh", "net_ac_wh", "unload_wh", "specific_power_j_m3",
    "leak_pa_s", "leak_ratio", "mean_pressure_pa", "actual_to_expected_ratio", "performance_ratio",
    "temperature_corrected_performance_ratio", "efficiency_ratio", "irradiation_wh_m2",
    "batch_count", "per_batch_wh", "specific_energy_wh_kg", "holding_w", "peak_demand_w",
    "load_factor_ratio", "cop_w_per_w", "idle_wh", "co2e_kg",
}  # fmt: skip
_LEAST_KEY = 2  # of these; with fewer all figures stand at the head
_NO_STATES = {"day", "demand_peak", "month_peak"}  # spans that only part or mark the time


def machine_of(
    words: Words, read: Open, place: plant.Site, name: str, inside_us: tuple[int, int]
) -> dict[str, Any]:
    """What the device's model says of the span, or why it says nothing; empty without a model.

    Args:
        words: of the language.
        read: where from.
        place: the site.
        name: of the device.
        inside_us: the part of the span in which it has samples. [us UTC]
    """
    try:
        made = machines.analysed(read, place.id, name, inside_us)
    except (Problem, EvidenceError) as error:  # of the machine's model alone; the rest is shown
        return {"refused": error.what, "do": error.do}
    if made.found is None:
        return {}
    view = View(words, place.id, place.zone, inside_us, made)
    given = [machines.figure_of(figure) for figure in made.found.figures]
    known = [figure for figure in given if figure.value is not None]
    key = [figure for figure in known if figure.name in _KEY]
    key = key if len(key) >= _LEAST_KEY else known
    return {
        "findings": made.found.findings,
        "key": key,
        "given": known,
        "absent": by_reason(given),
        "timeline": charts.timeline(_lanes(view), view.frame("chart_states")),
        "panels": _panels(view),
        "tables": tables_of(made.found.spans),
        "from_us": inside_us[0],
        "to_us": inside_us[1],
    }


def _panels(view: View) -> list[Panel]:
    """The charts of the machine's kind."""
    kind: str = view.made.device.profile.kind
    name = f"{__package__}.machines.{kind}"
    if kind == "base" or find_spec(name) is None:
        return []
    return cast("Shows", import_module(name)).panels(view)


def _lanes(view: View) -> list[charts.Lane]:
    """A lane for each kind of state, with its share of the time that is known."""
    found = () if view.made.found is None else view.made.found.spans
    kinds = [kind for kind in dict.fromkeys(s.kind for s in found) if kind not in _NO_STATES]
    lanes = []
    whole_us = view.span_us[1] - view.span_us[0]
    for kind in kinds:
        times = [(span.start_us, span.end_us) for span in found if span.kind == kind]
        share = figures.percent(sum(end - start for start, end in times), whole_us)
        text = view.words.known(f"lane_{kind}", view.words.known(f"span_{kind}", kind))
        css = "s-alarm" if kind in _ALARMS else f"s-{kind.replace('_', '-')}"
        lanes.append(charts.Lane(text, f"{_short(share)} %", css, times))
    return lanes


def _short(share: str) -> str:
    """A share to one digit after the point, cut."""
    whole, point, rest = share.partition(".")
    return f"{whole}{point}{rest[:1]}"


def tables_of(found: Sequence[Span]) -> list[dict[str, Any]]:
    """A table for each kind of span that has figures."""
    tables = []
    for kind in dict.fromkeys(span.kind for span in found):
        spans = [span for span in found if span.kind == kind and span.figures]
        if spans:
            told = [fig for span in spans for fig in span.figures if _tells(fig)]
            names = list(dict.fromkeys(fig.name for fig in told))
            shown = [
                {"span": span, "cells": [_cell(span.figures, name) for name in names]}
                for span in spans[:_EPISODES]
            ]
            tables.append(
                {
                    "kind": kind,
                    "names": names,
                    "heads": [(name, _shared_flags(told, name)) for name in names],
                    "rows": shown,
                    "all": len(spans),
                }
            )
    return tables


def _shared_flags(told: Sequence[Figure], name: str) -> list[str]:
    """The flags that every figure of this name has: they stand once, at the head."""
    flags = [set(figure.flags) for figure in told if figure.name == name]
    return sorted(set.intersection(*flags)) if flags else []


def _tells(figure: Figure) -> bool:
    """Whether it is worth a column: why one is always refused stands under the tables."""
    return figure.value is not None or bool(figure.flags)


def _cell(found: Sequence[Figure], name: str) -> models.Figure | None:
    return next((machines.figure_of(figure) for figure in found if figure.name == name), None)


def by_reason(given: Sequence[models.Figure]) -> list[tuple[str, list[models.Figure]]]:
    """The figures that are refused, those of one reason together."""
    found: dict[str, list[models.Figure]] = {}
    for figure in given:
        if figure.value is None:
            found.setdefault(figure.why, []).append(figure)
    return list(found.items())
