"""Available heat of a fuel by its composition, as PHAST has it.

PHAST's own table of gases differs a little from ISO 6976, and its oxygen share is one of mass, wet.
Shares of heat are of the gross calorific value.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from joulemark_agent.physics.combustion import AIR_OXYGEN, stoichiometry
from joulemark_agent.physics.domain import OutOfDomain, inside, within
from joulemark_agent.physics.fuel_gas import Composition, molar_calorific_value
from joulemark_agent.physics.us_units import (
    F_AT_0_K,
    F_PER_K,
    J_KG_K_PER_BTU_LB_F,
    J_KG_PER_BTU_LB,
    J_M3_PER_BTU_FT3,
    KG_PER_LB,
    M3_PER_FT3,
)

_KG_M3 = KG_PER_LB / M3_PER_FT3
_AIR_OXYGEN_PHAST, _AIR_OXYGEN_MASS = 0.209, 0.231
_FUEL_OXYGEN_MASS = 0.2315  # of air in the table of solid fuels
_STANDARD_K = (60 - F_AT_0_K) / F_PER_K


class _Gas(NamedTuple):
    """A gas of the table; what burning a mole takes and leaves in grams."""

    molar_heat: Callable[[Any], Any]  # of degrees Fahrenheit + 460, also an array [Btu/(lbmol F)]
    molar_mass_g: float
    lb_ft3: float
    oxygen_g: int
    btu_lb: int
    btu_ft3: int
    water_g: float
    co2_g: float


_GASES = {
    "CH4": _Gas(lambda t: 4.23 + 0.01177 * t, 16.042, 0.042417, 64, 23875, 1012, 36.032, 44.01),
    "C2H6": _Gas(lambda t: 4.04 + 0.01636 * t, 30.068, 0.079503, 112, 22323, 1773, 54.048, 88.02),
    "N2": _Gas(lambda t: 9.47 - 3470 / t + 1.07e6 / t**2, 28.016, 0.074077, 0, 0, 0, 0, 0),
    "H2": _Gas(
        lambda t: 5.76 + 0.578 * t / 1000 + 20 / t**0.5, 2.016, 0.005331, 16, 61095, 325, 18.016, 0
    ),
    "C3H8": _Gas(lambda _: 17.108, 44.094, 0.116589, 160, 21669, 2523, 72.064, 132.03),
    "nC4H10": _Gas(lambda _: 22.202, 58.12, 0.153675, 208, 21321, 3270, 90.08, 176.04),
    "H2O": _Gas(lambda t: 19.86 - 597 / t**0.5 + 7500 / t, 18.016, 0.047636, 0, 0, 0, 18.016, 0),
    "CO": _Gas(lambda t: 9.46 - 3290 / t + 1.07e6 / t**2, 28.01, 0.074061, 16, 4347, 321, 0, 44.01),
    "CO2": _Gas(lambda t: 16.2 - 6530 / t + 1.41e6 / t**2, 44.01, 0.116367, 0, 0, 0, 0, 44.01),
    "SO2": _Gas(lambda _: 17.472, 64.06, 0.169381, 0, 0, 0, 0, 0),
    "O2": _Gas(lambda t: 11.515 - 172 / t**0.5 + 1530 / t, 32.0, 0.084611, -32, 0, 0, 0, 0),
}


class FuelValue(NamedTuple):
    """Gross calorific values and specific gravity of a gas."""

    mass_j_kg: float
    volume_j_m3: float  # at 60 degrees Fahrenheit and one atmosphere
    specific_gravity: float


class SolidFuel(NamedTuple):
    """Shares of a solid or liquid fuel by mass, as analysed; they are scaled to a sum of one."""

    carbon: float
    hydrogen: float
    sulphur: float
    ash: float
    oxygen: float
    moisture: float
    nitrogen: float


def fuel_value(gas: Composition) -> FuelValue:
    """The gross calorific values of a gas by the table of PHAST.

    Args:
        gas: from `fuel_gas.composition`; of the gases of PHAST's table.

    Formula: F9, by the table of PHAST.
    Source: ORNL-AMO/AMO-Tools-Suite @15208321, include/calculator/losses/GasFlueGasMaterial.h.
    Error: whole Btu per gas, so a few tenths of a per cent from ISO 6976.
    """
    shares, masses = _shares(gas), _mass_shares(gas)
    mass = sum(share * _GASES[name].btu_lb for name, share in masses.items())
    volume = sum(share * _GASES[name].btu_ft3 for name, share in shares.items())
    moles = sum(share * _GASES[name].molar_mass_g for name, share in shares.items())
    gravity = moles / (22.4 * 1.205)
    return FuelValue(mass * J_KG_PER_BTU_LB, volume * J_M3_PER_BTU_FT3, gravity)


def flue_oxygen_by_mass(gas: Composition, excess_air_ratio: float) -> float:
    """The oxygen in the moist flue gas as PHAST counts it, by mass. [1]

    Args:
        gas: as in `fuel_value`.
        excess_air_ratio: 0.1 for 10 %. [0 to 100]

    Formula: F8, by mass.
    Source: ORNL-AMO/AMO-Tools-Suite @15208321, src/calculator/losses/GasFlueGasMaterial.cpp.
    """
    within("excess_air_ratio", excess_air_ratio, 0, 100, "1")
    masses = _mass_shares(gas)
    per_kg = {name: share / _GASES[name].molar_mass_g for name, share in masses.items()}
    needed = sum(moles * _GASES[name].oxygen_g for name, moles in per_kg.items())
    burned = sum(moles * (_GASES[n].water_g + _GASES[n].co2_g) for n, moles in per_kg.items())
    nitrogen = needed * (1 + excess_air_ratio) * (1 / _AIR_OXYGEN_MASS - 1) + masses.get("N2", 0.0)
    left = needed * excess_air_ratio
    return left / (burned + nitrogen + left)


def gas_available_heat(
    gas: Composition,
    excess_air_ratio: float,
    flue_k: float,
    air_k: float,
    *,
    fuel_k: float = _STANDARD_K,
    ambient_k: float = _STANDARD_K,
    fuel_kg_m3: float | None = None,
) -> float:
    """The share of a gas's heat that does not leave with the flue gas. [1]

    Args:
        gas: as in `fuel_value`; it must burn.
        excess_air_ratio: 0.1 for 10 %. [0 to 10]
        flue_k: temperature of the flue gas as it leaves the furnace. [K, 300 to 2500]
        air_k: of the combustion air at the burner. [K, 200 to 1500]
        fuel_k: of the fuel at the burner. [K, 200 to 1500]
        ambient_k: from which heat is counted. [K, 200 to 330]
        fuel_kg_m3: density of the fuel, for its own heat; None: by its table. The source takes one
            pound per cubic foot, which counts a warm fuel twenty times.

    Formula: F6, by composition.
    Source: ORNL-AMO/AMO-Tools-Suite @15208321, src/calculator/losses/GasFlueGasMaterial.cpp.
    Error: the fuel's heat is taken at the heat capacity of the flue gas, as there.
    """
    within("excess_air_ratio", excess_air_ratio, 0, 10, "1")
    flue_f = within("flue_k", flue_k, 300, 2500, "K") * F_PER_K + F_AT_0_K
    air_f = within("air_k", air_k, 200, 1500, "K") * F_PER_K + F_AT_0_K
    ambient_f = within("ambient_k", ambient_k, 200, 330, "K") * F_PER_K + F_AT_0_K
    within("fuel_k", fuel_k, 200, 1500, "K")
    shares = _shares(gas)
    heat_j_m3 = fuel_value(gas).volume_j_m3
    within("the calorific value", heat_j_m3, 1.0, 1e9, "J/m3")

    def mean_heat(name: str, molar_mass_g: float) -> float:
        """Mean heat capacity from the air to the flue gas. [J/(kg K)]"""
        molar_heat = _GASES[name].molar_heat
        both = molar_heat(460 + air_f) + molar_heat(460 + flue_f)
        return float(both) / 2 / molar_mass_g * J_KG_K_PER_BTU_LB_F

    oxygen = sum(share * _GASES[name].oxygen_g for name, share in shares.items()) / 32
    water_g = sum(share * _GASES[name].water_g for name, share in shares.items())
    co2_g = sum(share * _GASES[name].co2_g for name, share in shares.items())
    oxygen_left = excess_air_ratio * oxygen
    nitrogen = (1 + excess_air_ratio) * oxygen * (1 / _AIR_OXYGEN_PHAST - 1)
    volumes = {"CO2": co2_g * 0.022722, "H2O": water_g * 0.055506}
    pressure = volumes["H2O"] / (sum(volumes.values()) + oxygen_left + nitrogen)
    masses = {
        "CO2": (co2_g * 0.0026365 * _KG_M3, mean_heat("CO2", 44)),
        "H2O": (water_g * 0.0026365 * _KG_M3, mean_heat("H2O", 18)),
        "O2": (oxygen_left * 0.0846 * _KG_M3, mean_heat("O2", 32)),
        "N2": (nitrogen * 0.0744 * _KG_M3, mean_heat("N2", 28)),
    }
    steam_kg, steam_j_kg_k = masses["H2O"]
    above_dew_k = (flue_f - _dew_f(pressure)) / F_PER_K
    leaves = steam_kg * (_steam_j_kg(pressure) + steam_j_kg_k * above_dew_k)
    leaves += sum(
        kg * heat * (flue_k - ambient_k) for n, (kg, heat) in masses.items() if n != "H2O"
    )
    flue_j_kg_k = sum(kg * heat for kg, heat in masses.values()) / sum(
        k for k, _ in masses.values()
    )
    if fuel_kg_m3 is None:
        fuel_kg_m3 = sum(share * _GASES[name].lb_ft3 for name, share in shares.items()) * _KG_M3
    brings = fuel_kg_m3 * flue_j_kg_k * (fuel_k - ambient_k)
    brings += (
        oxygen / _AIR_OXYGEN_PHAST * (1 + excess_air_ratio) * _air_heat(air_f, flue_f, ambient_f)
    )
    return (heat_j_m3 + brings - leaves) / heat_j_m3


def solid_available_heat(
    fuel: SolidFuel,
    excess_air_ratio: float,
    flue_k: float,
    air_k: float,
    *,
    fuel_k: float = _STANDARD_K,
    ash_k: float = 373.15,
    air_moisture_ratio: float = 0.0,
    unburned_carbon_ratio: float = 0.0,
) -> float:
    """The share of a solid or liquid fuel's heat that does not leave with flue gas and ash. [1]

    Args:
        fuel: its analysis by mass.
        excess_air_ratio: 0.1 for 10 %. [0 to 10]
        flue_k: temperature of the flue gas as it leaves the furnace. [K, 300 to 2500]
        air_k: of the combustion air at the burner. [K, 200 to 1500]
        fuel_k: of the fuel at the burner. [K, 200 to 1500]
        ash_k: of the ash as it is discharged. [K, 200 to 2500]
        air_moisture_ratio: water in the combustion air, by mass of air. [0 to 0.2]
        unburned_carbon_ratio: carbon in the ash. [0 to 1]

    Formula: F6, solid fuel.
    Source: ORNL-AMO/AMO-Tools-Suite @15208321, SolidLiquidFlueGasMaterial.cpp in
        src/calculator/losses; heat is counted from 60 degrees Fahrenheit.
    """
    within("excess_air_ratio", excess_air_ratio, 0, 10, "1")
    flue_f = within("flue_k", flue_k, 300, 2500, "K") * F_PER_K + F_AT_0_K
    air_f = within("air_k", air_k, 200, 1500, "K") * F_PER_K + F_AT_0_K
    within("air_moisture_ratio", air_moisture_ratio, 0, 0.2, "1")
    within("unburned_carbon_ratio", unburned_carbon_ratio, 0, 1, "1")
    fuel_f = within("fuel_k", fuel_k, 200, 1500, "K") * F_PER_K + F_AT_0_K
    ash_f = within("ash_k", ash_k, 200, 2500, "K") * F_PER_K + F_AT_0_K
    total = within("the sum of the analysis", sum(fuel), 0.9, 1.1, "1")
    of = SolidFuel(*(share / total for share in fuel))
    heat = of.carbon * 14100 + of.hydrogen * 61100 + of.sulphur * 3980  # [Btu/lb] from here on
    within("the calorific value", heat, 1.0, 1e5, "Btu/lb")
    oxygen = of.carbon * 32 / 12 + of.hydrogen * 8 + of.sulphur - of.oxygen
    air = oxygen * (1 / _FUEL_OXYGEN_MASS) * (1 + excess_air_ratio)
    water, damp = of.hydrogen * 9 + of.moisture, air_moisture_ratio * air
    masses = {
        "CO2": of.carbon * 44 / 12,
        "H2O": water + damp,
        "SO2": of.sulphur * 2,
        "O2": oxygen * excess_air_ratio,
        "N2": air * (1 - _FUEL_OXYGEN_MASS),
    }
    volumes = {name: mass / _GASES[name].lb_ft3 for name, mass in masses.items()}
    pressure = volumes["H2O"] / sum(volumes.values())
    leaves = water * _steam_j_kg(pressure) / J_KG_PER_BTU_LB
    for name, mass in masses.items():
        capacity = _GASES[name].molar_heat(flue_f + 460) / _GASES[name].molar_mass_g
        leaves += mass * capacity * (flue_f - 60)
    leaves += of.ash * (14093 * unburned_carbon_ratio + 0.25 * (ash_f - 60))
    brings = 0.24 * (1 - of.moisture) * (fuel_f - 60)
    brings += air * (0.01788166862315 + 0.0000016704748 * air_f) * (air_f - 60) / 0.075
    brings += fuel.moisture * (flue_f - 60)
    return (heat + brings - leaves) / heat


def flue_heat_ratio(
    gas: Composition,
    excess_air_ratio: ArrayLike,
    flue_k: ArrayLike,
    air_k: ArrayLike,
    reference_k: float = _STANDARD_K,
) -> NDArray[np.float64]:
    """The heat of the flue gas less that of the air, per net heat of the gas; NaN out of range. [1]

    Args:
        gas: from `fuel_gas.composition`; any gas that burns.
        excess_air_ratio: 0.1 for 10 %, 0 to 100, shape (n,). [1]
        flue_k: temperature of the flue gas as it leaves the furnace, 280 to 2500, shape (n,). [K]
        air_k: of the combustion air at the burner, 200 to 1500, shape (n,). [K]
        reference_k: from which heat is counted, 200 to 330. [K]

    Formula: F12, its flue.
    Source: moles of complete combustion (F8); heat capacities of ORNL-AMO/AMO-Tools-Suite
        @15208321, include/calculator/losses/GasFlueGasMaterial.h; net heat of F9.
    Error: heat capacities by Simpson's rule, 0.1 %; no dissociation, so 1 % low from 2000 K on.
    """
    within("reference_k", reference_k, 200, 330, "K")
    excess = inside(excess_air_ratio, 0, 100)
    hot, air = inside(flue_k, 280, 2500), inside(air_k, 200, 1500)
    burned = stoichiometry(gas)
    given = burned.air * (1 + excess)
    moles: dict[str, NDArray[np.float64] | float] = {
        "CO2": burned.carbon_dioxide,
        "H2O": burned.wet_flue - burned.dry_flue,
        "N2": burned.dry_flue - burned.carbon_dioxide + burned.air * excess * (1 - AIR_OXYGEN),
        "O2": burned.oxygen * excess,
    }
    leaves = sum(part * _molar_heat(name, reference_k, hot) for name, part in moles.items())
    brings = given * AIR_OXYGEN * _molar_heat("O2", reference_k, air)
    brings += given * (1 - AIR_OXYGEN) * _molar_heat("N2", reference_k, air)
    ratio: NDArray[np.float64] = (leaves - brings) / molar_calorific_value(gas, "net")
    return ratio


def _molar_heat(name: str, from_k: float, to_k: NDArray[np.float64]) -> NDArray[np.float64]:
    """The heat of a mole between two temperatures. [J/mol]"""
    molar_heat = _GASES[name].molar_heat
    low, high = (460 + at * F_PER_K + F_AT_0_K for at in (from_k, to_k))
    mean = (molar_heat(low) + 4 * molar_heat((low + high) / 2) + molar_heat(high)) / 6
    heat: NDArray[np.float64] = mean * J_KG_K_PER_BTU_LB_F / 1000 * (to_k - from_k)
    return heat


def _shares(gas: Composition) -> dict[str, float]:
    """The shares by volume, of the gases of this table."""
    if unknown := [name for name in gas.shares if name not in _GASES]:
        raise OutOfDomain(f"The table of PHAST holds no {', '.join(unknown)}.")
    return dict(gas.shares)


def _mass_shares(gas: Composition) -> dict[str, float]:
    weights = {name: share * _GASES[name].lb_ft3 for name, share in _shares(gas).items()}
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def _steam_j_kg(pressure_ratio: float) -> float:
    """The heat of steam at its dew point, at that share of one atmosphere. [J/kg]"""
    return 1096.7 * float((pressure_ratio * 29.926) ** 0.013) * J_KG_PER_BTU_LB


def _dew_f(pressure_ratio: float) -> float:
    """The dew point at that share of one atmosphere. [degrees Fahrenheit]"""
    return 36.009 * log(pressure_ratio * 29.926) + 81.054


def _air_heat(air_f: float, flue_f: float, ambient_f: float) -> float:
    """What a cubic metre of combustion air brings above the hall. [J/m3]"""

    def capacity(at_f: float) -> float:
        parts = {"O2": 20.7, "N2": 78.3, "H2O": 1.0}
        heat = sum(p * float(_GASES[n].molar_heat(460 + at_f)) for n, p in parts.items())
        return heat / 378.2 / 100

    slope = (capacity(flue_f) - capacity(air_f)) / (flue_f - ambient_f)
    level = capacity(flue_f) - slope / flue_f
    mean = (air_f + ambient_f) / 2 * slope + level
    return mean * (air_f - ambient_f) * J_M3_PER_BTU_FT3
