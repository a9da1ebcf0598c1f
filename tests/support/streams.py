"""Blocks of samples with everything that happens to them, and sums made another way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.kernels.stream import (
    BAD,
    GOOD,
    NONE,
    POINT,
    START_US,
    SUSPECT,
    Rows,
    Rule,
    Times,
    Values,
    begun,
    ended,
    rules_of,
    step_many,
)

S = 1_000_000
MINUTE, QUARTER, HOUR, DAY = 60 * S, 900 * S, 3600 * S, 86_400 * S
FIRST_US = 1_763_859_600_000_000  # a full hour of November 2025


class Fed(NamedTuple):
    """Columns of samples."""

    t_us: Times
    x: Values
    q: NDArray[np.uint8]
    cut: NDArray[np.bool_]

    def rows(self, chosen: slice | NDArray[np.int64] | NDArray[np.bool_]) -> Fed:
        """Some of the rows."""
        return Fed(self.t_us[chosen], self.x[chosen], self.q[chosen], self.cut[chosen])


def fed(t_us: Iterable[int], *series: Iterable[float]) -> Fed:
    """Good samples of some points; None is a bad one."""
    t = np.array(list(t_us), np.int64)
    x = np.array([list(one) for one in series], np.float64).T.reshape(t.size, len(series))
    return Fed(t, x, np.zeros(x.shape, np.uint8), np.zeros(t.size, np.bool_))


def windows(
    rules: Sequence[Rule], block: Fed, cuts: Iterable[int] = (), end_us: int | None = None
) -> Rows:
    """The windows of a block fed in parts, by point and time; with an end, those open until it."""
    table, state = rules_of(rules), begun(len(rules))
    edges = [0, *cuts, block.t_us.size]
    rows = [
        step_many(table, state, *block.rows(slice(start, end))) for start, end in pairwise(edges)
    ]
    if end_us is not None:
        rows.append(ended(table, state, end_us))
    whole = np.concatenate(rows)
    return whole[np.lexsort((whole[:, START_US], whole[:, POINT]))]


def troubled(draw: np.random.Generator, samples: int, points: int) -> Fed:
    """Samples with gaps, bad, suspect and missing ones, repeats, late ones and clock steps."""
    usual = [S, S, S, S, S, S, S, 2 * S, 2 * S, 40 * S]
    steps = draw.choice([*usual * 9, 700 * S, 3000 * S], samples)
    steps += draw.integers(-S // 2, S // 2, samples)
    cut = draw.random(samples) < 0.003
    steps[cut] = draw.choice([-90 * S, 90 * S], int(cut.sum()))
    steps[draw.random(samples) < 0.01] = 0
    t_us = FIRST_US + 1234 + np.cumsum(steps)
    late = draw.random(samples) < 0.01
    t_us[late] -= draw.integers(1, 5 * S, int(late.sum()))
    x = draw.normal(0, 80e3, (samples, points))
    x[draw.random(x.shape) < 0.01] = np.nan
    x[draw.random(x.shape) < 0.005] = np.inf
    quality = draw.choice([GOOD, SUSPECT, BAD, NONE], x.shape, p=[0.93, 0.02, 0.02, 0.03])
    return Fed(t_us, x, quality.astype(np.uint8), cut)


def integrated(
    t_us: Times, power_w: Values, edges_us: Times
) -> tuple[NDArray[np.longdouble], NDArray[np.longdouble]]:
    """Import and export of the line through the samples, per window. [Wh]

    Edges and zero crossings become samples of their own, and trapezoids are added with the widest
    floats there are: nothing of it is how the kernel does it.
    """
    t = (t_us - t_us[0]).astype(np.longdouble)
    p = power_w.astype(np.longdouble)
    crossing = p[:-1] * p[1:] < 0
    zeros = t[:-1][crossing] + np.diff(t)[crossing] * p[:-1][crossing] / -np.diff(p)[crossing]
    edges = (edges_us - t_us[0]).astype(np.longdouble)
    inside = edges[(edges > t[0]) & (edges < t[-1])]
    place = np.searchsorted(t, inside, side="right") - 1
    share = (inside - t[place]) / (t[place + 1] - t[place])
    values = p[place] + (p[place + 1] - p[place]) * share
    times = np.concatenate([t, inside, zeros])
    curve = np.concatenate([p, values, np.zeros_like(zeros)])
    order = np.argsort(times, kind="stable")
    times, curve = times[order], curve[order]
    pieces = np.diff(times) * (curve[1:] + curve[:-1]) / 2 / HOUR
    window = np.searchsorted(edges, (times[1:] + times[:-1]) / 2, side="right") - 1
    found = []
    for part in (np.maximum(pieces, 0), np.maximum(-pieces, 0)):
        sums = np.zeros(edges.size - 1, np.longdouble)
        is_inside = (window >= 0) & (window < sums.size)
        np.add.at(sums, window[is_inside], part[is_inside])
        found.append(sums)
    return found[0], found[1]
