"""The air drawn from a compressor without a flow meter, and its storage, from how it cycles.

Over whole cycles a machine delivers what is drawn: its capacity times the share of time it is
loaded. In hours without production that is the leaks. Two ways tell the share:

- the times themselves. Each begins and ends between two readings. Over many cycles that averages
  out, unless cycles keep step with the readings: then every load is counted as the same whole
  number of them, and a load of 13 s read every 5 s counts as 10 or as 15. So the instants at which
  loads begin must be spread evenly between readings, which is tested in groups of cycles; where
  they are not, a length is only known to one reading more or less.
- the pressure. It falls by the demand while unloaded and rises by the rest of the capacity while
  loaded: the share is the fall over both slopes, wherever the phases begin.

Power that falls slowly, while the sump is blown down, hides when the air stopped: readings near
neither level make the times less sure, and are not used for the slopes.

The surer one is taken. Where they contradict each other, where phases are shorter than three
readings, or where twice the uncertainty is more than 5 %, the result is `unresolved`: no number.
Only the site knows that nothing else feeds the network (`only_source`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import hypot, sqrt

import numpy as np

from joulemark_agent.equipment.base import US_PER_S, Figure, Flags, Samples, Times, Values, absent
from joulemark_agent.equipment.compressor_states import (
    LOAD,
    OFF,
    Cycles,
    States,
    length_us,
    period_s,
)
from joulemark_agent.equipment.segments import UNKNOWN, Run
from joulemark_agent.physics.air_storage import demand_from_cycles, storage_volume

LEAST_CYCLES = 3
_LEAST_SAMPLES = 3  # of a phase
_MOST_RELATIVE_U = 0.025  # half of what is still told
_GROUP = 16  # cycles whose beginnings are compared with even steps
_EVEN = 1 / 12  # variance of what is spread evenly over one reading
_LEAST_EVEN = 0.95 * _EVEN  # 4 instants per reading, spaced evenly, have 0.94
_STEP_U = sqrt(1 / 6)  # of the difference of two ends, each spread evenly [readings]
_LEFT_U = 0.04  # what instants that are not quite even leave [readings]
_EVENLY_U = sqrt(1 / 12)  # of what lies anywhere within one reading
_RELOAD_US = 3 * US_PER_S  # a sump is filled first
_UNEVEN_U = sqrt(1 / 3)  # one reading more or less, all equally likely [readings]
_LEAST_READ = 0.98  # of the time of the cycles
# of a line: its slope [Pa/s], the sum of squares of its instants about their mean [s2] and of its
# residuals [Pa2], and how many of these are free
_SLOPE, _SPREAD, _ERROR, _FREEDOM = range(4)
_AGREEMENT = 3.0  # standard uncertainties
_MOST_UNTYPICAL = 0.05  # of the loaded time, between whole cycles and all of the time


@dataclass(frozen=True)
class Slopes:
    """How fast the pressure moves, with standard uncertainties."""

    rise_pa_s: float  # by which loading changes the slope: the capacity's part
    rise_u: float
    rest_pa_s: float  # while not loaded: the demand's part, each cycle by its length
    rest_u: float

    @property
    def share(self) -> tuple[float, float]:
        """The demand over the capacity, and its standard uncertainty."""
        share = -self.rest_pa_s / self.rise_pa_s
        return share, hypot(self.rest_u, share * self.rise_u) / self.rise_pa_s


@dataclass(frozen=True)
class Share:
    """The demand over the capacity, its standard uncertainty, and the part of the time it tells."""

    value: float
    uncertainty: float
    covered_ratio: float


class Contradiction(str):
    """A reason that no better clock mends: the pressure denies what the times say."""

    __slots__ = ()


def demand_figures(
    names: tuple[str, str], share: Share | str, capacity_m3_s: float
) -> Iterator[Figure]:
    """The mean demand as a flow and as a share of the capacity.

    Args:
        names: of both figures: a flow and a share.
        share: from `demand_share`.
        capacity_m3_s: free air delivered while loaded. [m3/s]
    """
    if isinstance(share, str):
        yield from (Figure(name, None, None, share, flags=("unresolved",)) for name in names)
        return
    flow_m3_s = demand_from_cycles(capacity_m3_s, share.value, 1 - share.value)
    parts = ((flow_m3_s, capacity_m3_s * share.uncertainty), (share.value, share.uncertainty))
    for name, (value, uncertainty) in zip(names, parts, strict=True):
        yield Figure(
            name, float(value), share.covered_ratio, "", float(uncertainty), flags=("from_cycles",)
        )


def demand_share(
    samples: Samples, states: States, pressure: Values | None, inside: Flags | None = None
) -> Share | str:
    """The share of its capacity that is drawn, or why it is not resolved."""
    if states.why:
        return states.why
    cycles = _within(states.cycles, inside)
    if len(cycles.loads) < LEAST_CYCLES:
        return (
            f"There are {len(cycles.loads)} whole cycles of loading and unloading; it takes"
            f" {LEAST_CYCLES} to tell a demand."
        )
    shortest = min(np.median([run.size for run in runs]) for runs in (cycles.loads, cycles.rests))
    if shortest < _LEAST_SAMPLES:
        return (
            f"A phase is read {shortest:.0f} times, every {period_s(samples):.0f} s: read it at"
            f" least {_LEAST_SAMPLES} times, or take the controller's own load hours."
        )
    covered = _covered(samples, cycles, inside)
    found = [_by_times(samples, states, cycles, covered)]
    slopes = None if pressure is None else slopes_of(samples.t_us, pressure, states, cycles)
    if slopes is not None and slopes.rise_pa_s <= -_AGREEMENT * slopes.rise_u:
        return Contradiction(
            "The pressure does not rise faster when the machine is loaded: its sensor is dead, or"
            " something else holds the pressure."
        )
    if slopes is not None and slopes.rise_pa_s > 0:
        found.append(Share(*slopes.share, covered))
    best = min(found, key=lambda share: share.uncertainty)
    for other in found:
        apart = abs(best.value - other.value)
        if apart > _AGREEMENT * hypot(best.uncertainty, other.uncertainty):
            return Contradiction(
                f"By its times the machine is loaded {100 * found[0].value:.1f} % of its cycles,"
                f" by the pressure for {100 * found[-1].value:.1f} %: the demand moves, something"
                " else feeds the network, or power and pressure are not read at one time."
            )
    if not _is_typical(samples, states, cycles, found[0].value, inside):
        return (
            f"Whole cycles are seen in {100 * covered:.0f} % of the time, and in the rest the"
            " machine is loaded for another share of it: what it draws on the whole is not known."
        )
    if not 0 < best.value < 1 or best.uncertainty > _MOST_RELATIVE_U * best.value:
        return (
            f"A load lasts {np.median([run.size for run in cycles.loads]):.0f} readings, and when"
            " it begins and ends is not known well enough: cycles keep step with the readings, or"
            " the power falls slowly. Read more often, or declare the pressure of what it feeds."
        )
    return best


def storage_figure(
    samples: Samples,
    states: States,
    pressure: Values,
    capacity_m3_s: float,
    atmospheric_pa: float,
) -> Figure:
    """The storage the machine works on, from how its pressure moves."""
    name = "storage_m3"
    if states.why:
        return absent(name, states.why)
    cycles = states.cycles
    slopes = slopes_of(samples.t_us, pressure, states, cycles)
    if slopes is None or slopes.rise_pa_s <= 0:
        return absent(
            name, "It takes a few cycles in which the pressure rises loaded and falls unloaded."
        )
    uncertainty = slopes.rise_u / slopes.rise_pa_s
    if uncertainty > _MOST_RELATIVE_U:
        why = "The pressure is read too seldom, or too coarsely, to tell how fast it moves."
        return Figure(name, None, None, why, flags=("unresolved",))
    loaded_pa_s = slopes.rest_pa_s + slopes.rise_pa_s
    volume_m3 = storage_volume(capacity_m3_s, loaded_pa_s, slopes.rest_pa_s, atmospheric_pa)
    covered = _covered(samples, cycles, None)
    return Figure(name, volume_m3, covered, "", volume_m3 * uncertainty, flags=("from_cycles",))


def slopes_of(t_us: Times, pressure: Values, states: States, cycles: Cycles) -> Slopes | None:
    """The slopes over all cycles; None where too few have them.

    What loading adds is the same in every cycle, whatever is drawn; the demand is that of each
    cycle by its length, from both of its phases. It may move within a cycle, by as much as it does
    from one to the next. Cycles of which no phase is read well enough are not left out silently:
    they are the short ones, in which much is drawn.
    """
    if states.is_between is not None:
        pressure = np.where(states.is_between, np.nan, pressure)
    loaded = _lines(t_us, pressure, cycles.loads, _RELOAD_US)
    rest = _lines(t_us, pressure, cycles.rests)
    freedom = np.nansum(loaded[_FREEDOM]) + np.nansum(rest[_FREEDOM])
    both = 1 / (1 / loaded[_SPREAD] + 1 / rest[_SPREAD])
    if np.sum(~np.isnan(both)) < LEAST_CYCLES or freedom <= 0:
        return None
    variance = float((np.nansum(loaded[_ERROR]) + np.nansum(rest[_ERROR])) / freedom)
    rise = float(np.nansum(both * (loaded[_SLOPE] - rest[_SLOPE])) / np.nansum(both))
    known = np.nan_to_num(np.array([rest[_SPREAD], loaded[_SPREAD]]))
    falls = np.nan_to_num(np.array([rest[_SLOPE], loaded[_SLOPE] - rise]))
    spread = known.sum(axis=0)
    is_read = spread > 0
    ends = [
        (load.first, after.stop) for load, after in zip(cycles.loads, cycles.rests, strict=True)
    ]
    lengths = np.diff(t_us[np.array(ends, np.int64)], axis=1)[:, 0].astype(np.float64)
    if lengths[is_read].sum() < _LEAST_READ * lengths.sum():
        return None
    shares = lengths[is_read] / lengths[is_read].sum()
    slopes = (known * falls).sum(axis=0)[is_read] / spread[is_read]
    noise_u = sqrt(variance * float(shares**2 @ (1 / spread[is_read])))
    moved_u = float(np.linalg.norm(shares[1:] * np.diff(slopes))) / sqrt(2)
    return Slopes(
        rise_pa_s=rise,
        rise_u=sqrt(variance / float(np.nansum(both))),
        rest_pa_s=float(shares @ slopes),
        rest_u=hypot(noise_u, moved_u),
    )


def time_in_us(samples: Samples, inside: Flags | None) -> int:
    """How long the samples lie inside; all of the time where nothing is said. [us]"""
    steps_us = np.diff(samples.t_us)
    return int(steps_us.sum() if inside is None else steps_us[inside[:-1]].sum())


def _covered(samples: Samples, cycles: Cycles, inside: Flags | None) -> float:
    """The share of that time that lies in whole cycles."""
    cycles_us = sum(length_us(run, samples.t_us) for run in (*cycles.loads, *cycles.rests))
    return min(cycles_us / time_in_us(samples, inside), 1.0)


def _within(cycles: Cycles, inside: Flags | None) -> Cycles:
    """The cycles that lie inside as a whole."""
    if inside is None:
        return cycles
    kept = [
        (load, rest)
        for load, rest in zip(cycles.loads, cycles.rests, strict=True)
        if inside[load.first : rest.stop + 1].all()
    ]
    return Cycles(tuple(load for load, _ in kept), tuple(rest for _, rest in kept))


def _by_times(samples: Samples, states: States, cycles: Cycles, covered: float) -> Share:
    loaded_us, rest_us = (
        sum(length_us(run, samples.t_us) for run in runs) for runs in (cycles.loads, cycles.rests)
    )
    share = loaded_us / (loaded_us + rest_us)
    count = len(cycles.loads)
    readings = _UNEVEN_U
    if _is_spread_evenly(cycles.loads):
        readings = min(readings, hypot(_STEP_U / sqrt(count), _LEFT_U))
    if states.is_between is not None:
        between = sum(
            states.is_between[load.first : rest.stop].sum()
            for load, rest in zip(cycles.loads, cycles.rests, strict=True)
        )
        readings = hypot(readings, _EVENLY_U * float(between) / count)
    length_s = (loaded_us + rest_us) / US_PER_S / count
    return Share(share, readings * period_s(samples) / length_s, covered)


def _is_spread_evenly(loads: Sequence[Run]) -> bool:
    """Whether the beginnings of the loads are as far from even steps as rounding makes them."""
    starts = np.array([run.first for run in loads], np.float64)
    groups = [starts[i : i + _GROUP] for i in range(0, starts.size - _GROUP + 1, _GROUP)]
    if not groups:
        return False
    spreads: list[float] = []
    for group in groups:
        step = np.arange(group.size)
        residuals = group - np.polyval(np.polyfit(step, group, 1), step)
        spreads.append(min(float(residuals @ residuals) / (group.size - 2), _EVEN))
    return float(np.mean(spreads)) >= _LEAST_EVEN


def _lines(t_us: Times, pressure: Values, phases: Sequence[Run], filling_us: int = 0) -> Values:
    """The lines of phases without their ends: `_SLOPE` ..., shape (4, k); NaN where unread."""
    first = np.array([run.first for run in phases], np.int64)
    size = np.array([run.size for run in phases], np.int64)
    cut = np.where(size > _LEAST_SAMPLES, np.maximum(np.rint(size / 10), 1), 0).astype(np.int64)
    left = size - 2 * cut
    of = np.repeat(np.arange(first.size), left)
    at = np.arange(left.sum()) + np.repeat(first + cut - np.cumsum(left) + left, left)
    is_read = ~np.isnan(pressure[at])
    of, at = of[is_read], at[is_read]

    def sums(values: Values | None = None) -> Values:
        return np.bincount(of, values, first.size).astype(np.float64)

    is_filled = t_us[at] - t_us[first[of]] >= filling_us
    filled = np.bincount(of[is_filled], minlength=first.size)
    kept = is_filled | (filled[of] < _LEAST_SAMPLES)
    of, at = of[kept], at[kept]
    count = sums()
    count[count < 2] = np.nan  # a slope needs two
    t_s = (t_us[at] - t_us[first[of]]) / US_PER_S
    t_s -= (sums(t_s) / count)[of]
    p_pa = pressure[at] - (sums(pressure[at]) / count)[of]
    spread = np.where(np.isnan(count), np.nan, sums(t_s**2))
    slope = sums(t_s * p_pa) / spread
    error = np.maximum(sums(p_pa**2) - slope**2 * spread, 0.0)
    return np.array([slope, spread, error, count - 2])


def _is_typical(
    samples: Samples, states: States, cycles: Cycles, share: float, inside: Flags | None
) -> bool:
    """Whether the machine is loaded for that share of all the time that is known, too.

    Gaps cut long cycles rather than short ones, and a machine that is loaded for hours has none.
    Where it was switched off it tells nothing.
    """
    longest_us = max(length_us(run, samples.t_us) for run in cycles.rests)
    known = states.labels != UNKNOWN
    for run in states.phases(OFF):
        if length_us(run, samples.t_us) > longest_us:
            known[run.first : run.stop] = False
    if inside is not None:
        known &= inside[:-1]
    step_us = states.step_us[:-1]
    loaded_us = int(step_us[known & (states.labels == LOAD)].sum())
    expected_us = share * int(step_us[known].sum())
    load_us = sum(length_us(run, samples.t_us) for run in cycles.loads) / len(cycles.loads)
    pieces = 1 + int(np.sum(known[1:] & ~known[:-1]))
    cut_us = load_us * sqrt(pieces)  # a load is cut at the ends of each
    return abs(loaded_us - expected_us) <= _MOST_UNTYPICAL * expected_us + cut_us
