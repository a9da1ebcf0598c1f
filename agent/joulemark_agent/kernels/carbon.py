"""Energy times an emission factor. Sum first, round last: here nothing is rounded."""

from __future__ import annotations

from math import fsum, sqrt

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


def co2e_of_windows(  # noqa: PLR0917 -- two series, each with its times
    start_us: NDArray[np.int64],
    end_us: NDArray[np.int64],
    energy_wh: NDArray[np.float64],
    factor_edges_us: NDArray[np.int64],
    factor_kg_per_kwh: NDArray[np.float64],
    standard_uncertainty_ratio: NDArray[np.float64],
    energy_u_wh: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The CO2e of each window under a factor that changes with time, and its uncertainty. [kg]

    Args:
        start_us: of each window, shape (w,). [us]
        end_us: its end, shape (w,). [us]
        energy_wh: what it took, shape (w,). [Wh]
        factor_edges_us: between which instants each factor holds, increasing, shape (f + 1,). [us]
        factor_kg_per_kwh: NaN where there is none, shape (f,). [kg CO2e / kWh]
        standard_uncertainty_ratio: standard uncertainty of each factor over it, shape (f,).
        energy_u_wh: standard uncertainty of the energy, shape (w,); None: 0. [Wh]

    Returns:
        CO2e and standard uncertainty of each window, shape (w,). NaN where no factor holds for the
        whole of it: energy is never shared out over factors by guess.
    """
    last = factor_kg_per_kwh.size - 1
    k = np.searchsorted(factor_edges_us, start_us, side="right") - 1
    held = np.clip(k, 0, max(last, 0))
    factor = np.full(start_us.size, np.nan)
    ratio = np.full(start_us.size, np.nan)
    if last >= 0:
        is_held = (k >= 0) & (k <= last) & (end_us <= factor_edges_us[held + 1])
        factor = np.where(is_held, factor_kg_per_kwh[held], np.nan)
        ratio = standard_uncertainty_ratio[held]
    kg = energy_wh / WH_PER_KWH * factor
    own_kg = 0.0 if energy_u_wh is None else energy_u_wh / WH_PER_KWH * factor
    return kg, np.hypot(kg * ratio, own_kg)


def co2e_in_total(
    kg: NDArray[np.float64], factor_u_kg: NDArray[np.float64], correlation: float
) -> tuple[float, float]:
    """The CO2e of windows together, and what the errors of their factors are worth. [kg]

    Args:
        kg: of each window, shape (w,). [kg]
        factor_u_kg: its standard uncertainty from the factor, shape (w,). [kg]
        correlation: between the factors of two windows, from 0 to 1: 1 where all come from one
            source, whose error is the same in each. It then adds linearly and cancels between
            energy of both signs.

    Source: JCGM 100:2008, 5.2.2, equation 13, for one common coefficient.
    """
    signed = np.copysign(factor_u_kg, kg)
    alone, together = fsum((signed * signed).tolist()), fsum(signed.tolist()) ** 2
    return fsum(kg.tolist()), sqrt((1.0 - correlation) * alone + correlation * together)
