import numpy as np
import pytest

from joulemark_agent.equipment.air_compressor import Parameters, analyse
from joulemark_agent.equipment.base import US_PER_S, Samples
from joulemark_agent.physics.air_cost import demand_at_pressure
from joulemark_agent.physics.compression import isentropic_power, power_at_pressure
from joulemark_agent.physics.load_cycle import Cycle, load_unload_power
from joulemark_agent.physics.us_units import M3_PER_FT3, M3_S_PER_CFM, PA_PER_PSI
from support.analyses import value

CAPACITY = 535 * M3_S_PER_CFM
SCREW = {
    "full_load_w": 85_400,
    "no_load_w": 17_600,
    "most_w": 90_100,
    "storage_m3": 13.4 * M3_PER_FT3,
    "full_load_gauge_pa": 100 * PA_PER_PSI,
    "most_gauge_pa": 110 * PA_PER_PSI,
}
ATMOSPHERE_PA = 14.7 * PA_PER_PSI
FLOW = {"point": "air_m3_s", "reference": "fad"}
THROTTLE = {"type": "modulation", "full_load_w": 85_400, "no_load_w": 55_300}
SIZE = 3601


def samples_of(**columns) -> Samples:
    values = {
        name: np.broadcast_to(np.asarray(column, np.float64), (SIZE,)).copy()
        for name, column in columns.items()
    }
    return Samples(np.arange(SIZE, dtype=np.int64) * US_PER_S, values, 3 * US_PER_S)


def section(**changes) -> Parameters:
    given = {
        "rated_power_w": 85_400, "pressure": "header_gauge_pressure_pa", "flow": FLOW,
        "capacity_m3_s": CAPACITY, "atmosphere_pa": ATMOSPHERE_PA,
    }  # fmt: skip
    return Parameters.model_validate(given | changes)


def steady(share: float, power_w: float, gauge_pa: float = 7e5) -> Samples:
    return samples_of(power_w=power_w, air_m3_s=share * CAPACITY, header_gauge_pressure_pa=gauge_pa)


# What it should draw


@pytest.mark.parametrize("share", [0.09, 0.4, 0.91])
def test_what_a_machine_that_loads_and_unloads_should_draw_is_its_curve(share):
    control = {"type": "load_unload", **SCREW}
    machine = section(control=control)
    cycle = Cycle(**SCREW, capacity_m3_s=CAPACITY, atmospheric_pa=ATMOSPHERE_PA)
    expected_w = load_unload_power(share, cycle)
    analysis = analyse(machine, steady(share, expected_w * 1.1))
    assert value(analysis, "expected_wh") == pytest.approx(expected_w, rel=1e-9)
    assert value(analysis, "actual_to_expected_ratio") == pytest.approx(1.1)
    assert analysis.figure("expected_wh").flags == ("declared_curve",)


@pytest.mark.parametrize(
    "control",
    [
        THROTTLE,
        {"type": "speed", "full_load_w": 85_400, "turndown_ratio": 0.25, "turndown_w": 24_000,
         "middle_ratio": 0.6, "middle_w": 46_000},
        {"type": "start_stop", "full_load_w": 85_400},
        {"type": "centrifugal_unload", "full_load_w": 85_400, "no_load_w": 20_000},
        {"type": "blow_off", "full_load_w": 85_400, "blow_off_w": 60_000, "blow_off_ratio": 0.7},
        {"type": "vanes", "full_load_w": 85_400, "no_load_w": 20_000, "unload_w": 50_000,
         "unload_ratio": 0.6},
    ],
    ids=lambda control: control["type"],
)  # fmt: skip
def test_every_way_of_control_has_a_curve(control):
    machine = section(control=control)
    curve = machine.curve()
    assert curve is not None
    analysis = analyse(machine, steady(0.8, curve(0.8)))
    assert value(analysis, "actual_to_expected_ratio") == pytest.approx(1.0)
    assert curve(1.0) == pytest.approx(85_400)


def test_without_a_flow_meter_the_time_loaded_says_how_much_it_delivers():
    power = np.where(np.arange(SIZE) % 200 < 80, 85_400.0, 17_600.0)
    machine = section(control={"type": "load_unload", **SCREW}, flow=None)
    analysis = analyse(machine, samples_of(power_w=power))
    cycle = Cycle(**SCREW, capacity_m3_s=CAPACITY, atmospheric_pa=ATMOSPHERE_PA)
    assert value(analysis, "expected_wh") == pytest.approx(load_unload_power(0.4, cycle), rel=0.01)
    assert value(analysis, "actual_to_expected_ratio") < 0.8, "a square wave has no blowdown"


def test_a_flow_beyond_the_capacity_is_a_finding_and_left_out():
    analysis = analyse(section(control=THROTTLE), steady(1.66, 85_400))
    assert analysis.figure("expected_wh").value is None
    assert [finding.code for finding in analysis.findings] == ["flow_beyond_capacity"]
    assert "166 %" in analysis.findings[0].what


# Air


def test_isentropic_efficiency_is_ideal_over_drawn_power():
    analysis = analyse(section(), steady(0.9, 85_400))
    ideal_w = isentropic_power(100_000, 7e5 + ATMOSPHERE_PA, 0.9 * CAPACITY)
    found = value(analysis, "isentropic_efficiency_ratio")
    assert found == pytest.approx(ideal_w / 85_400, rel=1e-9)
    impossible = analyse(section(), steady(0.9, 20_000)).figure("isentropic_efficiency_ratio")
    assert impossible.value is None
    assert "do not fit together" in impossible.why


def test_a_pressure_of_unknown_kind_gives_no_efficiency():
    samples = samples_of(power_w=85_400, air_m3_s=0.2, header_pa=7e5)
    unknown = analyse(section(pressure="header_pa"), samples).figure("isentropic_efficiency_ratio")
    assert unknown.value is None
    assert "pressure_is" in unknown.why
    known = analyse(section(pressure="header_pa", pressure_is="absolute"), samples)
    assert value(known, "isentropic_efficiency_ratio") > 0


def test_the_us_rule_is_told_for_machines_it_knows():
    rule = {"drive": "fixed", "cooling": "air"}
    machine = section(us_rule=rule, capacity_m3_s=500 * M3_S_PER_CFM)
    assert value(analyse(machine, steady(0.9, 85_400)), "us_least_efficiency_ratio") == (
        pytest.approx(0.71724, abs=5e-6)
    )
    large = section(us_rule=rule, capacity_m3_s=2000 * M3_S_PER_CFM)
    assert analyse(large, steady(0.1, 85_400)).figure("us_least_efficiency_ratio").value is None


def test_specific_power_takes_a_minute_of_delivery():
    flow = np.where(np.arange(SIZE) < 40, 0.2, 0.0)
    samples = samples_of(power_w=85_400, air_m3_s=flow)
    figure = analyse(section(pressure=None), samples).figure("specific_power_j_m3")
    assert figure.value is None
    assert "less than a minute" in figure.why


def test_specific_power_is_as_sure_as_both_of_its_meters():
    flow = {**FLOW, "uncertainty_ratio": 0.015}
    metering = {"limit_ratio": 0.02}
    one = section(flow=flow, metering=metering)
    figure = analyse(one, steady(0.9, 85_400)).figure("specific_power_j_m3")
    assert figure.value is not None
    assert figure.standard_uncertainty == pytest.approx(
        figure.value * np.hypot(0.015, 0.02 / 3**0.5), rel=1e-3
    )
    assert value(analyse(one, steady(0.9, 85_400)), "demand_m3_s") == pytest.approx(0.9 * CAPACITY)
    blind = analyse(section(flow=flow), steady(0.9, 85_400)).figure("specific_power_j_m3")
    assert blind.standard_uncertainty is None


# Less pressure, closed leaks


def test_less_pressure_saves_what_the_formula_says_and_says_how_sure_it_is():
    change = {"lower_by_pa": 50_000}
    analysis = analyse(section(less_pressure=change), steady(0.8, 85_400))
    figure = analysis.figure("pressure_saving_wh")
    lower_w = power_at_pressure(85_400, 7e5, 6.5e5, ATMOSPHERE_PA)
    assert figure.value is not None
    assert figure.value == pytest.approx(85_400 - lower_w, rel=1e-9)
    assert figure.standard_uncertainty is not None
    assert 0.002 < figure.standard_uncertainty / figure.value < 0.05
    assert figure.flags == ("counterfactual", "meter_uncertainty_unknown")
    sure = section(less_pressure=change, metering={"limit_ratio": 0.02})
    known = analyse(sure, steady(0.8, 85_400)).figure("pressure_saving_wh")
    assert known.flags == ("counterfactual",)
    assert known.standard_uncertainty is not None
    assert known.standard_uncertainty > figure.standard_uncertainty


def test_artificial_demand_goes_with_the_share_that_no_regulator_holds():
    change = {"lower_by_pa": 50_000, "unregulated_ratio": 0.5}
    machine = section(less_pressure=change, control=THROTTLE)
    analysis = analyse(machine, steady(0.8, 85_400))
    before, above_pa = 0.8 * CAPACITY, 7e5 + ATMOSPHERE_PA
    avoided = before - demand_at_pressure(before, above_pa, above_pa - 50_000, 0.5)
    figure = analysis.figure("artificial_demand_m3_s")
    assert figure.value == pytest.approx(avoided, rel=1e-9)
    assert figure.standard_uncertainty == pytest.approx(avoided * 0.1 / 0.5, rel=0.05)
    slope = (85_400 - 55_300) / CAPACITY
    scale = power_at_pressure(1.0, 7e5, 6.5e5, ATMOSPHERE_PA)
    saving = value(analysis, "artificial_demand_saving_wh")
    assert saving == pytest.approx(avoided * slope * scale, rel=1e-6)


def test_both_savings_of_less_pressure_add_up_to_the_new_machine_s_power():
    change = {"lower_by_pa": 50_000, "unregulated_ratio": 0.5}
    machine = section(less_pressure=change, control=THROTTLE)
    curve = machine.curve()
    assert curve is not None
    analysis = analyse(machine, steady(0.8, curve(0.8)))
    saved_wh = sum(
        value(analysis, name) for name in ("pressure_saving_wh", "artificial_demand_saving_wh")
    )
    left = (0.8 * CAPACITY - value(analysis, "artificial_demand_m3_s")) / CAPACITY
    after_w = power_at_pressure(curve(left), 7e5, 6.5e5, ATMOSPHERE_PA)
    assert curve(0.8) - saved_wh == pytest.approx(after_w, rel=1e-9)


def test_a_share_that_nobody_measured_is_marked_and_less_sure():
    change = {"lower_by_pa": 50_000}
    figure = analyse(section(less_pressure=change), steady(0.8, 85_400)).figure(
        "artificial_demand_m3_s"
    )
    assert "assumed_share" in figure.flags
    assert figure.value is not None
    assert figure.standard_uncertainty is not None
    assert figure.standard_uncertainty / figure.value > 0.25


def test_a_pressure_cannot_be_lowered_below_none():
    change = {"lower_by_pa": 800_000}
    figure = analyse(section(less_pressure=change), steady(0.8, 85_400)).figure(
        "pressure_saving_wh"
    )
    assert figure.value is None
    assert "cannot fall so far" in figure.why


def test_closed_leaks_save_by_the_slope_of_the_curve_and_the_mean_is_told_beside_it():
    hour = np.arange(SIZE) / 3600
    flow = np.where(hour < 0.5, 0.1, 0.8) * CAPACITY
    power = np.where(hour < 0.5, 58_310.0, 79_380.0)
    samples = samples_of(power_w=power, air_m3_s=flow)
    machine = section(control=THROTTLE, pressure=None, quiet=[{"start": "00:00", "end": "00:30"}])
    analysis = analyse(machine, samples)
    leak = 0.1 * CAPACITY
    assert value(analysis, "leak_m3_s") == pytest.approx(leak)
    slope = (85_400 - 55_300) / CAPACITY
    assert value(analysis, "leak_saving_wh") == pytest.approx(leak * slope, rel=1e-6)
    mean = float(np.mean(power[:-1])) / float(np.mean(flow[:-1]))
    assert value(analysis, "leak_at_mean_wh") == pytest.approx(leak * mean, rel=1e-6)
    assert value(analysis, "leak_at_mean_wh") > 3 * value(analysis, "leak_saving_wh")


def test_without_a_curve_a_leak_has_no_saving():
    machine = section(pressure=None, quiet=[{"start": "00:00", "end": "00:30"}])
    figure = analyse(machine, steady(0.2, 60_000)).figure("leak_saving_wh")
    assert figure.value is None
    assert "declare 'control'" in figure.why


# Drops and heat


def test_a_drop_across_a_dryer_costs_what_less_pressure_would_save():
    drops = {"dryer": {"before": "wet_gauge_pressure_pa", "after": "dry_gauge_pressure_pa"}}
    samples = samples_of(power_w=85_400, wet_gauge_pressure_pa=7.4e5, dry_gauge_pressure_pa=7.0e5)
    analysis = analyse(section(drops=drops, flow=None, pressure=None), samples)
    assert value(analysis, "dryer_drop_pa") == pytest.approx(4e4)
    without_w = power_at_pressure(85_400, 7.4e5, 7.0e5, ATMOSPHERE_PA)
    assert value(analysis, "dryer_drop_wh") == pytest.approx(85_400 - without_w)


def test_a_drop_of_what_is_not_recorded_is_not_zero():
    drops = {"filter": {"before": "wet_gauge_pressure_pa", "after": "dry_gauge_pressure_pa"}}
    analysis = analyse(section(drops=drops, flow=None, pressure=None), samples_of(power_w=85_400))
    assert "not recorded" in analysis.figure("filter_drop_wh").why


HEAT = {"flow": "water_m3_s", "supply": "water_in_k", "back": "water_out_k"}


def test_recovered_heat_is_a_share_of_the_electricity_of_the_same_time():
    flow = np.where(np.arange(SIZE) < 1800, 0.0005, 0.001)
    back = np.where(np.arange(SIZE) < 1800, 323.15, 313.15)
    samples = samples_of(power_w=85_400, water_m3_s=flow, water_in_k=293.15, water_out_k=back)
    analysis = analyse(section(heat=HEAT, flow=None, pressure=None), samples)
    heat_w = 997.05 * 4181 * (0.0005 * 30 + 0.001 * 20) / 2
    assert value(analysis, "recovered_wh") == pytest.approx(heat_w, rel=1e-3)
    assert value(analysis, "recovered_ratio") == pytest.approx(heat_w / 85_400, rel=1e-3)


@pytest.mark.parametrize(("back_k", "flow"), [(343.15, 0.0005), (283.15, 0.0005)])
def test_more_heat_than_there_is_and_less_than_none_are_refused(back_k, flow):
    samples = samples_of(power_w=85_400, water_m3_s=flow, water_in_k=293.15, water_out_k=back_k)
    figure = analyse(section(heat=HEAT, flow=None, pressure=None), samples).figure("recovered_wh")
    assert figure.value is None
    assert "look at the flow" in figure.why


def test_a_meter_whose_class_is_known_makes_the_energy_a_measured_one():
    metering = {"meter_class": "1", "rated_current_a": 160, "line_voltage_v": 400}
    figure = analyse(section(metering=metering), steady(0.8, 85_400)).figure("energy_wh")
    assert figure.value == pytest.approx(85_400)
    assert figure.standard_uncertainty == pytest.approx(0.01 / 3**0.5 * 85_400, rel=0.01)
    unknown = analyse(section(), steady(0.8, 85_400)).figure("energy_wh")
    assert unknown.standard_uncertainty is None


def test_a_plain_section_gives_the_figures_it_always_gave():
    """What is not declared is not asked for: pages and signed statements stay as they were."""
    names = {figure.name for figure in analyse(Parameters(), steady(0.5, 60_000)).figures}
    assert names == {
        "energy_wh", "off_wh", "unload_wh", "load_wh", "running_wh", "off_s", "unload_s", "load_s",
        "running_s", "unknown_s", "load_count", "start_count", "specific_power_j_m3", "free_air_m3",
        "leak_pa_s",
    }  # fmt: skip
