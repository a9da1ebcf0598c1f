from functools import partial

import numpy as np
import pytest
from pydantic import ValidationError

from joulemark_agent.equipment import Samples, parameters_of
from joulemark_agent.kernels.counter import Semantics
from support.analyses import analysed, value

START_US, MINUTE_US = 1_700_000_000_000_000, 60_000_000
TOOLS = np.repeat([2.0, 0.0], [40, 21])  # two tools for 40 minutes, then none: 80 tool-minutes
ALL = {"fuel": "fuel_m3_s", "water": "water_m3", "tools": "tools_count"}


def hour(**changed) -> Samples:
    points = {
        "power_w": np.full(61, 6_000.0),
        "fuel_m3_s": np.full(61, 1e-4),
        "water_m3": 100.0 + np.floor(np.arange(61) / 10),
        "tools_count": TOOLS,
    }
    values = {name: np.asarray(column, float) for name, column in (points | changed).items()}
    counters = {"water_m3": Semantics(3 * MINUTE_US)}
    return Samples(START_US + np.arange(61) * MINUTE_US, values, 3 * MINUTE_US, counters)


found = partial(analysed, "scrubber")


def test_an_hour_by_hand():
    # 6 kWh, 0.36 m3 of fuel, 6 m3 of water over 80/60 tool-hours: 4.5 kWh, 0.27 m3, 4.5 m3 each
    analysis = found(hour(), **ALL)
    assert value(analysis, "tool_s") == 4800
    assert value(analysis, "energy_wh") == pytest.approx(6_000)
    assert value(analysis, "fuel_m3") == pytest.approx(0.36)
    assert value(analysis, "water_m3") == 6
    assert value(analysis, "energy_per_tool_hour_wh") == pytest.approx(4_500, rel=1e-12)
    assert value(analysis, "fuel_per_tool_hour_m3") == pytest.approx(0.27, rel=1e-12)
    assert value(analysis, "water_per_tool_hour_m3") == pytest.approx(4.5, rel=1e-12)
    # 20 minutes for nobody: 2 kWh, 0.12 m3; the counter stepped at minutes 50 and 60
    assert value(analysis, "unused_energy_wh") == pytest.approx(2_000)
    assert value(analysis, "unused_fuel_m3") == pytest.approx(0.12)
    assert value(analysis, "unused_water_m3") == 2


def test_a_signal_that_any_tool_is_served_is_as_good():
    signal = {"point": "inlet_state", "values": [1, 3]}
    samples = hour(inlet_state=np.where(TOOLS > 0, 3.0, 0.0))
    analysis = found(samples, serving=signal, tools_served=2)
    assert value(analysis, "tool_s") == 4800
    assert value(analysis, "energy_per_tool_hour_wh") == pytest.approx(4_500)


def test_use_and_tool_hours_are_of_the_same_time():
    power = np.full(61, 6_000.0)
    power[:20] = np.nan  # half of the served time has no power
    analysis = found(hour(power_w=power), **ALL)
    # 40 minutes of 6 kW = 4 kWh over 40 tool-minutes: 6 kWh per tool-hour, not 3
    assert value(analysis, "energy_per_tool_hour_wh") == pytest.approx(6_000)
    assert analysis.figure("energy_per_tool_hour_wh").covered_ratio == pytest.approx(40 / 60)


def test_what_is_not_known_of_the_tools_is_left_out():
    tools = TOOLS.copy()
    tools[10:20] = np.nan
    analysis = found(hour(tools_count=tools), **ALL)
    assert analysis.figure("tool_s").covered_ratio == pytest.approx(49 / 60)
    # 49 minutes of 6 kW = 4.9 kWh over 2 x 29 tool-minutes
    expected = 4_900 / (58 / 60)
    assert value(analysis, "energy_per_tool_hour_wh") == pytest.approx(expected)


@pytest.mark.parametrize(
    ("section", "changed", "says"),
    [
        ({}, {}, "name the point that counts them in 'tools'"),
        ({"tools": "tools_count"}, {"tools_count": np.zeros(61)}, "No tool was served"),
        ({"tools": "other_count"}, {}, "'other_count' is not recorded"),
        (ALL, {"power_w": np.full(61, np.nan)}, "'power_w' is not recorded"),
    ],
)
def test_what_cannot_be_backed_is_refused_with_the_reason(section, changed, says):
    figure = found(hour(**changed), **section).figure("energy_per_tool_hour_wh")
    assert figure.value is None
    assert says in figure.why


def test_the_meter_s_uncertainty_goes_through():
    section = {**ALL, "metering": {"limit_ratio": 0.02}}
    figure = found(hour(), **section).figure("energy_per_tool_hour_wh")
    assert figure.standard_uncertainty == pytest.approx(4_500 * 0.02 / np.sqrt(3), rel=1e-9)


def test_tools_are_told_in_one_way():
    signal = {"point": "inlet_state", "values": [1]}
    with pytest.raises(ValidationError, match="either 'tools'"):
        parameters_of("scrubber", {"tools": "tools_count", "serving": signal})


@pytest.mark.parametrize(
    ("changed", "per"),
    [
        ({"power_w": np.full(61, -3.0)}, "energy_per_tool_hour_wh"),
        ({"fuel_m3_s": np.full(61, -1e-7)}, "fuel_per_tool_hour_m3"),
    ],
)
def test_a_zero_that_drifted_below_0_breaks_nothing(changed, per):
    analysis = found(hour(**changed), **ALL)
    assert "Look at the zero" in analysis.figure(per).why
    assert value(analysis, "water_per_tool_hour_m3") == pytest.approx(4.5)


def test_a_counter_of_litres_tells_what_one_of_cubic_metres_does_not_reach():
    litres = 100_000.0 + np.arange(61) * 5  # 300 litres in the hour
    analysis = found(hour(water_dm3=litres), **{**ALL, "water": "water_dm3"})
    assert value(analysis, "water_m3") == pytest.approx(0.3)
    assert value(analysis, "unused_water_m3") == pytest.approx(0.1)
