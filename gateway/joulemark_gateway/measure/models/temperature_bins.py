"""Temperature as piecewise straight terms: a slope of its own between each two knots.

Source: Price 2010 (LBNL-3713E) and CalTRACK 2.0, methods 3.9: knots at 30, 45, 55, 65, 75 and
90 F, a bin of less than 20 hours is merged with its neighbour.
"""

from __future__ import annotations

import numpy as np

from joulemark_agent.kernels.jit import compiled
from joulemark_gateway.measure.qr import Array

KNOTS_C = tuple((fahrenheit - 32) / 1.8 for fahrenheit in (30, 45, 55, 65, 75, 90))
LEAST_BIN_H = 20.0


@compiled
def merged_knots(temperature_c: Array, knots_c: Array, least_units: float) -> Array:
    """The knots that are left once every bin holds enough units; maybe none.

    A bin that holds too few loses its upper knot, the last one its lower.
    """
    knots = knots_c.copy()
    count = np.zeros(knots.size + 1)
    for t in temperature_c:
        k = 0
        while k < knots.size and t > knots[k]:
            k += 1
        count[k] += 1.0
    left = knots.size
    k = 0
    while k <= left and left > 0:
        if count[k] >= least_units:
            k += 1
            continue
        drop = min(k, left - 1)
        count[drop] += count[drop + 1]
        for m in range(drop, left - 1):
            knots[m] = knots[m + 1]
            count[m + 1] = count[m + 2]
        left -= 1
        k = drop
    return knots[:left].copy()


@compiled
def bin_terms(temperature_c: Array, knots_c: Array) -> Array:
    """How much of each bin a temperature fills: the rows add up to it, shape (knots + 1, n). [C]"""
    bins, n = knots_c.size + 1, temperature_c.size
    out = np.empty((bins, n))
    for k in range(bins):
        low = knots_c[k - 1] if k > 0 else 0.0
        width = knots_c[k] - low if k < bins - 1 else np.inf
        for i in range(n):
            filled = temperature_c[i] - low
            if k > 0:
                filled = np.maximum(filled, 0.0)
            out[k, i] = np.minimum(filled, width)  # unlike min, it hands NaN on
    return out
