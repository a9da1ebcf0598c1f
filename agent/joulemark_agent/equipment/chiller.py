"""A chiller: what it cools, COP and power per ton, part load, and the power its kind would take.

Cooling is the heat balance of the chilled circuit while the chiller runs, summed before it is
divided. The difference between return and supply decides how sure it is: where its mean, weighted
by the flow, is below 1 K, two sensors say nothing and no COP is given; where single steps are, they
count, and their time is told. Water or not is declared: glycol carries several percent less heat.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from joulemark_agent.equipment.base import (
    US_PER_S,
    Analysis,
    Figure,
    Finding,
    Flags,
    Number,
    Positive,
    Samples,
    Section,
    Times,
    Values,
    absent,
    drawn,
    extent,
    held_steps_us,
    measured,
    of_unit,
)
from joulemark_agent.equipment.metering import Metering, metered, primary, stated
from joulemark_agent.equipment.steps import (
    common_steps_us,
    in_proportion,
    integral,
    seconds,
    used,
    used_figure,
)
from joulemark_agent.physics.budget import Amount, Part, ratio
from joulemark_agent.physics.chiller import (
    LEAST_DIFFERENCE_K,
    coefficient_of_performance,
    kw_per_ton,
    part_load_ratio,
    water_heat_j_m3_k,
)
from joulemark_agent.physics.chiller_curve import ChillerKind, Rating, expected
from joulemark_agent.physics.domain import OutOfDomain, inside
from joulemark_agent.physics.fab_energy import S_PER_H

_OFF_RATIO = 0.05  # of the rated power
_OFF_COOLING_RATIO = 0.01  # of the rated cooling: as much, at a COP of 5
_UNSIZED = (
    "Its power never fell to a twentieth of the largest seen, which may be that of running or of"
    " standing by: set rated_power_w or off_below_w."
)
_MOST_READ = 1e9  # of any point: more is no reading
_MUCH_LOW = 0.05  # of the running time with a small difference: then it is a finding
_RESULTS = (
    "cooling_wh",
    "mean_difference_k",
    "low_difference_s",
    "cop_w_per_w",
    "specific_power_kw_per_ton",
    "part_load_ratio",
)
_COMPARED = ("expected_wh", "over_expected_ratio")


class Curve(Section):
    """The kind of chiller, whose published curve says what power to expect."""

    kind: ChillerKind
    input_ratio: Annotated[Number, Field(ge=0.02, le=2)]  # rated power over rated cooling
    most_capacity_ratio: Annotated[Number, Field(ge=0.1, le=10)] = 1.0
    condenser: Annotated[str, of_unit("K")]  # water, or air, as it enters


class Parameters(Section):
    """What only the site knows of a chiller."""

    power: Annotated[str, of_unit("W")] = "power_w"
    flow: Annotated[str, of_unit("m3/s")] = "chilled_flow_m3_s"
    supply: Annotated[str, of_unit("K")] = "chilled_supply_k"
    returning: Annotated[str, of_unit("K")] = "chilled_return_k"
    liquid: Literal["water"] | None = None
    heat_j_m3_k: Annotated[Number, Field(ge=1e6, le=1e7)] | None = None  # of another liquid
    rated_cooling_w: Annotated[Number, Field(ge=1e3, le=1e8)] | None = None
    rated_power_w: Positive | None = None
    off_below_w: Positive | None = None
    curve: Curve | None = None
    difference_uncertainty_k: Annotated[Number, Field(gt=0, le=10)] | None = None  # standard
    flow_uncertainty_ratio: Annotated[Number, Field(gt=0, lt=1)] | None = None
    heat_uncertainty_ratio: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    metering: Metering | None = None


@dataclass(frozen=True, eq=False)
class _Circuit:
    """The chilled circuit over the steps in which the chiller runs and all is known."""

    heat_j_m3_k: float
    cooling_w: Values
    power_w: Values
    low: Flags  # where the difference is small
    step_us: Times
    running_us: int  # also where the circuit is not known
    volume_m3: float

    @property
    def cooling_wh(self) -> float:
        """The heat taken out."""
        return integral(self.cooling_w, self.step_us) / S_PER_H

    @property
    def energy_wh(self) -> float:
        """The electricity of the same steps."""
        return integral(self.power_w, self.step_us) / S_PER_H

    @property
    def difference_k(self) -> float:
        """The mean difference, weighted by the flow; 0 without flow."""
        carried_j_k = self.heat_j_m3_k * self.volume_m3
        return self.cooling_wh * S_PER_H / carried_j_k if carried_j_k > 0 else 0.0

    def figure(self, name: str, value: float) -> Figure:
        """A figure of these steps, with the share of the running time that they are."""
        return measured(name, value, int(self.step_us.sum()), self.running_us)


def analyse(parameters: Parameters, samples: Samples) -> Analysis:
    """Energy, cooling, COP, part load and expected power of one chiller."""
    own = primary(parameters.metering, samples.distinct(), (parameters.power,))
    samples, reversals = drawn(own, parameters.power)
    start_us, end_us = extent(samples)
    if end_us == start_us:
        return Analysis(figures=(absent("energy_wh", "There are no samples over time."),))
    edges_us = np.array([start_us, end_us], np.int64)
    (energy,) = metered(parameters.metering, "power meter", samples, parameters.power, edges_us)
    total = used_figure("energy_wh", samples, parameters.power, used(samples, parameters.power))
    figures = [stated(total, energy)]
    power = samples.column(parameters.power)
    if power is None:
        why = f"{parameters.power!r} is not recorded."
        absents = ("running_s", *_RESULTS, *(_COMPARED if parameters.curve else ()))
        return Analysis(figures=(*figures, *(absent(name, why) for name in absents)))
    off_w = _off_w(parameters, power)
    is_sized = off_w is not None
    is_running = power > (_OFF_RATIO * float(np.nanmax(power)) if off_w is None else off_w)
    known_us = held_steps_us(samples.t_us, power, samples.max_gap_us)
    running_us = int(np.where(is_running, known_us, 0).sum())
    running_s = measured("running_s", running_us / US_PER_S, int(known_us.sum()), end_us - start_us)
    figures.append(running_s if is_sized else absent("running_s", _UNSIZED))
    found = _circuit(parameters, samples, is_running, running_us)
    circuit = _UNSIZED if isinstance(found, _Circuit) and not is_sized else found
    if isinstance(circuit, str):
        names = (*_RESULTS, *(_COMPARED if parameters.curve else ()))
        return Analysis(
            figures=(*figures, *(absent(name, circuit) for name in names)), findings=reversals
        )
    figures += _results(parameters, circuit, energy)
    if parameters.curve is not None:
        figures += _compared(parameters, parameters.curve, samples, circuit)
    findings = (*reversals, *_findings(circuit, start_us, end_us))
    return Analysis(figures=tuple(figures), findings=findings)


def _off_w(parameters: Parameters, power: Values) -> float | None:
    """Up to which power it does not run; None where nothing tells. [W]"""
    if parameters.off_below_w is not None:
        return parameters.off_below_w
    if parameters.rated_power_w is not None:
        return _OFF_RATIO * parameters.rated_power_w
    if parameters.rated_cooling_w is not None:
        return _OFF_COOLING_RATIO * parameters.rated_cooling_w
    learned_w = _OFF_RATIO * float(np.nanmax(power))
    return learned_w if np.nanmin(power) <= learned_w else None


def _circuit(
    parameters: Parameters, samples: Samples, is_running: Flags, running_us: int
) -> _Circuit | str:
    """The chilled circuit, or why nothing is said of it."""
    points = (parameters.power, parameters.flow, parameters.supply, parameters.returning)
    columns = [samples.column(point) for point in points]
    if missing := [point for point, found in zip(points, columns, strict=True) if found is None]:
        return f"{', '.join(map(repr, missing))} is not recorded."
    power, flow, supply, returning = (
        inside(found, -_MOST_READ, _MOST_READ) for found in columns if found is not None
    )
    step_us = np.where(is_running, common_steps_us(samples, power, flow, supply, returning), 0)
    if not running_us:
        return "The chiller did not run."
    if not step_us.any():
        return "There is no running time with good values of power, flow and both temperatures."
    mean_k = integral((supply + returning) / 2, step_us) / seconds(step_us)
    heat = parameters.heat_j_m3_k
    if heat is None and parameters.liquid is None:
        return (
            "The section does not say what the circuit is filled with. Set liquid: water, or"
            " heat_j_m3_k for another: density times heat capacity, with glycol several percent"
            " less than the 4.19e6 of water."
        )
    try:
        heat = water_heat_j_m3_k(mean_k) if heat is None else heat
    except OutOfDomain as error:
        return f"{error} Look at the scale and offset of both temperatures."
    difference_k = returning - supply
    return _Circuit(
        heat,
        heat * flow * difference_k,
        power,
        difference_k < LEAST_DIFFERENCE_K,
        step_us,
        running_us,
        integral(flow, step_us),
    )


def _results(parameters: Parameters, circuit: _Circuit, energy: Amount | None) -> Iterator[Figure]:
    difference_k = circuit.difference_k
    low_s = seconds(np.where(circuit.low, circuit.step_us, 0))
    if difference_k < LEAST_DIFFERENCE_K:
        why = (
            f"Return and supply differ by {difference_k:.2f} K in the mean; below"
            f" {LEAST_DIFFERENCE_K:g} K that is mostly the error of the sensors. Lower the flow, or"
            " check that the sensors sit in the flow and are not exchanged."
        )
        for name in _RESULTS:
            known = {"mean_difference_k": difference_k, "low_difference_s": low_s}.get(name)
            yield absent(name, why) if known is None else circuit.figure(name, known)
        return
    flags = ("low_difference",) if low_s > _MUCH_LOW * seconds(circuit.step_us) else ()
    cooling = _cooling(parameters, circuit)
    electric = in_proportion(energy, circuit.energy_wh)
    cop = coefficient_of_performance(circuit.cooling_wh, circuit.energy_wh)
    both = None if cooling is None or electric is None else ratio(cooling, electric)

    def figure(name: str, value: float, amount: Amount | None) -> Figure:
        return stated(replace(circuit.figure(name, value), flags=flags), amount)

    yield figure("cooling_wh", circuit.cooling_wh, cooling)
    sure_k = parameters.difference_uncertainty_k
    mean = None if sure_k is None else Amount(difference_k, {"difference": Part(sure_k)})
    yield figure("mean_difference_k", difference_k, mean)
    yield circuit.figure("low_difference_s", low_s)
    yield figure("cop_w_per_w", cop, both)
    try:
        per_ton = kw_per_ton(cop)
        yield figure("specific_power_kw_per_ton", per_ton, in_proportion(both, per_ton))
    except OutOfDomain as error:
        yield absent("specific_power_kw_per_ton", str(error))
    if parameters.rated_cooling_w is None:
        why = "Part load needs the capacity on the plate: set rated_cooling_w."
        yield absent("part_load_ratio", why)
        return
    mean_w = circuit.cooling_wh * S_PER_H / seconds(circuit.step_us)
    try:
        load = part_load_ratio(mean_w, parameters.rated_cooling_w)
    except OutOfDomain as error:
        yield absent("part_load_ratio", f"{error} Look at the scale of the flow.")
    else:
        yield figure("part_load_ratio", load, in_proportion(cooling, load))


def _cooling(parameters: Parameters, circuit: _Circuit) -> Amount | None:
    """The cooling energy with its uncertainty; None where the sensors' is not declared."""
    sure_k, sure_flow = parameters.difference_uncertainty_k, parameters.flow_uncertainty_ratio
    if sure_k is None or sure_flow is None:
        return None
    carried_wh_k = circuit.heat_j_m3_k * circuit.volume_m3 / S_PER_H
    parts = {
        "difference": Part(carried_wh_k * sure_k),
        "flow": Part(circuit.cooling_wh * sure_flow),
        "heat": Part(circuit.cooling_wh * parameters.heat_uncertainty_ratio),
    }
    return Amount(circuit.cooling_wh, parts)


def _compared(
    parameters: Parameters, curve: Curve, samples: Samples, circuit: _Circuit
) -> Iterator[Figure]:
    """The energy that a chiller of its kind would have taken for the same cooling."""
    condenser, supply = samples.column(curve.condenser), samples.column(parameters.supply)
    rated_w = parameters.rated_cooling_w
    if condenser is None or supply is None or rated_w is None:
        wanted = "rated_cooling_w" if condenser is not None else f"the point {curve.condenser!r}"
        why = f"The curve of its kind needs {wanted}, which is not there."
        yield from (absent(name, why) for name in _COMPARED)
        return
    rating = Rating(curve.kind, rated_w, curve.input_ratio, curve.most_capacity_ratio)
    power_w = expected(rating, circuit.cooling_w, supply, condenser).power_w
    step_us = np.where(circuit.step_us > 0, common_steps_us(samples, power_w, supply), 0)
    expected_wh = integral(power_w, step_us) / S_PER_H
    if expected_wh <= 0:
        why = (
            "The curve of its kind says nothing of these temperatures and loads: look at the rated"
            " capacity, and at the scale and offset of the temperatures."
        )
        yield from (absent(name, why) for name in _COMPARED)
        return
    over = integral(circuit.power_w, step_us) / S_PER_H / expected_wh
    covered_us = int(step_us.sum())
    for name, value in zip(_COMPARED, (expected_wh, over), strict=True):
        found = measured(name, value, covered_us, circuit.running_us)
        yield replace(found, flags=("estimated",))


def _findings(circuit: _Circuit, start_us: int, end_us: int) -> Iterator[Finding]:
    low_s, whole_s = seconds(np.where(circuit.low, circuit.step_us, 0)), seconds(circuit.step_us)
    if low_s > _MUCH_LOW * whole_s:
        yield Finding(
            "difference_low",
            f"Return and supply differ by less than {LEAST_DIFFERENCE_K:g} K in"
            f" {low_s / whole_s:.0%} of the running time.",
            "The pump moves more than the load needs, or water bypasses it: look at the speed of"
            " the pump and at bypass valves.",
            start_us,
            end_us,
        )
