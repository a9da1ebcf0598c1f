"""What is no counter by quarter-hour: mean, least and most of its good values. Pure.

A quarter-hour has its row when a reading of a later one has come; until then it is carried. Values
are added in the order of their slots, so the rows are the same however the parts are cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from joulemark_gateway.series.base import INSIDE_US, Integers, OpenGauge, Rows
from joulemark_gateway.series.tables import GAUGE
from joulemark_gateway.series.windows import QUARTER_US


def gauges_of(
    names: Sequence[str],
    slot_us: Integers,
    goods: Sequence[Mapping[str, str]],
    carried: Mapping[str, OpenGauge],
) -> tuple[list[Rows], dict[str, OpenGauge]]:
    """The rows of the quarter-hours that are over, and what is carried of those that are not.

    Args:
        names: of the gauges.
        slot_us: slots of some records, increasing, shape (n,). [us UTC]
        goods: the good values of each record, by point.
        carried: what the part before left.
    """
    begins_us = (slot_us // QUARTER_US * QUARTER_US).tolist()
    left: dict[str, OpenGauge] = dict(carried)
    closed: list[tuple[str, OpenGauge]] = []
    for name in names:
        begin, readings, total, least, most = left.get(name, (0, 0, 0.0, 0.0, 0.0))
        for begin_us, good in zip(begins_us, goods, strict=True):
            text = good.get(name)
            if text is None:
                continue
            value = float(text)
            if begin_us != begin:
                if readings:
                    closed.append((name, (begin, readings, total, least, most)))
                begin, readings, total, least, most = begin_us, 0, 0.0, value, value
            readings, total = readings + 1, total + value
            least, most = min(least, value), max(most, value)
        if readings:
            left[name] = (begin, readings, total, least, most)
    closed = [one for one in closed if np.isfinite(one[1]).all()]  # else no server takes it
    if not closed:
        return [], left
    points = np.array([name for name, _ in closed], object)
    begin_us = np.array([sums[0] for _, sums in closed], np.int64) + INSIDE_US
    readings, total, least, most = np.array([sums[1:] for _, sums in closed], np.float64).T
    fields = {"mean": total / readings, "least": least, "most": most, "readings": readings}
    return [Rows(GAUGE, {"point": points}, begin_us, fields)], left
