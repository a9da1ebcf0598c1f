"""A compressor by itself: its power at every delivery, before a measure, and what it saves after.

The map P(q) is a straight line for a machine that loads and unloads, and two segments for variable
speed, where the knot is searched over bins of the rated delivery. Minutes say nothing of their own
noise (each is like the last), so the coefficients and their interval come from hours: the map is
linear in hours run, volume delivered and volume above the knot, which add up. Every step is still
predicted by itself.

Means over hours of minutes that remember are no AR(1): their lag-one correlation overstates later
ones, so the interval is wide. A nominal 90 % held 96 % of 400 simulated weeks; minutes taken for
news of their own held 7 %.

Without a measured flow there is no map, and only the whole site with its production can tell.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.data import Data, Flags, Times
from joulemark_gateway.measure.finding import Finding, NamedPolicy, PolicyUsed
from joulemark_gateway.measure.linear import fit
from joulemark_gateway.measure.models.aggregation import in_whole_units, summed
from joulemark_gateway.measure.models.base import Fitted, Term
from joulemark_gateway.measure.models.compressor_steps import (
    ABOVE,
    ABOVE_H,
    DELIVERED,
    RUN,
    S_PER_HOUR,
    Machine,
    additive,
    free_delivery,
    hours_of,
    mean_gauge_pa,
    pressure_factor,
)
from joulemark_gateway.measure.qr import Array, column_norms, least_squares

_US_PER_S = 1_000_000
_HOURS_PER_DAY = 24
_FINER = 10  # parts of a bin in which the knot is looked for
_BINS_PER_SEGMENT = 2


@dataclass(frozen=True)
class MapPolicy(NamedPolicy):
    """What a map must rest on; the limits of one version of one policy."""

    min_days: float
    longest_step_s: float
    bin_ratio: float  # of the rated delivery
    unit_s: float
    least_measured_ratio: float  # of a unit


@dataclass(frozen=True)
class Bin:
    """A range of delivery, what was drawn in it, and for how long."""

    flow_m3_s: float
    power_w: float
    hours: float


@dataclass(frozen=True, eq=False)
class PerformanceMap:
    """The baseline's map; `fitted` holds it by hours."""

    machine: Machine
    policy: MapPolicy
    reference_gauge_pa: float | None  # to which power is referred; None: pressure is not measured
    knot_m3_s: float | None
    bins: tuple[Bin, ...]
    fitted: Fitted
    findings: tuple[Finding, ...]

    def steps(self, data: Data, *, at_own_pressure: bool) -> Data:
        """The steps with what the map is linear in, as drivers that add up.

        Args:
            data: steps, with what the map was made from.
            at_own_pressure: the baseline is taken at each step's pressure, as when the plant asks
                for another one; otherwise at the baseline's, as when the measure lowered it.

        Raises:
            MeasureError: `no_pressure_measured`, of the baseline; `no_flow_measured`,
                `missing_driver`.
        """
        if at_own_pressure and self.reference_gauge_pa is None:
            raise MeasureError(
                "The baseline's pressure is not known, so it cannot be taken at another one.",
                "Take the baseline at its own pressure, and say so.",
                code="no_pressure_measured",
            )
        flow = free_delivery(data, self.machine)
        factor = pressure_factor(
            data, self.machine, self.reference_gauge_pa if at_own_pressure else None
        )
        return additive(data, self.machine, flow, factor, self.knot_m3_s)

    def units(self, steps: Data) -> Data:
        """The steps as units of which enough is known."""
        return summed(steps, self._unit_us, self.policy.least_measured_ratio)

    def counted(self, steps: Data) -> Flags:
        """The steps that are part of those units."""
        return in_whole_units(steps, self._unit_us, self.policy.least_measured_ratio)

    @property
    def _unit_us(self) -> int:
        return round(self.policy.unit_s * _US_PER_S)


@dataclass(frozen=True, eq=False)
class MapSaving:
    """What the map's machine would have drawn, step by step and in the units of the interval."""

    avoided_wh: Array  # of each step; NaN where it is not counted
    predicted_wh: float
    measured_wh: float
    units: Data  # for the interval
    policy: PolicyUsed

    @property
    def saved_wh(self) -> float:
        """Over all counted steps. [Wh]"""
        return self.predicted_wh - self.measured_wh


def fit_map(data: Data, machine: Machine, policy: MapPolicy) -> PerformanceMap:
    """The map of a baseline.

    Args:
        data: steps with `flow_m3_s`; `gauge_pa` where the pressure is measured; `inlet_pa` and
            `inlet_k` where the flow is counted in another state than the inlet's.
        machine: what is declared.
        policy: what the map must rest on; its findings say whether it does.

    Raises:
        MeasureError: `no_flow_measured`, `no_whole_unit`, `too_few_bins`, `missing_driver`, those
            of `linear.fit`.
    """
    flow = free_delivery(data, machine)
    reference = mean_gauge_pa(data, flow)
    factor = pressure_factor(data, machine, reference)
    known = np.isfinite(flow) & np.isfinite(factor) & np.isfinite(data.energy_wh)
    if not known.any():
        raise MeasureError(
            "No step has energy, flow and pressure.",
            "Look at their coverage.",
            code="no_whole_unit",
        )
    place = _bin_places(flow[known], machine.rated_m3_s * policy.bin_ratio)
    knot = None
    if machine.control == "variable_speed":
        at = _Known(data.where(known), flow[known], factor[known], place)
        knot = _knot(at, machine, machine.rated_m3_s * policy.bin_ratio)
    elif np.unique(place).size < _BINS_PER_SEGMENT:
        raise _too_few_bins(_BINS_PER_SEGMENT)
    steps = additive(data, machine, flow, factor, knot)
    unit_us = round(policy.unit_s * _US_PER_S)
    return PerformanceMap(
        machine,
        policy,
        reference,
        knot,
        tuple(_bins(data.where(known), flow[known], place)),
        _fitted(summed(steps, unit_us, policy.least_measured_ratio), knot),
        _findings(data.where(known), policy),
    )


def saving(of: PerformanceMap, data: Data, *, at_own_pressure: bool) -> MapSaving:
    """The sum over steps of dt (P_b(q_r) - P_r), over steps in units that are known enough.

    Raises:
        MeasureError: `no_whole_unit`, those of `PerformanceMap.steps`.
    """
    steps = of.steps(data, at_own_pressure=at_own_pressure)
    counted = of.counted(steps)
    if not counted.any():
        raise MeasureError(
            "No unit of the period is known enough.", "Look at its coverage.", code="no_whole_unit"
        )
    predicted = of.fitted.predict_wh(steps)
    avoided = np.where(counted, predicted - data.energy_wh, np.nan)
    return MapSaving(
        avoided,
        math.fsum(predicted[counted].tolist()),
        math.fsum(data.energy_wh[counted].tolist()),
        of.units(steps),
        of.policy.used(),
    )


def _fitted(units: Data, knot_m3_s: float | None) -> Fitted:
    names = (DELIVERED,) if knot_m3_s is None else (DELIVERED, ABOVE)

    def rows(of: Data) -> Array:
        return np.column_stack([of.driver(RUN), *(of.driver(name) for name in names)])

    columns = np.column_stack([units.driver(name) for name in names])
    linear = fit(columns, units.energy_wh, units.position, units.driver(RUN))
    terms = (Term(RUN, "Wh/h"), *(Term(name, "Wh/m3") for name in names))
    if knot_m3_s is None:
        return Fitted("compressor-map", linear, terms, rows, rows)
    turn_wh_m3 = float(linear.beta[2])

    def tangent(of: Data) -> Array:
        moved = -turn_wh_m3 * S_PER_HOUR * of.driver(ABOVE_H)
        return np.column_stack([rows(of), moved])

    facts = {"knot_m3_s": knot_m3_s}
    return Fitted("compressor-map", linear, terms, rows, tangent, 1, facts)


@dataclass(frozen=True, eq=False)
class _Known:
    """Steps of which all is known, and the bin of each."""

    data: Data
    flow: Array
    factor: Array
    place: Times


def _knot(at: _Known, machine: Machine, width: float) -> float:
    """The delivery at which two segments meet with the least weighted misfit to the bins."""
    filled = np.unique(at.place)
    inner = filled[_BINS_PER_SEGMENT:-_BINS_PER_SEGMENT]
    if not inner.size:
        raise _too_few_bins(2 * _BINS_PER_SEGMENT + 1)
    weight = np.bincount(at.place, hours_of(at.data))[filled]

    def misfit(knot: float) -> float:
        steps = additive(at.data, machine, at.flow, at.factor, knot)
        columns = [steps.driver(RUN), steps.driver(DELIVERED), steps.driver(ABOVE)]
        root = np.sqrt(weight)
        means = [np.bincount(at.place, column)[filled] / root for column in columns]
        y = np.bincount(at.place, at.data.energy_wh)[filled] / root
        found = least_squares(np.column_stack(means), y)
        return float(column_norms(found.residuals[:, None])[0])

    low, high = float(inner[0]) * width, float(inner[-1] + 1) * width
    coarse = min(_between(low, high, width), key=misfit)
    around = max(low, coarse - width), min(high, coarse + width)
    return min(_between(*around, width / _FINER), key=misfit)


def _between(low: float, high: float, step: float) -> list[float]:
    return [low + k * step for k in range(round((high - low) / step) + 1)]


def _bin_places(flow: Array, width: float) -> Times:
    return np.maximum(np.floor(flow / width), 0.0).astype(np.int64)


def _bins(data: Data, flow: Array, place: Times) -> Iterator[Bin]:
    hours = hours_of(data)
    total_h, total_wh = np.bincount(place, hours), np.bincount(place, data.energy_wh)
    delivered = np.bincount(place, flow * hours)
    for k in np.flatnonzero(total_h).tolist():
        time_h = float(total_h[k])
        yield Bin(float(delivered[k]) / time_h, float(total_wh[k]) / time_h, time_h)


def _findings(data: Data, policy: MapPolicy) -> tuple[Finding, ...]:
    days = math.fsum(hours_of(data).tolist()) / _HOURS_PER_DAY
    step_s = float(data.length_us.max()) / _US_PER_S
    least, most = policy.min_days, policy.longest_step_s
    return (
        Finding(
            "too_few_days",
            policy.id,
            "baseline",
            f"at least {least:g} days of the machine are measured",
            days,
            least,
            None,
            "d",
            days >= least,
        ),
        Finding(
            "steps_too_long",
            policy.id,
            "baseline",
            f"no step is longer than {most:g} s",
            step_s,
            None,
            most,
            "s",
            step_s <= most,
        ),
    )


def _too_few_bins(needed: int) -> MeasureError:
    return MeasureError(
        "The delivery hardly changed, so it shows no map.",
        f"Measure until at least {needed} ranges of delivery have been seen.",
        code="too_few_bins",
    )


MAP_POLICIES = {
    policy.id: policy
    for policy in (
        MapPolicy(
            id="compressor-map",
            version="1",
            text="At least two weeks of power and flow in steps of a minute or less; bins of 5 % "
            "of the rated delivery; hours of which at least 90 % are known.",
            source="own, after IPMVP option B; the text of the protocol was not at hand",
            min_days=14,
            longest_step_s=60,
            bin_ratio=0.05,
            unit_s=3600,
            least_measured_ratio=0.9,
        ),
    )
}
