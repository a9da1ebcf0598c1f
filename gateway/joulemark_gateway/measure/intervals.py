"""One counter of one device over time: its totals per window, and where and why it has none."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.contract.errors import MeasureError
from joulemark_agent.contract.profile import AnyPoint, Profile
from joulemark_agent.contract.quantities import unit_of
from joulemark_agent.kernels.clean import all_zero_steps, false_zeros
from joulemark_agent.kernels.energy import counter_energy
from joulemark_gateway.evidence.history import DeviceHistory

Times = NDArray[np.int64]
Flags = NDArray[np.bool_]

ALL_ZERO, BAD_VALUE, FELL, FALSE_ZERO = "all_zero", "bad_value", "counter_fell", "false_zero"
BEFORE, AFTER, NO_READING = "before_first_reading", "after_last_reading", "no_reading"
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
    """A counter made ready for any windows."""

    history: DeviceHistory
    point: AnyPoint
    usable: Flags  # good, and no false zero
    step_ok: Flags
    max_gap_us: int
    false_zeros: int
    fallen: int
    unmeasured: tuple[Span, ...]  # from -inf to +inf, in order, without overlap

    @property
    def unit(self) -> str:
        """What it counts, told by the point's name."""
        return unit_of(self.point.name) or ""

    @property
    def interval_us(self) -> int:
        """Width at which holes are listed: a quarter-hour, or the hour or day the period fits."""
        fits = [width for width in _WIDTHS_US if width % self.history.period_us == 0]
        return fits[0] if fits else _WIDTHS_US[-1]

    def totals(self, edges_us: Times) -> Totals:
        """The counter's totals in the windows between the edges."""
        total, covered, estimated, missing, _ = counter_energy(
            self.history.slot_us,
            self.history.counters[self.point.name],
            self.usable,
            self.step_ok,
            edges_us,
            self.max_gap_us,
        )
        return Totals(total, covered, estimated, missing)

    def spans_in(self, start_us: int, end_us: int) -> Iterator[Span]:
        """The unmeasured time inside [start_us, end_us), cut to it."""
        first = bisect_right(self.unmeasured, start_us, key=lambda span: span.end_us)
        for span in islice(self.unmeasured, first, None):
            if span.start_us >= end_us:
                return
            low, high = max(span.start_us, start_us), min(span.end_us, end_us)
            yield Span(low, high, span.is_estimated, span.reasons)


def counted(history: DeviceHistory, point: AnyPoint) -> Counted:
    """The counter with its false zeros and holes found; a step over 1.5 periods is estimated.

    Raises:
        MeasureError: `counter_out_of_range`, its steps add up to more than a sum can hold.
    """
    counter, good = history.counters[point.name], history.good[point.name]
    zeros = false_zeros(counter, good)
    usable = good & ~zeros
    rises = np.diff(counter[usable])
    if float(rises[rises > 0].astype(np.float64).sum()) >= _MOST:
        raise MeasureError(
            f"{history.device}/{point.name} rose by more than {_MOST:.0e} {unit_of(point.name)}.",
            "Look at its register map: no device counts that much.",
            code="counter_out_of_range",
        )
    step_ok = _steps_ok(history, history.profile, point.name)
    max_gap_us = history.period_us * 3 // 2
    spans, fallen = _unmeasured(
        history,
        point.name,
        usable=usable,
        zeros=zeros,
        step_ok=step_ok,
        max_gap_us=max_gap_us,
    )
    return Counted(
        history, point, usable, step_ok, max_gap_us, int(zeros.sum()), fallen, tuple(spans)
    )


def _steps_ok(history: DeviceHistory, profile: Profile, name: str) -> Flags:
    """The steps that no rule of the profile takes away from this counter."""
    step_ok = np.ones(max(history.slot_us.size - 1, 0), np.bool_)
    for rule in profile.rules:
        if name not in rule.counters:
            continue
        counters = [np.where(history.good[c], history.counters[c], -1) for c in rule.counters]
        gauges = np.array([history.gauges[g] for g in rule.gauges])
        gauges = gauges.reshape(len(rule.gauges), history.slot_us.size)
        step_ok &= all_zero_steps(np.array(counters), gauges)
    return step_ok


def _unmeasured(
    history: DeviceHistory,
    name: str,
    *,
    usable: Flags,
    zeros: Flags,
    step_ok: Flags,
    max_gap_us: int,
) -> tuple[list[Span], int]:
    """Every stretch between usable readings that was not measured, and how many steps fell."""
    t_us, counter = history.slot_us, history.counters[name]
    index = np.flatnonzero(usable)
    if index.size == 0:
        return [Span(_FIRST_US, _LAST_US, is_estimated=False, reasons=(NO_READING,))], 0
    start, end = index[:-1], index[1:]
    masked_before = np.append(0, np.cumsum(~step_ok))
    is_masked = masked_before[end] > masked_before[start]
    has_fallen = counter[end] < counter[start]
    is_long = t_us[end] - t_us[start] > max_gap_us
    spans = [Span(_FIRST_US, int(t_us[index[0]]), is_estimated=False, reasons=(BEFORE,))]
    for k in np.flatnonzero(is_masked | has_fallen | is_long).tolist():
        a, b = int(start[k]), int(end[k])
        reasons: list[str] = []
        if has_fallen[k]:
            reasons.append(FELL)
        elif is_masked[k]:
            reasons.append(ALL_ZERO)
        if is_long[k]:
            reasons += _why_long(history, a, b, zeros)
        low, high = int(t_us[a]), int(t_us[b])
        is_estimated = not (has_fallen[k] or is_masked[k])
        spans.append(Span(low, high, is_estimated, tuple(reasons)))
    spans.append(Span(int(t_us[index[-1]]), _LAST_US, is_estimated=False, reasons=(AFTER,)))
    return spans, int(has_fallen.sum())


def _why_long(history: DeviceHistory, a: int, b: int, zeros: Flags) -> list[str]:
    """Why there is no usable reading between readings a and b."""
    low, high = int(history.slot_us[a]), int(history.slot_us[b])
    reasons = sorted(
        {
            f"gap:{gap.cause}"
            for gap in history.gaps
            if gap.first_slot_us < high and gap.last_slot_us > low
        }
    )
    if b - a > 1:
        inside = zeros[a + 1 : b]
        reasons += [FALSE_ZERO] * bool(inside.any()) + [BAD_VALUE] * bool((~inside).any())
    return reasons or [NO_READING]
