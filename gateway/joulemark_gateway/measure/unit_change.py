"""A change of the unit inside a series: kWh become Wh, MJ become kWh.

A unit multiplies every value, so all quartiles of the four weeks after it stand to those of the
four weeks before it in one ratio. Holidays, seasons and new machines move them apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from joulemark_gateway.measure.calendar import US_PER_DAY
from joulemark_gateway.measure.qr import Array

_WINDOW_US = 28 * US_PER_DAY  # whole weeks on both sides
_LEAST = 4  # units of a window
_PLACES = 28  # looked at in a window
_QUARTILES = (0.25, 0.5, 0.75)
_LARGE, _NEAR_LARGE, _NEAR_SMALL = 100.0, math.log(4.0), math.log(1.2)


def unit_step(values: Array, length_us: int, factors: Sequence[float]) -> float:
    """The factor, or the inverse of one, by which a series steps; 1 where it steps by none.

    Args:
        values: above 0, in the order of time, without the missing ones, shape (n,).
        length_us: time of a unit. [us]
        factors: those to look for, above 1.

    Returns:
        The factor, above 1 whichever way the step goes.
    """
    window = min(_WINDOW_US // length_us, values.size // 3)
    if window < _LEAST:
        return 1.0
    stride = max(window // _PLACES, 1)
    apart = window // stride
    windows = np.lib.stride_tricks.sliding_window_view(values, apart * stride)[::stride]
    levels = np.log(_quartiles(windows))
    steps = levels[:, apart:] - levels[:, :-apart]
    best, found = math.inf, 1.0
    for factor in factors:
        off = min(_off(steps, math.log(factor)), _off(steps, -math.log(factor)))
        allowed = _NEAR_LARGE if factor > _LARGE else _NEAR_SMALL
        if off <= allowed and off < best:
            best, found = off, factor
    return found


def _quartiles(windows: Array) -> Array:
    """Of each row, by linear interpolation between its sorted values, shape (3, rows)."""
    ordered = np.sort(windows, axis=1)
    places = np.array(_QUARTILES) * (ordered.shape[1] - 1)
    below = places.astype(np.int64)
    low, high = ordered[:, below], ordered[:, np.minimum(below + 1, ordered.shape[1] - 1)]
    found: Array = (low + (places - below) * (high - low)).T
    return found


def _off(steps: Array, asked: float) -> float:
    """How far the worst quartile is from the ratio asked for, at the place where it fits best."""
    return float(np.min(np.max(np.abs(steps - asked), axis=0)))
