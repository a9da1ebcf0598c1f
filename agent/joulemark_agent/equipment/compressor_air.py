"""The air a compressor delivers by a flow meter: free air, specific power, isentropic efficiency.

A cubic metre says how much air it is only with its reference: without one nothing is computed.
Specific power stands for the time the machine delivers: loaded, or running where its states are not
told apart, with a flow of at least a tenth of the rated one, for a minute at least. It is the
energy of that time over its volume, no mean of ratios.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import hypot
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from joulemark_agent.equipment.base import (
    US_PER_S,
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
from joulemark_agent.equipment.compressor_states import LOAD, RUNNING, States
from joulemark_agent.kernels.gas import (
    COMPRESSOR_INLET,
    NORMAL_0C,
    STANDARD_15C,
    STANDARD_20C,
    State,
    volume_at,
)
from joulemark_agent.physics.compression import (
    isentropic_efficiency,
    isentropic_power,
    least_isentropic_efficiency,
    specific_power,
)
from joulemark_agent.physics.domain import OutOfDomain

J_M3_PER_KW_MIN_M3 = 60_000.0  # 1 kW/(m3/min)

_LEAST_FLOW_RATIO = 0.1
_LEAST_US = 60 * US_PER_S
_REFERENCES = {"normal_0c": NORMAL_0C, "standard_15c": STANDARD_15C, "standard_20c": STANDARD_20C}


class Inlet(Section):
    """The air the machine takes in; free air is counted in it. Default: 1 bar, 20 C, dry."""

    pressure_pa: Positive = COMPRESSOR_INLET.pressure_pa
    temperature_k: Positive = COMPRESSOR_INLET.temperature_k
    water_vapour_pa: Annotated[Number, Field(ge=0)] = 0.0

    @model_validator(mode="after")
    def _is_mostly_air(self) -> Inlet:
        if self.water_vapour_pa >= self.pressure_pa / 2:
            raise ValueError("water vapour is a small part of the inlet pressure, both in Pa")
        return self


class Flow(Section):
    """The flow meter and what its cubic metre is: free air, or air at 0, 15 or 20 C, 1 atm."""

    point: Annotated[str, of_unit("m3/s")]
    reference: Literal["fad", "normal_0c", "standard_15c", "standard_20c"] | None = None
    rated_m3_s: Positive | None = None
    inlet: Inlet = Inlet()
    uncertainty_ratio: Annotated[Number, Field(gt=0, lt=1)] | None = None  # standard, of the flow


class UsRule(Section):
    """What the US rule for lubricated rotary machines of 35 to 1,250 cfm asks of its kind."""

    drive: Literal["fixed", "variable"]
    cooling: Literal["air", "liquid"]


@dataclass(frozen=True)
class Delivery:
    """The time in which a machine delivers, its energy and its free air."""

    step_us: Times  # of the samples used, 0 elsewhere, shape (n,)
    delivering_us: int  # in which it delivers, used or not
    energy_j: float
    free_air_m3: float


def free_flow(flow: Flow | None, samples: Samples) -> Values | str:
    """The free air delivered, shape (n,), or why it is not known. [m3/s]"""
    if flow is None:
        return "There is no flow meter: without the air delivered there is no specific power."
    if flow.reference is None:
        return (
            f"The section does not say what a cubic metre of {flow.point!r} is. Free air and"
            " normal cubic metres differ by 9 %: look at the meter and set flow.reference."
        )
    flow_m3_s = samples.column(flow.point)
    if flow_m3_s is None:
        return f"{flow.point!r} is not recorded."
    inlet = State(flow.inlet.pressure_pa - flow.inlet.water_vapour_pa, flow.inlet.temperature_k)
    factor = volume_at(1.0, _REFERENCES.get(flow.reference, inlet), inlet)
    return flow_m3_s * factor


def delivery(
    samples: Samples, states: States, power: Values, free_m3_s: Values, rated_m3_s: float | None
) -> Delivery | str:
    """What is delivered while the machine delivers, or why that is nothing."""
    least_m3_s = _LEAST_FLOW_RATIO * (rated_m3_s or float(np.nanquantile(free_m3_s, 0.95)))
    both = np.where(np.isnan(power), np.nan, free_m3_s)
    is_delivering = states.is_in(LOAD, RUNNING)
    step_us = held_steps_us(samples.t_us, both, samples.max_gap_us)
    step_us = step_us * (is_delivering & (free_m3_s >= least_m3_s))
    used = step_us > 0
    volume_m3 = float(free_m3_s[used] @ step_us[used]) / US_PER_S
    if volume_m3 <= 0:
        return "There is no time in which the machine was loaded and air flowed."
    if step_us.sum() < _LEAST_US:
        return "The machine was loaded with air flowing for less than a minute."
    energy_j = float(power[used] @ step_us[used]) / US_PER_S
    return Delivery(step_us, int(states.step_us[is_delivering].sum()), energy_j, volume_m3)


def specific_figures(
    found: Delivery | str, flow_u: float | None, energy_u: float | None
) -> Iterator[Figure]:
    """Power over free air delivered: the energy of the loaded time over its volume. [J/m3]

    Args:
        found: of the time it delivers.
        flow_u: standard uncertainty of the flow meter, as a share; None: unknown.
        energy_u: of the energy, likewise.
    """
    names = ("specific_power_j_m3", "free_air_m3")
    if isinstance(found, str):
        yield from (absent(name, found) for name in names)
        return
    both_u = None if flow_u is None or energy_u is None else hypot(flow_u, energy_u)
    of_power = (specific_power(found.energy_j, found.free_air_m3), both_u)
    for name, (value, share) in zip(names, (of_power, (found.free_air_m3, flow_u)), strict=True):
        figure = measured(name, value, int(found.step_us.sum()), found.delivering_us)
        yield replace(figure, standard_uncertainty=None if share is None else share * value)


def efficiency_figure(
    found: Delivery | str, inlet: Inlet, outlet_pa: Values | None, exponent: float
) -> Figure:
    """Ideal power over power, at the mean pressure while it delivers.

    Args:
        found: of the time it delivers.
        inlet: of the machine.
        outlet_pa: absolute, shape (n,); None: not known whether it is.
        exponent: of the isentropic compression of air.
    """
    name = "isentropic_efficiency_ratio"
    if isinstance(found, str):
        return absent(name, found)
    if outlet_pa is None:
        return absent(
            name,
            "The discharge pressure is not known: name its point in 'pressure', and say in"
            " 'pressure_is' whether it is gauge or absolute.",
        )
    step_us = np.where(np.isnan(outlet_pa), 0, found.step_us)
    if not step_us.any():
        return absent(name, "There is no pressure for the time in which it delivers.")
    mean_pa = float(np.where(step_us > 0, outlet_pa, 0.0) @ step_us) / float(step_us.sum())
    length_s = float(found.step_us.sum()) / US_PER_S
    try:
        ideal_w = isentropic_power(
            inlet.pressure_pa, mean_pa, found.free_air_m3 / length_s, exponent
        )
        share = isentropic_efficiency(ideal_w, found.energy_j / length_s)
    except OutOfDomain as refused:
        why = f"Flow, pressure and power do not fit together: {refused}"
        return Figure(name, None, None, why, flags=("impossible",))
    return measured(name, share, int(step_us.sum()), found.delivering_us)


def rule_figure(rule: UsRule, capacity_m3_s: float) -> Figure:
    """The least efficiency of the US rule for a machine of this size."""
    name = "us_least_efficiency_ratio"
    try:
        return Figure(name, least_isentropic_efficiency(capacity_m3_s, rule.drive, rule.cooling))
    except OutOfDomain as refused:
        return absent(name, f"The rule does not hold for this machine: {refused}")
