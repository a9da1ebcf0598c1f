from datetime import UTC, datetime

import numpy as np
import pytest

from joulemark_agent.equipment.base import US_PER_S, Samples
from joulemark_agent.equipment.days import day_edges_us
from joulemark_agent.equipment.pv_inverter import Parameters, analyse
from support.analyses import value

QUARTER_US = 900 * US_PER_S
START_US = 1_641_081_600 * US_PER_S  # 2022-01-02T00:00Z
TRUE_WH = (330_564.1, 326_005.9, 421_994.2, 377_322.5, 0.0)


@pytest.fixture(scope="module")
def roof(recorded):
    """Five days of one inverter; its counter is the AC energy so far, from a value above 0."""
    table = recorded("pv_nrel_rsf2_dc_ac/nrel_RSF_II.csv.gz", "", "%m/%d/%Y %H:%M")
    ac = table["inv2_ac_power_w__1047"]
    so_far = 5_000_000 + np.append(0, np.cumsum(ac * 0.25)[:-1])
    values = {
        "ac_power_w": ac,
        "dc_power_w": table["inv2_dc_power__1135"],
        "dc_voltage_v": table["inv2_dc_voltage__1048"],
        "dc_current_a": table["inv2_dc_current__1049"],
        "generated_wh": np.rint(so_far),
        "operating_state": np.where(ac > 0, 4.0, 8.0),
        "irradiance_w_m2": table["poa_irradiance__1055"],
    }
    return Samples((table["t_s"] * US_PER_S).astype(np.int64), values, 3 * QUARTER_US)


def without(samples: Samples, *points: str) -> Samples:
    values = {name: column for name, column in samples.values.items() if name not in points}
    return Samples(samples.t_us, values, samples.max_gap_us)


def test_the_roof_s_energy_of_each_day_is_known(roof):
    days = analyse(Parameters(), roof).spans_of("day")
    assert [value(day, "net_ac_wh") for day in days] == pytest.approx(TRUE_WH, abs=0.1)
    assert [value(day, "generated_wh") for day in days] == pytest.approx(TRUE_WH, abs=1)


def test_the_days_add_up_to_the_whole(roof):
    analysis = analyse(Parameters(), roof)
    days = analysis.spans_of("day")
    for name in ("generated_wh", "net_ac_wh", "dc_wh", "irradiation_wh_m2"):
        assert sum(value(day, name) for day in days) == pytest.approx(value(analysis, name))


def test_the_day_of_sun_without_ac_is_the_only_alarm(roof):
    analysis = analyse(Parameters(), roof)
    (finding,) = analysis.findings
    assert finding.code == "sun_without_ac"
    assert datetime.fromtimestamp(finding.start_us / US_PER_S, UTC).isoformat() == (
        "2022-01-06T00:00:00+00:00"
    )
    assert "1341 Wh/m2" in finding.what
    assert "state 8 (standby)" in finding.what
    (span,) = analysis.spans_of("sun_without_ac")
    assert value(span, "irradiation_wh_m2") == pytest.approx(1340.8, abs=0.05)


def test_without_irradiance_the_dc_voltage_shows_light_but_claims_no_sun(roof):
    analysis = analyse(Parameters(dc_peak_w=120_000), without(roof, "irradiance_w_m2"))
    assert [finding.code for finding in analysis.findings] == ["light_without_ac"]
    assert "how much is not measured" in analysis.findings[0].what
    assert analysis.figure("performance_ratio").value is None
    assert "No irradiance" in analysis.figure("performance_ratio").why
    assert analysis.figure("specific_yield_wh_per_w").value == pytest.approx(12.132, abs=0.001)


def test_without_irradiance_and_dc_voltage_nothing_is_said_of_the_day(roof):
    assert analyse(Parameters(), without(roof, "irradiance_w_m2", "dc_voltage_v")).findings == ()


def test_a_day_that_was_not_read_is_no_day_without_ac(roof):
    ac = roof.values["ac_power_w"].copy()
    ac[-96:] = np.nan
    values = {**roof.values, "ac_power_w": ac}
    analysis = analyse(Parameters(), Samples(roof.t_us, values, roof.max_gap_us))
    assert analysis.findings == ()
    last = {figure.name: figure for figure in analysis.spans_of("day")[-1].figures}
    assert last["net_ac_wh"].value is None


def test_the_roof_s_dc_power_is_voltage_times_current(roof):
    assert value(analyse(Parameters(), roof), "dc_deviation_ratio") < 1e-4


def test_efficiency_is_a_ratio_of_sums(roof):
    expected = sum(TRUE_WH) / (roof.values["dc_power_w"].sum() / 4)
    found = value(analyse(Parameters(), roof), "efficiency_ratio")
    assert found == pytest.approx(expected, rel=1e-6)


def made(**columns) -> Samples:
    size = len(next(iter(columns.values())))
    t_us = START_US + np.arange(size) * QUARTER_US
    values = {name: np.array(column, np.float64) for name, column in columns.items()}
    return Samples(t_us, values, 3 * QUARTER_US)


def test_a_wrong_scale_of_the_current_is_found():
    voltage, current = np.full(20, 400.0), np.linspace(1.0, 20.0, 20)
    samples = made(dc_voltage_v=voltage, dc_current_a=current * 1.1, dc_power_w=voltage * current)
    analysis = analyse(Parameters(), samples)
    assert [finding.code for finding in analysis.findings] == ["dc_not_v_times_i"]
    assert value(analysis, "dc_deviation_ratio") == pytest.approx(0.1)


def test_coarse_registers_are_no_finding():
    """Steps of 1 V, 0.1 A and 10 W: up to 4 % apart, and no more than the registers can tell."""
    rng = np.random.default_rng(2)
    voltage, current = rng.uniform(350, 450, 200), rng.uniform(1, 5, 200)
    samples = made(
        dc_voltage_v=np.rint(voltage),
        dc_current_a=np.round(current, 1),
        dc_power_w=np.round(voltage * current, -1),
    )
    analysis = analyse(Parameters(), samples)
    assert value(analysis, "dc_deviation_ratio") > 0.01, "the ratio alone would be a finding"
    assert analysis.findings == ()


def test_what_is_drawn_at_night_stays_negative():
    """A recorded inverter reads -2.8 W all night: consumption, not export and not zero."""
    analysis = analyse(Parameters(), made(ac_power_w=[-2.8] * 40 + [1000.0] * 8 + [-2.8] * 49))
    assert value(analysis, "drawn_wh") == pytest.approx(-2.8 * 88 / 4)
    assert value(analysis, "net_ac_wh") == pytest.approx(1000 * 2 - 2.8 * 88 / 4)


def test_the_performance_ratio_needs_sun_and_ac_at_the_same_time():
    sun = np.full(97, 500.0)
    sun[40:60] = np.nan
    samples = made(ac_power_w=np.full(97, 400.0), irradiance_w_m2=sun)
    figure = analyse(Parameters(dc_peak_w=1000), samples).figure("performance_ratio")
    assert figure.value == pytest.approx(0.8)
    assert figure.covered_ratio == pytest.approx((96 - 21) / 96)
    assert "dc_peak_w" in analyse(Parameters(), samples).figure("performance_ratio").why


def test_a_pyranometer_s_offset_at_night_is_no_negative_sun():
    samples = made(ac_power_w=np.zeros(97), irradiance_w_m2=np.full(97, -4.0))
    assert value(analyse(Parameters(), samples), "irradiation_wh_m2") == 0.0


def test_a_counter_that_falls_is_a_finding():
    samples = made(ac_power_w=np.zeros(4), generated_wh=[500, 510, 3, 9])
    analysis = analyse(Parameters(), samples)
    assert [finding.code for finding in analysis.findings] == ["counter_fell"]
    assert value(analysis, "generated_wh") == 16


def test_days_end_at_local_midnight_also_when_the_clock_changes():
    start, end = (
        int(datetime(2022, 3, day, 12, tzinfo=UTC).timestamp()) * US_PER_S for day in (26, 28)
    )
    berlin = np.diff(day_edges_us(start, end, "Europe/Berlin")) // (3600 * US_PER_S)
    seoul = day_edges_us(start, end, "Asia/Seoul")
    assert berlin.tolist() == [24, 23, 24]
    assert (seoul % (86_400 * US_PER_S)).tolist() == [15 * 3600 * US_PER_S] * seoul.size
    assert seoul[0] <= start
    assert seoul[-1] >= end


def test_a_day_that_the_calendar_skipped_is_no_day():
    """Samoa went from 29 to 31 December 2011."""
    start, end = (
        int(datetime(2011, 12, day, tzinfo=UTC).timestamp()) * US_PER_S for day in (29, 31)
    )
    apia = np.diff(day_edges_us(start, end, "Pacific/Apia")) // (3600 * US_PER_S)
    assert apia.tolist() == [24, 24, 24]


@pytest.mark.parametrize(("ac_w", "codes"), [(97.0, []), (166.0, ["efficiency_above_one"])])
def test_more_ac_than_dc_energy_is_a_finding(ac_w, codes):
    samples = made(ac_power_w=[ac_w] * 8, dc_power_w=[100.0] * 8)
    assert [item.code for item in analyse(Parameters(), samples).findings] == codes


def test_power_that_stands_still_for_hours_is_a_finding_and_the_night_is_none(roof):
    ac = roof.values["ac_power_w"].copy()
    noon = int(np.argmax(ac))
    kept = ac[noon - 4 : noon + 8]
    stuck = Samples(roof.t_us, {**roof.values, "ac_power_w": ac}, roof.max_gap_us)
    kept[:] = ac[noon]
    [finding] = [f for f in analyse(Parameters(), stuck).findings if f.code == "power_stuck"]

    assert (finding.start_us, finding.end_us) == (roof.t_us[noon - 4], roof.t_us[noon + 7])
    assert "12 of 480" in finding.what
    assert not [f for f in analyse(Parameters(), roof).findings if f.code == "power_stuck"]


def test_an_inverter_that_says_it_is_throttled_may_stand_still(roof):
    throttled = {
        "ac_power_w": np.full(roof.t_us.size, 30_000.0),
        "operating_state": np.full(roof.t_us.size, 5.0),
    }
    silent = Samples(roof.t_us, without_state(throttled), roof.max_gap_us)
    told = Samples(roof.t_us, throttled, roof.max_gap_us)

    assert [f.code for f in analyse(Parameters(), silent).findings] == ["power_stuck"]  # control
    assert not analyse(Parameters(), told).findings


def without_state(values):
    return {name: column for name, column in values.items() if name != "operating_state"}


def codes(analysis) -> list[str]:
    return [finding.code for finding in analysis.findings]


@pytest.mark.parametrize("told", [-999.0, 6553.5])
def test_irradiance_that_no_sun_gives_is_missing_and_a_finding(told):
    rng = np.random.default_rng(1)
    sun = rng.uniform(400, 600, 97)
    ac = 0.8 * sun
    sun[10:50] = told
    samples = made(ac_power_w=ac, irradiance_w_m2=sun)
    analysis = analyse(Parameters(dc_peak_w=1000), samples)
    figure = analysis.figure("performance_ratio")
    assert figure.value == pytest.approx(0.8)
    assert figure.covered_ratio == pytest.approx((96 - 41) / 96)
    assert codes(analysis) == ["irradiance_impossible"]


def test_a_sensor_that_stands_still_in_the_light_is_a_finding_and_in_the_dark_none():
    rng = np.random.default_rng(1)
    sun = rng.uniform(400, 600, 97)
    ac = 0.8 * sun
    sun[50:] = 2.0
    assert codes(analyse(Parameters(), made(ac_power_w=ac, irradiance_w_m2=sun))) == []
    sun[10:30] = 812.0
    found = analyse(Parameters(), made(ac_power_w=ac, irradiance_w_m2=sun)).findings
    assert [finding.code for finding in found] == ["irradiance_stuck"]
    assert "20 of 97" in found[0].what


@pytest.mark.parametrize(
    ("declared", "figure"),
    [
        ({"dc_peak_w": 120}, "performance_ratio"),  # kW
        ({"dc_peak_w": 120}, "specific_yield_wh_per_w"),
        ({"dc_peak_w": 120_000, "gamma_per_k": -0.004, "ac_limit_w": 40_000}, "clipped_s"),
        ({"dc_peak_w": 120_000, "gamma_per_k": -0.004, "ac_limit_w": 75}, "clipped_s"),
    ],
)
def test_a_rating_that_the_power_exceeds_is_a_finding_and_tells_nothing(roof, declared, figure):
    air = np.full(roof.t_us.size, 290.0)
    warm = Samples(roof.t_us, {**roof.values, "ambient_temperature_k": air}, roof.max_gap_us)
    analysis = analyse(Parameters(**declared), warm)
    name = list(declared)[-1]
    (finding,) = [f for f in analysis.findings if f.code == "rating_exceeded"]
    assert name in finding.what
    assert analysis.figure(figure).value is None
    assert name in analysis.figure(figure).why


def test_hardly_any_light_gives_no_ratio():
    """A quarter of an hour at dawn, every minute: the inverter draws more than it gives."""
    light = {"irradiance_w_m2": [3.0] * 16, "dc_power_w": [5.0] * 16, "ac_power_w": [-20.0] * 16}
    t_us = START_US + np.arange(16) * 60 * US_PER_S
    values = {name: np.array(column) for name, column in light.items()}
    found = analyse(Parameters(dc_peak_w=10_000), Samples(t_us, values, QUARTER_US))
    assert found.figure("performance_ratio").value is None
    assert "20 W/m2" in found.figure("performance_ratio").why
    assert found.figure("efficiency_ratio").value is None
    assert "drew more" in found.figure("efficiency_ratio").why
    assert value(found, "net_ac_wh") == pytest.approx(-5.0)


def test_a_night_without_any_light_is_no_day_without_ac():
    volts = np.random.default_rng(1).uniform(0.0, 1.0, 40)
    dark = made(ac_power_w=np.full(40, -3.0), dc_voltage_v=volts)
    assert codes(analyse(Parameters(), dark)) == []
