import math
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from joulemark_agent.physics.domain import OutOfDomain
from joulemark_agent.physics.load_cycle import Cycle, load_unload_capacity, load_unload_power
from joulemark_agent.physics.part_load import (
    SpeedCurve,
    blow_off_capacity,
    blow_off_power,
    blown_off,
    modulation_capacity,
    modulation_power,
    ratio_of,
    speed_capacity,
    speed_power,
    start_stop_capacity,
    start_stop_power,
    vane_capacity,
    vane_power,
)

SCREW = Cycle(
    full_load_w=85_400,
    no_load_w=17_600,
    most_w=90_100,
    capacity_m3_s=0.2525,
    storage_m3=0.38,
    full_load_gauge_pa=689_500,
    most_gauge_pa=758_400,
    atmospheric_pa=101_325,
)
DISPLACING = replace(
    SCREW, most_w=85_400, modulated_ratio=0.57, exponent=2, unload_ratio=0.4, modulating_pa=117_000
)
SPEED = SpeedCurve(80_000, 0.0, 0.25, 24_000, 0.6, 46_000)
CURVES = {
    "load and unload": (
        lambda c: load_unload_power(c, SCREW),
        lambda p: load_unload_capacity(p, SCREW),
    ),
    "throttle": (
        lambda c: modulation_power(c, 85_400, 55_300),
        lambda p: modulation_capacity(p, 85_400, 55_300),
    ),
    "displacement": (
        lambda c: modulation_power(c, 85_400, 55_300, 2),
        lambda p: modulation_capacity(p, 85_400, 55_300, 2),
    ),
    "speed": (lambda c: speed_power(c, SPEED), lambda p: speed_capacity(p, SPEED)),
    "start and stop": (
        lambda c: start_stop_power(c, 85_400, 90_100),
        lambda p: start_stop_capacity(p, 85_400, 90_100),
    ),
    "vanes": (
        lambda c: vane_power(c, 452_300, 71_300, 280_000, 0.65),
        lambda p: vane_capacity(p, 452_300, 71_300, 280_000, 0.65),
    ),
    "blow-off": (
        lambda c: blow_off_power(c, 452_300, 300_000, 0.7),
        lambda p: blow_off_capacity(p, 452_300, 300_000, 0.7, 0.7),
    ),
}
ratios = st.floats(0.0, 1.0)


@pytest.mark.parametrize("curve", CURVES)
@given(c=ratios)
def test_a_power_leads_back_to_its_capacity(curve, c):
    power_of, capacity_of = CURVES[curve]
    assume(not (curve == "blow-off" and 0 < c <= 0.7))  # one power for all of them
    assert power_of(capacity_of(power_of(c))) == pytest.approx(power_of(c), rel=1e-9)
    assert capacity_of(power_of(c)) == pytest.approx(c, abs=1e-6)


@pytest.mark.parametrize("curve", CURVES)
@given(c=ratios, other=ratios)
def test_more_air_takes_no_less_power(curve, c, other):
    power_of, _ = CURVES[curve]
    assume(curve != "load and unload" or max(c, other) < 1)  # its pressure falls at full load
    assert power_of(min(c, other)) <= power_of(max(c, other)) * (1 + 1e-12)


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("c", [-1e-9, 1 + 1e-9, 1.66, math.nan, 40.0])
def test_a_capacity_beyond_the_machine_is_refused(curve, c):
    with pytest.raises(OutOfDomain, match="capacity_ratio"):
        CURVES[curve][0](c)


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("power_w", [-1.0, 5e5, math.inf, math.nan])
def test_a_power_beyond_the_machine_is_refused(curve, power_w):
    with pytest.raises(OutOfDomain, match="power_w"):
        CURVES[curve][1](power_w)


def test_a_small_storage_costs_and_a_large_one_comes_near_to_the_straight_line():
    volumes = [0.38, 2.0, 10.0, 50.0, 1e4]
    powers = [load_unload_power(0.5, replace(SCREW, storage_m3=v)) for v in volumes]
    assert powers == sorted(powers, reverse=True)
    assert powers[0] > 80_000
    straight_w = (SCREW.no_load_w + (SCREW.full_load_w + SCREW.most_w) / 2) / 2
    assert powers[-1] == pytest.approx(straight_w, rel=1e-3)


def test_without_demand_the_machine_idles_and_at_full_load_it_never_unloads():
    assert load_unload_power(0.0, SCREW) == pytest.approx(SCREW.no_load_w, rel=1e-6)
    assert load_unload_power(1.0, SCREW) == SCREW.full_load_w
    assert load_unload_capacity(SCREW.full_load_w, SCREW) == 1.0


@given(st.floats(0.5, 2.0), st.floats(0.01, 0.99))
def test_size_and_scale_of_power_do_not_change_the_shape(scale, c):
    """Twice the machine with twice the storage draws twice the power."""
    larger = replace(
        SCREW,
        full_load_w=SCREW.full_load_w * scale,
        no_load_w=SCREW.no_load_w * scale,
        most_w=SCREW.most_w * scale,
        capacity_m3_s=SCREW.capacity_m3_s * scale,
        storage_m3=SCREW.storage_m3 * scale,
    )
    found = load_unload_power(c, larger)
    assert found == pytest.approx(scale * load_unload_power(c, SCREW), rel=1e-9)


@given(st.floats(0.0, 0.9999))
def test_a_machine_that_modulates_before_it_unloads_has_a_power_everywhere(c):
    power_w = load_unload_power(c * DISPLACING.unload_ratio, DISPLACING)
    assert DISPLACING.no_load_w * 0.999 <= power_w <= DISPLACING.full_load_w


def test_an_oil_free_machine_blows_down_at_once():
    dry = replace(SCREW, spindle_s=0.004, reload_s=0.001, blowdown_s=0.003)
    straight_w = (dry.no_load_w + (dry.full_load_w + dry.most_w) / 2) / 2
    assert load_unload_power(0.5, dry) == pytest.approx(straight_w, rel=0.01)


@pytest.mark.parametrize(
    "wrong",
    [
        {"no_load_w": 90_000},
        {"most_gauge_pa": 600_000},
        {"most_gauge_pa": 689_500},
        {"unload_ratio": 0.4},
        {"atmospheric_pa": 14.7},
        {"storage_m3": 0.0},
    ],
    ids=str,
)
def test_a_machine_that_cannot_be_is_refused(wrong):
    with pytest.raises(OutOfDomain):
        replace(SCREW, **wrong)


def test_the_speed_curve_goes_through_its_points():
    for c, power_w in ((0.0, 0.0), (0.25, 24_000), (0.6, 46_000), (1.0, 80_000)):
        assert speed_power(c, SPEED) == pytest.approx(power_w, rel=1e-12, abs=1e-9)
    assert speed_power(0.125, SPEED) == pytest.approx(12_000)


def test_what_is_blown_off_is_not_used():
    assert blown_off(0.5, 0.7) == pytest.approx(0.2)
    assert blown_off(0.9, 0.7) == 0.0
    assert blow_off_power(0.1, 452_300, 300_000, 0.7) == 300_000
    assert blow_off_capacity(300_000, 452_300, 300_000, 0.7, 0.2) == pytest.approx(0.5)
    with pytest.raises(OutOfDomain, match="give blown_off_ratio"):
        blow_off_capacity(300_000, 452_300, 300_000, 0.7)


def test_a_curve_is_inverted_to_the_last_bits():
    assert ratio_of(lambda c: c**3, 0.5) == pytest.approx(0.5 ** (1 / 3), rel=1e-15)


def test_a_parabola_of_speed_that_falls_is_refused():
    with pytest.raises(OutOfDomain, match="falls"):
        SpeedCurve(100_000, 0.0, 0.3, 20_000, 0.9, 21_000)
