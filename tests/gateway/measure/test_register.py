import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulemark_gateway.measure.register import steps

NAN = float("nan")


def test_steps_are_the_differences_of_readings():
    found = steps(np.array([5.0, 7.0, 7.0, 12.0]))
    assert found.amount.tolist() == [2, 0, 5]
    assert (found.resets, found.rollovers) == (0, 0)
    assert found.finding("data-checks", "meter").passed


def test_a_fall_is_a_counter_begun_anew_and_its_step_is_missing():
    found = steps(np.array([900.0, 950.0, 10.0, 30.0]))
    assert math.isnan(found.amount[1])
    assert found.amount[[0, 2]].tolist() == [50, 20]
    told = found.finding("data-checks", "meter")
    assert (told.code, told.seen, told.at_most, told.passed) == ("counter_reset", 1, 0, False)


@pytest.mark.parametrize(("most", "rolled"), [(60, 1), (59, 0)])
def test_a_fall_is_a_rollover_if_the_meter_can_do_the_step(most, rolled):
    """From 950 over 1000 to 10 are 60."""
    found = steps(np.array([950.0, 10.0]), modulus=1000, most=most)
    assert (found.rollovers, found.resets) == (rolled, 1 - rolled)
    assert found.amount[0] == 60 if rolled else math.isnan(found.amount[0])


def test_without_the_size_of_the_register_nothing_rolls_over():
    assert steps(np.array([950.0, 10.0]), most=60).resets == 1


def test_a_reading_that_is_missing_takes_both_its_steps():
    found = steps(np.array([1.0, NAN, 3.0, math.inf, 9.0]))
    assert np.isnan(found.amount).all()
    assert found.resets == 0


@settings(max_examples=30)
@given(st.lists(st.integers(0, 499), min_size=1, max_size=30), st.integers(0, 999))
def test_no_rollover_loses_anything(amounts, first):
    """A step of less than half the register cannot be mistaken."""
    count = np.concatenate([[first], first + np.cumsum(amounts)]) % 1000
    found = steps(count.astype(float), modulus=1000, most=499)
    assert found.amount.tolist() == amounts
    assert found.resets == 0
