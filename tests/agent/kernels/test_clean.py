import numpy as np

from joulemark_agent.kernels.clean import all_zero_steps


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
