"""What every chart is drawn with: two widths, axes, a grid, rectangles; Korean text included.

One drawing for a desktop and one for a phone, so that text keeps its size; the style sheet shows
the one that fits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from html import escape
from zoneinfo import ZoneInfo

from joulemark_gateway.api.plant import local, midnight_us
from joulemark_gateway.reports.plots import Axis, axis_over, tick_text

WIDE, NARROW = 960, 420
HEIGHT = 220
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 12, 34
_STEPS_S = (1, 5, 15, 30, 60, 300, 900, 1800, 3600, 10_800, 21_600, 43_200)
_S, _DAY_S = 1_000_000, 86_400


@dataclass(frozen=True)
class Frame:
    """The time axis of a chart, and what a screen reader says of it."""

    span_us: tuple[int, int]
    zone: ZoneInfo
    title: str


def axis_of(values: Sequence[float], start: float, end: float) -> Axis:
    """An axis over all values; where they are one it has room on both sides."""
    low, high = min(values), max(values)
    if high - low < 1e-9 * max(abs(low), abs(high), 1e-9):
        low, high = (low - abs(low) / 10, high + abs(high) / 10) if low else (0.0, 1.0)
    return axis_over([low, high], start, end)


def both(draw: Callable[[int], str]) -> str:
    """A drawing for wide and one for narrow windows."""
    return f'<div class="wide">{draw(WIDE)}</div><div class="narrow">{draw(NARROW)}</div>'


def grid(y_axis: Axis, width: int, unit: str) -> str:
    """Lines and numbers of the axis of values, and its unit."""
    parts = []
    for value in y_axis.ticks():
        y = y_axis.at(value)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{width - RIGHT}"/>')
        parts.append(
            f'<text class="tick end" x="{LEFT - 6}" y="{y + 4:.1f}">{tick_text(value)}</text>'
        )
    parts.append(f'<text class="axis" x="{LEFT}" y="9">{escape(unit)}</text>')
    return "".join(parts)


def time_grid(x_axis: Axis, zone: ZoneInfo, width: int, height: int = HEIGHT) -> str:
    """Lines and times of the axis of time."""
    parts = []
    for at_us, text, is_day in time_ticks(x_axis, zone, 9 if width > NARROW else 4):
        x = x_axis.at(at_us)
        parts.append(f'<path class="grid" d="M{x:.1f} {TOP - 6}V{height - BOTTOM}"/>')
        kind = "tick day" if is_day else "tick"
        place = " end" if x > width - 40 else " middle" if x > x_axis.start + 24 else ""
        parts.append(
            f'<text class="{kind}{place}" x="{x:.1f}" y="{height - BOTTOM + 15}">{text}</text>'
        )
    return "".join(parts)


def time_ticks(x_axis: Axis, zone: ZoneInfo, most: int) -> list[tuple[int, str, bool]]:
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


def rect(kind: str, x: float, y: float, width: float, height: float) -> str:
    """A rectangle of a class of the style sheet."""
    return (
        f'<rect class="{kind}" x="{x:.2f}" y="{y:.1f}" width="{width:.2f}" height="{height:.1f}"/>'
    )


def svg(inside: str, width: int, height: int, title: str) -> str:
    """A drawing, and what a screen reader says of it; a picture has no links in it, a group may."""
    role = "group" if "<a " in inside else "img"
    return (
        f'<svg viewBox="0 0 {width} {height}" role="{role}" aria-label="{escape(title)}">'
        f"{inside}</svg>"
    )
