"""What goes into an electric arc furnace, and what its off-gas takes out."""

from __future__ import annotations

from joulemark_agent.physics.domain import within
from joulemark_agent.physics.us_units import (
    F_AT_0_K,
    F_PER_K,
    J_KG_K_PER_BTU_LB_F,
    J_M3_PER_BTU_FT3,
)

J_PER_WH = 3600.0
_CO_J_M3 = 321 * J_M3_PER_BTU_FT3
_H2_J_M3 = 325 * J_M3_PER_BTU_FT3
_OTHER_J_M3 = 1020 * J_M3_PER_BTU_FT3
_GAS_J_M3_K = 0.0225 * J_M3_PER_BTU_FT3 * F_PER_K
_DUST_J_KG_K = 0.25 * J_KG_K_PER_BTU_LB_F
_STANDARD_K = (60 - F_AT_0_K) / F_PER_K
_LARGEST = 1e18


def chemical_energy(
    gas_j: float,
    *,
    coal_kg: float,
    coal_j_kg: float,
    electrode_kg: float,
    electrode_j_kg: float,
    other_j: float = 0.0,
) -> float:
    """The energy of what burns in an arc furnace. [J]

    Args:
        gas_j: energy of the burners' gas. [J, >= 0]
        coal_kg: coal charged and injected. [kg, >= 0]
        coal_j_kg: its calorific value. [J/kg, >= 0]
        electrode_kg: electrode used up. [kg, >= 0]
        electrode_j_kg: its calorific value. [J/kg, >= 0]
        other_j: other chemical energy. [J, >= 0]

    Formula: F19.
    Source: ORNL-AMO/AMO-Tools-Suite @15208321, src/calculator/losses/EnergyInputEAF.cpp.
    """
    for name, value in (("gas_j", gas_j), ("other_j", other_j)):
        within(name, value, 0, _LARGEST, "J")
    for name, value in (("coal_kg", coal_kg), ("electrode_kg", electrode_kg)):
        within(name, value, 0, _LARGEST, "kg")
    for name, value in (("coal_j_kg", coal_j_kg), ("electrode_j_kg", electrode_j_kg)):
        within(name, value, 0, 1e9, "J/kg")
    return gas_j + coal_kg * coal_j_kg + electrode_kg * electrode_j_kg + other_j


def delivered_energy(chemical_j: float, electricity_wh: float) -> float:
    """All energy that goes into an arc furnace. [J]

    Args:
        chemical_j: from `chemical_energy`. [J, >= 0]
        electricity_wh: of the electrodes. [Wh, >= 0]

    Formula: F19.
    Source: ORNL-AMO/AMO-Tools-Suite @15208321, src/calculator/losses/EnergyInputEAF.cpp.
    """
    within("chemical_j", chemical_j, 0, _LARGEST, "J")
    return chemical_j + within("electricity_wh", electricity_wh, 0, _LARGEST, "Wh") * J_PER_WH


def off_gas_heat(
    flow_m3_s: float,
    gas_k: float,
    *,
    co_ratio: float,
    hydrogen_ratio: float,
    combustible_ratio: float,
    dust_kg_m3: float = 0.0,
) -> float:
    """The heat, sensible and still to burn, that leaves with the off-gas. [W]

    Args:
        flow_m3_s: as it flows, at `gas_k`. [m3/s, >= 0]
        gas_k: temperature of the off-gas. [K, 288.7 to 2500]
        co_ratio: carbon monoxide by volume. [0 to 1]
        hydrogen_ratio: hydrogen by volume. [0 to 1]
        combustible_ratio: other combustible gas, counted as methane. [0 to 1]
        dust_kg_m3: dust per volume of gas at 60 degrees Fahrenheit. [kg/m3, >= 0]

    Formula: F19.
    Source: ORNL-AMO/AMO-Tools-Suite @15208321, src/calculator/losses/ExhaustGasEAF.cpp, 2024-10-11.
    """
    within("flow_m3_s", flow_m3_s, 0, _LARGEST, "m3/s")
    within("gas_k", gas_k, _STANDARD_K, 2500, "K")
    for name, value in (
        ("co_ratio", co_ratio),
        ("hydrogen_ratio", hydrogen_ratio),
        ("combustible_ratio", combustible_ratio),
    ):
        within(name, value, 0, 1, "1")
    within("dust_kg_m3", dust_kg_m3, 0, 1e3, "kg/m3")
    chemical = co_ratio * _CO_J_M3 + hydrogen_ratio * _H2_J_M3 + combustible_ratio * _OTHER_J_M3
    sensible = (_GAS_J_M3_K + dust_kg_m3 * _DUST_J_KG_K) * (gas_k - _STANDARD_K)
    standard_m3_s = flow_m3_s * 520 / (460 + gas_k * F_PER_K + F_AT_0_K)
    return standard_m3_s * (chemical + sensible)
