"""The air that is drawn from a compressor, and in hours without production its leaks.

By the flow meter where there is one; else, where the machine alone feeds the network, by how it
cycles; else by the controller's own hours of load and count of loads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from math import hypot, sqrt
from typing import Annotated, Literal

import numpy as np
from pydantic import StringConstraints, model_validator

from joulemark_agent.equipment.base import (
    US_PER_S,
    Figure,
    Flags,
    Samples,
    Section,
    Values,
    counted,
    held_steps_us,
    of_unit,
)
from joulemark_agent.equipment.compressor_control import MOST_BEYOND
from joulemark_agent.equipment.compressor_cycles import (
    Contradiction,
    demand_figures,
    demand_share,
    time_in_us,
)
from joulemark_agent.equipment.compressor_states import LOAD, States
from joulemark_agent.physics.air_storage import demand_from_cycles

Clock = Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]

_DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MOST_RELATIVE_U = 0.025
_DEAD_RATIO = 1e-3  # of the capacity: less is no flow


class Quiet(Section):
    """Hours without production, by the site's clock; an end before the start is the next day."""

    start: Clock
    end: Clock
    days: tuple[Day, ...] = _DAYS  # on which it begins

    @model_validator(mode="after")
    def _lasts(self) -> Quiet:
        if self.start == self.end:
            raise ValueError("start and end are the same; for all of a day write 00:00 and 23:59")
        return self


class LoadHours(Section):
    """The controller's own counters: time loaded, and how often it loaded."""

    loaded: Annotated[str, of_unit("s")]
    loads: Annotated[str, of_unit("1")]


def demand(
    names: tuple[str, str],
    samples: Samples,
    *,
    free_m3_s: Values | str,
    flow_u: float | None,
    states: States,
    pressure: Values | None,
    hours: LoadHours | None,
    capacity_m3_s: float,
    is_only_source: bool,
    delivers_all: bool | None,
    inside: Flags | None = None,
) -> tuple[Figure, ...]:
    """The mean flow drawn and its share of the capacity, by the best of what is recorded.

    Args:
        names: of both figures: a flow and a share.
        samples: of the machine.
        free_m3_s: free air by a flow meter, shape (n,), or why there is none. [m3/s]
        flow_u: standard uncertainty of the flow meter, as a share; None: unknown.
        states: what the machine did.
        pressure: of what it feeds, shape (n,).
        hours: the controller's counters.
        capacity_m3_s: free air delivered while loaded. [m3/s]
        is_only_source: nothing else feeds what it feeds.
        delivers_all: while loaded it delivers its capacity; None: nothing says it, and it is taken.
        inside: the samples to look at, shape (n,); None: all.
    """
    if not isinstance(free_m3_s, str):
        found = tuple(
            _by_meter(names, samples, states, (free_m3_s, flow_u), capacity_m3_s, inside=inside)
        )
        if found:
            return found
    if not is_only_source:
        why = (
            "Without a flow meter the demand is told by how the machine cycles, and only where"
            " nothing else feeds the network. If nothing does, set only_source: true."
        )
        return tuple(Figure(name, None, None, why) for name in names)
    if delivers_all is False:
        why = (
            "A machine that throttles or changes its speed delivers less than its capacity while it"
            " is loaded: its demand takes a flow meter."
        )
        return tuple(Figure(name, None, None, why, flags=("unresolved",)) for name in names)
    share = demand_share(samples, states, pressure, inside)
    by_hours: tuple[Figure, ...] = ()
    if isinstance(share, str) and not isinstance(share, Contradiction) and hours is not None:
        by_hours = tuple(_by_hours(names, samples, hours, capacity_m3_s, inside))
    return by_hours or tuple(demand_figures(names, share, capacity_m3_s))


def quiet_samples(quiet: Sequence[Quiet], samples: Samples) -> Flags:
    """Which samples hold in hours without production, until the next one. Shape (n,)."""
    inside = np.zeros(samples.t_us.size, np.bool_)
    until_us = np.append(samples.t_us[1:], samples.t_us[-1])  # no step over a day is quiet
    for start_us, end_us in _windows_us(quiet, samples):
        inside |= (samples.t_us >= start_us) & (until_us <= end_us)
    return inside


def _windows_us(quiet: Sequence[Quiet], samples: Samples) -> Iterator[tuple[int, int]]:
    zone = samples.zone or UTC
    first, last = (
        datetime.fromtimestamp(int(t_us) / US_PER_S, zone).date()
        for t_us in (samples.t_us[0], samples.t_us[-1])
    )
    day = first - timedelta(days=1)
    while day <= last:
        for window in quiet:
            if _DAYS[day.weekday()] in window.days:
                end_day = day + timedelta(days=window.end < window.start)
                yield _at_us(day, window.start, zone), _at_us(end_day, window.end, zone)
        day += timedelta(days=1)


def _at_us(day: date, clock: str, zone: object) -> int:
    at = datetime.combine(day, time.fromisoformat(clock), tzinfo=zone)  # type: ignore[arg-type]
    return round(at.timestamp()) * US_PER_S


def _by_meter(
    names: tuple[str, str],
    samples: Samples,
    states: States,
    metered: tuple[Values, float | None],
    capacity_m3_s: float,
    *,
    inside: Flags | None,
) -> Iterator[Figure]:
    free_m3_s, flow_u = metered
    step_us = held_steps_us(samples.t_us, free_m3_s, samples.max_gap_us)
    if inside is not None:
        step_us = np.where(inside, step_us, 0)
    known = step_us > 0
    loaded_us = np.where(states.is_in(LOAD), step_us, 0)
    dead_us = loaded_us[known & (free_m3_s <= _DEAD_RATIO * capacity_m3_s)].sum()
    if 2 * dead_us > loaded_us.sum():
        why = "While the machine is loaded the flow meter shows no air: it is dead or elsewhere."
        yield from (Figure(name, None, None, why, flags=("unresolved",)) for name in names)
    elif known.any():
        mean_m3_s = float(free_m3_s[known] @ step_us[known]) / float(step_us.sum())
        covered = float(step_us.sum()) / time_in_us(samples, inside)
        is_beyond = mean_m3_s > MOST_BEYOND * capacity_m3_s
        flags = ("metered", "capacity_exceeded") if is_beyond else ("metered",)
        for name, value in zip(names, (mean_m3_s, mean_m3_s / capacity_m3_s), strict=True):
            spread = None if flow_u is None else abs(value) * flow_u
            yield Figure(name, value, covered, "", spread, flags=flags)


def _by_hours(
    names: tuple[str, str],
    samples: Samples,
    hours: LoadHours,
    capacity_m3_s: float,
    inside: Flags | None,
) -> Iterator[Figure]:
    """By counters over the longest stretch that lies inside; nothing where they say too little."""
    loaded = samples.column(hours.loaded)
    if loaded is None or samples.column(hours.loads) is None:
        return
    stretch = _longest(np.ones(samples.t_us.size, np.bool_) if inside is None else inside)
    edges_us = samples.t_us[[stretch[0], stretch[1]]]
    if edges_us[1] <= edges_us[0]:
        return
    windows = [counted(samples, point, edges_us) for point in (hours.loaded, hours.loads)]
    time_s, loads = (float(window.amount[0]) for window in windows)
    length_s = float(edges_us[1] - edges_us[0]) / US_PER_S
    known_us = min(int(window.covered_us[0] + window.estimated_us[0]) for window in windows)
    if loads < 1 or not 0 < time_s <= length_s or known_us < edges_us[1] - edges_us[0]:
        return
    rises = np.diff(loaded)
    step_s = float(np.min(rises[rises > 0], initial=np.inf))
    ends_s = time_s / loads * sqrt(1 / 3)  # the window cuts a load at each of its ends
    uncertainty = hypot(ends_s, step_s * sqrt(1 / 6)) / length_s
    share = time_s / length_s
    if uncertainty <= _MOST_RELATIVE_U * share:
        flow_m3_s = demand_from_cycles(capacity_m3_s, time_s, length_s - time_s)
        covered = length_s * US_PER_S / time_in_us(samples, inside)
        for name, value, u in (
            (names[0], flow_m3_s, capacity_m3_s * uncertainty),
            (names[1], share, uncertainty),
        ):
            yield Figure(name, value, covered, "", u, flags=("from_hours",))


def _longest(inside: Flags) -> tuple[int, int]:
    """The first and the last index of the longest run of True; 0 and 0 where there is none."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]])))
    starts, stops = edges[::2], edges[1::2]
    if not starts.size:
        return 0, 0
    best = int(np.argmax(stops - starts))
    return int(starts[best]), int(stops[best]) - 1
