"""What a furnace does in every step, and when it only holds its temperature.

| state | while a charge is inside |
|---|---|
| heat | more than 10 K below the set point, or rising by more than 2 K/min |
| soak | within 10 K of the set point (left at 15 K) for at least 10 minutes, and not rising so |
| cool | more than 10 K above the set point |
| idle | anything else |

Without a charge it is `idle` while it is hotter than half its set point (in degrees Celsius), a
time that could be saved, and `cold` below. Until the door is first seen open it is not known
whether a charge is inside, and no state is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from joulemark_agent.contract.quantities import unit_of
from joulemark_agent.equipment.base import (
    US_PER_S,
    Figure,
    Finding,
    Flags,
    Samples,
    Times,
    Values,
    absent,
    held_steps_us,
    measured,
)
from joulemark_agent.equipment.furnace_batches import BAND_K, Charges
from joulemark_agent.equipment.furnace_declared import Furnace
from joulemark_agent.equipment.segments import UNKNOWN, Labels, on_steps, runs

KINDS = ("idle", "heat", "soak", "cool", "cold")
IDLE, HEAT, SOAK, COOL, COLD = (np.int8(i) for i in range(5))

_LEAVES_BAND_K = 15.0
_RISING_K_S = 2.0 / 60.0
_LEAST_SOAK_US = 10 * 60 * US_PER_S
_RISING_US, _STEADY_US = 5 * 60 * US_PER_S, 20 * 60 * US_PER_S  # over which that is told
_STEADY_K_S = 0.5 / 60.0
_LEAST_SOAKING_US, _LEAST_STEADY_US = 30 * 60 * US_PER_S, 15 * 60 * US_PER_S
_BRIDGED_US = 5 * 60 * US_PER_S
_HOT_SHARE, _ICE_K = 0.5, 273.15
_RAIL_K, _LEAP_K, _LEAP_K_S = 0.5, 100.0, 2.0  # faster than any charge or door


@dataclass(frozen=True, eq=False)
class States:
    """What the furnace did in every step; `why` where that cannot be told."""

    labels: Labels  # shape (n - 1,)
    step_us: Times  # shape (n,)
    why: str = ""

    def times(self, t_us: Times, start_us: int, end_us: int) -> Iterator[Figure]:
        """How long it did what between two instants of samples."""
        first, stop = np.searchsorted(t_us, (start_us, end_us))
        labels, step_us = self.labels[first:stop], self.step_us[:-1][first:stop]
        for label, kind in enumerate(KINDS):
            if self.why:
                yield absent(f"{kind}_s", self.why)
            else:
                time_s = float(step_us[labels == label].sum()) / US_PER_S
                known_us = int(step_us[labels != UNKNOWN].sum())
                yield measured(f"{kind}_s", time_s, known_us, end_us - start_us)


def states(parameters: Furnace, samples: Samples, found: Charges) -> States:
    """The state of every step."""
    t_us = samples.t_us
    temperature = samples.column(parameters.temperature)
    set_point = samples.column(parameters.set_point)
    if temperature is None or set_point is None:
        step_us = np.zeros(t_us.size, np.int64)
        why = f"States need {parameters.temperature!r} and {parameters.set_point!r}, both recorded."
        return States(on_steps(np.zeros(t_us.size, np.int8), step_us), step_us, why)
    below_k = set_point - temperature
    step_us = held_steps_us(t_us, below_k, samples.max_gap_us)
    labels = np.full(t_us.size, IDLE)
    is_rising = _rate(t_us, temperature, _RISING_US) > _RISING_K_S
    labels[(below_k > BAND_K) | is_rising] = HEAT
    labels[below_k < -BAND_K] = COOL
    carried_k = _carried(t_us, below_k)
    unseen = np.append(np.isnan(carried_k), True)  # also before the first and after the last
    for run in runs(_in_band(carried_k).astype(np.int8)):
        until_us = t_us[min(run.stop, t_us.size - 1)]
        at = np.arange(run.first, run.stop)[~is_rising[run.first : run.stop]]
        if run.label and until_us - t_us[run.first] >= _LEAST_SOAK_US:
            labels[at] = SOAK
        elif run.label and (unseen[run.first - 1] or unseen[run.stop]):
            labels[at] = UNKNOWN  # it may have soaked for longer than was seen
    is_loaded, is_known = _loaded(parameters, samples, found)
    is_hot = temperature - _ICE_K > _HOT_SHARE * (set_point - _ICE_K)
    labels[~is_loaded] = np.where(is_hot, IDLE, COLD)[~is_loaded]
    labels[~is_known] = UNKNOWN
    why = ""
    if not is_known.any():
        why = f"{parameters.door!r} was never seen open: whether a charge is inside is unknown."
        if parameters.charge_signal is not None:
            why = f"{parameters.charge_signal!r} is not recorded."
    return States(on_steps(labels, step_us), step_us, why)


def _loaded(parameters: Furnace, samples: Samples, found: Charges) -> tuple[Flags, Flags]:
    """Whether a charge is inside at each instant, and whether that is known."""
    always = np.ones(samples.t_us.size, np.bool_)
    if parameters.charge_signal is not None:
        signal = samples.column(parameters.charge_signal)
        if signal is None:
            return ~always, ~always
        return signal == parameters.charge_inside, ~np.isnan(signal)
    door = samples.column(parameters.door)
    if door is None:
        return always, always
    opened = np.flatnonzero(door == parameters.door_open)
    first = opened[0] if opened.size else always.size
    is_known = np.arange(always.size) >= first
    if found.undecided_us is not None:
        is_known &= samples.t_us < found.undecided_us
    return found.inside(samples.t_us), is_known


def steady(parameters: Furnace, samples: Samples, done: States) -> list[tuple[int, int]]:
    """The times at a steady temperature in soaks of at least half an hour. [us]

    Single samples that lack do not end them. Where electricity is a power, they end where it has no
    value: its energy is missing there, and the mean of the rest would come out too low.
    """
    temperature = samples.column(parameters.temperature)
    if temperature is None or done.why:
        return []
    t_us = samples.t_us
    is_soaking = _bridged(done.labels == SOAK, done.labels == UNKNOWN, t_us)
    for run in runs(is_soaking.astype(np.int8)):
        if run.label and t_us[run.stop] - t_us[run.first] < _LEAST_SOAKING_US:
            is_soaking[run.first : run.stop] = False
    soaking_k = np.where(np.append(is_soaking, False), temperature, np.nan)
    is_steady = is_soaking & (np.abs(_rate(t_us, soaking_k, _STEADY_US)[:-1]) < _STEADY_K_S)
    is_steady &= np.abs(_rate(t_us, temperature, _RISING_US)[:-1]) < _RISING_K_S
    power = samples.column(power_point(parameters) or "")
    if power is not None:
        is_steady &= held_steps_us(t_us, power, samples.max_gap_us)[:-1] > 0
    times = [
        (int(t_us[run.first]), int(t_us[run.stop]))
        for run in runs(is_steady.astype(np.int8))
        if run.label
    ]
    return [(start, end) for start, end in times if end - start >= _LEAST_STEADY_US]


def _bridged(is_so: Flags, is_unknown: Flags, t_us: Times) -> Flags:
    """The flags, with unknown steps of a few minutes taken to be as what encloses them."""
    bridged = is_so.copy()
    for run in runs(is_unknown.astype(np.int8)):
        is_short = t_us[run.stop] - t_us[run.first] <= _BRIDGED_US
        if run.label and is_short and run.first > 0 and run.stop < is_so.size:
            bridged[run.first : run.stop] = is_so[run.first - 1] and is_so[run.stop]
    return bridged


def power_point(parameters: Furnace) -> str | None:
    """The point of the electric power, where no counter is declared instead."""
    point = parameters.electricity
    return point if point is not None and unit_of(point) == "W" else None


def believed(parameters: Furnace, samples: Samples) -> tuple[Samples, tuple[Finding, ...]]:
    """The samples without the temperatures of a broken thermocouple, and the finding of them.

    A controller shows one end of its range then: the value leaps there, stays exactly there, and
    leaps back. A furnace does neither.
    """
    point = parameters.temperature
    temperature = samples.column(point)
    if temperature is None:
        return samples, ()
    is_bad = _at_rail(samples, temperature, np.nanmax(temperature))
    is_bad |= _at_rail(samples, temperature, np.nanmin(temperature))
    at_us = samples.t_us[is_bad]
    if at_us.size == 0:
        return samples, ()
    values = {**samples.values, point: np.where(is_bad, np.nan, temperature)}
    finding = Finding(
        "thermocouple_broken",
        f"{point!r} leaps to {temperature[is_bad][0]:.0f} K and stays exactly there, in"
        f" {at_us.size} of {temperature.size} samples; they are taken as missing.",
        "Look at the thermocouple and its wires: a controller shows the end of its range when the"
        " circuit is open.",
        int(at_us[0]),
        int(at_us[-1]),
    )
    return replace(samples, values=values), (finding,)


def _at_rail(samples: Samples, temperature: Values, rail_k: float) -> Flags:
    """Where it leapt to that value and stays there."""
    is_bad = np.zeros(temperature.size, np.bool_)
    known = np.flatnonzero(~np.isnan(temperature))
    t_us, shown = samples.t_us[known], temperature[known]
    step_s = np.diff(t_us) / US_PER_S
    is_leap = np.abs(np.diff(shown)) >= np.maximum(_LEAP_K, _LEAP_K_S * step_s)
    for run in runs((np.abs(shown - rail_k) <= _RAIL_K).astype(np.int8)):
        edges = [k for k in (run.first - 1, run.stop - 1) if 0 <= k < is_leap.size]
        if run.label and edges and all(is_leap[k] for k in edges):
            is_bad[known[run.first : run.stop]] = True
    return is_bad


def _carried(t_us: Times, values: Values) -> Values:
    """The values, those that lack taken to be as the last one of a few minutes before them."""
    last = np.maximum.accumulate(np.where(np.isnan(values), 0, np.arange(values.size)))
    return np.where(t_us - t_us[last] <= _BRIDGED_US, values[last], np.nan)


def _in_band(below_k: Values) -> Flags:
    """Whether the furnace is at its set point: from 10 K on, until 15 K; a bad value is neither."""
    distance_k = np.abs(below_k)
    inside = distance_k <= BAND_K
    for i in np.flatnonzero((distance_k > BAND_K) & (distance_k <= _LEAVES_BAND_K)):
        inside[i] = i > 0 and inside[i - 1]
    return inside


def _rate(t_us: Times, temperature: Values, over_us: int) -> Values:
    """How fast it warms around each sample, over that time; NaN where less is known. [K/s]

    The slope of a line through all samples of that time: of two samples alone, noise of 2 K would
    make half a kelvin a minute.
    """
    known = np.flatnonzero(~np.isnan(temperature))
    rate = np.full(t_us.size, np.nan)
    if known.size == 0:
        return rate
    t_s = (t_us[known] - t_us[known[0]]) / US_PER_S
    at_s = (t_us - t_us[known[0]]) / US_PER_S
    half_s = over_us / US_PER_S / 2
    first = np.searchsorted(t_s, at_s - half_s)
    stop = np.searchsorted(t_s, at_s + half_s, side="right")
    first, last = first.clip(0, t_s.size - 1), (stop - 1).clip(0)
    some = (t_s[last] - t_s[first] >= half_s) & (stop > first)
    middle_k = float(temperature[known].mean())
    sums = [
        np.append(0.0, np.cumsum(part))
        for part in (
            t_s,
            temperature[known] - middle_k,
            t_s**2,
            t_s * (temperature[known] - middle_k),
        )
    ]
    of_t, of_k, of_tt, of_tk = (part[stop[some]] - part[first[some]] for part in sums)
    count = (stop - first)[some]
    rate[some] = (count * of_tk - of_t * of_k) / (count * of_tt - of_t**2)
    return rate
