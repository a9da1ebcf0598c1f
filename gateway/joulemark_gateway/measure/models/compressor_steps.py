"""A compressor's steps as what its power is linear in: hours run and volume delivered.

Flow is brought to free air at the inlet first, and pressure enters as the ratio of full-load power
at the step's pressure to that at a reference. All of it adds up over time, so that a map that is
fitted to hours predicts minutes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from joulemark_agent.contract.errors import MeasureError
from joulemark_agent.kernels.gas import State, volume_at
from joulemark_agent.physics.compression import AIR_EXPONENT, power_at_pressure
from joulemark_agent.physics.domain import OutOfDomain
from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.qr import Array

FLOW, GAUGE, INLET_PA, INLET_K = "flow_m3_s", "gauge_pa", "inlet_pa", "inlet_k"
RUN, DELIVERED, ABOVE, ABOVE_H = "run_h", "delivered_m3", "above_m3", "above_h"

S_PER_HOUR = 3600.0
US_PER_HOUR = 3_600_000_000


@dataclass(frozen=True)
class Machine:
    """What is declared of a compressor, or of several that are measured together."""

    control: Literal["load_unload", "variable_speed"]
    rated_m3_s: float  # free air delivery
    atmosphere_pa: float = 101_325.0
    counted: State | None = None  # of the flow meter's cubic metre; None: free air at the inlet
    exponent: float = (AIR_EXPONENT - 1) / AIR_EXPONENT  # of the pressure correction


def free_delivery(data: Data, machine: Machine) -> Array:
    """Flow in each step as free air at the inlet, q_n (T1 / T_n)(p_n / p1). [m3/s]

    Raises:
        MeasureError: `no_flow_measured`; `missing_driver` of the inlet.
    """
    if FLOW not in data.drivers:
        raise MeasureError(
            "The compressor's flow is not measured, so it has no map of its own.",
            "Measure the flow, or prove the saving over the whole site with its production.",
            code="no_flow_measured",
        )
    flow = data.driver(FLOW)
    if machine.counted is None:
        return flow
    inlets = zip(data.driver(INLET_PA).tolist(), data.driver(INLET_K).tolist(), strict=True)
    ratio = [volume_at(1.0, machine.counted, State(*inlet)) for inlet in inlets]
    free: Array = flow * np.array(ratio)
    return free


def mean_gauge_pa(data: Data, flow: Array) -> float | None:
    """The mean pressure while air is delivered; None where pressure is not measured."""
    if GAUGE not in data.drivers:
        return None
    gauge, hours = data.driver(GAUGE), hours_of(data)
    known = np.isfinite(gauge) & (flow > 0)
    if not known.any():
        return None
    return math.fsum((gauge * hours)[known].tolist()) / math.fsum(hours[known].tolist())


def pressure_factor(data: Data, machine: Machine, reference_pa: float | None) -> Array:
    """Full-load power at each step's pressure over that at the reference; 1 without one."""
    if reference_pa is None:
        return np.ones(data.n)
    levels, place = np.unique(data.driver(GAUGE), return_inverse=True)
    factors = np.array([_factor(machine, reference_pa, level) for level in levels.tolist()])
    factor: Array = factors[place]
    return factor


def _factor(machine: Machine, reference_pa: float, gauge_pa: float) -> float:
    """As `pressure_factor`, for one pressure; NaN where it cannot be true."""
    atmosphere_pa, exponent = machine.atmosphere_pa, machine.exponent
    try:
        return power_at_pressure(1.0, reference_pa, gauge_pa, atmosphere_pa, exponent)
    except OutOfDomain:
        return math.nan


def additive(
    data: Data, machine: Machine, flow: Array, factor: Array, knot_m3_s: float | None
) -> Data:
    """What the map is linear in.

    Pressure acts on the compression. A variable-speed machine runs as long as it delivers, all of
    its power follows; one that unloads draws its idle power at any pressure, so that the factor
    grows from 1 without delivery to its whole at the rating.
    """
    hours = hours_of(data)
    volume = flow * factor * hours * S_PER_HOUR
    if machine.control == "load_unload":
        run = hours * (1.0 + (factor - 1.0) * np.minimum(flow / machine.rated_m3_s, 1.0))
    else:
        run = np.where(np.isfinite(flow), hours * factor, np.nan)
    drivers = {RUN: run, DELIVERED: volume}
    if knot_m3_s is not None:
        above = np.maximum(flow - knot_m3_s, 0.0)
        drivers[ABOVE] = above * factor * hours * S_PER_HOUR
        drivers[ABOVE_H] = np.where(above > 0, factor * hours, above)
    return replace(data, drivers=drivers)


def hours_of(data: Data) -> Array:
    """Length of each step. [h]"""
    hours: Array = data.length_us / US_PER_HOUR
    return hours
