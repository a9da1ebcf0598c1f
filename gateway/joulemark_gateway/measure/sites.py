"""The saving of many sites: sites that share weather, grid and order book err together.

    u^2 = sum_ij r_ij u_i u_j + sum over common causes (sum_i of what the cause is worth in i)^2,

with r_ij from weekly means of the baselines' residuals, aligned in time: daily noise that two sites
do not share is averaged out, slow shocks that they do share stay. One pair says little (52 weeks
see a correlation of 0.28 and more), all pairs together much, and what matters is their sum:

    r_ij = c + 0.9 (rhat_ij - c) where |rhat_ij - c| > 2 / sqrt(n'_ij), else c,

c being the mean of rhat weighted by u_i u_j, at least 0, and n' the weeks that are worth something
(Bartlett). Two sites without weeks in common are taken to err as one. The result is never below the
root of the sum of squares, which is r = 0, nor above the linear sum, which is r = 1; both stand
beside it.

Simulated coverage of the 90 % interval, 30 sites: 92, 92 and 89 % for r = 0, 0.1 and 0.3, where the
root of the sum of squares covers 91, 62 and 42 %. The limit: shocks that remember much longer than
the sites' own noise make each site's u too narrow, and no roll-up mends that. With a correlation of
0.9 from day to day in what is shared and 0.4 in the rest it covers about two thirds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from joulemark_agent.contract.errors import MeasureError
from joulemark_agent.kernels.jit import compiled
from joulemark_gateway.measure.data import Times
from joulemark_gateway.measure.meter_error import Uncertain, combined
from joulemark_gateway.measure.qr import Array

WEEK_US = 7 * 24 * 3600 * 1_000_000
_LEAST_FILLED_RATIO = 0.5  # of the fullest week's units; a mean of fewer is not compared
_LEAST_WEEKS = 8
_KEPT = 0.9  # of what a pair shows beyond all pairs
_NOTEWORTHY = 2.0  # standard errors of a correlation


@dataclass(frozen=True, eq=False)
class Site:
    """The saving of a site and what ties it to the others.

    `start_us` and `residuals` are those of the baseline's units. `common` is what the standard
    uncertainty of a cause that sites share (an emission factor, a method) is worth here, signed as
    it moves this saving; it is no part of `saving.u`.
    """

    name: str
    saving: Uncertain
    predicted: float  # what the baseline would have used, in the unit of the saving
    start_us: Times
    residuals: Array
    bias: float = 0.0  # mean bias of the model over the reporting period, signed, in that unit
    common: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Portfolio:
    """The sum of the savings with three uncertainties, those of common causes in each."""

    total: Uncertain  # correlation-aware
    rss: Uncertain  # sites err independently: too narrow where they do not
    linear: Uncertain  # sites err as one: the upper bound
    correlation: Array  # r_ij, shape (k, k)
    common_correlation: float
    assumed_pairs: int  # without weeks in common, taken to err as one
    common: Mapping[str, float]  # the linear sum of each common cause
    bias: float  # signed: sites that err both ways cancel
    bias_ratio: float  # of what the baselines would have used


def rolled_up(sites: Sequence[Site]) -> Portfolio:
    """The sum over sites.

    Raises:
        MeasureError: `no_sites`, `site_twice`.
    """
    names = [site.name for site in sites]
    if not names or len(set(names)) < len(names):
        raise MeasureError(
            "A portfolio has no sites." if not names else "A site stands twice in the portfolio.",
            "Give each site once.",
            code="site_twice" if names else "no_sites",
        )
    u = np.array([site.saving.u for site in sites])
    means = _weekly(sites)
    seen, weight = _correlations(means, _LEAST_WEEKS)
    shared = float(max(_weighted_mean(seen, u), 0.0))
    correlation = _shrunk(seen, weight, shared)
    common = _common(sites)
    value = math.fsum(site.saving.value for site in sites)
    alone = [Uncertain(0.0, site.saving.u, site.saving.degrees_of_freedom) for site in sites]
    causes = [Uncertain(0.0, abs(of)) for of in common.values()]
    squares = math.fsum((u * u).tolist())
    aware = min(max(_quadratic(correlation, u), squares), math.fsum(u.tolist()) ** 2)
    weeks = _typical(weight)
    together = Uncertain(0.0, math.sqrt(aware - squares), max(weeks - 1.0, 1.0))
    linear = Uncertain(0.0, math.fsum(u.tolist()), min(one.degrees_of_freedom for one in alone))
    bias = math.fsum(site.bias for site in sites)
    predicted = math.fsum(site.predicted for site in sites)
    return Portfolio(
        total=combined(value, [*alone, together, *causes]),
        rss=combined(value, [*alone, *causes]),
        linear=combined(value, [linear, *causes]),
        correlation=correlation,
        common_correlation=shared,
        assumed_pairs=int(np.count_nonzero(np.isnan(seen))) // 2,
        common=common,
        bias=bias,
        bias_ratio=bias / predicted if predicted else 0.0,
    )


def _common(sites: Sequence[Site]) -> dict[str, float]:
    causes = sorted({cause for site in sites for cause in site.common})
    return {cause: math.fsum(site.common.get(cause, 0.0) for site in sites) for cause in causes}


def _weekly(sites: Sequence[Site]) -> Array:
    """Mean residual of each site in each week since 1970, NaN where too little is there."""
    weeks = [site.start_us // WEEK_US for site in sites]
    filled = [week for week in weeks if week.size]
    if not filled:
        return np.full((len(sites), 1), np.nan)
    first = min(int(week.min()) for week in filled)
    count = max(int(week.max()) for week in filled) - first + 1
    means = np.full((len(sites), count), np.nan)
    for k, (site, week) in enumerate(zip(sites, weeks, strict=True)):
        if week.size:
            means[k] = _means(week - first, site.residuals, count, _LEAST_FILLED_RATIO)
    return means


def _typical(weight: Array) -> float:
    """The mean n' of the pairs that have one."""
    known = weight[weight > 0].tolist()
    return math.fsum(known) / len(known) if known else 0.0


@compiled
def _means(week: Times, residuals: Array, count: int, least_ratio: float) -> Array:
    total, units = np.zeros(count), np.zeros(count)
    for i in range(week.size):
        if np.isfinite(residuals[i]):
            total[week[i]] += residuals[i]
            units[week[i]] += 1.0
    fullest = 0.0
    for k in range(count):
        fullest = max(fullest, units[k])
    means = np.full(count, np.nan)
    for k in range(count):
        if units[k] > 0.0 and units[k] >= least_ratio * fullest:
            means[k] = total[k] / units[k]
    return means


@compiled
def _correlations(means: Array, least_weeks: int) -> tuple[Array, Array]:
    """The rhat and n' of each pair over the weeks both have: NaN and 0 where those are too few.

    n' = n (1 - a_i a_j) / (1 + a_i a_j), a being the correlation of neighbouring weeks.
    """
    sites, weeks = means.shape
    memory = np.zeros(sites)
    for i in range(sites):
        memory[i] = max(_pair(means[i, : weeks - 1], means[i, 1:], 3)[0], 0.0)
    seen, weight = np.full((sites, sites), np.nan), np.zeros((sites, sites))
    for i in range(sites):
        seen[i, i] = 1.0
        for j in range(i + 1, sites):
            r, n = _pair(means[i], means[j], least_weeks)
            if n < least_weeks:
                continue
            both = memory[i] * memory[j]
            seen[i, j] = seen[j, i] = r
            weight[i, j] = weight[j, i] = n * (1.0 - both) / (1.0 + both)
    return seen, weight


@compiled
def _pair(one: Array, other: Array, least: int) -> tuple[float, int]:
    """The correlation over what both have, 0 where one does not vary, and how much that is."""
    n, mean_one, mean_other = 0, 0.0, 0.0
    for k in range(one.size):
        if np.isfinite(one[k]) and np.isfinite(other[k]):
            n += 1
            mean_one += one[k]
            mean_other += other[k]
    if n < least:
        return 0.0, n
    mean_one /= n
    mean_other /= n
    cross, first, second = 0.0, 0.0, 0.0
    for k in range(one.size):
        if np.isfinite(one[k]) and np.isfinite(other[k]):
            a, b = one[k] - mean_one, other[k] - mean_other
            cross += a * b
            first += a * a
            second += b * b
    size = np.sqrt(first) * np.sqrt(second)
    return (cross / size if size > 0.0 else 0.0), n


@compiled
def _weighted_mean(seen: Array, u: Array) -> float:
    """The mean correlation of the pairs that are known, weighted by what they are worth."""
    total, weight = 0.0, 0.0
    for i in range(u.size):
        for j in range(i + 1, u.size):
            if np.isfinite(seen[i, j]):
                total += seen[i, j] * u[i] * u[j]
                weight += u[i] * u[j]
    return total / weight if weight > 0.0 else 0.0


def _shrunk(seen: Array, weight: Array, shared: float) -> Array:
    """The r of the formula above; 1 for pairs that have no weeks in common."""
    with np.errstate(divide="ignore", invalid="ignore"):
        beyond = seen - shared
        is_noteworthy = np.abs(beyond) > _NOTEWORTHY / np.sqrt(weight)
    out = np.where(is_noteworthy, shared + _KEPT * beyond, shared)
    out[np.isnan(seen)] = 1.0
    np.fill_diagonal(out, 1.0)
    clipped: Array = np.clip(out, -1.0, 1.0)
    return clipped


@compiled
def _quadratic(r: Array, u: Array) -> float:
    """The sum over i and j of r_ij u_i u_j."""
    total = 0.0
    for i in range(u.size):
        for j in range(u.size):
            total += r[i, j] * u[i] * u[j]
    return total
