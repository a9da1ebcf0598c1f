"""What a compressor does: off, unloaded, loaded, or running where that cannot be told apart.

The controller's own status is believed where it is declared, then the speed of a variable drive,
then power, or motor current where there is no power. Power and current tell by two levels: off
below 5 % of the rating, loaded above 60 % of the way from the unloaded to the loaded level,
unloaded below 40 %, in between as before. Load and unload last at least two samples, and a start's
inrush of less than 10 s is no load; off is unmistakable and is taken as it is read.

The two levels are declared, or learned from the samples: the medians on both sides of the split
that separates the running values best (Otsu 1979, DOI 10.1109/TSMC.1979.4310076). Quantiles of
10 % and 90 %, the usual choice, see one level only when a machine is loaded for less than a tenth
of its running time. Where the values show no two levels (a base-load or speed-controlled machine),
or change faster than they are read, the machine is `running` and no load time is claimed. A drive
with variable speed, a throttle or a blow-off shows no unloading in its power: it takes a speed or a
status.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from joulemark_agent.equipment.base import (
    US_PER_S,
    Flags,
    Positive,
    Samples,
    Section,
    Times,
    Values,
    held_steps_us,
    of_unit,
)
from joulemark_agent.equipment.levels import two_levels
from joulemark_agent.equipment.segments import UNKNOWN, Labels, Run, on_steps, runs, settled

KINDS = ("off", "unload", "load", "running")
OFF, UNLOAD, LOAD, RUNNING = (np.int8(i) for i in range(4))

_OFF_RATIO = 0.05
_LOADED_FROM, _UNLOADED_TO = 0.6, 0.4  # of the way from the unloaded to the loaded level
_NEAR = 0.2  # of that way, to one of the levels
_LEAST_SAMPLES = 2  # of a state
_INRUSH_US = 10 * US_PER_S
_LEAST_LOAD_SAMPLES = 3  # of the usual load phase: read slower, phases are missed
_RUNNING_W = 1000.0  # no standby of a compressor draws a kilowatt; of a current, nothing is known
_MOST_UNLOADED = {"w": 0.7, "a": 0.8}  # of the loaded level; a motor at no load still magnetises
_RATED = {"w": "power_w", "a": "current_a"}


class Status(Section):
    """The controller's own state, and which of its numbers mean what; others are unknown."""

    point: Annotated[str, of_unit("")]
    stopped: tuple[int, ...] = ()  # not off, which YAML takes for false
    unloaded: tuple[int, ...] = ()
    loaded: Annotated[tuple[int, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _means_one_thing(self) -> Status:
        numbers = [*self.stopped, *self.unloaded, *self.loaded]
        if len(numbers) != len(set(numbers)):
            raise ValueError("a number of the status means one of stopped, unloaded and loaded")
        return self


class Speed(Section):
    """The speed of a variable drive: off below one value, unloaded below another."""

    point: Annotated[str, of_unit("Hz", "1")]
    off_below: Positive
    unload_below: Positive

    @model_validator(mode="after")
    def _rises(self) -> Speed:
        if self.off_below >= self.unload_below:
            raise ValueError("off_below must be less than unload_below")
        return self


@dataclass(frozen=True)
class Driver:
    """The power or current that tells the states, and what is declared of it."""

    point: str
    unit: str  # w or a
    values: Values | None
    rated: float | None = None
    levels: tuple[float | None, float | None] = (None, None)  # unloaded, loaded
    is_graded: bool = False  # its power follows its flow: it has no two levels
    missing: str = ""  # why there are no values


@dataclass(frozen=True)
class States:
    """The label of every step; `why` tells why running time is not told apart."""

    labels: Labels  # shape (n - 1,)
    step_us: Times  # shape (n,)
    levels: tuple[float, float] | None = None  # unloaded, loaded
    why: str = ""
    is_learned: bool = False  # the levels are
    is_between: Flags | None = None  # near neither level, shape (n,); None: not known

    def is_in(self, *states: np.int8) -> Flags:
        """Which samples hold in one of the states. Shape (n,)."""
        return np.append(np.isin(self.labels, states), False)

    def phases(self, state: np.int8) -> Iterator[Run]:
        """The runs of a state."""
        return (run for run in runs(self.labels) if run.label == state)

    def flags(self, state: np.int8) -> tuple[str, ...]:
        """What limits the figures of a state."""
        return ("learned",) if self.is_learned and state in {UNLOAD, LOAD} else ()

    @cached_property
    def cycles(self) -> Cycles:
        """The whole cycles; what the window cuts off at its ends is not used."""
        at_rest = np.where(self.labels == OFF, UNLOAD, self.labels)
        edges = np.concatenate([[0], np.flatnonzero(np.diff(at_rest)) + 1, [at_rest.size]])
        kinds = at_rest[edges[:-1]]
        is_load = (kinds[1:-2] == LOAD) & (kinds[3:] == LOAD)
        is_whole = is_load & (kinds[:-3] == UNLOAD) & (kinds[2:-1] == UNLOAD)
        at = np.flatnonzero(is_whole) + 1
        bounds = np.stack([edges[at], edges[at + 1], edges[at + 2]], axis=1).tolist()
        return Cycles(
            tuple(Run(int(LOAD), first, middle) for first, middle, _ in bounds),
            tuple(Run(int(UNLOAD), middle, stop) for _, middle, stop in bounds),
        )


@dataclass(frozen=True)
class Cycles:
    """The whole cycles of a machine, each from one load to the next, unbroken."""

    loads: tuple[Run, ...]
    rests: tuple[Run, ...]  # unloaded or off, after each of them


def states_of(
    samples: Samples, driver: Driver, status: Status | None = None, speed: Speed | None = None
) -> States:
    """The states over all samples, from the best of what is recorded."""
    if status is not None and (told := samples.column(status.point)) is not None:
        return _stated(samples, _by_status(status, told), told)
    if speed is not None and (turning := samples.column(speed.point)) is not None:
        return _stated(samples, _by_speed(speed, turning), turning)
    if driver.values is None:
        nothing = np.full(samples.t_us.size, np.nan)
        step_us = held_steps_us(samples.t_us, nothing, samples.max_gap_us)
        labels = on_steps(np.zeros(step_us.size, np.int8), step_us)
        return States(labels, step_us, None, driver.missing)
    return _by_level(samples, driver, driver.values)


def length_us(run: Run, t_us: Times) -> int:
    """How long a run lasts. [us]"""
    return int(t_us[run.stop] - t_us[run.first])


def usual_s(phases: Sequence[Run], t_us: Times) -> float:
    """The median length of phases. [s]"""
    return float(np.median([length_us(run, t_us) for run in phases])) / US_PER_S


def period_s(samples: Samples) -> float:
    """The usual step between two samples. [s]"""
    return float(np.median(np.diff(samples.t_us))) / US_PER_S


def _stated(samples: Samples, labels: Labels, told: Values) -> States:
    """States that need no guess: a single sample counts."""
    step_us = held_steps_us(samples.t_us, told, samples.max_gap_us)
    return States(on_steps(labels, step_us), step_us)


def _by_status(status: Status, told: Values) -> Labels:
    labels = np.full(told.size, UNKNOWN)
    for label, numbers in (
        (OFF, status.stopped),
        (UNLOAD, status.unloaded),
        (LOAD, status.loaded),
    ):
        labels[np.isin(told, numbers)] = label
    return labels


def _by_speed(speed: Speed, turning: Values) -> Labels:
    labels = np.where(turning < speed.unload_below, UNLOAD, LOAD)
    labels[turning < speed.off_below] = OFF
    return labels


def _by_level(samples: Samples, driver: Driver, values: Values) -> States:
    step_us = held_steps_us(samples.t_us, values, samples.max_gap_us)
    low, high = driver.levels
    unit = driver.unit
    known = values[~np.isnan(values)]
    top = driver.rated or high or _usual_top(known)
    is_off = values <= _OFF_RATIO * top  # NaN is not; 0 is, whatever the rating
    if driver.is_graded:
        levels = None
    elif low is not None and high is not None:
        levels = (low, high)
    else:
        levels = _learned(samples.t_us, values, is_off, _MOST_UNLOADED[unit])
    is_small = driver.rated is None and high is None and unit == "w" and 0 < top < _RUNNING_W
    if levels is None or is_small:
        labels = np.where(is_off, OFF, RUNNING)
        why = (
            f"{driver.point!r} of a machine whose power follows its flow does not show when it is"
            " unloaded: give its speed, or its controller's status."
            if driver.is_graded
            else f"{driver.point!r} shows no two levels that could be told apart as loaded and"
            f" unloaded. If the machine has them, give loaded_{unit} and unloaded_{unit}."
        )
        is_on = unit == "w" and np.median(known) >= _RUNNING_W
        if is_small or (driver.rated is None and not is_off.any() and not is_on):
            labels = np.full(labels.size, UNKNOWN)
            why += f" Whether it ran at all needs rated_{_RATED[unit]}."
        return States(on_steps(labels, step_us), step_us, None, why)
    raw = on_steps(_with_hysteresis(values, is_off, *levels), step_us)
    running_runs = runs(np.where(raw > OFF, RUNNING, raw))
    phases = [run for run in runs(raw) if run.label == LOAD]
    phases = phases or [run for run in running_runs if run.label == RUNNING]
    if phases and np.median([run.size for run in phases]) < _LEAST_LOAD_SAMPLES:
        why = (
            f"The machine loads for {usual_s(phases, samples.t_us):.0f} s at a time and is read"
            f" every {period_s(samples):.0f} s: read it at least {_LEAST_LOAD_SAMPLES} times in a"
            " load phase, or take the controller's own load hours."
        )
        labels = np.where(np.isin(raw, (LOAD, UNLOAD)), RUNNING, raw)
        return States(labels, step_us, levels, why)
    labels = settled(_without_inrush(raw, samples.t_us), _LEAST_SAMPLES, fixed=(OFF,))
    way = (values - levels[0]) / (levels[1] - levels[0])
    is_between = ~is_off & (np.minimum(abs(way), abs(way - 1)) > _NEAR)
    is_learned = low is None
    return States(labels, step_us, levels, is_learned=is_learned, is_between=is_between)


def _usual_top(values: Values) -> float:
    """About the loaded level, without a rating: inrush is rare, and a stopped motor draws < 1 %."""
    on = values[values > 0.01 * values.max()]
    return float(np.quantile(on, 0.95)) if on.size else 0.0


def _learned(
    t_us: Times, values: Values, is_off: Flags, most_unloaded: float
) -> tuple[float, float] | None:
    """The unloaded and loaded level, where the running values have two; None where not.

    Inrush is no level: the first seconds after off are not looked at.
    """
    last_off_us = np.maximum.accumulate(np.where(is_off, t_us, t_us[0] - _INRUSH_US))
    is_running = ~is_off & ~np.isnan(values) & (t_us - last_off_us >= _INRUSH_US)
    return two_levels(values[is_running], most_unloaded)


def _with_hysteresis(driver: Values, is_off: Flags, low: float, high: float) -> Labels:
    """Off, unload or load; between the thresholds as the sample before, else as is nearer."""
    way = (driver - low) / (high - low)
    labels = np.where(way >= (_LOADED_FROM + _UNLOADED_TO) / 2, LOAD, UNLOAD)
    labels[is_off] = OFF
    stays = (way > _UNLOADED_TO) & (way < _LOADED_FROM) & ~is_off
    stays &= np.append(False, ~is_off[:-1] & ~np.isnan(driver[:-1]))  # as what was known before
    return np.asarray(labels[np.maximum.accumulate(np.where(stays, 0, np.arange(labels.size)))])


def _without_inrush(labels: Labels, t_us: Times) -> Labels:
    """The labels where a load of less than 10 s right after off is what follows it."""
    kept = labels.copy()
    found = list(runs(labels))
    for before, run, after in zip(found, found[1:], found[2:], strict=False):
        is_start = run.label == LOAD and before.label == OFF and after.label != UNKNOWN
        if is_start and t_us[run.stop] - t_us[run.first] < _INRUSH_US:
            kept[run.first : run.stop] = after.label
    return kept
