"""The meter of a device: its ratios, its class, and how sure the figures are that it gives.

A section `metering` may stand in the parameters of any model. What it does not declare stays
unknown: a figure then has no standard uncertainty, which is not an uncertainty of 0.

Three kinds of errors, each under the name of its source (`physics.budget`), so that what two
figures share counts once and cancels in ratios:
- the gain of the meter and of each transformer, the same error in every figure of that meter;
- the steps of the registers: of a counter at each edge of a window, so that the windows between
  two edges know the sum as well as one window over both; and at an edge between two readings, what
  the counter counted from one to the other;
- where a mean stands for a whole window, the time nobody saw.

The limits of a class are at power factor 1. Below the lowest load of the class the error is taken
to be no larger, in watts, than at that load; above 1.2 times the rated current it is unknown.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from joulemark_agent.contract.quantities import unit_of
from joulemark_agent.equipment.base import (
    US_PER_H,
    Figure,
    Finding,
    Number,
    Positive,
    Samples,
    Section,
    Times,
    Values,
    Windows,
    held,
    held_steps_us,
)
from joulemark_agent.physics.budget import Amount, Part
from joulemark_agent.physics.electrical import (
    LEAST_UNCERTAINTY_RATIO,
    apparent_power_va,
    is_possible_power,
    most_power_w,
    primary_factor,
)
from joulemark_agent.physics.meter_class import (
    CURRENT_TRANSFORMER_LIMITS,
    METER_LIMITS,
    MOST_LOAD,
    CurrentTransformerClass,
    MeterClass,
    VoltageTransformerClass,
    current_transformer_limit,
    meter_limit,
    voltage_transformer_limit,
)
from joulemark_agent.physics.uncertainty import (
    judged_degrees_of_freedom,
    rectangular,
    resolution,
)

WHOLE_WH = 1.0  # what a counter moves by at least: counts are whole

_MOST_IMPOSSIBLE = 0.1  # of the samples: a wrong ratio shows in nearly all, a late value in few
_LEAST_CURRENT = 0.05  # of the largest: below it the step of the register decides
_POWERS = {"W", "VA", "var", "Wh", "varh"}


def _text(value: Any) -> Any:
    """A class is a name: 0.5 and 1 without quotes in YAML are meant as one."""
    return value if isinstance(value, bool) else str(value)


def _phases(value: Any) -> Any:
    return {"1": 1, "3": 3}.get(str(value), value)


class Metering(Section):
    """The meter and its transformers as their plates say; all of it optional."""

    meter_class: Annotated[MeterClass, BeforeValidator(_text)] | None = None
    ct_class: Annotated[CurrentTransformerClass, BeforeValidator(_text)] | None = None
    vt_class: Annotated[VoltageTransformerClass, BeforeValidator(_text)] | None = None
    limit_ratio: Annotated[Number, Field(gt=0, lt=1)] | None = None  # of the whole, calibrated
    rated_current_a: Positive | None = None  # primary of the transformer, else of the meter
    line_voltage_v: Positive | None = None  # between two lines, to neutral with one phase
    phases: Annotated[Literal[1, 3], BeforeValidator(_phases)] = 3
    ct_ratio: Positive | None = None  # primary over secondary current
    vt_ratio: Positive | None = None  # primary over secondary voltage
    ratio_applied: bool | None = None  # whether what the meter tells is the primary side
    power_step_w: Positive | None = None  # of the register, on the primary side
    counter_step_wh: Positive | None = None  # of the register, on the primary side
    is_from_current: bool = False  # power from volts, amperes and an assumed power factor
    limit_doubt_ratio: Annotated[Number, Field(gt=0, le=1)] = 0.1  # how sure the limits are

    @model_validator(mode="after")
    def _one_of_its_kind(self) -> Self:
        has_ratio = self.ct_ratio is not None or self.vt_ratio is not None
        if has_ratio and self.ratio_applied is None:
            raise ValueError(
                "say in 'ratio_applied' whether the meter multiplies by the ratios itself: true if"
                " its display shows the power of the machine, false if that of the secondary side"
            )
        if self.ratio_applied is not None and not has_ratio:
            raise ValueError("'ratio_applied' needs the ratios: give ct_ratio, vt_ratio or both")
        if self.limit_ratio is not None and (self.meter_class or self.ct_class or self.vt_class):
            raise ValueError("give either limit_ratio, of a calibration of the whole, or classes")
        return self

    @property
    def full_load_w(self) -> float | None:
        """The power at rated current and voltage; None where one of them is not given. [W]"""
        if self.rated_current_a is None or self.line_voltage_v is None:
            return None
        return apparent_power_va(self.line_voltage_v, self.rated_current_a, self.phases)

    def factor(self, unit: str) -> float:
        """What a value in that unit is multiplied by to stand for the primary side."""
        applied = self.ratio_applied is not False
        current = primary_factor(self.ct_ratio or 1.0, 1.0, ratio_applied=applied)
        voltage = primary_factor(1.0, self.vt_ratio or 1.0, ratio_applied=applied)
        if unit in _POWERS:
            return current * voltage
        return {"A": current, "Ah": current, "V": voltage}.get(unit, 1.0)


def primary(metering: Metering | None, samples: Samples, points: Collection[str]) -> Samples:
    """The samples with those points of the meter as they are on the primary side.

    Counters stay as they are, since they count in whole steps of the register: multiply what was
    counted by `Metering.factor("Wh")`, as `primary_windows` does.
    """
    if metering is None:
        return samples
    factors = {
        point: metering.factor(unit_of(point) or "")
        for point in points
        if point in samples.values and point not in samples.counters
    }
    scaled = {point: samples.values[point] * factor for point, factor in factors.items()}
    return replace(samples, values={**samples.values, **scaled})


def primary_windows(metering: Metering | None, windows: Windows, unit: str = "Wh") -> Windows:
    """What a meter counted, as it is on the primary side."""
    factor = 1.0 if metering is None else metering.factor(unit)
    if factor == 1.0:
        return windows
    unread = None if windows.unread is None else windows.unread * factor
    return replace(windows, amount=windows.amount * factor, unread=unread)


def metered(
    metering: Metering | None,
    meter: str,
    samples: Samples,
    power: str | Values,
    edges_us: Times,
) -> tuple[Amount | None, ...]:
    """The energy of each window from power samples, over its covered time; None: unknown.

    Args:
        metering: of the meter; its ratios have been applied (`primary`).
        meter: name of the meter: figures of one meter share its gain.
        samples: of one device.
        power: the point, or values at the instants of the samples. [W]
        edges_us: of the windows, as in `held`. [us]
    """
    nothing = (None,) * (edges_us.size - 1)
    column = samples.column(power) if isinstance(power, str) else power
    if metering is None or column is None:
        return nothing
    limits = dict(_limits_w(metering, column))
    if not limits:
        return nothing
    energy = held(samples, column, edges_us)
    errors = {source: held(samples, limit, edges_us) for source, limit in limits.items()}
    step_w = metering.power_step_w
    alike_h = None if step_w is None else _alike_h(samples, column, edges_us)
    judged = judged_degrees_of_freedom(metering.limit_doubt_ratio)

    def window(k: int) -> Amount | None:
        covered_us = int(energy.covered_us[k])
        if covered_us <= 0 or any(int(of.covered_us[k]) < covered_us for of in errors.values()):
            return None
        parts = {
            f"{meter} {source}": _gain(float(of.amount[k]), float(energy.amount[k]), judged)
            for source, of in errors.items()
        }
        if step_w is not None and alike_h is not None:
            parts[f"{meter} steps {edges_us[k]}"] = Part(resolution(step_w) * float(alike_h[k]))
        return Amount(float(energy.amount[k]), _with_factor(metering, meter, parts, energy, k))

    return tuple(window(k) for k in range(edges_us.size - 1))


def registered(
    metering: Metering | None,
    meter: str,
    windows: Windows,
    edges_us: Times,
    *,
    step_wh: float = WHOLE_WH,
) -> tuple[Amount | None, ...]:
    """The energy of each window from a counter; None: unknown.

    The load, which decides the limit of a class, is the mean of the window.

    Args:
        metering: of the meter; its ratios have been applied (`primary_windows`).
        meter: name of the meter: figures of one meter share its gain and the reading at an edge.
        windows: what it counted. [Wh]
        edges_us: of the windows. [us]
        step_wh: of the register on the primary side, where the section does not declare it; see
            `register_step_wh`. [Wh]
    """
    counted_us = windows.covered_us + windows.estimated_us
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_w = np.where(counted_us > 0, windows.amount * US_PER_H / counted_us, np.nan)
    limits = {} if metering is None else dict(_limits_w(metering, mean_w))
    if metering is None or not limits:
        return (None,) * windows.amount.size
    unread = np.zeros(edges_us.size) if windows.unread is None else windows.unread
    reading = np.hypot(resolution(metering.counter_step_wh or step_wh), unread / math.sqrt(3.0))
    judged = judged_degrees_of_freedom(metering.limit_doubt_ratio)

    def window(k: int) -> Amount | None:
        if counted_us[k] <= 0 or any(np.isnan(limit[k]) for limit in limits.values()):
            return None
        hours = float(counted_us[k]) / US_PER_H
        parts = {
            f"{meter} {source}": _gain(float(limit[k]) * hours, float(windows.amount[k]), judged)
            for source, limit in limits.items()
        }
        parts[f"{meter} reading {edges_us[k]}"] = Part(-float(reading[k]))
        parts[f"{meter} reading {edges_us[k + 1]}"] = Part(float(reading[k + 1]))
        return Amount(float(windows.amount[k]), _with_factor(metering, meter, parts, windows, k))

    return tuple(window(k) for k in range(windows.amount.size))


def register_step_wh(metering: Metering | None, samples: Samples, point: str) -> float:
    """The step of a counter on the primary side, as its profile tells it; at least a whole Wh."""
    semantics = samples.counters.get(point)
    factor = 1.0 if metering is None else metering.factor("Wh")
    return (WHOLE_WH if semantics is None else float(semantics.step)) * factor


def mean_power(
    metering: Metering | None,
    meter: str,
    samples: Samples,
    power: str | Values,
    edges_us: Times,
) -> tuple[Amount | None, ...]:
    """The mean power of each window, standing for its missing time too; None: unknown.

    In the missing time the power is taken to lie anywhere between the least and the largest that
    the window shows; that is all that is known of it.

    Args:
        metering: as in `metered`.
        meter: as in `metered`.
        samples: of one device.
        power: as in `metered`. [W]
        edges_us: as in `metered`. [us]
    """
    energies = metered(metering, meter, samples, power, edges_us)
    column = samples.column(power) if isinstance(power, str) else power
    if column is None:
        return energies
    step_us = held_steps_us(samples.t_us, column, samples.max_gap_us)
    covered_us = held(samples, column, edges_us).covered_us

    def window(k: int, energy: Amount | None) -> Amount | None:
        if energy is None:
            return None
        start_us, end_us = int(edges_us[k]), int(edges_us[k + 1])
        inside = (samples.t_us < end_us) & (samples.t_us + step_us > start_us) & (step_us > 0)
        shown = column[inside]
        missing = 1.0 - int(covered_us[k]) / (end_us - start_us)
        hours = int(covered_us[k]) / US_PER_H
        parts = {
            source: replace(part, amount=part.amount / hours)
            for source, part in energy.parts.items()
        }
        half_w = missing * float(shown.max() - shown.min()) / 2.0
        if half_w > 0:
            parts[f"{meter} unseen {start_us}"] = Part(rectangular(half_w))
        return Amount(energy.value / hours, parts)

    return tuple(window(k, energy) for k, energy in enumerate(energies))


def stated(figure: Figure, amount: Amount | None) -> Figure:
    """The figure with the standard uncertainty of its amount; unchanged where that is unknown."""
    if amount is None or figure.value is None:
        return figure
    return replace(
        figure,
        standard_uncertainty=amount.standard_uncertainty,
        degrees_of_freedom=amount.degrees_of_freedom,
    )


def ratio_findings(
    metering: Metering | None, samples: Samples, power: str, voltage: str, current: str
) -> Iterator[Finding]:
    """Power that voltage and current cannot carry: a ratio or a scale is wrong.

    Where voltage and current are not recorded, the rated ones are asked, at 1.2 times the current.

    Args:
        metering: of the meter; its ratios have been applied (`primary`).
        samples: of one device.
        power: point. [W]
        voltage: point, between two lines (to neutral with one phase). [V]
        current: point, of a line. [A]
    """
    power_w = samples.column(power)
    if metering is None or power_w is None:
        return
    voltage_v, current_a = samples.column(voltage), samples.column(current)
    if voltage_v is not None and current_a is not None:
        judged = ~np.isnan(power_w + voltage_v + current_a)
        judged &= np.abs(current_a) >= _LEAST_CURRENT * np.nanmax(np.abs(current_a))
        is_wrong = judged & ~is_possible_power(power_w, voltage_v, current_a, metering.phases)
        told = f"{voltage!r} and {current!r}"
    elif metering.rated_current_a is not None and metering.line_voltage_v is not None:
        largest_a = MOST_LOAD * metering.rated_current_a
        judged = ~np.isnan(power_w)
        most_w = most_power_w(metering.line_voltage_v, largest_a, metering.phases)
        is_wrong = judged & (np.abs(power_w) > most_w)
        told = "the rated voltage and 1.2 times the rated current"
    else:
        return
    if is_wrong.sum() <= _MOST_IMPOSSIBLE * judged.sum():
        return
    at_us = samples.t_us[is_wrong]
    yield Finding(
        "power_impossible",
        f"In {at_us.size} of {judged.sum()} samples {power!r} is more than {told} can carry.",
        "Check the ratios of the transformers, whether the meter applies them itself"
        " (ratio_applied), and the scale of the point in the profile.",
        int(at_us[0]),
        int(at_us[-1]),
    )


def _limits_w(metering: Metering, power_w: Values) -> Iterator[tuple[str, Values]]:
    """Per source of gain error its limit in watts at each power; nothing: unknown."""
    if metering.limit_ratio is not None:
        yield "gain", metering.limit_ratio * np.abs(power_w)
        return
    full_w = metering.full_load_w
    name, transformer = metering.meter_class, metering.ct_class
    has_ct = metering.ct_ratio is not None
    if full_w is None or name is None or (has_ct and transformer is None):
        return
    if metering.vt_ratio is not None and metering.vt_class is None:
        return
    load = np.abs(power_w) / full_w
    least = METER_LIMITS[name][0][0]
    at = np.maximum(load, least)
    yield "gain", meter_limit(name, at) * at * full_w
    if transformer is not None:
        least = CURRENT_TRANSFORMER_LIMITS[transformer][0][0]
        at = np.maximum(load, least)
        ratio = current_transformer_limit(transformer, at)
        yield "current transformer", ratio * at * full_w
    if metering.vt_class is not None:
        limit = voltage_transformer_limit(metering.vt_class)
        yield "voltage transformer", limit * np.abs(power_w)


def _gain(limit_wh: float, energy_wh: float, degrees_of_freedom: float) -> Part:
    """What a gain error makes of an energy: of its sign, so that export and import share it."""
    return Part(math.copysign(rectangular(limit_wh), energy_wh), degrees_of_freedom)


def _with_factor(
    metering: Metering, meter: str, parts: Mapping[str, Part], energy: Windows, k: int
) -> Mapping[str, Part]:
    """The parts, and that of an assumed power factor where power is not measured."""
    if not metering.is_from_current:
        return parts
    degrees = judged_degrees_of_freedom(metering.limit_doubt_ratio)
    doubt = Part(LEAST_UNCERTAINTY_RATIO * float(energy.amount[k]), degrees)
    return {**parts, f"{meter} power factor": doubt}


def _alike_h(samples: Samples, column: Values, edges_us: Times) -> Values:
    """The root of the sum of squares of the times in which a value stood, by window. [h]

    Rounding errs anew where a register moves: a value that stands errs by one and the same.
    """
    t_us = samples.t_us
    step_us = held_steps_us(t_us, column, samples.max_gap_us)
    run = np.cumsum(np.diff(column, prepend=np.nan) != 0)
    found = []
    for start_us, end_us in pairwise(edges_us.tolist()):
        first = max(int(np.searchsorted(t_us, start_us, side="right")) - 1, 0)
        inside = slice(first, int(np.searchsorted(t_us, end_us)))
        begins_us = np.maximum(t_us[inside], start_us)
        part_us = np.maximum(np.minimum((t_us + step_us)[inside], end_us) - begins_us, 0)
        alike_us = np.bincount(run[inside] - run[first], part_us)
        found.append(math.sqrt(float((alike_us**2).sum())) / US_PER_H)
    return np.array(found)
