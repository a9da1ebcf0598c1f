"""The model without a driver: the mean of each interval of the week. It is shown and never proof.

A plant that makes less uses less, and a calendar calls that a saving. On the recorded year of
decision 0001 it "saves" 16.65 % where nothing was changed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np

from joulemark_agent.kernels.jit import compiled
from joulemark_gateway.measure.calendar import minute_of_week
from joulemark_gateway.measure.intervals import Flags, Times
from joulemark_gateway.measure.qr import Array

CODE = "no_activity_driver"
NAME = "time of week"
US_PER_MINUTE = 60_000_000
WEEK_MINUTES = 7 * 24 * 60


@dataclass(frozen=True)
class Guess:
    """What the calendar predicts for the intervals that were measured and that it knows."""

    cells: int
    intervals: int
    predicted_wh: float
    measured_wh: float


def guess(
    *,
    zone: ZoneInfo,
    width_us: int,
    baseline_us: Times,
    baseline_wh: Times,
    baseline_measured: Flags,
    reporting_us: Times,
    reporting_wh: Times,
    reporting_measured: Flags,
) -> Guess:
    """The means of the baseline's intervals of the week, summed over the reporting period.

    An interval that was not measured is left out of the prediction and of the meter alike.

    Args:
        zone: the week is a local one.
        width_us: width of an interval. [us]
        baseline_us: starts of its intervals, shape (n,). [us]
        baseline_wh: their energy, shape (n,). [Wh]
        baseline_measured: whether each was wholly measured, shape (n,).
        reporting_us: as above, shape (m,). [us]
        reporting_wh: as above, shape (m,). [Wh]
        reporting_measured: as above, shape (m,).
    """
    width_min = width_us // US_PER_MINUTE
    cell = minute_of_week(baseline_us, zone) // width_min
    means = _means(cell, baseline_wh, baseline_measured, WEEK_MINUTES // width_min)
    predicted = means[minute_of_week(reporting_us, zone) // width_min]
    used = reporting_measured & np.isfinite(predicted)
    return Guess(
        int(np.isfinite(means).sum()),
        int(used.sum()),
        math.fsum(predicted[used].tolist()),
        float(int(reporting_wh[used].sum())),
    )


@compiled
def _means(cell: Times, energy_wh: Times, measured: Flags, cells: int) -> Array:
    """The mean of each cell, NaN where nothing was measured, shape (cells,). [Wh]"""
    total = np.zeros(cells, np.int64)
    count = np.zeros(cells, np.int64)
    for i in range(cell.size):
        if measured[i]:
            total[cell[i]] += energy_wh[i]
            count[cell[i]] += 1
    means = np.full(cells, np.nan)
    for k in range(cells):
        if count[k] > 0:
            means[k] = total[k] / count[k]
    return means
