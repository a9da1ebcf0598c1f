from datetime import date

import numpy as np
import pytest

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.calendar import US_PER_HOUR
from joulemark_gateway.measure.roll_up import _sums, is_amount, roll_up
from joulemark_gateway.measure.sufficiency import CALTRACK_DAILY, ISO50006_PRODUCTION, Case
from support.steel import steel_works
from support.unit_data import changed, hours, of_edges

NAN = float("nan")


def by_half(found):
    """Units of which half was measured, as measured."""
    return found.data(min_measured_ratio=0.5, fills_units=False)


def test_a_day_is_the_sum_of_its_hours_and_the_mean_of_its_temperature():
    whole = hours(3)
    found = roll_up(whole, "day")
    assert found.covered_ratio.tolist() == [1, 1, 1]
    day = by_half(found)
    for k in range(3):
        part = slice(24 * k, 24 * (k + 1))
        assert day.energy_wh[k] == pytest.approx(whole.energy_wh[part].sum())
        assert day.drivers["production_kg"][k] == pytest.approx(
            whole.drivers["production_kg"][part].sum()
        )
        assert day.drivers["temperature_c"][k] == pytest.approx(
            whole.drivers["temperature_c"][part].mean()
        )


@pytest.mark.parametrize(("first", "n"), [(date(2021, 3, 28), 23), (date(2021, 10, 31), 25)])
def test_days_of_23_and_25_hours_are_whole(first, n):
    whole = hours(1, first=first, zone="Europe/Berlin")
    assert whole.n == n
    found = roll_up(whole, "day")
    assert found.measured.length_us.tolist() == [n * US_PER_HOUR]
    assert found.covered_ratio.tolist() == [1.0]
    less = roll_up(changed(whole, at=[3], to=NAN), "day")
    assert less.covered_ratio.tolist() == [(n - 1) / n]


def test_what_is_missing_is_not_zero():
    whole = changed(hours(2), at=slice(0, 6), to=NAN)
    found = roll_up(whole, "day")
    assert found.covered_ratio.tolist() == [0.75, 1.0]
    measured = np.nansum(whole.energy_wh[:24])
    as_measured = by_half(found).energy_wh[0]
    filled = found.data(min_measured_ratio=0.5, fills_units=True).energy_wh[0]
    assert as_measured == pytest.approx(measured)
    assert filled == pytest.approx(measured * 24 / 18)
    nothing = roll_up(changed(hours(2), at=slice(0, 24), to=NAN), "day")
    assert nothing.covered_ratio[0] == 0
    everything = nothing.data(min_measured_ratio=0, fills_units=True)
    assert np.isnan(everything.energy_wh[0])


@pytest.mark.parametrize(("missing", "is_used"), [(12, True), (13, False)])
def test_a_day_of_which_more_than_half_is_missing_does_not_count(missing, is_used):
    policy = CALTRACK_DAILY
    found = roll_up(changed(hours(2), at=slice(0, missing), to=NAN), "day")
    day = found.data(min_measured_ratio=policy.min_measured_ratio, fills_units=policy.fills_units)
    assert np.isfinite(day.energy_wh).tolist() == [is_used, True]
    judged = policy.judge_data(Case(day, covered_ratio=found.covered_ratio))
    assert "unit_mostly_missing" not in judged.failed
    careless = policy.judge_data(Case(found.measured, covered_ratio=found.covered_ratio))
    assert ("unit_mostly_missing" in careless.failed) is not is_used


@pytest.mark.parametrize(("missing", "is_used"), [(2, True), (3, False)])
def test_half_of_an_hour_is_enough(missing, is_used):
    quarters = of_edges(900_000_000 * np.arange(9), np.ones(8))
    found = roll_up(changed(quarters, at=slice(0, missing), to=NAN), "hour")
    hour = found.data(min_measured_ratio=0.5, fills_units=True)
    assert np.isfinite(hour.energy_wh).tolist() == [is_used, True]
    assert hour.energy_wh[1] == 4
    assert not is_used or hour.energy_wh[0] == 4


@pytest.mark.parametrize(("missing", "is_used"), [(2, True), (3, False)])
def test_a_plant_asks_for_nine_tenths_and_fills_nothing(missing, is_used):
    policy = ISO50006_PRODUCTION
    whole = changed(hours(1), at=slice(0, missing), to=NAN)
    day = roll_up(whole, "day").data(
        min_measured_ratio=policy.min_measured_ratio, fills_units=policy.fills_units
    )
    assert np.isfinite(day.energy_wh).tolist() == [is_used]
    assert not is_used or day.energy_wh[0] == pytest.approx(np.nansum(whole.energy_wh))


def test_each_stream_has_a_coverage_of_its_own():
    whole = changed(hours(2), "temperature_c", at=slice(0, 20), to=NAN)
    found = roll_up(whole, "day")
    assert found.covered_ratio.tolist() == [1, 1]
    assert found.driver_covered_ratio["temperature_c"].tolist() == [4 / 24, 1]
    day = by_half(found)
    assert np.isnan(day.drivers["temperature_c"]).tolist() == [True, False]
    assert np.isfinite(day.energy_wh).all()


def test_units_that_are_absent_lower_the_coverage_and_leave_no_hole_in_the_grid():
    whole = hours(4)
    there = np.arange(whole.n) // 24 != 2
    there[5] = False
    found = roll_up(whole.where(there), "day")
    assert found.covered_ratio.tolist() == [23 / 24, 1, 0, 1]
    assert np.isnan(found.measured.energy_wh).tolist() == [False, False, True, False]


def test_a_unit_that_lies_in_two_days_is_refused():
    with pytest.raises(MeasureError) as refused:
        roll_up(of_edges(US_PER_HOUR * np.arange(49), np.ones(48), zone="Asia/Kolkata"), "day")
    assert refused.value.code == "unit_across_edge"


def test_nothing_rolls_up_to_nothing():
    none = hours(1).where(np.zeros(24, bool))
    assert roll_up(none, "day").measured.n == roll_up(none, "hour").measured.n == 0


@pytest.mark.parametrize(
    ("name", "adds_up"),
    [
        ("production_kg", True),
        ("water_m3", True),
        ("piece_count", True),
        ("solar_wh", True),
        ("temperature_c", False),
        ("pressure_pa", False),
        ("load_ratio", False),
        ("anything", False),
    ],
)
def test_the_name_says_whether_a_driver_adds_up(name, adds_up):
    assert is_amount(name) is adds_up


def test_the_order_of_sums_does_not_hang_on_the_compiler():
    whole = hours(5)
    plain = getattr(_sums, "py_func", _sums)
    owner = np.arange(120) // 24
    for one, other in zip(
        _sums(owner, whole.energy_wh, whole.length_us, 5),
        plain(owner, whole.energy_wh, whole.length_us, 5),
        strict=True,
    ):
        assert one.tobytes() == other.tobytes()


def test_the_recorded_year_gives_its_days(plant_data):
    """Sums of two days and of the year as the origin of the recording states them."""
    found = roll_up(steel_works(plant_data), "day")
    days = found.measured
    assert days.n == 365
    assert days.energy_wh[134] == pytest.approx(3_660_680)
    assert days.energy_wh[7] == pytest.approx(5_318_510)
    assert np.nansum(days.energy_wh) == pytest.approx(959_636_710)
    assert found.covered_ratio[310] == 95 / 96
    assert np.delete(found.covered_ratio, 310).tolist() == [1.0] * 364
