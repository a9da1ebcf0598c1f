import csv
import gzip

import numpy as np

from joulemark_agent.kernels.clean import all_zero_steps, false_zeros
from joulemark_agent.kernels.energy import counter_energy

HOUR_US = 3_600_000_000


def steps(counters, gauges):
    return all_zero_steps(np.array(counters, np.int64), np.array(gauges, np.float64)).tolist()


def test_a_step_in_which_nothing_moves_and_nothing_reads_is_no_measurement():
    assert steps([[5, 5, 9], [2, 2, 2]], [[0.9, 0.0, 0.0]]) == [False, True]


def test_a_standstill_with_a_power_factor_is_a_measurement():
    assert steps([[5, 5]], [[0.0, 0.7]]) == [True]


def test_a_step_is_judged_by_the_gauge_at_its_end():
    assert steps([[5, 5, 5]], [[0.0, 0.7, 0.0]]) == [True, False]


def test_what_is_not_known_is_not_judged():
    assert steps([[5, -1, 5]], [[0.0, 0.0, 0.0]]) == [True, True]
    assert steps([[5, 5]], [[0.0, np.nan]]) == [True]


def test_a_rule_without_gauges_looks_at_the_counters_alone():
    no_gauge = np.empty((0, 3))
    assert all_zero_steps(np.array([[5, 5, 6]]), no_gauge).tolist() == [False, True]


def test_no_reading_has_no_step():
    assert steps([[]], [[]]) == []


def zeros(counter, good=None):
    values = np.array(counter, np.int64)
    return np.flatnonzero(
        false_zeros(values, np.ones(values.size, np.bool_) if good is None else np.array(good))
    ).tolist()


def test_a_value_that_comes_back_after_zeros_never_was_zero():
    assert zeros([1000, 0, 0, 1000, 1000, 0, 1002]) == [1, 2, 5]


def test_a_counter_that_starts_anew_is_a_reset():
    assert zeros([1000, 0, 0, 3, 7]) == []


def test_zeros_at_the_start_or_the_end_are_not_judged():
    assert zeros([0, 0, 5, 0]) == []


def test_a_bad_reading_among_false_zeros_stays_what_it_is():
    assert zeros([10, 0, 99, 0, 10], [True, True, False, True, True]) == [1, 3]


def test_the_recorded_counter_with_two_false_zeros_keeps_its_true_total(plant_data):
    """Recorded PV counter R23: 222,295.572 kWh; adding every rise gives 332,271.108."""
    path = plant_data / "pv_cumulative_counter/cumE2_R23.csv.gz"
    with gzip.open(path, "rt", newline="") as file:
        counter = np.array([round(float(row["Energy"]) * 1000) for row in csv.DictReader(file)])
    t_us = np.arange(counter.size) * HOUR_US
    good = np.ones(counter.size, np.bool_)
    step_ok = np.ones(counter.size - 1, np.bool_)
    edges = t_us[[0, -1]]
    naive, *_, fallen = counter_energy(t_us, counter, good, step_ok, edges, HOUR_US)
    false = false_zeros(counter, good)
    energy, _, _, missing, none = counter_energy(
        t_us, counter, good & ~false, step_ok, edges, HOUR_US
    )
    assert (naive.tolist(), fallen) == ([332_271_108], 2)
    assert (energy.tolist(), none, missing.tolist()) == ([222_295_572], 0, [0])
    assert false.sum() == 3
