import dataclasses
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.run import measure
from support.histories import (
    COUNTER,
    DAY_US,
    HOUR_US,
    METER,
    daily_plant,
    day_of,
    factor_set,
    factors,
    histories,
    history,
    plan,
    total,
)
from support.present import present

ROOT = Path(__file__).parents[3]


def measured(project=None, *, kg_energy=None, factor_rows=(), **changes):
    kg, energy = kg_energy or daily_plant(saved_wh=20_000)
    return measure(project or plan(), histories(kg, energy, **changes), factors(*factor_rows))


def refusal(*arguments):
    with pytest.raises(MeasureError) as refused:
        measure(*arguments)
    return refused.value.code


def numbers(value):
    """Every float in a result, however deep."""
    if dataclasses.is_dataclass(value):
        return [
            n for field in dataclasses.fields(value) for n in numbers(getattr(value, field.name))
        ]
    if isinstance(value, (tuple, list)):
        return [n for item in value for n in numbers(item)]
    return [value] if isinstance(value, float) else []


def codes(found):
    return {warned.code for warned in found.warnings}


def test_a_known_saving_is_found():
    found = measured()
    assert not found.disqualified
    assert found.codes == ()
    assert abs(found.saving.avoided_wh - 1_400_000) <= found.saving.half_width_wh
    assert (found.baseline.kept, found.reporting.kept, found.reporting.masked) == (70, 70, 0)
    assert found.split.efficiency_wh == found.saving.avoided_wh


def test_the_injected_energy_is_the_difference_of_two_measurements_to_a_watt_hour():
    with_it, without = measured(), measured(kg_energy=daily_plant(saved_wh=0))
    difference = with_it.saving.avoided_wh - without.saving.avoided_wh
    assert difference == pytest.approx(70 * 20_000, abs=1e-3)
    assert with_it.saving.half_width_wh == without.saving.half_width_wh


def test_nothing_in_a_result_is_not_a_number():
    found = numbers(measured())
    assert len(found) > 400
    assert all(math.isfinite(number) for number in found)


def test_every_number_is_a_plain_float_or_int():
    found = measured()
    assert {type(number) for number in numbers(found)} == {float}
    assert "np." not in repr(found)


def test_no_driver_is_refused_and_leaves_no_saving_behind():
    found = measured(plan(drivers=[]))
    assert found.disqualified
    assert found.codes == ("no_activity_driver",)
    assert (found.saving, found.split, found.model) == (None, None, None)
    assert all(unit.predicted_wh is None for unit in found.units)
    assert all(unit.avoided_wh is None for unit in found.units)
    assert found.units[0].energy_wh > 0, "what was measured stays visible"


def test_an_unfit_driver_leaves_the_model_to_look_at_and_no_saving():
    kg, energy = daily_plant()
    found = measured(kg_energy=(np.random.default_rng(5).permutation(kg), energy))
    assert found.codes == ("low_adjusted_r2",)
    assert found.model.adjusted_r2 < 0.5
    assert (found.saving, found.split) == (None, None)
    assert all(unit.predicted_wh is None for unit in found.units)
    assert "not_distinguishable_from_zero" not in codes(found)


def with_flat(first, second):
    kg, energy = daily_plant()
    kg = kg.copy()
    kg[:70] = first
    return kg, energy if second is None else second


@pytest.mark.parametrize(
    ("kg_energy", "code"),
    [
        (with_flat(5000, None), "constant_driver"),
        (with_flat(0, None), "constant_driver"),
        ((daily_plant()[0], np.zeros(140, np.int64)), "no_load"),
        ((daily_plant()[0], np.full(140, 70_000)), "constant_load"),
    ],
)
def test_what_gives_no_model_has_a_code_and_no_numbers(kg_energy, code):
    found = measured(kg_energy=kg_energy)
    assert code in found.codes
    assert found.saving is None
    assert all(math.isfinite(number) for number in numbers(found))


def two_drivers(second_kg):
    kg, energy = daily_plant()
    found = histories(kg, energy)
    found["second"] = history("second", "production_kg", total(second_kg))
    rows = [
        {"device": device, "point": "production_kg", "name": device, "synthetic": False}
        for device in (COUNTER, "second")
    ]
    return measure(plan(drivers=rows), found, factors())


def test_drivers_that_are_the_same_are_refused():
    found = two_drivers(2 * daily_plant()[0])
    assert found.codes == ("collinear_drivers",)
    assert found.saving is None


def test_drivers_that_are_nearly_the_same_are_warned_of():
    draw = np.random.default_rng(1)
    found = two_drivers(daily_plant()[0] + draw.integers(0, 900, 140))
    assert not found.disqualified
    assert "collinear_drivers" in codes(found)
    assert found.model.coefficients[1].vif > 10


@pytest.mark.parametrize(("days", "expected"), [(59, ("too_few_days",)), (60, ())])
def test_the_baseline_counts_measured_days_only(days, expected):
    lost = list(range(1, 71 - days))
    found = measured(lost=lost)
    # n lost readings take n + 1 days with them: the step over them is an estimate
    assert found.baseline.kept == days - 1 + (days == 70)
    found = measured(lost=lost[:-1])
    assert found.baseline.kept == days
    assert found.codes == expected


def test_two_units_cannot_carry_two_terms():
    short = plan(baseline={"from": day_of(0), "to": day_of(2)},
                 measure={"name": "m", "description": "d", "implemented": day_of(70)})  # fmt: skip
    found = measured(short)
    assert "too_few_units" in found.codes
    assert found.saving is None


def test_one_reporting_unit_has_an_interval():
    one = plan(reporting={"from": day_of(70), "to": day_of(71)})
    found = measured(one)
    assert not found.disqualified
    assert abs(found.saving.avoided_wh - 20_000) <= found.saving.half_width_wh
    assert all(math.isfinite(number) for number in numbers(found))


def test_a_reporting_period_without_a_measured_unit_is_refused():
    later = plan(reporting={"from": day_of(200), "to": day_of(230)})
    found = measured(later)
    assert found.codes == ("no_reporting_units",)
    assert (found.reporting.kept, found.reporting.masked) == (0, 30)
    assert found.units[-1].reasons == (
        f"{METER}/energy_wh: after_last_reading",
        f"{COUNTER}/production_kg: after_last_reading",
    )


def test_an_unmeasured_day_is_masked_with_its_reason_and_in_both_sums():
    whole, found = measured(), measured(lost=[100])
    masked = [unit for unit in found.units if unit.masked]
    assert [unit.label for unit in masked] == [day_of(99), day_of(100)]
    assert {unit.reasons for unit in masked} == {(f"{METER}/energy_wh: gap:timeout",)}
    assert {unit.estimated_us for unit in masked} == {DAY_US}
    by_label = {unit.label: unit for unit in whole.units}
    left_out = sum(by_label[unit.label].energy_wh for unit in masked)
    assert found.saving.measured_wh == whole.saving.measured_wh - left_out
    assert found.saving.avoided_wh == pytest.approx(
        whole.saving.avoided_wh - sum(by_label[unit.label].avoided_wh for unit in masked)
    )
    assert found.reporting.energy_wh == whole.reporting.energy_wh, "the total is kept"
    assert [(s.start_us, s.intervals, s.reasons) for s in found.missing] == [
        (99 * DAY_US, 2, ("gap:timeout",))
    ]


def test_an_outage_catch_up_is_never_fitted():
    """The counter jumps after five silent days: the total stays, the days are estimates."""
    found = measured(lost=range(20, 25))
    assert [unit.label for unit in found.units if unit.masked] == [day_of(k) for k in range(19, 25)]
    assert found.model.n == 64
    assert found.streams[0].estimated_us == 6 * DAY_US
    assert found.streams[0].gap_slots == 5


def test_excluded_days_leave_both_sums_and_the_saving_without_them_is_told():
    item = {
        "id": "fire",
        "dates": {"from": day_of(80), "to": day_of(90)},
        "cause": "fire in the hall, works closed",
        "evidence_sha256": "0" * 64,
        "author": "A",
        "approval": "B",
        "treatment": "exclude",
    }
    found = measured(plan(non_routine=[item]))
    assert found.reporting.masked == 10
    assert {unit.reasons for unit in found.units if unit.masked} == {("non_routine: fire",)}
    assert found.saving.without_exclusions_wh == measured().saving.avoided_wh
    assert found.saving.avoided_wh < found.saving.without_exclusions_wh


def test_hours_are_measured_by_the_same_engine():
    draw = np.random.default_rng(8)
    n = 140 * 24
    kg = draw.integers(300, 2000, n)
    energy = 5000 + 10 * kg + np.rint(draw.normal(0, 300, n)).astype(np.int64)
    energy[70 * 24 :] -= 400
    devices = {
        METER: history(METER, "energy_wh", total(energy), period_us=HOUR_US),
        COUNTER: history(COUNTER, "production_kg", total(kg), period_us=HOUR_US),
    }
    found = measure(plan(unit="hour"), devices, factors())
    model, saving = present(found.model), present(found.saving)
    assert (model.n, model.unit) == (1680, "hour")
    assert abs(saving.avoided_wh - 1680 * 400) <= saving.half_width_wh
    by_day = measure(plan(), devices, factors())
    model, saving = present(by_day.model), present(by_day.saving)
    assert model.n == 70
    assert abs(saving.avoided_wh - 1680 * 400) <= saving.half_width_wh


def test_the_factor_is_that_of_the_day():
    rows = (("0.5", "0.05", "1960-01-01", day_of(80)), ("0.4", "0.05", day_of(80), "2030-01-01"))
    found = measured(factor_rows=rows)
    assert [(use.factor.id, use.kept) for use in found.saving.carbon.factors] == [
        ("test-0", 10),
        ("test-1", 60),
    ]


def test_wiring_that_is_wrong_is_refused_by_name():
    kg, energy = daily_plant()
    devices = histories(kg, energy)
    assert refusal(plan(), {METER: devices[METER]}, factors()) == "missing_device"
    other = plan(energy={"device": METER, "point": "power_w"})
    assert refusal(other, devices, factors()) == "missing_point"
    tonnes = plan(energy={"device": COUNTER, "point": "production_kg"}, drivers=[])
    assert refusal(tonnes, devices, factors()) == "not_energy"
    assert refusal(plan(site="pohang"), devices, factors()) == "wrong_site"
    simulated = {**devices, COUNTER: replace(devices[COUNTER], clock="simulated")}
    assert refusal(plan(), simulated, factors()) == "mixed_clocks"
    made_up = {**devices, COUNTER: history(COUNTER, "production_kg", total(kg), synthetic=True)}
    assert refusal(plan(), made_up, factors()) == "synthetic_not_declared"


def test_a_gauge_is_no_counter():
    gauge = plan(energy={"device": METER, "point": "power_w"}, drivers=[])
    kg, energy = daily_plant()
    devices = histories(kg, energy)
    profile = devices[METER].profile
    point = profile.points[0].model_copy(update={"name": "power_w", "counter": False})
    devices[METER] = replace(
        devices[METER], profile=profile.model_copy(update={"points": (point,)})
    )
    assert refusal(gauge, devices, factors()) == "not_a_counter"


def choice(**changes):
    return plan(factors={"set": "test", "rule_set": "ESG", "jurisdiction": "KR", **changes})


def test_factors_that_prove_nothing_are_refused():
    devices = histories(*daily_plant())
    assert refusal(choice(rule_set="dataset-check"), devices, factors()) == "dataset_check_factor"
    own = choice(set="dataset_check", rule_set="dataset-check")
    assert refusal(own, devices, factor_set("dataset_check")) == "dataset_check_factor"
    assert refusal(choice(set="korea"), devices, factors()) == "wrong_factor_set"
    assert refusal(choice(rule_set="K-ETS"), devices, factors()) == "no_factor"
    disguised = factors()
    row = disguised.factors[0].model_copy(update={"rule_sets": ("dataset-check", "ESG")})
    hidden = disguised.model_copy(update={"factors": (row,)})
    assert refusal(choice(), devices, hidden) == "dataset_check_factor"


def test_a_reader_is_warned_of_what_does_not_disqualify():
    assert codes(measured()) == {"plan_not_dated_before"}
    kg, energy = daily_plant()
    devices = histories(kg, energy)
    devices = {name: replace(found, clock="simulated") for name, found in devices.items()}
    late = np.zeros(141, np.bool_)
    late[5] = True
    devices[METER] = replace(devices[METER], unsynchronised=late)
    devices[COUNTER] = replace(
        history(COUNTER, "production_kg", total(kg), synthetic=True), clock="simulated"
    )
    driver = {"device": COUNTER, "point": "production_kg", "name": "product", "synthetic": True}
    found = measure(plan(drivers=[driver]), devices, factors(boundary="not_stated"))
    assert codes(found) == {
        "simulated_clock",
        "synthetic_driver",
        "plan_not_dated_before",
        "unsynchronised_clock",
        "factor_boundary_not_stated",
        "not_distinguishable_from_zero",
    }
    assert found.synthetic


def test_a_saving_of_a_part_of_the_reporting_period_says_so():
    """A head that is older than the period's end, truly signed, leaves the rest of it out."""
    kg, energy = daily_plant(saved_wh=40_000)
    devices = {
        METER: history(METER, "energy_wh", total(energy)[:100]),
        COUNTER: history(COUNTER, "production_kg", total(kg)),
    }
    found = measure(plan(), devices, factors())
    assert present(found.saving).measured_wh == energy[70:99].sum()
    texts = {w.code: w.text for w in found.warnings}
    assert texts["reporting_incomplete"].startswith("41 of the 70 days")
    assert "reporting_incomplete" not in codes(measured())


def test_a_counter_that_rises_beyond_all_sums_is_refused_and_does_not_wrap_around():
    kg, energy = daily_plant()
    wild = np.where(np.arange(141) % 2 == 0, 0, 2**63 - 1)
    devices = {
        METER: history(METER, "energy_wh", wild),
        COUNTER: history(COUNTER, "production_kg", total(kg)),
    }
    assert refusal(plan(), devices, factors()) == "counter_out_of_range"
    devices[METER] = history(METER, "energy_wh", total(energy) + 2**62)
    assert measure(plan(), devices, factors()).baseline.energy_wh == energy[:70].sum()


def test_readings_without_a_set_clock_are_counted_in_the_periods_like_all_readings():
    """Else the share of them could be above 100 %."""
    kg, energy = daily_plant()
    devices = histories(kg, energy)
    late = np.ones(141, np.bool_)
    devices[METER] = replace(devices[METER], unsynchronised=late)
    meter = measure(plan(), devices, factors()).streams[0]
    assert (meter.unsynchronised, meter.readings) == (140, 140)


def test_what_a_counter_did_after_the_periods_is_not_counted_in_them():
    kg, energy = daily_plant()
    shown = np.append(total(energy), total(energy)[-1] + np.array([100, 200, 7, 90, 150]))
    shown[40] = 0
    devices = histories(kg, energy) | {METER: history(METER, "energy_wh", shown)}
    found = measure(plan(), devices, factors())
    assert [row.event.code for row in found.events] == ["false_zero"]
    assert (found.streams[0].false_zeros, found.streams[0].fallen) == (1, 0)


def test_a_unit_measured_in_part_has_the_leverage_of_that_part():
    """Without its exposure a short day with little product looks far from the baseline's days."""
    kg, energy = daily_plant()
    slots = np.repeat(kg, 24) // 24
    hourly = np.repeat(energy, 24) // 24
    lost = [(100 + k) * 24 + 12 for k in range(30)]
    devices = {
        METER: history(METER, "energy_wh", total(hourly), period_us=HOUR_US, lost=lost),
        COUNTER: history(COUNTER, "production_kg", total(slots), period_us=HOUR_US),
    }
    found = measure(plan(), devices, factors())
    x = np.column_stack([np.ones(70), [u.drivers[0] for u in found.units[:70]]])
    used = [(u.end_us - u.start_us - u.estimated_us) / (24 * HOUR_US) for u in found.units[70:]]
    rows = np.column_stack([used, [u.drivers[0] for u in found.units[70:]]])
    leverage = np.einsum("ij,jk,ik->i", rows, np.linalg.inv(x.T @ x), rows)
    assert present(found.model).high_leverage_ratio == np.mean(leverage > 2 * 2 / 70)


@pytest.mark.parametrize(("day", "warned"), [(69, False), (70, True)])
def test_a_plan_registered_before_the_reporting_starts_is_not_warned_of(day, warned):
    devices = histories(*daily_plant(saved_wh=20_000))
    found = measure(plan(), devices, factors(), plan_registered_us=day * DAY_US)
    assert ("plan_not_dated_before" in codes(found)) == warned


def test_units_beyond_the_range_of_the_baseline_are_counted():
    kg, energy = daily_plant()
    kg, energy = kg.copy(), energy.copy()
    kg[70:84] += 40_000
    energy[70:84] += 400_000
    found = measured(kg_energy=(kg, energy))
    assert not found.disqualified
    assert "extrapolation" in codes(found)
    assert found.model.drivers[0].outside_ratio == 14 / 70
    assert found.model.high_leverage_ratio > 0


def test_a_slope_that_makes_no_sense_is_warned_of():
    kg, energy = daily_plant()
    found = measured(kg_energy=(kg, 600_000 - energy))
    assert "negative_slope" in codes(found)


JIT = """
from support.histories import daily_plant, factors, histories, plan
from joulemark_gateway.measure.run import measure
print(measure(plan(), histories(*daily_plant(saved_wh=20_000), lost=[30, 100]), factors()))
"""


def test_compiled_and_plain_measurements_agree_to_the_last_bit():
    roots = ("agent", "gateway", "configs", "tests")
    path = os.pathsep.join(str(ROOT / part) for part in roots)
    printed = [
        subprocess.run(
            [sys.executable, "-c", JIT],
            env={**os.environ, "NUMBA_DISABLE_JIT": disable, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for disable in ("0", "1")
    ]
    assert "Saving(" in printed[0]
    assert printed[1] == printed[0]
