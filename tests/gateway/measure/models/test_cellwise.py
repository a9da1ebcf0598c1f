"""What a model of cells says without its design equals what the design says."""

import numpy as np
import pytest

from joulemark_gateway.measure.estimate import CellEstimate, LineEstimate, estimate_of
from joulemark_gateway.measure.models.cells import Shifts
from joulemark_gateway.measure.models.time_of_week_temperature import fit_time_of_week_temperature
from joulemark_gateway.measure.uncertainty import noise_of
from support.hourly_meters import office

BOTH = office(3, 2_400)
BEFORE, AFTER = BOTH.where(BOTH.position < 1_600), BOTH.where(BOTH.position >= 1_600)
ROTA = Shifts(((0, "night"), (480, "day"), (1200, "night"), (1920, "day")))


@pytest.fixture(params=[None, ROTA], ids=["times of the week", "shifts"])
def estimate(request):
    fitted = fit_time_of_week_temperature(BEFORE, cells=request.param)
    return estimate_of(fitted, BEFORE)


def weights_of(data):
    draw = np.random.default_rng(1)
    third = (np.arange(data.n) < data.n // 3).astype(np.float64)
    return np.array([np.ones(data.n), third, draw.normal(0, 1, data.n)])


def test_intervals_are_those_of_all_terms(estimate):
    dense = LineEstimate(estimate.fitted, noise_of(estimate.fitted.linear))
    weights = weights_of(AFTER)
    assert isinstance(estimate, CellEstimate)
    assert estimate.process == pytest.approx(dense.process, rel=1e-9)
    assert estimate.rho == pytest.approx(dense.rho, rel=1e-9)
    for name in ("covariance", "mean_covariance", "variances"):
        found, wanted = (getattr(of, name)(AFTER, weights) for of in (estimate, dense))
        assert found == pytest.approx(wanted, rel=1e-8)
    ends = [1, 100, AFTER.n]
    assert estimate.running_variance(AFTER, ends) == pytest.approx(
        dense.running_variance(AFTER, ends), rel=1e-8
    )


def test_the_variance_of_a_sum_is_the_diagonal_to_the_last_bit(estimate):
    weights = weights_of(AFTER)
    diagonal = np.diag(estimate.covariance(AFTER, weights))
    assert np.array_equal(estimate.variances(AFTER, weights), diagonal)


def test_predictions_and_leverages_are_those_of_the_design(estimate):
    fitted = estimate.fitted
    dense = fitted.linear.predict(fitted.rows(AFTER))
    assert fitted.predict_wh(AFTER) == pytest.approx(dense, rel=1e-9)
    assert fitted.own_leverage == pytest.approx(
        fitted.linear.leverage_of(fitted.linear.x), rel=1e-8
    )
    rows = np.ascontiguousarray(fitted.rows(AFTER))
    assert fitted.leverage(AFTER) == pytest.approx(fitted.linear.leverage_of(rows), rel=1e-8)
    assert fitted.own_leverage.sum() == pytest.approx(fitted.linear.p, rel=1e-9)


def test_a_unit_that_is_not_known_is_nan_in_both():
    week = BEFORE.where(BEFORE.position % 168 != 5)
    fitted = fit_time_of_week_temperature(week)
    unseen = AFTER.position % 168 == 5
    assert unseen.any()
    assert np.array_equal(np.isnan(fitted.leverage(AFTER)), unseen)
    assert np.array_equal(np.isnan(fitted.predict_wh(AFTER)), unseen)
    assert np.array_equal(np.isnan(fitted.rows(AFTER)).any(axis=1), unseen)


def test_the_design_is_made_only_when_asked_for(estimate):
    linear = estimate.fitted.linear
    estimate.variances(AFTER, weights_of(AFTER))
    assert not {"x", "basis", "inverse"} & set(vars(linear))
    assert linear.x.shape == (linear.n, linear.p)
    assert linear.basis.shape == linear.inverse.shape == (linear.p, linear.p)
