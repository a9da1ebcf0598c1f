"""How long a compressor was in each state, what it drew there, and how often it changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from joulemark_agent.equipment.base import (
    US_PER_H,
    US_PER_S,
    Figure,
    Samples,
    Values,
    absent,
    held_steps_us,
    measured,
)
from joulemark_agent.equipment.compressor_states import (
    KINDS,
    LOAD,
    UNLOAD,
    States,
)
from joulemark_agent.equipment.segments import UNKNOWN, Labels


def times(states: States, span_us: int) -> Iterator[Figure]:
    """How long it did what; with `unknown_s` they add up to the span."""
    known_us = int(states.step_us[:-1][states.labels != UNKNOWN].sum())
    for label, kind in enumerate(KINDS):
        if states.why and (label in {UNLOAD, LOAD} or known_us == 0):
            yield absent(f"{kind}_s", states.why)
        else:
            time_us = int(states.step_us[states.is_in(np.int8(label))].sum())
            time = measured(f"{kind}_s", time_us / US_PER_S, known_us, span_us)
            yield replace(time, flags=states.flags(np.int8(label)))
    yield Figure("unknown_s", (span_us - known_us) / US_PER_S, 1.0)
    if states.why:
        yield absent("load_count", states.why)
    else:
        yield measured("load_count", float(_beginnings(states.labels, LOAD)), known_us, span_us)
        yield measured("cycle_count", float(len(states.cycles.loads)), known_us, span_us)
    if known_us:
        starts = _beginnings(np.minimum(states.labels, UNLOAD), UNLOAD)
        yield measured("start_count", float(starts), known_us, span_us)


def energies(
    power_point: str, current_point: str, samples: Samples, states: States
) -> Iterator[Figure]:
    """The energy of the whole and of each state; unloaded energy is what idling costs."""
    power = samples.column(power_point)
    span_us = samples.t_us[-1] - samples.t_us[0]
    if power is None:
        why = f"{power_point!r} is not recorded."
        if samples.column(current_point) is not None:
            why += " A motor current alone is no energy: voltage and power factor are missing."
        yield from (absent(name, why) for name in ("energy_wh", *(f"{k}_wh" for k in KINDS)))
        return
    step_us = held_steps_us(samples.t_us, power, samples.max_gap_us)
    energy_wh = np.where(step_us > 0, power, 0.0) * step_us / US_PER_H
    covered_us = int(step_us.sum())
    known_us = int(step_us[:-1][states.labels != UNKNOWN].sum())
    yield measured("energy_wh", float(energy_wh.sum()), covered_us, span_us)
    for label, kind in enumerate(KINDS):
        if states.why and (label in {UNLOAD, LOAD} or known_us == 0):
            yield absent(f"{kind}_wh", states.why)
        else:
            part_wh = float(energy_wh[states.is_in(np.int8(label))].sum())
            part = measured(f"{kind}_wh", part_wh, known_us, span_us)
            yield replace(part, flags=states.flags(np.int8(label)))


def levels(unit: str, states: States) -> Iterator[Figure]:
    """The levels by which the states were told."""
    if states.levels is not None:
        for name, level in zip(("unloaded", "loaded"), states.levels, strict=True):
            yield Figure(f"{name}_level_{unit}", level, flags=states.flags(LOAD))


def charge(current_point: str, samples: Samples) -> Iterator[Figure]:
    """What the motor drew, where its current is recorded."""
    current = samples.column(current_point)
    if current is not None:
        amount, covered_us = _integral(samples, current)
        span_us = int(samples.t_us[-1] - samples.t_us[0])
        yield measured("charge_ah", amount / US_PER_H, covered_us, span_us)


def mean_pressure(point: str | None, samples: Samples) -> Iterator[Figure]:
    """The mean pressure over time."""
    if point is None:
        return
    pressure = samples.column(point)
    if pressure is None:
        yield absent("mean_pressure_pa", f"{point!r} is not recorded.")
        return
    amount, covered_us = _integral(samples, pressure)
    span_us = int(samples.t_us[-1] - samples.t_us[0])
    yield measured("mean_pressure_pa", amount / max(covered_us, 1), covered_us, span_us)


def _integral(samples: Samples, values: Values) -> tuple[float, int]:
    """The sum of value times time, and the time. [unit us, us]"""
    step_us = held_steps_us(samples.t_us, values, samples.max_gap_us)
    return float(np.where(step_us > 0, values, 0.0) @ step_us), int(step_us.sum())


def _beginnings(labels: Labels, state: np.int8) -> int:
    """How often a state was seen to begin: after a gap nobody knows whether it went on."""
    before, after = labels[:-1], labels[1:]
    return int(np.sum((after == state) & (before != state) & (before != UNKNOWN)))
