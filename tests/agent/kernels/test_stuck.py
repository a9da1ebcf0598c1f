"""What looks stuck, by examples and laws; the labelled recording is in `tests/system/days`."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.kernels.stuck import stuck

MINUTE_US = 60_000_000
NONE = float("nan")
levels = st.lists(st.sampled_from([0.0, 1.0, 1.5, 2.0, NONE]), max_size=60)


def flagged(values, longest_min=3, rest=(NONE, NONE), t_us=None):
    column = np.array(values, np.float64)
    if t_us is None:
        t_us = np.arange(column.size) * MINUTE_US
    return stuck(t_us, column, longest_min * MINUTE_US, MINUTE_US * 3 // 2, *rest).tolist()


def test_a_value_that_stands_longer_than_believed_is_flagged_from_its_first_sample_on():
    assert flagged([1, 2, 2, 2, 2, 2, 3]) == [False, True, True, True, True, True, False]
    assert not any(flagged([1, 2, 2, 2, 2, 3]))


def test_what_is_at_rest_is_never_stuck():
    night = [0.0] * 600
    assert all(flagged(night))  # the control
    assert not any(flagged(night, rest=(0.0, 0.0)))
    assert all(flagged([5.0] * 600, rest=(-3.0, 0.0)))


@pytest.mark.parametrize("broken", [[2, 2, 2, NONE, 2, 2, 2], [2, 2, 2, 2.1, 2, 2, 2]])
def test_no_value_and_another_value_end_a_run(broken):
    assert not any(flagged(broken))


def test_a_time_in_which_nobody_watched_ends_a_run():
    t_us = np.array([0, 1, 2, 30, 31, 32]) * MINUTE_US
    assert not any(flagged([2] * 6, t_us=t_us))
    assert all(flagged([2] * 6, longest_min=1, t_us=t_us))


def test_nothing_is_stuck_where_there_is_nothing():
    assert flagged([]) == []
    assert flagged([NONE] * 9) == [False] * 9


@given(levels, st.integers(0, 9))
def test_compiled_and_plain_agree_and_the_longer_the_patience_the_fewer_are_flagged(values, least):
    column, t_us = np.array(values, np.float64), np.arange(len(values)) * MINUTE_US
    arguments = (t_us, column, least * MINUTE_US, MINUTE_US, 0.0, 0.0)
    found = stuck(*arguments)
    plain = getattr(stuck, "py_func", stuck)(*arguments)
    patient = stuck(t_us, column, (least + 1) * MINUTE_US, MINUTE_US, 0.0, 0.0)

    assert found.tolist() == plain.tolist()
    assert not (patient & ~found).any()
    assert not found[(column == 0) | np.isnan(column)].any()
