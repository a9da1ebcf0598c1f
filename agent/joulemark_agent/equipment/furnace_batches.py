"""The charges of a furnace: when each came in and left, and the time cut into batches.

A closing of the door counts as a charge when, before the door opens again, the furnace is more than
10 K below its set point for at least `least_heat_s` and warms by more than 10 K; a look through the
door, or closing an empty furnace that is hot or switched off, does not. Where a `charge_signal` is
declared it alone tells; without it and a door, a step of the set point of 50 K or more begins a
batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from joulemark_agent.equipment.base import (
    US_PER_H,
    US_PER_S,
    Figure,
    Flags,
    Samples,
    Span,
    Times,
    Values,
    absent,
    extent,
    held,
    held_steps_us,
)
from joulemark_agent.equipment.furnace_declared import Furnace

BAND_K = 10.0  # of the set point

_SET_POINT_STEP_K = 50.0


@dataclass(frozen=True)
class Charges:
    """When charges came in and left, or why that cannot be told. [us]"""

    starts_us: tuple[int, ...] = ()
    leaves_us: tuple[int, ...] = ()
    why: str = ""

    def inside(self, t_us: Times) -> Flags:
        """Whether a charge is inside at each instant."""
        came = np.searchsorted(np.array(self.starts_us, np.int64), t_us, side="right")
        left = np.searchsorted(np.array(self.leaves_us, np.int64), t_us, side="right")
        return came > left

    def left_in(self, tile: Span) -> int | None:
        """When the charge of a batch left; None where it has not. [us]"""
        within = [at for at in self.leaves_us if tile.start_us < at <= tile.end_us]
        return within[0] if within else None


def charges(parameters: Furnace, samples: Samples) -> Charges:
    """The charges that the door tells, or the set point where there is no door."""
    set_point = samples.column(parameters.set_point)
    door = samples.column(parameters.door)
    if parameters.charge_signal is not None:
        signal = samples.column(parameters.charge_signal)
        if signal is None:
            return Charges(why=f"{parameters.charge_signal!r} is not recorded.")
        went_out_us, came_in_us = _turns(samples.t_us, signal == parameters.charge_inside, signal)
        return Charges(tuple(came_in_us.tolist()), tuple(went_out_us.tolist()))
    if door is not None:
        return _through_the_door(parameters, samples, door)
    if set_point is None:
        why = f"Neither {parameters.door!r} nor {parameters.set_point!r} is recorded."
        return Charges(why=why)
    known = np.flatnonzero(~np.isnan(set_point))
    steps = np.flatnonzero(np.diff(set_point[known]) >= _SET_POINT_STEP_K) + 1
    return Charges(tuple(samples.t_us[known[steps]].tolist()))


def tiles(start_us: int, end_us: int, found: Charges) -> list[Span]:
    """The whole time cut into batches and the time before, after and without them.

    The last batch has no next charge to end it: it ends when its charge leaves, and one whose
    charge is still inside is `open_batch`.
    """
    cut = []
    at_us = start_us
    starts_us, leaves_us = found.starts_us, found.leaves_us
    for k, begin_us in enumerate(starts_us):
        if at_us < begin_us:
            cut.append(Span("no_batch", at_us, begin_us))
        at_us = begin_us
        if k + 1 < len(starts_us):
            at_us = starts_us[k + 1]
            cut.append(Span("batch", begin_us, at_us))
        elif leaves_us and leaves_us[-1] > begin_us:
            at_us = leaves_us[-1]
            cut.append(Span("batch", begin_us, at_us))
    if at_us < end_us:
        is_open = bool(starts_us) and at_us == starts_us[-1]
        cut.append(Span("open_batch" if is_open else "no_batch", at_us, end_us))
    return cut


def batch_count(parameters: Furnace, samples: Samples, found: Charges, cut: list[Span]) -> Figure:
    """How many batches there were in the time in which one that begins would be seen."""
    if found.why:
        return absent("batch_count", found.why)
    count = float(sum(tile.kind == "batch" for tile in cut))
    return Figure("batch_count", count, _watched_ratio(parameters, samples))


def _through_the_door(parameters: Furnace, samples: Samples, door: Values) -> Charges:
    temperature = samples.column(parameters.temperature)
    set_point = samples.column(parameters.set_point)
    if temperature is None or set_point is None:
        why = (
            f"Batches need {parameters.temperature!r} and {parameters.set_point!r} beside the"
            " door: only a closing that is followed by heating brought a charge."
        )
        return Charges(why=why)
    closings_us, openings_us = _turns(samples.t_us, door == parameters.door_open, door)
    below = np.where(set_point - temperature > BAND_K, 1.0, 0.0 * (set_point - temperature))
    starts, leaves = [], []
    for closed_us in closings_us:
        later = openings_us[openings_us > closed_us]
        opens_us = later[0] if later.size else samples.t_us[-1]
        if opens_us <= closed_us:
            continue
        heated_h = held(samples, below, np.array([closed_us, opens_us], np.int64)).amount[0]
        inside = temperature[(samples.t_us >= closed_us) & (samples.t_us < opens_us)]
        if (
            _warms(inside[~np.isnan(inside)])
            and heated_h * US_PER_H >= parameters.least_heat_s * US_PER_S
        ):
            starts.append(int(closed_us))
            if later.size:
                leaves.append(int(opens_us))
    return Charges(tuple(starts), tuple(leaves))


def _turns(t_us: Times, is_on: Flags, values: Values) -> tuple[Times, Times]:
    """When a state ended and when it began, between good values. [us]"""
    known = np.flatnonzero(~np.isnan(values))
    turns = np.diff(is_on[known].astype(np.int8))
    ended, began = (known[np.flatnonzero(turns == sign) + 1] for sign in (-1, 1))
    return t_us[ended], t_us[began]


def _warms(temperature: Values) -> bool:
    """Whether it rises from some instant to a later one by more than the band."""
    return bool(np.any(temperature - np.minimum.accumulate(temperature) > BAND_K))


def _watched_ratio(parameters: Furnace, samples: Samples) -> float:
    """Share of the time in which a batch that begins would be seen."""
    watched = samples.column(parameters.charge_signal or parameters.door)
    if watched is None:
        watched = samples.column(parameters.set_point)
    if watched is None:
        return 0.0
    start_us, end_us = extent(samples)
    step_us = held_steps_us(samples.t_us, watched, samples.max_gap_us)
    return int(step_us.sum()) / (end_us - start_us)
