"""A power meter: energy both ways, demand and its peak, the load's profile, and its own checks.

What flowed is the register's, where it counts: it goes on through an outage. The integral of power
vouches for it, shows what lies inside a window, and stands in where there is no register. A time
that neither of them knows has no energy. Power above 0 is drawn, below 0 fed back.

| looking for | open |
|---|---|
| register, integral, and what becomes of the two | `meter_energy.py` |
| demand, its peaks, base load | `meter_demand.py` |
| reactive energy by quadrant, apparent energy | `meter_reactive.py` |
| class of the meter, transformers, uncertainty | `metering.py` |
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np

from joulemark_agent.equipment.base import (
    US_PER_S,
    Analysis,
    Figure,
    Finding,
    Positive,
    Samples,
    Section,
    Values,
    absent,
    extent,
    measured,
    of_unit,
)
from joulemark_agent.equipment.meter_demand import demand_figures, loads_of, peak_spans
from joulemark_agent.equipment.meter_energy import (
    Flow,
    Meter,
    agreed,
    grid_of,
    integral_of,
    register_of,
)
from joulemark_agent.equipment.meter_reactive import quadrants, shares
from joulemark_agent.equipment.metering import (
    Metering,
    primary,
    ratio_findings,
    register_step_wh,
    stated,
)
from joulemark_agent.kernels.reconcile import BY_REGISTER
from joulemark_agent.kernels.stream import HOLD, INST, MEAN_RIGHT

_KINDS = {"inst": INST, "mean_right": MEAN_RIGHT, "hold": HOLD}
_PHASES = ("l1", "l2", "l3")
_LAGGING = ("reactive_lagging_varh", "reactive_imported_varh", "reactive_varh")
_LEADING = ("reactive_leading_varh", "reactive_exported_varh")
_QUADRANTS = tuple(f"reactive_q{k}_varh" for k in (1, 2, 3, 4))
_BY_REGISTER = "measured_by_register"


class Parameters(Section):
    """What only the site knows of a meter; points have the names that profiles give them."""

    power: Annotated[str, of_unit("W")] = "power_w"
    power_is: Literal["inst", "mean_right", "hold"] = "inst"  # at, before or after the sample
    energy: Annotated[str, of_unit("Wh")] = "energy_wh"  # register of what is drawn
    exported: Annotated[str, of_unit("Wh")] = "exported_wh"  # register of what is fed back
    reactive: Annotated[str, of_unit("var")] = "reactive_var"  # above 0 lagging
    reactive_lagging: Annotated[str, of_unit("varh")] | None = None  # register
    reactive_leading: Annotated[str, of_unit("varh")] | None = None  # register
    apparent: Annotated[str, of_unit("VA")] = "apparent_va"
    power_factor: Annotated[str, of_unit("1")] = "power_factor_ratio"
    voltage: Annotated[str, of_unit("V")] = "voltage_v"  # between two lines
    current: Annotated[str, of_unit("A")] = "current_a"  # of a line
    demand_s: Literal[300, 600, 900, 1800, 3600] = 900  # length of a window of demand
    agreement_ratio: Positive = 0.005  # standard uncertainty of the register against the integral
    metering: Metering | None = None


def analyse(parameters: Parameters, samples: Samples) -> Analysis:
    """Energy, demand, profile and checks of the whole time."""
    samples = primary(parameters.metering, samples.distinct(), _gauges(parameters))
    start_us, end_us = extent(samples)
    if end_us == start_us:
        return Analysis(figures=(absent("energy_wh", "There are no samples over time."),))
    meter = _meter(parameters, samples)
    loads = loads_of(meter, parameters.energy)
    return Analysis(
        figures=(
            *_flow(meter, "energy_wh", meter.drawn, parameters.energy, parameters.power),
            *_flow(meter, "exported_wh", meter.fed, parameters.exported, parameters.power),
            *_agreement(meter),
            *demand_figures(meter, loads),
            *_reactive(parameters, meter),
        ),
        spans=tuple(peak_spans(meter, loads)),
        findings=tuple(_findings(parameters, meter)),
    )


def _gauges(parameters: Parameters) -> tuple[str, ...]:
    """The points that a transformer's ratio may scale."""
    of_phases = (point for phase in _PHASES for point in _points_of(phase))
    of_all = (parameters.power, parameters.reactive, parameters.apparent)
    return (*of_all, parameters.voltage, parameters.current, *of_phases)


def _points_of(phase: str) -> tuple[str, str, str]:
    return f"power_{phase}_w", f"voltage_{phase}_v", f"current_{phase}_a"


def _meter(parameters: Parameters, samples: Samples) -> Meter:
    metering, kind = parameters.metering, _KINDS[parameters.power_is]
    grid = grid_of(samples, parameters.demand_s * US_PER_S)
    power_w = samples.column(parameters.power)
    integral = None if power_w is None else integral_of(samples, power_w, kind, grid)

    def flow(point: str, integral_wh: Values | None) -> Flow:
        register = register_of(metering, samples, point, grid)
        declared_wh = None if metering is None else metering.counter_step_wh
        step_wh = declared_wh or register_step_wh(metering, samples, point)
        return agreed(
            register,
            integral,
            integral_wh,
            grid,
            step_wh=step_wh,
            agreement_ratio=parameters.agreement_ratio,
        )

    return Meter(
        metering,
        samples,
        grid,
        kind,
        power_w,
        integral,
        drawn=flow(parameters.energy, None if integral is None else integral.import_wh),
        fed=flow(parameters.exported, None if integral is None else integral.export_wh),
    )


def _flow(meter: Meter, name: str, flow: Flow, register: str, power: str) -> Iterator[Figure]:
    """What flowed in one direction: as agreed, as counted and as integrated."""
    length_us, integral = meter.length_us, meter.integral
    sign = 1.0 if flow is meter.drawn else -1.0
    yield _agreed(meter, name, flow, f"Neither {register!r} nor {power!r} is known over time.")
    if flow.register is None:
        yield absent(f"registered_{name}", f"{register!r} is not recorded.")
    else:
        total_wh = float(flow.register.amount.sum())
        covered_us = float(flow.register.covered_us.sum())
        flags = ("estimated",) if flow.register.estimated_us.any() else ()
        figure = measured(f"registered_{name}", total_wh, covered_us, length_us)
        yield stated(replace(figure, flags=flags), meter.counted(flow))
    if flow.integral_wh is None or integral is None:
        yield absent(f"integrated_{name}", f"{power!r} is not recorded.")
    else:
        total_wh, covered_us = float(flow.integral_wh.sum()), float(integral.covered_us.sum())
        figure = measured(f"integrated_{name}", total_wh, covered_us, length_us)
        yield stated(figure, meter.integrated(sign))


def _agreed(meter: Meter, name: str, flow: Flow, why: str) -> Figure:
    """What flowed: window by window the register's, or else what was integrated."""
    known = ~np.isnan(flow.agreed.energy_wh)
    if not known.any():
        return absent(name, why)
    is_counted = flow.agreed.source == BY_REGISTER
    no_us = np.zeros(known.size)
    counted_us = no_us if flow.register is None else flow.register.covered_us
    summed_us = no_us if flow.register is None else flow.register.estimated_us
    integrated_us = no_us if meter.integral is None else meter.integral.covered_us
    covered_us = np.where(is_counted, counted_us, integrated_us)[known].sum()
    figure = Figure(
        name,
        float(flow.agreed.energy_wh[known].sum()),
        float(covered_us / meter.length_us),
        flags=(_BY_REGISTER,) if summed_us[is_counted].any() else (),
    )
    if is_counted.all():
        return stated(figure, meter.counted(flow))
    if not is_counted.any():
        return stated(figure, meter.integrated(1.0 if flow is meter.drawn else -1.0))
    return figure


def _agreement(meter: Meter) -> Iterator[Figure]:
    """The register over the integral, and what it counted while nothing was integrated."""
    drawn, integral = meter.drawn, meter.integral
    if drawn.register is None or integral is None:
        why = "It takes both a register of energy and power to compare them."
        yield from (absent(name, why) for name in ("kappa_ratio", "gap_wh", "gap_s"))
        return
    length_us = np.diff(meter.grid.edges_us)
    if not drawn.compared_us:
        yield absent("kappa_ratio", "In no window are register and power both known throughout.")
    elif drawn.kappa_ratio is None:
        yield absent("kappa_ratio", "By its power nothing was drawn.")
    else:
        figure = measured("kappa_ratio", drawn.kappa_ratio, drawn.compared_us, meter.length_us)
        yield replace(figure, standard_uncertainty=drawn.kappa_u_ratio)
    gaps = drawn.agreed.measured_by_register
    gap_us = float((length_us - integral.covered_us)[gaps].sum())
    flags = (_BY_REGISTER,) if gaps.any() else ()
    if drawn.is_short:
        yield absent("gap_wh", "The register counted less than power was integrated to.")
    else:
        yield Figure("gap_wh", float(drawn.agreed.gap_wh[gaps].sum()), flags=flags)
    yield Figure("gap_s", gap_us / US_PER_S)


def _reactive(parameters: Parameters, meter: Meter) -> Iterator[Figure]:
    """Reactive energy by quadrant and by register, and the power factors they make."""
    samples, power_w = meter.samples, meter.power_w
    reactive_var = samples.column(parameters.reactive)
    if power_w is None or reactive_var is None:
        why = f"It takes {parameters.power!r} and {parameters.reactive!r}."
        yield from (absent(name, why) for name in _QUADRANTS)
    else:
        four = quadrants(samples, power_w, reactive_var, meter.kind)
        for name, varh in zip(_QUADRANTS, four.reactive_varh, strict=True):
            yield measured(name, varh, four.covered_us, meter.length_us)
    for way, named, usual in (
        ("lagging", parameters.reactive_lagging, _LAGGING),
        ("leading", parameters.reactive_leading, _LEADING),
    ):
        yield from _by_register(meter, way, (named,) if named else usual)
    yield _power_factor(parameters, meter)


def _by_register(meter: Meter, way: str, points: Sequence[str]) -> Iterator[Figure]:
    """The reactive energy that the first recorded of the registers counted, and its factor."""
    names = f"reactive_{way}_varh", f"power_factor_{way}_ratio"
    samples, drawn = meter.samples, meter.drawn.register
    for point in points:
        register = register_of(meter.metering, samples, point, meter.grid, "varh")
        if register is None:
            continue
        yield measured(names[0], register.amount.sum(), register.covered_us.sum(), meter.length_us)
        if drawn is None:
            yield absent(names[1], "There is no register of energy beside it.")
            return
        both = (register.missing_us == 0) & (drawn.missing_us == 0)
        drawn_wh, varh = drawn.amount[both].sum(), register.amount[both].sum()
        both_us = np.minimum(register.covered_us, drawn.covered_us)[both].sum()
        if drawn_wh <= 0:
            yield absent(names[1], "Nothing was drawn.")
        else:
            factor = drawn_wh / math.hypot(drawn_wh, varh)
            yield measured(names[1], factor, both_us, meter.length_us)
        return
    why = f"There is no register of {way} reactive energy."
    yield from (absent(name, why) for name in names)


def _power_factor(parameters: Parameters, meter: Meter) -> Figure:
    """Active over apparent energy of the time in which power is drawn."""
    name, samples, power_w = "power_factor_ratio", meter.samples, meter.power_w
    apparent_va = None if power_w is None else _apparent_va(parameters, samples, power_w)
    if power_w is None or apparent_va is None:
        told = f"{parameters.apparent!r}, {parameters.reactive!r} or {parameters.power_factor!r}"
        return absent(name, f"It takes {parameters.power!r} and {told}.")
    drawn = shares(samples, power_w, apparent_va, meter.kind)
    if drawn.apparent_vah <= 0:
        return absent(name, "Nothing was drawn while both were known.")
    ratio = drawn.drawn_wh / drawn.apparent_vah
    return measured(name, ratio, drawn.covered_us, meter.length_us)


def _apparent_va(parameters: Parameters, samples: Samples, power_w: Values) -> Values | None:
    """The apparent power: as told, or of active and reactive power, or by the power factor."""
    apparent_va = samples.column(parameters.apparent)
    if apparent_va is not None:
        return apparent_va
    reactive_var = samples.column(parameters.reactive)
    if reactive_var is not None:
        return np.hypot(power_w, reactive_var)
    factor = samples.column(parameters.power_factor)
    if factor is None:
        return None
    apparent_va = np.full(power_w.size, np.nan)
    np.divide(np.abs(power_w), np.abs(factor), out=apparent_va, where=factor != 0.0)
    return apparent_va


def _findings(parameters: Parameters, meter: Meter) -> Iterator[Finding]:
    """What does not fit: registers that fell, register against integral, power against V and I."""
    when_us = extent(meter.samples)
    for point, flow in ((parameters.energy, meter.drawn), (parameters.exported, meter.fed)):
        if flow.register is not None and flow.register.falls:
            yield Finding(
                "counter_fell",
                f"{point!r} fell {flow.register.falls} time(s); it says nothing of those steps.",
                "Find out whether the meter was exchanged or reset.",
                *when_us,
            )
        if flow.is_alarm or flow.is_short:
            what = f"{point!r} counted, though by {parameters.power!r} nothing flowed."
            if not flow.is_alarm:
                what = f"{point!r} counted less than the integral of {parameters.power!r}."
            elif flow.kappa_ratio is not None and flow.kappa_u_ratio is not None:
                what = (
                    f"{point!r} counted {flow.kappa_ratio:.4f} times the integral of"
                    f" {parameters.power!r}; more than {2 * flow.kappa_u_ratio:.2%} off is no"
                    " chance."
                )
            yield Finding(
                "register_not_integral",
                what,
                "Check the scales of both points in the profile, the ratios of the transformers,"
                " what the power stands for (power_is), and whether it is read often enough.",
                *when_us,
            )
    metering = parameters.metering or Metering()
    points = (parameters.power, parameters.voltage, parameters.current)
    yield from ratio_findings(metering, meter.samples, *points)
    for phase in _PHASES:
        of_phase = Metering(phases=1)
        yield from ratio_findings(of_phase, meter.samples, *_points_of(phase))
