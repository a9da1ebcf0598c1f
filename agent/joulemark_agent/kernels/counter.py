"""What the readings of a counter say it counted, and every event that is not plain counting.

A counter is followed reading by reading from one count that is believed to the next. What is
believed is a *node*: an instant, what was counted until then (never falling), and whether the step
to it is measured, only known as a sum, or not booked. What a reading alone cannot tell (a fall, a
0, a leap) waits for the next one: if that goes on from before, the reading was none; if it goes on
from it, the counter began anew, and the fall or leap itself books nothing.

A clock that is set back makes the time between two slots look shorter than it was. How long it was
decides what a counter can have counted, and whether a step is measured; where its energy is booked,
the slots say.

The state between two readings is a row of integers. So readings may come in blocks of any cut, and
the nodes and events are the same. Integers only; nothing is guessed that the profile does not say.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.contract.profile import (
    AnyPoint,
    ObjectPoint,
    Profile,
    RateCheck,
    own_period_us,
)
from joulemark_agent.contract.reading import patience_us
from joulemark_agent.kernels.jit import compiled
from joulemark_agent.kernels.rows import grown
from joulemark_agent.kernels.stamps import LATEST_US

Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

# Codes are kept in states and never given a new meaning.
ROLLOVER, RESET, FALSE_ZERO, WAKE_UP_ZERO, BACKWARDS, DAILY_RESET = 1, 2, 3, 4, 5, 6
REPLACEMENT, STUCK, JUMP, SPIKE, CATCH_UP, UNKNOWN_WRAPS = 7, 8, 9, 10, 11, 12
EVENTS = {
    ROLLOVER: "rollover",
    RESET: "reset",
    FALSE_ZERO: "false_zero",
    WAKE_UP_ZERO: "wake_up_zero",
    BACKWARDS: "backwards",
    DAILY_RESET: "daily_reset",
    REPLACEMENT: "replacement",
    STUCK: "stuck",
    JUMP: "jump",
    SPIKE: "spike",
    CATCH_UP: "catch_up",
    UNKNOWN_WRAPS: "unknown_wraps",
}
MASKED, MEASURED, ESTIMATED = 0, 1, 2  # of a step; below 0: not booked, minus the event's code
LARGEST = 2**63 - 1  # a count above it is a device's way of saying "not available"

_US_PER_S, _S_PER_H, _US_PER_H = 1_000_000, 3600, 3_600_000_000
WHOLE = 62  # the shift that leaves nothing of a count: integers have no step of their own
_MANTISSA_BITS = {"float16": 10, "float32": 23, "float64": 52}
_MOST = LARGEST
_LARGE = 2**62  # of what a profile declares
_LARGEST_STEP = 2**60  # beside a quantum and the time's own a limit is still a count
_DAY_US, _HOUR_US, _LAST_DAY_US = 86_400_000_000, 3_600_000_000, 253_000_000_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# The state: what is believed, and what waits.
_HAS, _T, _RAW, _COUNT, _DAY, _SHUT = 0, 1, 2, 3, 4, 5  # the last node; a rule masks since it
_SEEN_T, _COUNTED, _RUN_T, _IS_STUCK, _RESET_DAY = 6, 7, 8, 9, 10
_WAITS, _FIRST_T, _VALUE, _LAST_T, _FIRST_DAY, _IS_BROKEN = 11, 12, 13, 14, 15, 16
_SHUT_FIRST, _SHUT_RUN, _SHUT_LAST = 17, 18, 19  # masked: up to it, inside it, since it
_LATE = 20  # how far the slots are behind the time that went by, since the start
_AT, _RUN_AT, _FIRST_AT, _LAST_AT = 21, 22, 23, 24  # as _T and so on, and the _LATE of then
_SIZE = 25
_ZERO, _FALL, _LEAP = 1, 2, 3  # what waits


class Semantics(NamedTuple):
    """What a profile says of a counter, in whole units of the point's name."""

    max_gap_us: int  # a longer step is known as a sum only
    slack_us: int = 0  # by which a reading may be off its slot
    modulus: int = 0  # the count that shows as 0; 0: it does not wrap
    quantum: int = 0  # by which it may go backwards
    float_bits: int = WHOLE  # of a float's mantissa: its step at a count is count >> bits
    most_per_h: int = 0  # what it can count in an hour at most; 0: not known
    stuck_us: int = 0  # how long it may stand still; 0: for ever
    is_daily: int = 0  # it starts at 0 every day
    no_zero: int = 0  # 0 is what it shows before it has a count
    step: int = 1  # the least by which it moves


class Event(NamedTuple):
    """Something a counter did besides counting, and what was booked for it."""

    code: str
    start_us: int  # the reading before it that was believed
    at_us: int  # the reading that shows it
    before: int
    after: int
    booked: int


@dataclass(frozen=True, eq=False)
class Followed:
    """A counter followed over a block of readings. Shapes (m,)."""

    t_us: Integers  # of the nodes; the first is the last one of the block before
    count: Integers  # counted until the node, never falling
    step: Integers  # how the step to the node counts: MEASURED, ESTIMATED, or not booked
    index: Integers  # of the node's reading in the block; -1: in an earlier one
    events: tuple[Event, ...]
    state: tuple[int, ...]  # for the block after


def count_of(text: str) -> int:
    """The whole units of a counter's decimal text: a float's count is cut, so its steps add up.

    A count is never rounded and never carried on, so what is cut of one difference is in the next.
    """
    return int(text) if text.isdecimal() else int(Decimal(text))


def semantics_of(profile: Profile, point: AnyPoint, period_us: int) -> Semantics:
    """What the profile says of one counter.

    Args:
        profile: of the device.
        point: a counter of it.
        period_us: from slot to slot of the device; a period of the point's own goes before. [us]
    """
    period_us = own_period_us(point, period_us)
    modulus = int((point.modulus or 0) * point.scale)
    scales = [one.scale for one in point.units] if isinstance(point, ObjectPoint) else [point.scale]
    bits = WHOLE if isinstance(point, ObjectPoint) else _MANTISSA_BITS.get(point.type, WHOLE)
    return Semantics(
        max_gap_us=period_us * 3 // 2,
        slack_us=max(period_us // 2, patience_us(period_us)),
        modulus=modulus if modulus < _LARGE else 0,  # it never gets there
        quantum=min(math.ceil(point.quantum or 0), _LARGE),
        float_bits=bits,
        most_per_h=_most_per_h(profile, point),
        stuck_us=min(int((point.stuck_s or 0) * _US_PER_S), _LARGE),
        is_daily=int(point.daily),
        no_zero=int(point.false_zero),
        step=min(math.ceil(max(scales)), _LARGEST_STEP) if bits == WHOLE else 1,
    )


def _most_per_h(profile: Profile, point: AnyPoint) -> int:
    """The least of the declared rate and of the powers that checks put beside it; 0: none."""
    beside = (
        _most_w(point, profile.point(check.power))
        for check in profile.checks
        if isinstance(check, RateCheck) and check.counter == point.name
    )
    declared = None if point.maximum_rate is None else point.maximum_rate * _S_PER_H
    known = [most for most in (declared, *beside) if most is not None]
    return min(max(int(min(known)), 1), _LARGE) if known else 0


def _most_w(counter: AnyPoint, power: AnyPoint) -> Decimal | None:
    """The most that can flow the way the counter counts; None: not known."""
    if counter.direction in {None, power.direction} or power.direction is None:
        return power.maximum
    return -power.minimum if power.minimum is not None and power.minimum < 0 else None


def local_days(t_us: Iterable[int], zone: ZoneInfo) -> Integers:
    """The local day of each instant, as a number. A day begins an hour before midnight here.

    A device's clock may run ahead; it starts its count anew at its own midnight.
    """
    days = []
    for instant_us in t_us:
        bounded_us = min(max(int(instant_us) + _HOUR_US, 0), _LAST_DAY_US)
        moment = _EPOCH + timedelta(microseconds=bounded_us)
        days.append(moment.astimezone(zone).toordinal())
    return np.array(days, np.int64)


def midnights_us(start_us: int, end_us: int, zone: ZoneInfo, most: int) -> Integers:
    """The local midnights inside (start, end), or none where they would be more than so many."""
    if end_us - start_us > most * _DAY_US or end_us > _LAST_DAY_US:
        return np.empty(0, np.int64)
    day = (_EPOCH + timedelta(microseconds=start_us)).astimezone(zone).date()
    found: list[int] = []
    while True:
        day += timedelta(days=1)
        edge = datetime.combine(day, time(), zone).astimezone(UTC)
        edge_us = (edge - _EPOCH) // timedelta(microseconds=1)
        if edge_us >= end_us:
            return np.array([us for us in found if us > start_us], np.int64)
        found.append(edge_us)


def follow(  # noqa: PLR0917 -- one block of readings: its columns and what came before
    semantics: Semantics,
    t_us: Integers,
    raw: Integers,
    good: Flags,
    step_ok: Flags,
    zone: ZoneInfo | None = None,
    state: tuple[int, ...] = (),
    late_us: Integers | None = None,
) -> Followed:
    """A block of readings of one counter.

    Args:
        semantics: of the counter.
        t_us: instants of the readings; one that is not later than those before is passed over,
            shape (n,). [us]
        raw: counts from 0 to 2^63 - 1, read only where `good`, shape (n,).
        good: whether the reading has a count, shape (n,).
        step_ok: whether the time from the reading before to this one counts as measured, shape
            (n,); the first is that from the last reading of the block before.
        zone: of the site: the days of a daily counter; None: UTC.
        state: of the block before; empty at the start.
        late_us: how much longer it was since the reading before than `t_us` says, 0 or more: by
            so much the clock was set back between them; None: it never was, shape (n,). [us]

    Returns:
        the nodes and events that are certain by now. Cut the readings anywhere: it is the same.
    """
    is_daily = semantics.is_daily and t_us.size
    day = local_days(t_us.tolist(), zone or ZoneInfo("UTC")) if is_daily else np.zeros_like(t_us)
    after = np.array(state, np.int64) if state else begun_count(1)[0]
    late = np.zeros_like(t_us) if late_us is None else late_us
    nodes, found = follow_rows(semantics, t_us, late, raw, good, step_ok, day, after)
    events = tuple(Event(EVENTS[code], *rest) for code, *rest in found.tolist())
    t, count, step, index = (np.ascontiguousarray(nodes[:, k]) for k in range(4))
    return Followed(t, count, step, index, events, tuple(after.tolist()))


def begun_count(counters: int) -> Integers:
    """The state of counters that were never read, shape (counters, fields)."""
    state = np.zeros((counters, _SIZE), np.int64)
    state[:, _RESET_DAY] = -1
    return state


@compiled
def _limit(rule: Semantics, span_us: int, count: int) -> int:
    """The most that can be counted in the time; everything where no rate is known."""
    if rule.most_per_h == 0:
        return _MOST
    span_us += rule.slack_us
    if span_us > (_MOST - _MOST // 4) // rule.most_per_h:
        return _MOST
    rest = rule.quantum + (count >> rule.float_bits) + rule.step
    return rule.most_per_h * span_us // _US_PER_H + rest


@compiled
def _put(rows: Integers, size: int, row: tuple[int, ...]) -> int:
    for k in range(rows.shape[1]):
        rows[size, k] = row[k]
    return size + 1


@compiled
def _believe(  # noqa: PLR0917 -- what a node has
    state: Integers, t: int, at: int, raw: int, rise: int, day: int
) -> None:
    """Make a reading the last node."""
    if not state[_HAS] or raw != state[_RAW]:
        state[_RUN_T], state[_RUN_AT], state[_IS_STUCK] = t, at, 0
    state[_HAS], state[_T], state[_AT], state[_RAW], state[_DAY] = 1, t, at, raw, day
    state[_COUNT] += rise
    state[_SHUT] = 0
    if raw > 0:
        state[_COUNTED] = 1


@compiled
def follow_rows(  # noqa: PLR0917 -- one machine, read from the top
    rule: Semantics,
    t_us: Integers,
    late_us: Integers,
    raw: Integers,
    good: Flags,
    step_ok: Flags,
    day: Integers,
    state: Integers,
) -> tuple[Integers, Integers]:
    """As `follow`, for compiled callers, which know the local days and carry the state on.

    Returns:
        nodes (t, count, step, index) and events (code, start, at, before, after, booked).
    """
    nodes = np.empty((t_us.size + 4, 4), np.int64)
    found = np.empty((8, 6), np.int64)
    m, k = 0, 0
    first, last = -1, -1  # where the waiting run stands in this block
    if state[_HAS]:
        m = _put(nodes, m, (state[_T], state[_COUNT], MASKED, -1))
    for i in range(t_us.size):
        if not step_ok[i]:
            state[_SHUT], state[_SHUT_LAST] = 1, 1
            state[_SHUT_RUN] |= 1
        state[_LATE] = min(state[_LATE] + late_us[i], LATEST_US)
        if not good[i]:
            continue
        t, v = t_us[i], raw[i]
        at = t + state[_LATE]
        if not state[_HAS]:
            _believe(state, t, at, v, 0, day[i])
            state[_SEEN_T] = t
            m = _put(nodes, m, (t, 0, MASKED, i))
            continue
        if t <= state[_SEEN_T]:
            continue
        state[_SEEN_T] = t
        found = grown(found, k, 2)  # one reading can show two events

        # What waits is decided first, by whether this reading goes on from before it or from it.
        if state[_WAITS] == _ZERO and v == 0:
            if at - state[_LAST_AT] > rule.max_gap_us:
                state[_IS_BROKEN] = 1
            state[_LAST_T], state[_LAST_AT], state[_SHUT_LAST] = t, at, 0
            if state[_SHUT_RUN] & 1:
                state[_SHUT_RUN] |= 2  # inside the run, since the run goes on
            last = i
            continue
        if state[_WAITS]:
            kind, value, begun = state[_WAITS], state[_VALUE], state[_FIRST_T]
            base, base_t = state[_RAW], state[_T]
            waited_us = state[_FIRST_AT] - state[_AT]
            goes_on = v >= base and v - base <= _limit(rule, at - state[_AT], v)
            goes_anew = v >= value and v - value <= _limit(rule, at - state[_LAST_AT], v)
            is_new_day = rule.is_daily and state[_FIRST_DAY] > state[_RESET_DAY]
            state[_WAITS] = 0
            if is_new_day and goes_anew and kind == _ZERO and rule.most_per_h:
                goes_on = False  # both could be, and a daily counter is at 0 every day
            if goes_on or not goes_anew:
                code = SPIKE
                if kind == _ZERO:
                    code = WAKE_UP_ZERO if waited_us > rule.max_gap_us else FALSE_ZERO
                k = _put(found, k, (code, base_t, begun, base, value, 0))
            else:
                most = _limit(rule, waited_us, value)
                rise, step = 0, ESTIMATED
                if kind == _LEAP:
                    stood_us = state[_FIRST_AT] - state[_RUN_AT]
                    if value - base <= _limit(rule, stood_us, value):
                        code, rise = CATCH_UP, value - base
                    else:
                        code, step = JUMP, -JUMP
                elif is_new_day and value <= most:
                    code, rise = DAILY_RESET, value
                    state[_RESET_DAY] = state[_FIRST_DAY]
                    if state[_FIRST_DAY] - state[_DAY] > 1:
                        rise, step = 0, -DAILY_RESET  # whole days are not known
                else:
                    code = RESET if value <= most else REPLACEMENT
                    step = -code
                if state[_SHUT_FIRST] or rise > _MOST - state[_COUNT]:
                    rise, step = 0, min(step, MASKED)
                k = _put(found, k, (code, base_t, begun, base, value, rise))
                shut_last, run_t = state[_SHUT_LAST], state[_LAST_T]
                _believe(state, begun, state[_FIRST_AT], value, rise, state[_FIRST_DAY])
                m = _put(nodes, m, (begun, state[_COUNT], step, first))
                if run_t > begun:  # a run of zeros: it stood still, and was read all the time
                    step = ESTIMATED if state[_IS_BROKEN] else MEASURED
                    if state[_SHUT_RUN] & 2:
                        step = MASKED
                    _believe(state, run_t, state[_LAST_AT], value, 0, state[_FIRST_DAY])
                    m = _put(nodes, m, (run_t, state[_COUNT], step, last))
                state[_SHUT] = shut_last

        base, base_t = state[_RAW], state[_T]
        span_us = at - state[_AT]
        most = _limit(rule, span_us, v)
        is_long = span_us > rule.max_gap_us
        step = ESTIMATED if is_long or state[_IS_STUCK] else MEASURED
        is_unseen = rule.is_daily and is_long and day[i] > state[_DAY]  # it may have begun anew
        rise, code, waits = 0, 0, 0
        believed = v
        if rule.modulus and is_long and most >= rule.modulus:
            code, step = UNKNOWN_WRAPS, -UNKNOWN_WRAPS
        elif v < base:
            wrapped = rule.modulus - base + v
            if base < rule.modulus and wrapped <= most < rule.modulus:
                code, rise = ROLLOVER, wrapped
            elif base - v <= rule.quantum + (base >> rule.float_bits):
                code, believed = BACKWARDS, base
            else:
                waits = _ZERO if v == 0 else _FALL
        elif v == base:
            if rule.stuck_us and at - state[_RUN_AT] > rule.stuck_us:
                if not state[_IS_STUCK]:
                    k = _put(found, k, (STUCK, state[_RUN_T], t, v, v, 0))
                    state[_IS_STUCK] = 1
                continue
            if is_unseen:
                code, step = DAILY_RESET, -DAILY_RESET
        elif base == 0 and not state[_COUNTED] and (rule.no_zero or v > most):
            code, step = WAKE_UP_ZERO, -WAKE_UP_ZERO
        elif v - base > most:
            waits = _LEAP
        elif is_unseen:
            code, step = DAILY_RESET, -DAILY_RESET
        else:
            rise = v - base
            code = CATCH_UP if state[_IS_STUCK] else 0
        if waits:
            state[_WAITS], state[_FIRST_T], state[_VALUE], state[_LAST_T] = waits, t, v, t
            state[_FIRST_AT] = state[_LAST_AT] = at
            state[_FIRST_DAY], state[_IS_BROKEN] = day[i], 0
            state[_SHUT_FIRST], state[_SHUT_RUN], state[_SHUT_LAST] = state[_SHUT], 0, 0
            first, last = i, i
            continue
        if state[_SHUT] or rise > _MOST - state[_COUNT]:
            rise, step = 0, min(step, MASKED)
        if code:
            k = _put(found, k, (code, base_t, t, base, v, rise))
        _believe(state, t, at, believed, rise, day[i])
        m = _put(nodes, m, (t, state[_COUNT], step, i))
    return nodes[:m], found[:k]
