"""What a chiller cools and what it takes for it: cooling power, COP, power per ton, part load.

Published curves of capacity and power stand in `chiller_curve.py`.
"""

from __future__ import annotations

import math

import numpy as np

from joulemark_agent.physics.domain import OutOfDomain, within
from joulemark_agent.physics.furnace_losses import water_density
from joulemark_agent.physics.us_units import W_PER_BTU_H

LEAST_DIFFERENCE_K = 1.0  # between return and supply: below it two sensors say nothing
W_PER_TON = 12_000 * W_PER_BTU_H  # of refrigeration: 3516.85 W
W_PER_KW = 1000.0

_MOST_W = 1e9
_FREEZING_K, _BOILING_K = 273.15, 373.15
_WATER_AT_K = _FREEZING_K + np.arange(0.0, 101.0, 10.0)
_WATER_J_KG_K = np.array(
    [4217.6, 4192.1, 4181.8, 4178.4, 4178.5, 4180.6, 4184.3, 4189.5, 4196.3, 4205.0, 4215.9]
)


def water_heat_j_m3_k(temperature_k: float) -> float:
    """The heat that a cubic metre of water takes up per kelvin, its density times heat capacity.

    Args:
        temperature_k: of the water, 273.15 to 373.15. [K]

    Returns:
        about 4.19e6; water with glycol has several percent less. [J/(m3 K)]

    Formula: S4.
    Error: 0.1 % each of density and heat capacity (straight lines between the values).
    Source: heat capacity at 0.1 MPa every 10 degrees Celsius: CRC Handbook of Chemistry and
        Physics, Properties of water in the range 0-100 C; density as in `furnace_losses`.
    """
    density_kg_m3 = water_density(temperature_k)
    return density_kg_m3 * float(np.interp(temperature_k, _WATER_AT_K, _WATER_J_KG_K))


def cooling_power_w(
    flow_m3_s: float, supply_k: float, return_k: float, heat_j_m3_k: float
) -> float:
    """The heat that a chiller takes out of its circuit.

    Args:
        flow_m3_s: of the cooled liquid, 0 to 100. [m3/s]
        supply_k: as it leaves the chiller, 200 to 373.15. [K]
        return_k: as it comes back, at least 1 K above supply. [K]
        heat_j_m3_k: density times heat capacity of the liquid, 1e6 to 1e7; of water as in
            `water_heat_j_m3_k`. [J/(m3 K)]

    Returns:
        rho cp V dT. [W]

    Raises:
        OutOfDomain: the difference is below 1 K: it would be mostly the sensors' own error.

    Formula: S4.
    Error: that of the difference decides: `cooling_uncertainty_ratio`.
    Source: heat balance of the circuit.
    """
    within("flow_m3_s", flow_m3_s, 0.0, 100.0, "m3/s")
    within("supply_k", supply_k, 200.0, _BOILING_K, "K")
    within("heat_j_m3_k", heat_j_m3_k, 1e6, 1e7, "J/(m3 K)")
    difference_k = within("return_k", return_k, 200.0, _BOILING_K, "K") - supply_k
    within("return_k - supply_k", difference_k, LEAST_DIFFERENCE_K, 100.0, "K")
    return heat_j_m3_k * flow_m3_s * difference_k


def cooling_uncertainty_ratio(
    difference_k: float,
    difference_uncertainty_k: float,
    flow_uncertainty_ratio: float = 0.0,
    heat_uncertainty_ratio: float = 0.0,
) -> float:
    """The relative standard uncertainty of a cooling power.

    Args:
        difference_k: between return and supply, at least 1. [K]
        difference_uncertainty_k: standard, of that difference, 0 to 10: two sensors of 0.1 K that
            err independently make 0.14 K. [K]
        flow_uncertainty_ratio: standard, relative, 0 to 1. [1]
        heat_uncertainty_ratio: of density times heat capacity, 0 to 1. [1]

    Formula: S4.
    Error: of second order.
    Source: JCGM 100:2008 (GUM), 5.1.6.
    """
    within("difference_k", difference_k, LEAST_DIFFERENCE_K, 100.0, "K")
    within("difference_uncertainty_k", difference_uncertainty_k, 0.0, 10.0, "K")
    within("flow_uncertainty_ratio", flow_uncertainty_ratio, 0.0, 1.0, "1")
    within("heat_uncertainty_ratio", heat_uncertainty_ratio, 0.0, 1.0, "1")
    return math.hypot(
        difference_uncertainty_k / difference_k, flow_uncertainty_ratio, heat_uncertainty_ratio
    )


def coefficient_of_performance(cooling: float, electric: float) -> float:
    """Cooling over electricity (COP), of powers or of energies of the same time.

    Args:
        cooling: 0 or above. [W or Wh]
        electric: above 0. [the same]

    Returns:
        COP. [1]

    Formula: S4.
    Source: definition of the coefficient of performance.
    """
    within("cooling", cooling, 0.0, math.inf, "")
    if not 0.0 < electric < math.inf:
        raise OutOfDomain(f"electric is {electric:g}; a COP needs a power above 0.")
    return cooling / electric


def kw_per_ton(cop: float) -> float:
    """The electric power per ton of refrigeration, as it is told in the trade.

    Args:
        cop: coefficient of performance, 0.01 to 1,000. [1]

    Returns:
        3.517 over the COP. [kW/ton]

    Formula: S4.
    Source: a ton of refrigeration is 12,000 Btu/h: NIST Special Publication 811 (2008), B.8.
    """
    return W_PER_TON / W_PER_KW / within("cop", cop, 0.01, 1000.0, "1")


def part_load_ratio(cooling_w: float, rated_w: float) -> float:
    """How much of what it can cool a chiller cools.

    Args:
        cooling_w: 0 or above. [W]
        rated_w: rated or available capacity, 1 or above. [W]

    Returns:
        above 1 where it cools more than that. [1]

    Formula: S4.
    Source: definition of the part-load ratio.
    """
    within("cooling_w", cooling_w, 0.0, _MOST_W, "W")
    return cooling_w / within("rated_w", rated_w, 1.0, _MOST_W, "W")
