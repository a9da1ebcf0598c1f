import numpy as np
import pytest

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.cusum import cumulative, stop_of
from joulemark_gateway.measure.estimate import estimate_of
from joulemark_gateway.measure.models.production import activity, fit_production
from support.plants import days

DAYS = 180
PLACE = np.arange(DAYS)


def seen(saved=0.0, seed=1):
    draw = np.random.default_rng(seed)
    made = draw.uniform(5, 30, 2 * DAYS)
    energy = 50 + 4 * made + draw.normal(0, 5, 2 * DAYS)
    energy[DAYS:] -= saved
    data = days(energy, production_kg=made)
    before, after = data.where(data.position < DAYS), data.where(data.position >= DAYS)
    estimate = estimate_of(fit_production(before, [activity("production_kg", "kg")]), before)
    return estimate, after, cumulative(estimate, after)


def stop(of, confidence=0.9, **more):
    return stop_of(of, every=15, planned_units=DAYS, confidence=confidence, **more)


def test_the_last_of_the_band_is_the_interval_of_the_whole():
    estimate, units, so_far = seen()
    variance = estimate.covariance(units, np.ones((1, DAYS)))[0, 0]
    half = so_far.half_width_wh(0.9)
    assert half[-1] == pytest.approx(estimate.process.half_width(variance, 0.9), rel=1e-9)
    assert np.all(np.diff(half) > 0)


def test_a_saving_stops_the_waiting_and_its_claim_does_not():
    _, _, so_far = seen(saved=3.0)
    found = stop(so_far)
    assert found is not None
    assert found.look < found.looks == 12
    assert found.unit == 15 * found.look - 1
    assert found.saved_wh > found.half_width_wh > 0
    assert stop(so_far, claimed_wh=3.0 * (PLACE + 1.0)) is None
    too_much = stop(so_far, claimed_wh=9.0 * (PLACE + 1.0))
    assert too_much is not None
    assert too_much.saved_wh < too_much.claimed_wh


def test_more_looks_ask_for_more():
    _, _, so_far = seen(saved=3.0)
    often = stop_of(so_far, every=1, planned_units=DAYS, confidence=0.9)
    once = stop_of(so_far, every=DAYS, planned_units=DAYS, confidence=0.9)
    assert once is not None
    assert once.half_width_wh == so_far.half_width_wh(0.9)[-1]
    assert often is not None
    assert often.half_width_wh > so_far.half_width_wh(0.9)[often.unit]


def test_who_looks_often_without_sharing_the_doubt_stops_by_chance():
    ours = naive = 0
    for seed in range(200):
        _, _, so_far = seen(seed=seed)
        ours += stop(so_far) is not None
        looks = slice(14, DAYS, 15)
        band = so_far.half_width_wh(0.9)[looks]
        naive += bool(np.any(np.abs(so_far.saved_wh[looks]) > band))
    assert ours <= 0.1 * 200
    assert naive > 0.15 * 200


@pytest.mark.parametrize("every", [0, DAYS + 1])
def test_a_plan_has_looks(every):
    with pytest.raises(MeasureError) as refused:
        stop_of(seen()[2], every=every, planned_units=DAYS, confidence=0.9)
    assert refused.value.code == "bad_looks"
