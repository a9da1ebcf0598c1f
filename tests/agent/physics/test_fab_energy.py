import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.physics.domain import OutOfDomain
from joulemark_agent.physics.fab_energy import (
    equivalent_energy_wh,
    idle_saving_wh,
    per_tool_hour,
)


def test_equivalent_energy_by_hand():
    # 10 kWh x 1, 4 m3 of nitrogen x 250 Wh/m3 = 1,000 Wh, 100 m3 of exhaust x 4 Wh/m3 = 400 Wh
    used = {"electricity": 10_000.0, "nitrogen": 4.0, "exhaust": 100.0}
    factors = {"electricity": 1.0, "nitrogen": 250.0, "exhaust": 4.0, "vacuum": 60.0}
    found = equivalent_energy_wh(used, factors)
    assert found == pytest.approx({"electricity": 10_000, "nitrogen": 1000, "exhaust": 400})


def test_a_utility_without_a_factor_is_refused_not_left_out():
    with pytest.raises(OutOfDomain, match="factor for exhaust, nitrogen; give the watt-hours"):
        equivalent_energy_wh({"nitrogen": 1.0, "exhaust": 1.0, "heat": 0.0}, {"heat": 1.0})
    with pytest.raises(OutOfDomain, match="electricity"):
        equivalent_energy_wh({"electricity": 1.0}, {})


def test_idle_mode_saves_the_difference_for_its_time():
    # (3,000 W - 1,200 W) x 6 h = 10,800 Wh
    assert idle_saving_wh(3000.0, 1200.0, 6 * 3600.0) == pytest.approx(10_800, rel=1e-12)


@given(st.floats(0, 1e5), st.floats(0, 1), st.floats(0, 1e6), st.floats(0, 1e6))
def test_savings_of_two_times_add_up(process_w, share, first_s, second_s):
    idle_w = process_w * share
    both = idle_saving_wh(process_w, idle_w, first_s + second_s)
    each = idle_saving_wh(process_w, idle_w, first_s) + idle_saving_wh(process_w, idle_w, second_s)
    assert both == pytest.approx(each)
    assert both >= 0


def test_two_tools_for_three_hours_are_six_tool_hours():
    # 12 kWh over 6 tool-hours
    assert per_tool_hour(12_000.0, 2 * 3 * 3600.0) == pytest.approx(2000, rel=1e-12)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: equivalent_energy_wh({"n2": -1.0}, {"n2": 1.0}),
        lambda: equivalent_energy_wh({"n2": 1.0}, {"n2": -1.0}),
        lambda: idle_saving_wh(1000.0, 1200.0, 1.0),
        lambda: idle_saving_wh(1000.0, 200.0, -1.0),
        lambda: per_tool_hour(1.0, 0.0),
        lambda: per_tool_hour(-1.0, 1.0),
    ],
)
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(OutOfDomain):
        wrong()
