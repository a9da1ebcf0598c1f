"""From the bytes of many devices to their windows, one call for a tick or for a year.

Decode, judge, integrate and cut into windows, for every point of every device of a line-up at once:
what one tick of a thousand points costs is one call and not a thousand. Gauges are booked by
`stream`, counters followed by `counter` and booked as what they counted; what the window is worth
in CO2e is the last step, once for each window that closes.

A device that was not read at a slot has no sample there. A value that decoding calls anything but
good is a bad sample, whatever its number, and so is a count of 2^53 or more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.contract.profile import Profile, own_period_us
from joulemark_agent.contract.quantities import unit_of
from joulemark_agent.kernels.carbon import co2e_of_windows
from joulemark_agent.kernels.clean import all_zero_steps
from joulemark_agent.kernels.counter import (
    EVENTS,
    Event,
    Semantics,
    begun_count,
    follow_rows,
    local_days,
    semantics_of,
)
from joulemark_agent.kernels.decode import NOT_DUE
from joulemark_agent.kernels.decode_block import (
    CODES,
    BlockPlan,
    Layout,
    block_plan,
    decode_block,
    joined,
)
from joulemark_agent.kernels.jit import compiled
from joulemark_agent.kernels.rows import grown
from joulemark_agent.kernels.stream import (
    BAD,
    END_US,
    GOOD,
    IMPORT_WH,
    INST,
    NONE,
    POINT,
    START_US,
    Rows,
    Rule,
    State,
    Times,
    Values,
    begun,
    max_gap_us,
    rules_of,
    step_counts,
    step_rows,
)

Flags = NDArray[np.bool_]
Quality = NDArray[np.uint8]
_GOOD, _NOT_DUE = CODES.index(None), CODES.index(NOT_DUE)
_ENERGY = ("W", "Wh")
_NOT_EXACT = 2.0**53  # from here on a float64 leaves whole numbers out


class Device(NamedTuple):
    """One device of a line-up."""

    profile: Profile  # of Modbus or SunSpec
    layout: Layout  # of its readings
    period_us: int  # from slot to slot


class Factors(NamedTuple):
    """Emission factors over time."""

    edges_us: Times  # shape (f + 1,)
    kg_per_kwh: Values  # shape (f,)
    standard_uncertainty_ratio: Values  # shape (f,)


class _Zeros(NamedTuple):
    """A rule of a profile by which a step of zeros is no measurement."""

    device: int
    points: Times  # the counters it counts on, then the gauges
    counters: int  # how many of them are counters
    columns: Times  # of the counters whose steps it judges


@dataclass(frozen=True, eq=False)
class Chain:
    """What is done with the points of a line-up, in the order of its devices."""

    points: tuple[tuple[int, str], ...]  # device and name of each
    decoding: BlockPlan
    owner: Times  # device of each point
    gauges: Times  # which points are gauges ...
    gauge_rules: Times
    counters: Times  # ... and which are counters
    counter_rules: Times
    semantics: NDArray[np.int64]
    is_energy: Flags  # of each point
    zeros: tuple[_Zeros, ...]
    zone: ZoneInfo  # whose days a daily counter has


@dataclass(frozen=True, eq=False)
class ChainState:
    """Where every point stands; carried on in place."""

    gauges: State
    windows: State  # of the counters
    counts: NDArray[np.int64]
    last: Values  # what each point had when its device was read last, NaN: nothing good


class Closed(NamedTuple):
    """What a block closed and found."""

    rows: Rows  # for `stream.named`; `point` counts along `Chain.points`
    co2e_kg: Values  # of what each window took; NaN: it is no energy, or has no factor
    co2e_u_kg: Values  # its standard uncertainty from the factor
    events: tuple[tuple[int, Event], ...]  # of counters, with the point


def chain_of(
    devices: Sequence[Device],
    length_us: int,
    zone: ZoneInfo,
    kinds: Mapping[str, int] | None = None,
) -> Chain:
    """What is to be done with every number of these devices.

    Args:
        devices: whose bytes stand one after another in what `step_chain` is given.
        length_us: of the windows. [us]
        zone: of the site.
        kinds: of gauges by name, INST where none is named: how a value counts.

    Raises:
        ValueError: a device of another protocol than Modbus and SunSpec.
    """
    plans = [block_plan(device.profile, device.layout) for device in devices]
    sizes = [sum(size for _, _, size in device.layout) for device in devices]
    points = [(d, point) for d, plan in enumerate(plans) for point in plan.points]
    places = {(d, point.name): k for k, (d, point) in enumerate(points)}
    gauges, counters, rules, counter_rules, semantics = [], [], [], [], []
    for k, (d, point) in enumerate(points):
        own_us = own_period_us(point, devices[d].period_us)
        kind = (kinds or {}).get(point.name, INST)
        rule = Rule(kind, max_gap_us(own_us), length_us)
        if point.counter:
            counters.append(k)
            counter_rules.append(rule)
            semantics.append(semantics_of(devices[d].profile, point, devices[d].period_us))
        elif point.type != "string":
            gauges.append(k)
            rules.append(rule)
    zeros = [
        _Zeros(
            d,
            np.array([places[d, name] for name in (*rule.counters, *rule.gauges)], np.int64),
            len(rule.counters),
            np.array([counters.index(places[d, name]) for name in rule.counters], np.int64),
        )
        for d, device in enumerate(devices)
        for rule in device.profile.rules
    ]
    return Chain(
        points=tuple((d, point.name) for d, point in points),
        decoding=joined(plans, sizes),
        owner=np.array([d for d, _ in points], np.int64),
        gauges=np.array(gauges, np.int64),
        gauge_rules=rules_of(rules),
        counters=np.array(counters, np.int64),
        counter_rules=rules_of(counter_rules),
        semantics=np.array(semantics, np.int64).reshape(len(counters), len(Semantics._fields)),
        is_energy=np.array([unit_of(point.name) in _ENERGY for _, point in points]),
        zeros=tuple(zeros),
        zone=zone,
    )


def begun_chain(chain: Chain) -> ChainState:
    """Where the points stand before anything was read."""
    gauges, windows = begun(chain.gauges.size), begun(chain.counters.size)
    gauges[:, POINT], windows[:, POINT] = chain.gauges, chain.counters
    return ChainState(
        gauges, windows, begun_count(chain.counters.size), np.full(len(chain.points), np.nan)
    )


def step_chain(  # noqa: PLR0917 -- one block of readings: its columns
    chain: Chain,
    state: ChainState,
    t_us: Times,
    data: NDArray[np.uint8],
    is_read: Flags,
    cut: Flags,
    factors: Factors | None = None,
) -> Closed:
    """The windows that a block of slots closes.

    Args:
        chain: of the line-up.
        state: carried on in place.
        t_us: the slots, shape (n,). [us]
        data: the bytes of all devices at each slot, anything where one was not read, shape
            (n, bytes).
        is_read: whether a device has a reading at the slot, shape (n, devices).
        cut: whether the clock was set before the slot, shape (n,).
        factors: emission factors; None: no window has any CO2e.
    """
    devices = int(chain.owner[-1]) + 1 if chain.owner.size else 0
    if len(data) != t_us.size or is_read.shape != (t_us.size, devices) or cut.size != t_us.size:
        raise ValueError(f"{t_us.size} slots, {data.shape} data, {is_read.shape}, {cut.shape}")
    values, quality, _ = decode_block(chain.decoding, data)
    step_ok = _steps_ok(chain, state, values, quality, is_read)
    is_daily = chain.semantics[:, Semantics._fields.index("is_daily")].any()
    day = local_days(t_us.tolist(), chain.zone) if is_daily else np.zeros_like(t_us)
    gauge_rows, counter_rows, found = _book_all(
        values, quality, is_read, chain.owner, t_us, day, cut,
        chain.gauges, chain.gauge_rules, state.gauges,
        chain.counters, chain.counter_rules, state.windows,
        chain.semantics, state.counts, step_ok,
    )  # fmt: skip
    rows = np.concatenate([gauge_rows, counter_rows])
    events = tuple((point, Event(EVENTS[code], *rest)) for point, code, *rest in found.tolist())
    return Closed(rows, *_co2e(chain, rows, factors), events)


def _co2e(chain: Chain, rows: Rows, factors: Factors | None) -> tuple[Values, Values]:
    """What the windows that closed are worth, and how well that is known."""
    if factors is None or not rows.size:
        nothing = np.full(rows.shape[0], np.nan)
        return nothing, nothing
    is_energy = chain.is_energy[rows[:, POINT].astype(np.int64)]
    energy_wh = np.where(is_energy, rows[:, IMPORT_WH], np.nan)
    times = rows[:, START_US].astype(np.int64), rows[:, END_US].astype(np.int64)
    edges_us, kg_per_kwh, ratio = factors
    return co2e_of_windows(*times, energy_wh, edges_us, kg_per_kwh, ratio)


def _steps_ok(
    chain: Chain, state: ChainState, values: Values, quality: Quality, is_read: Flags
) -> Flags:
    """Whether the step to each reading of each counter is a measurement by the profiles' rules."""
    step_ok = np.ones((len(values), chain.counters.size), np.bool_)
    for rule in chain.zeros:
        read = np.flatnonzero(is_read[:, rule.device])
        given = np.where(
            quality[read][:, rule.points] == _GOOD, values[read][:, rule.points], np.nan
        )
        whole = np.vstack([state.last[rule.points], given])
        counts = np.nan_to_num(whole[:, : rule.counters], nan=-1.0).astype(np.int64)
        is_ok = all_zero_steps(
            np.ascontiguousarray(counts.T), np.ascontiguousarray(whole[:, rule.counters :].T)
        )
        step_ok[np.ix_(read, rule.columns)] &= is_ok[:, None]
        state.last[rule.points] = whole[-1]
    return step_ok


@compiled
def _book_all(  # noqa: PLR0917 -- compiled code takes its arguments by position
    values: Values,
    quality: Quality,
    is_read: Flags,
    owner: Times,
    t_us: Times,
    day: Times,
    cut: Flags,
    gauges: Times,
    gauge_rules: Times,
    gauge_state: State,
    counters: Times,
    counter_rules: Times,
    windows: State,
    semantics: NDArray[np.int64],
    counts: NDArray[np.int64],
    step_ok: Flags,
) -> tuple[Rows, Rows, NDArray[np.int64]]:
    """Closed windows of gauges and of counters, and the events of counters with their point."""
    n = t_us.size
    x, q = np.empty((n, gauges.size)), np.empty((n, gauges.size), np.uint8)
    for i in range(n):
        for k in range(gauges.size):
            p = gauges[k]
            x[i, k] = values[i, p]
            q[i, k] = _judged(quality[i, p], is_read[i, owner[p]])
    gauge_rows = step_rows(gauge_rules, gauge_state, t_us, x, q, cut)
    rows, size = np.empty((max(counters.size, 8), gauge_rows.shape[1])), 0
    found, events = np.empty((8, 7), np.int64), 0
    raw, good, ok = np.empty(n, np.int64), np.empty(n, np.bool_), np.empty(n, np.bool_)
    never = np.zeros(n, np.int64)  # is the clock of a stream set back
    for k in range(counters.size):
        p = counters[k]
        for i in range(n):
            value = values[i, p]
            is_good = _judged(quality[i, p], is_read[i, owner[p]]) == GOOD
            good[i] = is_good and 0.0 <= value < _NOT_EXACT
            raw[i] = np.int64(value) if good[i] else 0
            ok[i] = step_ok[i, k]
        row = semantics[k]
        rule = Semantics(
            row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7], row[8], row[9]
        )
        nodes, seen = follow_rows(rule, t_us, never, raw, good, ok, day, counts[k])
        rows, size = step_counts(counter_rules[k], windows[k], nodes, rows, size)
        for j in range(seen.shape[0]):
            found = grown(found, events, 1)
            found[events, 0] = p
            for c in range(6):
                found[events, c + 1] = seen[j, c]
            events += 1
    return gauge_rows, rows[:size], found[:events]


@compiled
def _judged(code: int, is_read: bool) -> int:
    """The quality of one sample."""
    if not is_read or code == _NOT_DUE:
        return NONE
    return GOOD if code == _GOOD else BAD
