"""What every equipment model takes and gives, and the steps they share.

Time: a value holds from its instant until the next one (`kernels.energy.left_hold`), though E1 of
the usual practice integrates by trapezoids. A register shows its newest row until the next, and a
machine that switches between levels is at one of them, never half-way: with trapezoids a step
would belong to two states at once, and the energy of the states would not add up to the total.
Over a day the two rules differ by half a step of the difference of the last and the first value.

Missing is not zero: a step longer than `max_gap_us`, or with a bad value at either end, gives no
energy and no state. Every figure says what share of its time is backed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from joulemark_agent.contract.quantities import unit_of
from joulemark_agent.kernels.counter import LARGEST, Followed, Semantics, follow
from joulemark_agent.kernels.energy import counter_energy, left_hold

US_PER_S = 1_000_000
US_PER_H = 3_600 * US_PER_S
SAMPLED_AT = "sampled_at_s"  # the device's own time of a sample, UTC seconds since 1970
UNSTATED = "_unstated"  # ends the name of a point whose source names no unit

Times = NDArray[np.int64]
Values = NDArray[np.float64]
Flags = NDArray[np.bool_]

_MOST_OFF_US = 86_400 * US_PER_S
_NOISE_RATIO, _NOISE_W = 0.05, 100.0  # how far below 0 a meter at rest may read
_MOST_COUNT = 2.0**53  # beyond it a float holds no whole numbers


@dataclass(frozen=True, eq=False)
class Samples:
    """The values of one device over time, one row per sample.

    `t_us` never decreases; equal instants enclose no time. A value is NaN where there is none or
    where it is not good. Longer steps than `max_gap_us` are gaps.
    """

    t_us: Times  # shape (n,)
    values: Mapping[str, Values]  # shape (n,) each
    max_gap_us: int
    counters: Mapping[str, Semantics] = field(default_factory=dict)  # by point
    zone: ZoneInfo | None = None  # of the site, whose days a daily counter has; None: UTC

    def __post_init__(self) -> None:
        if np.any(np.diff(self.t_us) < 0):
            raise ValueError("the instants of samples never decrease; see at_device_time")
        if wrong := [name for name, column in self.values.items() if column.size != self.t_us.size]:
            raise ValueError(f"{wrong} have another number of values than there are instants")

    def column(self, point: str) -> Values | None:
        """The values of a point; None where it is not recorded or never has a value."""
        values = self.values.get(point)
        return None if values is None or np.all(np.isnan(values)) else values

    def distinct(self) -> Samples:
        """The samples without those that enclose no time: of equal instants the last holds on."""
        if self.t_us.size == 0:
            return self
        keep = np.append(np.diff(self.t_us) > 0, True)
        kept = {name: column[keep] for name, column in self.values.items()}
        return replace(self, t_us=self.t_us[keep], values=kept)


@dataclass(frozen=True)
class Figure:
    """One number, named so that its end tells its unit; or why there is none."""

    name: str
    value: float | None
    covered_ratio: float | None = None  # share of the time it stands for that samples back
    why: str = ""  # the reason there is no value, for a plant engineer
    standard_uncertainty: float | None = None  # in the value's unit; None: unknown
    degrees_of_freedom: float | None = None  # of that uncertainty; None: unknown
    flags: tuple[str, ...] = ()  # stable codes of what limits the value


@dataclass(frozen=True)
class Span:
    """Time in which the machine did one thing: [start_us, end_us)."""

    kind: str
    start_us: int
    end_us: int
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True)
class Finding:
    """What somebody should know or do; `code` is stable."""

    code: str
    what: str
    do: str
    start_us: int
    end_us: int


@dataclass(frozen=True)
class Analysis:
    """What a model makes of the samples of one device."""

    figures: tuple[Figure, ...] = ()
    spans: tuple[Span, ...] = ()
    findings: tuple[Finding, ...] = ()

    def figure(self, name: str) -> Figure:
        """The figure of that name (KeyError where there is none)."""
        return {figure.name: figure for figure in self.figures}[name]

    def spans_of(self, kind: str) -> tuple[Span, ...]:
        """The spans of that kind, in order of time."""
        return tuple(span for span in self.spans if span.kind == kind)


@dataclass(frozen=True, eq=False)
class Windows:
    """Per window an amount and how its time divides; covered + estimated + missing is its length.

    Estimated: a counter counted over a gap, so that only the sum over the gap is known.
    """

    amount: Values  # [Wh, Ah ... of a rate; a counter's own unit]
    covered_us: Times
    estimated_us: Times
    missing_us: Times
    falls: int = 0  # steps in which a counter fell
    unread: Values | None = None  # how far a counter may be off at each edge, where it is not read


def at_device_time(slot_us: Times, values: Mapping[str, Values], max_gap_us: int) -> Samples:
    """The samples at the instants the device states itself (`sampled_at_s`), else at their slots.

    Where a device states when it sampled, a row without that instant has no place in time and is
    left out, as is one that goes back in time or lies more than a day from its slot (one corrupt
    stamp in the future would put all later ones into the past). A row read twice encloses no time.

    Args:
        slot_us: instants at which the device was read, never decreasing, shape (n,). [us]
        values: per point, NaN where there is no good value, shape (n,) each.
        max_gap_us: as in `Samples`. [us]
    """
    stamp_s = values.get(SAMPLED_AT)
    if stamp_s is None:
        return Samples(slot_us, values, max_gap_us)
    stamp_us = np.where(np.isnan(stamp_s), np.inf, stamp_s) * US_PER_S
    rows = np.flatnonzero(np.abs(stamp_us - slot_us) <= _MOST_OFF_US)
    t_us = np.rint(stamp_us[rows]).astype(np.int64)
    forward = t_us == np.maximum.accumulate(t_us)
    rows = rows[forward]
    kept = {name: column[rows] for name, column in values.items() if name != SAMPLED_AT}
    return Samples(t_us[forward], kept, max_gap_us)


def drawn(samples: Samples, point: str) -> tuple[Samples, tuple[Finding, ...]]:
    """The samples without what no consumer draws, negative power, and the finding of it."""
    power = samples.column(point)
    if power is None:
        return samples, ()
    is_negative = power < -max(_NOISE_RATIO * float(np.nanmax(np.abs(power))), _NOISE_W)
    at_us = samples.t_us[is_negative]
    if at_us.size == 0:
        return samples, ()
    values = {**samples.values, point: np.where(is_negative, np.nan, power)}
    finding = Finding(
        "power_negative",
        f"{point!r} is negative in {at_us.size} of {np.sum(~np.isnan(power))} samples, as if the"
        " machine fed the grid; they are taken as missing.",
        "Look at the direction of the current transformers, and at the sign in the profile.",
        int(at_us[0]),
        int(at_us[-1]),
    )
    return replace(samples, values=values), (finding,)


def held(samples: Samples, value: str | Values, edges_us: Times) -> Windows:
    """The integral of a rate over windows: W gives Wh, A gives Ah, W/m2 gives Wh/m2.

    Additive over splits: a window's amount is the sum of its parts' amounts.

    Args:
        samples: of one device.
        value: the point, or values at the instants of the samples.
        edges_us: edges of the half-open windows, strictly increasing, shape (w + 1,). [us]
    """
    column = samples.column(value) if isinstance(value, str) else value
    if column is None:
        column = np.full(samples.t_us.size, np.nan)
    amount, covered_us = left_hold(samples.t_us, column, edges_us, samples.max_gap_us)
    none_us = np.zeros_like(covered_us)
    return Windows(amount, covered_us, none_us, np.diff(edges_us) - covered_us)


def counted(samples: Samples, point: str, edges_us: Times) -> Windows:
    """What a counter counted in windows, exactly: they add up to the register's difference.

    It is followed as the profile says (`Samples.counters`). A zero between two counts is none (it
    would book the whole register again); a step in which the register falls is missing.
    """
    column = samples.column(point)
    if column is None:
        column = np.full(samples.t_us.size, np.nan)
    good = (column >= 0) & (column <= _MOST_COUNT)  # NaN is neither
    count = np.floor(np.where(good, column, 0)).astype(np.int64)
    semantics = samples.counters.get(point) or Semantics(samples.max_gap_us)
    all_ok = np.ones(count.size, np.bool_)
    nodes = follow(semantics, samples.t_us, count, good, all_ok, samples.zone)
    amount, covered_us, estimated_us, missing_us, _ = counter_energy(
        nodes.t_us, nodes.count, np.ones(nodes.t_us.size, np.bool_), nodes.step[1:],
        edges_us, LARGEST,
    )  # fmt: skip
    falls = sum(event.code in {"reset", "replacement"} for event in nodes.events)
    unread = _unread(nodes, edges_us)
    return Windows(amount.astype(np.float64), covered_us, estimated_us, missing_us, falls, unread)


def _unread(nodes: Followed, edges_us: Times) -> Values:
    """How far what is counted until each edge may be off: 0 at a reading. Shape (w + 1,).

    The share of the time stands for the share of the count. Half-way between two readings it is
    anywhere between their counts; towards either it is off as a walk is whose ends are known, by
    the root of both shares.
    """
    if nodes.t_us.size < 2:
        return np.zeros(edges_us.size)
    k = np.searchsorted(nodes.t_us, edges_us, side="right") - 1
    at = np.clip(k, 0, nodes.t_us.size - 2)
    since_us, step_us = edges_us - nodes.t_us[at], np.diff(nodes.t_us)[at]
    share = np.clip(since_us / np.maximum(step_us, 1), 0.0, 1.0)
    is_split = (k == at) & (since_us > 0) & (nodes.step[1:][at] > 0)
    off = np.sqrt(share * (1 - share)) * np.maximum(np.diff(nodes.count)[at], 0)
    return np.where(is_split, off, 0.0)


def held_steps_us(t_us: Times, values: Values, max_gap_us: int) -> Times:
    """How long each sample holds, 0 where no time is vouched for: the steps of `left_hold`. [us]

    The last sample holds for no time; shape (n,).
    """
    step_us = np.diff(t_us, append=t_us[-1:])
    good = ~np.isnan(values)
    next_good = np.append(good[1:], False)
    is_held = good & next_good & (step_us > 0) & (step_us <= max_gap_us)
    return np.where(is_held, step_us, 0)


def measured(name: str, value: float, covered_us: float, length_us: float) -> Figure:
    """A figure with the share of its time that is covered; none where nothing is."""
    if covered_us <= 0:
        return absent(name, "There is no time with good values at both of its ends.")
    return Figure(name, float(value), float(covered_us / length_us))


def absent(name: str, why: str) -> Figure:
    """The figure that cannot be given, with the reason."""
    return Figure(name, None, None, why)


def is_unstated(point: str) -> bool:
    """Whether the source of the point names no unit."""
    return point.endswith(UNSTATED)


def no_unit(point: str, figures: str) -> str:
    """Why nothing is computed from a point without a unit."""
    return (
        f"The source of {point!r} does not say in which unit it counts, so {figures} cannot be"
        " computed from it: kW and MW would differ a thousandfold."
    )


def unit_finding(point: str, when_us: tuple[int, int]) -> Finding:
    """The finding that a point has no unit."""
    return Finding(
        "unit_unstated",
        f"The unit of {point!r} is not known, so no energy and no CO2e is computed from it.",
        "Find the unit in the manual or on the nameplate of the meter, then give the point in the"
        " profile a name that ends in it (power_w, energy_wh, gas_m3) and the scale to it.",
        *when_us,
    )


def extent(samples: Samples) -> tuple[int, int]:
    """The first and the last instant; 0 and 0 where there is none. [us]"""
    return (int(samples.t_us[0]), int(samples.t_us[-1])) if samples.t_us.size else (0, 0)


class Section(BaseModel):
    """The `equipment:` section of a device: strict, since it is evidence and signed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _no_truth(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("write a number, not true or false")
    return value


# YAML's fractions arrive as Decimal, those of canonical bytes as text: both give the same float.
Number = Annotated[float, BeforeValidator(_no_truth), Field(allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]


def of_unit(*units: str, may_be_unstated: bool = False) -> AfterValidator:
    """A check that the name of a point ends in one of the units."""

    def check(point: str) -> str:
        unit = unit_of(point)
        if unit is None:
            raise ValueError(f"{point!r} is no name of a point: it must end in its unit")
        if unit not in units and not (may_be_unstated and is_unstated(point)):
            wanted = " or ".join(units)
            raise ValueError(f"{point!r} is counted in {unit or 'no unit'}; name one in {wanted}")
        return point

    return AfterValidator(check)
