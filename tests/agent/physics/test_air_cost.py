import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.physics.air_cost import (
    air_energy,
    demand_at_pressure,
    demand_without_leaks,
    drop_power,
    heat_share,
    marginal_power,
    recovered_heat,
    running_cost,
)
from joulemark_agent.physics.compression import power_at_pressure
from joulemark_agent.physics.domain import OutOfDomain
from joulemark_agent.physics.part_load import modulation_power

ATMOSPHERE_PA = 101_325.0


def throttled(c: float) -> float:
    return modulation_power(c, 85_400, 55_300)


@given(st.floats(0.0, 10.0), st.floats(4e5, 1e6), st.floats(4e5, 1e6))
def test_regulated_demand_does_not_follow_the_pressure_and_open_demand_does(flow, first, second):
    assert demand_at_pressure(flow, first, second, 0.0) == flow
    whole = demand_at_pressure(flow, first, second, 1.0)
    assert whole == pytest.approx(flow * second / first)
    back = demand_at_pressure(whole, second, first, 1.0)
    assert back == pytest.approx(flow)


@given(st.floats(0.02, 0.25), st.floats(0.001, 0.015))
def test_closing_a_leak_saves_the_slope_of_the_curve_and_never_the_mean(before, leak):
    slope = marginal_power(throttled, 0.25, before, before - leak)
    assert slope == pytest.approx((85_400 - 55_300) / 0.25, rel=1e-6)
    mean = throttled(before / 0.25) / before
    assert mean > slope, "a throttled machine draws two thirds of its power at no flow"
    assert air_energy(leak, 8760 * 3600, slope) < air_energy(leak, 8760 * 3600, mean)


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_closing_parts_of_a_leak_adds_up(first, second):
    once = demand_without_leaks(1.0, 0.3, first)
    both = demand_without_leaks(once, 0.3 * (1 - first), second)
    assert both == pytest.approx(1.0 - 0.3 * (1 - (1 - first) * (1 - second)))


def test_recovered_heat_is_a_share_of_at_most_96_per_cent():
    heat_w = recovered_heat(0.0005, 30.0)
    assert heat_w == pytest.approx(997.05 * 4181 * 0.0005 * 30)
    assert heat_share(heat_w, 75_000) == pytest.approx(0.8337, abs=1e-4)
    with pytest.raises(OutOfDomain, match="heat"):
        heat_share(0.97 * 75_000, 75_000)


@given(st.floats(3e5, 1e6), st.floats(0.0, 1e5), st.floats(0.0, 1e5))
def test_drops_in_a_row_cost_what_they_cost_together(gauge_pa, first_pa, second_pa):
    both_w = drop_power(75_000, gauge_pa, first_pa + second_pa, ATMOSPHERE_PA)
    one_w = drop_power(75_000, gauge_pa, first_pa, ATMOSPHERE_PA)
    left_w = power_at_pressure(75_000, gauge_pa, gauge_pa - first_pa, ATMOSPHERE_PA)
    other_w = drop_power(left_w, gauge_pa - first_pa, second_pa, ATMOSPHERE_PA)
    assert both_w == pytest.approx(one_w + other_w, rel=1e-9, abs=1e-6)


def test_one_bar_costs_about_seven_per_cent_at_seven_bar():
    assert drop_power(100_000, 7e5, 1e5, 1e5) == pytest.approx(8_100, rel=0.05)


MACHINE = {
    "shaft_w": 75_000.0,
    "running_s": 3600.0,
    "loaded_efficiency_ratio": 0.95,
    "unloaded_shaft_ratio": 0.25,
    "unloaded_efficiency_ratio": 0.90,
    "price_per_wh": 0.0001,
}


@given(st.floats(0.0, 1.0))
def test_the_cost_of_running_is_between_idling_and_full_load(loaded_ratio):
    found = running_cost(loaded_ratio=loaded_ratio, **MACHINE)
    idle, full = (running_cost(loaded_ratio=ratio, **MACHINE) for ratio in (0.0, 1.0))
    assert idle.cost * (1 - 1e-9) <= found.cost <= full.cost * (1 + 1e-9)
    assert found.cost == pytest.approx((found.loaded_wh + found.unloaded_wh) * 0.0001)


@pytest.mark.parametrize(
    "call",
    [
        lambda: demand_at_pressure(1.0, 7e5, 6e5, 60.0),
        lambda: demand_at_pressure(1.0, 7e5, 0.0),
        lambda: demand_without_leaks(0.1, 0.2, 0.5),
        lambda: marginal_power(throttled, 0.25, 0.3, 0.2),
        lambda: marginal_power(throttled, 0.25, 0.2, 0.2),
        lambda: recovered_heat(0.0005, -1.0),
        lambda: recovered_heat(math.nan, 1.0),
        lambda: drop_power(75_000, 1e5, 2e5, ATMOSPHERE_PA),
        lambda: running_cost(loaded_ratio=85.0, **MACHINE),
    ],
)
def test_what_cannot_be_is_refused(call):
    with pytest.raises(OutOfDomain):
        call()
