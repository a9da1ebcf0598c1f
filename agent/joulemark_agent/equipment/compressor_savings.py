"""What a change would save at a compressor, as if it had been made in the time that is looked at.

Less pressure: the machine compresses less far (C5), and whatever no regulator holds draws less
(C6). Closed leaks: what the machine's own curve falls by (C14); at the mean specific power the
saving would be overstated wherever an unloaded or throttled machine still draws. Drops across
dryers and filters cost what discharging at less pressure would save (C18). Recovered heat is
measured (C17); more than 96 % of the electricity is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import hypot
from typing import Annotated

import numpy as np
from pydantic import Field

from joulemark_agent.equipment.base import (
    US_PER_H,
    Figure,
    Number,
    Positive,
    Samples,
    Section,
    Times,
    Values,
    absent,
    held_steps_us,
    measured,
    of_unit,
)
from joulemark_agent.equipment.compressor_control import Curve
from joulemark_agent.physics.air_cost import (
    WATER_J_KG_K,
    WATER_KG_M3,
    air_energy,
    demand_at_pressure,
    drop_power,
    heat_share,
    marginal_power,
    recovered_heat,
)
from joulemark_agent.physics.compression import PRESSURE_EXPONENT, power_at_pressure
from joulemark_agent.physics.domain import OutOfDomain
from joulemark_agent.physics.uncertainty import combined, rectangular, sensitivities

Share = Annotated[Number, Field(ge=0, le=1)]
Codes = tuple[str, ...]  # flags of a figure

_EXPONENT_U = rectangular(0.4 / 1.4 - PRESSURE_EXPONENT)  # the published one or the isentropic
_ATMOSPHERE_U = rectangular(1500.0)  # weather [Pa]
_UNREGULATED_RATIO = 0.6  # AIRMaster+
_NO_METER = "meter_uncertainty_unknown"  # and so not in the figure's own
_UNREGULATED_U = rectangular(0.3)  # of what nobody measured


class LessPressure(Section):
    """A discharge pressure lower than it was; how sure its pressures and shares are."""

    lower_by_pa: Positive
    pressure_uncertainty_pa: Positive = rectangular(10_000.0)  # a gauge of class 1, 0 to 10 bar
    unregulated_ratio: Share | None = None  # of the flow, that no regulator holds
    unregulated_uncertainty: Positive = 0.1  # of that, where it is given


class Heat(Section):
    """What carries heat away to where it is used: water, or what is declared."""

    flow: Annotated[str, of_unit("m3/s")]
    supply: Annotated[str, of_unit("K")]  # to the machine
    back: Annotated[str, of_unit("K")]  # from it
    density_kg_m3: Positive = WATER_KG_M3
    heat_j_kg_k: Positive = WATER_J_KG_K


class Drop(Section):
    """The pressures before and after a dryer or filter."""

    before: Annotated[str, of_unit("Pa")]
    after: Annotated[str, of_unit("Pa")]


def pressure_figures(
    change: LessPressure,
    *,
    delivered_wh: float,
    energy_u: float | None,
    gauge_pa: float,
    atmosphere_pa: float,
    covered: float,
    flags: Codes,
) -> Iterator[Figure]:
    """What compressing less far would have saved.

    Args:
        change: what is asked.
        delivered_wh: energy while loaded or running. [Wh]
        energy_u: its standard uncertainty, as a share; None: unknown, and not part of the saving's.
        gauge_pa: mean pressure then. [Pa gauge]
        atmosphere_pa: absolute. [Pa]
        covered: share of that time that is known. [1]
        flags: what limits that time.
    """
    name = "pressure_saving_wh"

    def saved_wh(from_pa: float, exponent: float, outside_pa: float) -> float:
        to_pa = from_pa - change.lower_by_pa
        return delivered_wh * (1 - power_at_pressure(1.0, from_pa, to_pa, outside_pa, exponent))

    inputs = (gauge_pa, PRESSURE_EXPONENT, atmosphere_pa)
    spreads = (change.pressure_uncertainty_pa, _EXPONENT_U, _ATMOSPHERE_U)
    try:
        value = saved_wh(*inputs)
        uncertainty = combined(sensitivities(saved_wh, inputs, spreads), spreads)
    except OutOfDomain as refused:
        yield absent(name, f"The pressure cannot fall so far: {refused}")
        return
    uncertainty = hypot(uncertainty, (energy_u or 0.0) * value)
    flags = ("counterfactual", *flags, *(() if energy_u is not None else (_NO_METER,)))
    yield Figure(name, value, covered, "", uncertainty, flags=flags)


def artificial_demand_figures(
    change: LessPressure,
    *,
    demand_m3_s: float,
    demand_u: float | None,
    covered: float | None,
    gauge_pa: float,
    atmosphere_pa: float,
    capacity_m3_s: float,
    curve: Curve | None,
    span_s: float,
) -> Iterator[Figure]:
    """The air that would not have been drawn at less pressure, and the energy for it.

    That energy is counted at the lower pressure, so that it adds to `pressure_figures`.

    Args:
        change: what is asked.
        demand_m3_s: mean free air drawn. [m3/s]
        demand_u: its standard uncertainty; None: unknown, and not part of what follows. [m3/s]
        covered: share of the time in which the demand is known. [1]
        gauge_pa: mean pressure. [Pa gauge]
        atmosphere_pa: absolute. [Pa]
        capacity_m3_s: of the machine. [m3/s]
        curve: its part-load curve, where it is declared.
        span_s: time it stands for. [s]
    """
    names = ("artificial_demand_m3_s", "artificial_demand_saving_wh")
    ratio = change.unregulated_ratio
    is_assumed = ratio is None
    flags = (
        "counterfactual",
        *(("assumed_share",) if is_assumed else ()),
        *((_NO_METER,) if demand_u is None else ()),
    )
    ratio_u = _UNREGULATED_U if is_assumed else change.unregulated_uncertainty

    def avoided(flow_m3_s: float, unregulated: float, from_pa: float) -> float:
        above_pa = from_pa + atmosphere_pa
        to_pa = above_pa - change.lower_by_pa
        return flow_m3_s - demand_at_pressure(
            max(flow_m3_s, 0.0), above_pa, to_pa, min(max(unregulated, 0.0), 1.0)
        )

    inputs = (demand_m3_s, _UNREGULATED_RATIO if ratio is None else ratio, gauge_pa)
    spreads = (demand_u or 1e-12, ratio_u, change.pressure_uncertainty_pa)
    try:
        flow_m3_s = avoided(*inputs)
        uncertainty = combined(sensitivities(avoided, inputs, spreads), spreads)
        scale = power_at_pressure(1.0, gauge_pa, gauge_pa - change.lower_by_pa, atmosphere_pa)
    except OutOfDomain as refused:
        yield from (absent(name, f"The pressure cannot fall so far: {refused}") for name in names)
        return
    yield Figure(names[0], flow_m3_s, covered, "", uncertainty, flags=flags)
    if curve is None:
        yield absent(
            names[1], "What less air saves follows from the part-load curve: declare 'control'."
        )
        return
    yield _saving(
        names[1],
        saved=(flow_m3_s, uncertainty),
        demand_m3_s=demand_m3_s,
        machine=(lambda c: scale * curve(c), capacity_m3_s),
        span_s=span_s,
        covered=covered,
        flags=flags,
    )


def leak_cost_figures(
    *,
    leak: Figure,
    demand_m3_s: float,
    capacity_m3_s: float,
    curve: Curve | None,
    mean_j_m3: float | None,
    span_s: float,
) -> Iterator[Figure]:
    """What the leaks cost in the time: by the curve's slope, and by mean specific power.

    Args:
        leak: their flow, as it was found. [m3/s]
        demand_m3_s: mean free air drawn, leaks included. [m3/s]
        capacity_m3_s: of the machine. [m3/s]
        curve: its part-load curve, where it is declared.
        mean_j_m3: energy of all the time over its air, where it is known. [J/m3]
        span_s: time it stands for. [s]
    """
    names = ("leak_saving_wh", "leak_at_mean_wh")
    if leak.value is None or leak.value < 0:
        why = leak.why or "the flow meter shows less than none in the quiet hours."
        yield from (absent(name, f"The leaks are not known: {why}") for name in names)
        return
    uncertainty = leak.standard_uncertainty or 0.0
    if leak.value - 2 * uncertainty > demand_m3_s * (1 + 1e-9):
        why = (
            "More leaks in the quiet hours than the machine delivers in the mean: they do not leak"
            " all the time, as where it is switched off."
        )
        yield from (Figure(name, None, None, why, flags=("unresolved",)) for name in names)
        return
    if curve is None:
        yield absent(
            names[0], "What closed leaks save follows from the part-load curve: declare 'control'."
        )
    else:
        yield _saving(
            names[0],
            saved=(leak.value, uncertainty),
            demand_m3_s=demand_m3_s,
            machine=(curve, capacity_m3_s),
            span_s=span_s,
            covered=leak.covered_ratio,
            flags=("counterfactual",),
        )
    if mean_j_m3 is not None:
        yield Figure(
            names[1],
            air_energy(leak.value, span_s, mean_j_m3),
            leak.covered_ratio,
            "",
            air_energy(uncertainty, span_s, mean_j_m3) if uncertainty else None,
            flags=("overstates",),
        )


def drop_figures(
    name: str,
    drop: Drop,
    samples: Samples,
    delivering: tuple[Times, Codes] | str,
    power: Values | None,
    *,
    atmosphere_pa: float,
    is_gauge: bool | None,
) -> Iterator[Figure]:
    """The mean drop across one thing while air flows, and what it costs.

    Args:
        name: of the dryer or filter.
        drop: its points.
        samples: of the machine.
        delivering: the steps in which it delivers, 0 elsewhere, and what limits them; or why they
            are not known.
        power: of it, shape (n,). [W]
        atmosphere_pa: absolute. [Pa]
        is_gauge: whether the pressures are above it; None: nothing says it.
    """
    names = (f"{name}_drop_pa", f"{name}_drop_wh")
    before, after = samples.column(drop.before), samples.column(drop.after)
    if before is None or after is None:
        missing = drop.before if before is None else drop.after
        yield from (absent(each, f"{missing!r} is not recorded.") for each in names)
        return
    if isinstance(delivering, str):
        yield from (absent(each, delivering) for each in names)
        return
    delivering_steps_us, flags = delivering
    delivering_us = int(delivering_steps_us.sum())
    fall = before - after
    step_us = held_steps_us(samples.t_us, fall, samples.max_gap_us) * (delivering_steps_us > 0)
    known = step_us > 0
    if not known.any():
        yield from (absent(each, "There is no time in which air flowed.") for each in names)
        return
    mean_pa = float(fall[known] @ step_us[known]) / float(step_us.sum())
    yield measured(names[0], mean_pa, int(step_us.sum()), delivering_us)
    if power is None:
        yield absent(names[1], "The power is not recorded.")
        return
    if is_gauge is None:
        yield absent(
            names[1], f"Say in 'pressure_is' whether {drop.before!r} is gauge or absolute."
        )
        return
    known &= ~np.isnan(power)
    mean_before_pa = float(before[known] @ step_us[known]) / float(step_us[known].sum())
    energy_wh = float(power[known] @ step_us[known]) / US_PER_H
    gauge_pa = mean_before_pa if is_gauge else mean_before_pa - atmosphere_pa
    try:
        cost_wh = energy_wh * drop_power(1.0, gauge_pa, mean_pa, atmosphere_pa)
    except OutOfDomain as refused:
        yield absent(names[1], f"The pressures do not fit together: {refused}")
        return
    cost = measured(names[1], cost_wh, int(step_us[known].sum()), delivering_us)
    yield replace(cost, flags=flags)


def heat_figures(heat: Heat, samples: Samples, power: Values | None) -> Iterator[Figure]:
    """The heat that is recovered, and its share of the electricity of the same time."""
    names = ("recovered_wh", "recovered_ratio")
    columns = [samples.column(point) for point in (heat.flow, heat.supply, heat.back)]
    flow, supply, back = columns
    if flow is None or supply is None or back is None or power is None:
        missing = [
            point
            for point, column in zip((heat.flow, heat.supply, heat.back), columns, strict=True)
            if column is None
        ]
        why = f"{', '.join(map(repr, missing)) or 'The power'} is not recorded."
        yield from (absent(name, why) for name in names)
        return
    carried = flow * (back - supply) * np.where(np.isnan(power), np.nan, 1.0)
    step_us = held_steps_us(samples.t_us, carried, samples.max_gap_us)
    known = step_us > 0
    span_us = int(samples.t_us[-1] - samples.t_us[0])
    covered_us = int(step_us.sum())
    if not known.any():
        yield from (measured(name, 0.0, covered_us, span_us) for name in names)
        return
    means = [float(column[known] @ step_us[known]) for column in (flow, carried, power)]
    flow_m3_s, carried_k_m3_s, power_w = (mean / covered_us for mean in means)
    rise_k = carried_k_m3_s / flow_m3_s if flow_m3_s > 0 else 0.0
    if power_w <= 0 and carried_k_m3_s == 0:
        yield measured(names[0], 0.0, covered_us, span_us)
        yield absent(names[1], "The machine drew nothing in this time.")
        return
    try:
        heat_w = recovered_heat(flow_m3_s, rise_k, heat.density_kg_m3, heat.heat_j_kg_k)
        share = heat_share(heat_w, power_w)
    except OutOfDomain as refused:
        why = (
            "More heat seems to be recovered than the machine can give, or less than none: look at"
            f" the flow, at both temperatures and at their order ({refused})"
        )
        yield from (Figure(name, None, None, why, flags=("impossible",)) for name in names)
        return
    yield measured(names[0], heat_w * covered_us / US_PER_H, covered_us, span_us)
    yield measured(names[1], share, covered_us, span_us)


def _saving(
    name: str,
    *,
    saved: tuple[float, float],
    demand_m3_s: float,
    machine: tuple[Curve, float],
    span_s: float,
    covered: float | None,
    flags: Codes,
) -> Figure:
    """What a machine's curve falls by where a flow, with its uncertainty, is drawn no more."""
    (flow_m3_s, uncertainty), (curve, capacity_m3_s) = saved, machine
    if flow_m3_s <= 0:
        return Figure(name, 0.0, covered, flags=flags)
    left_m3_s = max(demand_m3_s - flow_m3_s, 0.0)
    try:
        slope_j_m3 = marginal_power(curve, capacity_m3_s, demand_m3_s, left_m3_s)
        value = air_energy(flow_m3_s, span_s, slope_j_m3)
        spread = abs(air_energy(uncertainty, span_s, slope_j_m3)) or None
    except OutOfDomain as refused:
        return absent(name, f"The machine's curve says nothing of this demand: {refused}")
    if value < 0:
        why = "By the declared curve the machine would draw more, not less, with less air here."
        return Figure(name, None, None, why, flags=("unresolved",))
    return Figure(name, value, covered, "", spread, flags=(*flags, "declared_curve"))
