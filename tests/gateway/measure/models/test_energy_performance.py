from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.models.energy_performance import (
    activity_and_efficiency,
    chain,
    performance,
    specific_energy,
)
from joulemark_gateway.measure.models.production import activity, fit_production

DAY_US = 86_400_000_000
KG = activity("made_kg", "kg")


def days(energy_wh, made):
    n = len(made)
    position = np.arange(n, dtype=np.int64)
    drivers = {"made_kg": np.asarray(made, np.float64)}
    energy = np.asarray(energy_wh, np.float64)
    return Data(position * DAY_US, np.full(n, DAY_US), position, energy, drivers, ZoneInfo("UTC"))


def plant(n, seed, *, mean=1000.0, factor=1.0, base=4e5, noise=1e4):
    draw = np.random.default_rng(seed)
    made = draw.uniform(0.6 * mean, 1.4 * mean, n)
    return days(factor * (base + 500 * made) + draw.normal(0, noise, n), made)


def refusal(call):
    with pytest.raises(MeasureError) as refused:
        call()
    return refused.value.code


def test_the_indicator_of_the_models_own_period_is_one():
    before = plant(200, 1)
    assert performance(fit_production(before, [KG]), before).senpi == pytest.approx(1, rel=1e-12)


def test_a_known_saving_is_seen_from_either_side_and_by_a_chain():
    before, after = plant(300, 1), plant(300, 2, factor=0.92, mean=1200)
    third = plant(300, 3, factor=1.07)
    for of in (before, after, third):
        found = chain(fit_production(of, [KG]), before, after)
        assert found.improvement_ratio == pytest.approx(0.08, abs=0.005)
    alone = performance(fit_production(third, [KG]), after).senpi
    assert abs(1 - alone - 0.08) > 0.05  # what the chain is for


@pytest.mark.parametrize(("mean", "sign"), [(600, -1), (1700, 1)])
def test_specific_energy_claims_a_saving_where_only_the_orders_changed(mean, sign):
    """The control; the regression beside it says that nothing was saved."""
    before, after = plant(300, 1), plant(300, 2, mean=mean)
    found = specific_energy(fit_production(before, [KG]), before, after, "made_kg")
    assert sign * found.change_ratio > 0.1
    assert abs(found.chained.improvement_ratio) < 0.01
    assert found.by_activity_ratio == pytest.approx(found.change_ratio, abs=0.01)


def test_without_a_base_load_specific_energy_says_what_the_model_says():
    before, after = plant(300, 1, base=0.0), plant(300, 2, base=0.0, mean=1700, factor=0.9)
    found = specific_energy(fit_production(before, [KG]), before, after, "made_kg")
    assert found.change_ratio == pytest.approx(found.chained.improvement_ratio, abs=0.02)
    assert found.by_activity_ratio == pytest.approx(0, abs=0.02)


@settings(max_examples=40)
@given(
    st.integers(0, 10_000),
    st.floats(300, 3000),
    st.floats(0.5, 1.5),
    st.integers(3, 400),
    st.floats(0, 2e5),
)
def test_activity_and_efficiency_add_up_to_the_whole_change(seed, mean, factor, n, noise):
    before = plant(60, seed, noise=1e4)
    after = plant(n, seed + 1, mean=mean, factor=factor, noise=noise)
    found = activity_and_efficiency(fit_production(before, [KG]), before, after)
    change = before.energy_wh.sum() - after.energy_wh.sum()
    scale = max(abs(before.energy_wh.sum()), abs(after.energy_wh.sum()))
    assert abs(found.activity_wh + found.efficiency_wh - change) <= 1e-9 * scale
    assert found.change_wh == pytest.approx(change, abs=1e-9 * scale)


def test_fewer_orders_are_activity_and_a_better_plant_is_efficiency():
    before = plant(300, 1)
    fitted = fit_production(before, [KG])
    fewer = activity_and_efficiency(fitted, before, plant(300, 2, mean=700))
    better = activity_and_efficiency(fitted, before, plant(300, 2, factor=0.9))
    assert fewer.activity_wh > 20 * abs(fewer.efficiency_wh)
    assert better.efficiency_wh > 5 * abs(better.activity_wh)


def test_a_unit_with_a_hole_is_in_no_sum():
    before, after = plant(100, 1), plant(100, 2)
    fitted = fit_production(before, [KG])
    after.energy_wh[3] = np.nan
    after.drivers["made_kg"][7] = np.nan
    found = activity_and_efficiency(fitted, before, after)
    assert found.reporting_units == 98
    assert performance(fitted, after).units == 98
    kept = after.is_whole
    specific = specific_energy(fitted, before, after, "made_kg")
    made = after.drivers["made_kg"][kept].sum()
    assert specific.reporting_wh_per_unit == pytest.approx(after.energy_wh[kept].sum() / made)


def test_what_gives_no_ratio_is_refused():
    before = plant(100, 1)
    fitted = fit_production(before, [KG])
    assert refusal(lambda: performance(fitted, days([np.nan], [1.0]))) == "no_whole_unit"
    still = days([5.0, 5.0], [0.0, 0.0])
    assert refusal(lambda: specific_energy(fitted, before, still, "made_kg")) == "nothing_made"
    below = days([5.0], [-1e6])
    assert refusal(lambda: performance(fitted, below)) == "model_predicts_no_energy"
