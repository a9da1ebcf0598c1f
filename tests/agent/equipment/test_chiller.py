import math
from functools import partial

import numpy as np
import pytest

from joulemark_agent.equipment import Samples
from support.analyses import analysed, unsure, value

START_US, MINUTE_US = 1_700_000_000_000_000, 60_000_000
HEAT = 4.2e6
PLATE = {"heat_j_m3_k": HEAT, "rated_power_w": 100_000, "rated_cooling_w": 400_000}
SENSORS = {"difference_uncertainty_k": 0.1, "flow_uncertainty_ratio": 0.02}
METER = {"limit_ratio": 0.01}


def minutes(**points) -> Samples:
    """One row a minute; numbers become columns."""
    size = max(np.size(column) for column in points.values())
    values = {
        name: np.broadcast_to(np.asarray(column, float), size) for name, column in points.items()
    }
    return Samples(START_US + np.arange(size) * MINUTE_US, values, 3 * MINUTE_US)


def hour(**changed) -> Samples:
    """An hour at 60 kW, 10 l/s, from 12 to 7 degrees Celsius."""
    points = {
        "power_w": np.full(61, 60_000.0),
        "chilled_flow_m3_s": 0.010,
        "chilled_supply_k": 280.15,
        "chilled_return_k": 285.15,
    }
    return minutes(**(points | changed))


found = partial(analysed, "chiller")


def test_an_hour_of_cooling_by_hand():
    # 4.2e6 x 0.010 x 5 = 210 kW of cooling against 60 kW of power: COP 3.5, 1.00482 kW/ton
    analysis = found(hour(), **PLATE)
    assert value(analysis, "energy_wh") == pytest.approx(60_000, rel=1e-12)
    assert value(analysis, "cooling_wh") == pytest.approx(210_000, rel=1e-9)
    assert value(analysis, "cop_w_per_w") == pytest.approx(3.5, rel=1e-9)
    assert value(analysis, "specific_power_kw_per_ton") == pytest.approx(1.004815, rel=1e-6)
    assert value(analysis, "part_load_ratio") == pytest.approx(0.525, rel=1e-9)
    assert value(analysis, "mean_difference_k") == pytest.approx(5.0, rel=1e-9)
    assert value(analysis, "running_s") == 3600
    assert analysis.figure("cop_w_per_w").covered_ratio == 1.0
    assert analysis.figure("cop_w_per_w").flags == ()
    assert analysis.findings == ()


def test_the_difference_of_the_sensors_decides_how_sure_it_is():
    # 0.1/5 = 2 % of the difference, 2 % of the flow, 1 %/sqrt 3 of the power meter
    analysis = found(hour(), **PLATE, **SENSORS, metering=METER)
    cop = analysis.figure("cop_w_per_w")
    assert cop.standard_uncertainty == pytest.approx(
        3.5 * math.sqrt(0.02**2 + 0.02**2 + 0.01**2 / 3), rel=1e-6
    )
    assert cop.degrees_of_freedom is not None
    small = found(hour(chilled_return_k=282.15), **PLATE, **SENSORS, metering=METER)
    assert unsure(small, "cop_w_per_w") / value(small, "cop_w_per_w") == pytest.approx(
        math.sqrt(0.05**2 + 0.02**2 + 0.01**2 / 3), rel=1e-6
    )


@pytest.mark.parametrize("left_out", [*SENSORS, "metering"])
def test_what_is_not_declared_leaves_the_uncertainty_unknown(left_out):
    section = {**PLATE, **SENSORS, "metering": METER}
    del section[left_out]
    assert found(hour(), **section).figure("cop_w_per_w").standard_uncertainty is None


@pytest.mark.parametrize("return_k", [281.1, 280.15, 278.15])
def test_a_difference_below_a_kelvin_gives_no_cop(return_k):
    analysis = found(hour(chilled_return_k=return_k), **PLATE)
    for name in ("cooling_wh", "cop_w_per_w", "specific_power_kw_per_ton", "part_load_ratio"):
        assert analysis.figure(name).value is None
        assert "below 1 K" in analysis.figure(name).why
    assert value(analysis, "mean_difference_k") == pytest.approx(return_k - 280.15)
    assert value(analysis, "energy_wh") == pytest.approx(60_000)


def test_some_minutes_of_a_small_difference_count_and_are_told():
    returning = np.where(np.arange(61) < 12, 280.65, 285.15)  # 12 of 60 minutes at 0.5 K
    analysis = found(hour(chilled_return_k=returning), **PLATE)
    # 42 kJ/(s K) x (12 x 0.5 + 48 x 5)/60 K = 172.2 kW in the mean: COP 2.87
    assert value(analysis, "cop_w_per_w") == pytest.approx(2.87, rel=1e-9)
    assert value(analysis, "low_difference_s") == 720
    assert analysis.figure("cop_w_per_w").flags == ("low_difference",)
    assert [finding.code for finding in analysis.findings] == ["difference_low"]
    assert "20%" in analysis.findings[0].what


def test_only_running_time_counts_and_standby_is_energy():
    power = np.where(np.arange(61) < 30, 60_000.0, 2_000.0)
    analysis = found(hour(power_w=power), **PLATE)
    assert value(analysis, "running_s") == 1800
    assert value(analysis, "cop_w_per_w") == pytest.approx(3.5, rel=1e-9)
    assert value(analysis, "energy_wh") == pytest.approx(31_000)


def test_a_ratio_has_both_of_its_sums_over_the_same_steps():
    supply = np.full(61, 280.15)
    supply[20:40] = np.nan
    power = np.where((np.arange(61) >= 20) & (np.arange(61) < 40), 90_000.0, 60_000.0)
    analysis = found(hour(chilled_supply_k=supply, power_w=power), **PLATE)
    cop = analysis.figure("cop_w_per_w")
    assert cop.value == pytest.approx(3.5, rel=1e-9)  # with all of the power it would be 1.95
    assert cop.covered_ratio == pytest.approx(39 / 60)


@pytest.mark.parametrize(
    ("section", "changed", "says"),
    [
        ({}, {}, "Set liquid: water"),
        (PLATE, {"power_w": np.zeros(61)}, "did not run"),
        (PLATE, {"chilled_flow_m3_s": math.nan}, "'chilled_flow_m3_s' is not recorded"),
        ({"liquid": "water"}, {"chilled_supply_k": 7.0, "chilled_return_k": 12.0}, "273.15"),
    ],
)
def test_what_cannot_be_backed_is_refused_with_the_reason(section, changed, says):
    figure = found(hour(**changed), **section).figure("cop_w_per_w")
    assert figure.value is None
    assert says in figure.why


def test_water_is_taken_at_its_temperature():
    # 9.5 degrees Celsius: 999.74 kg/m3 x 4193.4 J/(kg K) = 4.1923e6
    analysis = found(hour(), liquid="water", rated_power_w=100_000)
    assert value(analysis, "cooling_wh") == pytest.approx(4.1923e6 * 0.01 * 5, rel=3e-4)
    assert "rated_cooling_w" in analysis.figure("part_load_ratio").why


def test_power_is_compared_with_what_the_kind_would_take():
    # the published case: 1000 ton, 0.676 kW/ton, 42 and 82.12 degF, 833.34 ton: 549.74 kW
    cooling_w = 833.34 * 3516.8528
    curve = {"kind": "centrifugal_water", "input_ratio": 676 / 3516.8528,
             "condenser": "condenser_in_k"}  # fmt: skip
    samples = hour(
        power_w=np.full(61, 600_000.0),
        chilled_supply_k=(42 + 459.67) / 1.8,
        chilled_return_k=(52 + 459.67) / 1.8,
        chilled_flow_m3_s=cooling_w / (HEAT * 10 / 1.8),
        condenser_in_k=(82.12 + 459.67) / 1.8,
    )
    plate = {"heat_j_m3_k": HEAT, "rated_cooling_w": 1000 * 3516.8528}
    analysis = found(samples, **plate, curve=curve)
    assert value(analysis, "expected_wh") == pytest.approx(549_740, rel=1e-4)
    assert value(analysis, "over_expected_ratio") == pytest.approx(600 / 549.74, rel=1e-4)
    assert analysis.figure("expected_wh").flags == ("estimated",)
    without = found(hour(), heat_j_m3_k=HEAT, rated_power_w=100_000, curve=curve)
    assert "condenser_in_k" in without.figure("expected_wh").why


def test_no_power_no_figures():
    analysis = found(hour(power_w=np.full(61, np.nan)), **PLATE)
    assert all(figure.value is None and figure.why for figure in analysis.figures)


def test_a_chiller_of_unknown_size_may_be_standing_by():
    standby = hour(power_w=np.full(61, 500.0))
    analysis = found(standby, heat_j_m3_k=HEAT)
    for name in ("running_s", "cooling_wh", "cop_w_per_w"):
        assert analysis.figure(name).value is None
        assert "rated_power_w" in analysis.figure(name).why
    for size in ({"rated_power_w": 100_000}, {"rated_cooling_w": 400_000}, {"off_below_w": 600}):
        assert value(found(standby, heat_j_m3_k=HEAT, **size), "running_s") == 0
    power = np.where(np.arange(61) < 30, 60_000.0, 500.0)
    assert value(found(hour(power_w=power), heat_j_m3_k=HEAT), "running_s") == 1800


@pytest.mark.parametrize("flow", [3e4, 1e300])
def test_a_flow_of_a_wrong_scale_breaks_nothing(flow):
    load = found(hour(chilled_flow_m3_s=flow), **PLATE).figure("part_load_ratio")
    assert load.value is None
    assert load.why
