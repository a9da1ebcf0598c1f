"""How well a change point is known: those at which the model is hardly worse, all else fitted anew.

Profile interval: {g: SSE(g) <= SSE_min (1 + F / d)} with F of 1 and d degrees of freedom, which is
the square of Student's t.
"""

from __future__ import annotations

import numpy as np

from joulemark_agent.kernels.jit import compiled
from joulemark_gateway.measure.models.change_point_search import (
    Counts,
    Meters,
    Segment,
    binned_of,
    hinges_of_grid,
    segment_of,
    valid_span,
)
from joulemark_gateway.measure.models.hinges import BOTH, LINE, MEAN, Rules, hinge_at, solved
from joulemark_gateway.measure.qr import Array
from joulemark_gateway.measure.student import quantile


def highest_sse(sse: float, degrees: float, confidence: float) -> float:
    """The SSE below which a change point lies inside the interval."""
    t = quantile((1 + confidence) / 2, degrees)
    return sse * (1 + t * t / degrees)


@compiled
def profile_many(  # noqa: PLR0917 -- columns of the meters
    meters: Meters, masks: Counts, kinds: Counts, points_c: Array, sses: Array, rules: Rules
) -> Array:
    """The lower and upper ends of each change point's interval.

    Args:
        meters: what was searched.
        masks: the segment of each meter, shape (b,).
        kinds: the kind of each, shape (b,).
        points_c: low and high change point that were found, shape (b, 2).
        sses: their SSE and the highest that is inside, shape (b, 2).
        rules: those of the search.

    Returns:
        Ends for the low and the high change point, shape (b, 2, 2); NaN where there is none. An
        end that the search did not reach is the last valid candidate.

    Error: SSE is taken as a parabola between candidates.
    """
    ends = np.full((kinds.size, 2, 2), np.nan)
    for b in range(kinds.size):
        segment = segment_of(binned_of(meters, b, rules), masks[b], rules)
        sse = _profile(segment, hinges_of_grid(segment, rules), kinds[b], rules)
        for side in range(2):
            if np.isnan(points_c[b, side]) or kinds[b] in (MEAN, LINE):
                continue
            for direction in range(2):
                ends[b, side, direction] = _end(
                    sse[side], points_c[b, side], sses[b], 2 * direction - 1, rules
                )
    return ends


@compiled
def _profile(segment: Segment, hinges: Array, kind: int, rules: Rules) -> Array:
    """The least SSE with the low or the high change point held at each candidate."""
    sse, out = np.full((2, rules.candidates), np.inf), np.empty(6)
    begin, end = valid_span(hinges)
    for j in range(begin, end):
        for k in range(j, end if kind == BOTH else j + 1):
            low, high = hinge_at(hinges, j), hinge_at(hinges, k)
            one = solved(segment.totals, kind, low, high, rules.is_physical, 0.0, out)
            sse[0, j], sse[1, k] = min(sse[0, j], one), min(sse[1, k], one)
    return sse


@compiled
def _end(sse: Array, point_c: float, sses: Array, direction: int, rules: Rules) -> float:
    """The outermost place in one direction at which the profile meets its limit."""
    least, limit = sses[0], sses[1]
    end_c, rise = point_c, 0.0
    following = -1
    for step in range(rules.candidates):
        j = step if direction > 0 else rules.candidates - 1 - step
        g_c = rules.lowest_c + j * rules.step_k
        if direction * (g_c - point_c) <= 0.0:
            continue
        if sse[j] <= limit:
            end_c, rise, following = g_c, np.sqrt(max(sse[j] - least, 0.0)), -1
        elif following < 0:
            following = j
    if following < 0 or sse[following] == np.inf:
        return end_c
    beyond = np.sqrt(sse[following] - least)
    share = (np.sqrt(limit - least) - rise) / (beyond - rise)
    end: float = end_c + share * (rules.lowest_c + following * rules.step_k - end_c)
    return end
