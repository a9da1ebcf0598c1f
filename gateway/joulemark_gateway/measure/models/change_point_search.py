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
    Rules,
    Totals,
    solved,
)
from joulemark_gateway.measure.qr import Array

Counts = NDArray[np.int64]

CELLS = 6  # of the calendar
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
    """Chosen units of a meter, and their sums up to and with each bin."""

    binned: Binned
    chosen: NDArray[np.bool_]
    sums: Array  # of w, w t, w t^2, w r and w t r, shape (count + 1, 5)
    units: Counts
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
            if segment.units[rules.candidates] == 0:
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
    columns, cell, starts = binned.columns, binned.cell, binned.starts
    chosen = np.empty(cell.size, np.bool_)
    sums, units = np.zeros((rules.candidates + 1, 5)), np.zeros(rules.candidates + 1, np.int64)
    w = s1 = s2 = sr = st = 0.0
    number = 0
    for k in range(rules.candidates + 1):
        for i in range(starts[k], starts[k + 1]):
            chosen[i] = (mask >> cell[i]) & 1 == 1
            if chosen[i]:
                t, weight, rate = columns[1, i], columns[2, i], columns[3, i]
                w, s1, s2 = w + weight, s1 + weight * t, s2 + weight * t * t
                sr, st = sr + weight * rate, st + weight * t * rate
                number += 1
        units[k] = number
        sums[k, 0], sums[k, 1], sums[k, 2], sums[k, 3], sums[k, 4] = w, s1, s2, sr, st
    square, mean = 0.0, sr / w
    for i in range(chosen.size):
        if chosen[i]:
            away = columns[3, i] - mean
            square += columns[2, i] * away * away
    line_square = s2 - s1 * s1 / w
    totals = Totals(
        w,
        binned.mean + mean,
        square,
        binned.centre_c + s1 / w,
        line_square if line_square > FLAT * s2 else 0.0,
        st - s1 * sr / w,
    )
    return Segment(binned, chosen, sums, units, totals)


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
    sums, units, centre_c = segment.sums, segment.units, segment.binned.centre_c
    for j in range(rules.candidates):  # bins up to j are what is colder than candidate j
        w, s1, s2, sr, st = sums[j, 0], sums[j, 1], sums[j, 2], sums[j, 3], sums[j, 4]
        g = rules.lowest_c + j * rules.step_k - centre_c
        _fill(sums, units, rules, g, units[j], w, s1, s2, sr, st, hinges[j])
    return hinges


@compiled
def _hinge(  # noqa: PLR0917 -- arrays alone: a segment handed over costs more than all of it
    columns: Array,
    chosen: NDArray[np.bool_],
    starts: Counts,
    sums: Array,
    units: Counts,
    centre_c: float,
    g_c: float,
    rules: Rules,
    out: Array,
) -> None:
    """Sum, centred square and centred product of H, then of C, and whether each side is valid."""
    k, number = _bin(g_c, rules), 0
    w = s1 = s2 = sr = st = 0.0  # of the colder units
    if k > 0:
        w, s1, s2 = sums[k - 1, 0], sums[k - 1, 1], sums[k - 1, 2]
        sr, st, number = sums[k - 1, 3], sums[k - 1, 4], units[k - 1]
    for i in range(starts[k], starts[k + 1]):
        if chosen[i] and columns[0, i] < g_c:
            t, weight, rate = columns[1, i], columns[2, i], columns[3, i]
            w, s1, s2 = w + weight, s1 + weight * t, s2 + weight * t * t
            sr, st = sr + weight * rate, st + weight * t * rate
            number += 1
    _fill(sums, units, rules, g_c - centre_c, number, w, s1, s2, sr, st, out)


@compiled
def _fill(  # noqa: PLR0917 -- as above
    sums: Array,
    units: Counts,
    rules: Rules,
    g: float,
    number: int,
    w: float,
    s1: float,
    s2: float,
    sr: float,
    st: float,
    out: Array,
) -> None:
    """A hinge at g above the centre, from the sums of the units that are colder."""
    last = rules.candidates
    whole, mean = sums[last, 0], sums[last, 3] / sums[last, 0]
    heat = g * w - s1
    out[0] = heat
    out[1] = g * g * w - 2.0 * g * s1 + s2 - heat * heat / whole
    out[2] = g * sr - st - heat * mean
    w, s1, s2 = whole - w, sums[last, 1] - s1, sums[last, 2] - s2
    sr, st = sums[last, 3] - sr, sums[last, 4] - st
    cool = s1 - g * w
    out[3] = cool
    out[4] = s2 - 2.0 * g * s1 + g * g * w - cool * cool / whole
    out[5] = st - g * sr - cool * mean
    cold = number >= rules.min_units and heat >= rules.min_degree_days
    warm = units[last] - number >= rules.min_units and cool >= rules.min_degree_days
    out[6] = 1.0 if cold else 0.0
    out[7] = 1.0 if warm else 0.0


@compiled
def _search(segment: Segment, hinges: Array, kind: int, rules: Rules, out: Array) -> None:
    """The best candidate of a kind, refined, into `out`."""
    units = segment.units[rules.candidates]
    if units <= PARAMETERS[kind]:
        return
    if kind in (MEAN, LINE):
        out[SSE] = solved(segment.totals, kind, hinges[0], hinges[0], rules.is_physical, 0.0, out)
        return
    j, k = _best_pair(segment, hinges, rules) if kind == BOTH else (-1, -1)
    if kind != BOTH:
        best = np.inf
        for i in range(*valid_span(hinges)):
            sse = solved(segment.totals, kind, hinges[i], hinges[i], rules.is_physical, 0.0, out)
            if sse < best:
                best, j, k = sse, i, i
    if j < 0:
        return
    low, high = hinges[j].copy(), hinges[k].copy()
    low_c, high_c = rules.lowest_c + j * rules.step_k, rules.lowest_c + k * rules.step_k
    best = solved(segment.totals, kind, low, high, rules.is_physical, 0.0, out)
    top_c, step_k = rules.lowest_c + (rules.candidates - 1) * rules.step_k, rules.step_k
    for turn in range(2 * _ROUNDS if kind == BOTH else 1):
        side = turn % 2
        start_c = low_c if side == 0 else high_c
        floor_c = low_c if side == 1 else rules.lowest_c
        ceiling_c = high_c if side == 0 and kind == BOTH else top_c
        bounds = max(start_c - step_k, floor_c), start_c, min(start_c + step_k, ceiling_c)
        start_c, best = _golden(segment, kind, side, bounds, best, low, high, rules)
        if side == 0:
            low_c = start_c
        else:
            high_c = start_c
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
    low: Array,
    high: Array,
    rules: Rules,
) -> tuple[float, float]:
    """The change point of one side between two bounds, never worse than where it began.

    `low` and `high` become the hinges of what is found; only for 5P are they two points.
    """
    below, start_c, above = range_c
    binned, totals, is_physical = segment.binned, segment.totals, rules.is_physical
    columns, chosen, starts = binned.columns, segment.chosen, binned.starts
    sums, units, centre_c = segment.sums, segment.units, binned.centre_c
    row, out = np.empty(8), np.empty(6)
    place, sse = np.empty(2), np.empty(2)  # of the inner two points
    place[0], place[1] = above - _GOLDEN * (above - below), below + _GOLDEN * (above - below)
    at = 0
    for step in range(_STEPS + 2):
        _hinge(columns, chosen, starts, sums, units, centre_c, place[at], rules, row)
        if kind != BOTH:
            sse[at] = solved(totals, kind, row, row, is_physical, 0.0, out)
        elif side == 0:
            sse[at] = solved(totals, kind, row, high, is_physical, 0.0, out)
        else:
            sse[at] = solved(totals, kind, low, row, is_physical, 0.0, out)
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
        return start_c, best
    found_c, found = place[at], sse[at]
    _hinge(columns, chosen, starts, sums, units, centre_c, found_c, rules, row)
    if kind != BOTH or side == 0:
        low[:] = row
    if kind != BOTH or side == 1:
        high[:] = row
    return found_c, found
