"""The model without a driver: the mean of each interval of the week. It is shown and never proof.

A plant that makes less uses less, and a calendar calls that a saving. On the recorded year of
decision 0001 it "saves" 16.65 % where nothing was changed.
"""

from __future__ import annotations

import math

import numpy as np

from joulemark_agent.kernels.jit import compiled
from joulemark_agent.kernels.window import aligned_edges_us
from joulemark_gateway.measure.calendar import minute_of_week
from joulemark_gateway.measure.finding import PolicyUsed
from joulemark_gateway.measure.inputs import Prepared
from joulemark_gateway.measure.intervals import Flags, Times
from joulemark_gateway.measure.periods import Units
from joulemark_gateway.measure.qr import Array
from joulemark_gateway.measure.result import RefusedClaim

_CODE = "no_activity_driver"
_US_PER_MINUTE = 60_000_000
_WEEK_MINUTES = 7 * 24 * 60


def refused_claim(prepared: Prepared, policy: PolicyUsed) -> RefusedClaim | None:
    """What the calendar would have claimed, and the rule that refuses it.

    The means of the baseline's intervals of the local week are summed over the reporting period.
    An interval that was not measured is left out of the prediction and of the meter alike.

    Returns:
        None where nothing can be predicted: no interval was measured, or local days are not whole
        intervals.
    """
    width_us = prepared.counters[0].interval_us
    width_min = width_us // _US_PER_MINUTE
    before, after = (
        _intervals(prepared, prepared.baseline),
        _intervals(prepared, prepared.reporting),
    )
    if before is None or after is None:
        return None
    cells = [
        minute_of_week(starts_us, prepared.zone) // width_min for starts_us, *_ in (before, after)
    ]
    means = _means(cells[0], before[1], before[2], _WEEK_MINUTES // width_min)
    predicted = means[cells[1]]
    used = after[2] & np.isfinite(predicted)
    predicted_wh = math.fsum(predicted[used].tolist())
    measured_wh = float(int(after[1][used].sum()))
    if predicted_wh <= 0:
        return None
    return RefusedClaim(
        model="time of week",
        code=_CODE,
        by=policy.id,
        version=policy.version,
        why="A calendar does not know how active the plant was: less work looks like a saving.",
        interval_us=width_us,
        cells=int(np.count_nonzero(np.isfinite(means))),
        intervals=int(np.count_nonzero(used)),
        predicted_wh=predicted_wh,
        measured_wh=measured_wh,
        would_have_claimed_wh=predicted_wh - measured_wh,
        would_have_claimed_ratio=(predicted_wh - measured_wh) / predicted_wh,
    )


def _intervals(prepared: Prepared, units: Units) -> tuple[Times, Times, Flags] | None:
    """Start, energy and "wholly measured" of each interval of a period."""
    energy = prepared.counters[0]
    width_us = energy.interval_us
    start_us, end_us = int(units.grid.edges_us[0]), int(units.grid.edges_us[-1])
    if start_us % width_us or end_us % width_us:
        return None
    edges_us = aligned_edges_us(start_us, end_us, width_us)
    totals = energy.totals(edges_us)
    return edges_us[:-1], totals.total, totals.covered_us == width_us


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
