"""The energy of a meter: by its register, by the integral of its power, and as the two agree.

The windows are those of demand, on the local clock, cut at the first and the last sample. Nothing
bounds what a meter may count: a transformer's ratio, not this code, says how much power there is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from joulemark_agent.equipment.base import US_PER_H, Flags, Samples, Times, Values, Windows, counted
from joulemark_agent.equipment.metering import Metering, metered, primary_windows, registered
from joulemark_agent.kernels.reconcile import (
    BY_REGISTER,
    WHOLE_RATIO,
    Reconciled,
    boundary_uncertainty,
    reconciled,
)
from joulemark_agent.kernels.stream import (
    BAD,
    COVERED_US,
    EXPORT_WH,
    GOOD,
    IMPORT_WH,
    MEAN_RIGHT,
    START_US,
    Rule,
    begun,
    ended,
    rules_of,
    step_many,
)
from joulemark_agent.kernels.window import aligned_edges_us
from joulemark_agent.physics.budget import Amount, Part

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_METER = "meter"
_LEAST_SHARE = 0.01  # of what flows in a direction: below it noise around 0 is compared with noise


@dataclass(frozen=True, eq=False)
class Grid:
    """The windows that hold the samples, on the local clock."""

    start_us: Times  # of each, as the clock has it, shape (w,)
    edges_us: Times  # cut at the first and the last sample, shape (w + 1,)
    length_us: int

    @property
    def is_whole(self) -> Flags:
        """Which windows lie in the span entirely."""
        is_whole: Flags = np.diff(self.edges_us) == self.length_us
        return is_whole


@dataclass(frozen=True, eq=False)
class Integral:
    """The integral of power over the windows, each direction by itself. Shapes (w,)."""

    import_wh: Values
    export_wh: Values
    covered_us: Values
    sampling_u_wh: float  # standard uncertainty of the whole, by what was not seen between samples


@dataclass(frozen=True, eq=False)
class Flow:
    """What flowed in one direction, window by window, and how well its two sources agree."""

    register: Windows | None
    integral_wh: Values | None
    agreed: Reconciled
    compared_us: int  # time of the windows that both know throughout
    kappa_ratio: float | None  # register over integral in them; None: there is none, or it is 0
    kappa_u_ratio: float | None  # its standard uncertainty
    is_alarm: bool
    is_short: bool  # beside gaps the register counted less than what was integrated around them
    step_wh: float  # of the register, on the primary side


@dataclass(frozen=True, eq=False)
class Meter:
    """What the samples of one meter hold, window by window, on the primary side."""

    metering: Metering | None
    samples: Samples
    grid: Grid
    kind: int  # what a sample of power says: INST, MEAN_RIGHT or HOLD of `kernels.stream`
    power_w: Values | None
    integral: Integral | None
    drawn: Flow
    fed: Flow

    @property
    def length_us(self) -> int:
        """Of the whole time. [us]"""
        return int(self.grid.edges_us[-1] - self.grid.edges_us[0])

    def counted(self, flow: Flow, windows: slice = slice(None)) -> Amount | None:
        """What a register counted over neighbouring windows, with its uncertainty."""
        of = flow.register
        if of is None:
            return None
        columns = (of.amount, of.covered_us, of.estimated_us, of.missing_us)
        first, stop, _ = windows.indices(of.amount.size)
        unread = None if of.unread is None else of.unread[[first, stop]]
        one = Windows(*(column[windows].sum(keepdims=True) for column in columns))
        edges_us = self._edges_us(windows)
        one = replace(one, unread=unread)
        return registered(self.metering, _METER, one, edges_us, step_wh=flow.step_wh)[0]

    def integrated(self, sign: float, windows: slice = slice(None)) -> Amount | None:
        """What was integrated in one direction over neighbouring windows, with its uncertainty.

        Args:
            sign: 1 of what is drawn, -1 of what is fed back.
            windows: all of them, or some.
        """
        if self.power_w is None:
            return None
        flows = self.power_w >= 0.0 if sign > 0 else self.power_w < 0.0
        one_way = np.where(flows, sign * self.power_w, np.nan)
        edges_us = self._edges_us(windows)
        amount = metered(self.metering, _METER, self.samples, one_way, edges_us)[0]
        if amount is None:
            return None
        first, last = np.searchsorted(self.samples.t_us, edges_us)
        rows = slice(first, last + 1)
        t_us, max_gap_us = self.samples.t_us[rows], self.samples.max_gap_us
        unseen = Part(_sampling_u_wh(t_us, one_way[rows], max_gap_us, self.kind))
        return replace(amount, parts={**amount.parts, f"{_METER} sampling {edges_us[0]}": unseen})

    def _edges_us(self, windows: slice) -> Times:
        first, stop, _ = windows.indices(self.grid.start_us.size)
        return self.grid.edges_us[[first, stop]]


def grid_of(samples: Samples, length_us: int) -> Grid:
    """The windows around the samples.

    Args:
        samples: of one device, two at least.
        length_us: of a window; it divides an hour, so that windows begin with the local hour. [us]
    """
    first_us, last_us = int(samples.t_us[0]), int(samples.t_us[-1])
    moment = (_EPOCH + timedelta(microseconds=first_us)).astimezone(samples.zone or ZoneInfo("UTC"))
    offset_us = (moment.utcoffset() or timedelta()) // timedelta(microseconds=1)
    clock_us = aligned_edges_us(first_us + offset_us, last_us + offset_us, length_us) - offset_us
    return Grid(clock_us[:-1], np.clip(clock_us, first_us, last_us), length_us)


def integral_of(samples: Samples, power_w: Values, kind: int, grid: Grid) -> Integral:
    """The integral of power over the windows.

    Args:
        samples: of one device.
        power_w: at their instants, above 0 what is imported, shape (n,). [W]
        kind: what a sample says: INST, MEAN_RIGHT or HOLD of `kernels.stream`.
        grid: of the windows.
    """
    offset_us = int(grid.start_us[0]) % grid.length_us
    rules = rules_of([Rule(kind, samples.max_gap_us, grid.length_us, offset_us)])
    state = begun(1)
    quality = np.where(np.isnan(power_w), BAD, GOOD).astype(np.uint8)[:, np.newaxis]
    no_cut = np.zeros(power_w.size, np.bool_)
    rows = step_many(rules, state, samples.t_us, power_w[:, np.newaxis], quality, no_cut)
    rows = np.concatenate([rows, ended(rules, state, int(grid.start_us[-1]) + grid.length_us)])
    k = np.rint((rows[:, START_US] - grid.start_us[0]) / grid.length_us).astype(np.int64)
    columns = np.zeros((3, grid.start_us.size))
    columns[:, k] = rows[:, (IMPORT_WH, EXPORT_WH, COVERED_US)].T
    import_wh, export_wh, covered_us = columns
    return Integral(
        import_wh,
        export_wh,
        covered_us,
        _sampling_u_wh(samples.t_us, power_w, samples.max_gap_us, kind),
    )


def register_of(
    metering: Metering | None, samples: Samples, point: str, grid: Grid, unit: str = "Wh"
) -> Windows | None:
    """What a register counted in the windows, on the primary side; None where it is not recorded.

    Args:
        metering: of the meter.
        samples: of one device.
        point: the register.
        grid: of the windows.
        unit: of the register.
    """
    if samples.column(point) is None:
        return None
    return primary_windows(metering, counted(samples, point, grid.edges_us), unit)


def unread_us(samples: Samples, point: str, grid: Grid) -> Times:
    """How far each edge is from the nearest read of a register, shape (w + 1,). [us]

    Args:
        samples: of one device.
        point: the register, recorded.
        grid: of the windows.
    """
    reads_us = samples.t_us[~np.isnan(samples.values[point])]
    after = np.searchsorted(reads_us, grid.edges_us)
    before = np.clip(after - 1, 0, None)
    nearest = reads_us[before], reads_us[np.clip(after, None, reads_us.size - 1)]
    found: Times = np.min([np.abs(each - grid.edges_us) for each in nearest], axis=0)
    return found


def agreed(
    register: Windows | None,
    integral: Integral | None,
    integral_wh: Values | None,
    grid: Grid,
    *,
    step_wh: float,
    agreement_ratio: float,
) -> Flow:
    """What flowed in one direction: the register's where it speaks, else what was integrated.

    Formula: E8.

    Args:
        register: of that direction.
        integral: of the power.
        integral_wh: what of it flowed in that direction, shape (w,). [Wh]
        grid: of the windows.
        step_wh: of the register. [Wh]
        agreement_ratio: standard uncertainty of the register against the integral of the same
            meter, beside that of its steps and of sampling. [1]
    """
    unknown = np.full(grid.start_us.size, np.nan)
    length_us = np.diff(grid.edges_us)
    register_wh = unknown
    if register is not None:
        register_wh = np.where(register.missing_us == 0, register.amount, np.nan)
    by_integral = unknown if integral_wh is None else integral_wh
    covered_us = np.zeros(unknown.size) if integral is None else integral.covered_us
    edge_wh = boundary_uncertainty(step_wh, 0.0, 0.0)
    ratios = covered_us / length_us
    edges_wh = np.full(unknown.size, np.sqrt(2.0) * edge_wh)
    windows = reconciled(register_wh, by_integral, ratios, edges_wh, agreement_ratio)
    if register is not None:
        windows = _with_parts(windows, register, covered_us)
    both = ~np.isnan(register_wh + by_integral) & (ratios >= WHOLE_RATIO)
    flow = Flow(
        register,
        integral_wh,
        windows,
        0,
        None,
        None,
        is_alarm=False,
        is_short=False,
        step_wh=step_wh,
    )
    if integral is None:
        return flow

    def u_of(chosen: Flags) -> float:
        ends = np.count_nonzero(np.diff(chosen, prepend=False, append=False))  # of runs of windows
        return float(np.hypot(edge_wh * np.sqrt(ends), integral.sampling_u_wh))

    least_wh = _LEAST_SHARE * float((integral.import_wh + integral.export_wh).sum())
    gaps = windows.measured_by_register & ~np.isnan(by_integral)
    beside_wh, gap_wh = float(by_integral[gaps].sum()), float(windows.gap_wh[gaps].sum())
    most_wh = float(np.hypot(u_of(gaps), agreement_ratio * beside_wh))
    flow = replace(flow, is_short=beside_wh > least_wh and gap_wh < -2.0 * most_wh)
    if not both.any():
        return flow
    counted_wh, integrated_wh = float(register_wh[both].sum()), float(by_integral[both].sum())
    u_wh = u_of(both)
    one = np.ones(1)
    whole = reconciled(one * counted_wh, one * integrated_wh, one, one * u_wh, agreement_ratio)
    is_flow = max(counted_wh, integrated_wh) > least_wh
    is_any = integrated_wh > 0.0
    return replace(
        flow,
        compared_us=int(length_us[both].sum()),
        kappa_ratio=counted_wh / integrated_wh if is_any else None,
        kappa_u_ratio=float(np.hypot(u_wh / integrated_wh, agreement_ratio)) if is_any else None,
        is_alarm=bool(whole.is_alarm[0]) and is_flow,
    )


def _with_parts(windows: Reconciled, register: Windows, integrated_us: Values) -> Reconciled:
    """The windows, also with what a register counted of one that it does not know throughout.

    As where it was first read, or fell; it is taken where it knows more than the integral.
    """
    counted_us = register.covered_us + register.estimated_us
    is_part = (register.missing_us > 0) & (counted_us > integrated_us)
    return replace(
        windows,
        energy_wh=np.where(is_part, register.amount, windows.energy_wh),
        source=np.where(is_part, BY_REGISTER, windows.source),
    )


def _sampling_u_wh(t_us: Times, power_w: Values, max_gap_us: int, kind: int) -> float:
    """Standard uncertainty of an integral of samples, since the time between two is not seen. [Wh]

    A sample is taken as one draw of what the power was about then, and what neighbours differ by as
    how much draws differ: half of the square of their difference is their variance. Where power
    is steady that is little; where it jumps from sample to sample nothing better is known.

    Formula: E1, M5.
    Source: J. von Neumann, Annals of Mathematical Statistics 12 (1941) 367, mean square successive
        difference.
    """
    if kind == MEAN_RIGHT:
        return 0.0
    step_us = np.diff(t_us)
    off_wh = np.diff(power_w) * step_us / US_PER_H
    used = ~np.isnan(off_wh) & (step_us <= max_gap_us)
    return float(np.sqrt(np.sum(off_wh[used] ** 2) / 2.0))
