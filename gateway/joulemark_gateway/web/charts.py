"""Charts as inline SVG: energy by day, a point over time, states over time.

Numbers only place ink here; what a reader needs as text stands in a table beside each chart. Axes
and paths are those of `reports/plots.py`; colours are classes of the style sheet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulemark_gateway.reports.plots import Axis, axis_over, path_through
from joulemark_gateway.series.base import QUALITY, Samples
from joulemark_gateway.web.drawing import (
    BOTTOM,
    HEIGHT,
    LEFT,
    NARROW,
    RIGHT,
    TOP,
    Frame,
    both,
    grid,
    rect,
    svg,
    time_grid,
)
from joulemark_gateway.web.figures import Shown

BUCKETS = 320
_WIDEST = 46  # of a bar
_MOST_EXACT = 80  # spans of a lane that are drawn one by one
_BETWEEN = 0.8  # pixels that part two spans
_COLUMN, _SHADES = 2.0, 5  # width of a column of a lane that is shaded, and its steps


@dataclass(frozen=True)
class Bar:
    """One day: its value, how much of it is known, and where it leads."""

    day: date
    value: float | None
    covered: float  # share of the day
    estimated: float
    missing: float
    url: str
    title: str
    label: str = ""  # unsaid: month and day


@dataclass(frozen=True)
class Bucket:
    """Some time of a point: its least, greatest and mean good value, and how much is good."""

    start_us: int
    end_us: int
    low: float
    high: float
    mean: float
    good: int
    samples: int


@dataclass(frozen=True)
class Line:
    """A point over a span, in buckets that have good values; a gap parts them."""

    buckets: tuple[Bucket, ...]
    gap_us: int  # buckets further apart are not joined
    good: int
    samples: int
    is_aggregated: bool


def day_bars(bars: Sequence[Bar], title: str, unit: str, kind: str = "energy") -> str:
    """A bar a day; below it how much of the day is known. A day without value has no bar."""
    return both(lambda width: _day_bars(bars, title, unit, kind, width))


def _day_bars(bars: Sequence[Bar], title: str, unit: str, kind: str, width: int) -> str:
    x_axis = Axis(0, max(len(bars), 1), LEFT, width - RIGHT)
    base, strip = HEIGHT - BOTTOM - 9, HEIGHT - BOTTOM - 6
    y_axis = axis_over([0.0, *(bar.value or 0.0 for bar in bars), 1e-9], base, TOP)
    parts = [grid(y_axis, width, unit)]
    gap = 0.12 if x_axis.at(1) - x_axis.at(0) > 6 else 0.0
    for k, bar in enumerate(bars):
        room = x_axis.at(k + 1) - x_axis.at(k)
        wide = min(room * (1 - gap), _WIDEST)
        x = x_axis.at(k + 0.5) - wide / 2
        inside = f"<title>{escape(bar.title)}</title>"
        if bar.value is None:
            inside += rect("void", x, TOP, wide, base - TOP)
        else:
            top = y_axis.at(max(bar.value, 0.0))
            inside += rect("hit", x, TOP, wide, base - TOP)
            inside += rect(kind, x, min(top, base - 0.6), wide, max(base - top, 0.6))
        end = x
        for name, share in (
            ("measured", bar.covered),
            ("estimated", bar.estimated),
            ("missing", bar.missing),
        ):
            if share > 0:
                inside += rect(name, end, strip, wide * min(share, 1), 4)
                end += wide * min(share, 1)
        parts.append(f'<a href="{escape(bar.url)}" tabindex="-1">{inside}</a>')
    every = -(-len(bars) // (12 if width > NARROW else 5)) or 1
    for k in range(0, len(bars), every):
        x = x_axis.at(k + 0.5)
        text = bars[k].label or bars[k].day.strftime("%m-%d")
        parts.append(f'<text class="tick middle" x="{x:.1f}" y="{HEIGHT - 10}">{text}</text>')
    return svg("".join(parts), width, HEIGHT, title)


def buckets_of(samples: Samples, span_us: tuple[int, int], period_us: int) -> Line:
    """The good samples of a span, as they are or in some 300 equal parts of it."""
    good = (samples.quality == QUALITY["good"]) & np.isfinite(samples.value)
    n = samples.t_utc_us.size
    start_us, end_us = span_us
    is_aggregated = n > 2 * BUCKETS
    width_us = max((end_us - start_us) // BUCKETS, 1) if is_aggregated else 0
    t_us, value = samples.t_utc_us[good], samples.value[good]
    if not is_aggregated:
        buckets = tuple(
            Bucket(t, t, v, v, v, 1, 1) for t, v in zip(t_us.tolist(), value.tolist(), strict=True)
        )
        return Line(buckets, period_us * 3 // 2, int(good.sum()), n, is_aggregated=False)
    place = (t_us - start_us) // width_us
    all_in = np.bincount((samples.t_utc_us - start_us) // width_us, minlength=BUCKETS + 2)
    starts = np.flatnonzero(np.append(True, np.diff(place) > 0)) if t_us.size else t_us
    ends = np.append(starts[1:], t_us.size)
    found = []
    for first, last in zip(starts.tolist(), ends.tolist(), strict=True):
        part, k = value[first:last], int(place[first])
        found.append(
            Bucket(
                start_us + k * width_us,
                start_us + (k + 1) * width_us,
                float(part.min()),
                float(part.max()),
                float(part.mean()),
                last - first,
                int(all_in[k]),
            )
        )
    gap_us = max(width_us * 3 // 2, period_us * 3 // 2)
    return Line(tuple(found), gap_us, int(good.sum()), n, is_aggregated=True)


def line_chart(
    line: Line, how: Shown, frame: Frame, marks: Sequence[tuple[int, float]] = ()
) -> str:
    """A point over time: the mean as a line, least to greatest as a band, broken at gaps.

    Args:
        line: the point.
        how: how its values are shown.
        frame: time axis and title.
        marks: instants and values that a ring is drawn around. [us UTC]
    """
    return both(lambda width: _line_chart(line, how, frame, marks, width)) if line.buckets else ""


def _line_chart(
    line: Line, how: Shown, frame: Frame, marks: Sequence[tuple[int, float]], width: int
) -> str:
    def scaled(value: float) -> float:
        return value * how.factor + how.offset

    start_us, end_us = frame.span_us

    lows = [scaled(bucket.low) for bucket in line.buckets]
    highs = [scaled(bucket.high) for bucket in line.buckets]
    low, high = min(lows), max(highs)
    near_zero = [0.0] if low >= 0 and low < (high - low) * 2 else []
    if high - low < 1e-9 * max(abs(high), 1.0):
        near_zero = [low - 1, high + 1] if low else [0.0, 1.0]
    x_axis = Axis(start_us, max(end_us, start_us + 1), LEFT, width - RIGHT)
    y_axis = axis_over([*near_zero, low, high], HEIGHT - BOTTOM, TOP)
    parts = [grid(y_axis, width, how.unit), time_grid(x_axis, frame.zone, width)]
    for piece in _pieces(line):
        xs = [x_axis.at((bucket.start_us + bucket.end_us) / 2) for bucket in piece]
        middle = [(x, y_axis.at(scaled(b.mean))) for x, b in zip(xs, piece, strict=True)]
        if line.is_aggregated:
            upper = [(x, y_axis.at(scaled(b.high))) for x, b in zip(xs, piece, strict=True)]
            lower = [(x, y_axis.at(scaled(b.low))) for x, b in zip(xs, piece, strict=True)]
            band = path_through([*upper, *reversed(lower)])
            parts.append(f'<path class="band" d="{band}Z"/>')
        if len(middle) == 1:
            x, y = middle[0]
            parts.append(f'<circle class="point" cx="{x:.1f}" cy="{y:.1f}" r="1.8"/>')
        else:
            parts.append(f'<path class="line value" d="{path_through(middle)}"/>')
    for at_us, value in marks:
        x, y = x_axis.at(at_us), y_axis.at(scaled(value))
        parts.append(f'<circle class="ring" cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>')
    return svg("".join(parts), width, HEIGHT, frame.title)


def _pieces(line: Line) -> list[list[Bucket]]:
    pieces: list[list[Bucket]] = []
    for bucket in line.buckets:
        if pieces and bucket.start_us - pieces[-1][-1].end_us <= line.gap_us:
            pieces[-1].append(bucket)
        else:
            pieces.append([bucket])
    return pieces


@dataclass(frozen=True)
class Lane:
    """One kind of state and the times it was there, which do not overlap."""

    name: str
    share: str  # of the time, as text
    css: str
    spans: Sequence[tuple[int, int]]


def timeline(lanes: Sequence[Lane], frame: Frame) -> str:
    """States over time, a lane each; where they change faster than ink can show, as shares."""
    return both(lambda width: _timeline(lanes, frame, width)) if lanes else ""


def _timeline(lanes: Sequence[Lane], frame: Frame, width: int) -> str:
    start_us, end_us = frame.span_us
    height = 24 * len(lanes) + BOTTOM + 4
    left = LEFT + 84
    x_axis = Axis(start_us, max(end_us, start_us + 1), left, width - RIGHT)
    parts = [time_grid(x_axis, frame.zone, width, height=height)]
    for k, lane in enumerate(lanes):
        y = 6 + 24 * k
        parts.append(f'<text class="tick" x="0" y="{y + 13}">{escape(lane.name)}</text>')
        share = f'<text class="tick end" x="{left - 8}" y="{y + 13}">{escape(lane.share)}</text>'
        parts.append(share)
        parts.append(rect("lane", left, y, width - RIGHT - left, 17))
        if len(lane.spans) > _MOST_EXACT:
            parts += _shaded(lane, x_axis, y)
            continue
        for first_us, last_us in lane.spans:
            start, end = x_axis.at(first_us), max(x_axis.at(last_us), x_axis.at(first_us) + 0.4)
            wide = end - start - (_BETWEEN if end - start > 4 * _BETWEEN else 0)
            parts.append(rect(f"state {lane.css}", start, y, wide, 17))
    return svg("".join(parts), width, height, frame.title)


def _shaded(lane: Lane, x_axis: Axis, y: float) -> list[str]:
    """A lane in thin columns, each as dark as the share of its time in the state."""
    count = round((x_axis.end - x_axis.start) / _COLUMN)
    edges_us = np.linspace(x_axis.low, x_axis.high, count + 1)
    shares = shares_in(lane.spans, edges_us)
    shades = np.ceil(np.round(shares * _SHADES, 6)).astype(int)
    cuts = np.flatnonzero(np.diff(shades, prepend=-1, append=-1))
    parts = []
    for first, stop in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
        if shade := int(shades[first]):
            start, end = x_axis.at(edges_us[first]), x_axis.at(edges_us[stop])
            css = f"state {lane.css} shade-{shade}"
            parts.append(rect(css, start, y, end - start, 17))
    return parts


def shares_in(spans: Sequence[tuple[int, int]], edges_us: NDArray[np.float64]) -> NDArray[Any]:
    """The share of each window that lies in the spans.

    Args:
        spans: from and to, in order, not overlapping. [us]
        edges_us: of the windows, increasing, shape (n + 1,). [us]
    """
    bounds = np.array(spans, np.float64).reshape(-1, 2)
    lengths = bounds[:, 1] - bounds[:, 0]
    before = np.append(0.0, np.cumsum(lengths))
    k = np.searchsorted(bounds[:, 1], edges_us)
    open_ = np.append(bounds[:, 0], np.inf)[k]
    passed = before[k] + np.maximum(edges_us - open_, 0.0)
    return np.asarray(np.diff(passed) / np.diff(edges_us))


def share_bar(shares: Sequence[tuple[str, float]], title: str) -> str:
    """Parts of a whole as one thin bar."""
    whole = sum(share for _, share in shares)
    x, parts = 0.0, []
    for name, share in shares:
        if share > 0:
            wide = max(share / whole * 120, 0.8)
            parts.append(rect(name, min(x, 119.2), 0, wide, 8))
            x += wide
    inside = "".join(parts)
    return (
        '<svg class="share" viewBox="0 0 120 8" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(title)}">{inside}</svg>'
    )
