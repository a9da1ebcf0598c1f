"""What a fuel gas is worth by its composition: calorific value, density, carbon dioxide.

A composition whose shares do not add up to one is scaled, and says so; one that is off by more than
two per cent is no analysis of a gas and is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Literal

from joulemark_agent.kernels.gas import NORMAL_0C, State, volume_at
from joulemark_agent.physics.domain import OutOfDomain, within
from joulemark_agent.physics.gas_components import COMPONENTS

Basis = Literal["net", "gross"]

GAS_J_MOL_K = 8.3144621  # of ISO 6976:2016
ATMOSPHERE_PA = 101_325.0
CO2_KG_MOL = 0.0440095
NORMALISED = "composition_normalised"

_TEMPERATURES_K = (273.15, 288.15, 293.15, 298.15)
_AIR_G_MOL = 28.96546
_AIR_COMPRESSION = (0.999419, 0.999595, 0.999645)
_MOLAR_M3 = 0.022414  # of an ideal gas at 0 degrees Celsius and one atmosphere
_SUM_EXACT, _SUM_OFF = 1e-9, 0.02
_J_PER_TJ = 1e12


@dataclass(frozen=True)
class Composition:
    """Shares of a gas by moles that add up to one, and what was done to make them do so."""

    shares: Mapping[str, float]
    flags: tuple[str, ...] = ()


def composition(shares: Mapping[str, float]) -> Composition:
    """A gas by its shares, scaled to a sum of one and flagged where that was needed.

    Args:
        shares: by moles, each a name of `gas_components.COMPONENTS`; they add up to 0.98 to 1.02.

    Formula: F9, normalised.
    Source: ISO 6976:2016 (not read in the standard): shares add up to one.
    """
    for name, share in shares.items():
        if name not in COMPONENTS:
            known = ", ".join(COMPONENTS)
            raise OutOfDomain(f"{name!r} is no gas that is known here; use one of {known}.")
        within(f"the share of {name}", share, 0, 1, "1")
    total = sum(shares.values())
    within("the sum of the shares", round(total, 12), 1 - _SUM_OFF, 1 + _SUM_OFF, "1")
    scaled = {name: share / total for name, share in shares.items()}
    return Composition(scaled, () if abs(total - 1) <= _SUM_EXACT else (NORMALISED,))


def molar_mass(gas: Composition) -> float:
    """The mass of a mole of the gas. [kg/mol]

    Args:
        gas: from `composition`.

    Formula: F9.
    Source: ISO 6976:2016, by equinor/neqsim @fc01e56e, Standard_ISO6976_2016.java.
    """
    return sum(share * COMPONENTS[name].molar_mass_g for name, share in gas.shares.items()) / 1000


def compression_factor(gas: Composition, metering_k: float) -> float:
    """How much less room a real gas takes than an ideal one, at one atmosphere. [1]

    Args:
        gas: from `composition`.
        metering_k: 273.15, 288.15 or 293.15. [K]

    Formula: F9.
    Source: ISO 6976:2016, by equinor/neqsim @fc01e56e, Standard_ISO6976_2016.java.
    Error: 0.1 % for natural gas; more where much of it is near its dew point.
    """
    at = _index("metering_k", metering_k, _TEMPERATURES_K[:3])
    total = sum(share * COMPONENTS[name].summation[at] for name, share in gas.shares.items())
    return 1 - total**2


def molar_calorific_value(gas: Composition, basis: Basis, combustion_k: float = 288.15) -> float:
    """The heat of burning a mole of the gas. [J/mol]

    Args:
        gas: from `composition`.
        basis: `net`: the water stays vapour; `gross`: it condenses.
        combustion_k: 273.15, 288.15, 293.15 or 298.15. [K]

    Formula: F9.
    Source: ISO 6976:2016, by equinor/neqsim @fc01e56e, Standard_ISO6976_2016.java.
    """
    at = _index("combustion_k", combustion_k, _TEMPERATURES_K)
    total_kj = 0.0
    for name, share in gas.shares.items():
        of = COMPONENTS[name]
        total_kj += share * (of.net_kj_mol if basis == "net" else of.gross_kj_mol)[at]
    return total_kj * 1000


def moles_per_volume(gas: Composition, metering_k: float) -> float:
    """The moles of real gas in a cubic metre at one atmosphere. [mol/m3]

    Args:
        gas: from `composition`.
        metering_k: 273.15, 288.15 or 293.15. [K]

    Formula: F9.
    Source: ISO 6976:2016, by equinor/neqsim @fc01e56e, Standard_ISO6976_2016.java.
    """
    return ATMOSPHERE_PA / (GAS_J_MOL_K * metering_k * compression_factor(gas, metering_k))


def calorific_value(
    gas: Composition,
    basis: Basis,
    *,
    combustion_k: float = 288.15,
    metering_k: float = 288.15,
) -> float:
    """The heat of burning a cubic metre of the real gas. [J/m3]

    Args:
        gas: from `composition`.
        basis: `net` or `gross`.
        combustion_k: reference of the heat: 273.15, 288.15, 293.15 or 298.15. [K]
        metering_k: reference of the volume, at one atmosphere: 273.15, 288.15 or 293.15. [K]

    Formula: F9.
    Source: ISO 6976:2016, by equinor/neqsim @fc01e56e, Standard_ISO6976_2016.java.
    """
    moles = moles_per_volume(gas, metering_k)
    return molar_calorific_value(gas, basis, combustion_k) * moles


def relative_density(gas: Composition, metering_k: float = 288.15) -> float:
    """The density of the gas against that of dry air. [1]

    Args:
        gas: from `composition`.
        metering_k: 273.15, 288.15 or 293.15. [K]

    Formula: F9.
    Source: ISO 6976:2016, by equinor/neqsim @fc01e56e, Standard_ISO6976_2016.java.
    """
    at = _index("metering_k", metering_k, _TEMPERATURES_K[:3])
    ideal = molar_mass(gas) * 1000 / _AIR_G_MOL
    return ideal * _AIR_COMPRESSION[at] / compression_factor(gas, metering_k)


def wobbe_index(
    gas: Composition,
    basis: Basis,
    *,
    combustion_k: float = 288.15,
    metering_k: float = 288.15,
) -> float:
    """What a burner gives with the gas, whatever the gas is. [J/m3]

    Args:
        gas: from `composition`.
        basis: `net` or `gross`.
        combustion_k: as in `calorific_value`. [K]
        metering_k: as there. [K]

    Formula: F9.
    Source: ISO 6976:2016, by equinor/neqsim @fc01e56e, Standard_ISO6976_2016.java.
    """
    value = calorific_value(gas, basis, combustion_k=combustion_k, metering_k=metering_k)
    return value / sqrt(relative_density(gas, metering_k))


def co2_per_normal_volume(gas: Composition, *, is_ideal: bool = False) -> float:
    """The carbon dioxide of a cubic metre at 0 degrees Celsius and one atmosphere. [kg/m3]

    Args:
        gas: from `composition`; carbon dioxide in it counts, as it leaves with the flue gas.
        is_ideal: whether the volume is that of an ideal gas.

    Formula: F11.
    Source: 44.0095 g CO2 per mole of carbon; molar volume 22.414 dm3 (CODATA, rounded).
    """
    factor = 1.0 if is_ideal else compression_factor(gas, 273.15)
    return _carbon(gas) * CO2_KG_MOL / (_MOLAR_M3 * factor)


def co2_factor(gas: Composition, combustion_k: float = 298.15) -> float:
    """The carbon dioxide per terajoule of net heat. [kg/TJ]

    Args:
        gas: from `composition`; it must burn.
        combustion_k: reference of the heat, as in `molar_calorific_value`. [K]

    Formula: F11, by F9.
    Source: 44.0095 g CO2 per mole of carbon; net heat of ISO 6976:2016.
    """
    net_j_mol = molar_calorific_value(gas, "net", combustion_k)
    within("the net calorific value", net_j_mol, 1.0, 1e8, "J/mol")
    return _carbon(gas) * CO2_KG_MOL / net_j_mol * _J_PER_TJ


def normal_volume(
    volume_m3: float,
    pressure_pa: float,
    temperature_k: float,
    *,
    compression: float = 1.0,
    normal_compression: float = 1.0,
) -> float:
    """What a metered volume is at 0 degrees Celsius and one atmosphere. [m3]

    Args:
        volume_m3: as the meter counts it. [m3, >= 0]
        pressure_pa: of the gas in the meter, absolute. [Pa, 1e3 to 1e8]
        temperature_k: of the gas in the meter. [K, 200 to 500]
        compression: compression factor in the meter. [0.3 to 1.5]
        normal_compression: at 0 degrees Celsius and one atmosphere. [0.3 to 1.5]

    Formula: F10.
    Source: gas law with compression factors, as in EN 12405-1 (not read in the standard).
    """
    within("volume_m3", volume_m3, 0, 1e15, "m3")
    within("pressure_pa", pressure_pa, 1e3, 1e8, "Pa")
    within("temperature_k", temperature_k, 200, 500, "K")
    within("compression", compression, 0.3, 1.5, "1")
    within("normal_compression", normal_compression, 0.3, 1.5, "1")
    ideal = volume_at(volume_m3, State(pressure_pa, temperature_k), NORMAL_0C)
    return ideal * normal_compression / compression


def _carbon(gas: Composition) -> float:
    """Moles of carbon in a mole of the gas."""
    return sum(share * COMPONENTS[name].atoms[0] for name, share in gas.shares.items())


def _index(name: str, value_k: float, known_k: tuple[float, ...]) -> int:
    if value_k not in known_k:
        shown = ", ".join(f"{at:g}" for at in known_k)
        raise OutOfDomain(f"{name} is {value_k:g} K; the table holds {shown} K.")
    return known_k.index(value_k)
