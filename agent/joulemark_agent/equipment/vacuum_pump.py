"""A dry vacuum pump: process and idle mode by power and purge, and what idle mode saves.

A pump idles where its power, and its nitrogen purge where that is recorded, both say so; one of
them at its upper level means process. Thresholds are declared, or learned half-way between two
levels of the samples. Where neither shows two levels the pump is `running` and no idle time is
claimed.

Two savings, both (P_process - P_idle) t: `idle_saving_wh` of the time the pump did idle, and
`idle_candidate_wh` of the time it stayed in process mode while nothing needed it, which can still
be saved; that takes a signal of the tool (`needed`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

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
from joulemark_agent.equipment.levels import two_levels
from joulemark_agent.equipment.metering import Metering, metered, primary, stated
from joulemark_agent.equipment.segments import UNKNOWN, Labels, on_steps, settled, spans
from joulemark_agent.equipment.steps import Signal, in_proportion, integral, seconds
from joulemark_agent.physics.budget import Amount
from joulemark_agent.physics.domain import OutOfDomain
from joulemark_agent.physics.fab_energy import S_PER_H, idle_saving_wh

KINDS = ("off", "idle", "process", "running")
OFF, IDLE, PROCESS, RUNNING = (np.int8(i) for i in range(4))

_OFF_RATIO = 0.05  # of the rated, else of the largest power seen or declared
_MOST_IDLE = 0.9  # of the process level; what differs less is one level with noise
_LEAST_SAMPLES = 2  # of a mode
_LEAST_LEARNED_US = 3600 * US_PER_S  # in less, two levels may be one mode's own swing
_NO_LEVELS = (
    "Neither power nor purge shows two levels for an hour or more that could be told apart as"
    " process and idle. If the pump has an idle mode, give process_above_w, or purge_above_m3_s of"
    " its purge."
)


class Parameters(Section):
    """What only the site knows of a dry pump."""

    power: Annotated[str, of_unit("W")] = "power_w"
    purge: Annotated[str, of_unit("m3/s")] | None = None  # nitrogen
    process_above_w: Positive | None = None  # between the levels of idle and process
    purge_above_m3_s: Positive | None = None
    idle_w: Annotated[Number, Field(ge=0)] | None = None  # of idle mode, where it is not seen
    rated_power_w: Positive | None = None
    needed: Signal | None = None  # whether the tool needs the vacuum
    metering: Metering | None = None

    @model_validator(mode="after")
    def _names_the_purge(self) -> Self:
        if self.purge_above_m3_s is not None and self.purge is None:
            raise ValueError("purge_above_m3_s is said of a purge: name the point in 'purge'")
        return self


@dataclass(frozen=True, eq=False)
class _Modes:
    """The mode of each sample's step; `why` tells why process and idle are not told apart."""

    labels: Labels  # shape (n,)
    step_us: Times
    why: str = ""
    is_learned: bool = False

    def time_us(self, mode: np.int8) -> Times:
        """The steps in that mode; the others are 0."""
        return np.where(self.labels == mode, self.step_us, 0)

    def known_ratio(self, samples: Samples) -> float:
        """The share of all time in which the mode is known."""
        start_us, end_us = extent(samples)
        return int(self.step_us[self.labels != UNKNOWN].sum()) / (end_us - start_us)


def analyse(parameters: Parameters, samples: Samples) -> Analysis:
    """Modes, their times, energies and purge, and the savings of one pump."""
    own = primary(parameters.metering, samples.distinct(), (parameters.power,))
    samples, findings = drawn(own, parameters.power)
    start_us, end_us = extent(samples)
    power = samples.column(parameters.power)
    if end_us == start_us or power is None:
        why = "There are no samples over time."
        why = why if end_us == start_us else f"{parameters.power!r} is not recorded."
        return Analysis(figures=(absent("energy_wh", why),))
    edges_us = np.array([start_us, end_us], np.int64)
    (energy,) = metered(parameters.metering, "pump", samples, power, edges_us)
    modes = _modes(parameters, samples, power)
    candidate = _candidate(parameters, samples, power, modes)
    figures = (
        *_times_and_energies(samples, power, modes, energy),
        *_purges(parameters, samples, modes),
        _saving(samples, power, modes, energy),
        candidate,
    )
    return Analysis(
        figures=figures,
        spans=tuple(spans(modes.labels[:-1], samples.t_us, KINDS)),
        findings=(*findings, *_findings(candidate, start_us, end_us)),
    )


def _modes(parameters: Parameters, samples: Samples, power: Values) -> _Modes:
    step_us = held_steps_us(samples.t_us, power, samples.max_gap_us)
    declared_w = parameters.process_above_w or 0.0, parameters.idle_w or 0.0
    rated_w = parameters.rated_power_w or max(float(np.nanmax(power)), *declared_w)
    is_off = power <= _OFF_RATIO * rated_w
    running = ~is_off & ~np.isnan(power)
    purge = None if parameters.purge is None else samples.column(parameters.purge)
    start_us, end_us = extent(samples)
    asked = running & (end_us - start_us >= _LEAST_LEARNED_US)
    by_power, learned = _upper(power, asked, parameters.process_above_w)
    by_purge, purge_learned = _upper(purge, asked, parameters.purge_above_m3_s)
    if by_power is None and by_purge is None:
        labels = np.where(is_off, OFF, RUNNING)
        return _Modes(_on(labels, step_us), step_us, _NO_LEVELS)
    told = [upper for upper in (by_power, by_purge) if upper is not None]
    is_upper = np.any(np.stack(told), axis=0)
    labels = _on(np.where(is_off, OFF, np.where(is_upper, PROCESS, IDLE)), step_us)
    if by_purge is not None and purge is not None:
        labels = np.where(np.isnan(purge) & (labels == IDLE), UNKNOWN, labels)
    labels = np.append(settled(labels[:-1], _LEAST_SAMPLES, fixed=(OFF,)), UNKNOWN)
    return _Modes(labels, step_us, is_learned=learned or purge_learned)


def _upper(
    values: Values | None, asked: Flags, threshold: float | None
) -> tuple[Flags | None, bool]:
    """Which values lie above the threshold, and whether it was learned; None: there is none."""
    if values is None:
        return None, False
    if threshold is not None:
        return values > threshold, False
    levels = two_levels(values[asked & ~np.isnan(values)], _MOST_IDLE)
    return (None, False) if levels is None else (values > sum(levels) / 2, True)


def _on(labels: Labels, step_us: Times) -> Labels:
    return np.append(on_steps(labels.astype(np.int8), step_us), UNKNOWN)


def _times_and_energies(
    samples: Samples, power: Values, modes: _Modes, whole: Amount | None
) -> Iterator[Figure]:
    start_us, end_us = extent(samples)
    span_us = end_us - start_us
    covered_us = int(modes.step_us.sum())
    total = measured("energy_wh", integral(power, modes.step_us) / S_PER_H, covered_us, span_us)
    yield stated(total, whole)
    known_us = int(modes.step_us[modes.labels != UNKNOWN].sum())
    for label, kind in enumerate(KINDS):
        names = (f"{kind}_s", f"{kind}_wh")
        if modes.why and label in {IDLE, PROCESS}:
            yield from (absent(name, modes.why) for name in names)
            continue
        step_us = modes.time_us(np.int8(label))
        energy_wh = integral(power, step_us) / S_PER_H
        time = measured(names[0], seconds(step_us), known_us, span_us)
        energy = measured(names[1], energy_wh, known_us, span_us)
        flags = ("learned",) if modes.is_learned and label in {IDLE, PROCESS} else ()
        yield replace(time, flags=flags)
        yield stated(replace(energy, flags=flags), in_proportion(whole, energy_wh))
    yield Figure("unknown_s", (span_us - known_us) / US_PER_S, 1.0)


def _purges(parameters: Parameters, samples: Samples, modes: _Modes) -> Iterator[Figure]:
    """The nitrogen of each mode."""
    if parameters.purge is None:
        return
    names = ("purge_m3", "idle_purge_m3", "process_purge_m3")
    purge = samples.column(parameters.purge)
    if purge is None:
        yield from (absent(name, f"{parameters.purge!r} is not recorded.") for name in names)
        return
    start_us, end_us = extent(samples)
    held_us = held_steps_us(samples.t_us, purge, samples.max_gap_us)
    covered_us = int(held_us.sum())
    yield measured(names[0], integral(purge, held_us), covered_us, end_us - start_us)
    for name, mode in zip(names[1:], (IDLE, PROCESS), strict=True):
        if modes.why:
            yield absent(name, modes.why)
        else:
            step_us = np.where(held_us > 0, modes.time_us(mode), 0)
            time_us = int(modes.time_us(mode).sum())
            ratio = int(step_us.sum()) / time_us if time_us else 1.0
            yield Figure(name, integral(purge, step_us), ratio)


def _saving(samples: Samples, power: Values, modes: _Modes, whole: Amount | None) -> Figure:
    """What the pump saved by idling, against running on in process mode."""
    name = "idle_saving_wh"
    if modes.why:
        return absent(name, modes.why)
    idle_us, process_us = modes.time_us(IDLE), modes.time_us(PROCESS)
    if not process_us.any():
        return absent(name, "The pump was never in process mode: there is nothing to compare with.")
    known_ratio = modes.known_ratio(samples)
    if not idle_us.any():
        return Figure(name, 0.0, known_ratio)
    process_w = integral(power, process_us) / seconds(process_us)
    idle_w = integral(power, idle_us) / seconds(idle_us)
    try:
        saving = idle_saving_wh(process_w, idle_w, seconds(idle_us))
    except OutOfDomain as error:
        return absent(name, f"{error} Check the thresholds of process and idle.")
    flags = ("learned",) if modes.is_learned else ()
    return stated(Figure(name, saving, known_ratio, flags=flags), in_proportion(whole, saving))


def _candidate(parameters: Parameters, samples: Samples, power: Values, modes: _Modes) -> Figure:
    """What idle mode could still save, of the process mode in which nothing needed the pump."""
    name = "idle_candidate_wh"
    if parameters.needed is None:
        why = (
            "Nothing tells when the tool needs the vacuum: name a state of the tool, or of its gas"
            " valve, in 'needed'."
        )
        return absent(name, why)
    needed = parameters.needed.told(samples)
    if np.all(np.isnan(needed)):
        return absent(name, f"{parameters.needed.point!r} is not recorded.")
    not_idle_us = np.where(np.isin(modes.labels, (PROCESS, RUNNING)), modes.step_us, 0)
    candidate_us = np.where(needed == 0, not_idle_us, 0)
    known_us = np.where(np.isnan(needed), 0, not_idle_us)
    covered = modes.known_ratio(samples)
    covered *= int(known_us.sum()) / int(not_idle_us.sum()) if not_idle_us.any() else 1.0
    if not candidate_us.any():
        return Figure(name, 0.0, covered)
    idle_w = parameters.idle_w
    flags: tuple[str, ...] = () if idle_w is None else ("declared",)
    if idle_w is None:
        idle_us = modes.time_us(IDLE)
        if not idle_us.any():
            why = "The pump never idled: give the power of its idle mode in idle_w (data sheet)."
            return absent(name, why)
        idle_w = integral(power, idle_us) / seconds(idle_us)
    process_w = integral(power, candidate_us) / seconds(candidate_us)
    try:
        saving = idle_saving_wh(process_w, idle_w, seconds(candidate_us))
    except OutOfDomain as error:
        return absent(name, f"{error} Check idle_w.")
    return Figure(name, saving, covered, flags=flags)


def _findings(candidate: Figure, start_us: int, end_us: int) -> Iterator[Finding]:
    if candidate.value:
        yield Finding(
            "pump_not_idled",
            f"The pump stayed in process mode while nothing needed it; idle mode would have saved"
            f" {candidate.value / 1000:.2f} kWh.",
            "Connect the tool's idle signal to the pump, or set its idle mode by time.",
            start_us,
            end_us,
        )
