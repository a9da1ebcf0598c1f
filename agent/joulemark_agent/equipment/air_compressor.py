"""An air compressor: what it does and draws, the air it makes, its leaks, and what would save.

| looking for | open |
|---|---|
| what the site declares of it | `compressor_section.py` |
| off, unloaded, loaded; cycles | `compressor_states.py` |
| time and energy of each state | `compressor_times.py` |
| free air, specific power, isentropic efficiency | `compressor_air.py` |
| leak episodes while it stands still | `compressor_leaks.py` |
| demand and leaks by meter, cycles or counters | `compressor_demand.py`, `compressor_cycles.py` |
| ways of control, expected against actual power | `compressor_control.py` |
| less pressure, closed leaks, drops, heat | `compressor_savings.py` |
| several machines on one header | `compressor_house.py` |
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from joulemark_agent.equipment.base import (
    US_PER_H,
    US_PER_S,
    Analysis,
    Figure,
    Finding,
    Flags,
    Samples,
    Times,
    absent,
    drawn,
    extent,
)
from joulemark_agent.equipment.compressor_air import (
    J_M3_PER_KW_MIN_M3,
    efficiency_figure,
    rule_figure,
    specific_figures,
)
from joulemark_agent.equipment.compressor_control import expected_figures
from joulemark_agent.equipment.compressor_cycles import LEAST_CYCLES, storage_figure
from joulemark_agent.equipment.compressor_demand import demand, quiet_samples
from joulemark_agent.equipment.compressor_leaks import leaks_while_off
from joulemark_agent.equipment.compressor_savings import (
    Codes,
    LessPressure,
    artificial_demand_figures,
    drop_figures,
    heat_figures,
    leak_cost_figures,
    pressure_figures,
)
from joulemark_agent.equipment.compressor_section import CompressorSection, Machine, machine_of
from joulemark_agent.equipment.compressor_states import KINDS, LOAD, OFF, RUNNING, UNLOAD
from joulemark_agent.equipment.compressor_times import (
    charge,
    energies,
    levels,
    mean_pressure,
    times,
)
from joulemark_agent.equipment.metering import metered, primary, stated
from joulemark_agent.equipment.segments import UNKNOWN, spans
from joulemark_agent.physics.compression import AIR_EXPONENT

__all__ = ["J_M3_PER_KW_MIN_M3", "PA_S_PER_BAR_MIN", "Parameters", "analyse"]

PA_S_PER_BAR_MIN = 100_000.0 / 60.0


class Parameters(CompressorSection):
    """What only the site knows of a compressor; every part is optional."""


def analyse(parameters: Parameters, samples: Samples) -> Analysis:
    """States, their times and energies, and whatever the section lets one say of a compressor."""
    points = (parameters.power, parameters.current)
    samples = primary(parameters.metering, samples.distinct(), points)
    samples, reversals = drawn(samples, parameters.power)
    start_us, end_us = extent(samples)
    if end_us == start_us:
        return Analysis(figures=(absent("energy_wh", "There are no samples over time."),))
    machine = machine_of(parameters, samples)
    states = machine.states
    leaks, leak_figure, findings = leaks_while_off(
        parameters.pressure, samples, states, is_only_source=parameters.only_source
    )
    expected, beyond = _expected(machine)
    return Analysis(
        figures=(
            *_sure(machine, energies(*points, samples, states)),
            *charge(parameters.current, samples),
            *times(states, end_us - start_us),
            *levels(machine.driver.unit, states),
            *mean_pressure(parameters.pressure, samples),
            *_specific(machine),
            leak_figure,
            *_efficiency(machine),
            *expected,
            *_demands_and_savings(machine),
            *_drops_and_heat(machine),
        ),
        spans=(*spans(states.labels, samples.t_us, KINDS), *leaks),
        findings=(*reversals, *findings, *beyond),
    )


def _sure(machine: Machine, figures: Iterable[Figure]) -> Iterator[Figure]:
    """The energies, that of the whole time with what is known of its meter."""
    metering, samples = machine.section.metering, machine.samples
    edges_us = np.array(extent(samples), np.int64)
    (whole,) = metered(metering, "meter", samples, machine.section.power, edges_us)
    for figure in figures:
        yield stated(figure, whole) if figure.name == "energy_wh" else figure


def _specific(machine: Machine) -> Iterator[Figure]:
    flow, found = machine.section.flow, machine.found
    energy_u = None if isinstance(found, str) else _energy_u(machine, found.step_us > 0)
    yield from specific_figures(found, flow.uncertainty_ratio if flow else None, energy_u)


def _energy_u(machine: Machine, used: Flags) -> float | None:
    """The standard uncertainty of the energy of those samples, as a share; None: unknown."""
    if machine.power is None:
        return None
    edges_us = np.array(extent(machine.samples), np.int64)
    power = np.where(used, machine.power, np.nan)
    (energy,) = metered(machine.section.metering, "meter", machine.samples, power, edges_us)
    return energy.standard_uncertainty / energy.value if energy and energy.value > 0 else None


def _efficiency(machine: Machine) -> Iterator[Figure]:
    section, gauge_pa = machine.section, machine.gauge_pa
    if section.flow is not None and section.pressure is not None:
        outlet_pa = None if gauge_pa is None else gauge_pa + section.atmosphere_pa
        yield efficiency_figure(machine.found, section.flow.inlet, outlet_pa, AIR_EXPONENT)
    if section.us_rule is not None and section.capacity_m3_s is not None:
        yield rule_figure(section.us_rule, section.capacity_m3_s)


def _expected(machine: Machine) -> tuple[tuple[Figure, ...], tuple[Finding, ...]]:
    """What the declared curve says, by the flow meter, else by the time it is loaded."""
    section, curve = machine.section, machine.section.curve()
    if curve is None or section.capacity_m3_s is None or machine.power is None:
        return (), ()
    if not isinstance(machine.free_m3_s, str):
        delivered = machine.free_m3_s / section.capacity_m3_s
    elif not section.delivers_all:
        return (
            absent("expected_wh", f"What it should draw follows from its air. {machine.free_m3_s}"),
        ), ()
    elif machine.states.why:
        return (absent("expected_wh", f"{machine.free_m3_s} {machine.states.why}"),), ()
    elif {LOAD, UNLOAD} <= set(machine.states.labels.tolist()) and (
        len(machine.states.cycles.loads) < LEAST_CYCLES
    ):
        why = f"It takes {LEAST_CYCLES} whole cycles to tell how much it delivers."
        return (absent("expected_wh", f"{machine.free_m3_s} {why}"),), ()
    else:
        is_loaded = np.where(machine.states.is_in(LOAD), 1.0, 0.0)
        delivered = np.where(machine.states.is_in(UNKNOWN), np.nan, is_loaded)
    is_off = machine.states.is_in(OFF)
    return expected_figures(machine.samples, machine.power, delivered, is_off, curve)


def _demands_and_savings(machine: Machine) -> Iterator[Figure]:
    """What is drawn, the leaks of quiet hours, the storage; what less of each would save."""
    section, samples = machine.section, machine.samples
    capacity_m3_s, pressure = section.capacity_m3_s, machine.pressure
    change = section.less_pressure
    if change is not None:
        yield from _less_pressure(machine, change)
    if capacity_m3_s is None:
        return
    drawn_air = _demand(machine, ("demand_m3_s", "demand_ratio"), capacity_m3_s)
    yield from drawn_air
    if section.only_source and section.delivers_all is not False and pressure is not None:
        yield storage_figure(
            samples, machine.states, pressure, capacity_m3_s, section.atmosphere_pa
        )
    flow = drawn_air[0]
    span_s = float(samples.t_us[-1] - samples.t_us[0]) / US_PER_S
    if section.quiet:
        yield from _leaks(machine, flow, capacity_m3_s, span_s)
    if change is None or machine.gauge_pa is None or np.all(np.isnan(machine.gauge_pa)):
        return
    if flow.value is None:
        yield absent("artificial_demand_m3_s", f"The demand is not known: {flow.why}")
        return
    yield from artificial_demand_figures(
        change,
        demand_m3_s=flow.value,
        demand_u=flow.standard_uncertainty,
        covered=flow.covered_ratio,
        gauge_pa=float(np.nanmean(machine.gauge_pa)),
        atmosphere_pa=section.atmosphere_pa,
        capacity_m3_s=capacity_m3_s,
        curve=section.curve(),
        span_s=span_s,
    )


def _demand(
    machine: Machine, names: tuple[str, str], capacity_m3_s: float, *, is_quiet: bool = False
) -> tuple[Figure, ...]:
    section, samples = machine.section, machine.samples
    return demand(
        names,
        samples,
        free_m3_s=machine.free_m3_s,
        flow_u=section.flow.uncertainty_ratio if section.flow else None,
        states=machine.states,
        pressure=machine.pressure,
        hours=section.load_hours,
        capacity_m3_s=capacity_m3_s,
        is_only_source=section.only_source,
        delivers_all=section.delivers_all,
        inside=quiet_samples(section.quiet, samples) if is_quiet else None,
    )


def _leaks(
    machine: Machine, drawn_air: Figure, capacity_m3_s: float, span_s: float
) -> Iterator[Figure]:
    found = _demand(machine, ("leak_m3_s", "leak_ratio"), capacity_m3_s, is_quiet=True)
    if not machine.section.only_source:  # others may feed the same leaks
        found = tuple(replace(one, flags=(*one.flags, "lower_bound")) for one in found)
    yield from found
    if drawn_air.value is None:
        return
    total_m3 = drawn_air.value * span_s
    energy_j = _energy_j(machine)
    yield from leak_cost_figures(
        leak=found[0],
        demand_m3_s=drawn_air.value,
        capacity_m3_s=capacity_m3_s,
        curve=machine.section.curve(),
        mean_j_m3=energy_j / total_m3 if energy_j is not None and total_m3 > 0 else None,
        span_s=span_s,
    )


def _energy_j(machine: Machine) -> float | None:
    """The energy of the whole time at the mean power of what is known of it. [J]"""
    if machine.power is None:
        return None
    step_us = np.where(np.isnan(machine.power), 0, machine.states.step_us)
    known = step_us > 0
    if not known.any():
        return None
    mean_w = float(machine.power[known] @ step_us[known]) / float(step_us.sum())
    return mean_w * float(machine.samples.t_us[-1] - machine.samples.t_us[0]) / US_PER_S


def _less_pressure(machine: Machine, change: LessPressure) -> Iterator[Figure]:
    """The saving over the time in which the machine delivers."""
    name, gauge_pa, power = "pressure_saving_wh", machine.gauge_pa, machine.power
    if gauge_pa is None or power is None:
        yield absent(
            name,
            "It takes the power and the discharge pressure: name its point in 'pressure', and say"
            " in 'pressure_is' whether it is gauge or absolute.",
        )
        return
    delivering = _delivering(machine)
    if isinstance(delivering, str):
        yield absent(name, delivering)
        return
    step_us, flags = delivering
    used = (step_us > 0) & ~np.isnan(gauge_pa) & ~np.isnan(power)
    if not used.any():
        yield absent(name, "There is no time in which the machine delivers at a known pressure.")
        return
    used_us = float(step_us[used].sum())
    yield from pressure_figures(
        change,
        delivered_wh=float(power[used] @ step_us[used]) / US_PER_H,
        energy_u=_energy_u(machine, used),
        gauge_pa=float(gauge_pa[used] @ step_us[used]) / used_us,
        atmosphere_pa=machine.section.atmosphere_pa,
        covered=used_us / float(step_us.sum()),
        flags=flags,
    )


def _delivering(machine: Machine) -> tuple[Times, Codes] | str:
    """The steps in which it delivers, 0 elsewhere, and what limits them; or why they are unknown.

    Where loaded and unloaded time are not told apart, a machine that idles would count as loaded.
    """
    states, section = machine.states, machine.section
    step_us = states.step_us * states.is_in(LOAD, RUNNING)
    if not states.why or section.unloads is False:
        return step_us, ()
    if not isinstance(machine.found, str):
        return machine.found.step_us, ()
    if section.unloads:
        return f"When the machine delivers is not known. {states.why}"
    return step_us, ("overstates",)


def _drops_and_heat(machine: Machine) -> Iterator[Figure]:
    section = machine.section
    delivering = _delivering(machine)
    for name, drop in section.drops.items():
        yield from drop_figures(
            name,
            drop,
            machine.samples,
            delivering,
            machine.power,
            atmosphere_pa=section.atmosphere_pa,
            is_gauge=section.is_gauge(drop.before),
        )
    if section.heat is not None:
        yield from heat_figures(section.heat, machine.samples, machine.power)
