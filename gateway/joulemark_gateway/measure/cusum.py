"""The saving so far with its band, and the rule by which one may stop waiting.

The band at unit t is the interval of the sum up to t. It is made for one look: who looks every day
sees it left by chance sooner or later. The stop rule therefore shares its doubt evenly over the
looks that were planned (Bonferroni): a look stops where the band at the confidence
1 - (1 - confidence) / looks excludes the claim.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from joulemark_agent.contract.errors import MeasureError
from joulemark_agent.kernels.jit import compiled
from joulemark_gateway.measure.data import Data, Times
from joulemark_gateway.measure.estimate import Estimate
from joulemark_gateway.measure.qr import Array
from joulemark_gateway.measure.uncertainty import Process


@dataclass(frozen=True, eq=False)
class Cumulative:
    """The saving up to each unit, shape (m,). [Wh]"""

    position: Times
    saved_wh: Array
    u_wh: Array
    process: Process

    def half_width_wh(self, confidence: float) -> Array:
        """Half of the two-sided interval at each unit, for one look, shape (m,). [Wh]"""
        return self.process.half_width(1.0, confidence) * self.u_wh


@dataclass(frozen=True)
class Stop:
    """The first look whose band excludes the claim."""

    unit: int  # index of the last unit seen
    look: int  # counted from 1
    looks: int
    saved_wh: float
    half_width_wh: float
    claimed_wh: float


def cumulative(estimate: Estimate, units: Data) -> Cumulative:
    """The saving so far.

    Args:
        estimate: the baseline.
        units: of the reporting period, without holes.
    """
    saved_wh = estimate.predict_wh(units) - units.energy_wh
    u_wh = np.sqrt(estimate.running_variance(units, range(1, units.n + 1)))
    return Cumulative(units.position, _running(saved_wh), u_wh, estimate.process)


def stop_of(
    seen: Cumulative,
    *,
    every: int,
    planned_units: int,
    confidence: float,
    claimed_wh: Array | None = None,
) -> Stop | None:
    """The look at which one may stop; None: wait.

    Args:
        seen: the saving so far.
        every: units between two looks.
        planned_units: of the whole reporting period: they say how many looks share the doubt.
        confidence: that no look excludes a claim that is true.
        claimed_wh: the claimed saving up to each unit, shape (m,); None: 0, no saving. [Wh]

    Raises:
        MeasureError: `bad_looks`.
    """
    if not 1 <= every <= planned_units:
        raise MeasureError(
            f"A look every {every} of {planned_units} units is no plan.",
            "Look at least once, and not more often than once a unit.",
            code="bad_looks",
        )
    looks = planned_units // every
    half_wh = seen.half_width_wh(1 - (1 - confidence) / looks)
    for look in range(1, min(looks, seen.saved_wh.size // every) + 1):
        unit = look * every - 1
        claimed = 0.0 if claimed_wh is None else float(claimed_wh[unit])
        saved, half = float(seen.saved_wh[unit]), float(half_wh[unit])
        if math.fabs(saved - claimed) > half:
            return Stop(unit, look, looks, saved, half, claimed)
    return None


@compiled
def _running(values: Array) -> Array:
    out = np.empty(values.size)
    total = 0.0
    for i in range(values.size):
        total += values[i]
        out[i] = total
    return out
