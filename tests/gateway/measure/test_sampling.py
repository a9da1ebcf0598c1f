import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.sampling import SAMPLING_POLICIES, precision_ratio, sample_size

SMALL, LARGE = SAMPLING_POLICIES["sampling-90-10"], SAMPLING_POLICIES["sampling-95-10"]


@settings(max_examples=30)
@given(st.integers(1, 5000), st.floats(0.01, 3))
def test_the_size_is_the_smallest_that_keeps_the_formula(population, cv):
    n = sample_size(population, cv, SMALL)
    assert 1 <= n <= population

    def asked(m):
        return (cv * stats.t.ppf(0.95, m - 1) / 0.1) ** 2 * (1 - m / population)

    if n < population:
        assert asked(n) <= n * (1 + 1e-9)
    if n > 2:
        assert asked(n - 1) > (n - 1) * (1 - 1e-9)


def test_more_confidence_and_more_spread_ask_for_more():
    assert sample_size(1000, 0.5, SMALL) == 66
    assert sample_size(1000, 0.5, LARGE) > sample_size(1000, 0.5, SMALL)
    assert sample_size(1000, 0.9, SMALL) > sample_size(1000, 0.5, SMALL)
    assert sample_size(3, 2.0, SMALL) == 3
    assert sample_size(1, 0.5, SMALL) == 1


def test_nine_of_ten_samples_of_that_size_are_near_enough_and_a_tenth_of_it_is_not():
    draw = np.random.default_rng(1)
    all_of_them = draw.normal(100, 30, 600)
    cv = all_of_them.std(ddof=1) / all_of_them.mean()
    n = sample_size(600, cv, SMALL)
    near = {}
    for size in (n, n // 10 + 1):
        means = [draw.choice(all_of_them, size, replace=False).mean() for _ in range(1000)]
        near[size] = np.mean(np.abs(np.array(means) / all_of_them.mean() - 1) <= 0.1)
    assert near[n] >= 0.88
    assert near[n // 10 + 1] < 0.6


def test_all_of_them_leave_nothing_open_and_none_are_refused():
    assert precision_ratio(5, 5, 0.3, 0.9) == 0
    with pytest.raises(MeasureError) as refused:
        sample_size(0, 0.3, SMALL)
    assert refused.value.code == "no_population"
