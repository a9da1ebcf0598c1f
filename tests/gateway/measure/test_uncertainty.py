import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.linear import fit
from joulemark_gateway.measure.student import quantile
from joulemark_gateway.measure.uncertainty import (
    ar1_products,
    lag_one_correlation,
    linearised,
    noise_of,
    noise_of_fitted,
)
from support.five_parameters import ar1, five_parameters, meter

ROWS, ONES = 90, np.ones((1, 90))


def baseline(rho=0.4, n=180, seed=1, position=None):
    draw = np.random.default_rng(seed)
    x = draw.uniform(5, 30, (n, 1))
    y = 50 + 4 * x[:, 0] + ar1(draw, n, rho)
    return fit(x, y, np.arange(n) if position is None else position)


def reporting(m=ROWS, seed=9):
    draw = np.random.default_rng(seed)
    return np.column_stack([np.ones(m), draw.uniform(5, 30, m)]), np.arange(m)


positions = st.lists(st.integers(1, 9), min_size=1, max_size=30).map(np.cumsum)


@given(positions, st.floats(0, 0.99), st.data())
def test_the_filters_give_the_double_sum_over_places(position, rho, data):
    row = st.lists(st.floats(-9, 9, width=16), min_size=position.size, max_size=position.size)
    weights = np.array(data.draw(st.lists(row, min_size=1, max_size=3)))
    distance = np.abs(position[:, None] - position[None, :])
    exact = weights @ rho**distance @ weights.T
    assert ar1_products(weights, position, rho) == pytest.approx(exact, rel=1e-9, abs=1e-9)


def test_without_correlation_it_is_the_textbook_interval():
    model = baseline(rho=0.0, seed=4)
    noise = noise_of(model)
    assert noise.rho_used == 0, "this seed has a negative correlation, which must count as none"
    assert noise.rho < 0
    x, position = reporting()
    v = x.sum(0)
    textbook = model.residual_variance * (ROWS + v @ np.linalg.inv(model.x.T @ model.x) @ v)
    variance = noise.covariance(x, position, ONES)[0, 0]
    assert variance == pytest.approx(textbook, rel=1e-12)
    assert noise.half_width(variance, 0.9) == pytest.approx(
        quantile(0.95, model.n - 2) * np.sqrt(textbook), rel=1e-12
    )


def test_the_variance_is_the_stated_formula_in_full_matrices():
    holes = np.setdiff1d(np.arange(190), [3, 50, 51, 52, 100, 120, 121, 160, 170, 188])
    model = baseline(rho=0.6, n=180, position=holes)
    noise = noise_of(model)
    n, p, rb = 180, 2, noise.rho_used
    assert rb == noise.rho + (1 + 4 * noise.rho) / n + (p - 1) / n
    x, _ = reporting()
    position = np.setdiff1d(np.arange(95), [1, 2, 40, 77, 90])
    r_base = rb ** np.abs(holes[:, None] - holes[None, :])
    r_own = rb ** np.abs(position[:, None] - position[None, :])
    a = model.x @ np.linalg.inv(model.x.T @ model.x) @ x.sum(0)
    s2 = model.sse / (n - p * (1 + rb) / (1 - rb))
    expected = s2 * (r_own.sum() + a @ r_base @ a)
    assert noise.covariance(x, position, ONES)[0, 0] == pytest.approx(expected, rel=1e-9)
    assert noise.degrees_of_freedom == pytest.approx(n * (1 - rb) / (1 + rb) - p, rel=1e-12)


def test_a_masked_unit_does_not_make_its_neighbours_neighbours():
    e = np.array([1.0, -1, 1, -1, 5, -5, 5, -5])
    apart = np.array([0, 1, 2, 3, 5, 6, 7, 8])
    pairs = [(0, 1), (1, 2), (2, 3), (4, 5), (5, 6), (6, 7)]
    before, after = e[[a for a, _ in pairs]], e[[b for _, b in pairs]]
    assert lag_one_correlation(e, apart) == pytest.approx(np.corrcoef(before, after)[0, 1])
    assert lag_one_correlation(e, 2 * np.arange(8)) == 0


def test_sub_periods_recombine_to_the_whole_with_their_covariance():
    noise = noise_of(baseline(rho=0.7))
    x, position = reporting()
    months = np.zeros((3, ROWS))
    for k in range(3):
        months[k, 30 * k : 30 * (k + 1)] = 1
    covariance = noise.covariance(x, position, months)
    whole = noise.covariance(x, position, ONES)[0, 0]
    assert covariance.sum() == pytest.approx(whole, rel=1e-9)
    assert np.diag(covariance).sum() < 0.8 * whole, "the naive sum without covariance must fail"


def test_the_cumulative_variance_is_that_of_each_partial_sum():
    noise = noise_of(baseline(rho=0.5))
    x, position = reporting()
    position = position + np.cumsum(np.arange(ROWS) % 7 == 3)
    cumulative = noise.cumulative_variance(x, position)
    for k in (1, 2, 30, ROWS):
        partial = noise.covariance(x[:k], position[:k], np.ones((1, k)))[0, 0]
        assert cumulative[k - 1] == pytest.approx(partial, rel=1e-11)


@given(st.floats(0.51, 0.999), st.floats(0.51, 0.999), st.sampled_from([0.0, 0.4, 0.9]))
def test_more_confidence_is_wider(one, other, rho):
    noise = noise_of(baseline(rho=rho))
    low, high = sorted((one, other))
    assert noise.half_width(7.0, low) <= noise.half_width(7.0, high)
    assert low == high or noise.half_width(7.0, low) < noise.half_width(7.0, high)


def test_residuals_that_never_change_their_mind_are_refused():
    x = np.random.default_rng(1).uniform(5, 30, (30, 1))
    drift = np.repeat([-1.0, 1.0], 15)
    with pytest.raises(MeasureError) as refused:
        noise_of(fit(x, 4 * x[:, 0] + drift + 50, np.arange(30)))
    assert refused.value.code == "residuals_too_correlated"


def test_an_exact_fit_has_no_width_and_no_nan():
    x = np.arange(20.0)[:, None]
    noise = noise_of(fit(x, 5 + 3 * x[:, 0], np.arange(20)))
    rows, position = reporting()
    variance = noise.covariance(rows, position, ONES)[0, 0]
    assert noise.half_width(variance, 0.9) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("rho", [0.0, 0.4, 0.7])
def test_the_stated_ninety_percent_interval_covers_ninety_percent(rho):
    """800 replicates: standard error 1.1 points. The interval without rho is the control."""
    draw = np.random.default_rng(17)
    n, m, runs = 180, 90, 800
    hits = naive_hits = 0
    for _ in range(runs):
        x = draw.uniform(5, 30, n + m)
        y = 50 + 4 * x + ar1(draw, n + m, rho)
        model = fit(x[:n, None], y[:n], np.arange(n))
        noise = noise_of(model)
        rows = np.column_stack([np.ones(m), x[n:]])
        error = abs(model.predict(rows).sum() - y[n:].sum())
        variance = noise.covariance(rows, np.arange(m), ONES)[0, 0]
        hits += error <= noise.half_width(variance, 0.9)
        v = rows.sum(0)
        naive = model.residual_variance * (m + v @ model.inverse @ v)
        naive_hits += error <= quantile(0.95, n - 2) * np.sqrt(naive)
    assert 0.86 <= hits / runs <= 0.94
    assert rho == 0 or naive_hits / runs < 0.80


def test_drivers_that_differ_by_rounding_alone_keep_their_variance():
    """The second driver is 1.03 times the first in whole kilograms: VIF about 1e8."""
    draw = np.random.default_rng(1)
    first = draw.integers(10_000, 40_000, 140).astype(np.float64)
    rounding = np.floor(0.03 * first) - 0.03 * first
    x = np.column_stack([first, np.floor(1.03 * first)])
    y = 1e5 + 10 * first + draw.normal(0, 3000, 140)
    noise = noise_of(fit(x[:70], y[:70], np.arange(70)))
    rows = np.column_stack([np.ones(70), x[70:]])
    variance = noise.covariance(rows, np.arange(70), np.ones((1, 70)))[0, 0]
    well_posed = np.column_stack([np.ones(140), (first - 25e3) / 1e4, rounding])
    centred, v = well_posed[:70], well_posed[70:].sum(0)
    a = centred @ np.linalg.solve(centred.T @ centred, v)
    r = noise.rho_used ** np.abs(np.arange(70)[:, None] - np.arange(70)[None, :])
    exact = noise.variance * (r.sum() + a @ r @ a)
    assert variance == pytest.approx(exact, rel=1e-6)
    x, inverse, sums = noise.model.x, noise.model.inverse, rows.sum(0)
    formed = inverse @ (x.T @ r @ x) @ inverse
    naive = noise.variance * (r.sum() + sums @ formed @ sums)
    assert naive != pytest.approx(exact, rel=1e-3), "the matrix formed first loses digits"


def searched(rho=0.6, seed=3):
    """A meter, the fit of its change points, and its noise."""
    one = meter(np.random.default_rng(seed), rho, 365)
    fitted = five_parameters(one.before)
    return one, fitted, noise_of_fitted(fitted, one.before)


def test_a_fit_without_search_has_the_noise_of_its_baseline_to_the_bit():
    one, fitted, _ = searched()
    nothing = dataclasses.replace(fitted, searched=0, tangent=fitted.rows)
    noise, plain = noise_of_fitted(nothing, one.before), noise_of(fitted.linear)
    assert noise.model is plain.model
    assert (noise.variance, noise.degrees_of_freedom) == (plain.variance, plain.degrees_of_freedom)
    assert np.array_equal(noise.coefficients, plain.coefficients)


def test_searched_parameters_count_in_every_formula():
    one, fitted, noise = searched()
    n, p, sse = 365, 5, fitted.linear.sse
    rb = noise.rho + (1 + 4 * noise.rho) / n + (p - 1) / n
    assert noise.rho_used == rb
    assert noise.degrees_of_freedom == pytest.approx(n * (1 - rb) / (1 + rb) - p, rel=1e-12)
    s2 = sse / (n - p * (1 + rb) / (1 - rb))
    x, rows = fitted.tangent(one.before), fitted.tangent(one.after)
    a = x @ np.linalg.inv(x.T @ x) @ rows.sum(0)
    distance = np.abs(np.arange(n)[:, None] - np.arange(n)[None, :])
    exact = s2 * ((rb**distance).sum() + a @ rb**distance @ a)
    position = np.arange(rows.shape[0])
    found = noise.covariance(rows, position, np.ones((1, rows.shape[0])))[0, 0]
    assert found == pytest.approx(exact, rel=1e-9)
    assert noise.model.predict(rows) == pytest.approx(fitted.predict_wh(one.after), rel=1e-14)


def test_two_change_points_in_one_place_count_but_add_no_direction():
    one, fitted, _ = searched()

    def together(data):
        x = fitted.tangent(data)
        return np.column_stack([x[:, :4], 3 * x[:, 3] - x[:, 0]])  # follows from the others

    met = dataclasses.replace(fitted, tangent=together)
    noise = noise_of_fitted(met, one.before)
    assert noise.model.p == 5
    rows = together(one.after)
    x, sums = together(one.before)[:, :4], rows.sum(0)[:4]
    leverage = (noise.model.coordinates(rows).sum(0) ** 2).sum()
    assert leverage == pytest.approx(sums @ np.linalg.inv(x.T @ x) @ sums, rel=1e-9)
    assert noise.half_width(noise.variance, 0.9) > 0


def test_units_that_the_fit_weighs_are_weighed_in_the_derivatives_too():
    one, fitted, _ = searched()
    root = np.sqrt(np.random.default_rng(4).uniform(0.5, 2, 365))
    x = fitted.rows(one.before) / root[:, None]
    linear = fit(x[:, 1:], one.before.energy_wh / root, one.before.position, x[:, 0])
    weighed = dataclasses.replace(fitted, linear=linear, scale=lambda _: root)
    model = linearised(weighed, one.before)
    weighted = fitted.tangent(one.before) / root[:, None]
    assert model.x == pytest.approx(weighted, rel=1e-14)
    v = fitted.tangent(one.after).sum(0, keepdims=True)
    exact = v[0] @ np.linalg.inv(weighted.T @ weighted) @ v[0]
    assert model.leverage_of(v)[0] == pytest.approx(exact, rel=1e-8)


def test_a_search_that_the_units_do_not_carry_is_refused():
    one, fitted, _ = searched()
    few = one.before.where(np.arange(5))
    x = fitted.rows(few)
    short = dataclasses.replace(fitted, linear=fit(x[:, 1:2], few.energy_wh, few.position))
    with pytest.raises(MeasureError) as refused:
        linearised(dataclasses.replace(short, searched=3), few)
    assert refused.value.code == "too_few_units"


def test_months_of_a_searched_model_recombine_to_the_year():
    one, fitted, noise = searched(rho=0.8)
    rows, position = fitted.tangent(one.after), one.after.position
    months = np.zeros((12, 365))
    for k in range(12):
        months[k, 365 * k // 12 : 365 * (k + 1) // 12] = 1
    covariance = noise.covariance(rows, position, months)
    year = noise.covariance(rows, position, np.ones((1, 365)))[0, 0]
    assert covariance.sum() == pytest.approx(year, rel=1e-9)
    assert np.diag(covariance).sum() < 0.6 * year, "months in quadrature must fail"
    widths = [noise.half_width(year, confidence) for confidence in (0.8, 0.9, 0.95)]
    assert widths[0] < widths[1] < widths[2]


@pytest.fixture(scope="module", autouse=True)
def _compiled():
    """The first call of a kernel compiles it, which no example should pay for."""
    noise = noise_of(baseline())
    ar1_products(np.zeros((1, 1)), np.zeros(1, np.int64), 0.5)
    noise.half_width(1.0, 0.9)
