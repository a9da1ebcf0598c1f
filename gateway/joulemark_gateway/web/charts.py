"""Charts as inline SVG: energy by day, a point over time, states over time.

Numbers only place ink here; what a reader needs as text stands in a table beside each chart. Axes
and paths are those of `reports/plots.py`; colours are classes of the style sheet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from html import escape
from zoneinfo import ZoneInfo

import numpy as np

from joulemark_gateway.api.plant import local, midnight_us
from joulemark_gateway.reports.plots import Axis, axis_over, path_through, tick_text
from joulemark_gateway.series.base import QUALITY, Samples
from joulemark_gateway.web.figures import Shown

WIDE, NARROW = 960, 420  # one drawing for a desktop, one for a phone: text keeps its size
HEIGHT = 220
BUCKETS = 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 10, 12, 34
_WIDEST = 46  # of a bar
_STEPS_S = (1, 5, 15, 30, 60, 300, 900, 1800, 3600, 10_800, 21_600, 43_200)
_S, _DAY_S = 1_000_000, 86_400


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
    return _both(lambda width: _day_bars(bars, title, unit, kind, width))


def _day_bars(bars: Sequence[Bar], title: str, unit: str, kind: str, width: int) -> str:
    x_axis = Axis(0, max(len(bars), 1), _LEFT, width - _RIGHT)
    base, strip = HEIGHT - _BOTTOM - 9, HEIGHT - _BOTTOM - 6
    y_axis = axis_over([0.0, *(bar.value or 0.0 for bar in bars), 1e-9], base, _TOP)
    parts = [_grid(y_axis, width, unit)]
    gap = 0.12 if x_axis.at(1) - x_axis.at(0) > 6 else 0.0
    for k, bar in enumerate(bars):
        room = x_axis.at(k + 1) - x_axis.at(k)
        wide = min(room * (1 - gap), _WIDEST)
        x = x_axis.at(k + 0.5) - wide / 2
        inside = f"<title>{escape(bar.title)}</title>"
        if bar.value is None:
            inside += _rect("void", x, _TOP, wide, base - _TOP)
        else:
            top = y_axis.at(max(bar.value, 0.0))
            inside += _rect("hit", x, _TOP, wide, base - _TOP)
            inside += _rect(kind, x, min(top, base - 0.6), wide, max(base - top, 0.6))
        end = x
        for name, share in (
            ("measured", bar.covered),
            ("estimated", bar.estimated),
            ("missing", bar.missing),
        ):
            if share > 0:
                inside += _rect(name, end, strip, wide * min(share, 1), 4)
                end += wide * min(share, 1)
        parts.append(f'<a href="{escape(bar.url)}" tabindex="-1">{inside}</a>')
    every = -(-len(bars) // (12 if width > NARROW else 5)) or 1
    for k in range(0, len(bars), every):
        x = x_axis.at(k + 0.5)
        text = bars[k].day.strftime("%m-%d")
        parts.append(f'<text class="tick middle" x="{x:.1f}" y="{HEIGHT - 10}">{text}</text>')
    return _svg("".join(parts), width, HEIGHT, title)


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


@dataclass(frozen=True)
class Frame:
    """The time axis of a chart, and what a screen reader says of it."""

    span_us: tuple[int, int]
    zone: ZoneInfo
    title: str


def line_chart(line: Line, how: Shown, frame: Frame) -> str:
    """A point over time: the mean as a line, least to greatest as a band, broken at gaps.

    Args:
        line: the point.
        how: how its values are shown.
        frame: time axis and title.
    """
    return _both(lambda width: _line_chart(line, how, frame, width)) if line.buckets else ""


def _line_chart(line: Line, how: Shown, frame: Frame, width: int) -> str:
    def scaled(value: float) -> float:
        return value * how.factor + how.offset

    start_us, end_us = frame.span_us

    lows = [scaled(bucket.low) for bucket in line.buckets]
    highs = [scaled(bucket.high) for bucket in line.buckets]
    low, high = min(lows), max(highs)
    near_zero = [0.0] if low >= 0 and low < (high - low) * 2 else []
    if high - low < 1e-9 * max(abs(high), 1.0):
        near_zero = [low - 1, high + 1] if low else [0.0, 1.0]
    x_axis = Axis(start_us, max(end_us, start_us + 1), _LEFT, width - _RIGHT)
    y_axis = axis_over([*near_zero, low, high], HEIGHT - _BOTTOM, _TOP)
    parts = [_grid(y_axis, width, how.unit), _time_grid(x_axis, frame.zone, width)]
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
    return _svg("".join(parts), width, HEIGHT, frame.title)


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
    """One kind of state and the times it was there."""

    name: str
    css: str
    spans: Sequence[tuple[int, int]]


def timeline(lanes: Sequence[Lane], frame: Frame) -> str:
    """States over time, a lane each."""
    return _both(lambda width: _timeline(lanes, frame, width)) if lanes else ""


def _timeline(lanes: Sequence[Lane], frame: Frame, width: int) -> str:
    start_us, end_us = frame.span_us
    height = 24 * len(lanes) + _BOTTOM + 4
    left = _LEFT + 58
    x_axis = Axis(start_us, max(end_us, start_us + 1), left, width - _RIGHT)
    parts = [_time_grid(x_axis, frame.zone, width, height=height)]
    for k, lane in enumerate(lanes):
        y = 6 + 24 * k
        parts.append(f'<text class="tick" x="0" y="{y + 13}">{escape(lane.name)}</text>')
        parts.append(_rect("lane", left, y, width - _RIGHT - left, 17))
        merged: list[list[float]] = []
        for first_us, last_us in lane.spans:
            start, end = x_axis.at(first_us), max(x_axis.at(last_us), x_axis.at(first_us) + 0.4)
            if merged and start - merged[-1][1] < 0.3:  # thinner than ink
                merged[-1][1] = max(end, merged[-1][1])
            else:
                merged.append([start, end])
        parts += [_rect(f"state {lane.css}", a, y, b - a, 17) for a, b in merged]
    return _svg("".join(parts), width, height, frame.title)


def share_bar(shares: Sequence[tuple[str, float]], title: str) -> str:
    """Parts of a whole as one thin bar."""
    whole = sum(share for _, share in shares)
    x, parts = 0.0, []
    for name, share in shares:
        if share > 0:
            wide = max(share / whole * 120, 0.8)
            parts.append(_rect(name, min(x, 119.2), 0, wide, 8))
            x += wide
    inside = "".join(parts)
    return (
        '<svg class="share" viewBox="0 0 120 8" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(title)}">{inside}</svg>'
    )


def _both(draw: Callable[[int], str]) -> str:
    return f'<div class="wide">{draw(WIDE)}</div><div class="narrow">{draw(NARROW)}</div>'


def _grid(y_axis: Axis, width: int, unit: str) -> str:
    parts = []
    for value in y_axis.ticks():
        y = y_axis.at(value)
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{width - _RIGHT}"/>')
        parts.append(
            f'<text class="tick end" x="{_LEFT - 6}" y="{y + 4:.1f}">{tick_text(value)}</text>'
        )
    parts.append(f'<text class="axis" x="{_LEFT}" y="9">{escape(unit)}</text>')
    return "".join(parts)


def _time_grid(x_axis: Axis, zone: ZoneInfo, width: int, height: int = HEIGHT) -> str:
    parts = []
    for at_us, text, is_day in _time_ticks(x_axis, zone, 9 if width > NARROW else 4):
        x = x_axis.at(at_us)
        parts.append(f'<path class="grid" d="M{x:.1f} {_TOP - 6}V{height - _BOTTOM}"/>')
        kind = "tick day" if is_day else "tick"
        place = " end" if x > width - 40 else " middle" if x > x_axis.start + 24 else ""
        parts.append(
            f'<text class="{kind}{place}" x="{x:.1f}" y="{height - _BOTTOM + 15}">{text}</text>'
        )
    return "".join(parts)


def _time_ticks(x_axis: Axis, zone: ZoneInfo, most: int) -> list[tuple[int, str, bool]]:
    """Round local times along the axis: days where it is long, hours or minutes where short."""
    first_us, last_us = int(x_axis.low), int(x_axis.high)
    span_s = (last_us - first_us) / _S
    step_s = next((step for step in _STEPS_S if span_s / step <= most), None)
    found: list[tuple[int, str, bool]] = []
    start = local(first_us, zone)
    if step_s is None:
        every = max(1, -(-int(span_s / _DAY_S) // most))
        day = start.date()
        while (at_us := midnight_us(day, zone)) <= last_us and len(found) <= 2 * most:
            if at_us >= first_us:
                found.append((at_us, day.strftime("%m-%d"), True))
            day += timedelta(days=every)
        return found
    day_us = midnight_us(start.date(), zone)
    count = 0
    while count < 50_000:
        at_us = day_us + count * step_s * _S
        count += 1
        if at_us > last_us:
            break
        if at_us < first_us:
            continue
        moment = local(at_us, zone)
        is_day = moment.hour == moment.minute == moment.second == 0
        form = "%m-%d" if is_day else "%H:%M" if step_s >= 60 else "%H:%M:%S"
        found.append((at_us, moment.strftime(form), is_day))
    return found


def _rect(kind: str, x: float, y: float, width: float, height: float) -> str:
    return (
        f'<rect class="{kind}" x="{x:.2f}" y="{y:.1f}" width="{width:.2f}" height="{height:.1f}"/>'
    )


def _svg(inside: str, width: int, height: int, title: str) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">'
        f"{inside}</svg>"
    )
