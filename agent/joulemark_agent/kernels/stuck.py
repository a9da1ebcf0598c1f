"""Which samples of a gauge stand still for longer than the quantity can: a stuck sensor or channel.

A measured quantity wavers by more than its register's step; a value that is repeated to the last
digit for hours is the last one that somebody still has. Where standing still is how the quantity is
at rest (the power of an inverter at night), its values there are no evidence and are not judged.
Which samples *look* stuck is all that is said: what they are worth is for the reader to decide.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.kernels.jit import compiled


@compiled
def stuck(  # noqa: PLR0917 -- compiled code takes its arguments by position
    t_us: NDArray[np.int64],
    value: NDArray[np.float64],
    longest_us: int,
    max_gap_us: int,
    rest_low: float,
    rest_high: float,
) -> NDArray[np.bool_]:
    """The samples of every run of one value that lasts too long, the first of the run included.

    Args:
        t_us: instants, increasing, shape (n,). [us]
        value: NaN where there is none, which ends a run, shape (n,).
        longest_us: from the first to the last sample of a run that is still believed. [us]
        max_gap_us: a longer step between two samples ends a run: nobody was watching. [us]
        rest_low: values from here ...
        rest_high: ... to here are at rest, and never stuck. NaN: there is no such range.

    Returns:
        True where a sample is in such a run, shape (n,).
    """
    found = np.zeros(value.size, np.bool_)
    first = 0
    for i in range(1, value.size + 1):
        goes_on = (
            i < value.size and value[i] == value[first] and t_us[i] - t_us[i - 1] <= max_gap_us
        )
        if goes_on:
            continue
        is_at_rest = rest_low <= value[first] <= rest_high
        if t_us[i - 1] - t_us[first] > longest_us and not is_at_rest:
            found[first:i] = True
        first = i
    return found
