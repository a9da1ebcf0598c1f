"""The charges of a furnace: when each came in and left, and the time cut into batches.

A closing of the door counts as a charge when, before the door opens again, the furnace is more than
10 K below its set point for at least `least_heat_s` and warms by more than 10 K; a look through the
door, or closing an empty furnace that is hot or switched off, does not. Where a `charge_signal` is
declared it alone tells; without it and a door, a step of the set point of 50 K or more begins a
batch. A door or signal that turns and turns back within half a minute chatters: nothing goes in or
out in that time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from joulemark_agent.equipment.base import (
    US_PER_S,
    Figure,
    Flags,
    Samples,
    Span,
    Times,
    Values,
    absent,
    extent,
    held_steps_us,
)
from joulemark_agent.equipment.furnace_declared import Furnace
from joulemark_agent.equipment.segments import runs

BAND_K = 10.0  # of the set point

_SET_POINT_STEP_K = 50.0
_LEAST_TURN_US = 30 * US_PER_S


@dataclass(frozen=True)
class Charges:
    """When charges came in and left, or why that cannot be told. [us]"""

    starts_us: tuple[int, ...] = ()
    leaves_us: tuple[int, ...] = ()
    undecided_us: int | None = None  # a closing at the end that may yet prove to be a charge
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
    """How many batches were complete in the time in which one that begins would be seen.

    A time that no batch fills from end to end, but that may lie inside one, says nothing of it.
    """
    if found.why:
        return absent("batch_count", found.why)
    count = float(sum(tile.kind == "batch" for tile in cut))
    is_inside = found.undecided_us is not None or any(tile.kind == "open_batch" for tile in cut)
    if not count and (is_inside or not _is_parted(parameters, samples)):
        why = "No batch both begins and ends in this time, which may lie inside one; take longer."
        return absent("batch_count", why)
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
    t_us = samples.t_us
    closings_us, openings_us = _turns(t_us, door == parameters.door_open, door)
    below_k = set_point - temperature
    is_below = below_k > BAND_K
    step_us = held_steps_us(t_us, below_k, samples.max_gap_us)
    heated_us = np.append(0, np.cumsum(np.where(is_below, step_us, 0)))
    least_us = parameters.least_heat_s * US_PER_S
    known = np.flatnonzero(~np.isnan(below_k))
    ends_below = bool(known.size) and bool(is_below[known[-1]])
    starts, leaves, undecided_us = [], [], None
    for closed_us in closings_us.tolist():
        later = int(np.searchsorted(openings_us, closed_us, side="right"))
        is_open_again = later < openings_us.size
        opens_us = int(openings_us[later] if is_open_again else t_us[-1])
        first, stop = (int(k) for k in np.searchsorted(t_us, (closed_us, opens_us)))
        long_us = heated_us[stop] - heated_us[first]
        inside_k = temperature[first:stop]
        if long_us >= least_us and _warms(inside_k[~np.isnan(inside_k)]):
            starts.append(closed_us)
            if is_open_again:
                leaves.append(opens_us)
        elif not is_open_again and ends_below and long_us < least_us:
            undecided_us = closed_us
    return Charges(tuple(starts), tuple(leaves), undecided_us)


def _turns(t_us: Times, is_on: Flags, values: Values) -> tuple[Times, Times]:
    """When a state ended and when it began, between good values and without chatter. [us]"""
    known = np.flatnonzero(~np.isnan(values))
    settled = is_on[known].astype(np.int8)
    for run in list(runs(settled)):
        is_between = run.first > 0 and run.stop < known.size
        if is_between and t_us[known[run.stop]] - t_us[known[run.first]] < _LEAST_TURN_US:
            settled[run.first : run.stop] = settled[run.first - 1]
    turns = np.diff(settled)
    ended, began = (known[np.flatnonzero(turns == sign) + 1] for sign in (-1, 1))
    return t_us[ended], t_us[began]


def _warms(temperature: Values) -> bool:
    """Whether it rises from some instant to a later one by more than the band."""
    return bool(np.any(temperature - np.minimum.accumulate(temperature) > BAND_K))


def _is_parted(parameters: Furnace, samples: Samples) -> bool:
    """Whether a door or a signal was seen to say that no charge is inside."""
    if parameters.charge_signal is not None:
        signal = samples.column(parameters.charge_signal)
        return signal is not None and bool(
            np.any(~np.isnan(signal) & (signal != parameters.charge_inside))
        )
    door = samples.column(parameters.door)
    return door is not None and bool(np.any(door == parameters.door_open))


def _watched_ratio(parameters: Furnace, samples: Samples) -> float:
    """Share of the time in which a batch that begins would be seen."""
    watched = samples.column(parameters.charge_signal or parameters.door)
    set_point = samples.column(parameters.set_point)
    if watched is None:
        watched = set_point
    elif parameters.charge_signal is None and set_point is not None:
        temperature = samples.column(parameters.temperature)  # a closing alone tells nothing
        watched = watched + set_point + (np.nan if temperature is None else temperature)
    if watched is None:
        return 0.0
    start_us, end_us = extent(samples)
    step_us = held_steps_us(samples.t_us, watched, samples.max_gap_us)
    return int(step_us.sum()) / (end_us - start_us)
