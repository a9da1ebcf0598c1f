"""Charts of what was used: the usual day, hour by hour."""

from __future__ import annotations

from collections.abc import Sequence

from joulemark_gateway.api.usage import Hour
from joulemark_gateway.reports.plots import Axis, axis_over, path_through
from joulemark_gateway.web.drawing import (
    BOTTOM,
    HEIGHT,
    LEFT,
    NARROW,
    RIGHT,
    TOP,
    both,
    grid,
    svg,
)

_W_PER_KW = 1000


def usual_day(hours: Sequence[Hour], title: str) -> str:
    """Mean power by hour, of working days and of weekends; an hour nobody knows parts the line."""
    known = [w for hour in hours for w in (hour.working_w, hour.weekend_w) if w is not None]
    return both(lambda width: _usual_day(hours, known, title, width)) if known else ""


def _usual_day(hours: Sequence[Hour], known: Sequence[float], title: str, width: int) -> str:
    x_axis = Axis(0, len(hours), LEFT, width - RIGHT)
    y_axis = axis_over([0.0, *(w / _W_PER_KW for w in known)], HEIGHT - BOTTOM, TOP)
    parts = [grid(y_axis, width, "kW")]
    every = 3 if width > NARROW else 6
    for hour in range(0, len(hours) + 1, every):
        x = x_axis.at(hour)
        place = " end" if hour == len(hours) else " middle" if hour else ""
        parts.append(f'<path class="grid" d="M{x:.1f} {TOP - 6}V{HEIGHT - BOTTOM}"/>')
        parts.append(
            f'<text class="tick{place}" x="{x:.1f}" y="{HEIGHT - BOTTOM + 15}">{hour:02d}:00</text>'
        )
    for css, values in (
        ("weekend", [hour.weekend_w for hour in hours]),
        ("working", [hour.working_w for hour in hours]),
    ):
        parts.append(f'<path class="line {css}" d="{_steps(values, x_axis, y_axis)}"/>')
    return svg("".join(parts), width, HEIGHT, title)


def _steps(values: Sequence[float | None], x_axis: Axis, y_axis: Axis) -> str:
    """A level line over each hour, joined to the next where both are known."""
    pieces: list[list[tuple[float, float]]] = [[]]
    for hour, value_w in enumerate(values):
        if value_w is None:
            pieces.append([])
            continue
        y = y_axis.at(value_w / _W_PER_KW)
        pieces[-1] += [(x_axis.at(hour), y), (x_axis.at(hour + 1), y)]
    return "".join(path_through(piece) for piece in pieces if piece)
