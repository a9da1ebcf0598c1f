"""Power of a compressor that loads and unloads: what its sump, storage and pressures make of it.

Between two loads it blows its sump down, idles, fills the sump again and pumps the storage up: with
a small storage it never idles empty, and at a tenth of its flow draws far more than a tenth.

An inverse is exact. The source answers with a polynomial of degree 6 fitted through points of its
own curve; both differ by up to 0.7 % of the capacity, and only ours returns to the same power.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log, nextafter

from joulemark_agent.physics.domain import OutOfDomain, within
from joulemark_agent.physics.part_load import modulation_capacity, modulation_power, ratio_of
from joulemark_agent.physics.us_units import PA_PER_PSI

_DECAY = 0.02  # of the sump's pressure that is left after the blowdown time
_RISE_PA = 200 * PA_PER_PSI  # a fall by this during reload would take all of the power
_LEAST_RATIO = 1e-9  # stands for a demand of nothing, at which a cycle never ends


@dataclass(frozen=True)
class Cycle:
    """A machine that loads and unloads its sump between two pressures, and what it draws.

    The defaults are a lubricated screw with load/unload control. Where a machine modulates before
    it unloads, `modulated_ratio` is its power at no flow while still loaded over that at full load
    (0.65 to 0.7 of throttles, about 0.57 of variable displacement), `exponent` 2 is variable
    displacement, and `unload_ratio` is the capacity at which it unloads.
    """

    full_load_w: float  # at `full_load_gauge_pa`
    no_load_w: float  # unloaded, with an empty sump
    most_w: float  # at `most_gauge_pa`
    capacity_m3_s: float  # at full load
    storage_m3: float  # receiver and pipes
    full_load_gauge_pa: float  # loads again below it
    most_gauge_pa: float  # unloads, or begins to modulate, above it
    atmospheric_pa: float
    modulating_pa: float = 0.0  # range of modulation above `most_gauge_pa`
    unload_ratio: float = 1.0
    modulated_ratio: float = 0.92
    exponent: float = 1.0
    blowdown_s: float = 40.0
    sump_gauge_pa: float = 15 * PA_PER_PSI  # unloaded
    spindle_s: float = 2.0  # until the power has followed the closed inlet
    reload_s: float = 3.0  # until the sump is filled from empty
    unload_w: float | None = None  # at `unload_ratio`; None: by the modulation's curve
    unload_gauge_pa: float | None = None  # there; None: by the range of modulation

    def __post_init__(self) -> None:
        within("full_load_w", self.full_load_w, 1e-3, 1e9, "W")
        within("no_load_w", self.no_load_w, 0.0, self.full_load_w, "W")
        within("most_w", self.most_w, self.no_load_w, 2 * self.full_load_w, "W")
        within("capacity_m3_s", self.capacity_m3_s, 1e-6, 1e4, "m3/s")
        within("storage_m3", self.storage_m3, 1e-6, 1e6, "m3")
        within("atmospheric_pa", self.atmospheric_pa, 3e4, 1.2e5, "Pa")
        within("full_load_gauge_pa", self.full_load_gauge_pa, 0.0, 1e8, "Pa")
        within("most_gauge_pa", self.most_gauge_pa, self.full_load_gauge_pa, 1e8, "Pa")
        within("modulating_pa", self.modulating_pa, 0.0, 1e7, "Pa")
        within("unload_ratio", self.unload_ratio, 0.01, 1.0, "1")
        within("modulated_ratio", self.modulated_ratio, 0.0, 1.0, "1")
        within("exponent", self.exponent, 0.1, 10.0, "1")
        within("blowdown_s", self.blowdown_s, 1e-6, 3600.0, "s")
        within("sump_gauge_pa", self.sump_gauge_pa, 0.0, self.unloading_gauge_pa, "Pa")
        within("spindle_s", self.spindle_s, 1e-6, 3600.0, "s")
        within("reload_s", self.reload_s, 0.0, 3600.0, "s")
        if self.unload_ratio < 1 and self.modulating_pa == 0:
            raise OutOfDomain("unload_ratio is below 1, so modulating_pa must be above 0 Pa.")
        if self.unloading_gauge_pa <= self.full_load_gauge_pa:
            raise OutOfDomain("the machine must unload above the pressure at which it loads.")

    @property
    def modulated_w(self) -> float:
        """Loaded, at no flow. [W]"""
        return self.modulated_ratio * self.most_w

    @property
    def unloading_w(self) -> float:
        """Where it unloads. [W]"""
        if self.unload_w is not None:
            return self.unload_w
        share = float(self.unload_ratio**self.exponent)
        return self.modulated_w + (self.most_w - self.modulated_w) * share

    @property
    def unloading_gauge_pa(self) -> float:
        """The pressure above which it unloads. [Pa gauge]"""
        if self.unload_gauge_pa is not None:
            return self.unload_gauge_pa
        return self.most_gauge_pa + (1 - self.unload_ratio) * self.modulating_pa


def load_unload_power(capacity_ratio: float, cycle: Cycle) -> float:
    """Mean power of a machine that loads and unloads, over whole cycles. [W]

    Args:
        capacity_ratio: mean flow over that at full load, 0 to 1. [1]
        cycle: the machine, its storage and its pressures.

    Formula: C7.
    Source: ORNL-AMO/AMO-Tools-Suite 15208321, src/calculator/util/Compressors.cpp: the mean over
        blowdown, off-load, reload, pumping up and modulation. At full load, and where it modulates
        above the capacity at which it unloads, the curve of `modulation_power`, as there.
    """
    c = within("capacity_ratio", capacity_ratio, 0.0, 1.0, "1")
    if c >= cycle.unload_ratio:
        return modulation_power(c, cycle.full_load_w, _modulated_w(cycle), cycle.exponent)
    phases = _phases(max(c, _LEAST_RATIO), cycle)
    return sum(t_s * power_w for t_s, power_w in phases) / sum(t_s for t_s, _ in phases)


def load_unload_capacity(power_w: float, cycle: Cycle) -> float:
    """The capacity ratio at which a machine that loads and unloads draws a mean power. [1]

    Above the power at which it unloads, that of its modulation; where two ratios draw the same
    while it cycles, the smaller.

    Args:
        power_w: mean over whole cycles, from that at no flow to the most of the curve. [W]
        cycle: as in `load_unload_power`.

    Formula: C7.
    Source: as `load_unload_power`, inverted exactly.
    """
    if power_w == cycle.full_load_w:
        return 1.0
    if cycle.unload_ratio < 1 and power_w >= cycle.unloading_w:
        return modulation_capacity(power_w, cycle.full_load_w, _modulated_w(cycle), cycle.exponent)
    return ratio_of(
        lambda c: load_unload_power(c, cycle), power_w, nextafter(cycle.unload_ratio, 0)
    )


def _phases(c: float, cycle: Cycle) -> tuple[tuple[float, float], ...]:
    """Time and mean power of each phase of one cycle: C7's equations in SI. [s, W]"""
    flow_m3_s, atm_pa = c * cycle.capacity_m3_s, cycle.atmospheric_pa
    unload_pa, volume_m3 = cycle.unloading_gauge_pa, cycle.storage_m3
    decay_s = cycle.blowdown_s / log(1 / _DECAY)
    spindle_s = cycle.spindle_s / log(1 / _DECAY)
    drawdown_s = volume_m3 * (unload_pa - cycle.full_load_gauge_pa) / (flow_m3_s * atm_pa)
    blowdown_s = min(cycle.blowdown_s, drawdown_s)
    closing_w = (cycle.unloading_w - cycle.modulated_w) * exp(-blowdown_s / spindle_s)
    above_w = closing_w + cycle.modulated_w - cycle.no_load_w
    left = exp(-blowdown_s / decay_s)
    blowdown_w = cycle.no_load_w + above_w * (1 - left) * decay_s / blowdown_s
    sump_pa = cycle.sump_gauge_pa + (unload_pa - cycle.sump_gauge_pa) * left
    span_pa = unload_pa - (unload_pa - cycle.sump_gauge_pa) * _DECAY
    reload_s = cycle.reload_s * (unload_pa - sump_pa) / span_pa
    is_blown_down = blowdown_s == cycle.blowdown_s
    least_w = cycle.no_load_w + (0.0 if is_blown_down else above_w * left)
    fall_pa = atm_pa * flow_m3_s * reload_s / volume_m3
    pump_pa = cycle.most_gauge_pa - cycle.full_load_gauge_pa + fall_pa
    pump_s = volume_m3 * pump_pa / (atm_pa * cycle.capacity_m3_s * (1 - c))
    pump_w = ((1 - fall_pa / _RISE_PA) * cycle.full_load_w + cycle.most_w) / 2
    return (
        (blowdown_s, blowdown_w),
        (drawdown_s - blowdown_s, cycle.no_load_w),
        (reload_s, (least_w + cycle.full_load_w) / 2),
        (pump_s, pump_w),
        _modulation_phase(c, cycle),
    )


def _modulation_phase(c: float, cycle: Cycle) -> tuple[float, float]:
    """Time and mean power while the inlet closes before unloading. [s, W]"""
    if cycle.unload_ratio == 1:
        return 0.0, 0.0
    range_pa = cycle.modulating_pa
    filling_s = range_pa * cycle.storage_m3 / (cycle.atmospheric_pa * cycle.capacity_m3_s)
    t_s = filling_s * log((1 - c) / (cycle.unload_ratio - c))
    above_pa = range_pa * (1 - c) * (1 - filling_s / t_s * (1 - exp(-t_s / filling_s)))
    share = (1 - above_pa / range_pa) ** cycle.exponent
    return t_s, cycle.modulated_w + (cycle.most_w - cycle.modulated_w) * share


def _modulated_w(cycle: Cycle) -> float:
    return min(cycle.modulated_w, cycle.full_load_w)
