from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from joulemark_agent.equipment.base import US_PER_S, Samples
from joulemark_agent.equipment.meter_reactive import quadrants
from joulemark_agent.equipment.metering import Metering
from joulemark_agent.equipment.power_meter import Parameters, analyse
from joulemark_agent.kernels.counter import Semantics
from joulemark_agent.kernels.stream import HOLD, INST, MEAN_RIGHT
from joulemark_agent.simulate.run import load_recording
from support.analyses import value

MINUTE_US, QUARTER_US = 60 * US_PER_S, 900 * US_PER_S
START_US = 1_763_859_600_000_000  # a full hour
SEOUL = ZoneInfo("Asia/Seoul")
MACHINE = Metering(meter_class="0.5S", ct_class="0.5", ct_ratio=200, ratio_applied=True,
                   rated_current_a=1000, line_voltage_v=400)  # fmt: skip


def minutes(zone=None, start_us=START_US, **columns) -> Samples:
    """One sample a minute of each point."""
    size = len(next(iter(columns.values())))
    values = {name: np.asarray(column, np.float64) for name, column in columns.items()}
    t_us = start_us + np.arange(size) * MINUTE_US
    return Samples(t_us, values, MINUTE_US * 3 // 2, zone=zone)


def register(power_w, begins=1_000_000.0):
    """What a register shows that counts a power by its trapezoids, whole Wh."""
    power_w = np.asarray(power_w, np.float64)
    return np.floor(begins + np.append(0, np.cumsum((power_w[1:] + power_w[:-1]) / 120.0)))


def naive_kwh_accumulator(energy_wh, step_s, cap_w=60_000.0) -> float:
    """The control: a step is dropped where its mean power is above a cap that nobody declared."""
    rises = np.diff(energy_wh)
    return float(rises[(rises > 0) & (rises * 3600.0 / step_s < cap_w)].sum())


@pytest.fixture(scope="module")
def steel():
    """A year of a steel works: its register and the mean power of each quarter of an hour."""
    recording = load_recording("steel_gwangyang_2018")
    wh = recording.energy_10wh * 10.0
    values = {
        "energy_wh": np.append(0.0, np.cumsum(wh)),
        "power_w": np.append(np.nan, wh * 4.0),
        "reactive_lagging_varh": np.append(0.0, np.cumsum(recording.lagging_10varh * 10.0)),
        "reactive_leading_varh": np.append(0.0, np.cumsum(recording.leading_10varh * 10.0)),
    }
    t_us = recording.first_us + np.arange(wh.size + 1) * QUARTER_US
    return Samples(t_us, values, QUARTER_US * 3 // 2, zone=SEOUL)


def test_a_year_of_a_steel_works_has_its_energy_and_its_peak(steel):
    found = analyse(Parameters(power_is="mean_right"), steel)
    assert value(found, "energy_wh") == 959_636_710
    assert value(found, "kappa_ratio") == pytest.approx(1.0, abs=1e-12)
    assert value(found, "peak_demand_w") == pytest.approx(628_720)
    (peak,) = found.spans_of("demand_peak")
    ends = datetime.fromtimestamp(peak.end_us / US_PER_S, SEOUL)
    assert ends.isoformat() == "2018-11-22T09:45:00+09:00"
    assert peak.end_us - peak.start_us == QUARTER_US
    assert len(found.spans_of("month_peak")) == 12
    assert value(found, "power_factor_lagging_ratio") == pytest.approx(0.90294, abs=1e-5)
    assert not found.findings


def test_power_taken_as_of_an_instant_does_not_blur_the_peak_of_the_register(steel):
    found = analyse(Parameters(), steel)
    assert value(found, "peak_demand_w") == pytest.approx(628_720)


def test_a_hole_makes_the_peak_a_lower_bound_and_keeps_the_energy(steel):
    hole = 310 * 96 + 96
    values = {name: column.copy() for name, column in steel.values.items()}
    for column in values.values():
        column[hole] = np.nan
    holed = Samples(steel.t_us, values, steel.max_gap_us, zone=SEOUL)
    found = analyse(Parameters(power_is="mean_right"), holed)
    assert value(found, "energy_wh") == 959_636_710
    assert "measured_by_register" in found.figure("energy_wh").flags
    assert value(found, "peak_demand_w") == pytest.approx(628_720)
    assert found.figure("peak_demand_w").flags == ("lower_bound",)


@pytest.mark.parametrize("rated_w", [75_000.0, 250_000.0, 2_000_000.0])
@pytest.mark.parametrize("has_power", [True, False])
def test_no_meter_is_too_large(rated_w, has_power):
    power = rated_w * (0.97 + 0.03 * np.sin(np.arange(181)))
    energy = register(power)
    points = {"energy_wh": energy, **({"power_w": power} if has_power else {})}
    found = analyse(Parameters(), minutes(**points))
    assert value(found, "energy_wh") == energy[-1] - energy[0] > 2.8 * rated_w
    assert value(found, "peak_demand_w") > 0.96 * rated_w
    assert found.figure("energy_wh").covered_ratio == 1.0
    assert not found.findings
    assert naive_kwh_accumulator(energy, 60.0) == 0.0, "what the control loses: everything"


def test_a_gap_without_a_register_has_no_energy():
    power = np.full(361, 100_000.0)
    power[61:180] = np.nan  # two hours from the last good sample to the next
    found = analyse(Parameters(), minutes(power_w=power))
    assert value(found, "energy_wh") == pytest.approx(400_000)
    assert found.figure("energy_wh").covered_ratio == pytest.approx(4 / 6)
    assert found.figure("gap_wh").value is None
    assert found.figure("peak_demand_w").flags == ("lower_bound",)


def test_a_gap_with_a_register_has_the_register_s_energy_and_says_so():
    power = np.full(361, 100_000.0)
    energy = register(power)
    power[61:180] = energy[61:180] = np.nan
    found = analyse(Parameters(), minutes(power_w=power, energy_wh=energy))
    assert value(found, "energy_wh") == pytest.approx(600_000, abs=1)
    assert value(found, "integrated_energy_wh") == pytest.approx(400_000)
    assert value(found, "gap_wh") == pytest.approx(200_000, abs=8)
    assert value(found, "gap_s") == 2 * 3600
    assert found.figure("gap_wh").flags == ("measured_by_register",)
    assert "measured_by_register" in found.figure("energy_wh").flags
    assert not found.findings


def test_a_quarter_of_which_too_little_is_known_never_raises_the_peak():
    power = np.full(61, 50_000.0)
    power[16:30] = 400_000.0
    power[22] = np.nan  # two of fifteen minutes are missing
    found = analyse(Parameters(), minutes(power_w=power))
    assert value(found, "peak_demand_w") < 75_000
    assert found.figure("peak_demand_w").flags == ("lower_bound",)


def test_the_quarters_at_the_ends_of_the_time_are_no_quarters():
    found = analyse(
        Parameters(), minutes(start_us=START_US + 7 * MINUTE_US, power_w=np.full(61, 1000.0))
    )
    assert found.figure("peak_demand_w").flags == ()
    (peak,) = found.spans_of("demand_peak")
    assert peak.start_us == START_US + QUARTER_US


@pytest.mark.parametrize("zone", ["Asia/Seoul", "Asia/Kathmandu", "Asia/Kolkata"])
def test_windows_of_demand_begin_with_the_local_hour(zone):
    place = ZoneInfo(zone)
    samples = minutes(zone=place, power_w=np.arange(241.0))
    (peak,) = analyse(Parameters(demand_s=3600), samples).spans_of("demand_peak")
    local = datetime.fromtimestamp(peak.start_us / US_PER_S, place)
    assert (local.minute, local.second) == (0, 0)


def test_import_and_export_within_one_step_do_not_cancel():
    power = np.tile([3000.0, -1000.0], 31)
    found = analyse(Parameters(), minutes(power_w=power))
    hours, each = 61 / 60, 1 / 2
    assert value(found, "energy_wh") == pytest.approx(3000 * 0.75 * each * hours)
    assert value(found, "exported_wh") == pytest.approx(1000 * 0.25 * each * hours)


def test_what_a_sample_stands_for_decides_its_energy():
    power = [0.0, 600.0, 600.0, 0.0]
    energies = [
        value(analyse(Parameters(power_is=kind), minutes(power_w=power)), "energy_wh")
        for kind in ("inst", "mean_right", "hold")
    ]
    assert energies == pytest.approx([20.0, 20.0, 20.0])
    power = [0.0, 600.0, 1200.0]
    energies = [
        value(analyse(Parameters(power_is=kind), minutes(power_w=power)), "energy_wh")
        for kind in ("inst", "mean_right", "hold")
    ]
    assert energies == pytest.approx([20.0, 30.0, 10.0])


@pytest.mark.parametrize(("factor", "is_found"), [(1.0, False), (1.005, False), (1.2, True)])
def test_a_register_that_is_not_the_integral_is_found(factor, is_found):
    power = 50_000 + 20_000 * np.sin(np.arange(1441) / 30)
    samples = minutes(power_w=power, energy_wh=register(power * factor))
    found = analyse(Parameters(), samples)
    assert value(found, "kappa_ratio") == pytest.approx(factor, rel=1e-4)
    codes = [finding.code for finding in found.findings]
    assert codes == (["register_not_integral"] if is_found else [])


def test_power_that_jumps_between_rare_samples_is_no_alarm():
    """What was not seen between samples is in the uncertainty of the comparison."""
    draw = np.random.default_rng(4)
    true_w = draw.choice([5_000.0, 90_000.0], 241)
    seen = true_w[::5]
    samples = Samples(
        START_US + np.arange(seen.size) * 5 * MINUTE_US,
        {"power_w": seen, "energy_wh": register(true_w)[::5]},
        8 * MINUTE_US,
    )
    found = analyse(Parameters(), samples)
    assert abs(value(found, "kappa_ratio") - 1.0) > 0.01
    assert not found.findings


def test_a_coarse_register_does_not_tell_the_demand_where_power_is_known():
    power = np.full(121, 7_300.0)
    coarse = np.floor(register(power) / 1000) * 1000
    samples = minutes(power_w=power, energy_wh=coarse)
    coarse_by_profile = Samples(
        samples.t_us,
        samples.values,
        samples.max_gap_us,
        {"energy_wh": Semantics(samples.max_gap_us, step=1000)},
    )
    found = analyse(Parameters(), coarse_by_profile)
    assert value(found, "peak_demand_w") == pytest.approx(7_300)


def test_a_meter_that_was_exchanged_is_told_and_its_step_left_to_the_integral():
    power = np.full(121, 75_000.0)
    energy = register(power)
    energy[60:] -= energy[60] - 20.0
    found = analyse(Parameters(), minutes(power_w=power, energy_wh=energy))
    assert "counter_fell" in {finding.code for finding in found.findings}
    assert value(found, "energy_wh") == pytest.approx(150_000, abs=4)
    assert value(found, "registered_energy_wh") == pytest.approx(150_000 - 1250, abs=4)


def test_classes_of_meter_and_transformer_make_the_uncertainty():
    power = np.full(121, 400_000.0)
    samples = minutes(power_w=power, energy_wh=register(power))
    found = analyse(Parameters(metering=MACHINE), samples)
    for name in ("energy_wh", "registered_energy_wh", "integrated_energy_wh", "peak_demand_w"):
        figure = found.figure(name)
        assert figure.value is not None
        assert figure.standard_uncertainty is not None
        share = figure.standard_uncertainty / figure.value
        assert 0.004 < share < 0.006, name
        assert figure.degrees_of_freedom is not None
    assert analyse(Parameters(), samples).figure("energy_wh").standard_uncertainty is None


def test_a_direction_in_which_nothing_flows_has_no_error_of_the_other():
    power = np.full(121, 400_000.0)
    power[60:90] = -100_000.0
    found = analyse(Parameters(metering=MACHINE), minutes(power_w=power))
    drawn, fed = found.figure("energy_wh"), found.figure("exported_wh")
    assert drawn.standard_uncertainty == pytest.approx(0.005 * value(found, "energy_wh"), rel=0.2)
    assert fed.standard_uncertainty == pytest.approx(0.009 * value(found, "exported_wh"), rel=0.2)
    never = analyse(Parameters(metering=MACHINE), minutes(power_w=np.full(121, 400_000.0)))
    assert never.figure("exported_wh").standard_uncertainty is None


def test_ratios_that_the_meter_does_not_apply_scale_power_and_register_alike():
    power = np.full(121, 400.0)
    secondary = Metering(ct_ratio=200, ratio_applied=False)
    found = analyse(
        Parameters(metering=secondary), minutes(power_w=power, energy_wh=register(power))
    )
    assert value(found, "energy_wh") == 160_000
    assert value(found, "kappa_ratio") == pytest.approx(1.0)
    assert value(found, "peak_demand_w") == pytest.approx(80_000)


@pytest.mark.parametrize(
    "points",
    [
        {"power_w": np.full(61, 90_000.0), "voltage_v": 400.0, "current_a": 80.0},
        {"power_l1_w": np.full(61, 30_000.0), "voltage_l1_v": 230.0, "current_l1_a": 80.0},
    ],
)
def test_power_that_voltage_and_current_cannot_carry_is_found(points):
    columns = {name: np.broadcast_to(column, 61) for name, column in points.items()}
    found = analyse(Parameters(), minutes(**columns))
    assert [finding.code for finding in found.findings] == ["power_impossible"]
    halved = {k: v / 2 if k.startswith("power") else v for k, v in columns.items()}
    assert not analyse(Parameters(), minutes(**halved)).findings


@given(
    st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=2, max_size=20),
    st.sampled_from([INST, MEAN_RIGHT, HOLD]),
)
def test_quadrants_add_up_to_the_reactive_energy(pairs, kind):
    p, q = np.array(pairs).T
    samples = minutes(power_w=p, reactive_var=q)
    one, two, three, four = quadrants(samples, p, q, kind).reactive_varh
    first = q[1:] if kind == MEAN_RIGHT else q[:-1]
    last = q[:-1] if kind == HOLD else q[1:]
    net = float((first + last).sum()) / 2 / 60
    assert one + two - three - four == pytest.approx(net, abs=1e-6, rel=1e-9)
    assert min(one, two, three, four) >= 0


def test_quadrants_are_cut_where_either_power_turns():
    """P from -1 to 1 kW and Q from 3 to -1 kvar: P turns at a half, Q at three quarters."""
    samples = minutes(power_w=[-1e3, 1e3], reactive_var=[3e3, -1e3])
    found = analyse(Parameters(), samples)
    areas = [value(found, f"reactive_q{k}_varh") * 60 for k in (1, 2, 3, 4)]
    assert areas == pytest.approx([1e3 * 0.25 / 2, 2e3 * 0.5, 0.0, 1e3 * 0.25 / 2])


@pytest.mark.parametrize(
    "points",
    [
        {"apparent_va": np.full(61, 10_000.0)},
        {"reactive_var": np.full(61, 6_000.0)},
        {"power_factor_ratio": np.full(61, -0.8)},
    ],
)
def test_a_power_factor_is_made_of_what_the_meter_tells(points):
    found = analyse(Parameters(), minutes(power_w=np.full(61, 8_000.0), **points))
    assert value(found, "power_factor_ratio") == pytest.approx(0.8)


def test_a_power_factor_is_a_ratio_of_sums():
    power = np.repeat([90_000.0, 0.0], 61)
    apparent = np.repeat([100_000.0, 1_000.0], 61)
    found = analyse(Parameters(power_is="hold"), minutes(power_w=power, apparent_va=apparent))
    assert value(found, "power_factor_ratio") == pytest.approx(61 * 0.9 / (61 + 60 * 0.01))


def test_the_profile_of_a_load():
    power = np.repeat([10_000.0, 90_000.0], 24 * 15)
    found = analyse(Parameters(power_is="hold"), minutes(power_w=np.append(power, 90_000.0)))
    assert value(found, "base_load_w") == pytest.approx(10_000)
    assert value(found, "mean_demand_w") == pytest.approx(50_000)
    assert value(found, "load_factor_ratio") == pytest.approx(5 / 9)
    short = analyse(Parameters(), minutes(power_w=np.full(61, 1.0)))
    assert "20 windows" in short.figure("base_load_w").why


@given(st.integers(1, 359), st.sampled_from(["inst", "mean_right", "hold"]))
def test_energy_of_a_time_is_the_sum_of_its_parts(cut, kind):
    power = np.random.default_rng(cut).uniform(-1e5, 1e6, 361)
    power[100:104] = np.nan
    parameters = Parameters(power_is=kind)
    whole = minutes(power_w=power)
    parts = [
        Samples(whole.t_us[part], {"power_w": power[part]}, whole.max_gap_us)
        for part in (slice(0, cut + 1), slice(cut, None))
    ]
    for name in ("energy_wh", "exported_wh"):
        found = [analyse(parameters, part).figure(name).value or 0.0 for part in parts]
        assert sum(found) == pytest.approx(value(analyse(parameters, whole), name), rel=1e-9)


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"power": "energy_wh"}, "name one in W"),
        ({"power_is": "trapezoid"}, "inst"),
        ({"demand_s": 1000}, "demand_s"),
        ({"max_power_w": 60_000}, "max_power_w"),
    ],
)
def test_mistakes_in_the_section_are_told(section, says):
    with pytest.raises(ValidationError, match=says):
        Parameters.model_validate(section)


def test_without_power_and_register_everything_has_a_reason():
    found = analyse(Parameters(), minutes(frequency_hz=np.full(61, 50.0)))
    assert all(figure.value is None and figure.why for figure in found.figures)
    assert not found.spans
    assert not found.findings


def test_points_may_have_other_names():
    power = np.full(121, 5_000.0)
    samples = minutes(total_w=power, first_wh=register(power))
    found = analyse(Parameters(power="total_w", energy="first_wh"), samples)
    assert value(found, "energy_wh") == 10_000
    assert value(found, "kappa_ratio") == pytest.approx(1.0)
