"""Which units and events stand in both sums, and those that nothing may be said of."""
# mypy: disable-error-code="union-attr, operator, arg-type, type-var, misc"
# (None where a value is looked at ends the test all the same)

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure import (
    Baseline,
    Plan,
    avoided_energy,
    minimum_detectable_saving,
    normalised_savings,
)
from joulemark_gateway.measure.adjustments import Adjustment
from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.families import Production, TimeOfWeek
from joulemark_gateway.measure.incremental import RunningSaving
from joulemark_gateway.measure.models.production import activity, weather
from joulemark_gateway.measure.roll_up import roll_up
from joulemark_gateway.measure.run import measure
from joulemark_gateway.measure.uncertainty import lag_one_correlation
from joulemark_gateway.measure.verdict import Override
from support.buildings import EVENT, WEATHER, planned, thermometer, weather_driver
from support.histories import (
    COUNTER,
    DAY_US,
    HOUR_US,
    METER,
    daily_plant,
    day_of,
    factors,
    histories,
    history,
    total,
)
from support.plants import days
from support.present import present

HOURS, SUNDAY = 140 * 24, 3  # 1970 began on a Thursday
MADE = Plan(
    "iso50006-production",
    "lower-bound-one-sided-95",
    model=Production((activity("production_kg", "kg"),)),
    production_cycle_days=7,
)
PRODUCT = {"device": COUNTER, "point": "production_kg", "name": "product", "synthetic": False}


def hourly(meter):
    draw = np.random.default_rng(3)
    kelvin = 283 + 5 * np.sin(np.arange(HOURS + 1) / 12 * np.pi) + draw.normal(0, 2, HOURS + 1)
    return {
        METER: meter,
        COUNTER: history(
            COUNTER, "production_kg", total(draw.integers(10, 40, HOURS)), period_us=HOUR_US
        ),
        WEATHER: thermometer(kelvin),
    }


def used_wh():
    draw = np.random.default_rng(4)
    return 5000 + 3000 * (np.arange(HOURS) % 24 > 8) + draw.integers(0, 400, HOURS)


def test_times_that_the_baseline_never_saw_are_left_out_and_told():
    lost = [k for k in range(70 * 24) if k // 24 % 7 == SUNDAY and k % 24]
    meter = history(METER, "energy_wh", total(used_wh()), period_us=HOUR_US, lost=lost)
    result = measure(planned("time-of-week-temperature", unit="hour"), hourly(meter), factors())
    unknown = [one for one in result.units if "unknown_to_the_model" in one.reasons]
    assert result.model.cells == 168 - 24
    assert len(unknown) == 10 * 24
    assert all(one.masked and one.predicted_wh is None for one in unknown)
    assert result.reporting.masked == sum(month.masked for month in result.saving.months) == 240
    assert abs(result.saving.avoided_wh) <= result.saving.half_width_wh


@pytest.mark.parametrize("family", ["automatic", "time-of-week-temperature"])
def test_hours_in_part_are_no_saving_of_whoever_chose_times_of_the_week(family):
    lost = [20 * k + 10 for k in range(70 * 24 + 12, HOURS, 24)]  # six minutes of a busy hour
    steps = np.repeat(used_wh() // 20, 20)
    meter = history(METER, "energy_wh", total(steps), period_us=HOUR_US // 20, lost=lost)
    project = planned(family, unit="hour", drivers=[PRODUCT, weather_driver()])
    result = measure(project, hourly(meter), factors())
    assert result.engine.method == "time-of-week-temperature-60min"
    assert abs(result.saving.avoided_wh) <= result.saving.half_width_wh
    assert result.reporting.masked == 70


def event(first, end, treatment="engineering-estimate", **more):
    dates = {"from": day_of(first), "to": day_of(end)}
    stated = {"value_wh": "90000", "u_wh": "20000"} if treatment == "engineering-estimate" else {}
    return {**EVENT, "dates": dates, "treatment": treatment, **stated, **more}


@pytest.mark.parametrize(
    ("events", "why"),
    [
        ([event(100, 110), event(105, 106, "exclude", id="holiday")], "counts once"),
        ([event(60, 110)], "begins in the reporting period"),
        ([event(10, 12)], "begins in the reporting period"),
        ([event(60, 110, "indicator")], "begins in the reporting period"),
        ([event(100, 110, "indicator"), event(109, 112, id="other")], "cannot tell it"),
    ],
)
def test_an_event_with_a_value_counts_once_and_whole(events, why):
    with pytest.raises(ValidationError, match=why):
        planned(non_routine=events)


def test_events_found_from_the_days_without_them_do_not_take_one_another_for_usual():
    kg, energy = daily_plant(saved_wh=20_000)
    energy[75:90] += 60_000
    energy[110:125] += 60_000
    events = [event(75, 90, "indicator"), event(110, 125, "indicator", id="other")]
    saving = measure(planned(non_routine=events), histories(kg, energy), factors()).saving
    assert [one.value_wh for one in saving.events] == pytest.approx([15 * 60_000] * 2, rel=0.05)
    assert abs(saving.avoided_wh - 70 * 20_000) <= saving.half_width_wh


def test_an_event_that_is_left_out_may_be_anywhere():
    assert planned(non_routine=[event(60, 110, "exclude")])


def test_the_value_of_an_event_whose_days_nobody_measured_refuses():
    found = histories(*daily_plant(saved_wh=20_000), lost=range(100, 112))
    result = measure(planned(non_routine=[event(101, 110)]), found, factors())
    assert result.codes == ("event_not_counted",)
    assert result.saving is None


def test_an_event_that_is_not_over_has_no_value_yet_and_one_to_come_none_at_all():
    found = histories(*daily_plant(saved_wh=20_000))
    result = measure(planned(non_routine=[event(130, 150)]), found, factors())
    assert (result.codes, result.saving) == (("event_partly_outside",), None)
    assert measure(planned(non_routine=[event(150, 151)]), found, factors()).saving.events == ()
    so_far = measure(planned(non_routine=[event(130, 150, "indicator")]), found, factors())
    assert len(so_far.saving.events) == 1


def test_an_event_over_a_change_of_factors_has_the_factor_of_each_of_its_days():
    rows = (("0.4", "0.05", "1960-01-01", day_of(105)), ("0.5", "0.10", day_of(105), "2030-01-01"))
    found = histories(*daily_plant(saved_wh=20_000))
    (worth,) = measure(planned(non_routine=[event(100, 110)]), found, factors(*rows)).saving.events
    assert worth.avoided_kg == pytest.approx(90 * 0.45, rel=1e-12)
    error_kg = 90 * (0.4 * 0.05 + 0.5 * 0.10) / 2
    assert worth.avoided_kg * worth.factor_ratio == pytest.approx(error_kg, rel=1e-12)


def test_units_of_another_length_are_refused():
    draw = np.random.default_rng(5)
    kg = draw.uniform(5, 30, 130)
    data = days(2e6 + 100 * kg + draw.normal(0, 50, 130), production_kg=kg)
    before, after = data.where(data.position < 90), data.where(data.position >= 90)
    baseline = Baseline.fit(before, MADE)
    hours = Data(
        after.start_us[0] + np.arange(48) * HOUR_US,
        np.full(48, HOUR_US, np.int64),
        after.position[0] + np.arange(48),
        np.ones(48),
        {"production_kg": np.ones(48)},
        after.zone,
    )
    assert avoided_energy(baseline, after).value_wh is not None
    for use in (
        lambda: avoided_energy(baseline, hours),
        lambda: baseline.predict(hours),
        lambda: minimum_detectable_saving(baseline, hours),
        lambda: RunningSaving.of(baseline).add(RunningSaving.of(baseline).begin(), hours),
    ):
        with pytest.raises(MeasureError) as refused:
            use()
        assert refused.value.code == "other_units"


@pytest.mark.parametrize(
    ("first", "end", "lost", "code"),
    [
        (88, 95, (), "event_partly_outside"),
        (128, 131, (), "event_partly_outside"),
        (100, 102, (100, 101), "event_not_counted"),
        (100, 102, (100,), None),
        (90, 130, (), None),
        (80, 90, (), None),
    ],
)
def test_an_adjustment_is_worth_something_only_in_its_own_period(first, end, lost, code):
    draw = np.random.default_rng(8)
    kg = draw.uniform(5, 30, 130)
    energy = 2e4 + 100 * kg + draw.normal(0, 50, 130)
    energy[list(lost)] = np.nan
    data = days(energy, production_kg=kg)
    one = Adjustment(
        "trial", int(data.start_us[0]) + first * DAY_US, int(data.start_us[0]) + end * DAY_US,
        "a second shift was tried", "0" * 64, "J. Kim", "A. Park", "engineering-estimate",
        9e5, 1e4,
    )  # fmt: skip
    of = replace(MADE, adjustments=(one,))
    saving = avoided_energy(
        Baseline.fit(data.where(data.position < 90), of), data.where(data.position >= 90)
    )
    assert [found.code for found in saving.refused_by] == ([code] if code else [])
    if code is None:
        own = saving.amounts.saving.value
        assert saving.value_wh == pytest.approx(own + (9e5 if end > 90 else 0))


def test_a_normal_year_far_from_either_baseline_refuses():
    draw = np.random.default_rng(6)
    kg = np.append(draw.uniform(5, 30, 90), draw.uniform(40, 60, 90))
    data = days(2e4 + 100 * kg + draw.normal(0, 50, 180), production_kg=kg)
    first = Baseline.fit(data.where(data.position < 90), MADE)
    second = Baseline.fit(data.where(data.position >= 90), MADE)
    saving = normalised_savings(first, second, data.where(data.position < 90))
    assert saving.amounts is None
    (refused,) = saving.refused_by
    assert (refused.code, refused.subject) == ("driver_out_of_range", "after: production_kg")
    assert "driver_extrapolated" in {one.code for one in saving.warnings}
    assert normalised_savings(first, first, data.where(data.position < 90)).value_wh == 0


def test_days_that_are_absent_lower_the_coverage():
    draw = np.random.default_rng(7)
    kg = draw.uniform(5, 30, 130)
    data = days(2e4 + 100 * kg + draw.normal(0, 50, 130), production_kg=kg)
    after = data.where((data.position >= 90) & (data.position % 4 != 3))
    saving = avoided_energy(Baseline.fit(data.where(data.position < 90), MADE), after)
    assert (saving.coverage.units, saving.coverage.kept) == (40, 30)
    nothing = after.where(after.position < 0)
    assert avoided_energy(saving.baseline, nothing).coverage.ratio == 0.0


def quarters(holes=()):
    """Five months of a plant by the quarter-hour; the meter is silent where the holes are."""
    draw = np.random.default_rng(9)
    n = 150 * 96
    kg = draw.uniform(5, 30, n)
    energy = 500 + 100 * kg + draw.normal(0, 50, n)
    energy[list(holes)] = np.nan
    starts = np.arange(n) * (HOUR_US // 4)
    frame = {"start": starts, "energy_wh": energy, "production_kg": kg}
    return Data.of(frame, drivers=["production_kg"], unit_us=HOUR_US // 4, zone="UTC")


@pytest.mark.parametrize("family", [MADE.model, TimeOfWeek(None, production=("production_kg",))])
def test_what_was_not_measured_of_a_day_is_no_saving(family):
    policy = MADE.sufficiency
    holes = [96 * day + place for day in range(90, 148) for place in range(40, 46)]
    days_of = roll_up(quarters(holes), "day").data(
        min_measured_ratio=policy.min_measured_ratio, fills_units=policy.fills_units
    )
    assert days_of.counted_us[[0, 100]].tolist() == [DAY_US, DAY_US // 96 * 90]
    baseline = Baseline.fit(
        days_of.where(days_of.position < 90),
        replace(MADE, model=family, override=Override("J", "R", frozenset({"low_adjusted_r2"}))),
    )
    saving = avoided_energy(baseline, days_of.where(days_of.position >= 90))
    assert abs(present(saving.value_wh)) <= present(saving.half_width_wh)
    assert saving.coverage.kept == (60 if family is MADE.model else 2)


def test_all_streams_together_must_have_measured_enough_of_a_day():
    both = quarters(holes=range(8))
    other = both.driver("production_kg").copy()
    other[8:16] = np.nan
    both = replace(both, drivers={"production_kg": other})
    first = roll_up(both, "day").data(min_measured_ratio=0.9, fills_units=False)
    assert np.isnan([first.energy_wh[0], first.driver("production_kg")[0]]).all()
    least = roll_up(both, "day").data(min_measured_ratio=0.8, fills_units=False)
    assert least.counted_us[0] == DAY_US // 96 * 80
    assert least.energy_wh[0] == pytest.approx(both.energy_wh[16:96].sum(), rel=1e-12)
    assert least.driver("production_kg")[0] == pytest.approx(other[16:96].sum(), rel=1e-12)


@pytest.mark.parametrize("name", ["temperature_c", "supply_k"])
def test_a_temperature_works_for_as_long_as_a_day_was_measured(name):
    draw = np.random.default_rng(10)
    degrees = draw.uniform(0, 25, 150)
    measured_us = np.where(np.arange(150) < 90, DAY_US, DAY_US // 100 * 92)
    energy = (1e6 - 2e4 * degrees + 1e3 * draw.standard_normal(150)) * measured_us / DAY_US
    data = replace(days(energy), drivers={name: degrees}, measured_us=measured_us)
    of = replace(
        MADE,
        model=Production((weather(name, "K"),)),
        override=Override("J", "R", frozenset({"no_activity_driver"})),
    )
    saving = avoided_energy(
        Baseline.fit(data.where(data.position < 90), of), data.where(data.position >= 90)
    )
    assert abs(present(saving.value_wh)) <= present(saving.half_width_wh)


def test_days_that_are_left_out_prove_nothing():
    draw = np.random.default_rng(11)
    kg = np.append(draw.uniform(10, 20, 90), draw.uniform(10, 20, 40))
    kg[:40], kg[95:100] = 90, 80
    data = days(2e4 + 100 * kg + draw.normal(0, 50, 130), production_kg=kg)
    start_us = int(data.start_us[0])

    def left_out(name, first, end):
        return Adjustment(
            name, start_us + first * DAY_US, start_us + end * DAY_US, "the line was rebuilt",
            "0" * 64, "J. Kim", "A. Park", "exclude",
        )  # fmt: skip

    of = replace(MADE, adjustments=(left_out("start", 0, 40), left_out("again", 95, 100)))
    baseline = Baseline.fit(data.where(data.position < 90), of)
    saving = avoided_energy(baseline, data.where(data.position >= 90))
    (refused,) = saving.refused_by
    assert (refused.code, refused.seen) == ("too_few_days", 50.0)
    assert "driver_out_of_range" not in {one.code for one in saving.disqualifications}


def test_units_that_have_no_neighbours_are_not_taken_for_independent():
    draw = np.random.default_rng(12)
    e = draw.standard_normal(4000)
    for i in range(1, e.size):
        e[i] += 0.8 * e[i - 1]
    place = np.arange(e.size)
    near = lag_one_correlation(e, place)
    for apart in (2, 3):
        found = lag_one_correlation(e[::apart].copy(), place[::apart].copy())
        assert found == pytest.approx(near, abs=0.05)
    assert lag_one_correlation(e[:18:2].copy(), place[:18:2].copy()) == 0.0
    assert lag_one_correlation(np.tile([1.0, -1.0], 50), place[:200:2].copy()) == 0.0
