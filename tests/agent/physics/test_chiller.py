import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.physics.chiller import (
    W_PER_TON,
    coefficient_of_performance,
    cooling_power_w,
    cooling_uncertainty_ratio,
    kw_per_ton,
    part_load_ratio,
    water_heat_j_m3_k,
)
from joulemark_agent.physics.domain import OutOfDomain

flows = st.floats(1e-4, 10.0)
differences = st.floats(1.01, 30.0)


def test_ten_litres_a_second_cooled_by_five_kelvin_are_210_kilowatts():
    # 4.2e6 J/(m3 K) x 0.010 m3/s x 5 K = 210,000 W; 60 kW of power: COP 3.5, 3.51685/3.5 kW/ton
    cooling_w = cooling_power_w(0.010, 280.15, 285.15, 4.2e6)
    assert cooling_w == pytest.approx(210_000, rel=1e-12)
    cop = coefficient_of_performance(cooling_w, 60_000)
    assert cop == pytest.approx(3.5, rel=1e-12)
    assert kw_per_ton(cop) == pytest.approx(3.5168528 / 3.5, rel=1e-7)
    assert part_load_ratio(cooling_w, 300_000) == pytest.approx(0.7, rel=1e-12)


def test_a_ton_of_refrigeration_is_3517_watts():
    assert pytest.approx(3516.8528, abs=1e-4) == W_PER_TON


def test_water_carries_as_much_heat_as_the_tables_say():
    # 10 degrees Celsius: 999.70 kg/m3 x 4192.1 J/(kg K); 40 degrees: 992.2 x 4178.5
    assert water_heat_j_m3_k(283.15) == pytest.approx(999.70 * 4192.1, rel=1e-4)
    assert water_heat_j_m3_k(313.15) == pytest.approx(992.2 * 4178.5, rel=2e-4)


@given(flows, differences, st.floats(0.1, 10.0))
def test_cooling_is_linear_in_flow_and_difference(flow, difference, scale):
    one = cooling_power_w(flow, 280.0, 280.0 + difference, 4.19e6)
    assert cooling_power_w(flow * scale, 280.0, 280.0 + difference, 4.19e6) == pytest.approx(
        scale * one
    )
    assert one == pytest.approx(4.19e6 * flow * difference, rel=1e-9)


@given(st.floats(0.1, 20.0))
def test_cop_and_power_per_ton_are_each_other_s_inverse(cop):
    assert W_PER_TON / 1000 / kw_per_ton(cop) == pytest.approx(cop)


def test_the_difference_decides_how_sure_the_cooling_is():
    # two sensors of 0.1 K: 0.1414 K; over 5 K 2.83 %, over 2 K 7.07 %; a flow of 1 % adds little
    pair_k = math.hypot(0.1, 0.1)
    assert cooling_uncertainty_ratio(5.0, pair_k) == pytest.approx(0.0282843, rel=1e-5)
    assert cooling_uncertainty_ratio(2.0, pair_k, 0.01) == pytest.approx(
        math.sqrt(0.0707107**2 + 0.01**2), rel=1e-5
    )
    assert cooling_uncertainty_ratio(1.0, pair_k) > 0.14


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: cooling_power_w(0.01, 280.0, 280.9, 4.19e6),  # below 1 K
        lambda: cooling_power_w(0.01, 285.0, 280.0, 4.19e6),  # sensors exchanged
        lambda: cooling_power_w(0.01, 7.0, 12.0, 4.19e6),  # degrees Celsius
        lambda: cooling_power_w(-0.01, 280.0, 285.0, 4.19e6),
        lambda: cooling_power_w(0.01, 280.0, 285.0, 4.19),  # per kilogram, in kJ
        lambda: cooling_uncertainty_ratio(0.9, 0.1),
        lambda: coefficient_of_performance(1000.0, 0.0),
        lambda: coefficient_of_performance(-1.0, 100.0),
        lambda: coefficient_of_performance(math.nan, 100.0),
        lambda: kw_per_ton(0.0),
        lambda: part_load_ratio(1000.0, 0.0),
        lambda: water_heat_j_m3_k(260.0),
    ],
)
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(OutOfDomain):
        wrong()
