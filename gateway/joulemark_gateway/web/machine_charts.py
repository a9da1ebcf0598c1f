"""Charts of a machine as inline SVG: a figure's trend, a scatter, bars over time, power and sun.

As in `charts.py` numbers only place ink; what a reader needs as text stands beside each chart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape

import numpy as np
from numpy.typing import NDArray

from joulemark_gateway.reports.plots import Axis, path_through, tick_text
from joulemark_gateway.web.drawing import (
    BOTTOM,
    HEIGHT,
    LEFT,
    NARROW,
    RIGHT,
    TOP,
    Frame,
    axis_of,
    both,
    grid,
    rect,
    svg,
    time_grid,
)
from joulemark_gateway.web.figures import COVERAGE, Shown

Values = NDArray[np.float64]
_CELL = 4  # pixels of a scatter that become one dot
_FEW = 60  # dots of a scatter, which are drawn larger
_MOST_DOTS = 400  # of a line that are drawn as dots too
DAY_WIDEST = 90.0  # of the bar of a day
_SUN_RIGHT = 44  # room for a second axis


@dataclass(frozen=True)
class Stated:
    """A figure at an instant; None where it could not be given."""

    t_us: int
    value: float | None
    standard_uncertainty: float | None
    is_limited: bool  # by a flag


def trend(
    rows: Sequence[Stated],
    how: Shown,
    frame: Frame,
    gap_us: int | None,
    *,
    from_zero: bool = False,
) -> str:
    """A figure over time with its band (k = 2); where none could be given, a mark at the foot.

    Args:
        rows: in the order of time.
        how: how values are shown.
        frame: time axis and title.
        gap_us: rows further apart are not joined; None: none are.
        from_zero: the axis has 0, whatever the values.
    """
    if not rows:
        return ""
    y_axis = _values_axis(rows, how, from_zero=from_zero)
    return both(lambda width: _trend(rows, how, frame, gap_us, y_axis, width))


def _values_axis(rows: Sequence[Stated], how: Shown, *, from_zero: bool) -> Axis:
    known = [row for row in rows if row.value is not None]
    lows, highs = zip(*(_ends(row, how) for row in known), strict=True) if known else ((0,), (0,))
    low, high = min(lows), max(highs)
    is_near = from_zero or (low < high and 0 <= low < (high - low) * 2)
    return axis_of([*([0.0] if is_near else []), low, high], HEIGHT - BOTTOM, TOP)


def _trend(  # noqa: PLR0917 -- those of `trend`, the axis and the width
    rows: Sequence[Stated],
    how: Shown,
    frame: Frame,
    gap_us: int | None,
    y_axis: Axis,
    width: int,
) -> str:
    known = [row for row in rows if row.value is not None]
    start_us, end_us = frame.span_us
    x_axis = Axis(start_us, max(end_us, start_us + 1), LEFT, width - RIGHT)
    parts = [grid(y_axis, width, how.unit), time_grid(x_axis, frame.zone, width)]
    for piece in _pieces(rows, gap_us):
        parts += _piece(piece, how, x_axis, y_axis)
    are_dots = gap_us is None or len(known) <= _MOST_DOTS
    for row in known:
        if are_dots or row.is_limited:
            css = "stated limited" if row.is_limited else "stated"
            x, y = x_axis.at(row.t_us), y_axis.at(_shown(row.value, how))
            parts.append(f'<circle class="{css}" cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>')
    foot = HEIGHT - BOTTOM
    for row in rows:
        if row.value is None:
            x = x_axis.at(row.t_us)
            cross = f"M{x - 3:.1f} {foot - 7}l6 6m0 -6l-6 6"
            parts.append(f'<path class="unresolved" d="{cross}"/>')
    return svg("".join(parts), width, HEIGHT, frame.title)


def _shown(value: float | None, how: Shown) -> float:
    return (value or 0.0) * how.factor + how.offset


def _ends(row: Stated, how: Shown) -> tuple[float, float]:
    """The lower and the upper end of the band; the value itself where that is not known."""
    middle, half = _shown(row.value, how), _half(row, how)
    return middle - half, middle + half


def _half(row: Stated, how: Shown) -> float:
    return COVERAGE * (row.standard_uncertainty or 0.0) * abs(how.factor)


def _pieces(rows: Sequence[Stated], gap_us: int | None) -> list[list[Stated]]:
    """The rows with a value, those together that are joined."""
    pieces: list[list[Stated]] = []
    for row in rows:
        if row.value is None:
            continue
        if pieces and gap_us is not None and row.t_us - pieces[-1][-1].t_us <= gap_us:
            pieces[-1].append(row)
        else:
            pieces.append([row])
    return pieces


def _piece(piece: Sequence[Stated], how: Shown, x_axis: Axis, y_axis: Axis) -> list[str]:
    """The line and its band; of one row a bar from end to end."""
    ends = [(x_axis.at(row.t_us), *_ends(row, how)) for row in piece]
    if len(piece) == 1:
        [(x, low, high)] = ends
        if high <= low:
            return []
        return [f'<path class="whisker" d="M{x:.1f} {y_axis.at(low):.1f}V{y_axis.at(high):.1f}"/>']
    parts = []
    if any(high > low for _, low, high in ends):
        upper = [(x, y_axis.at(high)) for x, _, high in ends]
        lower = [(x, y_axis.at(low)) for x, low, _ in reversed(ends)]
        parts.append(f'<path class="band" d="{path_through([*upper, *lower])}Z"/>')
    middle = [(x_axis.at(row.t_us), y_axis.at(_shown(row.value, how))) for row in piece]
    parts.append(f'<path class="line value" d="{path_through(middle)}"/>')
    return parts


@dataclass(frozen=True, eq=False)
class Scatter:
    """Two quantities against each other, in the units they are shown in."""

    x: Values
    y: Values
    x_label: str
    y_label: str
    curve: Sequence[tuple[float, float]] = ()  # what is declared
    from_zero: bool = True  # the axis of x has 0

    def usual(self) -> Scatter:
        """Without dots whose x lies far out: more than three times the usual range from it."""
        low, high = (float(q) for q in np.quantile(self.x, (0.05, 0.95)))
        room = 3 * max(high - low, 1e-9 * abs(high))
        near = (self.x >= low - room) & (self.x <= high + room)
        return replace(self, x=self.x[near], y=self.y[near])


def scatter(found: Scatter, title: str) -> str:
    """Dots that are darker where more of the time lies, and the declared curve as a broken line."""
    return both(lambda width: _scatter(found, title, width)) if found.x.size else ""


def _scatter(found: Scatter, title: str, width: int) -> str:
    height = HEIGHT + 60
    foot = height - BOTTOM
    xs, ys = [x for x, _ in found.curve], [y for _, y in found.curve]
    zero = [0.0] if found.from_zero else []
    x_axis = axis_of([*zero, *_range(found.x), *xs], LEFT, width - RIGHT)
    y_axis = axis_of([0.0, *_range(found.y), *ys], foot, TOP)
    parts = [grid(y_axis, width, found.y_label)]
    for value in x_axis.ticks():
        x = x_axis.at(value)
        parts.append(f'<path class="grid" d="M{x:.1f} {TOP - 6}V{foot}"/>')
        parts.append(
            f'<text class="tick middle" x="{x:.1f}" y="{foot + 15}">{tick_text(value)}</text>'
        )
    label = escape(found.x_label)
    parts.append(f'<text class="axis end" x="{width - RIGHT}" y="{height - 4}">{label}</text>')
    place = np.stack([_places(found.x, x_axis), _places(found.y, y_axis)])
    cells, counts = np.unique(place // _CELL, axis=1, return_counts=True)
    most = math.log1p(float(counts.max()))
    radius = 2.2 if counts.size > _FEW else 3.4
    for (x, y), count in zip((cells * _CELL + _CELL / 2).T.tolist(), counts.tolist(), strict=True):
        shade = max(math.ceil(5 * math.log1p(count) / most), 1)
        parts.append(f'<circle class="cell shade-{shade}" cx="{x:g}" cy="{y:g}" r="{radius}"/>')
    if found.curve:
        line = path_through([(x_axis.at(x), y_axis.at(y)) for x, y in found.curve])
        parts.append(f'<path class="line declared" d="{line}"/>')
    return svg("".join(parts), width, height, title)


def _places(values: Values, axis: Axis) -> Values:
    """Where values stand in the drawing."""
    shares = (values - axis.low) / (axis.high - axis.low)
    return np.asarray(axis.start + shares * (axis.end - axis.start))


def _range(values: Values) -> tuple[float, float]:
    return float(values.min()), float(values.max())


@dataclass(frozen=True)
class Stack:
    """One bar over its time: parts above each other; without parts it has no value."""

    start_us: int
    end_us: int
    parts: Sequence[tuple[str, float]]  # class and amount
    title: str
    url: str
    is_limited: bool = False  # by a flag
    label: str = ""  # below the bar, in place of the times of the axis


def stacks(bars: Sequence[Stack], unit: str, frame: Frame, widest: float = float("inf")) -> str:
    """Bars over time, each as wide as its time; a time without value is marked as such.

    Args:
        bars: in the order of time.
        unit: of the amounts.
        frame: time axis and title.
        widest: no bar is wider; it then stands in the middle of its time.
    """
    return both(lambda width: _stacks(bars, unit, frame, widest, width)) if bars else ""


def _stacks(bars: Sequence[Stack], unit: str, frame: Frame, widest: float, width: int) -> str:
    start_us, end_us = frame.span_us
    x_axis = Axis(start_us, max(end_us, start_us + 1), LEFT, width - RIGHT)
    base = HEIGHT - BOTTOM
    sums = [sum(amount for _, amount in bar.parts) for bar in bars]
    y_axis = axis_of([0.0, *sums, 1e-9], base, TOP)
    has_labels = any(bar.label for bar in bars)
    drawn = [grid(y_axis, width, unit)]
    drawn += [] if has_labels else [time_grid(x_axis, frame.zone, width)]
    every = -(-len(bars) // (12 if width > NARROW else 5))
    for k, bar in enumerate(bars):
        x, end = (x_axis.at(min(max(at, start_us), end_us)) for at in (bar.start_us, bar.end_us))
        room = end - x
        wide = min(max(room - min(room * 0.08, 4), 1.0), widest)
        x += (room - wide) / 2
        inside = f"<title>{escape(bar.title)}</title>"
        if not bar.parts:
            inside += rect("void", x, TOP, wide, base - TOP)
        else:
            inside += rect("hit", x, TOP, wide, base - TOP)
        foot = 0.0
        for css, amount in bar.parts:
            top, bottom = y_axis.at(foot + max(amount, 0.0)), y_axis.at(foot)
            inside += rect(css, x, top, wide, bottom - top)
            foot += max(amount, 0.0)
        if bar.is_limited:
            inside += rect("limit", x, y_axis.at(foot) - 3, wide, 2)
        drawn.append(f'<a href="{escape(bar.url)}" tabindex="-1">{inside}</a>')
        if bar.label and k % every == 0:
            middle = f'x="{x + wide / 2:.1f}" y="{base + 15}"'
            drawn.append(f'<text class="tick day middle" {middle}>{escape(bar.label)}</text>')
    return svg("".join(drawn), width, HEIGHT, frame.title)


def shares(parts: Sequence[tuple[str, float]], title: str) -> str:
    """Parts of a whole as one bar, by class."""
    return both(lambda width: _shares(parts, title, width))


def _shares(parts: Sequence[tuple[str, float]], title: str, width: int) -> str:
    whole = sum(max(amount, 0.0) for _, amount in parts) or 1.0
    axis, at, drawn = Axis(0.0, whole, LEFT, width - RIGHT), 0.0, []
    for css, amount in parts:
        start, end = axis.at(at), axis.at(at + max(amount, 0.0))
        drawn.append(rect(css, start, 2, end - start, 22))
        at += max(amount, 0.0)
    return svg("".join(drawn), width, 28, title)


@dataclass(frozen=True, eq=False)
class Curve:
    """A quantity over time, NaN where it is not known."""

    css: str
    t_us: NDArray[np.int64]
    values: Values


def power_and_sun(
    curves: Sequence[Curve],
    sun: Curve | None,
    clipped: Sequence[tuple[int, int]],
    units: tuple[str, str],
    frame: Frame,
) -> str:
    """Power against time on the left axis, irradiance behind it on the right one.

    Args:
        curves: of power, in the first unit.
        sun: irradiance, in the second.
        clipped: times at which the inverter was at its limit. [us]
        units: of the left and the right axis.
        frame: time axis and title.
    """
    return both(lambda width: _power_and_sun(curves, sun, clipped, units, frame, width))


def _power_and_sun(  # noqa: PLR0917 -- the five of `power_and_sun`, and the width
    curves: Sequence[Curve],
    sun: Curve | None,
    clipped: Sequence[tuple[int, int]],
    units: tuple[str, str],
    frame: Frame,
    width: int,
) -> str:
    start_us, end_us = frame.span_us
    right = width - (RIGHT if sun is None else _SUN_RIGHT)
    x_axis = Axis(start_us, max(end_us, start_us + 1), LEFT, right)
    base = HEIGHT - BOTTOM
    y_axis = axis_of([0.0, *(float(v) for c in curves for v in _known(c.values))], base, TOP)
    parts = [grid(y_axis, width, units[0]), time_grid(x_axis, frame.zone, width)]
    for at_us, until_us in clipped:
        x = x_axis.at(at_us)
        parts.append(rect("clipped", x, TOP, max(x_axis.at(until_us) - x, 1.0), base - TOP))
    if sun is not None:
        sun_axis = axis_of([0.0, *_known(sun.values)], base, TOP)
        for value in sun_axis.ticks():
            y = sun_axis.at(value)
            parts.append(f'<text class="tick" x="{right + 6}" y="{y + 4:.1f}">{value:g}</text>')
        parts.append(f'<text class="axis end" x="{right}" y="9">{escape(units[1])}</text>')
        for xs, ys in _stretches(sun, x_axis, sun_axis):
            edge = path_through([(xs[0], base), *zip(xs, ys, strict=True), (xs[-1], base)])
            parts.append(f'<path class="sun" d="{edge}Z"/>')
    for curve in curves:
        for xs, ys in _stretches(curve, x_axis, y_axis):
            line = path_through(list(zip(xs, ys, strict=True)))
            parts.append(f'<path class="line {curve.css}" d="{line}"/>')
    return svg("".join(parts), width, HEIGHT, frame.title)


def _known(values: Values) -> list[float]:
    """The least and the greatest value; 0 where none is known."""
    known = values[np.isfinite(values)]
    return [float(known.min()), float(known.max())] if known.size else [0.0]


def _stretches(curve: Curve, x_axis: Axis, y_axis: Axis) -> list[tuple[list[float], list[float]]]:
    """The parts of a curve that are known, as places in the drawing."""
    known = np.isfinite(curve.values)
    cuts = np.flatnonzero(np.diff(known.astype(np.int8), prepend=0, append=0))
    found = []
    for first, stop in zip(cuts[::2].tolist(), cuts[1::2].tolist(), strict=True):
        xs = [x_axis.at(float(t)) for t in curve.t_us[first:stop]]
        ys = [y_axis.at(float(v)) for v in curve.values[first:stop]]
        found.append((xs, ys))
    return found
