"""How a compressor is controlled, as declared: its part-load curve, and what it should draw.

What it should draw is the curve at the mean flow of each quarter of an hour, by the flow meter, or
by the time it is loaded where it loads and unloads. A machine above its curve has worn, is
unloaded wrongly, or has less storage than is declared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from joulemark_agent.equipment.base import (
    US_PER_S,
    Figure,
    Finding,
    Flags,
    Number,
    Positive,
    Samples,
    Section,
    Times,
    Values,
    absent,
    extent,
    held,
)
from joulemark_agent.physics.load_cycle import Cycle, load_unload_power
from joulemark_agent.physics.part_load import (
    SpeedCurve,
    blow_off_power,
    modulation_power,
    speed_power,
    start_stop_power,
    vane_power,
)
from joulemark_agent.physics.us_units import PA_PER_PSI

Curve = Callable[[float], float]  # mean power [W] of a capacity ratio, 0 to 1
NotNegative = Annotated[Number, Field(ge=0)]
Ratio = Annotated[Number, Field(gt=0, le=1)]
BelowOne = Annotated[Number, Field(gt=0, lt=1)]

_WINDOW_US = 900 * US_PER_S
_LEAST_WINDOW_US = 300 * US_PER_S
_LEAST_COVERED = 0.95
MOST_BEYOND = 1.02  # of the capacity: what a flow meter's error makes of full load


class LoadUnload(Section):
    """A lubricated screw that loads and unloads; with `modulating_pa` it throttles before that."""

    type: Literal["load_unload"]
    full_load_w: Positive
    no_load_w: NotNegative
    most_w: Positive | None = None  # at `most_gauge_pa`; else as at full load
    storage_m3: Positive
    full_load_gauge_pa: Positive
    most_gauge_pa: Positive
    modulating_pa: NotNegative = 0.0
    unload_ratio: Ratio = 1.0
    modulated_ratio: Ratio = 0.92
    exponent: Positive = 1.0  # 2: variable displacement
    blowdown_s: Positive = 40.0  # 0.003 of oil-free and reciprocating machines
    sump_gauge_pa: NotNegative = 15 * PA_PER_PSI
    spindle_s: Positive = 2.0  # 0.004
    reload_s: Positive = 3.0  # 0.001

    def curve(self, capacity_m3_s: float, atmosphere_pa: float) -> Curve:
        """Its part-load curve."""
        given = self.model_dump(exclude={"type", "most_w"})
        cycle = Cycle(
            **given,
            most_w=self.full_load_w if self.most_w is None else self.most_w,
            capacity_m3_s=capacity_m3_s,
            atmospheric_pa=atmosphere_pa,
        )
        return lambda c: load_unload_power(c, cycle)


class Modulation(Section):
    """A machine that throttles its inlet and never unloads; exponent 2: variable displacement."""

    type: Literal["modulation"]
    full_load_w: Positive
    no_load_w: NotNegative
    exponent: Positive = 1.0

    def curve(self, _capacity_m3_s: float, _atmosphere_pa: float) -> Curve:
        """Its part-load curve."""
        return lambda c: modulation_power(c, self.full_load_w, self.no_load_w, self.exponent)


class VariableSpeed(Section):
    """A machine with variable speed: three points of its curve."""

    type: Literal["speed"]
    full_load_w: Positive
    no_load_w: NotNegative = 0.0  # 0: it stops below its least speed
    turndown_ratio: BelowOne
    turndown_w: Positive
    middle_ratio: BelowOne
    middle_w: Positive

    def curve(self, _capacity_m3_s: float, _atmosphere_pa: float) -> Curve:
        """Its part-load curve."""
        points = SpeedCurve(**self.model_dump(exclude={"type"}))
        return lambda c: speed_power(c, points)


class StartStop(Section):
    """A machine that stops instead of unloading."""

    type: Literal["start_stop"]
    full_load_w: Positive
    most_w: Positive | None = None  # at the pressure at which it stops; else as at full load

    def curve(self, _capacity_m3_s: float, _atmosphere_pa: float) -> Curve:
        """Its part-load curve."""
        return lambda c: start_stop_power(c, self.full_load_w, self.most_w or self.full_load_w)


class CentrifugalUnload(Section):
    """A centrifugal machine that loads and unloads."""

    type: Literal["centrifugal_unload"]
    full_load_w: Positive
    no_load_w: NotNegative

    def curve(self, _capacity_m3_s: float, _atmosphere_pa: float) -> Curve:
        """Its part-load curve."""
        return lambda c: modulation_power(c, self.full_load_w, self.no_load_w)


class BlowOff(Section):
    """A centrifugal machine that blows off what is not wanted."""

    type: Literal["blow_off"]
    full_load_w: Positive
    blow_off_w: Positive
    blow_off_ratio: BelowOne

    def curve(self, _capacity_m3_s: float, _atmosphere_pa: float) -> Curve:
        """Its part-load curve."""
        given = (self.full_load_w, self.blow_off_w, self.blow_off_ratio)
        return lambda c: blow_off_power(c, *given)


class Vanes(Section):
    """A centrifugal machine that turns its vanes, then unloads."""

    type: Literal["vanes"]
    full_load_w: Positive
    no_load_w: NotNegative
    unload_w: Positive
    unload_ratio: BelowOne

    def curve(self, _capacity_m3_s: float, _atmosphere_pa: float) -> Curve:
        """Its part-load curve."""
        given = (self.full_load_w, self.no_load_w, self.unload_w, self.unload_ratio)
        return lambda c: vane_power(c, *given)


Control = Annotated[
    LoadUnload | Modulation | VariableSpeed | StartStop | CentrifugalUnload | BlowOff | Vanes,
    Field(discriminator="type"),
]


def expected_figures(
    samples: Samples, power: Values, delivered: Values, is_off: Flags, curve: Curve
) -> tuple[tuple[Figure, ...], tuple[Finding, ...]]:
    """What the machine should have drawn, and what it drew over it in the same time.

    Args:
        samples: of the machine.
        power: of it, shape (n,). [W]
        delivered: air it delivers over its capacity, shape (n,). [1]
        is_off: where it stands still: no curve tells that, shape (n,).
        curve: its declared part-load curve.
    """
    names = ("expected_wh", "actual_to_expected_ratio")
    start_us, end_us = extent(samples)
    edges_us = _edges_us(start_us, end_us)
    runs = np.where(np.isnan(power) | np.isnan(delivered), np.nan, ~is_off)
    ran = held(samples, runs, edges_us)
    drawn = held(samples, runs * power, edges_us)
    flowed = held(samples, runs * delivered, edges_us)
    length_us = np.diff(edges_us)
    used = (drawn.covered_us >= _LEAST_COVERED * length_us) & (length_us >= _LEAST_WINDOW_US)
    hours = ran.amount
    shares = np.divide(flowed.amount, hours, out=np.zeros_like(hours), where=hours > 0)
    beyond = used & (shares > MOST_BEYOND)
    findings = tuple(_beyond(edges_us[:-1][beyond], edges_us[1:][beyond], shares[beyond]))
    used &= ~beyond
    if not used.any():
        why = "There is no quarter of an hour with power and flow within the machine's capacity."
        return tuple(absent(name, why) for name in names), findings
    expected_w = np.array([curve(min(max(share, 0.0), 1.0)) for share in shares[used]])
    expected_wh = float(expected_w @ hours[used])
    covered = float(drawn.covered_us[used].sum() / (end_us - start_us))
    flags = ("declared_curve", "capacity_exceeded") if beyond.any() else ("declared_curve",)
    figures = [Figure(names[0], expected_wh, covered, flags=flags)]
    if expected_wh > 0:
        ratio = float(drawn.amount[used].sum()) / expected_wh
        figures.append(Figure(names[1], ratio, covered, flags=flags))
    else:
        figures.append(absent(names[1], "It should have drawn nothing in this time."))
    return tuple(figures), findings


def _edges_us(start_us: int, end_us: int) -> Times:
    """Quarters of an hour of the clock, and the ends."""
    first = -(-start_us // _WINDOW_US) * _WINDOW_US
    inner = np.arange(first, end_us, _WINDOW_US, dtype=np.int64)
    return np.unique(np.concatenate([[start_us], inner, [end_us]]))


def _beyond(starts_us: Times, ends_us: Times, shares: Values) -> Iterator[Finding]:
    if shares.size:
        yield Finding(
            "flow_beyond_capacity",
            f"In {shares.size} quarters of an hour the machine seems to deliver up to"
            f" {100 * shares.max():.0f} % of its capacity; they are left out.",
            "Look at capacity_m3_s, at the flow meter's reference, and whether the meter sees the"
            " air of other machines.",
            int(starts_us[0]),
            int(ends_us[-1]),
        )
