"""Electricity and gas of a furnace between any two of the instants that matter to it.

Gas becomes energy only where the section says what its cubic metre is, and what it is worth: by its
composition, or by a calorific value that is said to be net. Each undeclared thing is refused with
its reason and moves the result: 0 or 15 C by 5.5 %, gross or net by about a tenth. Emissions are
the CO2 of the declared factor or of the composition's carbon; methane and nitrous oxide, about
0.1 % for natural gas, are not in it unless the factor holds them. Electricity gets no CO2e here:
its factor belongs to the site.

Counters are taken as they are: over a gap their difference is booked, and `covered_ratio` says
which share of the time was read without gaps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import hypot

import numpy as np

from joulemark_agent.contract.quantities import unit_of
from joulemark_agent.equipment.base import (
    Figure,
    Flags,
    Samples,
    Times,
    Windows,
    absent,
    counted,
    held,
    is_unstated,
    measured,
    no_unit,
)
from joulemark_agent.equipment.furnace_air import ESTIMATED
from joulemark_agent.equipment.furnace_declared import Furnace, Gas
from joulemark_agent.equipment.metering import (
    metered,
    primary_windows,
    register_step_wh,
    registered,
    stated,
)
from joulemark_agent.kernels.gas import (
    NORMAL_0C,
    STANDARD_15C,
    State,
    combustion_co2e,
    combustion_energy,
    volume_at,
)
from joulemark_agent.physics.budget import Amount, Part, total
from joulemark_agent.physics.fuel_gas import (
    Composition,
    calorific_value,
    co2_factor,
    composition,
    compression_factor,
    normal_volume,
)
from joulemark_agent.physics.uncertainty import rectangular

GAS, ELECTRICITY = "gas", "electricity"  # sources of uncertainty

_M3_PER = {"m3": 1.0, "dm3": 1e-3}
_COMBUSTION_K = 298.15  # of the calorific value and the factor from a composition
_J_PER_MJ = 1e6
_LEAST_SEEN = 0.9  # of a batch, for its energy to stand for the rest of it


@dataclass(frozen=True, eq=False)
class Meter:
    """What a meter counted between neighbouring edges; `why` where that cannot be told."""

    edges_us: Times
    windows: Windows | None
    per_count: float = 1.0  # of the result's unit
    why: str = ""
    amounts: tuple[Amount | None, ...] = ()  # per window with its uncertainty, None: unknown

    def over(self, name: str, start_us: int, end_us: int) -> Figure:
        """The amount between two of the edges."""
        return self.inside(name, self._between(start_us, end_us), end_us - start_us)

    def whole(self, name: str, start_us: int, end_us: int) -> Figure:
        """The same where the amount must be all of it: what is missing is taken to be as the rest.

        It may have been anything from nothing to twice that, which its uncertainty holds.
        """
        figure = self.over(name, start_us, end_us)
        seen_ratio = self.seen_us(self._between(start_us, end_us)) / (end_us - start_us)
        if figure.value is None or seen_ratio == 1:
            return figure
        if seen_ratio < _LEAST_SEEN:
            return absent(name, f"The meter was read in {seen_ratio:.0%} of the time only.")
        value, spread = figure.value / seen_ratio, figure.standard_uncertainty
        if spread is not None:
            spread = hypot(spread / seen_ratio, rectangular(abs(value - figure.value)))
        flags = (*figure.flags, ESTIMATED)
        return replace(figure, value=value, standard_uncertainty=spread, flags=flags)

    def seen_us(self, inside: Flags) -> int:
        """How much of some windows the amount is of; a counter counts over gaps. [us]"""
        if self.windows is None:
            return 0
        return int((self.windows.covered_us + self.windows.estimated_us)[inside].sum())

    def _between(self, start_us: int, end_us: int) -> Flags:
        first, stop = np.searchsorted(self.edges_us, (start_us, end_us))
        inside = np.zeros(self.edges_us.size - 1, np.bool_)
        inside[first:stop] = True
        return inside

    def inside(self, name: str, inside: Flags, length_us: int) -> Figure:
        """The amount of some of the windows, shape (w,); `length_us` is how long they are."""
        if self.windows is None:
            return absent(name, self.why)
        counts = float(self.windows.amount[inside].sum())
        covered_us = int(self.windows.covered_us[inside].sum())
        if covered_us == 0 and self.windows.estimated_us[inside].any():
            return Figure(name, counts * self.per_count, 0.0)  # only over a gap
        figure = measured(name, counts * self.per_count, covered_us, length_us)
        return stated(figure, self._amount(inside))

    def _amount(self, inside: Flags) -> Amount | None:
        """The sum of the windows that have one; None where one that counted something has none."""
        if not self.amounts or self.windows is None:
            return None
        parts = [self.amounts[k] for k in np.flatnonzero(inside & (self.windows.amount != 0))]
        known = [part for part in parts if part is not None]
        return total(*known) if known and len(known) == len(parts) else None


def electric_meter(parameters: Furnace, samples: Samples, edges_us: Times) -> Meter:
    """The electric meter in Wh: a counter, or power over time."""
    point, metering = parameters.electricity, parameters.metering
    if point is None:
        return Meter(edges_us, None, why="No electricity meter is declared.")
    if is_unstated(point):
        return Meter(edges_us, None, why=no_unit(point, "energy and CO2e"))
    if samples.column(point) is None:
        return Meter(edges_us, None, why=f"{point!r} is not recorded.")
    if unit_of(point) == "Wh":
        windows = primary_windows(metering, counted(samples, point, edges_us))
        step_wh = register_step_wh(metering, samples, point)
        amounts = registered(metering, ELECTRICITY, windows, edges_us, step_wh=step_wh)
    else:
        windows = held(samples, point, edges_us)
        amounts = metered(metering, ELECTRICITY, samples, point, edges_us)
    return Meter(edges_us, windows, amounts=amounts)


def gas_meter(parameters: Furnace, samples: Samples, edges_us: Times) -> Meter:
    """The gas meter in m3, as it counts."""
    gas = parameters.gas
    if gas is None:
        return Meter(edges_us, None, why="No gas meter is declared.")
    if is_unstated(gas.point):
        return Meter(edges_us, None, why=no_unit(gas.point, "volume, energy and CO2e"))
    if samples.column(gas.point) is None:
        return Meter(edges_us, None, why=f"{gas.point!r} is not recorded.")
    per_count = _M3_PER[unit_of(gas.point) or ""]
    return Meter(edges_us, counted(samples, gas.point, edges_us), per_count)


def no_energy(gas: Gas) -> str:
    """Why a volume of this gas cannot become energy; "" where it can."""
    if gas.composition is None and (why := _no_value(gas)):
        return why
    if gas.volume_reference is None:
        return (
            "It is not said at which temperature and pressure the meter's cubic metre is counted;"
            " between 0 and 15 C lie 5.5 %. The meter's nameplate or its volume corrector says it:"
            " set volume_reference."
        )
    is_told = gas.line_pressure_pa is not None and gas.line_temperature_k is not None
    if gas.volume_reference == "operating" and not is_told:
        return (
            "The meter counts the gas as it flows in the pipe (operating). Give the pressure there"
            " (line_pressure_pa, absolute: what the gauge shows plus about 101325 Pa) and the"
            " temperature (line_temperature_k): one bar of overpressure doubles the gas in it."
        )
    return ""


def energies(
    parameters: Furnace,
    electricity: Meter,
    gas: Meter,
    when_us: tuple[int, int],
    *,
    is_whole: bool = False,
) -> Iterator[Figure]:
    """Electricity, gas as volume, energy and CO2e, and both energies together.

    Args:
        parameters: of the furnace.
        electricity: its meter.
        gas: likewise.
        when_us: two of their edges.
        is_whole: whether what is missing is taken to be as the rest, see `Meter.whole`.
    """
    of_electricity = electricity.whole if is_whole else electricity.over
    of_volume = gas.whole if is_whole else gas.over
    electric = of_electricity("electricity_wh", *when_us)
    volume = of_volume("gas_m3", *when_us)
    yield from (electric, volume)
    gas_wh, gas_co2e_kg = of_gas(parameters.gas, volume)
    yield from (gas_wh, gas_co2e_kg)
    yield together(parameters, electric, gas_wh)


def of_gas(gas: Gas | None, volume: Figure) -> tuple[Figure, Figure]:
    """The energy and the CO2e of a metered volume."""
    names = ("gas_wh", "gas_co2e_kg")
    why = volume.why or ("" if gas is None else no_energy(gas))
    if gas is None or volume.value is None or why:
        return absent(names[0], why), absent(names[1], why)
    ncv_mj_per_m3, co2_kg_per_tj = _worth(gas)
    normal_m3 = volume.value * _normal_m3_per_m3(gas)
    scaled = () if gas.composition is None else composition(gas.composition).flags
    flags = (*volume.flags, *scaled)
    energy_wh = combustion_energy(normal_m3, ncv_mj_per_m3)
    energy = Figure(names[0], energy_wh, volume.covered_ratio, flags=flags)
    if gas.uncertainty_ratio is not None and energy.value is not None:
        part = Part(energy.value * gas.uncertainty_ratio)
        energy = stated(energy, Amount(energy.value, {GAS: part}))
    if co2_kg_per_tj is None:
        why = "No emission factor is declared for the gas: set co2_kg_per_tj and source."
        return energy, absent(names[1], why)
    co2e_kg = combustion_co2e(normal_m3, ncv_mj_per_m3, co2_kg_per_tj)
    return energy, Figure(names[1], co2e_kg, volume.covered_ratio, flags=flags)


def together(parameters: Furnace, electric: Figure, gas_wh: Figure) -> Figure:
    """The energy of every source that is declared, together; none where one has none."""
    parts = []
    if parameters.electricity is not None:
        parts.append(electric)
    if parameters.gas is not None:
        parts.append(gas_wh)
    values = [part.value for part in parts if part.value is not None]
    if not values or len(values) < len(parts):
        return absent("total_wh", "It needs the energy of every meter that is declared.")
    flags = tuple(sorted({flag for part in parts for flag in part.flags}))
    covered_ratio = min(part.covered_ratio or 0.0 for part in parts)
    figure = Figure("total_wh", sum(values), covered_ratio, flags=flags)
    return stated(figure, given(parameters, parts))


def given(parameters: Furnace, sources: Iterable[Figure]) -> Amount | None:
    """The energy of every declared source with its uncertainty; None where one has none."""
    wanted = set()
    if parameters.electricity is not None:
        wanted.add("electricity_wh")
    if parameters.gas is not None:
        wanted.add("gas_wh")
    amounts = [of_figure(figure) for figure in sources if figure.name in wanted]
    known = [amount for amount in amounts if amount is not None]
    return total(*known) if known and len(known) == len(amounts) else None


def of_figure(figure: Figure) -> Amount | None:
    """An energy with its uncertainty under the name of its meter; None where that is unknown."""
    if figure.value is None or figure.standard_uncertainty is None:
        return None
    source = GAS if figure.name == "gas_wh" else ELECTRICITY
    degrees = figure.degrees_of_freedom
    part = Part(figure.standard_uncertainty, float("inf") if degrees is None else degrees)
    return Amount(figure.value, {source: part})


def _no_value(gas: Gas) -> str:
    if gas.ncv_mj_per_m3 is None:
        return (
            "The calorific value of the gas is not given. Take it from the supplier's bill or gas"
            " analysis and set ncv_mj_per_m3, basis and source."
        )
    if gas.basis is None:
        return (
            f"It is not said whether {gas.ncv_mj_per_m3:g} MJ/m3 is the net (lower) or the gross"
            " (upper) calorific value; they differ by about a tenth. The bill or the gas analysis"
            " says it: set basis."
        )
    if gas.basis == "gross":
        return (
            f"{gas.ncv_mj_per_m3:g} MJ/m3 is declared as the gross (upper) calorific value, but"
            " emission factors per TJ count the net one; together they would be about a tenth too"
            " high. Give the net value from the gas analysis and set basis: net."
        )
    return ""


def _worth(gas: Gas) -> tuple[float, float | None]:
    """Net calorific value [MJ/m3 at 0 C and 1 atm] and factor [kg/TJ]."""
    if gas.composition is None:
        return gas.ncv_mj_per_m3 or 0.0, gas.co2_kg_per_tj
    of = composition(gas.composition)
    value_j = calorific_value(of, "net", combustion_k=_COMBUSTION_K, metering_k=273.15)
    return value_j / _J_PER_MJ, co2_factor(of, _COMBUSTION_K)


def _normal_m3_per_m3(gas: Gas) -> float:
    """Normal cubic metres in one that the meter counts."""
    of = None if gas.composition is None else composition(gas.composition)
    if gas.volume_reference == "normal_0c_101325pa":
        return 1.0
    if gas.volume_reference == "standard_15c_101325pa":
        ideal = volume_at(1.0, STANDARD_15C, NORMAL_0C)
        return ideal * _compression(of, NORMAL_0C) / _compression(of, STANDARD_15C)
    return normal_volume(
        1.0,
        gas.line_pressure_pa or 0.0,
        gas.line_temperature_k or 0.0,
        compression=gas.line_compressibility,
        normal_compression=_compression(of, NORMAL_0C),
    )


def _compression(gas: Composition | None, at: State) -> float:
    return 1.0 if gas is None else compression_factor(gas, at.temperature_k)
