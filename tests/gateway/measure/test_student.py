import math
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from joulemark_gateway.measure.student import quantile, tail

degrees_of_freedom = st.floats(0.5, 1e6)


@pytest.mark.parametrize(
    ("probability", "degrees", "t"),
    [  # printed tables, e.g. NIST/SEMATECH handbook 1.3.6.7.2
        (0.95, 1, 6.314),
        (0.975, 1, 12.706),
        (0.95, 10, 1.812),
        (0.975, 30, 2.042),
        (0.995, 5, 4.032),
        (0.9, 100, 1.290),
    ],
)
def test_the_printed_table_is_met(probability, degrees, t):
    assert quantile(probability, degrees) == pytest.approx(t, abs=6e-4)


@given(st.floats(0.001, 0.999))
def test_one_and_two_degrees_have_closed_forms(p):
    assert quantile(p, 1) == pytest.approx(math.tan(math.pi * (p - 0.5)), rel=1e-10, abs=1e-12)
    closed = (2 * p - 1) / math.sqrt(2 * p * (1 - p))
    assert quantile(p, 2) == pytest.approx(closed, rel=1e-10, abs=1e-12)


@given(st.floats(0.51, 0.9999), degrees_of_freedom)
def test_the_quantile_undoes_the_tail(p, degrees):
    assert 1 - tail(quantile(p, degrees), degrees) == pytest.approx(p, rel=1e-11)


@given(st.floats(0.51, 0.99), degrees_of_freedom)
def test_fewer_degrees_are_wider_and_the_normal_is_the_limit(p, degrees):
    assert quantile(p, degrees) >= quantile(p, 2 * degrees) > NormalDist().inv_cdf(p) * (1 - 1e-9)
    assert quantile(1 - p, degrees) == -quantile(1 - (1 - p), degrees)


@pytest.mark.parametrize(("probability", "degrees"), [(0, 5), (1, 5), (0.9, 0.4), (0.9, math.nan)])
def test_what_has_no_quantile_is_refused(probability, degrees):
    with pytest.raises(ValueError, match="no t quantile"):
        quantile(probability, degrees)


def test_scipy_agrees():
    for degrees in (0.5, 0.7, 1.5, 3, 7.3, 29.9, 30, 59, 61, 146.532, 365, 8760, 1e6):
        for p in (0.55, 0.75, 0.9, 0.95, 0.975, 0.995, 0.9999):
            assert quantile(p, degrees) == pytest.approx(stats.t.ppf(p, degrees), rel=1e-10)
