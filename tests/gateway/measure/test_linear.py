import numpy as np
import pytest

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.linear import fit


def made(n=40, seed=2, noise=5.0):
    draw = np.random.default_rng(seed)
    x = draw.uniform(10, 50, (n, 2))
    return x, 100 + 3 * x[:, 0] + 7 * x[:, 1] + draw.normal(0, noise, n)


def fitted(x, y):
    return fit(x, y, np.arange(y.size))


def refusal(x, y):
    x = np.asarray(x, np.float64)
    with pytest.raises(MeasureError) as refused:
        fitted(x if x.ndim > 1 else x[:, None], np.asarray(y, np.float64))
    return refused.value.code


def test_an_exact_line_is_found_and_leaves_nothing():
    x = np.arange(10.0)[:, None]
    model = fitted(x, 200 + 3 * x[:, 0])
    assert model.beta == pytest.approx([200, 3], rel=1e-14)
    assert model.sse == 0
    assert model.predict(np.array([[1.0, 100.0]])) == pytest.approx([500])


def test_the_measures_of_fit_are_what_they_are_called():
    x, y = made()
    model = fitted(x, y)
    e, n, p = y - model.x @ model.beta, 40, 3
    assert model.r2 == pytest.approx(1 - e @ e / ((y - y.mean()) ** 2).sum(), rel=1e-12)
    assert 1 - model.adjusted_r2 == pytest.approx((1 - model.r2) * (n - 1) / (n - p), rel=1e-12)
    assert model.cv_rmse == pytest.approx(np.sqrt(e @ e / (n - p)) / y.mean(), rel=1e-12)
    assert model.nmbe == pytest.approx(0, abs=1e-13)


def test_press_is_the_error_of_predicting_each_unit_from_the_others():
    x, y = made(n=12)
    left_out = []
    for k in range(12):
        others = np.arange(12) != k
        model = fitted(x[others], y[others])
        left_out.append(y[k] - model.predict(np.array([[1, *x[k]]]))[0])
    whole = fitted(x, y)
    assert whole.press_r2 == pytest.approx(1 - np.sum(np.square(left_out)) / whole.sst, rel=1e-9)


def test_a_unit_without_which_there_is_no_fit_leaves_press_open():
    assert fitted(np.array([[1.0], [1], [1], [9]]), np.array([5.0, 6, 7, 20])).press_r2 is None


def test_the_inflation_of_a_driver_is_one_over_its_unexplained_share():
    x, y = made()
    x[:, 1] += 2 * x[:, 0]
    other = fitted(x[:, :1], x[:, 1])
    model = fitted(x, y)
    assert model.vif(1) == pytest.approx(1 / (1 - other.r2), rel=1e-9)
    assert model.vif(2) == pytest.approx(model.vif(1), rel=1e-9)


def test_leverage_of_the_baseline_itself_is_that_of_the_fit():
    x, y = made()
    model = fitted(x, y)
    hat = model.x @ np.linalg.inv(model.x.T @ model.x) @ model.x.T
    assert model.leverage_of(model.x) == pytest.approx(np.diag(hat), rel=1e-9)


@pytest.mark.parametrize("units", [0, 1, 2])
def test_as_many_terms_as_units_are_refused(units):
    assert refusal(np.arange(units).reshape(units, 1), np.arange(units) + 1.0) == "too_few_units"


def test_one_unit_more_than_terms_is_a_fit():
    assert fitted(np.array([[1.0], [2], [4]]), np.array([3.0, 5, 8])).n == 3


def test_a_driver_that_never_changes_is_refused():
    assert refusal(np.full(9, 5.0), np.arange(9)) == "constant_driver"


def test_a_load_that_is_zero_or_never_changes_is_refused():
    assert refusal(np.arange(9), np.zeros(9)) == "no_load"
    assert refusal(np.arange(9), np.full(9, 3e6)) == "constant_load"


def test_drivers_that_follow_from_each_other_are_refused():
    x, y = made()
    x[:, 1] = 3 * x[:, 0] - 5
    assert refusal(x, y) == "collinear_drivers"
