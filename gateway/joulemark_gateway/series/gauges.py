"""What is no counter by quarter-hour: mean, least and most of its good values. Pure.

A quarter-hour has its row when a reading of a later one has come; until then it is carried. Values
are added in the order of their slots, so the rows are the same however the parts are cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from joulemark_gateway.series.base import INSIDE_US, Integers, OpenGauge, Rows
from joulemark_gateway.series.tables import GAUGE
from joulemark_gateway.series.windows import QUARTER_US


def gauges_of(
    names: Sequence[str],
    slot_us: Integers,
    values: NDArray[np.float64],
    carried: Mapping[str, OpenGauge],
) -> tuple[list[Rows], dict[str, OpenGauge]]:
    """The rows of the quarter-hours that are over, and what is carried of those that are not.

    Args:
        names: of the gauges.
        slot_us: slots of some records, increasing, shape (n,). [us]
        values: the good values of each record, NaN where there is none, shape (n, gauges).
        carried: what the part before left.
    """
    nothing: OpenGauge = (0, 0, 0.0, np.inf, -np.inf)
    before = np.array([carried.get(name, nothing) for name in names], np.float64)
    begin, readings, total, least, most = before.reshape(-1, 5).T.copy()
    begins_us = slot_us // QUARTER_US * QUARTER_US
    edges = np.flatnonzero(np.diff(begins_us, prepend=-1, append=-1)).tolist()
    closed: list[tuple[int, OpenGauge]] = []

    def sums(k: int) -> OpenGauge:
        return int(begin[k]), int(readings[k]), float(total[k]), float(least[k]), float(most[k])

    for start, end in pairwise(edges):
        some = values[start:end]
        is_read = ~np.isnan(some)
        is_new = is_read.any(axis=0) & (begin != begins_us[start])
        closed += [(k, sums(k)) for k in np.flatnonzero(is_new & (readings > 0)).tolist()]
        begin[is_new] = begins_us[start]
        for sum_, first in ((readings, 0), (total, 0.0), (least, np.inf), (most, -np.inf)):
            sum_[is_new] = first
        readings += is_read.sum(axis=0)
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is no row
            total = np.add.accumulate(np.vstack([total, np.where(is_read, some, 0.0)]))[-1]
        least = np.minimum(least, np.where(is_read, some, np.inf).min(axis=0))
        most = np.maximum(most, np.where(is_read, some, -np.inf).max(axis=0))
    left = dict(carried) | {names[k]: sums(k) for k in np.flatnonzero(readings > 0).tolist()}
    closed = sorted(one for one in closed if np.isfinite(one[1]).all())  # else no server takes it
    if not closed:
        return [], left
    points = np.array([names[k] for k, _ in closed], object)
    begin_us = np.array([one[0] for _, one in closed], np.int64) + INSIDE_US
    readings, total, least, most = np.array([one[1:] for _, one in closed], np.float64).T
    fields = {"mean": total / readings, "least": least, "most": most, "readings": readings}
    return [Rows(GAUGE, {"point": points}, begin_us, fields)], left
