import numpy as np
import pytest
from pydantic import ValidationError

from joulemark_agent.equipment.air_compressor import Parameters, analyse
from joulemark_agent.equipment.base import US_PER_S, Samples
from nightly import compressed_air_states
from support.analyses import value

CYCLE = [100.0] * 30 + [75_000.0] * 60 + [30_000.0] * 110  # off, load, unload
SPEED_CONTROL = {
    "type": "speed", "full_load_w": 80_000, "turndown_ratio": 0.25, "turndown_w": 24_000,
    "middle_ratio": 0.6, "middle_w": 46_000,
}  # fmt: skip


def samples_of(power_w, **columns) -> Samples:
    power = np.array(power_w, np.float64)
    values = {name: np.array(column, np.float64) for name, column in columns.items()}
    t_us = np.arange(power.size) * US_PER_S
    return Samples(t_us, {"power_w": power, **values}, 3 * US_PER_S)


@pytest.mark.parametrize("seed", [7, 8])
def test_a_labelled_week_is_found_again_without_levels_and_without_chatter(seed):
    samples, truth = compressed_air_states.week(seed)
    states = compressed_air_states.states_in(samples)
    assert compressed_air_states.macro_f1(states.labels, truth[:-1]) >= 0.99
    assert compressed_air_states.spurious(states.labels, truth[:-1]) <= 7


def test_the_nightly_check_of_states_holds():
    assert float(compressed_air_states.run(3, full=False)["least macro-F1"]) >= 0.99


def test_whole_cycles_and_starts_are_counted():
    analysis = analyse(Parameters(), samples_of([*CYCLE * 5, 100.0]))
    assert value(analysis, "load_count") == 5
    assert value(analysis, "start_count") == 5
    assert value(analysis, "cycle_count") == 4, "the last is cut off by the window"


def test_the_controller_s_status_is_believed_before_the_power():
    status = [2] * 50 + [1] * 50 + [9] * 20 + [0] * 30
    samples = samples_of([75_000.0] * 150, status_state=status)
    section = {"point": "status_state", "stopped": [0], "unloaded": [1], "loaded": [2]}
    analysis = analyse(Parameters(status=section), samples)
    assert [value(analysis, f"{kind}_s") for kind in ("load", "unload", "off")] == [50, 50, 29]
    assert value(analysis, "unknown_s") == 20, "what the section does not name is unknown"


def test_a_status_that_is_not_recorded_leaves_the_power():
    section = {"point": "status_state", "loaded": [2]}
    analysis = analyse(Parameters(status=section), samples_of(CYCLE * 3))
    assert value(analysis, "load_s") == pytest.approx(180, abs=1)


def test_variable_speed_shows_no_unloading_in_its_power_and_its_speed_does():
    power = [100.0] * 30 + [24_000.0] * 60 + [70_000.0] * 60
    speed = [0.0] * 30 + [20.0] * 20 + [25.0] * 40 + [50.0] * 60
    samples = samples_of(power, motor_hz=speed)
    declared = {"control": SPEED_CONTROL, "capacity_m3_s": 0.2}
    blind = analyse(Parameters(**declared), samples)
    assert blind.figure("unload_s").value is None
    assert "give its speed" in blind.figure("unload_s").why
    assert value(blind, "running_s") == 119
    section = {"point": "motor_hz", "off_below": 1, "unload_below": 22}
    seeing = analyse(Parameters(**declared, speed=section), samples)
    assert [value(seeing, f"{kind}_s") for kind in ("off", "unload", "load")] == [30, 20, 99]


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"status": {"point": "status_state", "stopped": [1], "loaded": [1]}}, "means one of"),
        ({"status": {"point": "power_w", "loaded": [1]}}, "name one in"),
        ({"speed": {"point": "motor_hz", "off_below": 20, "unload_below": 10}}, "less than"),
        ({"control": SPEED_CONTROL}, "give capacity_m3_s"),
        ({"quiet": [{"start": "02:00", "end": "05:00"}]}, "give capacity_m3_s"),
        ({"quiet": [{"start": "2:00", "end": "05:00"}], "capacity_m3_s": 1}, "pattern"),
        ({"quiet": [{"start": "02:00", "end": "02:00"}], "capacity_m3_s": 1}, "the same"),
        ({"control": {"type": "blower"}, "capacity_m3_s": 1}, "load_unload"),
        (
            {"control": {**SPEED_CONTROL, "middle_ratio": 0.1}, "capacity_m3_s": 1},
            "middle_ratio",
        ),
        ({"drops": {"Dryer 1": {"before": "a_pa", "after": "b_pa"}}}, "pattern"),
    ],
)
def test_a_section_that_cannot_be_meant_is_refused(section, says):
    with pytest.raises(ValidationError, match=says):
        Parameters.model_validate(section)
