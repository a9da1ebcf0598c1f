import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.kernels.gas import NORMAL_0C, STANDARD_15C, State
from joulemark_agent.physics.compression import (
    free_air,
    inlet_corrected_flow,
    inlet_corrected_power,
    isentropic_efficiency,
    isentropic_power,
    least_isentropic_efficiency,
    power_at_pressure,
    saturation_pressure,
    specific_power,
)
from joulemark_agent.physics.domain import OutOfDomain
from joulemark_agent.physics.us_units import M3_S_PER_CFM, PA_PER_PSI

J_M3_PER_KW_MIN_M3 = 60_000.0
gauges = st.floats(1e4, 2e6)
IAPWS_PA = {0.0: 611.2, 20.0: 2339.3, 30.0: 4247.0, 40.0: 7384.9}


def test_a_cubic_metre_a_minute_at_7_bar_needs_4_73_kw():
    power_w = isentropic_power(100_000, 800_000, 1 / 60)
    assert power_w == pytest.approx(4733.4, abs=0.05)


@given(st.floats(1.0, 20.0), st.floats(1.0, 20.0))
def test_stages_without_cooling_add_up(first, second):
    """Compressing in two stages of the same stream: the flow at the second inlet is smaller."""
    middle_pa = 1e5 * first
    flow_m3_s = first ** (-1 / 1.4)
    whole_w = isentropic_power(1e5, min(middle_pa * second, 1e7), 1.0)
    parts_w = isentropic_power(1e5, middle_pa, 1.0)
    if middle_pa * second <= 1e7:
        parts_w += isentropic_power(middle_pa, middle_pa * second, flow_m3_s)
        assert parts_w == pytest.approx(whole_w, rel=1e-9, abs=1e-6)


def test_efficiency_is_a_share_and_more_than_ideal_is_refused():
    assert isentropic_efficiency(4_733.4, 6_500.0) == pytest.approx(0.72822, abs=1e-5)
    with pytest.raises(OutOfDomain, match="isentropic_w"):
        isentropic_efficiency(7_000.0, 6_500.0)


def test_the_least_efficiency_of_500_cfm_is_that_of_the_regulation():
    found = least_isentropic_efficiency(500 * M3_S_PER_CFM, "fixed", "air")
    assert found == pytest.approx(0.71724, abs=5e-6)


@pytest.mark.parametrize(("drive", "tolerance"), [("fixed", 0.85), ("variable", 0.85)])
def test_liquid_cooling_is_asked_for_more(drive, tolerance):
    flow_m3_s = 500 * M3_S_PER_CFM
    liquid = least_isentropic_efficiency(flow_m3_s, drive, "liquid")
    air = least_isentropic_efficiency(flow_m3_s, drive, "air")
    base = 1 - (1 - liquid) / (1 + (1 - tolerance))
    assert liquid < base
    assert liquid != air


@pytest.mark.parametrize("cfm", [34.9, 1250.1, math.nan])
def test_the_regulation_says_nothing_of_other_sizes(cfm):
    with pytest.raises(OutOfDomain):
        least_isentropic_efficiency(cfm * M3_S_PER_CFM, "fixed", "air")


def test_specific_power_in_both_of_its_units():
    found = specific_power(6_500.0, 1 / 60)
    assert found / J_M3_PER_KW_MIN_M3 == pytest.approx(6.5)
    kw_per_100_cfm = found * 100 * M3_S_PER_CFM / 1000
    assert kw_per_100_cfm == pytest.approx(6.5 * 2.8317, rel=1e-5)
    with pytest.raises(OutOfDomain, match="free_air_m3_s"):
        specific_power(6_500.0, 0.0)


@pytest.mark.parametrize("celsius", IAPWS_PA)
def test_vapour_pressure_is_that_of_steam_tables(celsius):
    assert saturation_pressure(celsius + 273.15) == pytest.approx(IAPWS_PA[celsius], rel=3.5e-3)


@pytest.mark.parametrize("celsius", IAPWS_PA)
@pytest.mark.parametrize("humidity", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("counted", [NORMAL_0C, STANDARD_15C])
def test_free_air_is_exact_to_a_twentieth_of_a_per_cent(celsius, humidity, counted):
    inlet = State(98_000.0, celsius + 273.15)
    dry_pa = 98_000.0 - humidity * IAPWS_PA[celsius]
    exact = 1000.0 * counted.pressure_pa / counted.temperature_k * inlet.temperature_k / dry_pa
    assert free_air(1000.0, counted, inlet, humidity) == pytest.approx(exact, rel=5e-4)


def test_normal_air_taken_for_free_air_would_be_9_per_cent_off():
    assert free_air(1.0, NORMAL_0C) == pytest.approx(1.0874, abs=1e-4)


@given(gauges, gauges, gauges, st.floats(6e4, 1.1e5))
def test_pressure_adjustments_add_up_and_come_back(first, second, third, atmosphere):
    there = power_at_pressure(75_000, first, second, atmosphere)
    on = power_at_pressure(there, second, third, atmosphere)
    assert on == pytest.approx(power_at_pressure(75_000, first, third, atmosphere), rel=1e-9)
    back = power_at_pressure(there, second, first, atmosphere)
    assert back == pytest.approx(75_000, rel=1e-9)


@given(gauges, gauges, st.floats(1e-3, 1e3))
def test_pressure_adjustment_does_not_know_its_unit_of_power(first, second, scale):
    one = power_at_pressure(1_000, first, second, 101_325)
    assert power_at_pressure(1_000 * scale, first, second, 101_325) == pytest.approx(one * scale)


RATED = {
    "shaft_w": 75_000.0,
    "motor_efficiency_ratio": 0.93,
    "rated_gauge_pa": 100 * PA_PER_PSI,
    "rated_inlet_pa": 14.5 * PA_PER_PSI,
    "polytropic_exponent": 1.4,
}


def at_site(**changes) -> float:
    site = {
        "discharge_gauge_pa": 100 * PA_PER_PSI,
        "inlet_pa": 14.7 * PA_PER_PSI,
        "atmospheric_pa": 14.7 * PA_PER_PSI,
        "is_screw": True,
    }
    return inlet_corrected_power(**(RATED | site | changes))


def test_at_its_rating_and_the_sea_a_machine_draws_its_rating():
    assert at_site() == pytest.approx(75_000 / 0.93, rel=2e-3)
    assert at_site(is_altitude_corrected=False) == pytest.approx(75_000 / 0.93, rel=1e-12)


def test_a_mountain_takes_power_and_flow():
    high_pa = 12.0 * PA_PER_PSI
    assert at_site(atmospheric_pa=high_pa, inlet_pa=high_pa) < at_site()
    flows = [inlet_corrected_flow(1.0, 7e5, 7e5, pa) for pa in (high_pa, 14.7 * PA_PER_PSI)]
    assert flows[0] < flows[1] == pytest.approx(1.0, rel=2e-3)


def test_altitude_polynomials_are_those_of_the_source():
    """Pk and Pf worked by hand at 13 psia: 0.965657 and 0.994386 of the rating."""
    pa = 13.0 * PA_PER_PSI
    by_hand_kw = -5.77e-5 * 2197 + 2.51e-4 * 169 + 0.0466 * 13 + 0.4442
    ratio = at_site(atmospheric_pa=pa, inlet_pa=pa) / (75_000 / 0.93)
    assert ratio == pytest.approx(by_hand_kw, rel=1e-12)
    by_hand_flow = 2.58e-4 * 2197 - 0.0116 * 169 + 0.176 * 13 + 0.09992
    assert inlet_corrected_flow(1.0, 7e5, 7e5, pa) == pytest.approx(by_hand_flow, rel=1e-12)


def test_every_psi_above_the_rating_costs_0_075_per_cent_of_the_flow():
    flow = inlet_corrected_flow(
        1.0, 7e5, 7e5 + 20 * PA_PER_PSI, 101_325.0, is_altitude_corrected=False
    )
    assert flow == pytest.approx(1 - 20 * 0.00075, rel=1e-12)
    with pytest.raises(OutOfDomain, match="no flow is left"):
        inlet_corrected_flow(1.0, 0.0, 2e7, 101_325.0)


@pytest.mark.parametrize(
    "call",
    [
        lambda: isentropic_power(1e5, 0.9e5, 1.0),
        lambda: isentropic_power(1e5, 8e5, -1.0),
        lambda: isentropic_power(math.nan, 8e5, 1.0),
        lambda: power_at_pressure(75_000, 7e5, -1.0, 101_325),
        lambda: power_at_pressure(75_000, 7e5, 6e5, 14.7),  # psi where Pa is wanted
        lambda: free_air(1.0, NORMAL_0C, State(1e5, 293.15), 60.0),  # per cent for a ratio
        lambda: at_site(atmospheric_pa=14.7),
    ],
)
def test_what_no_machine_does_is_refused(call):
    with pytest.raises(OutOfDomain):
        call()
