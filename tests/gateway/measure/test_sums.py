"""Sums that lose nothing worth a digit."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_gateway.measure.sums import squares, total

NUMBERS = st.lists(st.floats(-1e12, 1e12, allow_subnormal=False), max_size=200)


@given(NUMBERS)
def test_a_total_is_the_exact_sum_to_its_last_digits(numbers):
    values = np.array(numbers, np.float64)
    size = math.fsum(abs(value) for value in numbers)
    assert total(values) == pytest.approx(math.fsum(numbers), rel=4e-16, abs=1e-28 * size)


@given(NUMBERS, st.floats(-1e12, 1e12))
def test_squares_are_those_of_the_distances(numbers, centre):
    exact = math.fsum((value - centre) ** 2 for value in numbers)
    assert squares(np.array(numbers, np.float64), centre) == pytest.approx(exact, rel=1e-15)


def test_what_a_plain_sum_loses_is_kept():
    values = np.array([1e16, *[1.0] * 1000, -1e16])
    assert total(values) == 1000.0
    assert sum(values.tolist()) != 1000.0


def test_a_sum_is_a_number_of_python_and_of_nothing_0():
    assert type(total(np.ones(3))) is type(squares(np.ones(3), 0.0)) is float
    assert total(np.empty(0)) == squares(np.empty(0), 1.0) == 0.0
