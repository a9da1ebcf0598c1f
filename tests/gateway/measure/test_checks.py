import csv
import gzip
from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.calendar import US_PER_DAY, US_PER_HOUR
from joulemark_gateway.measure.checks import DATA_CHECKS
from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.linear import fit
from joulemark_gateway.measure.sufficiency import POLICIES, Case
from support.steel import steel_works
from support.unit_data import changed, days, hours, of_edges, plant_days

NAN = float("nan")
SPRING, AUTUMN = date(2021, 3, 20), date(2021, 10, 25)


def failed(data):
    return DATA_CHECKS.judge(data).failed


def seen(data, code):
    return max(one.seen for one in DATA_CHECKS.judge(data).findings if one.code == code)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_every_policy_makes_the_checks_and_their_version_is_theirs(policy):
    jump = changed(days(365), at=slice(200, None), to=days(365).energy_wh[200:] * 1000)
    found = policy.judge_data(Case(jump, days(30), production_cycle_days=7))
    assert "unit_changed" in found.failed
    assert {one.by for one in found.findings} == {policy.id, "data-checks"}
    assert (DATA_CHECKS.used().id, DATA_CHECKS.used().version) == ("data-checks", "1")


@pytest.mark.parametrize("data", [days(365), plant_days(200), hours(60), days(3), days(1)])
def test_data_of_a_building_or_a_plant_pass(data):
    assert failed(data) == ()


@pytest.mark.parametrize("name", ["energy_wh", "temperature_c"])
@pytest.mark.parametrize(("run", "codes"), [(6, ()), (7, ("stuck_value",))])
def test_a_daily_value_that_repeats_itself_seven_times_is_stuck(name, run, codes):
    stuck = changed(days(60), name, at=slice(20, 20 + run), to=17.5)
    assert failed(stuck) == codes
    assert seen(stuck, "stuck_value") == run


@pytest.mark.parametrize(("run", "codes"), [(24, ()), (25, ("stuck_value",))])
def test_an_hourly_value_is_stuck_after_a_day(run, codes):
    assert failed(changed(hours(10), at=slice(20, 20 + run), to=1050.0)) == codes


def test_a_hole_ends_a_run_and_zeros_and_categories_are_not_stuck():
    stuck = changed(days(60), at=slice(20, 30), to=17.5)
    assert failed(changed(stuck, at=[25], to=NAN)) == ()
    there = np.arange(60) != 25
    assert failed(stuck.where(there)) == ()
    assert failed(changed(plant_days(60), "production_kg", at=slice(20, 40), to=0.0)) == ()
    shift = replace(days(60), drivers={"shift_state": (np.arange(60) > 30).astype(float)})
    assert failed(shift) == ()


def test_a_counter_that_starts_anew_leaves_a_fall_that_no_export_can_be():
    whole = days(100)
    register_wh = np.concatenate([[0.0], np.cumsum(whole.energy_wh)])
    register_wh[60:] -= register_wh[59]  # a new meter
    assert failed(replace(whole, energy_wh=np.diff(register_wh))) == ("counter_fell",)
    rolled_wh = np.concatenate([[0.0], np.cumsum(whole.energy_wh)]) % 2**20
    assert failed(replace(whole, energy_wh=np.diff(rolled_wh))) == ("counter_fell",)


@pytest.mark.parametrize(("times", "codes"), [(-9.99, ()), (-10.01, ("counter_fell",))])
def test_a_fall_of_ten_median_units_is_the_limit(times, codes):
    whole = days(101)
    median = np.median(np.abs(changed(whole, at=[5], to=1e9).energy_wh))  # its fall is large too
    assert failed(changed(whole, at=[5], to=times * median)) == codes


def test_a_stamp_that_is_there_twice_is_refused():
    whole = days(20)
    twice = replace(whole, start_us=np.where(np.arange(20) == 7, whole.start_us[6], whole.start_us))
    with pytest.raises(MeasureError) as refused:
        DATA_CHECKS.judge(twice)
    assert refused.value.code == "duplicate_stamp"
    almost = replace(twice, start_us=twice.start_us + (np.arange(20) == 7))
    assert "uneven_step" in failed(almost)
    with pytest.raises(MeasureError) as refused:
        Data.of(
            {"start": twice.start_us, "energy_wh": twice.energy_wh}, unit_us=US_PER_DAY, zone="UTC"
        )
    assert refused.value.code == "duplicate_stamp"


@pytest.mark.parametrize(
    ("first", "length_h"), [(SPRING, 23), (AUTUMN, 25)], ids=["spring", "autumn"]
)
def test_local_days_of_23_and_25_hours_are_days(first, length_h):
    whole = days(14, first=first, zone="Europe/Berlin")
    assert length_h * US_PER_HOUR in whole.length_us
    assert failed(whole) == ()
    of_24_hours = whole.start_us[0] + US_PER_DAY * np.arange(15)
    shifted = of_edges(of_24_hours, whole.energy_wh, whole.drivers, "Europe/Berlin")
    assert failed(shifted) == ("wrong_day_length",)
    assert seen(shifted, "wrong_day_length") == 1


def test_days_that_are_all_called_24_hours_overlap_or_leave_an_hour():
    for first in (SPRING, AUTUMN):
        whole = days(14, first=first, zone="Europe/Berlin")
        flat = replace(whole, length_us=np.full(14, US_PER_DAY))
        assert failed(flat) == ("wrong_day_length",)


@pytest.mark.parametrize(("ratio", "codes"), [(0.049, ()), (0.051, ("uneven_step",))])
def test_stamps_jitter_by_less_than_a_twentieth_of_the_step(ratio, codes):
    whole = hours(10)
    late = (np.arange(whole.n) == 100) * int(ratio * US_PER_HOUR)
    assert failed(replace(whole, start_us=whole.start_us + late)) == codes


def test_a_unit_that_is_absent_is_no_uneven_step():
    whole = hours(10)
    assert failed(whole.where(np.arange(whole.n) != 100)) == ()


FACTORS = [1000, 1 / 1000, 3.6, 1 / 3.6]


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("place", [60, 180, 300])
@pytest.mark.parametrize("make", [days, plant_days])
def test_a_change_of_the_unit_is_found(factor, place, make):
    whole = make(365)
    turned = changed(whole, at=slice(place, None), to=whole.energy_wh[place:] * factor)
    assert failed(turned) == ("unit_changed",)
    assert seen(turned, "unit_changed") == pytest.approx(max(factor, 1 / factor))


@pytest.mark.parametrize("factor", [1.5, 2.0, 2.8, 4.6, 10.0, 100.0, 200.0, 5000.0])
def test_another_step_is_a_change_of_the_plant(factor):
    whole = days(365)
    turned = changed(whole, at=slice(180, None), to=whole.energy_wh[180:] * factor)
    assert failed(turned) == ()


def test_a_driver_that_changes_its_unit_is_found_and_a_temperature_is_not_judged():
    plant = plant_days(200)
    tonnes = plant.drivers["production_kg"][100:] / 1000
    assert failed(changed(plant, "production_kg", at=slice(100, None), to=tonnes)) == (
        "unit_changed",
    )
    building = days(200)
    fahrenheit = building.drivers["temperature_c"][100:] * 3.6
    assert failed(changed(building, "temperature_c", at=slice(100, None), to=fahrenheit)) == ()


def test_a_shutdown_a_ramp_and_the_weekend_are_no_change_of_the_unit():
    plant = plant_days(300)
    closed = changed(plant, at=slice(100, 120), to=plant.energy_wh[100:120] / 3.6)
    assert failed(closed) == ()
    ramp = plant.energy_wh * np.linspace(1, 12, 300)
    assert failed(changed(plant, at=slice(None), to=ramp)) == ()


def warned(baseline, reporting):
    found = DATA_CHECKS.judge(baseline, reporting)
    assert found.failed == ()
    return [(one.code, one.subject, one.seen) for one in found.warnings if not one.passed]


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize(("beyond", "told"), [(0.0499, False), (0.0501, True)])
def test_a_driver_outside_its_range_is_told_with_its_share(side, beyond, told):
    before = days(365)
    column = before.drivers["temperature_c"]
    low, high = column.min(), column.max()
    edge = low if side < 0 else high
    reached = edge + side * beyond * (high - low)
    after = changed(days(50), "temperature_c", at=[3, 9], to=reached)
    expected = [("driver_extrapolated", "temperature_c", 2 / 50)] if told else []
    assert warned(before, after) == expected


def test_a_missing_driver_is_in_no_share():
    after = changed(days(50), "temperature_c", at=[3], to=1e3)
    after = changed(after, "temperature_c", at=slice(10, 50), to=NAN)
    assert warned(days(365), after) == [("driver_extrapolated", "temperature_c", 1 / 10)]


def test_a_unit_far_from_all_others_together_is_told_though_each_driver_is_in_its_range():
    draw = np.random.default_rng(5)
    first = draw.random(100)
    drivers = np.column_stack([first, first + 0.05 * draw.random(100)])
    model = fit(drivers, first + draw.random(100), np.arange(100))
    near, far = [1.0, 0.5, 0.52], [1.0, 0.2, 0.8]
    (fine,) = DATA_CHECKS.leverage(model, np.array([near, near]))
    (told,) = DATA_CHECKS.leverage(model, np.array([near, far, [1.0, NAN, 0.5]]))
    assert (fine.seen, fine.passed) == (0, True)
    assert (told.code, told.seen, told.passed) == ("far_from_baseline", 0.5, False)
    assert DATA_CHECKS.leverage(model, np.array([[1.0, NAN, NAN]])) == ()


@pytest.mark.parametrize(("ratio", "is_told"), [(0.999, False), (1.001, True)])
def test_a_leverage_of_twice_p_over_n_is_the_limit(ratio, is_told):
    x = np.arange(100.0)
    model = fit(x[:, None], x + np.sin(x), np.arange(100))
    asked = ratio * 2 * 2 / 100
    away = np.sqrt((asked - 1 / 100) * np.sum((x - x.mean()) ** 2))  # h = 1/n + d^2 / Sxx
    (told,) = DATA_CHECKS.leverage(model, np.array([[1.0, x.mean() + away]]))
    assert told.passed is not is_told


def test_recorded_meters_pass(plant_data):
    """Of the samples of buildings and of the steel works none changes its unit or is stuck."""
    folder = plant_data / "mv/opendsm_samples"
    for name in ("il-electricity-cdd-hdd-daily", "il-gas-hdd-only-daily"):
        with gzip.open(folder / f"{name}.csv.gz", "rt") as file:
            rows = [row for row in csv.DictReader(file) if row["value"]]
        stamps = [np.datetime64(row["start"][:10], "us").astype(np.int64) for row in rows]
        table = {"start": np.array(stamps), "energy_wh": [float(row["value"]) for row in rows]}
        found = failed(Data.of(table, unit_us=US_PER_DAY, zone="UTC"))
        assert found == ()
    quarter_hours = steel_works(plant_data)
    assert failed(quarter_hours) == ()
