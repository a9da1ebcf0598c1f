import numpy as np
import pytest

from joulemark_gateway.measure.models.time_of_week_batch import avoided, fit_batch
from joulemark_gateway.measure.models.time_of_week_temperature import fit_time_of_week_temperature
from joulemark_gateway.measure.uncertainty import noise_of
from support.hourly_meters import meters, office

WEEK = 168
BEFORE, ALL = 10 * WEEK, 13 * WEEK


def holed(seed):
    """An office with a tenth of its hours missing, and where it is whole."""
    data = office(seed, ALL)
    missing = np.random.default_rng(seed).random(data.n) < 0.1
    data.energy_wh[missing] = np.nan
    return data


@pytest.fixture(scope="module")
def offices():
    return [holed(seed) for seed in range(3)]


def periods(offices):
    before = meters(*(data.where(data.position < BEFORE) for data in offices))
    after = meters(*(data.where(data.position >= BEFORE) for data in offices))
    return before, after


def test_a_meter_of_the_batch_is_fitted_as_it_is_alone(offices):
    before, after = periods(offices)
    batch = fit_batch(before, WEEK, unit_h=1.0)
    saved = avoided(batch, before, after, 0.9)
    for k, data in enumerate(offices):
        whole = data.where(data.is_whole)
        rest = whole.where(whole.position >= BEFORE)
        model = fit_time_of_week_temperature(whole.where(whole.position < BEFORE))
        noise = noise_of(model.linear)
        one = np.ones((1, rest.n))
        variance = noise.covariance(model.rows(rest), rest.position, one)[0, 0]
        saving_wh = (model.predict_wh(rest) - rest.energy_wh).sum()

        assert np.array_equal(batch.alpha[k], model.linear.beta[:WEEK])
        assert (batch.n[k], batch.p[k], saved.units[k]) == (model.linear.n, model.linear.p, rest.n)
        assert batch.sse[k] == pytest.approx(model.linear.sse, rel=1e-12)
        assert batch.rho[k] == pytest.approx(noise.rho, rel=1e-10)
        assert saved.saving_wh[k] == pytest.approx(saving_wh, rel=1e-9, abs=1.0)
        assert saved.half_width_wh[k] == pytest.approx(noise.half_width(variance, 0.9), rel=1e-9)


def test_one_weather_for_all_is_as_good_as_a_copy_for_each(offices):
    before, after = periods([offices[0], offices[0]])
    first, rest = (one._replace(temperature_c=one.temperature_c[:1]) for one in (before, after))
    each = avoided(fit_batch(before, WEEK, unit_h=1.0), before, after, 0.9)
    once = avoided(fit_batch(first, WEEK, unit_h=1.0), first, rest, 0.9)

    assert np.array_equal(each.saving_wh, once.saving_wh)
    assert np.array_equal(each.half_width_wh, once.half_width_wh)


def test_ten_repeats_give_the_same_bits(offices):
    before, after = periods(offices)
    found = {
        (saved.saving_wh.tobytes(), saved.half_width_wh.tobytes())
        for saved in (
            avoided(fit_batch(before, WEEK, unit_h=1.0), before, after, 0.9) for _ in range(10)
        )
    }

    assert len(found) == 1


@pytest.mark.parametrize("known", [0, 100])
def test_a_meter_without_enough_hours_has_no_saving_and_harms_no_other(offices, known):
    before, after = periods(offices)
    alone = avoided(fit_batch(before, WEEK, unit_h=1.0), before, after, 0.9)
    before.energy_wh[1, known:] = np.nan
    saved = avoided(fit_batch(before, WEEK, unit_h=1.0), before, after, 0.9)

    assert np.isnan([saved.saving_wh[1], saved.half_width_wh[1]]).all()
    assert saved.units[1] == 0
    assert saved.saving_wh[[0, 2]].tolist() == alone.saving_wh[[0, 2]].tolist()


def test_nothing_to_report_is_no_saving_of_0(offices):
    before, after = periods(offices)
    after.energy_wh[:] = np.nan
    saved = avoided(fit_batch(before, WEEK, unit_h=1.0), before, after, 0.9)

    assert np.isnan(saved.saving_wh).all()
