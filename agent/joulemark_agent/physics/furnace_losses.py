"""Heat that leaves a furnace without its charge: walls, leaks, cooling, atmosphere, trays.

The formulas are those of PHAST, the process-heating survey of the US Department of Energy. It adds
460 to degrees Fahrenheit where 459.67 makes them absolute, and has a Stefan-Boltzmann constant of
0.1713e-8 Btu/(h ft2 R4), 0.04 % above CODATA's: both are kept, so its numbers come out.
"""

from __future__ import annotations

from math import sqrt

from joulemark_agent.physics.domain import within
from joulemark_agent.physics.us_units import (
    F_AT_0_K,
    F_PER_K,
    J_KG_K_PER_BTU_LB_F,
    J_M3_PER_BTU_FT3,
    M2_PER_FT2,
    M2_PER_IN2,
    M3_PER_FT3,
    M_S_PER_MPH,
    PA_PER_INH2O,
    W_PER_BTU_H,
)

RADIATION_W_M2_K4 = 0.1713e-8 * W_PER_BTU_H / M2_PER_FT2 * F_PER_K**4
ABSOLUTE_OFFSET_K = (460 + F_AT_0_K) / F_PER_K  # what 460 instead of 459.67 adds
_COLDEST_K, _HOTTEST_K = (
    256.0,
    2500.0,
)  # the air of a wall formula in degrees Fahrenheit is positive
_LARGEST = 1e12


def radiation(emissivity: float, hot_k: float, cold_k: float) -> float:
    """The heat that a surface radiates to surroundings. [W/m2]

    Args:
        emissivity: of the surface. [0 to 1]
        hot_k: its temperature. [K, 200 to 3000]
        cold_k: of the surroundings. [K, 200 to 3000]

    Formula: F1, its radiating part.
    Source: ORNL-AMO/AMO-Tools-Suite @15208321, src/calculator/losses/WallLosses.cpp, 2024-10-11.
    """
    within("emissivity", emissivity, 0, 1, "1")
    hot = within("hot_k", hot_k, 200, 3000, "K") + ABSOLUTE_OFFSET_K
    cold = within("cold_k", cold_k, 200, 3000, "K") + ABSOLUTE_OFFSET_K
    return emissivity * RADIATION_W_M2_K4 * (hot**4 - cold**4)


def wall_loss(
    area_m2: float,
    surface_k: float,
    ambient_k: float,
    *,
    wind_m_s: float = 0.0,
    emissivity: float = 0.9,
    shape_factor: float = 1.394,
) -> float:
    """The heat that a wall loses to the hall, by convection and radiation. [W]

    Args:
        area_m2: outer surface of the wall. [m2, >= 0]
        surface_k: its temperature, at least that of the hall. [K, 256 to 2500]
        ambient_k: of the hall. [K, 256 to 2500]
        wind_m_s: air speed along the wall. [m/s, 0 to 50]
        emissivity: of the surface. [0 to 1]
        shape_factor: vertical plates 1.394, horizontal cylinders 1.016, long vertical cylinders
            1.235, horizontal plates facing up 1.79 and down 0.89. [0.1 to 5]

    Formula: F1.
    Source: ORNL-AMO/AMO-Tools-Suite @15208321, src/calculator/losses/WallLosses.cpp, 2024-10-11.
    Error: a fit in degrees Fahrenheit; its source states none.
    """
    within("area_m2", area_m2, 0, _LARGEST, "m2")
    within("ambient_k", ambient_k, _COLDEST_K, _HOTTEST_K, "K")
    within("surface_k", surface_k, ambient_k, _HOTTEST_K, "K")
    within("wind_m_s", wind_m_s, 0, 50, "m/s")
    within("shape_factor", shape_factor, 0.1, 5, "1")
    above_f = (surface_k - ambient_k) * F_PER_K
    mean_f = (surface_k + ambient_k) * F_PER_K / 2 + F_AT_0_K
    still = shape_factor * float((1 / 24) ** 0.2 * mean_f**-0.181 * above_f**1.266)
    moved = still * sqrt(1 + 1.277 * wind_m_s / M_S_PER_MPH)
    convection_w_m2 = moved * W_PER_BTU_H / M2_PER_FT2
    return area_m2 * (convection_w_m2 + radiation(emissivity, surface_k, ambient_k))


def leakage_loss(
    area_m2: float,
    draft_pa: float,
    gas_k: float,
    ambient_k: float,
    *,
    specific_gravity: float = 1.0,
    discharge: float = 0.8052,
) -> float:
    """The heat of furnace gas that leaks out through gaps. [W]

    Args:
        area_m2: of the gaps. [m2, >= 0]
        draft_pa: pressure inside above that of the hall, gauge. [Pa, 0 to 25,000]
        gas_k: temperature of the gas. [K, 256 to 2500]
        ambient_k: of the hall. [K, 256 to 2500]
        specific_gravity: of the gas against air. [0.05 to 5]
        discharge: coefficient of the gap, about 0.6 for a sharp edge. [0 to 1]

    Formula: F3.
    Source: ORNL-AMO/AMO-Tools-Suite, src/calculator/losses/LeakageLosses.cpp @3f50156c. Its authors
        note that their documentation's values are not reproduced; their code is followed.
    """
    within("area_m2", area_m2, 0, _LARGEST, "m2")
    within("draft_pa", draft_pa, 0, 25_000, "Pa")
    within("gas_k", gas_k, _COLDEST_K, _HOTTEST_K, "K")
    within("ambient_k", ambient_k, _COLDEST_K, _HOTTEST_K, "K")
    within("specific_gravity", specific_gravity, 0.05, 5, "1")
    within("discharge", discharge, 0, 1, "1")
    gas_f, ambient_f = gas_k * F_PER_K + F_AT_0_K, ambient_k * F_PER_K + F_AT_0_K
    head = sqrt(draft_pa / PA_PER_INH2O / specific_gravity) * sqrt(520 / (460 + gas_f))
    standard_m3_s = 1655 * discharge * area_m2 / M2_PER_IN2 * head * M3_PER_FT3 / 3600
    mean_f = (gas_f + ambient_f) / 2
    heat = 0.2371 - 9e-6 * mean_f + 7e-8 * mean_f**2 - 3e-11 * mean_f**3  # [Btu/(lb F)]
    capacity_j_m3_k = 0.0793 * heat * J_M3_PER_BTU_FT3 * F_PER_K
    return standard_m3_s * capacity_j_m3_k * (gas_k - ambient_k)


def carried_heat(flow_kg_s: float, heat_capacity_j_kg_k: float, in_k: float, out_k: float) -> float:
    """The heat that a stream takes along as it passes: atmosphere, tray, slag, cooling gas. [W]

    Args:
        flow_kg_s: of the stream. [kg/s, >= 0]
        heat_capacity_j_kg_k: mean of the two temperatures. [J/(kg K), >= 0]
        in_k: temperature at which it enters. [K, 200 to 3000]
        out_k: at which it leaves; below `in_k` it brings heat, and the result is negative.

    Formula: F4.
    Source: ORNL-AMO/AMO-Tools-Suite @15208321, src/calculator/losses/FixtureLosses.cpp,
        GasCoolingLosses.cpp, Atmosphere.cpp, SlagOtherMaterialLosses.cpp, 2024-10-11.
    """
    within("flow_kg_s", flow_kg_s, 0, _LARGEST, "kg/s")
    within("heat_capacity_j_kg_k", heat_capacity_j_kg_k, 0, 1e6, "J/(kg K)")
    within("in_k", in_k, 200, 3000, "K")
    within("out_k", out_k, 200, 3000, "K")
    return flow_kg_s * heat_capacity_j_kg_k * (out_k - in_k)


def water_density(temperature_k: float) -> float:
    """The density of water. [kg/m3]

    Args:
        temperature_k: of the water. [K, 273.15 to 373.15]

    Formula: F4, water.
    Source: ORNL-AMO/AMO-Tools-Suite @15208321, src/calculator/losses/WaterCoolingLosses.cpp;
        McCutcheon et al. in Maidment, Handbook of Hydrology (1993), p. 11.3.
    Error: 0.01 % to 40 degrees Celsius, 0.1 % to 100.
    """
    celsius = within("temperature_k", temperature_k, 273.15, 373.15, "K") - 273.15
    thinner = (celsius + 288.9414) / (508929.2 * (celsius + 68.12963)) * (celsius - 3.9863) ** 2
    return 1000 * (1 - thinner)


def water_cooling_loss(flow_m3_s: float, in_k: float, out_k: float) -> float:
    """The heat that cooling water takes away. [W]

    Args:
        flow_m3_s: of the water. [m3/s, >= 0]
        in_k: temperature at which it enters. [K, 273.15 to 373.15]
        out_k: at which it leaves. [K, 273.15 to 373.15]

    Formula: F4, water.
    Source: ORNL-AMO/AMO-Tools-Suite @15208321, src/calculator/losses/WaterCoolingLosses.cpp.
    Error: one heat capacity of 4186.8 J/(kg K), within 0.3 % from 5 to 80 degrees Celsius.
    """
    density_kg_m3 = water_density((in_k + out_k) / 2)
    within("in_k", in_k, 273.15, 373.15, "K")
    within("out_k", out_k, 273.15, 373.15, "K")
    return carried_heat(flow_m3_s * density_kg_m3, J_KG_K_PER_BTU_LB_F, in_k, out_k)


def auxiliary_power(
    phases: int, volts: float, amperes: float, power_factor: float, operating_ratio: float = 1.0
) -> float:
    """The electric power of fans, conveyors and drives. [W]

    Args:
        phases: 1 or 3.
        volts: between the lines. [V, >= 0]
        amperes: in a line. [A, >= 0]
        power_factor: [0 to 1]
        operating_ratio: share of the time in which they run. [0 to 1]

    Formula: F7.
    Source: ORNL-AMO/AMO-Tools-Suite @15208321, src/calculator/losses/AuxiliaryPower.cpp.
    """
    within("phases", phases, 1, 3, "")
    within("volts", volts, 0, _LARGEST, "V")
    within("amperes", amperes, 0, _LARGEST, "A")
    within("power_factor", power_factor, 0, 1, "1")
    within("operating_ratio", operating_ratio, 0, 1, "1")
    return sqrt(phases) * volts * amperes * power_factor * operating_ratio


def furnace_efficiency(useful_j: float, energy_j: float, *, other_j: float = 0.0) -> float:
    """The share of all energy that went into the charge. [1]

    Args:
        useful_j: enthalpy of the charge as it leaves less that as it enters. [J, >= 0]
        energy_j: fuel and electricity, auxiliaries included. [J, > 0]
        other_j: what atmosphere gas holds, and by-products that were used again count negative. [J]

    Formula: F16.
    Source: the useful-heat definition of ISO 13579-1 (not read in the standard; configuration).
    """
    within("useful_j", useful_j, 0, 1e30, "J")
    total_j = within("energy_j + other_j", energy_j + other_j, 1e-9, 1e30, "J")
    return useful_j / total_j
