"""Energy times an emission factor. Sum first, round last: here nothing is rounded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.kernels.jit import compiled

WH_PER_KWH = 1000.0


@compiled
def co2e(
    energy_wh: NDArray[np.int64] | NDArray[np.float64],
    factor_kg_per_kwh: float,
    standard_uncertainty_ratio: float,
) -> tuple[float, float]:
    """The CO2e of energy under one factor, and what the factor's error is worth.

    The windows are added before they are multiplied. The factor's error is the same in every
    window, so it adds linearly and not in quadrature; energy of both signs cancels in it too.

    Args:
        energy_wh: energy of each window, shape (w,). [Wh]
        factor_kg_per_kwh: emission factor. [kg CO2e / kWh]
        standard_uncertainty_ratio: standard uncertainty of the factor over the factor.

    Returns:
        CO2e [kg] and its standard uncertainty from the factor alone [kg].

    Error: exact to the last bits while the sum stays below 2^53 Wh.
    Source: GHG Protocol scope 2, location-based: sum of import times factor.
    """
    total_wh = 0.0
    for k in range(energy_wh.size):
        total_wh += energy_wh[k]
    co2e_kg = total_wh / WH_PER_KWH * factor_kg_per_kwh
    return float(co2e_kg), float(abs(co2e_kg) * standard_uncertainty_ratio)
