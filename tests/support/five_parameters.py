"""Simulated meters that heat and cool, and a plain search for their change points.

One climate: a year of daily temperatures as a sine with noise that lasts. The search is the
simplest that is right, so that what is found out about intervals does not hang on a product's.
"""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.kernels.jit import compiled
from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.linear import fit
from joulemark_gateway.measure.models.base import Fitted, Term

DAY_US = 86_400_000_000
YEAR = 365
HEATING_C, COOLING_C = 15.6, 18.9
BASE_WH, HEATING_WH, COOLING_WH = 50_000.0, 1_800.0, 1_800.0  # a day, per K and day
NOISE_WH = 7_000.0
MEAN_C, SEASON_K, WEATHER_K = 15.6, 16.7, 4.4
COLDEST_DAY = 70  # the year begins in November
LEAST_DAYS = 10

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Meter:
    """A baseline of a year and what follows it, without any saving."""

    before: Data
    after: Data


def meter(draw: np.random.Generator, rho: float, m: int) -> Meter:
    """A meter whose residuals have this correlation from day to day."""
    days = np.arange(YEAR + m)
    season = MEAN_C - SEASON_K * np.cos(2 * np.pi * (days - COLDEST_DAY) / YEAR)
    temperature_c = season + WEATHER_K * ar1(draw, days.size, 0.6)
    energy_wh = (
        BASE_WH
        + HEATING_WH * np.maximum(HEATING_C - temperature_c, 0)
        + COOLING_WH * np.maximum(temperature_c - COOLING_C, 0)
        + NOISE_WH * ar1(draw, days.size, rho)
    )
    data = Data(
        start_us=days * DAY_US,
        length_us=np.full(days.size, DAY_US),
        position=days,
        energy_wh=energy_wh,
        drivers={"temperature_c": temperature_c},
        zone=ZoneInfo("UTC"),
    )
    return Meter(data.where(days < YEAR), data.where(days >= YEAR))


def ar1(draw: np.random.Generator, n: int, rho: float) -> Array:
    """Noise of variance 1 that remembers the day before."""
    return _remembered(draw.normal(size=n), rho)


def five_parameters(data: Data) -> Fitted:
    """Base load, heating below one temperature and cooling above another, both found by search."""
    temperature_c = data.driver("temperature_c")
    order = np.argsort(temperature_c, kind="stable")
    t, y = temperature_c[order], data.energy_wh[order] - data.energy_wh.mean()
    low, high = t[LEAST_DAYS], t[-LEAST_DAYS - 1]
    heating = cooling = np.linspace(low, high, 60)
    step = heating[1] - heating[0]
    for _ in range(3):
        th, tc = _search(t, y, heating, cooling)
        around = np.linspace(-step, step, 15)
        heating, cooling = np.clip(th + around, low, high), np.clip(tc + around, low, high)
        step = around[1] - around[0]
    return _fitted(data, th, tc)


def _fitted(data: Data, th: float, tc: float) -> Fitted:
    def rows(any_data: Data) -> Array:
        t = any_data.driver("temperature_c")
        return np.column_stack([np.ones(t.size), np.maximum(th - t, 0), np.maximum(t - tc, 0)])

    linear = fit(rows(data)[:, 1:], data.energy_wh, data.position)

    def tangent(any_data: Data) -> Array:
        t = any_data.driver("temperature_c")
        by_heating, by_cooling = linear.beta[1] * (t < th), -linear.beta[2] * (t > tc)
        return np.column_stack([rows(any_data), by_heating, by_cooling])

    terms = (Term("base", "Wh/d"), Term("heating", "Wh/(K d)"), Term("cooling", "Wh/(K d)"))
    facts = {"heating_c": th, "cooling_c": tc}
    return Fitted("change-point-5p", linear, terms, rows, tangent, 2, facts)


@compiled
def _remembered(noise: Array, rho: float) -> Array:
    out = noise.copy()
    fresh = np.sqrt(1.0 - rho * rho)
    for i in range(1, noise.size):
        out[i] = rho * out[i - 1] + fresh * noise[i]
    return out


@compiled
def _search(t: Array, y: Array, heating: Array, cooling: Array) -> tuple[float, float]:
    """The pair with the least squares; t sorted, y centred."""
    n = t.size
    sums = np.zeros((5, n + 1))  # of 1, t, t^2, y, t y over the first so many
    for i in range(n):
        sums[0, i + 1] = sums[0, i] + 1.0
        sums[1, i + 1] = sums[1, i] + t[i]
        sums[2, i + 1] = sums[2, i] + t[i] * t[i]
        sums[3, i + 1] = sums[3, i] + y[i]
        sums[4, i + 1] = sums[4, i] + t[i] * y[i]
    best, best_h, best_c = -1.0, heating[0], cooling[-1]
    for h in heating:
        k = np.searchsorted(t, h)
        a = k * h - sums[1, k]
        aa = k * h * h - 2.0 * h * sums[1, k] + sums[2, k] - a * a / n
        ay = h * sums[3, k] - sums[4, k]
        for c in cooling:
            if c < h:
                continue
            j = np.searchsorted(t, c)
            count, s1, s2 = n - j, sums[1, n] - sums[1, j], sums[2, n] - sums[2, j]
            b = s1 - count * c
            bb = s2 - 2.0 * c * s1 + count * c * c - b * b / n
            by = (sums[4, n] - sums[4, j]) - c * (sums[3, n] - sums[3, j])
            ab = -a * b / n
            determinant = aa * bb - ab * ab
            if determinant <= 0.0:
                continue
            slope_h = (ay * bb - by * ab) / determinant
            slope_c = (by * aa - ay * ab) / determinant
            explained = slope_h * ay + slope_c * by
            if explained > best and slope_h > 0.0 and slope_c > 0.0:
                best, best_h, best_c = explained, h, c
    return best_h, best_c
