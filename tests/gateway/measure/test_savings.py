from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest

from joulemark_gateway.measure.creditable import CREDITABLE_POLICIES
from joulemark_gateway.measure.estimate import estimate_of
from joulemark_gateway.measure.meter_error import MeterClass
from joulemark_gateway.measure.models.production import activity, fit_production
from joulemark_gateway.measure.result import ValuedEvent
from joulemark_gateway.measure.savings import Beside, cumulative, reported, saving_of, split_of
from support.histories import daily_plant, factors
from support.plants import days

POLICY = CREDITABLE_POLICIES["lower-bound-one-sided-95"]
FIRST = date(2018, 7, 1)
DAYS = tuple(FIRST + timedelta(days=k) for k in range(70))


@pytest.fixture(scope="module")
def measured():
    kg, energy = daily_plant(saved_wh=20_000)
    data = days(energy, production_kg=kg)
    before, after = data.where(data.position < 70), data.where(data.position >= 70)
    estimate = estimate_of(fit_production(before, [activity("production_kg", "kg")]), before)
    return before, estimate, reported(estimate, after, DAYS)


def saving(measured, factor_list=None, confidence=0.9, **changes):
    _, estimate, kept = measured
    one = factors().factors[0]
    return saving_of(
        estimate,
        kept,
        masked_days=changes.get("masked_days", ()),
        confidence=confidence,
        factors=factor_list or [one] * 70,
        policy=POLICY,
        without_exclusions_wh=None,
        beside=changes.get("beside", Beside()),
    )


def factor(value, ratio):
    return factors((value, ratio, "1960-01-01", "2030-01-01")).factors[0]


def test_the_known_saving_is_inside_the_interval(measured):
    found = saving(measured)
    assert abs(found.avoided_wh - 70 * 20_000) <= found.half_width_wh
    assert found.counterfactual_wh - found.measured_wh == pytest.approx(found.avoided_wh)
    assert found.is_distinguishable_from_zero


def test_more_confidence_is_a_wider_interval_in_energy_and_in_co2e(measured):
    narrow, middle, wide = (saving(measured, confidence=c) for c in (0.8, 0.9, 0.95))
    assert narrow.half_width_wh < middle.half_width_wh < wide.half_width_wh
    assert narrow.carbon.half_width_kg < middle.carbon.half_width_kg < wide.carbon.half_width_kg
    assert middle.half_width_wh == middle.half_width_90_wh == wide.half_width_90_wh
    assert wide.half_width_wh == wide.half_width_95_wh == narrow.half_width_95_wh


def test_the_credit_does_not_depend_on_the_confidence_asked_for(measured):
    assert saving(measured, confidence=0.8).creditable == saving(measured).creditable


def test_the_factor_uncertainty_enters_once_and_in_quadrature_with_the_energy(measured):
    once, twice = (
        saving(measured, [factor("0.4173", ratio)] * 70).carbon for ratio in ("0.05", "0.10")
    )
    energy = saving(measured)
    assert once.avoided_kg == pytest.approx(energy.avoided_wh / 1000 * 0.4173, rel=1e-12)
    assert once.from_energy_kg == pytest.approx(energy.standard_error_wh / 1000 * 0.4173, rel=1e-9)
    assert once.from_factor_kg == pytest.approx(0.05 * once.avoided_kg, rel=1e-9)
    for found, ratio in ((once, 0.05), (twice, 0.10)):
        closed = np.hypot(once.from_energy_kg, ratio * once.avoided_kg)
        assert found.standard_uncertainty_kg == pytest.approx(closed, rel=1e-9)


def test_a_certain_factor_leaves_the_interval_of_the_energy(measured):
    energy = saving(measured, [factor("0.4173", "0")] * 70)
    assert energy.carbon.half_width_kg == pytest.approx(
        energy.half_width_wh / 1000 * 0.4173, rel=1e-9
    )


def test_two_factors_are_used_by_day_and_their_errors_add_up(measured):
    old, new = factor("0.5", "0.05"), factor("0.4", "0.10").model_copy(update={"id": "new"})
    carbon = saving(measured, [old] * 31 + [new] * 39).carbon
    _, _, units = measured
    first, second = units.avoided_wh[:31].sum(), units.avoided_wh[31:].sum()
    assert carbon.avoided_kg == pytest.approx((0.5 * first + 0.4 * second) / 1000, rel=1e-12)
    expected = (0.5 * first * 0.05 + 0.4 * second * 0.10) / 1000
    assert carbon.from_factor_kg == pytest.approx(expected, rel=1e-12)
    assert [(u.factor.id, u.kept, u.first_day, u.last_day) for u in carbon.factors] == [
        ("test-0", 31, DAYS[0], DAYS[30]),
        ("new", 39, DAYS[31], DAYS[69]),
    ]


def test_activity_and_efficiency_add_up_to_the_measured_change(measured):
    before, _, units = measured
    parts = split_of(before.energy_wh, units)
    assert parts.change_wh == before.energy_wh.sum() - units.measured_wh.sum()
    assert parts.activity_wh + parts.efficiency_wh == pytest.approx(parts.change_wh, rel=1e-9)
    assert parts.efficiency_wh == pytest.approx(saving(measured).avoided_wh, rel=1e-12)


def test_the_months_add_up_and_their_widths_do_not(measured):
    found = saving(measured, masked_days=[date(2018, 9, 9)])
    assert [month.label for month in found.months] == ["2018-07", "2018-08", "2018-09"]
    assert [month.kept for month in found.months] == [31, 31, 8]
    assert [month.masked for month in found.months] == [0, 0, 1]
    assert sum(month.avoided_wh for month in found.months) == pytest.approx(found.avoided_wh)
    widths = np.array([month.half_width_wh for month in found.months])
    assert widths.sum() > found.half_width_wh
    assert np.sqrt((widths**2).sum()) < found.half_width_wh, "quadrature is too narrow"


def test_the_cumulative_saving_ends_at_the_saving_with_its_width(measured):
    _, estimate, kept = measured
    sums, half_widths = cumulative(estimate, kept, 0.9)
    found = saving(measured)
    assert sums[-1] == pytest.approx(found.avoided_wh, rel=1e-12)
    assert half_widths[-1] == pytest.approx(found.half_width_wh, rel=1e-12)
    assert np.all(np.diff(half_widths) > 0)


def test_a_loss_credits_nothing(measured):
    _, _, kept = measured
    more = replace(kept.units, energy_wh=kept.measured_wh + 60_000)
    worse = replace(kept, units=more)
    found = saving((measured[0], measured[1], worse))
    assert found.avoided_wh < 0
    assert (found.creditable.creditable_wh, found.creditable.creditable_kg) == (0.0, 0.0)


def test_one_unit_has_an_interval_of_its_own(measured):
    _, estimate, kept = measured
    unit = kept.units.where(np.arange(70) < 1)
    found = saving_of(
        estimate, reported(estimate, unit, DAYS[:1]), masked_days=(), confidence=0.9,
        factors=[factor("0.4", "0.05")], policy=POLICY, without_exclusions_wh=None,
    )  # fmt: skip
    noise, u = estimate.noise, estimate.noise.model.coordinates(estimate.fitted.rows(unit))[0]
    variance = noise.variance * (1 + u @ noise.coefficients @ u)
    assert found.standard_error_wh == pytest.approx(np.sqrt(variance), rel=1e-12)


def test_the_meter_and_events_stand_beside_the_models_own_saving(measured):
    plain = saving(measured)
    event = ValuedEvent("shift", "engineering-estimate", 5e5, 1e5, 1e9, 0.5, 0.1)
    found = saving(measured, beside=Beside(MeterClass(0.01), None, (event,)))
    meter = found.meter
    assert meter.bias_limit_wh == pytest.approx(0.01 * plain.avoided_wh, rel=1e-12)
    assert found.model_avoided_wh == plain.avoided_wh
    assert found.model_half_width_wh == plain.half_width_wh
    assert found.avoided_wh == pytest.approx(plain.avoided_wh + 5e5, rel=1e-12)
    u_wh = np.sqrt(plain.standard_error_wh**2 + meter.u_wh**2 + 1e5**2)
    assert found.standard_error_wh == pytest.approx(u_wh, rel=1e-12)
    assert found.months == plain.months
    kg = plain.carbon.avoided_kg + 5e5 / 1000 * 0.5
    assert found.carbon.avoided_kg == pytest.approx(kg, rel=1e-12)
    ef = plain.carbon.avoided_kg / plain.avoided_wh
    parts = (plain.carbon.from_energy_kg, meter.u_wh * ef, 1e5 / 1000 * 0.5)
    assert found.carbon.from_energy_kg == pytest.approx(np.hypot.reduce(parts), rel=1e-9)
    ratio = plain.carbon.from_factor_kg + 0.1 * 250
    assert found.carbon.from_factor_kg == pytest.approx(ratio, rel=1e-9)
