import json
import math
from dataclasses import asdict
from datetime import date
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.calendar import midnight_us, minute_of_week
from joulemark_gateway.measure.finding import ENGINE
from joulemark_gateway.measure.linear import fit
from joulemark_gateway.measure.sufficiency import (
    CALTRACK_DAILY,
    ISO50006_PRODUCTION,
    POLICIES,
    Case,
)
from joulemark_gateway.measure.uncertainty import noise_of
from joulemark_gateway.measure.verdict import Override, stated, verdict_of
from support.steel import steel_works
from support.unit_data import changed, days, of_edges, plant_days

NAN = float("nan")
KG = "production_kg"


def plant_case(n=90, **case):
    fields = {"reporting": plant_days(30, seed=2), "production_cycle_days": 7, "adjusted_r2": 0.9}
    return Case(plant_days(n), **{**fields, **case})


def saving(baseline, reporting):
    """Avoided energy by the straight model of all drivers, with its half-width."""

    def figures():
        kept, later = (data.where(data.is_whole) for data in (baseline, reporting))
        columns = [np.column_stack([np.empty((one.n, 0)), *one.drivers.values()])
                   for one in (kept, later)]  # fmt: skip
        model = fit(columns[0], kept.energy_wh, kept.position)
        x = np.column_stack([np.ones(later.n), columns[1]])
        noise = noise_of(model)
        variance = float(noise.covariance(x, later.position, np.ones((1, later.n)))[0, 0])
        return {
            "avoided_wh": math.fsum((model.predict(x) - later.energy_wh).tolist()),
            "half_width_wh": noise.half_width(variance, 0.9),
        }

    return figures


def forbidden():
    raise AssertionError("a saving was computed")


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_the_policy_stands_beside_every_saving_and_every_refusal(policy):
    for n in (40, 365):
        case = plant_case(n)
        told = stated(verdict_of(policy, case), saving(case.baseline, case.reporting)).document()
        assert told["policy"] == asdict(policy.used())
        assert (told["policy"]["id"], told["policy"]["version"]) == (policy.id, "1")
        assert told["disqualified"] is (n == 40)
        assert (told["figures"] is None) is (n == 40)
        json.dumps(told, allow_nan=False)


def test_a_disqualified_baseline_states_no_figure_and_computes_none():
    verdict = verdict_of(ISO50006_PRODUCTION, plant_case(59))
    told = stated(verdict, forbidden)
    assert verdict.is_disqualified
    assert told.figures is None
    assert [one.code for one in told.refused_by] == ["too_few_days"]
    with pytest.raises(MeasureError, match="60") as refused:
        verdict.require()
    assert refused.value.code == "too_few_days"
    verdict_of(ISO50006_PRODUCTION, plant_case(60)).require()


def test_an_override_is_somebodys_and_stands_in_every_export():
    who = Override(
        "H. Kim", "The plant closes; there are no more days.", frozenset({"too_few_days"})
    )
    case = plant_case(59)
    verdict = verdict_of(ISO50006_PRODUCTION, case, who)
    verdict.require()
    told = stated(verdict, saving(case.baseline, case.reporting)).document()
    assert told["figures"]["avoided_wh"]
    assert told["disqualified"] is True
    assert told["override"] == {
        "author": "H. Kim",
        "reason": "The plant closes; there are no more days.",
        "codes": ["too_few_days"],
    }
    assert [one["code"] for one in told["findings"] if not one["passed"]] == ["too_few_days"]


def test_an_override_passes_over_the_rules_that_it_names_and_no_others():
    who = Override("H. Kim", "No more days.", frozenset({"too_few_days", "low_adjusted_r2"}))
    verdict = verdict_of(ISO50006_PRODUCTION, plant_case(40, production_cycle_days=30), who)
    told = stated(verdict, forbidden)
    assert [one.code for one in told.refused_by] == ["too_few_cycles"]
    assert told.document()["override"]["codes"] == ["too_few_days"]


@pytest.mark.parametrize(("author", "reason"), [("", "why"), ("who", " ")])
def test_an_override_without_a_name_or_a_reason_is_none(author, reason):
    with pytest.raises(MeasureError) as refused:
        verdict_of(ISO50006_PRODUCTION, plant_case(), Override(author, reason, frozenset()))
    assert refused.value.code == "empty_override"


def test_nobody_overrides_the_arithmetic():
    who = Override("H. Kim", "It must be.", frozenset({"no_production_cycle", "not_finite"}))
    told = stated(verdict_of(ISO50006_PRODUCTION, plant_case(production_cycle_days=None), who),
                  forbidden)  # fmt: skip
    assert [(one.code, one.by) for one in told.refused_by] == [("no_production_cycle", ENGINE)]
    told = stated(verdict_of(ISO50006_PRODUCTION, plant_case(), who), lambda: {"avoided_wh": NAN})
    assert told.figures is None
    assert told.document()["refused_by"] == ["not_finite"]
    assert told.document()["disqualified"] is True


def test_a_warning_is_told_and_refuses_nothing():
    later = changed(plant_days(30, seed=2), KG, at=[3], to=8000.0)
    case = plant_case(reporting=later)
    told = stated(verdict_of(ISO50006_PRODUCTION, case), saving(case.baseline, later)).document()
    assert told["figures"] is not None
    assert [one["code"] for one in told["warnings"] if not one["passed"]] == ["driver_extrapolated"]


POLICY_CODES = frozenset(
    {"too_few_days", "too_few_cycles", "no_activity_driver", "driver_out_of_range"}
)


def refusal(baseline, reporting):
    """The codes by which the arithmetic refuses; the policy's own are passed over."""
    case = Case(baseline, reporting, production_cycle_days=7)
    verdict = verdict_of(ISO50006_PRODUCTION, case, Override("a test", "to see it", POLICY_CODES))
    told = stated(verdict, saving(baseline, reporting))
    assert (told.figures is None) is bool(told.refused_by)
    json.dumps(told.document(), allow_nan=False)
    return [one.code for one in told.refused_by]


PLANT, LATER = plant_days(90), plant_days(30, seed=2)
TWICE = {"other_kg": 2 * PLANT.drivers[KG]}


@pytest.mark.parametrize(
    ("baseline", "reporting", "codes"),
    [
        (PLANT.where(np.arange(90) < 2), LATER, ["too_few_units"]),  # p >= n
        (PLANT.where(np.arange(90) < 1), LATER, ["too_few_units"]),
        (PLANT.where(np.zeros(90, bool)), LATER, ["too_few_units"]),
        (changed(PLANT, KG, at=slice(None), to=5.0), LATER, ["constant_driver"]),
        (changed(PLANT, at=slice(None), to=0.0), LATER, ["no_load"]),
        (changed(PLANT, at=slice(None), to=7.0), LATER, ["constant_load"]),
        (
            of_edges(np.append(PLANT.start_us, PLANT.start_us[-1] + 86_400_000_000),
                     PLANT.energy_wh, {**PLANT.drivers, **TWICE}),
            of_edges(np.append(LATER.start_us, LATER.start_us[-1] + 86_400_000_000),
                     LATER.energy_wh, {**LATER.drivers, "other_kg": LATER.drivers[KG]}),
            ["collinear_drivers"],
        ),
        (PLANT, LATER.where(np.arange(30) < 1), []),  # one point is predicted, with its interval
        (PLANT, LATER.where(np.zeros(30, bool)), ["no_reporting_units"]),
        (PLANT, changed(LATER, at=slice(None), to=NAN), ["no_reporting_units"]),
        (changed(PLANT, at=[3], to=1e200), LATER, ["value_too_large"]),
    ],
    ids=["p=n", "one", "none", "constant", "zero", "flat", "collinear", "one-later",
         "none-later", "missing-later", "huge"],
)  # fmt: skip
def test_what_cannot_be_fitted_has_a_code_and_no_figure(baseline, reporting, codes):
    assert refusal(baseline, reporting) == codes


def test_all_zero_electricity_is_missing_and_refused_by_the_policy():
    dead = changed(days(365), at=slice(None), to=0.0)
    told = stated(verdict_of(CALTRACK_DAILY, Case(dead)), forbidden)
    assert "too_few_valid_meter_days" in [one.code for one in told.refused_by]


def test_a_calendar_alone_is_refused_where_nothing_was_changed(plant_data):
    """Half a year against the other: the naive sum calls less work a saving, the policy none."""
    year = steel_works(plant_data)
    july_us = midnight_us(date(2018, 7, 1), ZoneInfo("Asia/Seoul"))
    baseline, reporting = year.where(year.start_us < july_us), year.where(year.start_us >= july_us)
    naive = calendar_saving(baseline, reporting)
    assert naive == pytest.approx(0.1665, abs=5e-5)
    for drivers in ({}, {"hour_of_week": minute_of_week(baseline.start_us, year.zone) / 60.0}):
        later = {"hour_of_week": minute_of_week(reporting.start_us, year.zone) / 60.0}
        case = Case(
            with_drivers(baseline, drivers),
            with_drivers(reporting, later if drivers else {}),
            production_cycle_days=7,
            adjusted_r2=0.8,
        )
        told = stated(verdict_of(ISO50006_PRODUCTION, case), forbidden)
        assert told.figures is None
        assert told.document()["refused_by"] == ["no_activity_driver"]


def with_drivers(data, drivers):
    edges_us = np.append(data.start_us, data.start_us[-1] + data.length_us[-1])
    return of_edges(edges_us, data.energy_wh, drivers, data.zone.key)


def calendar_saving(baseline, reporting):
    """The share that means of each quarter-hour of the week would call saved."""
    cells = [minute_of_week(one.start_us, one.zone) // 15 for one in (baseline, reporting)]
    known = np.isfinite(baseline.energy_wh)
    total = np.bincount(cells[0][known], baseline.energy_wh[known], 672)
    means = total / np.bincount(cells[0][known], minlength=672)
    later = np.isfinite(reporting.energy_wh)
    predicted = means[cells[1]][later].sum()
    return (predicted - reporting.energy_wh[later].sum()) / predicted
