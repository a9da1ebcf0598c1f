"""Sums of many numbers: as good as exact, in a fixed order, without a list of them.

Error: some units in the last place, and n times its square: what rounding takes away is summed
beside. Source: Neumaier, Zeitschrift fuer Angewandte Mathematik und Mechanik 54 (1974).
"""

from __future__ import annotations

from joulemark_agent.kernels.jit import compiled
from joulemark_gateway.measure.qr import Array


def total(values: Array) -> float:
    """The sum, shape (n,)."""
    return float(_total(values))


def squares(values: Array, centre: float) -> float:
    """The sum of squared distances from a centre, shape (n,)."""
    return float(_squares(values, centre))


@compiled
def _total(values: Array) -> float:
    found, lost = 0.0, 0.0
    for value in values:
        following = found + value
        if abs(found) >= abs(value):
            lost += (found - following) + value
        else:
            lost += (value - following) + found
        found = following
    return found + lost


@compiled
def _squares(values: Array, centre: float) -> float:
    found, lost = 0.0, 0.0
    for value in values:
        square = (value - centre) * (value - centre)
        following = found + square
        if found >= square:
            lost += (found - following) + square
        else:
            lost += (square - following) + found
        found = following
    return found + lost
