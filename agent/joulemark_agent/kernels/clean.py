"""What the readings of a counter show besides its count: holes and false zeros.

Nothing is repaired. A step or reading that is no measurement is named, and stays missing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.kernels.jit import compiled


@compiled
def all_zero_steps(counters: NDArray[np.int64], gauges: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which steps are measurements under the profile's rule `all_zero`.

    A step in which no counter moves while every gauge reads 0 at its end is none: the device
    answered, but it was not measuring. A meter that measures a standstill still has a power factor
    or a voltage.

    Args:
        counters: register values, below 0 where there is no value, shape (k, n).
        gauges: values, NaN where there is none, shape (g, n).

    Returns:
        False where a step is no measurement, shape (n - 1,). A step with an unknown value is not
        judged and stays True.
    """
    n = counters.shape[1]
    step_ok = np.zeros(max(n - 1, 0), np.bool_)
    for i in range(n - 1):
        for k in range(counters.shape[0]):
            before, after = counters[k, i], counters[k, i + 1]
            if before < 0 or after < 0 or before != after:
                step_ok[i] = True
        for g in range(gauges.shape[0]):
            if gauges[g, i + 1] != 0.0:  # NaN too
                step_ok[i] = True
    return step_ok


@compiled
def false_zeros(counter: NDArray[np.int64], good: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which good readings of 0 are no count: the value before comes back, or more, after them.

    Booking the way back up would add the whole register once more (a recorded counter gained
    49 %). A counter that starts anew from 0 and stays below its old value is a reset, not this.

    Args:
        counter: register values, read only where `good`, shape (n,).
        good: whether the reading has a value, shape (n,).

    Returns:
        True at each false zero, shape (n,).
    """
    is_false = np.zeros(counter.size, np.bool_)
    before = np.int64(0)
    first_zero = -1
    for i in range(counter.size):
        if not good[i]:
            continue
        if counter[i] == 0 and before > 0:
            if first_zero < 0:
                first_zero = i
            continue
        if first_zero >= 0 and counter[i] >= before:
            for j in range(first_zero, i):
                is_false[j] = good[j]
        first_zero = -1
        before = counter[i]
    return is_false
