import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from joulemark_gateway.measure import student
from joulemark_gateway.measure.fisher import tail


@pytest.mark.parametrize(
    ("f", "above", "below", "p"),
    [(4.256, 2, 9, 0.05), (161.45, 1, 1, 0.05), (2.978, 10, 10, 0.05), (7.559, 1, 10, 0.0205)],
)
def test_the_printed_table_is_met(f, above, below, p):
    assert tail(f, above, below) == pytest.approx(p, abs=2e-5)


@given(st.floats(0.01, 1e4), st.floats(1, 5000))
def test_with_one_degree_it_is_the_square_of_student(f, below):
    assert tail(f, 1, below) == pytest.approx(2 * student.tail(f**0.5, below), rel=1e-9, abs=1e-300)


@given(st.floats(0.01, 1e3), st.integers(1, 40), st.integers(1, 10_000))
def test_scipy_agrees(f, above, below):
    assert tail(f, above, below) == pytest.approx(stats.f.sf(f, above, below), rel=1e-9, abs=1e-290)


def test_the_ends_are_everything_and_nothing():
    assert tail(0.0, 2, 9) == tail(-1.0, 2, 9) == 1
    assert tail(float("inf"), 2, 9) == 0
    assert tail(1e300, 4, 4000) == 0
