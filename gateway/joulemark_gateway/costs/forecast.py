"""The demand that a running interval ends with, and the warning before it passes a limit.

    forecast = (energy so far + power now * time left) / length
    u        = u(power now) * sqrt(time left * step) / length

Power now is the mean of the last steps of the meter. Its standard uncertainty is that of one step
after another: the root mean square of the last changes from step to step. Changes are taken as
independent, so what they do to the rest of the interval grows with the root of its steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise

_US_PER_H = 3_600_000_000


@dataclass(frozen=True)
class Running:
    """An interval of demand that has not ended."""

    start_us: int
    end_us: int
    at_us: int  # up to here it is known
    energy_wh: float  # so far
    covered_us: int  # of what has passed of it
    power_w: float  # now
    power_u_w: float  # standard uncertainty of the next step's power
    step_us: int  # from reading to reading


@dataclass(frozen=True)
class Forecast:
    """Where a running interval goes."""

    demand_w: float
    standard_uncertainty_w: float
    so_far_w: float  # the demand if nothing more were taken
    known_ratio: float  # of what has passed

    def upper_w(self, coverage_factor: float) -> float:
        """The forecast and so many standard uncertainties."""
        return self.demand_w + coverage_factor * self.standard_uncertainty_w


class Level(StrEnum):
    """How a site's demand stands to its limit."""

    QUIET = "quiet"
    WARNED = "warned"  # the forecast passes the limit
    PASSED = "passed"  # an interval did


@dataclass(frozen=True)
class WarningRule:
    """When to warn."""

    limit_w: float
    clear_ratio: float = 0.95  # of the limit, below which the warning ends
    coverage_factor: float = 0.0  # standard uncertainties that are added to the forecast
    least_known_ratio: float = 0.5  # of what has passed of the interval


@dataclass(frozen=True)
class Standing:
    """What is remembered from evaluation to evaluation."""

    level: Level = Level.QUIET
    interval_us: int = -1  # start of the interval in which it was warned, or passed
    since_us: int = -1


def forecast(running: Running) -> Forecast:
    """Where the interval goes; what of it is not known counts as the mean of what is."""
    length_us = running.end_us - running.start_us
    passed_us = running.at_us - running.start_us
    left_us = max(running.end_us - running.at_us, 0)
    energy_wh = running.energy_wh
    unknown_us = max(passed_us - running.covered_us, 0)
    energy_wh += running.power_w * unknown_us / _US_PER_H
    per_us = _US_PER_H / length_us
    steps_left = left_us / running.step_us if running.step_us else 0.0
    u_wh = running.power_u_w * running.step_us / _US_PER_H * math.sqrt(steps_left)
    u_wh = math.hypot(u_wh, running.power_u_w * unknown_us / _US_PER_H)
    return Forecast(
        (energy_wh + running.power_w * left_us / _US_PER_H) * per_us,
        u_wh * per_us,
        running.energy_wh * per_us,
        running.covered_us / passed_us if passed_us else 1.0,
    )


def stepped(rule: WarningRule, before: Standing, running: Running, found: Forecast) -> Standing:
    """The standing after one more reading of a running interval.

    It rises where the forecast passes the limit, and falls only below `clear_ratio` of it, so that
    a load at the limit does not warn again and again; nor does one that stays above it.
    """
    if found.known_ratio < rule.least_known_ratio:
        return before
    upper_w = found.upper_w(rule.coverage_factor)
    has_passed = found.so_far_w > rule.limit_w
    if has_passed and before.level is not Level.PASSED:
        return Standing(Level.PASSED, running.start_us, running.at_us)
    if has_passed:
        return replace(before, interval_us=running.start_us)
    if before.level is Level.PASSED and before.interval_us == running.start_us:
        return before
    if upper_w > rule.limit_w:
        if before.level is not Level.QUIET:
            return before
        return Standing(Level.WARNED, running.start_us, running.at_us)
    if before.level is not Level.QUIET and upper_w < rule.clear_ratio * rule.limit_w:
        return Standing(Level.QUIET, running.start_us, running.at_us)
    return before


def change_of(powers_w: list[float]) -> float:
    """Root mean square of the changes from step to step; 0 where there are fewer than two."""
    changes = [b - a for a, b in pairwise(powers_w)]
    return math.sqrt(math.fsum(c * c for c in changes) / len(changes)) if changes else 0.0
