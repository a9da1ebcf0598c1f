"""Excess air of a burner, live, from the oxygen in its flue gas.

Readings near air say that the burner is off and are left out; those that no flue gas has are a
finding. A mean counts each reading by the gas that burned meanwhile, where a gas meter says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from joulemark_agent.equipment.base import (
    Figure,
    Finding,
    Flags,
    Samples,
    Times,
    Values,
    absent,
    counted,
    held_steps_us,
)
from joulemark_agent.equipment.furnace_declared import Flue, Furnace
from joulemark_agent.physics.combustion import (
    OUT_OF_RANGE,
    burning_excess_air,
    stoichiometry,
)
from joulemark_agent.physics.fuel_gas import Composition, composition

ESTIMATED = "estimated"

_FUEL_RICH = 0.005  # carbon monoxide, by volume
_MOST_AIR = 0.22  # an uncalibrated probe in air may read a little above 20.9 %
_LEAST_COVERED = 0.5  # of the fuel, for a mean to stand for the rest of it
_METHANE = {"CH4": 1.0}


@dataclass(frozen=True, eq=False)
class Air:
    """Excess air at every sample, NaN where the burner is off or nothing is known."""

    t_us: Times
    max_gap_us: int
    excess_ratio: Values  # shape (n,)
    gas_counts: Values | None = None  # what the gas meter counted in each step, shape (n - 1,)
    fuel: Composition | None = None
    flags: tuple[str, ...] = ()
    why: str = ""


def air(parameters: Furnace, samples: Samples) -> Air | None:
    """The excess air; None where no flue is declared."""
    flue = parameters.flue
    if flue is None:
        return None
    nothing = Air(samples.t_us, samples.max_gap_us, np.full(samples.t_us.size, np.nan))
    oxygen = samples.column(flue.oxygen)
    if oxygen is None:
        return replace(nothing, why=f"{flue.oxygen!r} is not recorded.")
    shares = None if parameters.gas is None else parameters.gas.composition
    if shares is None and flue.fuel is None:
        why = (
            "Excess air needs the fuel: give the gas analysis in 'composition' of the gas, or set"
            " 'fuel: natural_gas' in 'flue'."
        )
        return replace(nothing, why=why)
    fuel = composition(_METHANE if shares is None else shares)
    basis = flue.o2_basis
    assert basis is not None  # its section says so
    burned = stoichiometry(fuel)
    ratio = burning_excess_air(burned, oxygen, basis)
    ratio[_fuel_rich(flue, samples)] = np.nan
    flags = (ESTIMATED,) if shares is None else fuel.flags
    gas_counts = None
    if parameters.gas is not None and samples.column(parameters.gas.point) is not None:
        gas_counts = counted(samples, parameters.gas.point, samples.t_us).amount
    return replace(nothing, excess_ratio=ratio, gas_counts=gas_counts, fuel=fuel, flags=flags)


def weighted(name: str, found: Air, of: Values, inside: slice) -> Figure:
    """The mean of values over some steps, each by its gas, else by its time.

    Args:
        name: of the figure.
        found: from `air`.
        of: values at the samples, NaN where they are not known, shape (n,).
        inside: the steps.
    """
    if found.why:
        return absent(name, found.why)
    ends = slice(inside.start, inside.stop + 1)  # of the steps
    t_us, of = found.t_us[ends], of[ends]
    due = np.diff(t_us) if found.gas_counts is None else found.gas_counts[inside]
    weight = np.where(held_steps_us(t_us, of, found.max_gap_us)[:-1] > 0, due, 0.0)
    some = weight > 0
    if not some.any():
        return absent(name, "The burner was off, or its oxygen is not known, all the time.")
    mean = float(np.sum(of[:-1][some] * weight[some]) / weight.sum())
    covered_ratio = float(weight.sum()) / float(due.sum())
    return Figure(name, mean, min(covered_ratio, 1.0), flags=found.flags)


def is_backed(figure: Figure) -> bool:
    """Whether a mean stands for enough of the fuel to be taken for the rest."""
    return figure.value is not None and (figure.covered_ratio or 0.0) >= _LEAST_COVERED


def _fuel_rich(flue: Flue, samples: Samples) -> Flags:
    """Where fuel left unburned: oxygen says nothing of the air then."""
    unburned = samples.column(flue.carbon_monoxide) if flue.carbon_monoxide else None
    if unburned is None:
        return np.zeros(samples.t_us.size, np.bool_)
    return unburned > _FUEL_RICH


def air_findings(parameters: Furnace, samples: Samples, t_us: Times) -> Iterator[Finding]:
    """Readings that no flue gas has, and fuel that leaves unburned."""
    flue = parameters.flue
    if flue is None:
        return
    at_us = t_us[_fuel_rich(flue, samples)]
    if at_us.size:
        yield Finding(
            "fuel_rich",
            f"{flue.carbon_monoxide!r} is above {_FUEL_RICH:.1%} in {at_us.size} of {t_us.size}"
            " samples: fuel leaves unburned, and excess air is not told there.",
            "Give the burner more air, or have its mixture set: it is unsafe as well as dear.",
            int(at_us[0]),
            int(at_us[-1]),
        )
    oxygen = samples.column(flue.oxygen)
    if oxygen is None:
        return
    is_wrong = (oxygen < 0) | (oxygen > _MOST_AIR)
    at_us = t_us[is_wrong]
    if at_us.size:
        yield Finding(
            "o2_out_of_range",
            f"{flue.oxygen!r} reads what no flue gas has, {oxygen[is_wrong][0]:.3g}, in"
            f" {at_us.size} of {oxygen.size} samples; they are left out.",
            f"Calibrate the probe, and check the scale in the profile: a share from 0 to"
            f" {OUT_OF_RANGE:g}, not per cent.",
            int(at_us[0]),
            int(at_us[-1]),
        )
