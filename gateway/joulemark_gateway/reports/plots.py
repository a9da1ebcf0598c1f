"""Plots as inline SVG, drawn from the text of a report and from nothing else.

Numbers are read back from the printed figures only to place ink; figures shown as text are the
report's own. Colours are classes of the page's style sheet.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from joulemark_gateway.reports.letters import escape
from joulemark_gateway.reports.words import WORDS, Words

Report = Mapping[str, Any]
WIDTH, HEIGHT = 480, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 14, 40
_LONGEST_NAME = 36
_STATES = ("missing", "estimated", "measured")  # the worst first
_ENGLISH = WORDS["en"]


@dataclass(frozen=True)
class Axis:
    """One axis: the values at its ends and where these stand in the drawing."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Where the value stands."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Four to eight round values from end to end."""
        step = _round_step((self.high - self.low) / 5)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [k * step for k in range(first, last + 1)]


@dataclass(frozen=True)
class Curve:
    """A model of one driver: straight between its bends.

    A slope has the point from which it counts and the side of it: -1 below, 1 above, 0 both.
    """

    intercept: float
    slopes: tuple[tuple[float, float, int], ...]
    bends: tuple[float, ...]

    def at(self, x: float) -> float:
        """The energy there."""
        return self.intercept + sum(
            slope * ((x - point) if not side else max(side * (x - point), 0.0))
            for point, slope, side in self.slopes
        )


def energy_on_driver(report: Report, words: Words = _ENGLISH) -> str:
    """Energy of each unit against the driver (one) or the prediction (several), with the line."""
    series, model = report["series"], report["model"]
    drivers = series["drivers"]
    if model is None or not drivers:
        return ""
    curve = curve_of(report)
    if curve is not None:
        places: Sequence[str | None] = drivers[0]["values"]
        label = f"{_short(drivers[0]['name'])}, {_short(drivers[0]['unit'])}"
    else:
        places, label = series["counterfactual_kwh"], words["axis_prediction"]
        curve = Curve(0.0, ((0.0, 1.0, 0),), ())
    dots = [
        (period, float(x), float(y))
        for period, kept, x, y in zip(
            series["period"], series["kept"], places, series["energy_kwh"], strict=True
        )
        if kept and x is not None
    ]
    if not dots:
        return ""
    x_axis = axis_over([0.0, *(x for _, x, _ in dots)], _LEFT, WIDTH - _RIGHT)
    y_axis = axis_over([0.0, *(y for _, _, y in dots)], HEIGHT - _BOTTOM, _TOP)
    bends = [x for x in curve.bends if x_axis.low < x < x_axis.high]
    ends = [x_axis.low, *bends, x_axis.high]
    line = path_through([(x_axis.at(x), y_axis.at(curve.at(x))) for x in ends])
    circles = "".join(
        f'<circle class="dot {period}" cx="{x_axis.at(x):.1f}" cy="{y_axis.at(y):.1f}" r="2.4"/>'
        for period, x, y in dots
    )
    inside = f'{circles}<path class="model" d="{line}"/>'
    return _svg(
        _grid(x_axis, y_axis, label, _per_unit(words, model["unit"])) + inside,
        HEIGHT,
        words[f"alt_{driver_chart(report)}"],
    )


def driver_chart(report: Report) -> str:
    """Which words go with `energy_on_driver`: `driver`, `weather` or `prediction`."""
    equation = (report.get("engine") or {}).get("equation")
    if equation is None:
        return "driver"
    if curve_of(report) is None:
        return "prediction"
    return "weather" if report["series"]["drivers"][0]["unit"] == "°C" else "driver"


def curve_of(report: Report) -> Curve | None:
    """The model as a line over its only driver; None where it is no such line."""
    if len(report["series"]["drivers"]) != 1:
        return None
    terms, engine = report["model"]["coefficients"], report.get("engine")
    if engine is None:
        intercept, slope = (float(term["value"]) for term in terms[:2])
        return Curve(intercept, ((0.0, slope, 0),), ())
    equation = engine["equation"]
    is_whole = report["project"]["unit"] == "day" and not equation["levels"]
    if not is_whole or any(term["part"] for term in equation["terms"]):
        return None
    points = {point["kind"]: float(point["value_c"]) for point in equation["change_points"]}
    intercept, slopes = 0.0, []
    for term in equation["terms"]:
        value, kind = float(term["value"]), term["kind"]
        if kind == "base":
            intercept = value
        elif kind in {"driver", "temperature"}:
            slopes.append((0.0, value, 0))
        else:
            point = points.get(kind, points.get("", 0.0))
            slopes.append((point, value, -1 if kind in {"heating", "colder"} else 1))
    return Curve(intercept, tuple(slopes), tuple(sorted(set(points.values()))))


def energy_over_time(report: Report, words: Words = _ENGLISH) -> str:
    """Measured energy of each unit in both periods, and the baseline's prediction."""
    series = report["series"]
    energy = [float(text) for text in series["energy_kwh"]]
    if not energy:
        return ""
    x_axis = Axis(0, max(len(energy), 1), _LEFT, WIDTH - _RIGHT)
    y_axis = axis_over([0.0, *energy], HEIGHT - _BOTTOM, _TOP)
    label = _per_unit(words, report["project"]["unit"])
    parts = [_time_grid(x_axis, y_axis, series["label"], label, words)]
    for period in ("baseline", "reporting"):
        shown = [
            value if good and where == period else None
            for value, good, where in zip(energy, series["kept"], series["period"], strict=True)
        ]
        parts.append(f'<path class="line {period}" d="{_steps(x_axis, y_axis, shown)}"/>')
    predicted = [
        None if text is None or where == "baseline" else float(text)
        for text, where in zip(series["counterfactual_kwh"], series["period"], strict=True)
    ]
    parts.append(f'<path class="line predicted" d="{_steps(x_axis, y_axis, predicted)}"/>')
    return _svg("".join(parts), HEIGHT, words["alt_time"])


def cumulative(report: Report, words: Words = _ENGLISH) -> str:
    """The avoided energy summed up since the reporting period began, with its interval."""
    series = report["series"]
    rows = [
        (label, float(value), float(half))
        for label, value, half in zip(
            series["label"],
            series["cumulative_kwh"],
            series["cumulative_half_width_kwh"],
            strict=True,
        )
        if value is not None and half is not None
    ]
    if not rows:
        return ""
    x_axis = Axis(0, len(rows), _LEFT, WIDTH - _RIGHT)
    lows = [value - half for _, value, half in rows]
    highs = [value + half for _, value, half in rows]
    y_axis = axis_over([0.0, *lows, *highs], HEIGHT - _BOTTOM, _TOP)
    upper = [(x_axis.at(k + 1), y_axis.at(high)) for k, high in enumerate(highs)]
    lower = [(x_axis.at(k + 1), y_axis.at(low)) for k, low in enumerate(lows)]
    middle = [(x_axis.at(k + 1), y_axis.at(value)) for k, (_, value, _) in enumerate(rows)]
    zero = y_axis.at(0)
    inside = (
        f'<path class="band" d="{path_through([*upper, *reversed(lower)])}Z"/>'
        f'<path class="zero" d="M{_LEFT} {zero:.1f}H{WIDTH - _RIGHT}"/>'
        f'<path class="line total" d="{path_through(middle)}"/>'
    )
    grid = _time_grid(x_axis, y_axis, [label for label, _, _ in rows], words["axis_sum"], words)
    return _svg(grid + inside, HEIGHT, words["alt_sum"])


def calendar(report: Report, words: Words = _ENGLISH) -> str:
    """One cell a day: measured, estimated or missing in part, outlined where it is left out."""
    series = report["series"]
    worst: dict[str, tuple[str, bool, str]] = {}
    for label, state, kept, covered in zip(
        series["label"], series["state"], series["kept"], series["covered_percent"], strict=True
    ):
        day = label[:10]
        known = worst.get(day)
        if known is None or _STATES.index(state) < _STATES.index(known[0]):
            worst[day] = (state, kept, covered)
    years: dict[int, dict[date, tuple[str, bool, str]]] = {}
    for text, value in worst.items():
        day_of = date.fromisoformat(text)
        years.setdefault(day_of.year, {})[day_of] = value
    if not years:
        return ""
    cell, left, block = 8.2, 36, 84
    parts, months = [], words["months"].split()
    for index, (year, days) in enumerate(sorted(years.items())):
        top, first = 18 + index * block, date(year, 1, 1).weekday()
        parts.append(f'<text class="tick" x="0" y="{top + 33}">{year}</text>')
        for month in range(1, 13):
            column = (date(year, month, 1).timetuple().tm_yday + 6 + first - 1) // 7
            x = left + column * cell
            parts.append(f'<text class="tick" x="{x:.1f}" y="{top - 5}">{months[month - 1]}</text>')
        for day_of, (state, kept, covered) in sorted(days.items()):
            place = day_of.timetuple().tm_yday - 1 + first
            x, y = left + place // 7 * cell, top + place % 7 * cell
            kind = state if kept else f"{state} out"
            told = words["cell_kept" if kept else "cell_left_out"]
            title = escape(told.format(day=day_of.isoformat(), percent=covered))
            parts.append(
                f'<rect class="day {kind}" x="{x:.1f}" y="{y:.1f}" width="7" height="7" rx="1.2">'
                f"<title>{title}</title></rect>"
            )
    height = 18 + len(years) * block - 12
    return _svg("".join(parts), height, words["alt_calendar"])


def _short(text: str) -> str:
    """A name that leaves room for the other axis; the tables have the whole of it."""
    return text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 1]}…"


def _per_unit(words: Words, unit: str) -> str:
    return words["axis_per"].format(unit=words.name("unit", unit))


def _svg(inside: str, height: int, title: str) -> str:
    head = f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
    return f"{head}{inside}</svg>"


def axis_over(values: Sequence[float], start: float, end: float) -> Axis:
    """An axis over all values, its ends on round numbers; just below 0 it ends where they do."""
    low, high = min(values), max(values)
    step = _round_step((high - low) / 5 or 1.0)
    first = math.floor(low / step) * step if low < -step / 2 or low > 0 else low
    return Axis(first, math.ceil(high / step) * step or step, start, end)


def _round_step(step: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(k * power for k in (1, 2, 5, 10) if k * power >= step * (1 - 1e-9))


def tick_text(value: float) -> str:
    """How a value stands at an axis."""
    text = f"{value:.6g}" if abs(value) < 1_000_000 else f"{value / 1_000_000:.4g}M"
    return "0" if text == "-0" else text.replace("-", "−")  # noqa: RUF001 a minus sign is meant


def _grid(x_axis: Axis, y_axis: Axis, x_label: str, y_label: str) -> str:
    parts = [_y_grid(y_axis, y_label)]
    for value in x_axis.ticks():
        x = x_axis.at(value)
        parts.append(f'<path class="grid" d="M{x:.1f} {_TOP}V{HEIGHT - _BOTTOM}"/>')
        parts.append(
            f'<text class="tick middle" x="{x:.1f}" y="{HEIGHT - _BOTTOM + 14}">'
            f"{tick_text(value)}</text>"
        )
    parts.append(
        f'<text class="axis end" x="{WIDTH - _RIGHT}" y="{HEIGHT - 8}">{escape(x_label)}</text>'
    )
    return "".join(parts)


def _y_grid(y_axis: Axis, label: str) -> str:
    parts = []
    for value in y_axis.ticks():
        y = y_axis.at(value)
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}"/>')
        parts.append(
            f'<text class="tick end" x="{_LEFT - 6}" y="{y + 4:.1f}">{tick_text(value)}</text>'
        )
    parts.append(f'<text class="axis" x="{_LEFT}" y="{HEIGHT - 8}">{escape(label)}</text>')
    return "".join(parts)


def _time_grid(
    x_axis: Axis, y_axis: Axis, labels: Sequence[str], y_label: str, words: Words
) -> str:
    """The grid of a time axis: a line and a letter where a month begins."""
    parts, names = [_y_grid(y_axis, y_label)], words["months"].split()
    months = [(k, label[:7]) for k, label in enumerate(labels)]
    starts = [k for k, month in months if k == 0 or month != months[k - 1][1]]
    every = max(1, math.ceil(len(starts) / 12))
    for k in starts[::every]:
        x = x_axis.at(k)
        month = int(labels[k][5:7])
        parts.append(f'<path class="grid" d="M{x:.1f} {_TOP}V{HEIGHT - _BOTTOM}"/>')
        parts.append(
            f'<text class="tick" x="{x + 3:.1f}" y="{HEIGHT - _BOTTOM + 14}">'
            f"{names[month - 1]}</text>"
        )
    return "".join(parts)


def path_through(points: Iterable[tuple[float, float]]) -> str:
    """The path data of a line through the points."""
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _steps(x_axis: Axis, y_axis: Axis, values: Sequence[float | None]) -> str:
    """A line through the middle of each unit, broken where there is no value."""
    pieces: list[list[tuple[float, float]]] = [[]]
    for k, value in enumerate(values):
        if value is None:
            pieces.append([])
        else:
            pieces[-1].append((x_axis.at(k + 0.5), y_axis.at(value)))
    return "".join(path_through(piece) for piece in pieces if len(piece) > 1)
