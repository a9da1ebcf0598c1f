"""Heat that a charge takes up: solid with its moisture, liquid, gas.

What an exothermic reaction gives is energy that comes in and is counted there; only an endothermic
one is heat to the charge.
"""

from __future__ import annotations

from joulemark_agent.physics.domain import within
from joulemark_agent.physics.us_units import J_KG_K_PER_BTU_LB_F, J_KG_PER_BTU_LB

BOILING_K = 373.15
_WATER_J_KG_K = J_KG_K_PER_BTU_LB_F
_EVAPORATION_J_KG = 970 * J_KG_PER_BTU_LB
_STEAM_J_KG_K = 0.481 * J_KG_K_PER_BTU_LB_F
_LARGEST = 1e12


def solid_charge_heat(
    mass_kg: float,
    in_k: float,
    out_k: float,
    *,
    solid_j_kg_k: float,
    melting_k: float = 5000.0,
    liquid_j_kg_k: float = 0.0,
    fusion_j_kg: float = 0.0,
    melted_ratio: float = 0.0,
    moisture_in_ratio: float = 0.0,
    moisture_out_ratio: float = 0.0,
    vapour_k: float = BOILING_K,
    reacted_ratio: float = 0.0,
    reaction_j_kg: float = 0.0,
    additional_j: float = 0.0,
) -> float:
    """The heat that a solid charge takes up. [J; of a flow in kg/s W]

    Args:
        mass_kg: as charged, moisture included. [kg, >= 0]
        in_k: temperature as charged. [K, 200 to 3000]
        out_k: as discharged. [K, 200 to 3000]
        solid_j_kg_k: mean heat capacity of the solid. [J/(kg K), >= 0]
        melting_k: melting point. [K]
        liquid_j_kg_k: heat capacity of what is molten. [J/(kg K), >= 0]
        fusion_j_kg: heat of fusion. [J/kg, >= 0]
        melted_ratio: share that is molten as it leaves. [0 to 1]
        moisture_in_ratio: water in the charge as charged. [0 to 1]
        moisture_out_ratio: still in it as discharged. [0 to `moisture_in_ratio`]
        vapour_k: temperature at which the vapour leaves. [K]
        reacted_ratio: share that reacts endothermically. [0 to 1]
        reaction_j_kg: heat of that reaction. [J/kg, >= 0]
        additional_j: other heat to the charge. [J]

    Formula: F5, solid.
    Source: ORNL-AMO/AMO-Tools-Suite @15208321, include/calculator/losses/SolidLoadChargeMaterial.h:
        moisture that stays is heated from 100 degrees Celsius on, as its code has it and not its
        comment.
    """
    _temperatures(mass_kg, in_k, out_k)
    within("vapour_k", vapour_k, 200, 3000, "K")
    within("moisture_in_ratio", moisture_in_ratio, 0, 1, "1")
    within("moisture_out_ratio", moisture_out_ratio, 0, moisture_in_ratio, "1")
    within("melted_ratio", melted_ratio, 0, 1, "1")
    within("reacted_ratio", reacted_ratio, 0, 1, "1")
    if vapour_k < BOILING_K:
        moisture = moisture_in_ratio * _WATER_J_KG_K * (vapour_k - in_k)
    else:
        steam = _EVAPORATION_J_KG + _STEAM_J_KG_K * (vapour_k - BOILING_K)
        moisture = moisture_in_ratio * _WATER_J_KG_K * (BOILING_K - in_k)
        moisture += (moisture_in_ratio - moisture_out_ratio) * steam
    moisture += moisture_out_ratio * _WATER_J_KG_K * (vapour_k - BOILING_K)
    dry = solid_j_kg_k * (min(out_k, melting_k) - in_k)
    if out_k >= melting_k:
        above_k = out_k - melting_k
        dry += melted_ratio * (fusion_j_kg + liquid_j_kg_k * above_k)
        dry += (1 - melted_ratio) * solid_j_kg_k * above_k
    dry += reacted_ratio * reaction_j_kg
    return mass_kg * (moisture + (1 - moisture_in_ratio) * dry) + additional_j


def liquid_charge_heat(
    mass_kg: float,
    in_k: float,
    out_k: float,
    *,
    liquid_j_kg_k: float,
    boiling_k: float = 5000.0,
    vapour_j_kg_k: float = 0.0,
    evaporation_j_kg: float = 0.0,
    vaporised_ratio: float = 0.0,
    reacted_ratio: float = 0.0,
    reaction_j_kg: float = 0.0,
    additional_j: float = 0.0,
) -> float:
    """The heat that a liquid charge takes up. [J; of a flow in kg/s W]

    Args:
        mass_kg: of the charge. [kg, >= 0]
        in_k: temperature as charged. [K, 200 to 3000]
        out_k: as discharged. [K, 200 to 3000]
        liquid_j_kg_k: heat capacity of the liquid. [J/(kg K), >= 0]
        boiling_k: temperature at which it evaporates. [K]
        vapour_j_kg_k: heat capacity of the vapour. [J/(kg K), >= 0]
        evaporation_j_kg: heat of evaporation. [J/kg, >= 0]
        vaporised_ratio: share that leaves as vapour. [0 to 1]
        reacted_ratio: share that reacts endothermically. [0 to 1]
        reaction_j_kg: heat of that reaction. [J/kg, >= 0]
        additional_j: other heat to the charge. [J]

    Formula: F5, liquid.
    Source: ORNL-AMO/AMO-Tools-Suite, src/calculator/losses/LiquidLoadChargeMaterial.cpp @15208321.
    """
    _temperatures(mass_kg, in_k, out_k)
    within("vaporised_ratio", vaporised_ratio, 0, 1, "1")
    within("reacted_ratio", reacted_ratio, 0, 1, "1")
    heat = liquid_j_kg_k * (min(out_k, boiling_k) - in_k)
    if out_k >= boiling_k:
        above_k = out_k - boiling_k
        heat += vaporised_ratio * (evaporation_j_kg + vapour_j_kg_k * above_k)
        heat += (1 - vaporised_ratio) * liquid_j_kg_k * above_k
    return mass_kg * (heat + reacted_ratio * reaction_j_kg) + additional_j


def gas_charge_heat(
    mass_kg: float,
    in_k: float,
    out_k: float,
    *,
    gas_j_kg_k: float,
    vapour_ratio: float = 0.0,
    vapour_j_kg_k: float = 0.0,
    reacted_ratio: float = 0.0,
    reaction_j_kg: float = 0.0,
    additional_j: float = 0.0,
) -> float:
    """The heat that a gaseous charge takes up. [J; of a flow in kg/s W]

    Args:
        mass_kg: of the charge. [kg, >= 0]
        in_k: temperature as charged. [K, 200 to 3000]
        out_k: as discharged. [K, 200 to 3000]
        gas_j_kg_k: heat capacity of the gas. [J/(kg K), >= 0]
        vapour_ratio: share that is vapour. [0 to 1]
        vapour_j_kg_k: heat capacity of the vapour. [J/(kg K), >= 0]
        reacted_ratio: share that reacts endothermically. [0 to 1]
        reaction_j_kg: heat of that reaction. [J/kg, >= 0]
        additional_j: other heat to the charge. [J]

    Formula: F5, gas.
    Source: ORNL-AMO/AMO-Tools-Suite, src/calculator/losses/GasLoadChargeMaterial.cpp @15208321.
    """
    _temperatures(mass_kg, in_k, out_k)
    within("vapour_ratio", vapour_ratio, 0, 1, "1")
    within("reacted_ratio", reacted_ratio, 0, 1, "1")
    mean_j_kg_k = (1 - vapour_ratio) * gas_j_kg_k + vapour_ratio * vapour_j_kg_k
    return mass_kg * (mean_j_kg_k * (out_k - in_k) + reacted_ratio * reaction_j_kg) + additional_j


def _temperatures(mass_kg: float, in_k: float, out_k: float) -> None:
    within("mass_kg", mass_kg, 0, _LARGEST, "kg")
    within("in_k", in_k, 200, 3000, "K")
    within("out_k", out_k, 200, 3000, "K")
