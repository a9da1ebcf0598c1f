import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.physics.air_leaks import (
    CHOKED_RATIO,
    LEAK_CLASSES_M3_S,
    DetectorTable,
    bag_leak,
    bleed_leak,
    bleed_leak_doe,
    orifice_leak,
    ultrasonic_leak,
)
from joulemark_agent.physics.domain import OutOfDomain
from joulemark_agent.physics.us_units import M3_PER_FT3, M3_S_PER_CFM, PA_PER_PSI

BAR_PA, KPA_PA = 1e5, 1e3
ATMOSPHERE_PA = 101_325.0
TABLE = DetectorTable(20, 30, 10e5, 8e5, 5e-4, 6e-4, 9e-4, 8e-4)


def test_both_bleed_tests_of_the_worked_example():
    given_ = (
        100 * M3_PER_FT3, 150 * PA_PER_PSI, 75 * PA_PER_PSI, 120 * 60.0, 14.7 * PA_PER_PSI,
    )  # fmt: skip
    assert bleed_leak_doe(*given_) / M3_S_PER_CFM == pytest.approx(5.315, abs=5e-4)
    assert bleed_leak(*given_) / M3_S_PER_CFM == pytest.approx(5.674, abs=5e-4)


@given(st.floats(0.1, 100), st.floats(6.0, 15.0), st.floats(1.0, 5.0), st.floats(1, 1e4))
def test_a_bleed_test_is_the_same_in_us_and_metric_units(volume_m3, from_bar, to_bar, time_s):
    atmosphere_kpa = 101.325
    metric = (volume_m3, from_bar * BAR_PA, to_bar * BAR_PA, time_s, atmosphere_kpa * KPA_PA)
    ft3, from_psi, to_psi = (
        volume_m3 / M3_PER_FT3,
        *(p * BAR_PA / PA_PER_PSI for p in (from_bar, to_bar)),
    )
    atmosphere_psi = atmosphere_kpa * KPA_PA / PA_PER_PSI
    us = (
        ft3 * M3_PER_FT3, from_psi * PA_PER_PSI, to_psi * PA_PER_PSI, time_s,
        atmosphere_psi * PA_PER_PSI,
    )  # fmt: skip
    assert bleed_leak(*us) == pytest.approx(bleed_leak(*metric), rel=1e-9)
    assert bleed_leak_doe(*us) == pytest.approx(bleed_leak_doe(*metric), rel=1e-9)
    by_hand_cfm = 1.25 * ft3 * (from_psi - to_psi) / (time_s / 60 * atmosphere_psi)
    assert bleed_leak_doe(*metric) / M3_S_PER_CFM == pytest.approx(by_hand_cfm, rel=1e-9)
    naive_cfm = 1.25 * ft3 * (from_psi - to_psi) / (time_s / 60 * atmosphere_kpa)
    assert by_hand_cfm / naive_cfm == pytest.approx(6.895, abs=5e-4), "kPa taken for psi"


def test_an_atmosphere_in_kpa_or_psi_is_refused():
    for atmosphere in (101.325, 14.7):
        with pytest.raises(OutOfDomain, match="atmospheric_pa"):
            bleed_leak(1.0, 10e5, 5e5, 600.0, atmosphere)


def test_a_simulated_network_bleeds_as_the_exact_test_says():
    """Sonic leaks lose air in proportion to the absolute pressure: stepped by hand."""
    volume_m3, leak_m3_s, dt_s = 5.0, 0.02, 0.01
    pressure = start = 8e5 + ATMOSPHERE_PA
    steps = 0
    while pressure > 5e5 + ATMOSPHERE_PA:
        pressure -= leak_m3_s * pressure / start * ATMOSPHERE_PA / volume_m3 * dt_s
        steps += 1
    found = bleed_leak(volume_m3, 8e5, pressure - ATMOSPHERE_PA, steps * dt_s, ATMOSPHERE_PA)
    assert found == pytest.approx(leak_m3_s, rel=1e-4)


def test_leaks_that_are_not_sonic_are_refused():
    with pytest.raises(OutOfDomain, match="not sonic"):
        bleed_leak(1.0, 6e5, 0.5e5, 600.0, ATMOSPHERE_PA)
    assert pytest.approx(1.8929, abs=1e-4) == CHOKED_RATIO


def test_the_detector_s_table_is_met_at_its_corners():
    corners = [(20, 10e5, 5e-4), (20, 8e5, 6e-4), (30, 10e5, 9e-4), (30, 8e5, 8e-4)]
    for decibel, line_pa, flow in corners:
        assert ultrasonic_leak(decibel, line_pa, TABLE) == pytest.approx(flow, rel=1e-12)


@given(st.floats(20, 30), st.floats(8e5, 10e5))
def test_between_the_corners_the_flow_lies_between_theirs(decibel, line_pa):
    assert 5e-4 * (1 - 1e-9) <= ultrasonic_leak(decibel, line_pa, TABLE) <= 9e-4 * (1 + 1e-9)


@given(st.floats(20, 30), st.floats(8e5, 10e5))
def test_the_order_of_the_table_s_columns_does_not_matter(decibel, line_pa):
    turned = DetectorTable(30, 20, 8e5, 10e5, 8e-4, 9e-4, 6e-4, 5e-4)
    expected = ultrasonic_leak(decibel, line_pa, TABLE)
    assert ultrasonic_leak(decibel, line_pa, turned) == pytest.approx(expected, rel=1e-9)


def test_a_hole_of_a_quarter_inch_at_100_psi_leaks_about_100_cfm():
    """The US DOE's table of leaks through orifices says 104 cfm with a coefficient of 1."""
    flow = orifice_leak(0.25 * 0.0254, 100 * PA_PER_PSI, 14.7 * PA_PER_PSI, 294.26)
    assert flow / M3_S_PER_CFM == pytest.approx(104, rel=0.03)


@given(st.floats(1e-4, 0.05), st.floats(1e5, 2e6), st.floats(0.1, 1.0))
def test_flow_through_holes_goes_with_area_number_and_coefficient(diameter_m, gauge_pa, ratio):
    one = orifice_leak(diameter_m, gauge_pa, ATMOSPHERE_PA, 293.15)
    four = orifice_leak(2 * diameter_m, gauge_pa, ATMOSPHERE_PA, 293.15)
    assert four == pytest.approx(4 * one)
    many = orifice_leak(diameter_m, gauge_pa, ATMOSPHERE_PA, 293.15, discharge_ratio=ratio, units=3)
    assert many == pytest.approx(3 * ratio * one)


def test_classes_of_leaks_rise():
    flows = list(LEAK_CLASSES_M3_S.values())
    assert np.all(np.diff(flows) > 0)
    assert LEAK_CLASSES_M3_S["severe"] / M3_S_PER_CFM == pytest.approx(10.0)


@pytest.mark.parametrize(
    "call",
    [
        lambda: ultrasonic_leak(31, 9e5, TABLE),
        lambda: ultrasonic_leak(25, 11e5, TABLE),
        lambda: ultrasonic_leak(20, 8e5, DetectorTable(20, 20, 8e5, 9e5, 1, 1, 1, 1)),
        lambda: bag_leak(0.0, 0.3, 10.0),
        lambda: bag_leak(0.4, 0.3, math.nan),
        lambda: orifice_leak(0.01, 5e4, ATMOSPHERE_PA, 293.15),
        lambda: orifice_leak(0.01, 5e5, ATMOSPHERE_PA, 20.0),
        lambda: bleed_leak(1.0, 5e5, 6e5, 600.0, ATMOSPHERE_PA),
        lambda: bleed_leak_doe(1.0, 6e5, 5e5, 0.0, ATMOSPHERE_PA),
    ],
)
def test_what_no_leak_does_is_refused(call):
    with pytest.raises(OutOfDomain):
        call()
