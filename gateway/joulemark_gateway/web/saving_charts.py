"""Charts of a running project: what is saved so far with its band, and day by day.

A day that is left out parts the lines; a strip below says how much of each day was measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from zoneinfo import ZoneInfo

from joulemark_gateway.api.plant import DAY, midnight_us
from joulemark_gateway.following.so_far import SavingDay
from joulemark_gateway.reports.plots import Axis, axis_over, path_through
from joulemark_gateway.web.drawing import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    both,
    grid,
    rect,
    svg,
    time_grid,
)

_BASE, _STRIP = HEIGHT - BOTTOM - 9, HEIGHT - BOTTOM - 6
_UNIT = "kWh"
Place = tuple[float, float]


def cumulative(days: Sequence[SavingDay], zone: ZoneInfo, title: str) -> str:
    """The sum since the first day, at the end of each day, between its least and greatest."""
    counted = [day for day in days if day.cumulative_kwh is not None]
    return both(lambda width: _cumulative(days, counted, zone, title, width)) if counted else ""


def _cumulative(
    days: Sequence[SavingDay],
    counted: Sequence[SavingDay],
    zone: ZoneInfo,
    title: str,
    width: int,
) -> str:
    sums = [(float(day.cumulative_kwh or 0), float(day.half_width_kwh or 0)) for day in counted]
    x_axis = _time(days, zone, width)
    lows, highs = [value - half for value, half in sums], [value + half for value, half in sums]
    y_axis = axis_over([0.0, *lows, *highs, 1e-3], _BASE, TOP)
    at = [x_axis.at(midnight_us(day.day + DAY, zone)) for day in counted]
    start = (x_axis.start, y_axis.at(0))
    upper = [start, *_placed(at, highs, y_axis)]
    lower = [start, *_placed(at, lows, y_axis)]
    middle = [start, *_placed(at, [value for value, _ in sums], y_axis)]
    inside = (
        f'<path class="band" d="{path_through([*upper, *reversed(lower)])}Z"/>'
        f'<path class="zero" d="M{LEFT} {y_axis.at(0):.1f}H{width - RIGHT}"/>'
        f'<path class="line total" d="{path_through(middle)}"/>'
    )
    return _drawn(days, zone, (x_axis, y_axis), inside, title, width)


def by_day(days: Sequence[SavingDay], zone: ZoneInfo, title: str) -> str:
    """What each day used, and what it would have used."""
    return both(lambda width: _by_day(days, zone, title, width)) if days else ""


def _by_day(days: Sequence[SavingDay], zone: ZoneInfo, title: str, width: int) -> str:
    x_axis = _time(days, zone, width)
    used = [None if d.predicted_kwh is None else float(d.measured_kwh) for d in days]
    predicted = [None if d.predicted_kwh is None else float(d.predicted_kwh) for d in days]
    known = [value for value in (*used, *predicted) if value is not None]
    y_axis = axis_over([0.0, *known, 1e-3], _BASE, TOP)
    edges = [x_axis.at(midnight_us(day.day, zone)) for day in days]
    edges.append(x_axis.end)
    lines = (
        f'<path class="line {kind}" d="{_steps(edges, values, y_axis)}"/>'
        for kind, values in (("predicted", predicted), ("reporting", used))
    )
    return _drawn(days, zone, (x_axis, y_axis), "".join(lines), title, width)


def _time(days: Sequence[SavingDay], zone: ZoneInfo, width: int) -> Axis:
    first_us, end_us = midnight_us(days[0].day, zone), midnight_us(days[-1].day + DAY, zone)
    return Axis(first_us, end_us, LEFT, width - RIGHT)


def _placed(at: Iterable[float], values: Iterable[float], y_axis: Axis) -> list[Place]:
    return [(x, y_axis.at(value)) for x, value in zip(at, values, strict=True)]


def _steps(edges: Sequence[float], values: Sequence[float | None], y_axis: Axis) -> str:
    """A level line over each day, joined to the next where both have a value."""
    pieces: list[list[Place]] = [[]]
    for k, value in enumerate(values):
        if value is None:
            pieces.append([])
        else:
            y = y_axis.at(value)
            pieces[-1] += [(edges[k], y), (edges[k + 1], y)]
    return "".join(path_through(piece) for piece in pieces if piece)


def _drawn(  # noqa: PLR0917 -- days, axes, lines, title and width
    days: Sequence[SavingDay],
    zone: ZoneInfo,
    axes: tuple[Axis, Axis],
    inside: str,
    title: str,
    width: int,
) -> str:
    """The lines on their axes, with the strip of days below."""
    x_axis, y_axis = axes
    parts = [grid(y_axis, width, _UNIT), time_grid(x_axis, zone, width), inside]
    for day in days:
        start = x_axis.at(midnight_us(day.day, zone))
        end = x_axis.at(midnight_us(day.day + DAY, zone))
        kind = "void" if day.predicted_kwh is None else day.state
        parts.append(rect(kind, start, _STRIP, end - start, 4))
    return svg("".join(parts), width, HEIGHT, title)
