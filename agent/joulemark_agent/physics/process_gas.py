"""What a fab tool emits of the process gas it is fed, with by-products, abatement and uptime.

Factors are data (`contract.process_gases`): kilograms emitted per kilogram fed, of the gas itself
(1 - U, what the plasma does not use) and of each by-product. Nothing is credited to an abatement
system but what it destroyed while it was seen at work.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from joulemark_agent.kernels.gas import State
from joulemark_agent.physics.budget import Amount, linear, total
from joulemark_agent.physics.domain import OutOfDomain, within

HEEL_RATIO = 0.10  # left in a container (not read in the standard; configuration)
GAS_CONSTANT = 8.31446261815324  # [J/(mol K)], SI Brochure, 9th edition

_KG_MOL = {
    "H": 1.008e-3,
    "C": 12.011e-3,
    "N": 14.007e-3,
    "O": 15.999e-3,
    "F": 18.998403162e-3,
    "S": 32.06e-3,
}
_ATOMS = re.compile(r"([A-Z][a-z]?)(\d*)")
_FORMULA = re.compile(r"([A-Z][a-z]?\d{0,3}){1,8}")
MOST_KG = 1e9  # of what is fed


@dataclass(frozen=True)
class Uptime:
    """How gas flowed over some time, and how much of that was seen to be abated."""

    gas_flow_s: float
    abated_s: float
    unknown_s: float  # of gas flow: the state of tool or abatement is not known, so not abated

    @property
    def ratio(self) -> float:
        """Abated over all gas-flow time; 0, no credit, where no gas flowed."""
        return self.abated_s / self.gas_flow_s if self.gas_flow_s > 0 else 0.0


@dataclass(frozen=True)
class Warming:
    """Emissions as carbon dioxide by one assessment."""

    co2e: Amount  # of the gases with a warming potential [kg]
    unrated: tuple[str, ...]  # gases emitted that have none: the sum is a lower bound


def uptime(
    step_s: ArrayLike,
    is_flowing: ArrayLike,
    is_tool_valid: ArrayLike | None,
    is_abating: ArrayLike | None,
) -> Uptime:
    """The share of gas-flow time that was abated, by the joint rule.

    A step is abated where gas flows, the tool's signal is valid and the abatement is seen at work,
    all three in the same step. What is not known counts as not abated.

    Args:
        step_s: how long each sample holds, 0 where no time is vouched for, shape (n,). [s]
        is_flowing: 1 where gas flows, 0 where none does, NaN where that is unknown (then the step
            is no gas-flow time), shape (n,).
        is_tool_valid: 1 where the tool is known to send its gas to the abatement, NaN where
            unknown, shape (n,); None: nothing says otherwise.
        is_abating: 1 where the abatement works as intended, NaN where unknown, shape (n,); None:
            there is no log, so there is no credit.

    Formula: S2.
    Source: IPCC 2019 Refinement, volume 3, chapter 6, Tier 2 (not read in the standard); unknown
        counts against the site, which a verifier can accept.
    """
    steps = np.asarray(step_s, np.float64)
    if steps.ndim != 1 or not np.all((steps >= 0) & (steps < np.inf)):
        raise OutOfDomain("Steps are finite times of at least 0 s, one per sample.")
    flowing = _states("is_flowing", is_flowing, steps)
    tool = np.ones(steps.size) if is_tool_valid is None else is_tool_valid
    abatement = np.full(steps.size, np.nan) if is_abating is None else is_abating
    joint = _states("is_tool_valid", tool, steps) * _states("is_abating", abatement, steps)
    flow_s = np.where(flowing == 1, steps, 0.0)
    return Uptime(
        float(flow_s.sum()),
        float(flow_s[joint == 1].sum()),
        float(flow_s[np.isnan(joint)].sum()),
    )


def emitted_kg(
    fed_kg: float,
    emitted_ratio: float,
    *,
    heel_ratio: float,
    abated_ratio: float,
    destroyed_ratio: float,
    uptime_ratio: float,
) -> float:
    """What is emitted of one gas, fed or formed, for a gas that is fed to a tool.

    Args:
        fed_kg: consumption, with what stays in the container, 0 to 1e9. [kg]
        emitted_ratio: emitted per fed before abatement: 1 - U of the gas itself, B of a by-product,
            0 to 10. [kg/kg]
        heel_ratio: h, share that goes back in the container, 0 up to 0.99; 0 where the flow into
            the tool was measured, else usually `HEEL_RATIO`. [1]
        abated_ratio: a, share of the gas that is led to an abatement system, 0 to 1. [1]
        destroyed_ratio: d, share that the system destroys of this gas, measured or certified, 0 to
            1. [1]
        uptime_ratio: UT, as in `uptime`, 0 to 1; 0 without a log. [1]

    Returns:
        (1 - h) C F (1 - a d UT). [kg]

    Formula: S1.
    Source: structure of IPCC 2019 Refinement, volume 3, chapter 6, Tier 2 (not read in the
        standard); factors in 40 CFR Part 98, Subpart I, Tables I-11, I-12, I-20 (89 FR 31921,
        2024-04-25).
    """
    within("fed_kg", fed_kg, 0.0, MOST_KG, "kg")
    within("emitted_ratio", emitted_ratio, 0.0, 10.0, "kg/kg")
    within("heel_ratio", heel_ratio, 0.0, 0.99, "1")
    within("abated_ratio", abated_ratio, 0.0, 1.0, "1")
    within("destroyed_ratio", destroyed_ratio, 0.0, 1.0, "1")
    within("uptime_ratio", uptime_ratio, 0.0, 1.0, "1")
    passes = 1.0 - abated_ratio * destroyed_ratio * uptime_ratio
    return (1.0 - heel_ratio) * fed_kg * emitted_ratio * passes


def emission(
    fed: Amount,
    factor: Amount,
    destroyed: Amount,
    *,
    heel_ratio: float,
    abated_ratio: float,
    uptime_ratio: float,
) -> Amount:
    """The same as `emitted_kg`, with the uncertainty that feed, factor and destruction give it.

    Args:
        fed: as `fed_kg`. [kg]
        factor: as `emitted_ratio`. [kg/kg]
        destroyed: as `destroyed_ratio`. [1]
        heel_ratio: as there. [1]
        abated_ratio: as there. [1]
        uptime_ratio: as there. [1]

    Formula: S1.
    Error: of second order in the relative uncertainties.
    Source: as `emitted_kg`; JCGM 100:2008 (GUM), 5.1.3.
    """
    value = emitted_kg(
        fed.value,
        factor.value,
        heel_ratio=heel_ratio,
        abated_ratio=abated_ratio,
        destroyed_ratio=destroyed.value,
        uptime_ratio=uptime_ratio,
    )
    into = 1.0 - heel_ratio
    passes = 1.0 - abated_ratio * destroyed.value * uptime_ratio
    return linear(
        value,
        [
            (into * factor.value * passes, fed),
            (into * fed.value * passes, factor),
            (-into * fed.value * factor.value * abated_ratio * uptime_ratio, destroyed),
        ],
    )


def warming(emissions: Mapping[str, Amount], potentials: Mapping[str, float]) -> Warming:
    """Emissions of several gases as carbon dioxide, by the potentials of one assessment.

    Args:
        emissions: by formula of the gas. [kg]
        potentials: 100-year warming potentials of one assessment, by formula, 0 or above; a gas
            without one is named, never taken as 0. [kg CO2e per kg]

    Formula: S1.
    Error: the potentials themselves are taken as exact, as accounting by a named assessment does.
    Source: definition of the global warming potential; values in the data, by assessment.
    """
    for gas, potential in potentials.items():
        within(f"the potential of {gas}", potential, 0.0, 1e6, "kg/kg")
    rated = [
        linear(potentials[gas] * amount.value, [(potentials[gas], amount)])
        for gas, amount in emissions.items()
        if gas in potentials
    ]
    unrated = tuple(
        sorted(gas for gas, amount in emissions.items() if amount.value and gas not in potentials)
    )
    return Warming(total(*rated), unrated)


def molar_mass_kg_mol(formula: str) -> float:
    """The mass of a mole of a gas of carbon, fluorine, hydrogen, nitrogen, oxygen and sulphur.

    Args:
        formula: such as C4F8O.

    Returns:
        mass. [kg/mol]

    Formula: S1.
    Source: IUPAC standard atomic weights 2021, abridged (fluorine in full).
    """
    atoms = _ATOMS.findall(formula) if _FORMULA.fullmatch(formula) else []
    if not atoms or any(element not in _KG_MOL for element, _ in atoms):
        raise OutOfDomain(f"{formula!r} is no formula of {', '.join(_KG_MOL)}, such as C4F8O.")
    return sum(_KG_MOL[element] * int(count or 1) for element, count in atoms)


def gas_mass_kg(volume_m3: float, formula: str, reference: State) -> float:
    """The mass of a volume of gas, counted at a reference as mass-flow controllers do.

    Args:
        volume_m3: 0 or above. [m3]
        formula: of the gas.
        reference: pressure and temperature to which the volume refers.

    Formula: S1.
    Error: as an ideal gas; controllers that are calibrated by mass give volumes of the ideal gas.
    Source: ideal gas law; SI Brochure, 9th edition, for the gas constant.
    """
    within("volume_m3", volume_m3, 0.0, 1e9, "m3")
    within("pressure_pa", reference.pressure_pa, 1e3, 1e7, "Pa")
    within("temperature_k", reference.temperature_k, 200.0, 400.0, "K")
    moles = volume_m3 * reference.pressure_pa / (GAS_CONSTANT * reference.temperature_k)
    return moles * molar_mass_kg_mol(formula)


def _states(name: str, values: ArrayLike, like: ArrayLike) -> NDArray[np.float64]:
    states = np.asarray(values, np.float64)
    if states.shape != np.shape(like) or not np.all(np.isin(states, (0, 1)) | np.isnan(states)):
        raise OutOfDomain(f"{name} is 0, 1 or NaN, once per step.")
    return states
