"""Which steps between readings are no measurement, by the rules of a profile; they stay missing."""

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
