import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from joulemark_agent.equipment.base import US_PER_S, Figure, Samples
from joulemark_agent.equipment.furnace import Parameters, analyse
from joulemark_agent.equipment.models import parameters_of
from joulemark_agent.kernels.counter import Semantics
from joulemark_agent.simulate.equipment_hall.furnace import simulate
from support.analyses import unsure, value

PERIOD_S = 30
SET_POINT_K, START_K = 1123.15, 523.15
CITY_GAS = {
    "point": "gas_dm3",
    "ncv_mj_per_m3": "38.9",
    "basis": "net",
    "volume_reference": "normal_0c_101325pa",
    "co2_kg_per_tj": "56100",
    "source": "K-ETS reporting guideline, annex 12: city gas (LNG), read at second hand",
}
HEAT_S, SOAK_S, OPEN_S, PAUSE_S = 5400, 7200, 300, 1800
HOLDING_W, HEATING_W, IDLE_W = 40_000.0, 160_000.0, 25_000.0


def furnace(batches=4, *, noise_k=0.0, missing=0.0, seed=0, openings=1):
    """A made furnace: load through the door, heat, soak, and out through the door.

    With one opening a batch the charges change places; with two the furnace stands empty and hot
    between them. Returns the samples, and when each charge was shut in and taken out. [us]
    """
    rng = np.random.default_rng(seed)
    step = np.arange(0, 0) * 1.0
    temperature, door, power = [step], [step], [step]

    def go(seconds, to_k, watts, *, is_open=0):
        size = seconds // PERIOD_S
        last = temperature[-1][-1] if temperature[-1].size else to_k
        temperature.append(last + (to_k - last) * np.arange(1, size + 1) / size)
        door.append(np.full(size, float(is_open)))
        power.append(np.full(size, watts))

    starts, leaves = [], []

    def now_us() -> int:
        return sum(part.size for part in door) * PERIOD_S * US_PER_S

    go(600, SET_POINT_K, IDLE_W)
    for _ in range(batches):
        leaves.append(now_us())
        go(OPEN_S, START_K, IDLE_W, is_open=1)
        if openings == 2:
            go(PAUSE_S, START_K + 200, IDLE_W)
            go(OPEN_S, START_K, IDLE_W, is_open=1)
        starts.append(now_us())
        go(HEAT_S, SET_POINT_K, HEATING_W)
        go(SOAK_S, SET_POINT_K, HOLDING_W)
    leaves.append(now_us())
    go(OPEN_S, START_K, IDLE_W, is_open=1)
    go(PAUSE_S, START_K, 0.0)
    watts = np.concatenate(power)
    count_wh = np.append(0, np.cumsum(watts * PERIOD_S / 3600)[:-1])
    kelvin = np.concatenate(temperature)
    values = {
        "temperature_k": kelvin + rng.normal(0, noise_k, kelvin.size) if noise_k else kelvin,
        "set_point_k": np.full(kelvin.size, SET_POINT_K),
        "door_state": np.concatenate(door),
        "energy_wh": np.rint(7_000_000 + count_wh),
        "gas_dm3": np.rint(123_456 + count_wh * 0.03),
    }
    lost = rng.random(kelvin.size) < missing
    values = {name: np.where(lost, np.nan, column) for name, column in values.items()}
    t_us = np.arange(kelvin.size) * PERIOD_S * US_PER_S
    return Samples(t_us, values, 3 * PERIOD_S * US_PER_S), starts, leaves[1:]


def parameters(**section) -> Parameters:
    made = parameters_of("furnace", section)
    assert isinstance(made, Parameters)
    return made


def test_a_batch_runs_from_door_to_door():
    samples, starts, leaves = furnace(4)
    batches = analyse(parameters(), samples).spans_of("batch")
    assert [batch.start_us for batch in batches] == starts
    assert [batch.end_us for batch in batches] == [*starts[1:], leaves[-1]]


def test_a_furnace_that_stands_empty_between_two_openings_makes_no_batch_of_it():
    samples, starts, _ = furnace(3, openings=2)
    section = parameters(least_heat_s=2400)
    assert [batch.start_us for batch in analyse(section, samples).spans_of("batch")] == starts


def test_thirty_batches_are_found_in_noise_with_readings_missing():
    """Edges within a minute and energy per batch within half a percent, 2 K noise, 1 % missing."""
    samples, starts, leaves = furnace(30, noise_k=2.0, missing=0.01, seed=3)
    batches = analyse(parameters(), samples).spans_of("batch")
    found = np.array([batch.start_us for batch in batches])
    assert np.abs(found - starts).max() <= 60 * US_PER_S
    closed = HEATING_W * HEAT_S / 3600 + HOLDING_W * SOAK_S / 3600
    true_wh = [closed + IDLE_W * OPEN_S / 3600] * 29 + [closed]
    assert [value(batch, "electricity_wh") for batch in batches] == pytest.approx(
        true_wh, rel=0.005
    )
    assert abs(batches[-1].end_us - leaves[-1]) <= 60 * US_PER_S


def test_each_batch_heats_and_soaks():
    samples, _, _ = furnace(2)
    for batch in analyse(parameters(), samples).spans_of("batch"):
        assert value(batch, "heat_s") == pytest.approx(HEAT_S, abs=120)
        assert value(batch, "soak_s") == pytest.approx(SOAK_S, abs=120)


def test_holding_power_is_the_power_of_the_steady_soak():
    samples, _, _ = furnace(3, noise_k=0.3)
    assert value(analyse(parameters(), samples), "holding_w") == pytest.approx(HOLDING_W, rel=0.02)


def test_what_is_used_with_the_charge_gone_is_told():
    samples, _, _ = furnace(3, openings=2)
    analysis = analyse(parameters(least_heat_s=2400), samples)
    first = analysis.spans_of("batch")[0]
    assert value(first, "idle_wh") == pytest.approx(IDLE_W * (2 * OPEN_S + PAUSE_S) / 3600, abs=1)


def test_until_the_door_is_seen_open_no_state_is_told():
    samples, _, _ = furnace(1)
    first = analyse(parameters(), samples)
    states = [span for span in first.spans if span.kind in {"idle", "heat", "soak", "cool"}]
    assert states[0].start_us == 600 * US_PER_S


@given(st.integers(1, 4), st.floats(0, 0.2), st.integers(0, 5), st.sampled_from([1, 2]))
def test_the_stretches_tile_the_time_and_add_up_to_the_meter(batches, missing, seed, openings):
    samples, _, _ = furnace(batches, missing=missing, seed=seed, openings=openings)
    analysis = analyse(parameters(gas=CITY_GAS), samples)
    tiles = [span for span in analysis.spans if span.kind.endswith("batch")]
    assert [tile.end_us for tile in tiles[:-1]] == [tile.start_us for tile in tiles[1:]]
    assert (tiles[0].start_us, tiles[-1].end_us) == (samples.t_us[0], samples.t_us[-1])
    for name in ("electricity_wh", "gas_m3", "gas_wh", "gas_co2e_kg", "total_wh"):
        parts = sum(value(tile, name) for tile in tiles)
        assert parts == pytest.approx(value(analysis, name), rel=1e-9)


def test_the_meter_s_difference_is_booked_whole():
    samples, _, _ = furnace(3, missing=0.1, seed=4)
    count = samples.values["energy_wh"]
    known = count[~np.isnan(count)]
    assert value(analyse(parameters(), samples), "electricity_wh") == known[-1] - known[0]


def test_without_a_door_a_step_of_the_set_point_begins_a_batch():
    hour = 3600 // PERIOD_S
    set_point = np.tile(np.repeat([600.0, 1100.0], 2 * hour), 3)
    t_us = np.arange(set_point.size) * PERIOD_S * US_PER_S
    columns = {"temperature_k": set_point, "set_point_k": set_point}
    batches = analyse(parameters(), Samples(t_us, columns, 90 * US_PER_S)).spans_of("batch")
    assert [batch.start_us for batch in batches] == [t_us[2 * hour], t_us[6 * hour]]


# Gas


def hour_of_gas(**gas):
    """An hour in which the meter counts 1,000 m3."""
    t_us = np.arange(121) * PERIOD_S * US_PER_S
    section = parameters(electricity=None, gas={**CITY_GAS, **gas})
    assert section.gas is not None
    columns = {section.gas.point: np.rint(np.linspace(0, 1_000_000, 121))}
    return analyse(section, Samples(t_us, columns, 90 * US_PER_S))


def test_a_recorded_point_without_a_unit_is_told_though_nothing_asks_for_it():
    t_us = np.arange(121) * PERIOD_S * US_PER_S
    columns = {"gas_dm3": np.zeros(121), "burner_output_unstated": np.full(121, 296.6)}
    section = parameters(electricity=None, gas=CITY_GAS)
    findings = analyse(section, Samples(t_us, columns, 90 * US_PER_S)).findings

    assert [finding.code for finding in findings] == ["unit_unstated"]
    assert "burner_output_unstated" in findings[0].what


def test_gas_becomes_energy_and_co2e_by_its_net_calorific_value():
    """1,000 Nm3 of city gas: 38.9 MJ/Nm3 net and 56,100 kg CO2/TJ."""
    analysis = hour_of_gas()
    assert value(analysis, "gas_m3") == 1000
    assert value(analysis, "gas_wh") == pytest.approx(38.9e9 / 3600)
    assert value(analysis, "gas_co2e_kg") == pytest.approx(2182.29)
    assert value(analysis, "total_wh") == value(analysis, "gas_wh")


@pytest.mark.parametrize(
    ("gas", "ratio"),
    [
        ({"volume_reference": "standard_15c_101325pa"}, 1 / 1.054915),
        (
            {
                "volume_reference": "operating",
                "line_pressure_pa": 202_650,
                "line_temperature_k": 293.15,
            },
            2 * 273.15 / 293.15,
        ),
    ],
)
def test_a_volume_of_another_reference_is_taken_to_the_calorific_value_s(gas, ratio):
    analysis = hour_of_gas(**gas)
    assert value(analysis, "gas_m3") == 1000, "as metered"
    assert value(analysis, "gas_wh") == pytest.approx(38.9e9 / 3600 * ratio, rel=1e-6)


@pytest.mark.parametrize(
    ("gas", "says"),
    [
        ({"ncv_mj_per_m3": None}, "calorific value of the gas is not given"),
        ({"basis": None}, "net (lower) or the gross"),
        ({"basis": "gross"}, "about a tenth too high"),
        ({"volume_reference": None}, "nameplate"),
        ({"volume_reference": "operating"}, "line_pressure_pa"),
        ({"volume_reference": "operating", "line_pressure_pa": 2e5}, "line_temperature_k"),
    ],
)
def test_gas_of_undeclared_worth_is_refused_in_plain_words(gas, says):
    analysis = hour_of_gas(**gas)
    assert value(analysis, "gas_m3") == 1000
    for name in ("gas_wh", "gas_co2e_kg"):
        assert analysis.figure(name).value is None
        assert says in analysis.figure(name).why
    assert analysis.figure("total_wh").value is None
    assert [finding.code for finding in analysis.findings] == ["gas_undeclared"]


def test_gas_without_a_factor_has_energy_and_no_co2e():
    analysis = hour_of_gas(co2_kg_per_tj=None)
    assert value(analysis, "gas_wh") > 0
    assert "co2_kg_per_tj" in analysis.figure("gas_co2e_kg").why


def test_a_gas_counter_without_a_unit_is_refused():
    analysis = hour_of_gas(point="gas_unstated")
    for name in ("gas_m3", "gas_wh", "gas_co2e_kg"):
        assert analysis.figure(name).value is None
        assert "in which unit it counts" in analysis.figure(name).why
    assert [finding.code for finding in analysis.findings] == ["unit_unstated"]


def test_power_without_a_unit_is_no_energy():
    """A recorded ladle furnace gives P of order 1 without a unit: probably MW, and not known."""
    t_us = np.arange(121) * PERIOD_S * US_PER_S
    samples = Samples(t_us, {"active_power_unstated": np.full(121, 0.9760587506)}, 90 * US_PER_S)
    analysis = analyse(parameters(electricity="active_power_unstated"), samples)
    assert analysis.figure("electricity_wh").value is None
    assert analysis.figure("total_wh").value is None
    assert "kW and MW" in analysis.figure("electricity_wh").why
    (finding,) = analysis.findings
    assert finding.code == "unit_unstated"
    assert "active_power_unstated" in finding.what


def test_electric_power_is_taken_over_time():
    t_us = np.arange(121) * PERIOD_S * US_PER_S
    samples = Samples(t_us, {"power_w": np.full(121, 5000.0)}, 90 * US_PER_S)
    assert value(analyse(parameters(electricity="power_w"), samples), "electricity_wh") == 5000


def test_the_electric_counter_is_as_unsure_as_the_step_of_its_profile():
    t_us = np.arange(121) * PERIOD_S * US_PER_S
    count_wh = {"energy_wh": np.floor(np.arange(121.0) / 20) * 1000}
    counters = {"energy_wh": Semantics(90 * US_PER_S, step=1000)}
    samples = Samples(t_us, count_wh, 90 * US_PER_S, counters)
    figure = analyse(parameters(metering={"limit_ratio": 1e-9}), samples).figure("electricity_wh")
    assert figure.value == 6000
    assert figure.standard_uncertainty == pytest.approx(1000 / math.sqrt(6))


def test_a_counter_that_falls_is_a_finding():
    t_us = np.arange(4) * PERIOD_S * US_PER_S
    samples = Samples(t_us, {"energy_wh": np.array([100.0, 110, 2, 5])}, 90 * US_PER_S)
    analysis = analyse(parameters(), samples)
    assert value(analysis, "electricity_wh") == 13
    assert [finding.code for finding in analysis.findings] == ["counter_fell"]


@pytest.mark.parametrize("seed", [1, 20220509])
def test_the_batches_of_a_simulated_furnace_are_those_of_its_plan(seed):
    run = simulate(1_652_054_400 * US_PER_S, seed)
    values = {
        "temperature_k": [state.temperature_dk / 10 for state in run.states],
        "set_point_k": [state.set_point_dk / 10 for state in run.states],
        "door_state": [float(state.is_open) for state in run.states],
        "energy_wh": [float(state.electricity_j // 3600) for state in run.states],
        "gas_dm3": [float(state.gas_cm3 // 1000) for state in run.states],
    }
    columns = {name: np.array(column) for name, column in values.items()}
    samples = Samples(np.array(list(run.slots.all_us())), columns, 90 * US_PER_S)
    analysis = analyse(parameters(gas=CITY_GAS), samples)
    batches = analysis.spans_of("batch")
    assert [batch.start_us for batch in batches] == [batch.starts_us for batch in run.batches]
    assert batches[-1].end_us == run.batches[-1].leaves_us
    assert value(analysis, "gas_wh") == pytest.approx(run.balance.gas_j / 3600, rel=1e-5)
    assert value(analysis, "electricity_wh") == pytest.approx(
        run.balance.electricity_j / 3600, abs=1
    )


def powered(samples, watts) -> Samples:
    return Samples(samples.t_us, {**samples.values, "power_w": watts}, samples.max_gap_us)


def watts_of(samples):
    counted_wh = np.diff(samples.values["energy_wh"], append=samples.values["energy_wh"][-1])
    return counted_wh * 3600 / PERIOD_S


def test_the_holding_power_is_not_lowered_by_readings_that_lack():
    samples, _, _ = furnace(2)
    watts = watts_of(samples)
    watts[np.arange(watts.size) % 400 > 300] = np.nan
    analysis = analyse(parameters(electricity="power_w"), powered(samples, watts))
    assert value(analysis, "holding_w") == pytest.approx(HOLDING_W, rel=0.01)
    assert analysis.figure("holding_w").covered_ratio == 1.0


def test_negative_power_is_a_finding_and_no_energy():
    samples, _, _ = furnace(1)
    found = analyse(parameters(electricity="power_w"), powered(samples, -watts_of(samples) - 9000))
    assert "power_negative" in [finding.code for finding in found.findings]
    assert found.figure("total_wh").value is None


def test_batches_are_counted_over_the_time_in_which_the_door_was_read():
    samples, _, _ = furnace(4)
    whole = analyse(parameters(), samples).figure("batch_count")
    values = {name: column.copy() for name, column in samples.values.items()}
    half = samples.t_us.size // 2
    for column in values.values():
        column[half // 2 : half // 2 + half] = np.nan
    torn = analyse(parameters(), Samples(samples.t_us, values, samples.max_gap_us))
    assert (whole.value, whole.covered_ratio) == (4, 1.0)
    assert torn.figure("batch_count").covered_ratio == pytest.approx(0.5, abs=0.01)


def test_a_meter_that_stands_while_the_furnace_heats_is_a_finding():
    samples, _, _ = furnace(1)
    values = {**samples.values, "energy_wh": np.full(samples.t_us.size, 5e6)}
    stuck = analyse(parameters(), Samples(samples.t_us, values, samples.max_gap_us))
    assert [finding.code for finding in stuck.findings] == ["meter_stands"]
    assert analyse(parameters(), samples).findings == ()


# Readings that lack, doors that chatter, and windows that cut a batch


def finer(samples, times=3) -> Samples:
    """The same read more often."""
    size, step_us = samples.t_us.size * times, PERIOD_S * US_PER_S // times
    values = {name: np.repeat(column, times) for name, column in samples.values.items()}
    return Samples(np.arange(size) * step_us, values, 3 * step_us)


def figures_of(span) -> dict[str, Figure]:
    return {figure.name: figure for figure in span.figures}


def part(samples, first, stop) -> Samples:
    values = {name: column[first:stop] for name, column in samples.values.items()}
    return Samples(samples.t_us[first:stop], values, samples.max_gap_us)


def changed(samples, **columns) -> Samples:
    return Samples(samples.t_us, {**samples.values, **columns}, samples.max_gap_us)


def test_readings_that_lack_do_not_make_idling_of_a_soak():
    whole = analyse(parameters(), furnace(3)[0])
    torn = analyse(parameters(), furnace(3, missing=0.1, seed=2)[0])
    assert value(torn, "idle_s") <= value(whole, "idle_s")
    assert value(torn, "idle_hot_wh") <= value(whole, "idle_hot_wh")
    assert (torn.figure("idle_hot_wh").covered_ratio or 1.0) < 0.9


def test_the_last_kelvins_of_heating_are_no_soak():
    samples, _, _ = furnace(3)
    for batch in analyse(parameters(), samples).spans_of("batch"):
        soak_w = value(batch, "soak_wh") / value(batch, "soak_s") * 3600
        assert soak_w == pytest.approx(HOLDING_W, rel=0.005)


@pytest.mark.parametrize("at_s", [3000, 9000])
def test_a_door_that_chatters_brings_no_charge_and_takes_none_out(at_s):
    samples, starts, leaves = furnace(2)
    fine = finer(samples)
    door = fine.values["door_state"].copy()
    for start_us in starts:
        blip = np.searchsorted(fine.t_us, start_us + at_s * US_PER_S)
        door[[blip, blip + 2]] = 1.0
    batches = analyse(parameters(), changed(fine, door_state=door)).spans_of("batch")
    assert [batch.start_us for batch in batches] == starts
    assert value(batches[0], "idle_wh") == pytest.approx(IDLE_W * OPEN_S / 3600, abs=1)
    assert batches[-1].end_us == leaves[-1]


def test_a_door_that_never_stops_chattering_is_no_batch():
    fine = finer(furnace(1)[0])
    found = analyse(parameters(), changed(fine, door_state=np.arange(fine.t_us.size) % 2.0))
    assert found.figure("batch_count").value == 0
    assert not found.spans_of("batch")


def test_energy_per_batch_takes_power_that_lacks_to_be_as_the_rest():
    samples, _, _ = furnace(4)
    section = parameters(
        electricity="power_w",
        metering={"limit_ratio": 0.01},
        losses={"auxiliary": [{"power_w": 20_000, "uncertainty_ratio": 0.1}]},
    )
    watts = watts_of(samples)
    lost = np.random.default_rng(4).random(watts.size)
    whole = analyse(section, powered(samples, watts))
    torn = analyse(section, powered(samples, np.where(lost < 0.03, np.nan, watts)))
    for name in ("per_batch_wh", "closure_ratio"):
        assert torn.figure(name).value == pytest.approx(value(whole, name), rel=0.02)
        assert "estimated" in torn.figure(name).flags
        assert unsure(torn, name) > unsure(whole, name)
    gone = analyse(section, powered(samples, np.where(lost < 0.2, np.nan, watts)))
    for name in ("per_batch_wh", "closure_ratio"):
        assert gone.figure(name).value is None
        assert gone.figure(name).why


def test_a_state_that_is_not_known_used_no_zero():
    samples, _, _ = furnace(2)
    known = np.arange(samples.t_us.size) < 400  # not in the second batch
    kelvin = np.where(known, samples.values["temperature_k"], np.nan)
    found = analyse(parameters(), changed(samples, temperature_k=kelvin))
    rest = figures_of(found.spans_of("no_batch")[-1])
    assert rest["soak_wh"].value is None
    assert "not known" in rest["soak_wh"].why
    assert found.figure("idle_hot_wh").covered_ratio == pytest.approx(0.4, abs=0.02)


def test_a_window_inside_a_batch_counts_none():
    samples, starts, _ = furnace(2)
    start = int(np.searchsorted(samples.t_us, starts[0]))
    quarter = 900 // PERIOD_S
    heating = analyse(parameters(), part(samples, start + 10, start + 10 + quarter))
    assert "may lie inside one" in heating.figure("batch_count").why
    assert heating.figure("idle_hot_wh").value is None


def test_a_charge_that_was_just_shut_in_is_not_yet_idling():
    samples, starts, _ = furnace(2)
    start = int(np.searchsorted(samples.t_us, starts[0]))
    quarter = 900 // PERIOD_S
    found = analyse(parameters(), part(samples, start - quarter + 10, start + 10))
    spans = [span for span in found.spans if span.kind in {"idle", "heat", "cold"}]
    assert spans
    assert spans[-1].end_us == starts[0]
    assert found.figure("batch_count").value is None


def test_a_soak_that_a_window_cuts_is_not_idling():
    samples, starts, _ = furnace(2)
    values = {name: column for name, column in samples.values.items() if name != "door_state"}
    reached = int(np.searchsorted(samples.t_us, starts[0])) + HEAT_S // PERIOD_S
    bare = Samples(samples.t_us, values, samples.max_gap_us)
    found = analyse(parameters(), part(bare, reached - 16, reached + 14))
    assert value(found, "heat_s") > 300
    assert value(found, "idle_s") == 0
    assert (found.figure("idle_s").covered_ratio or 1.0) < 0.9


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"gas": {**CITY_GAS, "line_pressure_pa": 20_000}}, "line_pressure_pa"),
        (
            {"gas": {"point": "gas_dm3", "composition": {"N2": 1}, "source": "a gas analysis"}},
            "oxygen that the gas needs",
        ),
        ({"losses": {"ambient_k": 335}}, "ambient_k"),
    ],
)
def test_a_section_for_which_no_formula_holds_is_refused_before_it_is_used(section, says):
    with pytest.raises(ValidationError, match=says):
        parameters(**section)


def test_batches_are_not_counted_while_their_heating_is_not_seen():
    samples, _, _ = furnace(4)
    known = np.arange(samples.t_us.size) < samples.t_us.size // 2
    kelvin = np.where(known, samples.values["temperature_k"], np.nan)
    count = analyse(parameters(), changed(samples, temperature_k=kelvin)).figure("batch_count")
    assert count.value == 2
    assert count.covered_ratio == pytest.approx(0.5, abs=0.01)
