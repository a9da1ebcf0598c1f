from functools import partial

import numpy as np
import pytest
from pydantic import ValidationError

from joulemark_agent.equipment import Samples, parameters_of
from support.analyses import analysed, value

START_US, MINUTE_US = 1_700_000_000_000_000, 60_000_000
# 20 minutes of process at 3 kW and 30 l/min of nitrogen, 30 minutes idle at 1.2 kW and 6 l/min,
# 10 minutes off
MODES = np.repeat([2, 1, 0], [20, 30, 11])
POWER_W = np.array([0.0, 1_200.0, 3_000.0])[MODES]
PURGE_M3_S = np.array([0.0, 1e-4, 5e-4])[MODES]
LEVELS = {"process_above_w": 2_000}
METER = {"limit_ratio": 0.01}


def minutes(**points) -> Samples:
    values = {name: np.asarray(column, float) for name, column in points.items()}
    size = len(points["power_w"])
    return Samples(START_US + np.arange(size) * MINUTE_US, values, 3 * MINUTE_US)


found = partial(analysed, "vacuum_pump")


@pytest.mark.parametrize("section", [LEVELS, {}, {"purge": "purge_m3_s"}])
def test_modes_and_savings_by_hand(section):
    # process 3 kW x 1/3 h = 1,000 Wh; idle 1.2 kW x 1/2 h = 600 Wh; idling saved 1.8 kW x 1/2 h
    analysis = found(minutes(power_w=POWER_W, purge_m3_s=PURGE_M3_S), **section)
    assert value(analysis, "process_s") == 1200
    assert value(analysis, "idle_s") == 1800
    assert value(analysis, "off_s") == 600
    assert value(analysis, "process_wh") == pytest.approx(1000, rel=1e-12)
    assert value(analysis, "idle_wh") == pytest.approx(600, rel=1e-12)
    assert value(analysis, "energy_wh") == pytest.approx(1600, rel=1e-12)
    assert value(analysis, "idle_saving_wh") == pytest.approx(900, rel=1e-12)
    assert [span.kind for span in analysis.spans] == ["process", "idle", "off"]
    assert analysis.figure("idle_wh").flags == (() if section is LEVELS else ("learned",))


def test_nitrogen_is_counted_by_mode():
    # 30 l/min x 20 min = 0.6 m3, 6 l/min x 30 min = 0.18 m3
    samples = minutes(power_w=POWER_W, purge_m3_s=PURGE_M3_S)
    analysis = found(samples, purge="purge_m3_s")
    assert value(analysis, "process_purge_m3") == pytest.approx(0.6)
    assert value(analysis, "idle_purge_m3") == pytest.approx(0.18)
    assert value(analysis, "purge_m3") == pytest.approx(0.78)


def test_purge_alone_tells_the_modes_where_power_does_not():
    samples = minutes(power_w=np.full(61, 3_000.0), purge_m3_s=PURGE_M3_S + 1e-5)
    analysis = found(samples, purge="purge_m3_s", purge_above_m3_s=3e-4)
    assert (value(analysis, "process_s"), value(analysis, "idle_s")) == (1200, 2400)
    assert value(analysis, "idle_saving_wh") == pytest.approx(0.0, abs=1e-9)


def test_a_purge_at_its_process_level_is_no_idling_whatever_the_power():
    purge = np.where(MODES == 1, 5e-4, PURGE_M3_S)
    samples = minutes(power_w=POWER_W, purge_m3_s=purge)
    analysis = found(samples, **LEVELS, purge="purge_m3_s", purge_above_m3_s=3e-4)
    assert value(analysis, "idle_s") == 0
    assert value(analysis, "process_s") == 3000
    assert value(analysis, "idle_saving_wh") == 0


def test_without_two_levels_no_idle_time_is_claimed():
    rng = np.random.default_rng(5)
    analysis = found(minutes(power_w=3_000 + rng.normal(0, 30, 61)))
    for name in ("idle_s", "idle_wh", "process_wh", "idle_saving_wh"):
        assert analysis.figure(name).value is None
        assert "process_above_w" in analysis.figure(name).why
    assert value(analysis, "running_s") == 3600
    assert value(analysis, "energy_wh") == pytest.approx(3_000, rel=0.01)


def test_process_mode_while_nothing_needs_the_pump_can_still_be_saved():
    # not needed in minutes 10 to 19 (process mode) and 20 to 29 (idle already): 10 minutes count,
    # (3 kW - 1.2 kW) x 1/6 h = 300 Wh
    needed = np.ones(61)
    needed[10:30] = 0
    samples = minutes(power_w=POWER_W, tool_state=needed)
    section = {**LEVELS, "needed": {"point": "tool_state", "values": [1]}}
    analysis = found(samples, **section)
    assert value(analysis, "idle_candidate_wh") == pytest.approx(300, rel=1e-12)
    assert [finding.code for finding in analysis.findings] == ["pump_not_idled"]
    assert value(found(samples, **section, idle_w=600), "idle_candidate_wh") == pytest.approx(400)


def test_a_pump_that_never_idled_needs_its_idle_power_declared():
    samples = minutes(power_w=np.full(61, 3_000.0), tool_state=np.zeros(61))
    section = {"needed": {"point": "tool_state", "values": [1]}}
    assert "idle_w" in found(samples, **section).figure("idle_candidate_wh").why
    candidate = found(samples, **section, idle_w=1_200).figure("idle_candidate_wh")
    assert candidate.value == pytest.approx(1_800)
    assert candidate.flags == ("declared",)
    assert found(samples, **section, idle_w=4_000).figure("idle_candidate_wh").value is None


def test_a_state_of_the_tool_that_is_unknown_is_no_candidate():
    needed = np.zeros(61)
    needed[5:15] = np.nan
    samples = minutes(power_w=POWER_W, tool_state=needed)
    candidate = found(
        samples, **LEVELS, needed={"point": "tool_state", "values": [1]}
    ).figure("idle_candidate_wh")  # fmt: skip
    # of 20 minutes in process mode 4 + 5 are known, both ends of a step being good
    assert candidate.value == pytest.approx(1_800 * 9 / 60)
    assert candidate.covered_ratio == pytest.approx(9 / 20)


def test_what_the_meter_is_sure_of_the_saving_is_in_proportion():
    figure = found(minutes(power_w=POWER_W), **LEVELS, metering=METER).figure("idle_saving_wh")
    assert figure.standard_uncertainty == pytest.approx(900 * 0.01 / np.sqrt(3), rel=1e-9)
    assert (
        found(minutes(power_w=POWER_W), **LEVELS).figure("energy_wh").standard_uncertainty is None
    )


def test_gaps_belong_to_no_mode():
    power = POWER_W.copy()
    power[25:35] = np.nan
    analysis = found(minutes(power_w=power), **LEVELS)
    assert value(analysis, "unknown_s") == 11 * 60
    assert value(analysis, "idle_s") == 19 * 60
    assert analysis.figure("idle_s").covered_ratio == pytest.approx(49 / 60)


def test_a_purge_threshold_needs_the_purge():
    with pytest.raises(ValidationError, match="name the point in 'purge'"):
        parameters_of("vacuum_pump", {"purge_above_m3_s": 1e-4})


def test_two_levels_of_a_quarter_of_an_hour_are_not_learned():
    swings = minutes(power_w=np.where(np.arange(16) % 4 < 2, 3_000.0, 2_500.0))
    analysis = found(swings)
    assert "for an hour or more" in analysis.figure("idle_saving_wh").why
    assert value(found(swings, process_above_w=2_700), "idle_s") > 0


def test_a_pump_that_stands_by_is_off_where_its_process_power_is_declared():
    analysis = found(minutes(power_w=np.full(16, 30.0)), **LEVELS)
    assert value(analysis, "off_s") == 900
    assert value(analysis, "idle_s") == 0


def test_a_saving_tells_the_time_that_it_is_of():
    power = POWER_W.copy()
    power[25:35] = np.nan
    section = {**LEVELS, "needed": {"point": "tool_state", "values": [1]}}
    analysis = found(minutes(power_w=power, tool_state=np.zeros(61)), **section)
    for name in ("idle_saving_wh", "idle_candidate_wh"):
        assert analysis.figure(name).covered_ratio == pytest.approx(49 / 60)
