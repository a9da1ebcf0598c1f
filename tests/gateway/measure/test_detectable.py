import numpy as np
import pytest

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.detectable import detectable
from joulemark_gateway.measure.estimate import estimate_of
from joulemark_gateway.measure.models.production import activity, fit_production
from support.five_parameters import ar1
from support.plants import days

N, M = 180, 90
MADE = activity("production_kg", "kg")


def produced(draw, rho):
    """A baseline on production, and the units that are planned."""
    production = draw.uniform(5, 30, N + M)
    energy_wh = 50 + 4 * production + 6 * ar1(draw, N + M, rho)
    data = days(energy_wh, production_kg=production)
    before, after = data.where(data.position < N), data.where(data.position >= N)
    return estimate_of(fit_production(before, [MADE]), before), after


def test_it_is_the_half_width_over_the_prediction_for_every_length():
    estimate, units = produced(np.random.default_rng(2), 0.6)
    found = detectable(estimate, units, 0.9)
    for k in (1, 30, M):
        first = units.where(np.arange(M) < k)
        variance = estimate.covariance(first, np.ones((1, k)))[0, 0]
        ratio = estimate.process.half_width(variance, 0.9) / estimate.predict_wh(first).sum()
        assert found.ratio[k - 1] == pytest.approx(ratio, rel=1e-11)


def test_it_says_after_how_many_units_a_saving_stays_detectable():
    estimate, units_to_come = produced(np.random.default_rng(2), 0.6)
    found = detectable(estimate, units_to_come, 0.9)
    for ratio in (0.03, 0.04, 0.06):
        units = found.units_until(ratio)
        assert units is not None
        assert np.all(found.ratio[units - 1 :] <= ratio)
        assert found.ratio[units - 2] > ratio
    assert found.units_until(1.0) == 1
    assert found.units_until(float(found.ratio[-1])) is not None
    assert found.units_until(float(found.ratio.min()) * 0.99) is None


def test_more_confidence_asks_for_a_larger_saving():
    estimate, units = produced(np.random.default_rng(2), 0.6)
    widths = [detectable(estimate, units, c).ratio[-1] for c in (0.8, 0.9, 0.95)]
    assert widths[0] < widths[1] < widths[2]


def test_noise_alone_exceeds_it_in_one_of_ten_baselines():
    """700 meters: the tenth they exceed is known to 4 %."""
    draw = np.random.default_rng(5)
    foreseen, seen = [], []
    for _ in range(700):
        estimate, units = produced(draw, 0.7)
        found = detectable(estimate, units, 0.9)
        foreseen.append(found.ratio[-1])
        predicted_wh = found.predicted_wh[-1]
        seen.append(abs(predicted_wh - units.energy_wh.sum()) / predicted_wh)
    assert np.median(foreseen) == pytest.approx(np.quantile(seen, 0.9), rel=0.15)


def test_nothing_to_come_and_no_energy_to_come_have_their_codes():
    estimate, units = produced(np.random.default_rng(2), 0.0)
    with pytest.raises(MeasureError) as refused:
        detectable(estimate, units.where(units.position < 0), 0.9)
    assert refused.value.code == "no_reporting_units"
    undone = days(np.zeros(M), production_kg=-units.driver("production_kg"))
    with pytest.raises(MeasureError) as refused:
        detectable(estimate, undone, 0.9)
    assert refused.value.code == "no_load"
