"""Demand: the mean power of a quarter of an hour, and its peaks.

A window of which too little is known never raises a peak; as it might have been higher, a peak
beside such a window is a lower bound and says so. Windows are those of the clock of UTC shifted by
the offset of `stream.Rule`: quarters of an hour are the same on every clock of the present.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.kernels.energy import US_PER_H
from joulemark_agent.kernels.jit import compiled
from joulemark_agent.kernels.stream import COVERED_US, IMPORT_WH, REVISION, START_US, Rows

Values = NDArray[np.float64]

LEAST_RATIO = 0.95
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Peak(NamedTuple):
    """The highest demand of a time."""

    power_w: float | None  # None: no window of it is known well enough
    start_us: int | None  # of the window
    is_lower_bound: bool  # windows were left out, and one of them may have been higher


def demand(
    energy_wh: Values, covered_us: Values, length_us: int, least_ratio: float = LEAST_RATIO
) -> Values:
    """The mean power of each window, NaN where less of it is covered than is asked for. [W]

    Formula: E9.

    Args:
        energy_wh: what each window took, shape (w,). [Wh]
        covered_us: how much of it is known, shape (w,). [us]
        length_us: of a window. [us]
        least_ratio: of a window that must be covered, from 0 to 1.

    Error: what is not covered counts as nothing, so up to 5 % of a window may be missing in it.
    Source: definition: energy of a window over its length.
    """
    power_w = np.asarray(energy_wh, np.float64) * (US_PER_H / length_us)
    return np.where(covered_us >= least_ratio * length_us, power_w, np.nan)


def peak(start_us: NDArray[np.int64], power_w: Values) -> Peak:
    """The first highest of the windows; those without a value make it a lower bound.

    Formula: E9.

    Args:
        start_us: of each window, shape (w,). [us]
        power_w: its demand, NaN where it does not count, shape (w,). [W]
    """
    counts = ~np.isnan(power_w)
    if not counts.any():
        return Peak(None, None, is_lower_bound=True)
    k = int(np.nanargmax(power_w))
    return Peak(float(power_w[k]), int(start_us[k]), is_lower_bound=not bool(counts.all()))


def monthly_peaks(
    start_us: NDArray[np.int64], power_w: Values, zone: ZoneInfo
) -> Mapping[str, Peak]:
    """The peak of each month of the local calendar, such as `2026-11`, of windows in order.

    Formula: E9.

    Args:
        start_us: of each window, increasing, shape (w,). [us]
        power_w: its demand, NaN where it does not count, shape (w,). [W]
        zone: of the site. A window belongs to the month in which it begins.
    """
    months = [
        f"{(_EPOCH + timedelta(microseconds=at_us)).astimezone(zone):%Y-%m}"
        for at_us in start_us.tolist()
    ]
    names, first = np.unique(np.array(months, "U7"), return_index=True)
    edges = [*first.tolist(), len(months)]
    return {
        str(name): peak(start_us[edges[k] : edges[k + 1]], power_w[edges[k] : edges[k + 1]])
        for k, name in enumerate(names)
    }


def on_grid(
    rows: Rows, first_us: int, last_us: int, length_us: int
) -> tuple[NDArray[np.int64], Values, Values]:
    """The windows of one point one after another; one without a row has nothing covered.

    Args:
        rows: closed windows of one point, in any order; of several revisions the last counts.
        first_us: start of the first window. [us]
        last_us: end of the last. [us]
        length_us: of a window. [us]

    Returns:
        start [us], what was taken [Wh] and the time covered [us] of each, shape (w,) each.
    """
    start_us = np.arange(first_us, last_us, length_us, dtype=np.int64)
    energy_wh, covered_us = np.zeros(start_us.size), np.zeros(start_us.size)
    for row in rows[np.argsort(rows[:, REVISION], kind="stable")]:
        k = round((row[START_US] - first_us) / length_us)
        if 0 <= k < start_us.size:  # of a row that stands for several, none has anything
            energy_wh[k], covered_us[k] = row[IMPORT_WH], row[COVERED_US]
    return start_us, energy_wh, covered_us


@compiled
def sliding_demand(
    energy_wh: Values, covered_us: Values, length_us: int, count: int, least_ratio: float
) -> Values:
    """The mean power of the `count` short windows that end with each one. [W]

    Formula: E9.

    Args:
        energy_wh: of short windows one after another, shape (w,). [Wh]
        covered_us: how much of each is known, shape (w,). [us]
        length_us: of a short window. [us]
        count: how many of them a demand stands for, such as 15 minutes for a quarter of an hour.
        least_ratio: of that time that must be covered.

    Returns:
        NaN for the first `count - 1` and where too little is covered, shape (w,).

    Error: every sum is made anew, so nothing is carried from one to the next.
    Source: definition, as `demand`.
    """
    power_w = np.full(energy_wh.size, np.nan)
    span = float(length_us) * count
    for i in range(count - 1, energy_wh.size):
        total_wh, known = 0.0, 0.0
        for k in range(i - count + 1, i + 1):
            total_wh += energy_wh[k]
            known += covered_us[k]
        if known >= least_ratio * span:
            power_w[i] = total_wh * (US_PER_H / span)
    return power_w


@compiled
def sliding_peak(power_w: Values, count: int) -> Values:
    """The highest of the last `count` demands at each one; NaN where none of them counts.

    Formula: E9, by a queue that only falls: each demand enters and leaves it once.

    Args:
        power_w: demands in order, NaN where one does not count, shape (w,). [W]
        count: how many are looked back on, itself included.
    """
    highest = np.full(power_w.size, np.nan)
    queue = np.empty(power_w.size, np.int64)  # of places whose demands fall
    first, last = 0, 0
    for i in range(power_w.size):
        if first < last and queue[first] <= i - count:
            first += 1
        if not np.isnan(power_w[i]):
            while first < last and power_w[queue[last - 1]] <= power_w[i]:
                last -= 1
            queue[last] = i
            last += 1
        if first < last:
            highest[i] = power_w[queue[first]]
    return highest
