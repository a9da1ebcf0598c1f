"""Where a series of savings changes its level or its spread: candidates for non-routine events.

Three looks at the same series. The first cuts it into the segments of least total cost (PELT): each
costs its Gaussian deviance with a mean and a variance of its own, and each cut costs

    3 ln n (1 + rb) / (1 - rb),

because n units whose noise remembers its past hold only n (1 - rb)/(1 + rb) independent ones. rb is
that of the baseline's residuals: of the series itself it would be raised by the very step that is
looked for. The second, in `change_steps`, finds steps that come and go between those cuts and moves
every cut to its likeliest place. The third, CUSUM, is the largest excursion of the sum of
deviations over what that noise alone would give; its law is that of the Brownian bridge.

A change that is found is a question to the plant, never an adjustment by itself.

Source: Killick, Fearnhead, Eckley 2012, doi 10.1080/01621459.2012.737745 (PELT); Ploberger and
Kraemer 1992, doi 10.2307/2951597 (CUSUM of residuals).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.contract.errors import MeasureError
from joulemark_agent.kernels.jit import compiled
from joulemark_gateway.measure.change_steps import with_steps
from joulemark_gateway.measure.data import Times
from joulemark_gateway.measure.logarithm import ln
from joulemark_gateway.measure.qr import Array

_PER_CUT = 3.0
_PER_STEP = 3.5  # of 100 years without a change, 1 to 3 get a cut (docs/figures/nightly)
_LEAST_VARIANCE_RATIO = 1e-4  # of the whole series: a stuck stretch has no variance of its own


@dataclass(frozen=True)
class Segment:
    """A stretch of units between two cuts. `u` counts the correlation between neighbours."""

    start: int  # place on the grid of its first unit
    end: int  # behind its last
    units: int
    mean: float
    sd: float
    u_mean: float


@dataclass(frozen=True)
class Excursion:
    """The largest excursion of the CUSUM, in units of its noise, and what it is worth."""

    at: int  # place on the grid of the first unit behind it
    size: float
    p_value: float  # chance of as much where nothing changed


@dataclass(frozen=True)
class Changes:
    """The segments in the order of time, the price of a cut, and the CUSUM beside."""

    segments: tuple[Segment, ...]
    penalty: float
    excursion: Excursion

    @property
    def at(self) -> tuple[int, ...]:
        """The first place behind each cut."""
        return tuple(segment.start for segment in self.segments[1:])

    @property
    def shifts(self) -> tuple[float, ...]:
        """By how much the mean changes at each cut."""
        return tuple(after.mean - before.mean for before, after in pairwise(self.segments))


def changes(
    series: Array, position: Times, rho: float, *, min_units: int = 14, penalty: float | None = None
) -> Changes:
    """The changes of a series.

    Args:
        series: saving of each unit, in any unit, NaN where missing, shape (m,).
        position: place of each unit on its grid, increasing, shape (m,).
        rho: correlation of neighbouring residuals, as of `Noise.rho_used`; from 0 to below 1.
        min_units: the shortest stretch that is looked for.
        penalty: price of a cut; None: the one above. That of a step of the level follows from it.

    Raises:
        MeasureError: `series_too_short`, less than two of the shortest stretches; `bad_rho`.
    """
    if not 0 <= rho < 1:
        raise MeasureError(
            f"A correlation of {rho} between neighbours has no penalty.",
            "Give one from 0 to below 1.",
            code="bad_rho",
        )
    known = np.isfinite(series)
    values, places = np.ascontiguousarray(series[known]), position[known]
    if min_units < 2 or values.size < 2 * min_units:
        raise MeasureError(
            f"{values.size} units do not hold two stretches of {max(min_units, 2)}.",
            "Wait for more units, or look for shorter stretches of at least 2.",
            code="series_too_short",
        )
    price = penalty_of(values.size, rho) if penalty is None else penalty
    independent = price * _PER_STEP / _PER_CUT * (1 - rho) / (1 + rho)
    cuts = with_steps(values, places, _cuts(values, min_units, price), rho, min_units, independent)
    edges = [0, *cuts.tolist(), values.size]
    segments = tuple(_segment(values[a:b], places[a:b], rho) for a, b in pairwise(edges))
    return Changes(segments, price, _excursion(values, places, rho))


def penalty_of(n: int, rho: float) -> float:
    """The price of a cut in n units whose neighbours are so much alike."""
    return _PER_CUT * math.log(n) * (1 + rho) / (1 - rho)


def _segment(values: Array, places: Times, rho: float) -> Segment:
    n = values.size
    mean = math.fsum(values.tolist()) / n
    sd = math.sqrt(math.fsum(((values - mean) ** 2).tolist()) / (n - 1))
    u_mean = sd * math.sqrt((1 + rho) / (1 - rho) / n)
    return Segment(int(places[0]), int(places[-1]) + 1, n, mean, sd, u_mean)


def _excursion(values: Array, places: Times, rho: float) -> Excursion:
    """The noise is that of neighbouring differences, which a step hardly touches."""
    n = values.size
    steps = np.diff(values)[np.diff(places) == 1]
    spread = math.fsum((steps**2).tolist()) / max(steps.size, 1)
    noise = math.sqrt(spread / (2 * (1 - rho)) * (1 + rho) / (1 - rho) * n)
    mean = math.fsum(values.tolist()) / n
    total, largest, at = 0.0, 0.0, 0
    for i, value in enumerate(values.tolist()[:-1]):
        total += value - mean
        if abs(total) > largest:
            largest, at = abs(total), i + 1
    size = largest / noise if noise > 0 else 0.0
    return Excursion(int(places[at]), size, _beyond_a_bridge(size))


def _beyond_a_bridge(size: float) -> float:
    """P(sup |Brownian bridge| > size): the law of Kolmogorov, 2 sum (-1)^(k+1) exp(-2 k^2 x^2)."""
    if size < 0.2:  # 1 up to 1e-12, and the series needs many terms
        return 1.0
    terms = [(-1) ** (k + 1) * math.exp(-2 * k * k * size * size) for k in range(1, 30)]
    return min(1.0, 2 * math.fsum(terms))


@compiled
def _cuts(values: Array, min_units: int, penalty: float) -> NDArray[np.int64]:
    """The first index behind each cut of the cheapest segmentation, increasing.

    A start of a last segment that is dearer than another stays so, once that other may be a
    segment too: it is dropped `min_units` later.
    """
    n = values.size
    centre = 0.0
    for i in range(n):
        centre += values[i]
    centre /= n
    first, second = np.zeros(n + 1), np.zeros(n + 1)
    for i in range(n):
        deviation = values[i] - centre
        first[i + 1] = first[i] + deviation
        second[i + 1] = second[i] + deviation * deviation
    least = _LEAST_VARIANCE_RATIO * second[n] / n
    if least <= 0.0:
        return np.zeros(0, np.int64)
    cheapest = np.full(n + 1, np.inf)
    cheapest[0] = -penalty
    before = np.zeros(n + 1, np.int64)
    starts = np.zeros(n + 1, np.int64)  # that may begin the last segment
    dropped_at = np.full(n + 1, n + 1, np.int64)
    deviance = np.zeros(n + 1)  # of each such start up to here
    kept = 0
    for end in range(min_units, n + 1):
        starts[kept] = end - min_units
        kept += 1
        best = np.inf
        for k in range(kept):
            s = starts[k]
            deviance[k] = cheapest[s] + _deviance(first, second, s, end, least)
            if deviance[k] + penalty < best:
                best, before[end] = deviance[k] + penalty, s
        cheapest[end] = best
        still = 0
        for k in range(kept):
            s = starts[k]
            if deviance[k] >= best:
                dropped_at[s] = min(dropped_at[s], end + min_units)
            if dropped_at[s] > end + 1 and cheapest[s] < np.inf:
                starts[still] = s
                still += 1
        kept = still
    count, at = 0, before[n]
    while at > 0:
        count += 1
        at = before[at]
    cuts = np.zeros(count, np.int64)
    at = before[n]
    for k in range(count - 1, -1, -1):
        cuts[k] = at
        at = before[at]
    return cuts


@compiled
def _deviance(first: Array, second: Array, start: int, end: int, least: float) -> float:
    """-2 ln likelihood of a Gaussian segment at its best, its variance at least `least`."""
    n = end - start
    total = first[end] - first[start]
    squares = max(second[end] - second[start] - total * total / n, 0.0)
    variance = max(squares / n, least)
    deviance: float = n * ln(variance) + squares / variance
    return deviance
