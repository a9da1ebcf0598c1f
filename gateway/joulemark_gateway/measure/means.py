"""A temperature of one device over time, as the sum that its mean over any window comes from.

Between two good readings no further apart than a counter's may be, the temperature is taken to go
straight from one to the other; their mean times the time between them is added up, like the steps
of a counter. What lies between readings further apart is missing: nothing is known of it.
"""

from __future__ import annotations

import numpy as np

from joulemark_agent.contract.profile import AnyPoint, own_period_us
from joulemark_agent.kernels.counter import MASKED, MEASURED, Followed, Semantics
from joulemark_gateway.evidence.history import DeviceHistory
from joulemark_gateway.measure.intervals import US_PER_MS, Counted, unmeasured

MILLI = 1000
MOST_K = 10_000.0  # hotter than any furnace; what lies beyond is no temperature


def averaged(history: DeviceHistory, point: AnyPoint) -> Counted:
    """The temperature as a counter of millikelvin times milliseconds."""
    kelvin, good = history.gauges[point.name], history.good[point.name].copy()
    good &= np.isfinite(kelvin)
    good[good] = (kelvin[good] >= 0) & (kelvin[good] <= MOST_K)
    index = np.flatnonzero(good).astype(np.int64)
    t_us = history.slot_us[index]
    later = np.ones(index.size, np.bool_)
    later[1:] = t_us[1:] > np.maximum.accumulate(t_us)[:-1]  # a clock that was set back
    index, t_us = index[later], t_us[later]
    milli = np.rint(kelvin[index] * MILLI).astype(np.int64)
    gaps_us = np.diff(t_us)
    added = (milli[1:] + milli[:-1]) * (gaps_us // US_PER_MS) // 2
    most_us = own_period_us(point, history.step_us) * 3 // 2
    step = np.full(index.size, MEASURED, np.int64)
    step[1:][gaps_us > most_us] = MASKED
    count = np.concatenate([np.zeros(min(index.size, 1), np.int64), np.cumsum(added)])
    followed = Followed(t_us, count, step, index, (), ())
    spans = unmeasured(history, point.name, followed, most_us)
    return Counted(history, point, Semantics(most_us), followed, tuple(spans))
