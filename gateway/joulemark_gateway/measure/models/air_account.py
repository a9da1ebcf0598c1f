"""Where a compressor's energy goes: running for nothing, leaks, work."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.data import Data, Flags
from joulemark_gateway.measure.models.compressor_steps import (
    additive,
    free_delivery,
    hours_of,
    pressure_factor,
)
from joulemark_gateway.measure.models.performance_map import PerformanceMap
from joulemark_gateway.measure.qr import Array


@dataclass(frozen=True)
class AirAccount:
    """Where a predicted energy goes; the three add up to it."""

    leak_m3_s: float
    base_wh: float  # running without delivering
    leaks_wh: float  # what it would draw less without leaks
    work_wh: float


def account(of: PerformanceMap, data: Data, quiet: Flags) -> AirAccount:
    """The predicted energy of a period as base load, leaks and work.

    Args:
        of: the map.
        data: steps of the period.
        quiet: steps in which nothing uses air, so that all that flows leaks away.

    Raises:
        MeasureError: `no_quiet_step`, `no_flow_measured`, `missing_driver`.
    """
    flow = free_delivery(data, of.machine)
    still = quiet & np.isfinite(flow)
    if not still.any():
        raise MeasureError(
            "No quiet step has a flow.",
            "Name nights or shutdowns in which nothing uses air.",
            code="no_quiet_step",
        )
    hours = hours_of(data)
    leak = math.fsum((flow * hours)[still].tolist()) / math.fsum(hours[still].tolist())
    factor = pressure_factor(data, of.machine, of.reference_gauge_pa)

    def total(at: Array) -> float:
        steps = additive(data, of.machine, at, factor, of.knot_m3_s)
        predicted = of.fitted.predict_wh(steps)
        return math.fsum(predicted[np.isfinite(predicted)].tolist())

    whole, base = total(flow), total(flow * 0.0)
    without = total(np.maximum(flow - leak, 0.0))
    return AirAccount(leak, base, whole - without, without - base)
