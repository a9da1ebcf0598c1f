import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.equipment.air_compressor import (
    J_M3_PER_KW_MIN_M3,
    PA_S_PER_BAR_MIN,
    Parameters,
    analyse,
)
from joulemark_agent.equipment.base import (
    US_PER_S,
    Samples,
    Span,
    at_device_time,
    held,
)
from support.analyses import value

DAY_US = 86_400 * US_PER_S
RESERVOIR = Parameters(pressure="reservoir_pressure_pa", only_source=True)
TRUE_LEAKS_BAR_MIN = (-0.0558, -0.0564, -0.0566, -0.0562, -0.0562)


def samples_of(power_w, *, period_s=1, max_gap_s=None, **columns) -> Samples:
    power = np.array(power_w, np.float64)
    t_us = np.arange(power.size) * period_s * US_PER_S
    gap_us = (max_gap_s or 3 * period_s) * US_PER_S
    values = {name: np.array(column, np.float64) for name, column in columns.items()}
    return Samples(t_us, {"power_w": power, **values}, gap_us)


def rate_of(leak: Span) -> float:
    rate = leak.figures[0].value
    assert rate is not None
    return rate


# Recorded machines


@pytest.fixture(scope="module")
def rail(recorded):
    """A rail compressor's motor current and reservoir pressure, at the rows' own instants."""
    table = recorded(
        "metropt3_compressor_head/MetroPT3_first1000.csv.gz", "timestamp", "%Y-%m-%d %H:%M:%S"
    )
    t_us = (table["t_s"] * US_PER_S).astype(np.int64)
    values = {
        "motor_current_a": table["Motor_current"],
        "reservoir_pressure_pa": table["Reservoirs"] * 1e5,
    }
    return Samples(t_us, values, 30 * US_PER_S)


@pytest.fixture(scope="module", params=["rows", "polled"])
def rail_either_way(request, rail):
    """The same, by its own rows and as a register shows it every 10 s with the row's own stamp."""
    if request.param == "rows":
        return rail
    period_us = 10 * US_PER_S
    first = -(-rail.t_us[0] // period_us) * period_us
    slots = np.arange(first, rail.t_us[-1] + period_us, period_us)
    newest = np.searchsorted(rail.t_us, slots, side="right") - 1
    shown = {name: column[newest] for name, column in rail.values.items()}
    stamps_s = rail.t_us[newest] / US_PER_S
    return at_device_time(slots, {**shown, "sampled_at_s": stamps_s}, rail.max_gap_us)


def test_the_rail_compressor_has_exactly_five_leak_episodes_of_the_known_rates(rail_either_way):
    leaks = analyse(RESERVOIR, rail_either_way).spans_of("leak")
    rates = [rate_of(span) / PA_S_PER_BAR_MIN for span in leaks]
    assert rates == pytest.approx(TRUE_LEAKS_BAR_MIN, abs=0.001)
    assert [figure.name for figure in leaks[0].figures] == [
        "leak_pa_s", "duration_s", "residual_pa",
    ]  # fmt: skip


def test_a_straight_line_through_all_samples_misses_one_of_the_rates(rail):
    """Why the rate is taken between the ends: air was drawn in the middle of the fourth episode."""
    span = analyse(RESERVOIR, rail).spans_of("leak")[3]
    inside = (rail.t_us >= span.start_us) & (rail.t_us <= span.end_us)
    t_s = (rail.t_us[inside] - span.start_us) / US_PER_S
    line = np.polyfit(t_s, rail.values["reservoir_pressure_pa"][inside], 1)[0] / PA_S_PER_BAR_MIN
    assert abs(line - TRUE_LEAKS_BAR_MIN[3]) > 0.001


def test_the_rail_compressor_s_charge_is_known(rail_either_way):
    analysis = analyse(RESERVOIR, rail_either_way)
    assert value(analysis, "charge_ah") == pytest.approx(3.0912, rel=0.01)
    assert analysis.figure("energy_wh").value is None
    assert "voltage" in analysis.figure("energy_wh").why


def test_the_rail_compressor_loads_unloads_and_stops_five_times(rail_either_way):
    analysis = analyse(RESERVOIR, rail_either_way)
    kinds = [span.kind for span in analysis.spans if span.kind != "leak"]
    assert kinds == ["off", "load", "unload"] * 5
    assert value(analysis, "load_count") == 5
    assert value(analysis, "loaded_level_a") == pytest.approx(6.1, abs=0.2)
    assert value(analysis, "unloaded_level_a") == pytest.approx(3.9, abs=0.1)


def every(samples: Samples, nth: int) -> Samples:
    values = {name: column[::nth] for name, column in samples.values.items()}
    return Samples(samples.t_us[::nth], values, nth * samples.max_gap_us)


@pytest.mark.parametrize("nth", [2, 6, 12, 18, 24])
def test_a_leak_read_more_seldom_is_the_same_leak(rail, nth):
    leaks = analyse(RESERVOIR, every(rail, nth)).spans_of("leak")
    rates = [rate_of(span) / PA_S_PER_BAR_MIN for span in leaks]
    assert rates == pytest.approx(TRUE_LEAKS_BAR_MIN, abs=0.003)


@pytest.mark.parametrize("nth", [40, 60, 120])
def test_leaks_are_refused_where_the_machine_is_read_too_slowly(rail, nth):
    analysis = analyse(RESERVOIR, every(rail, nth))
    assert analysis.spans_of("leak") == ()
    assert "5 readings in one phase" in analysis.figure("leak_pa_s").why
    assert analysis.figure("load_s").value is None


@pytest.mark.parametrize("nth", [103, 105])
def test_a_machine_that_ran_unseen_between_readings_has_no_leak(rail, nth):
    """Read once in each off phase it looks off for hours: its pressure tells that it was not."""
    analysis = analyse(RESERVOIR.model_copy(update={"rated_current_a": 8.0}), every(rail, nth))
    assert analysis.spans_of("leak") == ()


@pytest.fixture(scope="module")
def house(recorded):
    """Four compressors of one house, 59 s apart with stamps cut to the minute."""
    table = recorded(
        "compressor_house_8x_1min/data-explorer-example_0501-0508.csv.gz",
        "DateTime",
        "%m/%d/%Y %H:%M",
    )
    names = {"A1": "A1 ", "B1": "B1 ", "C1": "C 1", "D1": "D1 "}
    values = {
        f"{name.lower()}_w": table[f"Compressor {column}(kW)"] * 1000
        for name, column in names.items()
    }
    values["header_pressure_pa"] = table["Pressure (psig)"] * 6894.757
    return Samples((table["t_s"] * US_PER_S).astype(np.int64), values, 177 * US_PER_S)


@pytest.mark.parametrize(
    ("machine", "kwh"), [("a1", 4622.288), ("b1", 6641.9), ("c1", 8394.5), ("d1", 10102.4)]
)
def test_the_energy_of_2022_05_07_over_the_stamps_as_in_the_file(house, machine, kwh):
    start_us = 1_651_881_600 * US_PER_S
    day = held(house, f"{machine}_w", np.array([start_us, start_us + DAY_US]))
    assert day.amount[0] / 1000 == pytest.approx(kwh, rel=1e-5)
    assert day.missing_us.tolist() == [0]


def test_rows_times_a_minute_would_count_repeated_stamps_too(house):
    start_us = 1_651_881_600 * US_PER_S
    inside = (house.t_us >= start_us) & (house.t_us < start_us + DAY_US)
    assert house.values["a1_w"][inside].sum() / 60_000 > 4622.288 * 1.01


@pytest.mark.parametrize("machine", ["a1", "c1", "d1"])
def test_a_base_load_machine_runs_and_no_load_time_is_claimed(house, machine):
    parameters = Parameters(power=f"{machine}_w", pressure="header_pressure_pa")
    analysis = analyse(parameters, house)
    assert analysis.figure("load_s").value is None
    assert "no two levels" in analysis.figure("load_s").why
    assert value(analysis, "running_s") == (house.t_us[-1] - house.t_us[0]) / US_PER_S
    assert value(analysis, "running_wh") == pytest.approx(value(analysis, "energy_wh"))


def test_a_header_fed_by_others_shows_no_leak(house):
    analysis = analyse(Parameters(power="a1_w", pressure="header_pressure_pa"), house)
    assert analysis.spans_of("leak") == ()
    assert "only_source" in analysis.figure("leak_pa_s").why
    assert value(analysis, "mean_pressure_pa") == pytest.approx(82.5 * 6894.757, rel=0.02)


# Made machines


CYCLE = [100.0] * 30 + [75_000.0] * 60 + [30_000.0] * 110  # off, load, unload


def test_levels_are_learned_and_each_state_gets_its_time_and_energy():
    analysis = analyse(Parameters(), samples_of([*CYCLE * 5, 100.0]))
    assert [value(analysis, f"{kind}_s") for kind in ("off", "load", "unload")] == [150, 300, 550]
    assert value(analysis, "load_wh") == pytest.approx(75_000 * 300 / 3600)
    assert value(analysis, "unload_wh") == pytest.approx(30_000 * 550 / 3600)
    assert value(analysis, "off_wh") == pytest.approx(100 * 150 / 3600)


def test_levels_are_learned_where_a_machine_is_loaded_for_a_twentieth_of_its_running_time():
    power = ([30_000.0] * 190 + [75_000.0] * 10) * 4
    running = np.array(power)
    assert np.quantile(running, 0.9) == np.quantile(running, 0.1), "quantiles see one level"
    assert value(analyse(Parameters(), samples_of(power)), "load_s") == pytest.approx(40, abs=1)


def test_declared_levels_are_used():
    parameters = Parameters(loaded_w=75_000, unloaded_w=30_000)
    assert value(analyse(parameters, samples_of([30_000.0] * 20)), "unload_s") == 19
    assert value(analyse(parameters, samples_of([74_000.0] * 20)), "load_s") == 19


def test_between_the_thresholds_the_state_stays():
    middle = 30_000 + 0.5 * 45_000
    parameters = Parameters(loaded_w=75_000, unloaded_w=30_000)
    rising = analyse(parameters, samples_of([30_000.0] * 5 + [middle] * 5 + [30_000.0] * 5))
    falling = analyse(parameters, samples_of([75_000.0] * 5 + [middle] * 5 + [75_000.0] * 5))
    assert (value(rising, "load_s"), value(falling, "unload_s")) == (0, 0)


def test_a_start_s_inrush_is_no_load():
    power = [0.0] * 20 + [400_000.0] * 4 + [30_000.0] * 40
    parameters = Parameters(loaded_w=75_000, unloaded_w=30_000)
    analysis = analyse(parameters, samples_of(power))
    assert value(analysis, "load_s") == 0
    assert value(analysis, "energy_wh") == pytest.approx(sum(power[:-1]) / 3600), "but its energy"


def test_one_odd_sample_is_no_state():
    power = [75_000.0] * 20 + [30_000.0] + [75_000.0] * 20
    parameters = Parameters(loaded_w=75_000, unloaded_w=30_000)
    assert value(analyse(parameters, samples_of(power)), "unload_s") == 0


def test_load_time_is_refused_where_phases_are_shorter_than_three_polls():
    power = ([75_000.0] + [30_000.0] * 2) * 40
    analysis = analyse(Parameters(), samples_of(power, period_s=10))
    assert analysis.figure("load_s").value is None
    assert "read it at least 3 times" in analysis.figure("load_s").why
    assert value(analysis, "running_s") == 1190


def test_a_small_current_without_a_rating_is_neither_running_nor_off():
    t_us = np.arange(30) * US_PER_S
    samples = Samples(t_us, {"motor_current_a": np.full(30, 0.04)}, 3 * US_PER_S)
    unrated, rated = Parameters(), Parameters(rated_current_a=8)
    assert analyse(unrated, samples).figure("off_s").value is None
    assert "rated_current_a" in analyse(unrated, samples).figure("running_s").why
    assert value(analyse(rated, samples), "off_s") == 29


@pytest.mark.parametrize("power_w", [0.0, -3.0])
def test_a_machine_that_draws_nothing_is_off_without_a_rating(power_w):
    assert value(analyse(Parameters(), samples_of([power_w] * 20)), "off_s") == 19


def test_a_gap_is_unknown_and_has_no_energy():
    power = np.array(CYCLE)
    power[50:60] = np.nan
    parameters = Parameters(loaded_w=75_000, unloaded_w=30_000)
    analysis = analyse(parameters, samples_of(power))
    assert value(analysis, "unknown_s") == 11
    assert analysis.figure("energy_wh").covered_ratio == pytest.approx(1 - 11 / 199)
    assert value(analysis, "load_s") == 49


powers = st.lists(
    st.floats(0, 1e5) | st.sampled_from([0.0, 3e4, 7.5e4, float("nan")]), min_size=2, max_size=60
)


@given(powers, st.booleans(), st.data())
def test_the_states_partition_the_time_and_the_energy(power_w, is_declared, data):
    steps = data.draw(
        st.lists(st.integers(0, 40), min_size=len(power_w), max_size=len(power_w)).filter(any)
    )
    t_us = np.cumsum(steps) * US_PER_S
    samples = Samples(t_us, {"power_w": np.array(power_w)}, 30 * US_PER_S)
    levels = {"loaded_w": 75_000, "unloaded_w": 30_000} if is_declared else {}
    analysis = analyse(Parameters(**levels), samples)
    named = {figure.name: figure for figure in analysis.figures}
    span_s = (t_us[-1] - t_us[0]) / US_PER_S
    if span_s == 0 or named["running_s"].value is None:
        return
    kinds = ("off", "unload", "load", "running")
    times = [named[f"{kind}_s"].value or 0.0 for kind in kinds]
    assert sum(times) + (named["unknown_s"].value or 0.0) == pytest.approx(span_s)
    energies = [named[f"{kind}_wh"].value or 0.0 for kind in kinds]
    assert sum(energies) == pytest.approx(named["energy_wh"].value or 0.0, abs=1e-6)
    of_spans = sum(span.end_us - span.start_us for span in analysis.spans) / US_PER_S
    assert of_spans == pytest.approx(sum(times))


def test_specific_power_is_energy_over_free_air_while_loaded():
    flow = [0.0] * 30 + [0.2] * 60 + [0.0] * 110
    parameters = Parameters(flow={"point": "flow_m3_s", "reference": "fad"})
    analysis = analyse(parameters, samples_of(CYCLE * 3, flow_m3_s=flow * 3))
    assert value(analysis, "specific_power_j_m3") == pytest.approx(75_000 / 0.2)
    assert value(analysis, "specific_power_j_m3") / J_M3_PER_KW_MIN_M3 == pytest.approx(6.25)
    assert value(analysis, "free_air_m3") == pytest.approx(0.2 * 180)


def test_a_flow_in_normal_cubic_metres_is_told_as_free_air():
    """V1 = V_N (T1 / 273.15) (101.325 / p1) at 1 bar and 20 C, and at a moist inlet."""
    flow = [0.0] * 30 + [0.2] * 60 + [0.0] * 110
    samples = samples_of(CYCLE * 3, flow_m3_s=flow * 3)
    section = {"point": "flow_m3_s", "reference": "normal_0c"}
    analysis = analyse(Parameters(flow=section), samples)
    free_m3 = 0.2 * 180 * 293.15 / 273.15 * 101.325 / 100
    assert value(analysis, "free_air_m3") == pytest.approx(free_m3, rel=1e-12)
    inlet = {"pressure_pa": 98_000, "temperature_k": 303.15, "water_vapour_pa": 2_500}
    moist = analyse(Parameters(flow={**section, "inlet": inlet}), samples)
    moist_m3 = 0.2 * 180 * 303.15 / 273.15 * 101.325 / 95.5
    assert value(moist, "free_air_m3") == pytest.approx(moist_m3, rel=1e-12)


@pytest.mark.parametrize(
    ("flow", "says"),
    [
        (None, "no flow meter"),
        ({"point": "flow_m3_s"}, "set flow.reference"),
        ({"point": "air_flow_m3_s", "reference": "fad"}, "not recorded"),
    ],
)
def test_specific_power_is_refused_without_a_flow_of_known_reference(flow, says):
    samples = samples_of(CYCLE, flow_m3_s=np.full(200, 0.2))
    figure = analyse(Parameters(flow=flow), samples).figure("specific_power_j_m3")
    assert figure.value is None
    assert says in figure.why


def test_a_leak_that_rises_is_a_finding_and_no_leak():
    pressure = np.linspace(6e5, 7e5, 200)
    samples = samples_of([0.0] * 200, reservoir_pressure_pa=pressure)
    parameters = RESERVOIR.model_copy(update={"rated_power_w": 75_000.0})
    analysis = analyse(parameters, samples)
    assert [finding.code for finding in analysis.findings] == ["pressure_rises_while_off"]
    assert analysis.figure("leak_pa_s").value is None


def test_a_leak_rate_is_known_within_two_percent_under_noise():
    t_s = np.arange(600)
    noise = np.random.default_rng(1).normal(0, 1000, 600)
    pressure = 8e5 - 90.0 * t_s + noise
    samples = samples_of([0.0] * 600, reservoir_pressure_pa=pressure)
    parameters = RESERVOIR.model_copy(update={"rated_power_w": 75_000.0})
    (leak,) = analyse(parameters, samples).spans_of("leak")
    assert leak.figures[0].value == pytest.approx(-90.0, rel=0.02)
    assert leak.figures[2].value == pytest.approx(1000, rel=0.1)


def test_a_leak_is_backed_by_the_time_in_which_the_pressure_was_read():
    pressure = np.linspace(7e5, 6e5, 201)
    pressure[10:190] = np.nan
    samples = samples_of([0.0] * 201, reservoir_pressure_pa=pressure)
    parameters = RESERVOIR.model_copy(update={"rated_power_w": 75_000.0})
    analysis = analyse(parameters, samples)
    (leak,) = analysis.spans_of("leak")
    assert rate_of(leak) == pytest.approx(-500)
    assert leak.figures[0].covered_ratio == pytest.approx(18 / 199)
    assert analysis.figure("leak_pa_s").covered_ratio == pytest.approx(18 / 200)


# What a plant gets wrong


def test_a_reversed_current_transformer_is_a_finding_and_no_standstill():
    """The control: taken as it is, a machine that runs all day counts as off, with energy < 0."""
    power_w = -np.array([75_000.0] * 100 + [30_000.0] * 100)
    samples = samples_of(power_w, reservoir_pressure_pa=np.linspace(7e5, 6e5, 200))
    analysis = analyse(RESERVOIR, samples)
    assert [finding.code for finding in analysis.findings] == ["power_negative"]
    for name in ("energy_wh", "off_s", "off_wh", "leak_pa_s"):
        assert analysis.figure(name).value is None, name


def test_two_levels_of_standby_are_no_load():
    analysis = analyse(Parameters(), samples_of([5.0] * 30 + [20.0] * 30 + [5.0] * 30))
    assert analysis.figure("load_s").value is None
    assert analysis.figure("running_s").value is None
    assert "rated_power_w" in analysis.figure("off_s").why
    rated = Parameters(rated_power_w=75_000)
    assert value(analyse(rated, samples_of([5.0] * 30 + [20.0] * 30)), "off_s") == 59
