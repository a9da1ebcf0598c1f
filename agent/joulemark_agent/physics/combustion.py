"""Air above what burning needs, from the oxygen that is left in the flue gas.

An oxygen reading means two things: a sampling probe dries the gas before it measures, a zirconia
cell in the stack does not. Six per cent of methane's flue gas are 36 % of excess air dry and 44 %
wet, so no function here guesses which.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from joulemark_agent.physics.domain import inside, within
from joulemark_agent.physics.fuel_gas import Composition
from joulemark_agent.physics.gas_components import COMPONENTS

OxygenBasis = Literal["wet", "dry"]
OxygenState = Literal["burning", "burner_off", "o2_out_of_range"]

AIR_OXYGEN = 0.21
BURNER_OFF = 0.20  # the probe sees air
OUT_OF_RANGE = 0.209


class Stoichiometry(NamedTuple):
    """What burning a mole of fuel with just enough air takes and leaves. [mol/mol]"""

    oxygen: float
    carbon_dioxide: float
    dry_flue: float
    wet_flue: float

    @property
    def air(self) -> float:
        """Air that it needs. [mol/mol]"""
        return self.oxygen / AIR_OXYGEN


def stoichiometry(gas: Composition) -> Stoichiometry:
    """What a mole of the gas needs and leaves as it burns completely with dry air.

    Args:
        gas: from `fuel_gas.composition`; it must burn.

    Formula: F8.
    Source: complete combustion to CO2, H2O, SO2 and N2; dry air of 21 % oxygen.
    """
    carbon = hydrogen = oxygen = nitrogen = sulphur = inert = 0.0
    for name, share in gas.shares.items():
        atoms = COMPONENTS[name].atoms
        carbon += share * atoms[0]
        hydrogen += share * atoms[1]
        oxygen += share * atoms[2]
        nitrogen += share * atoms[3]
        sulphur += share * atoms[4]
        inert += share * (not any(atoms))
    needed = carbon + hydrogen / 4 + sulphur - oxygen / 2
    within("the oxygen that the gas needs", needed, 1e-6, 1e3, "mol/mol")
    dry = carbon + sulphur + nitrogen / 2 + inert + needed * (1 / AIR_OXYGEN - 1)
    return Stoichiometry(needed, carbon, dry, dry + hydrogen / 2)


def excess_air(fuel: Stoichiometry, oxygen_ratio: float, basis: OxygenBasis) -> float:
    """The air above what burning needs, as a share of that need. [1]

    Args:
        fuel: from `stoichiometry`.
        oxygen_ratio: oxygen in the flue gas by volume. [0 to below 0.20: from there on it is air]
        basis: whether the probe measures `wet` or `dry` gas.

    Formula: F8.
    Source: balance of oxygen; for methane, dry, that of ORNL-AMO/AMO-Tools-Suite @15208321,
        src/calculator/furnace/EfficiencyImprovement.cpp.
    """
    within("oxygen_ratio", oxygen_ratio, 0, BURNER_OFF, "1")
    return oxygen_ratio * _flue(fuel, basis) / (fuel.oxygen * (1 - oxygen_ratio / AIR_OXYGEN))


def burning_excess_air(
    fuel: Stoichiometry, oxygen_ratio: ArrayLike, basis: OxygenBasis
) -> NDArray[np.float64]:
    """The same at every reading; NaN where `oxygen_state` does not say that it burns. [1]

    Args:
        fuel: from `stoichiometry`.
        oxygen_ratio: oxygen in the flue gas by volume, 0 to below 0.20, any shape. [1]
        basis: whether the probe measures `wet` or `dry` gas.

    Formula: F8.
    Source: as `excess_air`.
    """
    oxygen = inside(oxygen_ratio, 0, np.nextafter(BURNER_OFF, 0))
    ratio: NDArray[np.float64] = oxygen * _flue(fuel, basis) / fuel.oxygen
    return ratio / (1 - oxygen / AIR_OXYGEN)


def flue_oxygen(fuel: Stoichiometry, excess_air_ratio: float, basis: OxygenBasis) -> float:
    """The oxygen in the flue gas by volume, the inverse of `excess_air`. [1]

    Args:
        fuel: from `stoichiometry`.
        excess_air_ratio: 0.1 for 10 %. [0 to 100]
        basis: whether the probe measures `wet` or `dry` gas.

    Formula: F8.
    Source: balance of oxygen.
    """
    within("excess_air_ratio", excess_air_ratio, 0, 100, "1")
    left = excess_air_ratio * fuel.oxygen
    return left / (_flue(fuel, basis) + left / AIR_OXYGEN)


def oxygen_state(oxygen_ratio: float) -> OxygenState:
    """What an oxygen reading says before it is used: burning, burner off, or no oxygen reading.

    Args:
        oxygen_ratio: as the probe reads it. [any number]

    Formula: F8, its range.
    Source: dry air holds 20.9 % oxygen, so near it no flame used any.
    """
    if not 0 <= oxygen_ratio < OUT_OF_RANGE:
        return "o2_out_of_range"
    return "burner_off" if oxygen_ratio >= BURNER_OFF else "burning"


def _flue(fuel: Stoichiometry, basis: OxygenBasis) -> float:
    return fuel.wet_flue if basis == "wet" else fuel.dry_flue
