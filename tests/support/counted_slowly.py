"""What a counter counted, worked out slowly: all readings at hand, and one question after another.

Written from docs/counters.md, without state between readings and without compiled code, to be
compared with `kernels/counter.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from joulemark_agent.kernels.counter import LARGEST, Semantics

US_PER_H = 3_600_000_000
MASKED, MEASURED, ESTIMATED = 0, 1, 2
NOT_BOOKED = {
    "reset": -2,
    "wake_up_zero": -4,
    "daily_reset": -6,
    "replacement": -7,
    "jump": -9,
    "unknown_wraps": -12,
}
Node = tuple[int, int, int]  # instant, counted so far, how the step counts
Log = tuple[str, int, int, int, int, int]  # code, from, at, before, after, booked


class Row(NamedTuple):
    """One reading."""

    t_us: int
    shown: int | None  # None: it has none that is good
    is_ok: bool = True  # whether the time to it counts as measured
    day: int = 0


@dataclass
class Slow:
    """The readings with a count, in the order of time, and what is known of them by now."""

    rule: Semantics
    rows: Sequence[Row]

    def __post_init__(self) -> None:
        """Keep what has a count and a later time than all before it."""
        self.at: list[int] = []
        for i, row in enumerate(self.rows):
            if row.shown is not None and (not self.at or row.t_us > self.rows[self.at[-1]].t_us):
                self.at.append(i)
        self.nodes: list[Node] = []
        self.log: list[Log] = []
        self.believed: list[tuple[int, int]] = []  # place among `at`, count that is believed
        self.last_reset_day = -1

    def t_us(self, k: int) -> int:
        """The instant of the k-th reading with a count."""
        return self.rows[self.at[k]].t_us

    def count(self, k: int) -> int:
        """Its count."""
        count = self.rows[self.at[k]].shown
        assert count is not None  # those in `at` have one
        return count

    def day(self, k: int) -> int:
        """Its day."""
        return self.rows[self.at[k]].day

    def is_masked(self, a: int, b: int) -> bool:
        """Whether a rule takes some of the time between two readings away."""
        return not all(row.is_ok for row in self.rows[self.at[a] + 1 : self.at[b] + 1])

    def most(self, span_us: int, count: int) -> int:
        """The most that can be shown to have been counted in the time."""
        if not self.rule.most_per_h:
            return LARGEST
        rule = self.rule
        counted = rule.most_per_h * (span_us + rule.slack_us) // US_PER_H
        return min(counted + rule.quantum + (count >> rule.float_bits) + rule.step, LARGEST)

    def is_counting(self, low: int, high: int, span_us: int) -> bool:
        """Whether it can have counted from one count to another in the time."""
        return 0 <= high - low <= self.most(span_us, high)

    def run(self) -> Slow:
        """Follow to the end, or to what the last reading leaves open."""
        if not self.at:
            return self
        self.nodes.append((self.t_us(0), 0, MASKED))
        self.believed.append((0, self.count(0)))
        k = 1
        while 0 < k < len(self.at):
            k = self._next(k)
        return self

    def still_since(self) -> int:
        """The instant since which the believed count has not moved."""
        base = self.believed[-1][1]
        first = self.believed[-1][0]
        for place, count in reversed(self.believed):
            if count != base:
                break
            first = place
        return self.t_us(first)

    def believe(self, k: int, count: int, rise: int, step: int, code: str = "") -> None:
        """Book the step from the last believed reading to this one."""
        place, base = self.believed[-1]
        if self.is_masked(place, k) or self.nodes[-1][1] + rise > LARGEST:
            rise, step = 0, min(step, MASKED)
        if code:
            row = (code, self.t_us(place), self.t_us(k), base, self.count(k), rise)
            self.log.append(row)
        self.nodes.append((self.t_us(k), self.nodes[-1][1] + rise, step))
        self.believed.append((k, count))

    def _next(self, k: int) -> int:
        """Judge a reading; the place of the next one to judge, 0 where nothing can be said yet."""
        rule, (place, base) = self.rule, self.believed[-1]
        v, span_us = self.count(k), self.t_us(k) - self.t_us(place)
        is_long = span_us > rule.max_gap_us
        is_stuck = any(e[0] == "stuck" and e[1] == self.still_since() for e in self.log)
        step = ESTIMATED if is_long or is_stuck else MEASURED
        most = self.most(span_us, v)
        if rule.modulus and is_long and most >= rule.modulus:
            self.believe(k, v, 0, NOT_BOOKED["unknown_wraps"], "unknown_wraps")
        elif v < base and self._wraps(base, v, most):
            self.believe(k, v, rule.modulus - base + v, step, "rollover")
        elif v < base and base - v <= rule.quantum + base // 2**rule.float_bits:
            self.believe(k, base, 0, step, "backwards")
        elif v < base:
            return self._doubt(k, "zero" if v == 0 else "fall")
        elif v == base and rule.stuck_us and self.t_us(k) - self.still_since() > rule.stuck_us:
            if not is_stuck:
                self.log.append(("stuck", self.still_since(), self.t_us(k), v, v, 0))
        elif rule.is_daily and is_long and self.day(k) > self.day(place) and v - base <= most:
            if v == base or not self._is_first(base, v, most):
                self.believe(k, v, 0, NOT_BOOKED["daily_reset"], "daily_reset")
            else:
                self.believe(k, v, 0, NOT_BOOKED["wake_up_zero"], "wake_up_zero")
        elif v == base:
            self.believe(k, v, 0, step)
        elif self._is_first(base, v, most):
            self.believe(k, v, 0, NOT_BOOKED["wake_up_zero"], "wake_up_zero")
        elif v - base > most:
            return self._doubt(k, "leap")
        elif is_stuck:
            self.believe(k, v, v - base, step, "catch_up")
        else:
            self.believe(k, v, v - base, step)
        return k + 1

    def _wraps(self, base: int, v: int, most: int) -> bool:
        modulus = self.rule.modulus
        return base < modulus and modulus - base + v <= most < modulus

    def _is_first(self, base: int, v: int, most: int) -> bool:
        """Whether 0 was shown before there was a count at all."""
        never = base == 0 and not any(count for _, count in self.believed)
        return never and v > 0 and bool(self.rule.no_zero or v > most)

    def _doubt(self, k: int, kind: str) -> int:
        """A fall, a 0 or a leap: the reading after it (after all its zeros) decides."""
        rule, (place, base) = self.rule, self.believed[-1]
        v, end = self.count(k), k
        while kind == "zero" and end + 1 < len(self.at) and self.count(end + 1) == 0:
            end += 1
        after = end + 1
        if after == len(self.at):
            return 0
        w = self.count(after)
        goes_on = self.is_counting(base, w, self.t_us(after) - self.t_us(place))
        goes_anew = self.is_counting(v, w, self.t_us(after) - self.t_us(end))
        is_new_day = bool(rule.is_daily) and self.day(k) > self.last_reset_day
        if kind == "zero" and is_new_day and goes_anew and rule.most_per_h:
            goes_on = False
        span_us = self.t_us(k) - self.t_us(place)
        if goes_on or not goes_anew:
            is_silent = span_us > rule.max_gap_us
            zero = "wake_up_zero" if is_silent else "false_zero"
            code = zero if kind == "zero" else "spike"
            self.log.append((code, self.t_us(place), self.t_us(k), base, v, 0))
            return after
        self._begin_anew(k, kind, is_new_day=is_new_day)
        if end > k:  # it was read at 0 all the time
            gaps = [self.t_us(i + 1) - self.t_us(i) for i in range(k, end)]
            self.believe(end, v, 0, MEASURED if max(gaps) <= rule.max_gap_us else ESTIMATED)
        return after

    def _begin_anew(self, k: int, kind: str, *, is_new_day: bool) -> None:
        place, base = self.believed[-1]
        v, most = self.count(k), self.most(self.t_us(k) - self.t_us(place), self.count(k))
        if kind == "leap":
            still_us = self.t_us(k) - self.still_since()
            if self.is_counting(base, v, still_us):
                self.believe(k, v, v - base, ESTIMATED, "catch_up")
            else:
                self.believe(k, v, 0, NOT_BOOKED["jump"], "jump")
        elif is_new_day and v <= most:
            self.last_reset_day = self.day(k)
            if self.day(k) - self.day(place) > 1:
                self.believe(k, v, 0, NOT_BOOKED["daily_reset"], "daily_reset")
            else:
                self.believe(k, v, v, ESTIMATED, "daily_reset")
        else:
            code = "reset" if v <= most else "replacement"
            self.believe(k, v, 0, NOT_BOOKED[code], code)


def slowly(rule: Semantics, rows: Sequence[Row]) -> tuple[list[Node], list[Log]]:
    """The nodes and the events of all readings."""
    found = Slow(rule, rows).run()
    return found.nodes, found.log
