from zoneinfo import ZoneInfo

import numpy as np
import pytest

from joulemark_agent.equipment.air_compressor import Parameters, analyse
from joulemark_agent.equipment.base import US_PER_S, Samples
from joulemark_agent.equipment.compressor_cycles import demand_share
from nightly.compressed_air_leaks import Network, naive_share, read, run, states_in

CAPACITY = 10 / 60
ALONE = {"pressure": "pressure_pa", "only_source": True, "capacity_m3_s": CAPACITY}
HOUR_US = 3600 * US_PER_S


def at(poll_s, ratio=0.1, hours=4.0, **kwargs) -> Samples:
    given = {"begin_s": 17.3, "noise_pa": 1000.0, "seed": 5, **kwargs}
    return read(Network(ratio), poll_s, hours, **given)


def test_leaks_from_cycles_are_right_or_not_resolved_and_the_naive_share_is_wrong():
    figures = run(11, full=False)
    assert "resolved 10 of 10" in figures["worst error at 1 s"]
    assert "resolved 0 of 10" in figures["worst error at 30 s"]


@pytest.mark.parametrize("ratio", [0.05, 0.1, 0.25, 0.5])
def test_the_demand_comes_with_an_uncertainty_that_holds_the_truth(ratio):
    analysis = analyse(Parameters(**ALONE), at(1.0, ratio))
    flow, share = analysis.figure("demand_m3_s"), analysis.figure("demand_ratio")
    assert flow.value is not None
    assert flow.value == pytest.approx(ratio * CAPACITY, rel=0.02)
    assert share.value == pytest.approx(ratio, rel=0.02)
    assert flow.standard_uncertainty is not None
    assert abs(flow.value - ratio * CAPACITY) <= 3 * flow.standard_uncertainty


def test_cycles_that_keep_step_with_the_readings_are_not_counted():
    """13.3 s loads every 250 s, read every 5 s: each is counted as 10 s or as 15 s."""
    cycle_s, loaded_s = 250.0, 13.3
    t_s = np.arange(0, 4 * 3600, 5.0)
    is_loaded = (t_s + 4.2) % cycle_s < loaded_s
    power = np.where(is_loaded, 75_000.0, 22_000.0)
    values = {"power_w": power, "pressure_pa": np.full(t_s.size, np.nan)}
    samples = Samples((t_s * US_PER_S).astype(np.int64), values, 8 * US_PER_S)
    assert abs(naive_share(samples) / (loaded_s / cycle_s) - 1) > 0.1
    figure = analyse(Parameters(**ALONE), samples).figure("demand_m3_s")
    assert (figure.value, figure.flags) == (None, ("unresolved",))


@pytest.mark.parametrize("blowdown_s", [3.0, 10.0, 20.0])
def test_power_that_falls_slowly_tells_no_leak_and_the_pressure_does(blowdown_s):
    samples = at(1.0, blowdown_s=blowdown_s)
    found = analyse(Parameters(**ALONE), samples).figure("demand_ratio")
    assert found.value == pytest.approx(0.1, rel=0.02)
    states = states_in(samples)
    counted = np.mean(states.labels == 2) / 0.1 - 1
    assert counted > 0.02, "the share of time is not"
    blind = demand_share(samples, states, None)
    assert isinstance(blind, str)
    assert "falls slowly" in blind


def test_a_slow_poll_is_named():
    figure = analyse(Parameters(**ALONE), at(30.0)).figure("demand_m3_s")
    assert (figure.value, figure.flags) == (None, ("unresolved",))
    assert "read it at least 3 times" in figure.why


def test_a_pressure_that_contradicts_the_times_is_not_resolved():
    """Another machine feeds the network: it falls too slowly."""
    samples = at(1.0)
    drift = np.arange(samples.t_us.size) * 300.0
    values = {**samples.values, "pressure_pa": samples.values["pressure_pa"] + drift}
    other = Samples(samples.t_us, values, samples.max_gap_us)
    figure = analyse(Parameters(**ALONE), other).figure("demand_m3_s")
    assert figure.value is None
    assert "by the pressure" in figure.why


def test_without_the_only_source_nothing_is_claimed():
    section = {**ALONE, "only_source": False}
    figure = analyse(Parameters(**section), at(1.0)).figure("demand_m3_s")
    assert figure.value is None
    assert "only_source" in figure.why


def test_the_storage_is_found_under_noise():
    samples = at(1.0, 0.3, noise_pa=3000.0)
    figure = analyse(Parameters(**ALONE), samples).figure("storage_m3")
    assert figure.value is not None
    assert figure.value == pytest.approx(2.0, rel=0.05)
    assert figure.standard_uncertainty is not None
    assert abs(figure.value - 2.0) <= 3 * figure.standard_uncertainty


def test_leaks_are_those_of_the_quiet_hours_of_the_site():
    """Production by day draws 60 %, the night only leaks, 8 %: by the clock in Seoul."""
    night, day = at(2.0, 0.08, 6.0), at(2.0, 0.6, 6.0)
    size = night.t_us.size - 1
    zone = ZoneInfo("Asia/Seoul")
    start_us = 13 * HOUR_US  # 22:00 in Seoul
    values = {
        name: np.concatenate([night.values[name][:size], day.values[name]]) for name in night.values
    }
    t_us = np.concatenate([night.t_us[:size], night.t_us[size] + day.t_us]) + start_us
    samples = Samples(t_us, values, night.max_gap_us, zone=zone)
    quiet = [{"start": "22:05", "end": "03:55"}]
    analysis = analyse(Parameters(**ALONE, quiet=quiet), samples)
    leak = analysis.figure("leak_m3_s")
    assert leak.value == pytest.approx(0.08 * CAPACITY, rel=0.02)
    assert analysis.figure("leak_ratio").value == pytest.approx(0.08, rel=0.02)
    wrong = [{"start": "13:05", "end": "18:55"}]  # the same hours, were the clock UTC
    assert analyse(Parameters(**ALONE, quiet=wrong), samples).figure("leak_m3_s").value is None


def test_the_controller_s_counters_serve_where_reading_is_too_slow():
    network = Network(0.1)
    t_s = np.arange(0, 12 * 3600 + 1, 60.0)
    cycles, rest_s = np.divmod(t_s, network.cycle_s)
    loaded_s = np.floor(cycles * network.loaded_s + np.minimum(rest_s, network.loaded_s))
    values = {
        "power_w": np.where(rest_s < network.loaded_s, 75_000.0, 22_000.0),
        "pressure_pa": np.full(t_s.size, 6.5e5),
        "loaded_time_s": loaded_s,
        "loads_count": cycles + 1,
    }
    samples = Samples((t_s * US_PER_S).astype(np.int64), values, 90 * US_PER_S)
    blind = analyse(Parameters(**ALONE), samples).figure("demand_m3_s")
    assert blind.flags == ("unresolved",)
    hours = {"loaded": "loaded_time_s", "loads": "loads_count"}
    figure = analyse(Parameters(**ALONE, load_hours=hours), samples).figure("demand_m3_s")
    assert figure.value == pytest.approx(0.1 * CAPACITY, rel=0.02)
    assert figure.flags == ("from_hours",)
    short = Samples(samples.t_us[:30], {n: v[:30] for n, v in values.items()}, 90 * US_PER_S)
    assert analyse(Parameters(**ALONE, load_hours=hours), short).figure("demand_m3_s").value is None


def test_a_flow_meter_is_asked_before_the_cycles():
    samples = at(1.0)
    values = {**samples.values, "air_m3_s": np.full(samples.t_us.size, 0.0123)}
    metered = Samples(samples.t_us, values, samples.max_gap_us)
    flow = {"point": "air_m3_s", "reference": "fad"}
    analysis = analyse(Parameters(**ALONE, flow=flow), metered)
    assert analysis.figure("demand_m3_s").value == pytest.approx(0.0123)
    assert analysis.figure("demand_m3_s").flags == ("metered",)


def test_states_are_those_of_the_simulated_machine():
    samples = at(1.0, 0.5)
    share = np.mean(states_in(samples).labels == 2)
    assert share == pytest.approx(0.5, abs=0.01)
