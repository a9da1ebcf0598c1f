"""The search for change points of many meters: a constant number of operations a candidate.

The units of a meter are put into bins between the candidates; running sums of w, w t, w t^2, w r
and w t r then give, for a change point g and the units colder than it,

    sum H = g W - S1,  sum H^2 = g^2 W - 2 g S1 + S2,  sum H r = g Sr - Str,  H = (g - t)+,

and likewise for C = (t - g)+ of the warmer ones; H and C never meet, so their product sums to 0.
All is centred first, and one or two equations remain. The best candidate of the grid is refined by
golden section; whoever uses it solves it again by QR.

Source: Kissock, Haberl and Claridge, Inverse Modeling Toolkit, ASHRAE RP-1050 (2003); CalTRACK 2.0,
sections 3.2 to 3.4.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.kernels.jit import compiled
from joulemark_gateway.measure.models.hinges import (
    BOTH,
    COOLING,
    FLAT,
    HIGH,
    LINE,
    LOW,
    MEAN,
    PARAMETERS,
    SSE,
    Hinge,
    Rules,
    Totals,
    hinge_at,
    solved,
)
from joulemark_gateway.measure.qr import Array

Counts = NDArray[np.int64]

CELLS = 6  # of the calendar
Colder = tuple[float, float, float, float, float, float]  # five sums, and the number of units
_GOLDEN = 0.6180339887498949
_STEPS = 12  # golden sections: 2 steps of the grid shrink to 1/320
_ROUNDS = 2  # of turns between the two change points


class Meters(NamedTuple):
    """The units of many meters, one after another; those of meter b start at offsets[b].

    `rate` is energy over `weight`, the length of a unit in nominal ones; `cell` is its place in the
    calendar, from 0 to 5.
    """

    t_c: Array
    rate: Array
    weight: Array
    cell: Counts
    position: Counts
    offsets: Counts


class Binned(NamedTuple):
    """The units of one meter in the order of their bins; those of bin k start at starts[k]."""

    columns: Array  # temperature, the same centred, weight, centred rate, shape (4, n)
    cell: Counts
    starts: Counts
    centre_c: float
    mean: float


class Segment(NamedTuple):
    """Chosen units of a meter in the order of their bins, and their sums before each bin."""

    columns: Array  # those of `Binned`; the chosen units stand in front, shape (4, n)
    starts: Counts  # chosen units before bin k, shape (count + 2,)
    sums: Array  # of w, w t, w t^2, w r and w t r of these, shape (count + 2, 5)
    centre_c: float
    totals: Totals


@compiled
def search_many(meters: Meters, masks: Counts, kinds: NDArray[np.bool_], rules: Rules) -> Array:
    """The best change points of each kind in each segment of each meter.

    Args:
        meters: what is searched.
        masks: the cells of each segment as bits, shape (s,).
        kinds: which are searched, shape (6,).
        rules: the grid, and what a candidate must satisfy.

    Returns:
        SSE, low and high change point (NaN where there is none), base and slopes, shape
        (b, s, 6, 6); SSE is infinite where no candidate is valid.
    """
    number = meters.offsets.size - 1
    found = np.full((number, masks.size, 6, 6), np.nan)
    for b in range(number):
        binned = binned_of(meters, b, rules)
        for s in range(masks.size):
            segment = segment_of(binned, masks[s], rules)
            for kind in range(6):
                found[b, s, kind, SSE] = np.inf
            if segment.starts[-1] == 0:
                continue
            hinges = hinges_of_grid(segment, rules)
            for kind in range(6):
                if kinds[kind]:
                    _search(segment, hinges, kind, rules, found[b, s, kind])
    return found


@compiled
def binned_of(meters: Meters, b: int, rules: Rules) -> Binned:
    """The units of meter b by bins, bin k holding those with k candidates at or below them."""
    begin, n = meters.offsets[b], meters.offsets[b + 1] - meters.offsets[b]
    starts, bins = np.zeros(rules.candidates + 2, np.int64), np.empty(n, np.int64)
    total = total_t = total_r = 0.0
    for i in range(n):
        u = begin + i
        bins[i] = _bin(meters.t_c[u], rules)
        starts[bins[i] + 1] += 1
        total += meters.weight[u]
        total_t += meters.weight[u] * meters.t_c[u]
        total_r += meters.weight[u] * meters.rate[u]
    for k in range(rules.candidates + 1):
        starts[k + 1] += starts[k]
    centre_c, mean = total_t / total, total_r / total
    columns, cell = np.empty((4, n)), np.empty(n, np.int64)
    following = starts[:-1].copy()
    for i in range(n):
        u, place = begin + i, following[bins[i]]
        following[bins[i]] += 1
        columns[0, place], columns[1, place] = meters.t_c[u], meters.t_c[u] - centre_c
        columns[2, place], columns[3, place] = meters.weight[u], meters.rate[u] - mean
        cell[place] = meters.cell[u]
    return Binned(columns, cell, starts, centre_c, mean)


@compiled
def segment_of(binned: Binned, mask: int, rules: Rules) -> Segment:
    """The units whose cells are in the mask, with their running sums."""
    columns, cell = binned.columns, binned.cell
    sums, starts = np.zeros((rules.candidates + 2, 5)), np.zeros(rules.candidates + 2, np.int64)
    chosen = np.empty((4, cell.size))
    w = s1 = s2 = sr = st = 0.0
    number = 0
    for k in range(rules.candidates + 1):
        begin = number
        for i in range(binned.starts[k], binned.starts[k + 1]):
            for j in range(4):  # the next one that counts takes its place
                chosen[j, number] = columns[j, i]
            number += (mask >> cell[i]) & 1
        for i in range(begin, number):
            t, weight, rate = chosen[1, i], chosen[2, i], chosen[3, i]
            w, s1, s2 = w + weight, s1 + weight * t, s2 + weight * t * t
            sr, st = sr + weight * rate, st + weight * t * rate
        starts[k + 1] = number
        sums[k + 1, 0], sums[k + 1, 1], sums[k + 1, 2] = w, s1, s2
        sums[k + 1, 3], sums[k + 1, 4] = sr, st
    square, mean = 0.0, sr / w
    for i in range(number):
        away = chosen[3, i] - mean
        square += chosen[2, i] * away * away
    line_square = s2 - s1 * s1 / w
    totals = Totals(
        w,
        binned.mean + mean,
        square,
        binned.centre_c + s1 / w,
        line_square if line_square > FLAT * s2 else 0.0,
        st - s1 * sr / w,
    )
    return Segment(chosen, starts, sums, binned.centre_c, totals)


@compiled
def _bin(t_c: float, rules: Rules) -> int:
    """How many candidates are not above a temperature; 0 for NaN, which has no place."""
    place = np.floor((t_c - rules.lowest_c) / rules.step_k) + 1.0
    if not place > 0.0:
        return 0
    return int(min(place, float(rules.candidates)))


@compiled
def hinges_of_grid(segment: Segment, rules: Rules) -> Array:
    """The hinges of every candidate, shape (count, 8)."""
    hinges = np.empty((rules.candidates, 8))
    for j in range(rules.candidates):  # bins up to j are what is colder than candidate j
        colder = _before(segment.sums, segment.starts, j + 1)
        g = rules.lowest_c + j * rules.step_k - segment.centre_c
        hinge = _of(segment.sums, segment.starts, colder, g, rules)
        for m in range(8):
            hinges[j, m] = hinge[m]
    return hinges


@compiled
def _hinge(segment: Segment, g_c: float, rules: Rules) -> Hinge:
    """Sum, centred square and centred product of H, then of C, and whether each side is valid."""
    columns, k = segment.columns, _bin(g_c, rules)
    w, s1, s2, sr, st, number = _before(segment.sums, segment.starts, k)
    for i in range(segment.starts[k], segment.starts[k + 1]):
        is_colder = columns[0, i] < g_c
        t, rate = columns[1, i], columns[3, i]
        weight = columns[2, i] if is_colder else 0.0  # a sum takes 0 faster than it asks
        w, s1, s2 = w + weight, s1 + weight * t, s2 + weight * t * t
        sr, st = sr + weight * rate, st + weight * t * rate
        number += 1.0 if is_colder else 0.0
    colder = w, s1, s2, sr, st, number
    return _of(segment.sums, segment.starts, colder, g_c - segment.centre_c, rules)


@compiled
def _before(sums: Array, starts: Counts, k: int) -> Colder:
    """The sums of the units before bin k."""
    return sums[k, 0], sums[k, 1], sums[k, 2], sums[k, 3], sums[k, 4], float(starts[k])


@compiled
def _of(sums: Array, starts: Counts, colder: Colder, g: float, rules: Rules) -> Hinge:
    """A hinge at g above the centre, from the sums of the units that are colder."""
    w, s1, s2, sr, st, number = colder
    last = rules.candidates + 1
    whole, mean = sums[last, 0], sums[last, 3] / sums[last, 0]
    heat = g * w - s1
    hh = g * g * w - 2.0 * g * s1 + s2 - heat * heat / whole
    hr = g * sr - st - heat * mean
    w, s1, s2 = whole - w, sums[last, 1] - s1, sums[last, 2] - s2
    sr, st = sums[last, 3] - sr, sums[last, 4] - st
    cool = s1 - g * w
    cc = s2 - 2.0 * g * s1 + g * g * w - cool * cool / whole
    cr = st - g * sr - cool * mean
    cold = number >= rules.min_units and heat >= rules.min_degree_days
    warm = starts[last] - number >= rules.min_units and cool >= rules.min_degree_days
    return heat, hh, hr, cool, cc, cr, 1.0 if cold else 0.0, 1.0 if warm else 0.0


@compiled
def _search(segment: Segment, hinges: Array, kind: int, rules: Rules, out: Array) -> None:
    """The best candidate of a kind, refined, into `out`."""
    if segment.starts[-1] <= PARAMETERS[kind]:
        return
    if kind in (MEAN, LINE):
        none = hinge_at(hinges, 0)
        out[SSE] = solved(segment.totals, kind, none, none, rules.is_physical, 0.0, out)
        return
    j, k = _best_pair(segment, hinges, rules) if kind == BOTH else (-1, -1)
    if kind != BOTH:
        best = np.inf
        for i in range(*valid_span(hinges)):
            one = hinge_at(hinges, i)
            sse = solved(segment.totals, kind, one, one, rules.is_physical, 0.0, out)
            if sse < best:
                best, j, k = sse, i, i
    if j < 0:
        return
    low, high = hinge_at(hinges, j), hinge_at(hinges, k)
    low_c, high_c = rules.lowest_c + j * rules.step_k, rules.lowest_c + k * rules.step_k
    best = solved(segment.totals, kind, low, high, rules.is_physical, 0.0, out)
    top_c, step_k = rules.lowest_c + (rules.candidates - 1) * rules.step_k, rules.step_k
    for turn in range(2 * _ROUNDS if kind == BOTH else 1):
        side = turn % 2
        start_c = low_c if side == 0 else high_c
        floor_c = low_c if side == 1 else rules.lowest_c
        ceiling_c = high_c if side == 0 and kind == BOTH else top_c
        bounds = max(start_c - step_k, floor_c), start_c, min(start_c + step_k, ceiling_c)
        start_c, best, found = _golden(segment, kind, side, bounds, best, low, high, rules)
        if side == 0:
            low_c, low = start_c, found
        else:
            high_c, high = start_c, found
        if kind != BOTH:
            high = low
    out[SSE] = solved(segment.totals, kind, low, high, rules.is_physical, 0.0, out)
    out[LOW] = low_c if kind != COOLING else np.nan
    out[HIGH] = low_c if kind == COOLING else (high_c if kind == BOTH else np.nan)


@compiled
def valid_span(hinges: Array) -> tuple[int, int]:
    """The first valid candidate and the one after the last: warmer ones have more on the left."""
    begin, end = 0, hinges.shape[0]
    while begin < end and hinges[begin, 6] == 0.0:
        begin += 1
    while end > begin and hinges[end - 1, 7] == 0.0:
        end -= 1
    return begin, end


@compiled
def _best_pair(segment: Segment, hinges: Array, rules: Rules) -> tuple[int, int]:
    """The best valid pair of candidates of 5P, or -1; divides only where a pair is better."""
    best_j, best_k, gain, sign = -1, -1, -1.0, 0.0 if rules.is_physical else -np.inf
    sums, height = segment.totals.weight, segment.totals.rate
    square, product, total = hinges[:, 4].copy(), hinges[:, 5].copy(), hinges[:, 3] / sums
    size = hinges.shape[0]
    scale, gains = np.empty(size), np.empty(size)
    first, second = np.empty(size), np.empty(size)
    begin, end = valid_span(hinges)
    for j in range(begin, end):
        h, hh, hr = hinges[j, 0], hinges[j, 1], hinges[j, 2]
        for k in range(j, end):  # no branches, so that several are computed at once
            cross = -h * total[k]
            scale[k] = hh * square[k] - cross * cross
            first[k] = hr * square[k] - product[k] * cross
            second[k] = product[k] * hh - hr * cross
            gains[k] = first[k] * hr + second[k] * product[k]
        for k in range(j, end):
            if not (gains[k] > gain * scale[k] and first[k] > sign and second[k] > sign):
                continue
            if scale[k] <= FLAT * hh * square[k]:
                continue
            base = height - (first[k] * h / sums + second[k] * total[k]) / scale[k]
            if base > sign:
                best_j, best_k, gain = j, k, gains[k] / scale[k]
    return best_j, best_k


@compiled
def _golden(  # noqa: PLR0917 -- as above
    segment: Segment,
    kind: int,
    side: int,
    range_c: tuple[float, float, float],
    best: float,
    low: Hinge,
    high: Hinge,
    rules: Rules,
) -> tuple[float, float, Hinge]:
    """The change point of one side between two bounds, never worse than where it began.

    With its SSE and its hinge; only for 5P are `low` and `high` two points.
    """
    below, start_c, above = range_c
    totals, is_physical, out = segment.totals, rules.is_physical, np.empty(6)
    own = low if side == 0 else high
    place, sse = np.empty(2), np.empty(2)  # of the inner two points
    place[0], place[1] = above - _GOLDEN * (above - below), below + _GOLDEN * (above - below)
    at = 0
    for step in range(_STEPS + 2):
        hinge = _hinge(segment, place[at], rules)
        if kind != BOTH:
            low, high = hinge, hinge
        elif side == 0:
            low = hinge
        else:
            high = hinge
        sse[at] = solved(totals, kind, low, high, is_physical, 0.0, out)
        if step == 0:
            at = 1
        elif sse[0] <= sse[1]:
            above, place[1], sse[1], at = place[1], place[0], sse[0], 0
            place[0] = above - _GOLDEN * (above - below)
        else:
            below, place[0], sse[0], at = place[0], place[1], sse[1], 1
            place[1] = below + _GOLDEN * (above - below)
    at = 1 - at  # the place that is not new
    if not sse[at] < best:
        return start_c, best, own
    return place[at], sse[at], _hinge(segment, place[at], rules)
