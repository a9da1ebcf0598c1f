"""Power of a compressor at part of its capacity, and back, for each way of control.

A capacity ratio is the air delivered over that at full load, at the inlet; outside 0 to 1 it is
refused. Powers are electric. Machines that load and unload a sump stand in `load_cycle`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from joulemark_agent.physics.domain import OutOfDomain, within

_HALVINGS = 60


@dataclass(frozen=True)
class SpeedCurve:
    """A machine with variable speed: power at its least, a middle and its full speed."""

    full_load_w: float
    no_load_w: float  # 0 where it stops
    turndown_ratio: float  # capacity at the least speed
    turndown_w: float
    middle_ratio: float
    middle_w: float

    def __post_init__(self) -> None:
        within("full_load_w", self.full_load_w, 1e-3, 1e9, "W")
        within("turndown_ratio", self.turndown_ratio, 1e-3, 0.98, "1")
        within("middle_ratio", self.middle_ratio, self.turndown_ratio + 1e-3, 0.999, "1")
        within("no_load_w", self.no_load_w, 0.0, self.turndown_w, "W")
        within("turndown_w", self.turndown_w, 0.0, self.middle_w, "W")
        within("middle_w", self.middle_w, 0.0, self.full_load_w, "W")
        to_middle = self.middle_ratio - self.turndown_ratio
        first = (self.middle_w - self.turndown_w) / to_middle  # slopes of its two chords [W]
        last = (self.full_load_w - self.middle_w) / (1 - self.middle_ratio)
        bend = (last - first) / (1 - self.turndown_ratio)
        if first < bend * to_middle or last < -bend * (1 - self.middle_ratio):
            raise OutOfDomain("a parabola through the three points falls: look at the middle one.")


def modulation_power(
    capacity_ratio: float, full_load_w: float, no_load_w: float, exponent: float = 1.0
) -> float:
    """Power of a machine that throttles its inlet, never unloads. [W]

    With exponent 1 also that of a centrifugal machine that loads and unloads (C9b).

    Args:
        capacity_ratio: 0 to 1. [1]
        full_load_w: above the power at no flow. [W]
        no_load_w: at no flow, from 0. [W]
        exponent: 1 throttle, 2 variable displacement; 0.1 to 10. [1]

    Formula: C8, C9b.
    Source: ORNL-AMO/AMO-Tools-Suite 15208321, src/calculator/util/Compressors.cpp.
    """
    c = within("capacity_ratio", capacity_ratio, 0.0, 1.0, "1")
    _check_modulation(full_load_w, no_load_w, exponent)
    return float(no_load_w + (full_load_w - no_load_w) * c**exponent)


def modulation_capacity(
    power_w: float, full_load_w: float, no_load_w: float, exponent: float = 1.0
) -> float:
    """The capacity ratio at which a throttled machine draws a power. [1]

    Args:
        power_w: from that at no flow to that at full load. [W]
        full_load_w: above the power at no flow. [W]
        no_load_w: from 0. [W]
        exponent: as in `modulation_power`. [1]

    Formula: C8, C9b.
    Source: as `modulation_power`.
    """
    _check_modulation(full_load_w, no_load_w, exponent)
    within("power_w", power_w, no_load_w, full_load_w, "W")
    return float(((power_w - no_load_w) / (full_load_w - no_load_w)) ** (1 / exponent))


def speed_power(capacity_ratio: float, curve: SpeedCurve) -> float:
    """Power of a machine with variable speed. [W]

    Args:
        capacity_ratio: 0 to 1. [1]
        curve: its three points.

    Formula: C9.
    Source: quadratic through turndown, middle and full load, linear below the turndown to no load
        at no flow, as MEASUR (ORNL-AMO/AMO-Tools-Desktop 5f077dcd) profiles such machines.
    """
    c = within("capacity_ratio", capacity_ratio, 0.0, 1.0, "1")
    if c < curve.turndown_ratio:
        share = c / curve.turndown_ratio
        return curve.no_load_w + share * (curve.turndown_w - curve.no_load_w)
    points = (
        (curve.turndown_ratio, curve.turndown_w),
        (curve.middle_ratio, curve.middle_w),
        (1.0, curve.full_load_w),
    )
    total = 0.0
    for i, (x, power_w) in enumerate(points):  # Lagrange
        for j, (other, _) in enumerate(points):
            if j != i:
                power_w *= (c - other) / (x - other)  # noqa: PLW2901 -- the term builds up
        total += power_w
    return total


def speed_capacity(power_w: float, curve: SpeedCurve) -> float:
    """The capacity ratio at which a machine with variable speed draws a power. [1]

    Args:
        power_w: from no load to full load; below no load it is off. [W]
        curve: its three points.

    Formula: C9.
    Source: as `speed_power`, inverted exactly.
    """
    return ratio_of(lambda c: speed_power(c, curve), power_w)


def start_stop_power(capacity_ratio: float, full_load_w: float, most_w: float) -> float:
    """Mean power of a machine that stops instead of unloading. [W]

    Args:
        capacity_ratio: share of the time it runs, 0 to 1. [1]
        full_load_w: at the pressure at which it starts, above 0. [W]
        most_w: at the pressure at which it stops, from that to twice it. [W]

    Formula: C9b.
    Source: ORNL-AMO/AMO-Tools-Suite 15208321, src/calculator/util/Compressors.cpp: the mean of
        both powers while it runs.
    """
    c = within("capacity_ratio", capacity_ratio, 0.0, 1.0, "1")
    return _running_w(full_load_w, most_w) * c


def start_stop_capacity(power_w: float, full_load_w: float, most_w: float) -> float:
    """The capacity ratio at which a machine that starts and stops draws a mean power. [1]

    Args:
        power_w: from 0 to the mean power while it runs. [W]
        full_load_w: as in `start_stop_power`. [W]
        most_w: as in `start_stop_power`. [W]

    Formula: C9b.
    Source: as `start_stop_power`.
    """
    running_w = _running_w(full_load_w, most_w)
    return within("power_w", power_w, 0.0, running_w, "W") / running_w


def blow_off_power(
    capacity_ratio: float, full_load_w: float, blow_off_w: float, blow_off_ratio: float
) -> float:
    """Power of a centrifugal machine that blows off what is not wanted. [W]

    Args:
        capacity_ratio: air used, 0 to 1. [1]
        full_load_w: above the power while it blows off. [W]
        blow_off_w: while it blows off, from 0. [W]
        blow_off_ratio: capacity below which it does, 0 to below 1. [1]

    Formula: C9b.
    Source: ORNL-AMO/AMO-Tools-Suite 15208321, src/calculator/util/Compressors.cpp.
    """
    c = within("capacity_ratio", capacity_ratio, 0.0, 1.0, "1")
    within("full_load_w", full_load_w, 1e-3, 1e9, "W")
    within("blow_off_w", blow_off_w, 0.0, full_load_w, "W")
    within("blow_off_ratio", blow_off_ratio, 0.0, 1 - 1e-6, "1")
    share = max(c - blow_off_ratio, 0.0) / (1 - blow_off_ratio)
    return blow_off_w + (full_load_w - blow_off_w) * share


def blown_off(capacity_ratio: float, blow_off_ratio: float) -> float:
    """The share of its capacity that a centrifugal machine blows off. [1]

    Args:
        capacity_ratio: air used, 0 to 1. [1]
        blow_off_ratio: capacity below which it blows off, 0 to 1. [1]

    Formula: C9b.
    Source: as `blow_off_power`.
    """
    within("capacity_ratio", capacity_ratio, 0.0, 1.0, "1")
    within("blow_off_ratio", blow_off_ratio, 0.0, 1.0, "1")
    return max(blow_off_ratio - capacity_ratio, 0.0)


def blow_off_capacity(
    power_w: float,
    full_load_w: float,
    blow_off_w: float,
    blow_off_ratio: float,
    blown_off_ratio: float | None = None,
) -> float:
    """The capacity ratio at which a centrifugal machine with blow-off draws a power. [1]

    Args:
        power_w: from that while it blows off to that at full load. [W]
        full_load_w: as in `blow_off_power`. [W]
        blow_off_w: as in `blow_off_power`. [W]
        blow_off_ratio: as in `blow_off_power`. [1]
        blown_off_ratio: what it blows off, where known: at that power any use below
            `blow_off_ratio` draws the same. [1]

    Formula: C9b.
    Source: as `blow_off_power`.
    """
    within("power_w", power_w, blow_off_w, full_load_w, "W")
    blow_off_power(1.0, full_load_w, blow_off_w, blow_off_ratio)  # checks the machine
    if power_w == blow_off_w:
        if blown_off_ratio is None:
            raise OutOfDomain("while it blows off its power says no flow: give blown_off_ratio.")
        return blow_off_ratio - within("blown_off_ratio", blown_off_ratio, 0.0, blow_off_ratio, "1")
    share = (power_w - blow_off_w) / (full_load_w - blow_off_w)
    return blow_off_ratio + share * (1 - blow_off_ratio)


def vane_power(
    capacity_ratio: float,
    full_load_w: float,
    no_load_w: float,
    unload_w: float,
    unload_ratio: float,
) -> float:
    """Power of a centrifugal machine that turns its vanes, then unloads. [W]

    Args:
        capacity_ratio: 0 to 1. [1]
        full_load_w: from `unload_w`. [W]
        no_load_w: from 0 to `unload_w`. [W]
        unload_w: where it unloads. [W]
        unload_ratio: capacity at which it unloads, above 0 and below 1. [1]

    Formula: C9b.
    Source: ORNL-AMO/AMO-Tools-Suite 15208321, src/calculator/util/Compressors.cpp, with the most
        flow equal to that at full load: two straight lines that meet where it unloads.
    """
    c = within("capacity_ratio", capacity_ratio, 0.0, 1.0, "1")
    within("unload_ratio", unload_ratio, 1e-6, 1 - 1e-6, "1")
    within("full_load_w", full_load_w, 1e-3, 1e9, "W")
    within("unload_w", unload_w, 0.0, full_load_w, "W")
    within("no_load_w", no_load_w, 0.0, unload_w, "W")
    if c < unload_ratio:
        return no_load_w + (unload_w - no_load_w) * c / unload_ratio
    return unload_w + (full_load_w - unload_w) * (c - unload_ratio) / (1 - unload_ratio)


def vane_capacity(
    power_w: float,
    full_load_w: float,
    no_load_w: float,
    unload_w: float,
    unload_ratio: float,
) -> float:
    """The capacity ratio at which a centrifugal machine with vanes draws a power. [1]

    Args:
        power_w: from no load to full load. [W]
        full_load_w: as in `vane_power`. [W]
        no_load_w: as in `vane_power`. [W]
        unload_w: as in `vane_power`. [W]
        unload_ratio: as in `vane_power`. [1]

    Formula: C9b.
    Source: as `vane_power`, inverted exactly.
    """
    machine = (full_load_w, no_load_w, unload_w, unload_ratio)
    return ratio_of(lambda c: vane_power(c, *machine), power_w)


def ratio_of(power_of: Callable[[float], float], power_w: float, most_ratio: float = 1.0) -> float:
    """The capacity ratio at which a curve that rises gives a power. [1]

    Args:
        power_of: mean power of a capacity ratio. [W]
        power_w: between its values at 0 and at `most_ratio`. [W]
        most_ratio: end of the curve. [1]

    Formula: C7, C9, C9b.
    Source: interval halving, 60 times: exact to the last bits of a float.
    """
    low, high = 0.0, most_ratio
    within("power_w", power_w, power_of(low), power_of(high), "W")
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if power_of(middle) < power_w else (low, middle)
    return high


def _check_modulation(full_load_w: float, no_load_w: float, exponent: float) -> None:
    within("full_load_w", full_load_w, 1e-3, 1e9, "W")
    within("no_load_w", no_load_w, 0.0, full_load_w, "W")
    within("exponent", exponent, 0.1, 10.0, "1")


def _running_w(full_load_w: float, most_w: float) -> float:
    within("full_load_w", full_load_w, 1e-3, 1e9, "W")
    return (full_load_w + within("most_w", most_w, full_load_w, 2 * full_load_w, "W")) / 2
