"""Volumes of gas at declared pressures and temperatures, and the energy of fuel gas.

A cubic metre says how much gas it is only with its reference: between 0 and 15 degrees Celsius lie
5.5 %. Ideal gas throughout; at the pressures of burners and of a compressor's inlet the
compressibility is within 0.3 % of 1.
"""

from __future__ import annotations

from dataclasses import dataclass

MJ_PER_KWH = 3.6
WH_PER_MJ = 1000.0 / MJ_PER_KWH
MJ_PER_TJ = 1_000_000.0


@dataclass(frozen=True)
class State:
    """The pressure and temperature at which a volume is counted."""

    pressure_pa: float  # absolute; of the dry gas where it is moist
    temperature_k: float


NORMAL_0C = State(101_325.0, 273.15)
STANDARD_15C = State(101_325.0, 288.15)
STANDARD_20C = State(101_325.0, 293.15)
COMPRESSOR_INLET = State(100_000.0, 293.15)  # 1 bar, 20 degrees Celsius, dry


def volume_at(volume_m3: float, counted: State, wanted: State) -> float:
    """The volume the same amount of dry gas takes in another state. [m3]

    Args:
        volume_m3: as counted. [m3]
        counted: its pressure and temperature.
        wanted: those of the result.

    Source: ideal gas law; for a meter as in EN 12405-1 with a compressibility ratio of 1.
    """
    pressure_ratio = counted.pressure_pa / wanted.pressure_pa
    return volume_m3 * pressure_ratio * (wanted.temperature_k / counted.temperature_k)


def combustion_energy(volume_m3: float, ncv_mj_per_m3: float) -> float:
    """The net energy of fuel gas. [Wh]

    Args:
        volume_m3: at the reference of the calorific value. [m3]
        ncv_mj_per_m3: net calorific value. [MJ/m3]
    """
    return volume_m3 * ncv_mj_per_m3 * WH_PER_MJ


def combustion_co2e(volume_m3: float, ncv_mj_per_m3: float, co2_kg_per_tj: float) -> float:
    """What burning fuel gas emits. [kg]

    Args:
        volume_m3: at the reference of the calorific value. [m3]
        ncv_mj_per_m3: net calorific value; factors per terajoule count net ones. [MJ/m3]
        co2_kg_per_tj: emission factor. [kg/TJ]
    """
    return volume_m3 * ncv_mj_per_m3 / MJ_PER_TJ * co2_kg_per_tj
