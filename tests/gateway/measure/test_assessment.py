"""Projects whose plan names its model: families, temperatures, meters, events, overrides."""
# mypy: disable-error-code="union-attr, operator, arg-type, type-var, misc"
# (None where a value is looked at ends the test all the same)

import dataclasses
import math

import numpy as np
import pytest
from pydantic import ValidationError

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.means import averaged
from joulemark_gateway.measure.run import measure
from support.buildings import (
    EVENT,
    WEATHER,
    heated,
    heated_plan,
    planned,
    thermometer,
    weather_driver,
)
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
    plan,
    total,
)


def numbers(value):
    if dataclasses.is_dataclass(value):
        return [
            n for field in dataclasses.fields(value) for n in numbers(getattr(value, field.name))
        ]
    if isinstance(value, (tuple, list)):
        return [n for item in value for n in numbers(item)]
    return [value] if isinstance(value, float) else []


def test_the_engine_measures_what_was_measured_before_there_was_a_choice():
    found = histories(*daily_plant(saved_wh=20_000))
    before, now = measure(plan(), found, factors()), measure(planned(), found, factors())
    assert dataclasses.replace(now.saving, months=()) == dataclasses.replace(
        before.saving, months=()
    )
    assert now.model.coefficients == before.model.coefficients
    assert before.engine is None
    assert now.engine.method == "production"
    assert 0 < now.engine.detectable_ratio < 0.1
    assert {finding.code for finding in now.findings} > {f.code for f in before.findings}
    assert all(math.isfinite(number) for number in numbers(now))
    assert "np." not in repr(now)


def test_a_temperature_is_the_mean_of_what_was_read_and_holes_are_missing():
    kelvin = 280 + np.arange(49.0)
    of = averaged(thermometer(kelvin), thermometer(kelvin).profile.points[0])
    totals = of.totals(np.array([0, DAY_US, 2 * DAY_US]))
    assert (totals.total / (DAY_US // 1000)).tolist() == [292_000, 316_000]  # to the mK
    holed = thermometer(kelvin, lost=[30, 31])
    totals = averaged(holed, holed.profile.points[0]).totals(np.array([0, DAY_US, 2 * DAY_US]))
    assert totals.missing_us.tolist() == [0, 3 * HOUR_US]
    assert totals.covered_us.tolist() == [DAY_US, 21 * HOUR_US]
    nonsense = thermometer([280.0, math.inf, -3.0, 2e4, math.nan, 281.0])
    totals = averaged(nonsense, nonsense.profile.points[0]).totals(np.array([0, 5 * HOUR_US]))
    assert totals.missing_us.tolist() == [5 * HOUR_US]


def test_a_building_is_measured_by_its_temperature():
    found, energy, day_mean = heated()
    result = measure(heated_plan(), found, factors())
    truth_wh = energy[365:].sum() / 0.9 * 0.1
    assert result.engine.method == "change-point-3ph"
    assert result.model.facts["heating_change_point_c"] == pytest.approx(15, abs=0.5)
    assert abs(result.saving.avoided_wh - truth_wh) <= 1.5 * result.saving.half_width_wh
    first = result.units[0]
    assert first.drivers[0] / 1000 - 273.15 == pytest.approx(day_mean[0], abs=0.01)
    mean_mk = result.baseline.kept_drivers[0]
    assert mean_mk / 1000 - 273.15 == pytest.approx(day_mean[:365].mean(), abs=0.01)
    assert result.engine.alternatives
    assert {row.name for row in result.model.coefficients} == {"base load", "heating"}


def test_a_share_of_a_seasonal_load_is_no_change():
    found, energy, _ = heated(saved_ratio=0.3)
    assert measure(heated_plan(), found, factors()).engine.changes == ()
    steps = np.rint(energy).astype(np.int64)
    steps[500:530] += 60_000
    found[METER] = history(METER, "energy_wh", total(steps))
    changes = measure(heated_plan(), found, factors()).engine.changes
    assert [change.label for change in changes] == [day_of(500), day_of(530)]


def test_what_the_policy_calls_missing_is_masked_with_the_reason():
    found, energy, _ = heated()
    steps = np.rint(energy).astype(np.int64)
    steps[400] = 0
    found[METER] = history(METER, "energy_wh", total(steps))
    result = measure(heated_plan(), found, factors())
    masked = [unit for unit in result.units if unit.masked]
    assert [(unit.label, unit.reasons) for unit in masked] == [
        (day_of(400), ("missing_by_policy",))
    ]
    assert result.reporting.masked == 1


def test_checks_of_the_data_refuse_and_an_override_is_told():
    kg, energy = daily_plant(saved_wh=20_000)
    energy[20:40] = 300_000  # the same for twenty days
    found = histories(kg, energy)
    refused = measure(planned(), found, factors())
    assert refused.codes == ("stuck_value",)
    assert (refused.saving, refused.split) == (None, None)
    override = {"author": "J. Kim", "reason": "a campaign at one load", "codes": ["stuck_value"]}
    allowed = measure(planned(override=override), found, factors())
    assert allowed.saving is not None
    assert allowed.engine.overridden == ("stuck_value",)
    assert allowed.codes == ("stuck_value",), "the rule still fails, and is shown"
    other = {**override, "codes": ["low_adjusted_r2"]}
    assert measure(planned(override=other), found, factors()).saving is None


def test_the_meter_widens_and_an_event_moves_the_saving():
    found = histories(*daily_plant(saved_wh=20_000))
    plain = measure(planned(), found, factors()).saving
    meter = {"limit_ratio": "0.02", "source": "class 2, EN 50470-3"}
    metered = measure(planned(meter=meter), found, factors()).saving
    assert metered.avoided_wh == plain.avoided_wh
    assert metered.half_width_wh > plain.half_width_wh
    assert metered.model_half_width_wh == plain.half_width_wh
    days = {"from": day_of(100), "to": day_of(110)}
    valued = {
        **EVENT, "dates": days, "treatment": "engineering-estimate", "value_wh": "90000",
        "u_wh": "20000",
    }  # fmt: skip
    moved = measure(planned(non_routine=[valued]), found, factors()).saving
    assert moved.avoided_wh == pytest.approx(plain.avoided_wh + 90_000, rel=1e-12)
    assert moved.model_avoided_wh == plain.avoided_wh
    assert moved.carbon.avoided_kg == pytest.approx(plain.carbon.avoided_kg + 90 * 0.4173)
    assert moved.without_exclusions_wh is None


def test_an_indicator_finds_what_an_event_took():
    kg, energy = daily_plant(saved_wh=20_000)
    energy[100:115] += 60_000
    days = {"from": day_of(100), "to": day_of(115)}
    event = {**EVENT, "dates": days, "treatment": "indicator"}
    found = measure(planned(non_routine=[event]), histories(kg, energy), factors())
    worth = found.saving.events[0]
    assert worth.value_wh == pytest.approx(15 * 60_000, rel=0.1)
    assert abs(found.saving.avoided_wh - 70 * 20_000) <= found.saving.half_width_wh
    changes = [change.label for change in found.engine.changes]
    assert changes == [day_of(100), day_of(115)]
    assert found.engine.changes[0].shift_wh == pytest.approx(-60_000, rel=0.1)


def test_an_indicator_without_days_on_both_sides_refuses():
    days = {"from": day_of(70), "to": day_of(138)}
    event = {**EVENT, "dates": days, "treatment": "indicator"}
    found = histories(*daily_plant(saved_wh=20_000))
    result = measure(planned(non_routine=[event]), found, factors())
    assert result.codes == ("indicator_one_sided",)
    assert (result.saving, result.split) == (None, None)


def test_hours_of_the_week_need_whole_hours():
    draw = np.random.default_rng(3)
    hours = 140 * 24
    energy = 5000 + 3000 * (np.arange(hours) % 24 > 8) + draw.integers(0, 400, hours)
    kg = draw.integers(10, 40, hours)
    rows = {
        METER: history(METER, "energy_wh", total(energy), period_us=HOUR_US // 4 * 4),
        COUNTER: history(COUNTER, "production_kg", total(kg), period_us=HOUR_US),
    }
    result = measure(planned("time-of-week-temperature", unit="hour"), rows, factors())
    assert result.engine.method == "time-of-week-60min"
    assert result.model.cells == 168
    assert [row.name for row in result.model.coefficients] == ["product"]
    assert result.saving is not None


@pytest.mark.parametrize("family", ["automatic", "production"])
def test_a_family_of_drivers_measures(family):
    result = measure(planned(family), histories(*daily_plant(saved_wh=20_000)), factors())
    assert result.saving is not None


def test_a_family_that_asks_for_no_activity_or_misses_its_driver_says_so():
    found = histories(*daily_plant(saved_wh=20_000))
    assert measure(planned("mean"), found, factors()).codes == (
        "no_activity_driver",
        "low_adjusted_r2",
    )
    for family in ("production-temperature", "temperature"):
        with pytest.raises(MeasureError) as refused:
            measure(planned(family), found, factors())
        assert refused.value.code == "missing_driver"


def test_drivers_are_chosen_by_the_named_policy():
    found = histories(*daily_plant(saved_wh=20_000))
    choice = {"family": "production", "selection_policy": "iso50006-regression"}
    result = measure(plan(model=choice), found, factors())
    assert result.saving is not None
    assert "model_not_significant" in {finding.code for finding in result.findings}


def test_a_gauge_that_is_no_temperature_and_one_as_energy_are_refused():
    found = {**histories(*daily_plant()), WEATHER: thermometer(np.full(24, 280.0))}
    row = {**weather_driver(), "point": "outdoor_k"}
    with pytest.raises(MeasureError) as refused:
        measure(planned(energy={"device": WEATHER, "point": "outdoor_k"}), found, factors())
    assert refused.value.code == "not_a_counter"
    assert measure(planned("automatic", drivers=[row]), found, factors()).disqualified


@pytest.mark.parametrize(
    "changes",
    [
        {"meter": {"limit_ratio": "0.01", "source": "x"}},
        {"override": {"author": "x", "reason": "because I say so", "codes": ["x"]}},
        {"model": {"family": "neural"}},
        {"model": {"family": "mean", "selection_policy": "sep-regression"}},
        {"model": {"family": "production", "selection_policy": "nobody's"}},
        {"model": {"family": "mean"}, "baseline_meter": {"limit_ratio": "0.01", "source": "x"}},
        {"model": {"family": "mean"}, "meter": {"limit_ratio": "1", "source": "x"}},
        {"sufficiency_policy": "caltrack-daily-2.0"},
        {"model": {"family": "mean"}, "non_routine": [
            {**EVENT, "dates": {"from": "1970-04-01", "to": "1970-04-02"},
             "treatment": "engineering-estimate"}]},
        {"model": {"family": "mean"}, "non_routine": [
            {**EVENT, "dates": {"from": "1970-04-01", "to": "1970-04-02"},
             "treatment": "exclude", "value_wh": "1", "u_wh": "1"}]},
    ],
)  # fmt: skip
def test_a_plan_that_makes_no_sense_is_refused(changes):
    with pytest.raises(ValidationError):
        plan(**changes)
