"""How fast dust costs yield, and what rain gave back: from one clean number a day.

The number of a day is the temperature-corrected performance ratio in the two hours to either side
of solar noon, of a clear day (the irradiance follows a parabola), without clipped samples. Between
two cleanings it falls along a line; the slope is one for all of them, the level is not. A cleaning
is one that somebody noted, or a step up by more than 1.5 % after rain of at least the threshold.
Where no rain is measured, or not on most days, the step alone must do, and must stand out from the
scatter of the days.

A slope that does not stand out from its own uncertainty, or points up, which dust does not, is told
with the flag `unresolved`.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from joulemark_agent.equipment.base import (
    US_PER_H,
    US_PER_S,
    Figure,
    Number,
    Positive,
    Section,
    Times,
    Values,
    absent,
    held,
    of_unit,
)
from joulemark_agent.equipment.days import day_edges_us, day_of, iso_day
from joulemark_agent.equipment.pv_amounts import Columns
from joulemark_agent.physics.domain import OutOfDomain
from joulemark_agent.physics.photovoltaics import temperature_factor
from joulemark_agent.physics.soiling import soiling_slope_per_s
from joulemark_agent.physics.sun import S_PER_DAY, solar_noon_s

NAMES = ("daily_soiling_ratio", "soiling_loss_ratio", "cleanings_count")

_HALF_US = 2 * US_PER_H
_LEAST_COVERED = 0.8
_LEAST_SUN_W_M2 = 300.0
_MOST_MISFIT = 0.05  # of a clear day's irradiance from its parabola, root mean square
_LEAST_DAYS = 14
_LEAST_RAIN_READ = 0.9  # of the days
_LEAST_STEP = 0.015
_LEAST_SIDE = 2  # clear days to either side, without which no step is seen
_SIDE_DAYS = 5  # to either side of a cleaning, whose middle values are compared
_SHORT_DAYS = 5.0  # in which there is mostly no cleaning
_ROUNDS = 4  # the slope finds the steps, and the steps the slope
_SURE = 4.0  # standard uncertainties
_RESOLVED = 2.0
_MAD_TO_SIGMA = 1.4826


class Soiling(Section):
    """What is known of the place and of how its modules are cleaned."""

    longitude_deg: Annotated[Number, Field(ge=-180, le=180)] | None = None  # east positive
    rain: Annotated[str, of_unit("m")] = "rain_m"  # fallen since the sample before
    cleaning_rain_m: Positive = 0.005  # in a day
    cleaned_on: tuple[Annotated[str, AfterValidator(iso_day)], ...] = ()  # washed by hand


@dataclass(frozen=True, eq=False)
class CleanDays:
    """One number for each clear day."""

    noon_us: Times
    ratio: Values  # not yet divided by the level of clean modules
    day: tuple[date, ...]


def clean_days(
    columns: Columns,
    is_clipped: NDArray[np.bool_] | None,
    soiling: Soiling,
    zone: str,
    gamma_per_k: float,
) -> CleanDays:
    """The clear days of the samples, with the ratio of power to sun around their noon.

    Args:
        columns: of one inverter; irradiance and the cells' temperature are needed.
        is_clipped: samples to leave out; None: not known of any.
        soiling: of the place.
        zone: whose days are counted.
        gamma_per_k: temperature coefficient of the modules' power. [1/K]
    """
    sun, cell_k = columns.sun, columns.cell_k
    t_us = columns.samples.t_us
    if sun is None or cell_k is None or t_us.size == 0:
        return CleanDays(np.zeros(0, np.int64), np.zeros(0), ())
    edges_us = day_edges_us(int(t_us[0]), int(t_us[-1]), zone)
    noons_us = _noons_us(edges_us, sun, t_us, soiling.longitude_deg)
    usable = columns.ac + sun * 0 + cell_k * 0
    if is_clipped is not None:
        usable = np.where(is_clipped, np.nan, usable)
    due = sun * temperature_factor(cell_k, gamma_per_k)
    kept: list[tuple[int, float]] = []
    for noon_us in noons_us.tolist():
        window_us = np.array([noon_us - _HALF_US, noon_us + _HALF_US], np.int64)
        given = held(columns.samples, usable, window_us)
        wanted = held(columns.samples, due + usable * 0, window_us)
        if given.covered_us[0] < _LEAST_COVERED * 2 * _HALF_US or wanted.amount[0] <= 0:
            continue
        inside = (t_us >= window_us[0]) & (t_us < window_us[1])
        if _is_clear((t_us[inside] - noon_us) / _HALF_US, sun[inside]):
            kept.append((noon_us, float(given.amount[0] / wanted.amount[0])))
    return CleanDays(
        np.array([noon_us for noon_us, _ in kept], np.int64),
        np.array([ratio for _, ratio in kept], np.float64),
        tuple(day_of(noon_us, zone) for noon_us, _ in kept),
    )


def soiling_figures(
    days: CleanDays, columns: Columns, soiling: Soiling, zone: str
) -> Iterator[Figure]:
    """The share lost a day, the share lost by now, and how often the modules were cleaned.

    Args:
        days: from `clean_days`.
        columns: of one inverter, for its rain.
        soiling: of the place.
        zone: whose days are counted.
    """
    if days.ratio.size < _LEAST_DAYS:
        why = (
            f"{days.ratio.size} clear days with irradiance, the cells' temperature and AC power"
            f" around noon are too few: it takes {_LEAST_DAYS}."
        )
        yield from (absent(name, why) for name in NAMES)
        return
    at_s = (days.noon_us - days.noon_us[0]) / US_PER_S
    try:
        group = _groups(days, columns, soiling, zone)
        slope, u = soiling_slope_per_s(at_s, days.ratio, group)
    except OutOfDomain as error:
        yield from (absent(name, str(error)) for name in NAMES)
        return
    begins, ends = _levels(at_s, days.ratio, group, slope)
    clean = float(begins.max())
    covered = days.ratio.size / (round(float(at_s[-1]) / S_PER_DAY) + 1)
    daily, daily_u = -slope * S_PER_DAY / clean, u * S_PER_DAY / clean
    figure = Figure(NAMES[0], daily, covered)
    if math.isfinite(daily_u):
        figure = replace(
            figure,
            standard_uncertainty=daily_u,
            degrees_of_freedom=float(days.ratio.size - np.unique(group).size - 1),
            flags=("unresolved",) if daily < _RESOLVED * daily_u else (),
        )
    yield figure
    never = np.unique(group).size == 1
    flags = ("lower_bound", *figure.flags) if never else ()
    yield Figure(NAMES[1], 1.0 - float(ends[-1]) / clean, covered, flags=flags)
    guessed = _rainy_days(columns, soiling, zone) is None and not soiling.cleaned_on
    count = float(np.unique(group).size - 1)
    yield Figure(NAMES[2], count, covered, flags=("estimated",) if guessed else ())


def _noons_us(edges_us: Times, sun: Values, t_us: Times, longitude_deg: float | None) -> Times:
    """The solar noon of each day: of the place, or else when the sun's light has its middle."""
    middle_us = (edges_us[:-1] + edges_us[1:]) // 2
    if longitude_deg is not None:
        noon_s = solar_noon_s(middle_us / US_PER_S, math.radians(longitude_deg))
        return np.rint(noon_s * US_PER_S).astype(np.int64)
    day_us = S_PER_DAY * US_PER_S
    turn = 2j * np.pi * ((t_us - edges_us[0]) % day_us) / day_us
    angle = float(np.angle(np.nansum(sun * np.exp(turn))))
    offset_us = round(angle / (2 * np.pi) * day_us % day_us)
    # The sun keeps its day of 24 h where clocks change.
    noons_us: Times = edges_us[0] + offset_us + np.arange(edges_us.size - 1) * round(day_us)
    return noons_us


def _is_clear(from_noon: Values, sun: Values) -> bool:
    """Whether the irradiance follows a parabola, and is more than that of an overcast day."""
    known = ~np.isnan(sun)
    if known.sum() < 4 or float(sun[known].mean()) < _LEAST_SUN_W_M2:
        return False
    x, y = from_noon[known], sun[known]
    fit = np.polynomial.Polynomial.fit(x, y, 2)
    misfit = float(np.sqrt(np.mean((fit(x) - y) ** 2)))
    return misfit <= _MOST_MISFIT * float(y.mean())


def _groups(days: CleanDays, columns: Columns, soiling: Soiling, zone: str) -> NDArray[np.int64]:
    """The number of the time between two cleanings that each day belongs to."""
    washed = sorted(bisect_left(days.day, date.fromisoformat(day)) for day in soiling.cleaned_on)
    known = [k for k in washed if 0 < k < days.ratio.size]
    rainy = _rainy_days(columns, soiling, zone)
    possible = [
        k for k in range(1, days.ratio.size) if rainy is None or _any_between(rainy, days, k)
    ]
    at_s = (days.noon_us - days.noon_us[0]) / US_PER_S
    group: NDArray[np.int64]
    if rainy is None:  # at first no cleaning lies inside a group, or seldom
        group = (at_s / (_SHORT_DAYS * S_PER_DAY)).astype(np.int64)
    else:
        group = _cut(days.ratio.size, {*known, *possible})
    for _ in range(_ROUNDS):
        slope, _ = soiling_slope_per_s(at_s, days.ratio, group)
        flat = days.ratio - slope * at_s
        scatter = _MAD_TO_SIGMA / math.sqrt(2.0) * float(np.median(np.abs(np.diff(flat))))
        sure = 0.0 if rainy is not None else _SURE * scatter
        edges = [0, *known, days.ratio.size]
        found = [
            k for low, high in pairwise(edges) for k in _steps(flat, possible, low, high, sure)
        ]
        group = _cut(flat.size, {*known, *found})
    return group


def _cut(size: int, cuts: set[int]) -> NDArray[np.int64]:
    """The number of the piece that each of `size` days belongs to."""
    edges = np.array(sorted(cuts), np.int64)
    return np.searchsorted(edges, np.arange(size), side="right").astype(np.int64)


def _steps(flat: Values, possible: list[int], low: int, high: int, sure: float) -> list[int]:
    """Where, among days low to high, the level steps up: the highest step first, then each side."""
    best, most = 0, 0.0
    for k in possible:
        if low + _LEAST_SIDE <= k <= high - _LEAST_SIDE:
            before, after = flat[max(low, k - _SIDE_DAYS) : k], flat[k : min(high, k + _SIDE_DAYS)]
            level = float(np.median(before))
            step = float(np.median(after)) - level
            u = sure * math.sqrt(1 / before.size + 1 / after.size)
            if step > max(_LEAST_STEP * level, u, most):
                best, most = k, step
    if best == 0:
        return []
    begin, end = max(low, best - _SIDE_DAYS), min(high, best + _SIDE_DAYS)
    near = [k for k in possible if begin < k < end]
    best = min(near, key=lambda k: _misfit(flat[begin:k]) + _misfit(flat[k:end]))
    return [
        *_steps(flat, possible, low, best, sure),
        best,
        *_steps(flat, possible, best, high, sure),
    ]


def _misfit(level: Values) -> float:
    """How far days of one level stand apart."""
    return float(np.abs(level - np.median(level)).sum())


def _rainy_days(columns: Columns, soiling: Soiling, zone: str) -> set[date] | None:
    """The days with enough rain; None where it is not measured on nearly all days."""
    rain = columns.samples.column(soiling.rain)
    if rain is None:
        return None
    t_us = columns.samples.t_us
    edges_us = day_edges_us(int(t_us[0]), int(t_us[-1]), zone)
    day = np.searchsorted(edges_us, t_us, side="right") - 1
    is_known = ~np.isnan(rain)
    if np.unique(day[is_known]).size < _LEAST_RAIN_READ * np.unique(day).size:
        return None
    fallen = np.bincount(day[is_known], rain[is_known], minlength=edges_us.size - 1)
    enough = np.flatnonzero(fallen[: edges_us.size - 1] >= soiling.cleaning_rain_m)
    return {day_of(int(edges_us[k]), zone) for k in enough}


def _any_between(happened: set[date], days: CleanDays, k: int) -> bool:
    """Whether it happened between the clear day before `k` and that day."""
    return any(days.day[k - 1] <= day <= days.day[k] for day in happened)


def _levels(
    at_s: Values, ratio: Values, group: NDArray[np.int64], slope: float
) -> tuple[Values, Values]:
    """Where the line of each group begins and ends."""
    begins, ends = [], []
    for one in np.unique(group):
        mine = group == one
        level = float(np.median(ratio[mine] - slope * at_s[mine]))
        begins.append(level + slope * float(at_s[mine][0]))
        ends.append(level + slope * float(at_s[mine][-1]))
    return np.array(begins), np.array(ends)
