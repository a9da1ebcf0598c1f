"""From records to samples, where the clock of the plant is not as it should be."""

import numpy as np

from joulemark_agent.equipment.readings import of_records
from joulemark_gateway.evidence.history import Record

PERIOD_US = 10_000_000


def record(slot: int, t_s: int) -> Record:
    t_us = t_s * 1_000_000
    return Record(slot, slot * PERIOD_US, t_us, "none", (), {"power_w": str(slot)}, {})


def test_a_clock_that_was_set_back_gives_the_samples_in_the_order_of_time():
    records = [record(1, 10), record(2, 29), record(3, 28), record(4, 40)]
    samples = of_records(records, ["power_w"], PERIOD_US)
    assert (samples.t_us // 1_000_000).tolist() == [10, 28, 29, 40]
    assert np.array_equal(samples.values["power_w"], [1, 3, 2, 4])
