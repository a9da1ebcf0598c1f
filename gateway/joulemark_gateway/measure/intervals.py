"""One counter of one device over time: its totals per window, and where and why it has none."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.contract.errors import MeasureError
from joulemark_agent.contract.profile import AnyPoint, Profile
from joulemark_agent.contract.quantities import unit_of
from joulemark_agent.kernels.clean import all_zero_steps
from joulemark_agent.kernels.counter import (
    ESTIMATED,
    EVENTS,
    FALSE_ZERO,
    LARGEST,
    MASKED,
    MEASURED,
    REPLACEMENT,
    RESET,
    WAKE_UP_ZERO,
    Event,
    Followed,
    Semantics,
    follow,
    semantics_of,
)
from joulemark_agent.kernels.energy import counter_energy
from joulemark_gateway.evidence.history import DeviceHistory

Times = NDArray[np.int64]
Flags = NDArray[np.bool_]

ALL_ZERO, BAD_VALUE, FELL, LOST = "all_zero", "bad_value", "counter_fell", "leaves_lost"
CLOCK_SET = "clock_set_back"
BEFORE, AFTER, NO_READING = "before_first_reading", "after_last_reading", "no_reading"
US_PER_MS = 1000
MEAN_UNIT = "mK"
_WIDTHS_US = (900_000_000, 3_600_000_000, 86_400_000_000)
_MOST = 2.0**62  # all rises of a counter together, so that no sum of them wraps around
_FIRST_US, _LAST_US = -(2**60), 2**60


@dataclass(frozen=True)
class Span:
    """Time that no step measured, and why; `is_estimated` where its sum is known all the same."""

    start_us: int
    end_us: int
    is_estimated: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Totals:
    """Per window: what was counted, and how its time divides. Shapes (w,). [counter's unit, us]"""

    total: Times
    covered_us: Times
    estimated_us: Times
    missing_us: Times


@dataclass(frozen=True, eq=False)
class Counted:
    """A counter, or a temperature added up like one, made ready for any windows."""

    history: DeviceHistory
    point: AnyPoint
    semantics: Semantics
    followed: Followed
    unmeasured: tuple[Span, ...]  # from -inf to +inf, in order, without overlap

    @property
    def is_mean(self) -> bool:
        """Whether it is a temperature: what it counts is that times the time. [mK ms]"""
        return not self.point.counter

    @property
    def unit(self) -> str:
        """What it counts, told by the point's name, or the unit of its means."""
        return MEAN_UNIT if self.is_mean else unit_of(self.point.name) or ""

    @property
    def events(self) -> tuple[Event, ...]:
        """What it did besides counting."""
        return self.followed.events

    @property
    def step(self) -> int:
        """The least it can show beside its newest count: a difference is good to one such step."""
        good = self.history.good[self.point.name]
        count = int(self.history.counters[self.point.name][good][-1]) if good.any() else 0
        semantics = self.semantics
        return max(semantics.step, semantics.quantum, (count >> semantics.float_bits) + 1)

    def events_in(self, bounds: Sequence[tuple[int, int]]) -> list[Event]:
        """Those of some times; an event belongs to the time that its reading closes."""
        return [e for e in self.events if any(start < e.at_us <= end for start, end in bounds)]

    @property
    def interval_us(self) -> int:
        """Width at which holes are listed: a quarter-hour, or the hour or day the period fits."""
        fits = [width for width in _WIDTHS_US if width % self.history.step_us == 0]
        return fits[0] if fits else _WIDTHS_US[-1]

    def totals(self, edges_us: Times) -> Totals:
        """The counter's totals in the windows between the edges."""
        nodes = self.followed
        all_good = np.ones(nodes.t_us.size, np.bool_)
        total, covered, estimated, missing, _ = counter_energy(
            nodes.t_us, nodes.count, all_good, nodes.step[1:], edges_us, LARGEST
        )
        return Totals(total, covered, estimated, missing)

    def unsynchronised(self, edges_us: Times) -> Times:
        """What of the totals was counted from or to a reading whose clock was not set."""
        nodes = self.followed
        doubt = self.history.unsynchronised[nodes.index]
        step = np.where(doubt[1:] | doubt[:-1], nodes.step[1:], MASKED)
        all_good = np.ones(nodes.t_us.size, np.bool_)
        total, *_ = counter_energy(nodes.t_us, nodes.count, all_good, step, edges_us, LARGEST)
        return total

    def spans_in(self, start_us: int, end_us: int) -> Iterator[Span]:
        """The unmeasured time inside [start_us, end_us), cut to it."""
        first = bisect_right(self.unmeasured, start_us, key=lambda span: span.end_us)
        for span in islice(self.unmeasured, first, None):
            if span.start_us >= end_us:
                return
            low, high = max(span.start_us, start_us), min(span.end_us, end_us)
            yield Span(low, high, span.is_estimated, span.reasons)


def falls(events: Iterable[Event]) -> int:
    """How often a counter began anew where the profile does not say so."""
    return _number_of(events, RESET, REPLACEMENT)


def false_zeros(events: Iterable[Event]) -> int:
    """How often a counter showed 0 and then went on from before."""
    return _number_of(events, FALSE_ZERO, WAKE_UP_ZERO)


def _number_of(events: Iterable[Event], *codes: int) -> int:
    names = {EVENTS[code] for code in codes}
    return sum(event.code in names for event in events)


def counted(history: DeviceHistory, point: AnyPoint) -> Counted:
    """The counter followed as its profile says; a step over 1.5 of its periods is estimated.

    Raises:
        MeasureError: `counter_out_of_range`, its steps add up to more than a sum can hold.
    """
    semantics = semantics_of(history.profile, point, history.step_us)
    counter, good = history.counters[point.name], history.good[point.name]
    rises = np.diff(counter[good])
    if float(rises[rises > 0].astype(np.float64).sum()) >= _MOST and not semantics.most_per_h:
        raise MeasureError(
            f"{history.device}/{point.name} rose by more than {_MOST:.0e} {unit_of(point.name)}.",
            "Look at its register map: no device counts that much.",
            code="counter_out_of_range",
        )
    followed = follow(
        semantics,
        history.slot_us,
        counter,
        good,
        _steps_ok(history, history.profile, point.name),
        ZoneInfo(history.time_zone),
        late_us=history.late_us,
    )
    spans = unmeasured(history, point.name, followed, semantics.max_gap_us)
    return Counted(history, point, semantics, followed, tuple(spans))


def _steps_ok(history: DeviceHistory, profile: Profile, name: str) -> Flags:
    """Whether the step to each reading counts: no rule of the profile takes it away."""
    step_ok = np.ones(history.slot_us.size, np.bool_)
    if history.is_partial is not None:
        step_ok &= ~history.is_partial
    for rule in profile.rules:
        if name not in rule.counters:
            continue
        counters = [np.where(history.good[c], history.counters[c], -1) for c in rule.counters]
        gauges = np.array([history.gauges[g] for g in rule.gauges])
        gauges = gauges.reshape(len(rule.gauges), history.slot_us.size)
        step_ok[1:] &= all_zero_steps(np.array(counters), gauges)
    return step_ok


def unmeasured(
    history: DeviceHistory, name: str, followed: Followed, max_gap_us: int
) -> list[Span]:
    """Every stretch between counts that was not measured."""
    t_us = followed.t_us
    if t_us.size == 0:
        return [Span(_FIRST_US, _LAST_US, is_estimated=False, reasons=(NO_READING,))]
    at_us = [event.at_us for event in followed.events]  # in order
    is_bad = ~history.good[name]
    if name in history.not_due:
        is_bad &= ~history.not_due[name]
    spans = [Span(_FIRST_US, int(t_us[0]), is_estimated=False, reasons=(BEFORE,))]
    for k in (np.flatnonzero(followed.step[1:] != MEASURED) + 1).tolist():
        low, high, step = int(t_us[k - 1]), int(t_us[k]), int(followed.step[k])
        reasons = [ALL_ZERO] * (step == MASKED)
        shown = slice(bisect_right(at_us, low), bisect_right(at_us, high))
        reasons += [_reason(event.code) for event in followed.events[shown]]
        inside = slice(int(followed.index[k - 1]) + 1, int(followed.index[k]))
        if history.late_us is not None and history.late_us[inside.start : inside.stop + 1].any():
            reasons.append(CLOCK_SET)
        if high - low > max_gap_us:
            reasons += _why_long(history, low, high, is_bad[inside])
        spans.append(
            Span(low, high, step == ESTIMATED, tuple(dict.fromkeys(reasons)) or (NO_READING,))
        )
    spans.append(Span(int(t_us[-1]), _LAST_US, is_estimated=False, reasons=(AFTER,)))
    return spans


def _reason(code: str) -> str:
    return FELL if code in {EVENTS[RESET], EVENTS[REPLACEMENT]} else code


def _why_long(history: DeviceHistory, low_us: int, high_us: int, is_bad: Flags) -> list[str]:
    """Why there is no reading that counts between two, besides what the counter itself did."""
    causes = {
        gap.cause
        for gap in history.gaps
        if gap.first_slot_us < high_us and gap.last_slot_us > low_us
    }
    is_lost = any(lost.first_us < high_us and lost.last_us > low_us for lost in history.lost)
    told = [f"gap:{cause}" for cause in sorted(causes)] + [LOST] * is_lost
    return told + [BAD_VALUE] * bool(is_bad.any())
