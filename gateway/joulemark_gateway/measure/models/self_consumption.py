"""What photovoltaics save: what the site used of them itself, interval by interval.

Self-consumption is min(load, PV) in every interval; what is left goes into the grid and is told
apart, since it saves this site nothing. The generation alone would claim both. The inverter's own
draw at night is negative generation and counts against the saving. Within an interval load and sun
may miss each other, so long intervals flatter: the interval is told beside the figure.

The performance ratio finds faults. No regression on the weather enters the saving.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from joulemark_agent.contract.errors import MeasureError
from joulemark_agent.kernels.carbon import WH_PER_KWH
from joulemark_agent.physics.domain import OutOfDomain
from joulemark_agent.physics.photovoltaics import corrected_performance_ratio
from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.finding import Finding
from joulemark_gateway.measure.qr import Array

LOAD, GENERATION, FACTOR = "load_wh", "pv_wh", "factor_kg_per_kwh"

_LIGHT, _CELL = "irradiation_wh_m2", "cell_k"


@dataclass(frozen=True, eq=False)
class SelfConsumption:
    """A period's photovoltaics; arrays by interval, NaN where load or generation is unknown."""

    own_wh: Array
    export_wh: Array
    imported_wh: Array
    longest_interval_us: int
    known_intervals: int
    missing_intervals: int

    @property
    def saved_wh(self) -> float:
        """What the grid need not deliver. [Wh]"""
        return _sum(self.own_wh)

    @property
    def exported_wh(self) -> float:
        """What others used of it. [Wh]"""
        return _sum(self.export_wh)

    @property
    def generated_wh(self) -> float:
        """Both together: no saving. [Wh]"""
        return _sum(self.own_wh + self.export_wh)


@dataclass(frozen=True)
class CarbonOfPv:
    """The CO2e that self-consumption avoids, and over how many intervals its factor is known."""

    avoided_kg: float
    intervals: int
    without_factor: int


def self_consumption(data: Data) -> SelfConsumption:
    """Own use, export and import of every interval.

    Args:
        data: intervals with `load_wh`, all that the site uses, and `pv_wh`, what the inverter gives
            (negative: what it draws).

    Raises:
        MeasureError: `negative_load`; `no_whole_unit`.
    """
    load, made = data.driver(LOAD), data.driver(GENERATION)
    if bool((load < 0).any()):
        raise MeasureError(
            f"The load is negative in {int(np.count_nonzero(load < 0))} intervals.",
            "Give what the site uses: import + generation - export.",
            code="negative_load",
        )
    known = np.isfinite(load) & np.isfinite(made)
    if not known.any():
        raise MeasureError(
            "No interval has both load and generation.",
            "Look at the coverage of both meters.",
            code="no_whole_unit",
        )
    own = np.minimum(load, made)
    return SelfConsumption(
        own_wh=own,
        export_wh=made - own,
        imported_wh=load - own,
        longest_interval_us=int(data.length_us.max()),
        known_intervals=int(np.count_nonzero(known)),
        missing_intervals=int(np.count_nonzero(~known)),
    )


def avoided_carbon(of: SelfConsumption, data: Data) -> CarbonOfPv:
    """Self-consumption times the grid's factor in each interval, `factor_kg_per_kwh`."""
    kg = of.own_wh / WH_PER_KWH * data.driver(FACTOR)
    known = np.isfinite(kg)
    missing = int(np.count_nonzero(np.isfinite(of.own_wh) & ~known))
    return CarbonOfPv(_sum(kg), int(np.count_nonzero(known)), missing)


def performance_finding(
    data: Data,
    *,
    dc_peak_w: float,
    gamma_per_k: float,
    expected_ratio: float,
    tolerance_ratio: float,
    by: str,
) -> Finding:
    """Whether the modules gave what the light let them: a flag of faults and never a saving.

    Args:
        data: intervals with `pv_wh`, `irradiation_wh_m2` in the modules' plane and `cell_k`.
        dc_peak_w: rating at standard test conditions. [W]
        gamma_per_k: temperature coefficient of power, mostly negative. [1/K]
        expected_ratio: performance ratio at 25 degC cells when all is well. [1]
        tolerance_ratio: how far below it may fall. [1]
        by: id of the policy that asks.

    Raises:
        MeasureError: `no_light`, where no interval has light and all else; `impossible_ratio`.
    """
    made, light, cell = data.driver(GENERATION), data.driver(_LIGHT), data.driver(_CELL)
    lit = np.isfinite(made) & np.isfinite(light) & np.isfinite(cell) & (light > 0)
    total = _sum(light[lit])
    if total <= 0:
        raise MeasureError(
            "No interval has light, cell temperature and generation.",
            "Look at a longer time, or leave the ratio out.",
            code="no_light",
        )
    try:
        seen = corrected_performance_ratio(
            _sum(made[lit]),
            dc_peak_w,
            total,
            mean_cell_k=_sum(light[lit] * cell[lit]) / total,
            gamma_per_k=gamma_per_k,
        )
    except OutOfDomain as refused:
        raise MeasureError(
            f"The performance ratio cannot be told: {refused}",
            "Look at the rating and the units of light and temperature.",
            code="impossible_ratio",
        ) from refused
    least = expected_ratio - tolerance_ratio
    rule = "the performance ratio at 25 degC is what it was when all was well"
    return Finding(
        "low_performance_ratio", by, "modules", rule, seen, least, None, "1", seen >= least
    )


def _sum(values: Array) -> float:
    return math.fsum(values[np.isfinite(values)].tolist())
