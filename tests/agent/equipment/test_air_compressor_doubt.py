"""What a compressor's samples do not tell: no number where a plausible one would be wrong."""

from zoneinfo import ZoneInfo

import numpy as np
import pytest

from joulemark_agent.equipment.air_compressor import Parameters, analyse
from joulemark_agent.equipment.base import US_PER_S, Figure, Samples
from joulemark_agent.equipment.compressor_demand import Quiet, quiet_samples
from joulemark_agent.equipment.compressor_house import sequence
from joulemark_agent.equipment.compressor_savings import leak_cost_figures
from nightly.compressed_air_leaks import Network, read

CAPACITY = 10 / 60
ALONE = {"pressure": "pressure_pa", "only_source": True, "capacity_m3_s": CAPACITY}
FLOW = {"point": "air_m3_s", "reference": "fad"}
SCREW = {
    "type": "load_unload", "full_load_w": 75_000, "no_load_w": 22_000, "storage_m3": 2.0,
    "full_load_gauge_pa": 6e5, "most_gauge_pa": 7e5,
}  # fmt: skip
LOWER = {"lower_by_pa": 50_000}
HOUR_S = 3600


def samples_of(size: int = HOUR_S + 1, **columns) -> Samples:
    values = {
        name: np.broadcast_to(np.asarray(column, np.float64), (size,)).copy()
        for name, column in columns.items()
    }
    return Samples(np.arange(size, dtype=np.int64) * US_PER_S, values, 3 * US_PER_S)


def at(ratio: float, hours: float = 4.0) -> Samples:
    return read(Network(ratio), 1.0, hours, begin_s=17.3, noise_pa=1000.0, seed=5)


def with_columns(samples: Samples, **columns) -> Samples:
    return Samples(samples.t_us, {**samples.values, **columns}, samples.max_gap_us)


def joined(*parts: Samples) -> Samples:
    columns = {
        name: np.concatenate([part.values[name] for part in parts]) for name in parts[0].values
    }
    return samples_of(len(columns["power_w"]), **columns)


def found(declared, samples: Samples, name: str) -> Figure:
    return analyse(Parameters.model_validate(declared), samples).figure(name)


# Demand from cycles


@pytest.mark.parametrize("drift_pa_s", [1000.0, 5000.0])
def test_a_pressure_that_rises_at_rest_denies_the_times(drift_pa_s):
    samples = at(0.1)
    drift = np.arange(samples.t_us.size) * drift_pa_s
    other = with_columns(samples, pressure_pa=samples.values["pressure_pa"] + drift)
    figure = found(ALONE, other, "demand_m3_s")
    assert (figure.value, figure.flags) == (None, ("unresolved",))


def test_a_pressure_that_does_not_follow_the_loads_tells_no_demand():
    samples = at(0.1)
    dead = with_columns(samples, pressure_pa=np.full(samples.t_us.size, 6e5))
    figure = found(ALONE, dead, "demand_m3_s")
    assert figure.value is None
    assert "sensor" in figure.why


def test_hours_of_load_do_not_overrule_a_pressure_that_denies_them():
    samples = at(0.1)
    is_loaded = samples.values["power_w"] > 50_000
    other = with_columns(
        samples,
        pressure_pa=samples.values["pressure_pa"] + np.arange(samples.t_us.size) * 1000.0,
        loaded_time_s=np.cumsum(is_loaded).astype(float),
        loads_count=np.cumsum(np.diff(is_loaded, prepend=False) & is_loaded).astype(float),
    )
    hours = {"loaded": "loaded_time_s", "loads": "loads_count"}
    assert found({**ALONE, "load_hours": hours}, other, "demand_m3_s").value is None


def test_cycles_of_one_half_say_nothing_of_hours_at_full_load():
    """Four hours loaded without a break, then cycles at a tenth: the mean is 55 %."""
    base = samples_of(4 * HOUR_S, power_w=75_000, pressure_pa=6.5e5)
    figure = found(ALONE, joined(base, at(0.1)), "demand_ratio")
    assert figure.value is None
    assert "another share" in figure.why


def test_gaps_that_cut_long_cycles_do_not_raise_the_demand():
    """One reading in a hundred is missing: of short cycles more are whole."""
    samples = joined(at(0.6), at(0.1))
    whole = found(ALONE, samples, "demand_ratio")
    assert whole.value == pytest.approx(0.35, rel=0.01)
    is_missing = np.random.default_rng(0).random(samples.t_us.size) < 0.01
    power = np.where(is_missing, np.nan, samples.values["power_w"])
    assert found(ALONE, with_columns(samples, power_w=power), "demand_ratio").value is None


def test_gaps_in_an_even_demand_do_no_harm():
    samples = at(0.1)
    is_missing = np.random.default_rng(0).random(samples.t_us.size) < 0.005
    power = np.where(is_missing, np.nan, samples.values["power_w"])
    figure = found(ALONE, with_columns(samples, power_w=power), "demand_ratio")
    assert figure.value == pytest.approx(0.1, rel=0.02)
    assert figure.covered_ratio is not None
    assert figure.covered_ratio < 0.6


@pytest.mark.parametrize(
    "declared",
    [
        {"speed": {"point": "motor_hz", "off_below": 1, "unload_below": 5}},
        {"control": {**SCREW, "modulating_pa": 5e4, "unload_ratio": 0.5}},
    ],
    ids=["speed", "throttle"],
)
def test_a_machine_that_delivers_less_than_its_capacity_tells_nothing_by_its_cycles(declared):
    samples = at(0.3)
    turning = np.where(samples.values["power_w"] > 50_000, 20.0, 0.0)
    analysis = analyse(Parameters(**ALONE, **declared), with_columns(samples, motor_hz=turning))
    assert analysis.figure("demand_m3_s").value is None
    assert "flow meter" in analysis.figure("demand_m3_s").why
    names = {figure.name for figure in analysis.figures}
    assert "storage_m3" not in names
    assert "expected_wh" not in names or analysis.figure("expected_wh").value is None


def test_a_flow_beyond_the_capacity_is_marked():
    samples = samples_of(power_w=75_000, air_m3_s=1.5 * CAPACITY)
    figure = found({"capacity_m3_s": CAPACITY, "flow": FLOW}, samples, "demand_ratio")
    assert "capacity_exceeded" in figure.flags


# States


def test_inrush_is_no_loaded_level():
    """A machine that starts and stops: 5 s of inrush, then a minute at its only level."""
    power = ([100.0] * 60 + [150_000.0] * 5 + [75_000.0] * 60) * 20
    analysis = analyse(Parameters(), samples_of(len(power), power_w=power))
    assert analysis.figure("unload_s").value is None
    assert analysis.figure("running_s").value == pytest.approx(1299, abs=1)


@pytest.mark.parametrize(
    "declared",
    [
        {"speed": {"point": "motor_hz", "off_below": 1, "unload_below": 5}},
        {
            "control": {"type": "modulation", "full_load_w": 75_000, "no_load_w": 20_000},
            "capacity_m3_s": CAPACITY,
        },
    ],
    ids=["speed not recorded", "throttle"],
)
def test_two_levels_of_a_machine_that_follows_its_flow_are_no_unloading(declared):
    power = np.where(np.arange(HOUR_S + 1) < 1800, 70_000, 24_000)
    analysis = analyse(Parameters.model_validate(declared), samples_of(power_w=power))
    assert analysis.figure("unload_wh").value is None
    assert analysis.figure("running_s").value == HOUR_S


def test_learned_levels_are_said_to_be_learned():
    power = np.where(np.arange(HOUR_S + 1) % 100 < 40, 75_000, 22_000)
    figure = found({}, samples_of(power_w=power), "unload_wh")
    assert figure.flags == ("learned",)
    levels = {"loaded_w": 75_000, "unloaded_w": 22_000}
    assert found(levels, samples_of(power_w=power), "unload_wh").flags == ()


def test_a_load_that_goes_on_after_a_gap_is_one_load():
    power = np.array(([22_000.0] * 30 + [75_000.0] * 60) * 5)
    power[45] = np.nan
    levels = {"loaded_w": 75_000, "unloaded_w": 22_000}
    assert found(levels, samples_of(power.size, power_w=power), "load_count").value == 5


def test_a_gap_does_not_make_a_base_machine_the_trim():
    size = 4 * HOUR_S + 1
    second = np.arange(size)
    base = np.where(second % 50 == 7, np.nan, 75_000.0)
    base[second % 4000 < 20] = 22_000.0
    trim = np.where(second % 300 < 100, 75_000.0, 22_000.0)
    levels = {"loaded_w": 75_000, "unloaded_w": 22_000}
    machines = {
        name: analyse(Parameters.model_validate(levels), samples_of(size, power_w=power))
        for name, power in (("base", base), ("trim", trim))
    }
    house = sequence(machines)
    assert house.figure("base_trim_s").value == 0


def test_a_bad_power_under_a_good_status_is_missing_energy_and_no_nan():
    power = np.full(201, 75_000.0)
    power[50] = np.nan
    status = {"point": "unit_state", "stopped": [0], "loaded": [2]}
    analysis = analyse(Parameters(status=status), samples_of(201, power_w=power, unit_state=2))
    for name in ("energy_wh", "load_wh"):
        assert analysis.figure(name).value == pytest.approx(75_000 * 198 / 3600)
        assert analysis.figure(name).covered_ratio == pytest.approx(198 / 200)
    assert analysis.figure("load_s").value == 200


def test_energy_under_a_bad_status_is_energy_still():
    state = np.full(201, 2.0)
    state[50:100] = np.nan
    status = {"point": "unit_state", "loaded": [2]}
    samples = samples_of(201, power_w=75_000, unit_state=state)
    assert found({"status": status}, samples, "energy_wh").value == pytest.approx(75_000 / 18)


# What it should draw, and savings


def test_a_machine_that_is_switched_off_should_draw_nothing():
    running = np.arange(2 * HOUR_S + 1) >= HOUR_S
    samples = samples_of(running.size, power_w=75_000 * running, air_m3_s=CAPACITY * running)
    declared = {"capacity_m3_s": CAPACITY, "control": SCREW, "flow": FLOW}
    assert found(declared, samples, "expected_wh").value == pytest.approx(75_000, rel=1e-3)
    ratio = found(declared, samples, "actual_to_expected_ratio").value
    assert ratio == pytest.approx(1.0, rel=1e-3)


def test_part_of_a_cycle_does_not_tell_what_should_be_drawn():
    """A window of 15 minutes with one change from load to unload."""
    power = np.where(np.arange(901) < 300, 75_000, 22_000)
    declared = {"capacity_m3_s": CAPACITY, "control": SCREW, "loaded_w": 75e3, "unloaded_w": 22e3}
    figure = found(declared, samples_of(901, power_w=power), "expected_wh")
    assert figure.value is None
    assert "whole cycles" in figure.why


def test_a_machine_that_idles_through_the_window_saves_nothing_by_less_pressure():
    samples = samples_of(901, power_w=22_000, header_gauge_pressure_pa=7e5)
    declared: dict[str, object] = {"pressure": "header_gauge_pressure_pa", "less_pressure": LOWER}
    unsaid = found(declared, samples, "pressure_saving_wh")
    assert "overstates" in unsaid.flags
    declared |= {"control": SCREW, "capacity_m3_s": CAPACITY}
    assert found(declared, samples, "pressure_saving_wh").value is None
    flowing = with_columns(samples, air_m3_s=np.where(np.arange(901) < 300, CAPACITY, 0.0))
    third = found({**declared, "flow": FLOW}, flowing, "pressure_saving_wh").value
    assert third == pytest.approx((unsaid.value or 0.0) / 3, rel=0.01)


def test_a_month_of_a_large_machine_has_savings_too():
    t_us = np.arange(744 * 4 + 1, dtype=np.int64) * 900 * US_PER_S
    columns = {"power_w": 2e6, "wet_gauge_pressure_pa": 7.3e5, "dry_gauge_pressure_pa": 7e5}
    values = {name: np.full(t_us.size, level) for name, level in columns.items()}
    samples = Samples(t_us, values, 1500 * US_PER_S)
    drop = {"before": "wet_gauge_pressure_pa", "after": "dry_gauge_pressure_pa"}
    declared = {
        "pressure": "wet_gauge_pressure_pa", "less_pressure": LOWER, "drops": {"dryer": drop}
    }  # fmt: skip
    for name in ("pressure_saving_wh", "dryer_drop_wh"):
        assert (found(declared, samples, name).value or 0.0) > 1e7


def test_a_drop_between_pressures_of_unknown_kind_costs_what_nobody_knows():
    drops = {"dryer": {"before": "wet_pa", "after": "dry_pa"}}
    samples = samples_of(power_w=75_000, wet_pa=8e5, dry_pa=7.7e5)
    assert found({"drops": drops}, samples, "dryer_drop_pa").value == pytest.approx(3e4)
    assert "pressure_is" in found({"drops": drops}, samples, "dryer_drop_wh").why


@pytest.mark.parametrize("name", ["leak_saving_wh", "leak_at_mean_wh"])
def test_leaks_of_a_machine_that_is_switched_off_save_no_more_than_it_draws(name):
    running = np.arange(2 * HOUR_S + 1) < HOUR_S / 2
    samples = samples_of(running.size, power_w=40_000 * running, air_m3_s=0.1 * CAPACITY * running)
    quiet = [{"start": "00:00", "end": "00:30"}]
    declared = {"capacity_m3_s": CAPACITY, "control": SCREW, "flow": FLOW, "quiet": quiet}
    figure = found(declared, samples, name)
    assert (figure.value, figure.flags) == (None, ("unresolved",))


def test_a_saving_is_never_negative_where_the_curve_falls():
    saving, _ = leak_cost_figures(
        leak=Figure("leak_m3_s", 0.01),
        demand_m3_s=0.1,
        capacity_m3_s=0.1,
        curve=lambda c: 80_000 - 5_000 * c,
        mean_j_m3=1e6,
        span_s=3600.0,
    )
    assert (saving.value, saving.flags) == (None, ("unresolved",))


def test_a_leak_is_a_lower_bound_where_others_may_feed_it():
    samples = samples_of(power_w=75_000, air_m3_s=0.1 * CAPACITY)
    quiet = [{"start": "00:00", "end": "00:30"}]
    declared = {"capacity_m3_s": CAPACITY, "flow": FLOW, "quiet": quiet}
    assert "lower_bound" in found(declared, samples, "leak_m3_s").flags


def test_a_machine_at_rest_recovers_no_heat_and_that_is_no_fault():
    heat = {"flow": "water_m3_s", "supply": "water_in_k", "back": "water_out_k"}
    samples = samples_of(901, power_w=0, water_m3_s=0, water_in_k=293, water_out_k=293)
    assert found({"heat": heat}, samples, "recovered_wh").value == 0
    assert "drew nothing" in found({"heat": heat}, samples, "recovered_ratio").why


# Quiet hours


def test_a_gap_over_the_day_is_not_quiet():
    """Two nights are read, the day between them is not: its loads are no leaks."""
    hours = np.concatenate([np.arange(0, 5, 1 / 60), np.arange(24, 29, 1 / 60)])
    t_us = np.rint(hours * HOUR_S).astype(np.int64) * US_PER_S
    samples = Samples(t_us, {}, 90 * US_PER_S)
    inside = quiet_samples([Quiet(start="00:00", end="05:00")], samples)
    assert not inside[299]
    assert inside[:299].all()
    assert inside[300:].all()


def test_quiet_hours_follow_the_clock_when_it_changes():
    """Berlin, 2024-03-31: from 01:30 to 03:30 by the clock is one hour."""
    start_us = 1_711_839_600 * US_PER_S  # midnight there
    t_us = start_us + np.arange(6 * 60 + 1, dtype=np.int64) * 60 * US_PER_S
    samples = Samples(t_us, {}, 90 * US_PER_S, zone=ZoneInfo("Europe/Berlin"))
    inside = quiet_samples([Quiet(start="01:30", end="03:30")], samples)
    assert np.flatnonzero(inside).tolist() == list(range(90, 150))


def test_a_dead_flow_meter_tells_no_demand():
    quiet = [{"start": "00:00", "end": "23:59"}]
    levels = {"loaded_w": 75_000, "unloaded_w": 22_000}
    declared = {"capacity_m3_s": CAPACITY, "flow": FLOW, "quiet": quiet} | levels
    dead = samples_of(power_w=75_000, air_m3_s=0)
    assert found(declared, dead, "demand_m3_s").flags == ("unresolved",)
    assert found(declared, dead, "leak_m3_s").value is None
    idle = samples_of(power_w=22_000, air_m3_s=0)
    assert found(declared, idle, "demand_m3_s").value == 0
