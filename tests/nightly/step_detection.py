"""Steps of 5 % put into a year of savings: how many are found, and how many where there are none.

SYNTHETIC: a plant whose energy follows what it makes, with noise that remembers its past. A year of
baseline is fitted, the year after it predicted; a step of 5 % of the load lasts 30 to 120 days, or
until the end. A step counts as found where every edge of it has a cut within 5 days. The naive
control is the same search with a price that knows nothing of the noise's memory. Beside it stands
what could be found at most: by one who is told the true model, size and memory of the noise, that
there is one step of just that size and what lengths it may have, and asks for the likeliest of all
places; it counts where its likelihood ratio is above that of all but 5 % of the clean series.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from joulemark_gateway.measure.change_detection import changes
from joulemark_gateway.measure.linear import fit
from joulemark_gateway.measure.qr import Array
from joulemark_gateway.measure.uncertainty import noise_of
from nightly.portfolio_coverage import remembering

DAYS, STEP_RATIO, TOLERANCE_DAYS = 365, 0.05, 5
SHORTEST, LONGEST = 30, 120  # days of a step
MEMORIES = (0.0, 0.4, 0.7)
ASSERTED_NOISE = 0.015  # standard deviation of the residuals over the mean load
NOISES = (0.01, 0.015, 0.02, 0.03, 0.05)
_PLACE = np.arange(DAYS)


def run(seed: int, *, full: bool) -> dict[str, str]:
    """What is found for each memory and size of the noise."""
    cases = 400 if full else 60
    figures = {"series of each kind": f"{cases:,}"}
    for rho in MEMORIES:
        for noise in NOISES if full else (ASSERTED_NOISE,):
            draw = np.random.default_rng([seed, int(100 * rho), int(1000 * noise)])
            rows = [_case(draw, rho, noise) for _ in range(cases)]
            found = sum(row.is_found for row in rows) / cases
            seen = sum(row.is_seen for row in rows) / cases
            alarms = sum(row.is_false for row in rows) / cases
            naive = sum(row.is_false_naively for row in rows) / cases
            cusum = sum(row.is_false_by_cusum for row in rows) / cases
            told = _told(rows)
            assert alarms <= 0.05, f"rho {rho}: {alarms:.1%} false alarms"
            if noise == ASSERTED_NOISE:
                assert found >= 0.90, f"rho {rho}: {found:.1%} found"
            if rho:
                assert naive > 0.05, f"the control holds too: rho {rho}: {naive:.1%}"
            figures[f"noise {noise:.1%}, rho {rho}"] = (
                f"{found:.1%} found with every edge within {TOLERANCE_DAYS} days, {seen:.1%} seen; "
                f"false alarms {alarms:.1%}, {naive:.1%} without the memory, CUSUM at 5 % "
                f"{cusum:.1%}; by one who is told all but the place {told:.1%} found"
            )
    return figures


@dataclass(frozen=True)
class _Row:
    is_found: bool
    is_seen: bool
    is_false: bool
    is_false_naively: bool
    is_false_by_cusum: bool
    told_ratio: float  # the largest likelihood ratio of one who is told all but the place
    told_clean_ratio: float
    is_told_place: bool


def _case(draw: np.random.Generator, rho: float, noise: float) -> _Row:
    clean, rho_used = savings(draw, rho, noise)
    quiet = changes(clean, _PLACE, rho_used)
    naive = changes(clean, _PLACE, rho_used, penalty=3 * math.log(DAYS))
    edges, step = _step(draw)
    cut = changes(clean + step, _PLACE, rho_used).at
    ratio, told = _likeliest(clean + step, rho, noise)
    return _Row(
        is_found=_are_near(cut, edges),
        is_seen=bool(cut),
        is_false=bool(quiet.at),
        is_false_naively=bool(naive.at),
        is_false_by_cusum=quiet.excursion.p_value < 0.05,
        told_ratio=ratio,
        told_clean_ratio=_likeliest(clean, rho, noise)[0],
        is_told_place=_are_near(told, edges),
    )


def _are_near(cuts: Sequence[int], edges: Sequence[int]) -> bool:
    return all(any(abs(cut - edge) <= TOLERANCE_DAYS for cut in cuts) for edge in edges)


def _told(rows: Sequence[_Row]) -> float:
    """The share that one finds who is told all but the place, at 5 % of false alarms."""
    limit = float(np.quantile([row.told_clean_ratio for row in rows], 0.95))
    return sum(row.told_ratio > limit and row.is_told_place for row in rows) / len(rows)


def _likeliest(series: Array, rho: float, noise: float) -> tuple[float, tuple[int, ...]]:
    """The largest log-likelihood ratio of a step of the true size, and its edges."""
    z = np.concatenate([series[:1] * math.sqrt(1 - rho**2), series[1:] - rho * series[:-1]])
    sums = np.concatenate([[0.0], np.cumsum(z)])
    fresh = noise**2 * (1 - rho**2)
    edges: tuple[int, ...] = ()
    best = -math.inf
    for long in range(SHORTEST, LONGEST + 1):
        first = np.append(np.arange(SHORTEST, DAYS - long - SHORTEST + 1), DAYS - long)
        end = first + long
        is_over = end < DAYS
        after = np.where(is_over, z[np.minimum(end, DAYS - 1)], 0.0)
        product = z[first] + (1 - rho) * (sums[end] - sums[first + 1]) - rho * after
        square = 1 + (1 - rho) ** 2 * (long - 1) + rho**2 * is_over
        ratio = (STEP_RATIO * np.abs(product) - STEP_RATIO**2 * square / 2) / fresh
        k = int(ratio.argmax())
        if ratio[k] > best:
            best = float(ratio[k])
            edges = (int(first[k]), int(end[k]))[: 1 + int(is_over[k])]
    return best, edges


def savings(draw: np.random.Generator, rho: float, noise: float) -> tuple[Array, float]:
    """A year of savings that are noise, over the mean load, and the memory that the fit sees."""
    made = draw.uniform(0.5, 1.5, (2 * DAYS, 1))
    load = 0.4 + 0.6 * made[:, 0] + noise * remembering(draw.normal(size=2 * DAYS), rho)
    model = fit(made[:DAYS], load[:DAYS], _PLACE)
    x = np.column_stack([np.ones(DAYS), made[DAYS:]])
    return model.predict(x) - load[DAYS:], noise_of(model).rho_used


def _step(draw: np.random.Generator) -> tuple[tuple[int, ...], Array]:
    """Its edges and what it adds, up or down, until it ends or for good."""
    long = int(draw.integers(SHORTEST, LONGEST + 1))
    sign = 1.0 if draw.random() < 0.5 else -1.0
    added = np.zeros(DAYS)
    if draw.random() < 0.5:
        added[DAYS - long :] = sign * STEP_RATIO
        return (DAYS - long,), added
    start = int(draw.integers(SHORTEST, DAYS - long - SHORTEST + 1))
    added[start : start + long] = sign * STEP_RATIO
    return (start, start + long), added
