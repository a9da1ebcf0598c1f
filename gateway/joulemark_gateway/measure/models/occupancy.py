"""Which times of the week are busy: those that a fit on temperature alone mostly underestimates.

Source: Mathieu et al. 2011 (IEEE Transactions on Smart Grid 2(3)); CalTRACK 2.0, methods 3.9: busy
are times of the week in which more than 65 % of the residuals of y ~ 1 + (50 F - T)+ + (T - 65 F)+
are positive.
"""

from __future__ import annotations

import numpy as np

from joulemark_agent.kernels.jit import compiled
from joulemark_gateway.measure.data import Flags
from joulemark_gateway.measure.linear import Positions
from joulemark_gateway.measure.models.partial import intercepts, partial_fit, predicted
from joulemark_gateway.measure.qr import Array

_HEATING_C = (50 - 32) / 1.8
_COOLING_C = (65 - 32) / 1.8
_MOSTLY = 0.65


@compiled
def occupied_cells(
    energy_wh: Array, temperature_c: Array, cell: Positions, cells: int, weight: Array
) -> Flags:
    """Whether each cell is busy; a unit of weight 0 is not there, shape (cells,)."""
    n = energy_wh.size
    block = np.empty((3, n))
    for i in range(n):
        block[0, i] = max(_HEATING_C - temperature_c[i], 0.0)
        block[1, i] = max(temperature_c[i] - _COOLING_C, 0.0)
        block[2, i] = energy_wh[i]
    one = np.zeros(n, np.int64)
    beta, _, means, _ = partial_fit(block, one, 1, weight)
    expected = predicted(block, one, intercepts(beta, means), beta)
    above = np.zeros(cells)
    count = np.zeros(cells)
    for i in range(n):
        if weight[i] > 0.0:
            count[cell[i]] += 1.0
            if energy_wh[i] > expected[i]:
                above[cell[i]] += 1.0
    return above > _MOSTLY * count
