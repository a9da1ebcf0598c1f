"""How much of a burner's heat stays in the furnace, and what air, preheating and oxygen change.

The fit is that of natural gas in PHAST; a fuel of any composition has `flue_gas.py`. Shares are of
the gross calorific value.
"""

from __future__ import annotations

from joulemark_agent.physics.domain import within
from joulemark_agent.physics.us_units import F_AT_0_K, F_PER_K

_AIR_TERM = -1.078913827  # written -1.07891327 in one place of the source: 1e-8 of the result
_AIR_OXYGEN = 0.21


def available_heat(excess_air_ratio: float, flue_k: float, air_k: float) -> float:
    """The share of natural gas's heat that does not leave with the flue gas. [1]

    Args:
        excess_air_ratio: air above what burning needs, 0.1 for 10 %. [0 to 10]
        flue_k: temperature of the flue gas as it leaves the furnace. [K, 273.15 to 2000]
        air_k: of the combustion air at the burner. [K, 233.15 to 1500]

    Formula: F6.
    Source: ORNL-AMO/AMO-Tools-Suite @15208321, 2024-10-11, EnergyInputExhaustGasLosses.cpp in
        src/calculator/losses and EfficiencyImprovement.cpp in src/calculator/furnace.
    Error: negative where the air carries away more than the burner gives.
    """
    within("excess_air_ratio", excess_air_ratio, 0, 10, "1")
    flue_f = within("flue_k", flue_k, 273.15, 2000, "K") * F_PER_K + F_AT_0_K
    air_f = within("air_k", air_k, 233.15, 1500, "K") * F_PER_K + F_AT_0_K
    air_heat = 0.017828518 + 0.000002556 * air_f
    percent = 95 - 0.025 * flue_f
    percent -= (_AIR_TERM + air_heat * flue_f) * excess_air_ratio
    percent += (_AIR_TERM + air_heat * air_f) * (1 + excess_air_ratio)
    return percent / 100


def enriched_available_heat(
    excess_air_ratio: float, flue_k: float, air_k: float, air_oxygen_ratio: float
) -> float:
    """The share that stays where oxygen is added to the combustion air. [1]

    Args:
        excess_air_ratio: as in `available_heat`. [0 to 10]
        flue_k: as there. [K]
        air_k: as there. [K]
        air_oxygen_ratio: oxygen in the combustion air by volume, 0.21 for none added. [0.21 to 1]

    Formula: F18.
    Source: ORNL-AMO/AMO-Tools-Suite @15208321, src/calculator/furnace/O2Enrichment.cpp, 2024-10-11.
    """
    oxygen = within("air_oxygen_ratio", air_oxygen_ratio, _AIR_OXYGEN, 1, "1")
    flue_f = flue_k * F_PER_K + F_AT_0_K
    nitrogen_saved = 9.38 * (oxygen - _AIR_OXYGEN) / oxygen
    gained = nitrogen_saved * 0.02 * (flue_f - 60) / 980
    return available_heat(excess_air_ratio, flue_k, air_k) + gained


def improved_input(input_w: float, available_ratio: float, improved_ratio: float) -> float:
    """The burner input that gives the furnace the same heat after an improvement. [W]

    Args:
        input_w: before. [W, >= 0]
        available_ratio: share that stays before. [> 0, 1]
        improved_ratio: share that stays after. [> 0, 1]

    Formula: F6.
    Source: ORNL-AMO/AMO-Tools-Suite @15208321, src/calculator/furnace/EfficiencyImprovement.cpp.
    """
    within("input_w", input_w, 0, 1e15, "W")
    within("available_ratio", available_ratio, 1e-6, 2, "1")
    within("improved_ratio", improved_ratio, 1e-6, 2, "1")
    return input_w * available_ratio / improved_ratio


def electric_equivalent(
    fuel_w: float, fuel_efficiency_ratio: float, electric_efficiency_ratio: float
) -> float:
    """The electric power that heats as a fuel-fired furnace does. [W]

    Args:
        fuel_w: input of the fuel-fired furnace. [W, >= 0]
        fuel_efficiency_ratio: its efficiency. [0 to 1]
        electric_efficiency_ratio: of the electric one. [> 0 to 1]

    Formula: F16, between two furnaces.
    Source: ORNL-AMO/AMO-Tools-Suite @15208321, src/calculator/furnace/EnergyEquivalency.cpp.
    """
    within("fuel_w", fuel_w, 0, 1e15, "W")
    within("fuel_efficiency_ratio", fuel_efficiency_ratio, 0, 1, "1")
    within("electric_efficiency_ratio", electric_efficiency_ratio, 1e-6, 1, "1")
    return fuel_w * fuel_efficiency_ratio / electric_efficiency_ratio
