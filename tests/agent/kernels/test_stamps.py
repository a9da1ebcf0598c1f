"""What a device's own stamps do besides going on."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.kernels.stamps import CLOCK_STEP, REPEATED_STAMP, stamp_events

stamps = st.lists(st.integers(0, 12), max_size=40)


def found(*stamp_us):
    return [(e.code, e.row, e.step_us) for e in stamp_events(np.array(stamp_us, np.int64))]


def test_stamps_that_go_on_are_no_event():
    assert found() == []
    assert found(5, 6, 60, 61) == []


def test_a_stamp_that_stands_still_is_a_repeat():
    assert found(5, 6, 6, 7) == [(REPEATED_STAMP, 2, 0)]


def test_a_clock_that_goes_back_is_one_step_and_what_it_shows_again_are_repeats():
    assert found(10, 20, 30, 40, 25, 30, 40, 50) == [
        (CLOCK_STEP, 4, -15), (REPEATED_STAMP, 5, -10), (REPEATED_STAMP, 6, 0),
    ]  # fmt: skip
    assert found(10, 20, 10) == [(CLOCK_STEP, 2, -10), (REPEATED_STAMP, 2, -10)]


@given(stamps)
def test_repeats_are_what_a_set_would_lose_and_steps_what_a_difference_makes_negative(stamp_us):
    column = np.array(stamp_us, np.int64)
    events = stamp_events(column)
    codes = [event.code for event in events]

    assert codes.count(REPEATED_STAMP) == column.size - len(set(stamp_us))
    assert codes.count(CLOCK_STEP) == (np.diff(column) < 0).sum()
    assert all(event.step_us <= 0 for event in events)
