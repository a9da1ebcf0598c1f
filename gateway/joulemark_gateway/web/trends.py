"""Live figures on the page of a machine: one over time with its band, and the newest of all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from joulemark_agent.figures import POINT_PREFIX, UNCERTAINTY_PREFIX
from joulemark_gateway.api import answers, plant, statements
from joulemark_gateway.api.answers import Open
from joulemark_gateway.api.problems import unknown
from joulemark_gateway.series.base import QUALITY, Samples
from joulemark_gateway.web import charts, figures, machine_charts
from joulemark_gateway.web.drawing import Frame
from joulemark_gateway.web.machine_charts import Stated
from joulemark_gateway.web.words import Words

_MOST_ROWS = 1000  # of a trend that are drawn one by one; beyond, least, greatest and mean
_FIRST = (
    "specific_power_j_m3",
    "temperature_corrected_performance_ratio",
    "performance_ratio",
    "specific_energy_wh_kg",
    "leak_pa_s",
    "unload_wh",
    "total_wh",
    "net_ac_wh",
    "energy_wh",
)  # what is shown unasked, the first that there is


def trends_of(
    words: Words,
    read: Open,
    device: plant.Device,
    *,
    site: str,
    span_us: tuple[int, int],
    chosen: str | None,
) -> dict[str, Any]:
    """What the agent states of a machine in a span; empty where it has no figures.

    A window belongs to the span in which it ends, the end of the span included.

    Args:
        words: of the language.
        read: where from.
        device: the machine.
        site: id of the site.
        span_us: from and to. [us UTC]
        chosen: the figure whose trend is shown; None: the one that tells most.

    Raises:
        Problem: the agent states no figure of that name.
    """
    if device.figures_every_us is None:
        return {}
    newest = read.shown(read.site(site)).latest.get(device.id, {})
    names = figures_in(answers.stated_points(device, newest))
    window = statements.latest(read, site, device.id, span_us[1])
    known = dict.fromkeys([*names, *(window.absent if window is not None else [])])
    if chosen is not None and chosen not in known:
        raise unknown("figure", chosen)
    given = [] if window is None else [figure.name for figure in window.figures]
    usual = [*(name for name in _FIRST if name in given), *given, *names]
    name = chosen or next(iter(usual), None)
    chart, is_aggregated = "", False
    if name is not None:
        chart, is_aggregated = _chart(words, read, device, (site, name), span_us)
    return {
        "every_us": device.figures_every_us,
        "window": window,
        "chosen": name,
        "chart": chart,
        "is_aggregated": is_aggregated,
        "latest": None
        if window is None
        else next((figure for figure in window.figures if figure.name == name), None),
        "names": names,
    }


def figures_in(points: Iterable[str]) -> list[str]:
    """The names of the figures among points of a series."""
    return [
        point.removeprefix(POINT_PREFIX)
        for point in points
        if point.startswith(POINT_PREFIX) and not point.startswith(UNCERTAINTY_PREFIX)
    ]


def _chart(
    words: Words,
    read: Open,
    device: plant.Device,
    place: tuple[str, str],
    span_us: tuple[int, int],
) -> tuple[str, bool]:
    """The course of a figure, and whether it is drawn as least, greatest and mean."""
    site, name = place
    ends_us = span_us[0] + 1, span_us[1] + 1
    values = read.reader.samples(site, device.id, POINT_PREFIX + name, *ends_us)
    how = figures.shown_as(name)
    label = words.known(f"figure_{name}", name)
    title = words("chart_trend", figure=label, unit=how.unit or "1", device=device.id)
    frame = Frame(span_us, device.zone, title)
    every_us = device.figures_every_us or 1
    if values.t_utc_us.size > _MOST_ROWS:
        good = np.zeros(values.t_utc_us.size, np.uint8)
        all_of = Samples(values.t_utc_us, values.value, good)
        return charts.line_chart(charts.buckets_of(all_of, span_us, every_us), how, frame), True
    spreads = read.reader.samples(site, device.id, UNCERTAINTY_PREFIX + name, *ends_us)
    wide = dict(zip(spreads.t_utc_us.tolist(), spreads.value.tolist(), strict=True))
    columns = (values.t_utc_us.tolist(), values.value.tolist(), values.quality.tolist())
    rows = [
        Stated(t_us, value, wide.get(t_us), code != QUALITY["good"])
        for t_us, value, code in zip(*columns, strict=True)
        if np.isfinite(value)
    ]
    return machine_charts.trend(rows, how, frame, every_us * 3 // 2), False
