"""The report of a plan that names its model: anybody can recompute it, and nothing is hidden."""

import json
import math
import re
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from typing import Any

import numpy as np
import pytest

from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_gateway.measure.run import measure
from joulemark_gateway.reports.content import content
from joulemark_gateway.reports.equation import equation_lines, part_words
from joulemark_gateway.reports.html import page
from joulemark_gateway.reports.pdf import pdf
from joulemark_gateway.reports.plots import Curve, curve_of
from joulemark_gateway.reports.provenance import predicate_of
from joulemark_gateway.reports.reduction import reduction_report
from joulemark_gateway.reports.text import lines
from joulemark_gateway.reports.words import WORDS
from support.buildings import EVENT, heated, heated_plan, planned, thermometer, weather_driver
from support.bundles import true_report
from support.histories import (
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

REASON = "the valve was stuck; the readings are right"
OVERRIDE = {"author": "J. Kim", "reason": REASON, "codes": ["stuck_value"]}
STATED = {
    **EVENT,
    "id": "stove",
    "dates": {"from": day_of(430), "to": day_of(436)},
    "treatment": "engineering-estimate",
    "value_wh": "-90000",
    "u_wh": "20000",
}
FOUND = {
    **EVENT,
    "id": "second-shift",
    "dates": {"from": day_of(500), "to": day_of(520)},
    "treatment": "indicator",
}


def reported(project, found):
    report = reduction_report(project, measure(project, found, factors()), true_report().provenance)
    return parse_canonical(canonical_bytes(report))


@cache
def building(is_overridden=True):
    """Heated, with a stuck week, two events, and more load at the end that nobody explains."""
    found, energy, _ = heated()
    steps = np.rint(energy).astype(np.int64)
    steps[100:112] = steps[100]
    steps[500:520] += 90_000
    steps[620:] += 60_000
    found[METER] = history(METER, "energy_wh", total(steps))
    project = heated_plan(
        non_routine=[STATED, FOUND],
        meter={"limit_ratio": "0.01", "random_ratio": "0.002", "source": "class 1"},
        **({"override": OVERRIDE} if is_overridden else {}),
    )
    return reported(project, found)


@cache
def plant(**model):
    project = plan(model={"family": "production", **model})
    return reported(project, histories(*daily_plant(saved_wh=20_000)))


@cache
def office(follows_weather=True):
    """By the hour of the week."""
    draw = np.random.default_rng(3)
    hour = np.arange(140 * 24 + 1)
    celsius = 12 - 8 * np.cos(hour / 3360 * 2 * np.pi) + 4 * np.sin(hour * 2 * np.pi / 24)
    mean, busy = (celsius[:-1] + celsius[1:]) / 2, hour[:-1] % 24 > 8
    cold = np.maximum(14 - mean, 0) * (1 + busy)
    energy = 5000 + 3000 * busy + np.rint(100 * cold) + draw.integers(0, 400, 3360)
    rows = {
        METER: history(METER, "energy_wh", total(energy.astype(np.int64)), period_us=HOUR_US),
        "weather-station": thermometer(celsius + 273.15),
    }
    project = planned(
        "time-of-week-temperature",
        unit="hour",
        drivers=[weather_driver()] if follows_weather else [],
        override={**OVERRIDE, "codes": ["no_activity_driver"]},
    )
    return reported(project, rows)


def refused():
    """The building without its override."""
    return building(is_overridden=False)


def calendar():
    """The office by its calendar alone, which no interval carries."""
    return office(follows_weather=False)


REPORTS: list[Callable[[], Any]] = [building, refused, plant, office, calendar]


def test_a_plan_without_a_model_keeps_its_format_and_has_nothing_of_the_engine():
    old = true_report().report
    assert old["format"] == "joulemark-report/2"
    assert "engine" not in old
    new = plant()
    assert new["format"] == "joulemark-report/3"
    assert set(new) == {*old, "engine"}


@pytest.mark.parametrize("make", REPORTS)
def test_the_unit_by_hand_follows_from_the_printed_figures(make):
    worked = make()["engine"]["worked"]
    if worked is None:
        assert make()["saving"] is None
        return
    terms = worked["terms"]
    for term in terms:
        product = Decimal(term["value"]) * Decimal(term["amount"])
        assert abs(product - Decimal(term["energy_kwh"])) <= Decimal("0.001")
    total_kwh = sum(Decimal(term["energy_kwh"]) for term in terms)
    assert abs(total_kwh - Decimal(worked["predicted_kwh"])) <= Decimal("0.002") * len(terms)
    left = Decimal(worked["predicted_kwh"]) - Decimal(worked["measured_kwh"])
    assert abs(left - Decimal(worked["avoided_kwh"])) <= Decimal("0.001")


def test_the_unit_by_hand_is_that_of_the_median_saving():
    report = building()
    worked, series = report["engine"]["worked"], report["series"]
    saved = sorted(float(text) for text in series["avoided_kwh"] if text is not None)
    assert float(worked["avoided_kwh"]) == saved[(len(saved) - 1) // 2]
    assert worked["drivers"][0]["unit"] == "°C"


def test_the_equation_predicts_what_the_report_prints():
    """Every unit of the reporting period, from the figures in the text of the equation alone."""
    report = building()
    [text, _] = report["engine"]["equation"]["text"]
    found = re.fullmatch(
        r"energy of a day = (\S+) kWh/day . days \+ (\S+) kWh/\(K d\) . days . "
        r"max\((\S+) °C . outdoors, 0\)",
        text,
    )
    assert found is not None
    base, slope, point = map(float, found.groups())
    series = report["series"]
    for period, t_c, predicted in zip(
        series["period"],
        series["drivers"][0]["values"],
        series["counterfactual_kwh"],
        strict=True,
    ):
        if period == "reporting":
            by_hand = base + slope * max(point - float(t_c), 0)
            assert by_hand == pytest.approx(float(predicted), abs=2e-3)


def test_a_change_point_has_its_interval():
    [point] = building()["engine"]["equation"]["change_points"]
    assert (point["part"], point["kind"]) == ("", "heating")
    ends = [Decimal(point[name]) for name in ("lowest_c", "value_c", "highest_c")]
    assert ends == sorted(ends)
    assert ends[0] < ends[2]
    assert point["highest_c"] in page(building())


def test_of_times_of_the_week_all_levels_are_told():
    levels = office()["engine"]["levels"]
    assert len(levels) == 168
    assert levels[0]["name"] == "Mon 00:00"
    busy = {level["name"][4:6] for level in levels if level["busy"]}
    assert busy == {f"{hour:02}" for hour in range(9, 24)}
    assert "level of its time of the week" in office()["engine"]["equation"]["text"][0]


def test_an_override_is_seen_wherever_the_saving_is():
    report = building()
    override = {**OVERRIDE, "passed_over": ["stuck_value"]}
    assert report["engine"]["override"] == override
    assert report["banners"][0]["code"] == "overridden"
    assert "J. Kim" in report["banners"][0]["text"]
    told = "\n".join(lines(report))
    assert "! Overridden" in told
    assert "stuck_value by J. Kim" in told
    for language in ("en", "ko"):
        shown = page(report, language)
        assert shown.count("J. Kim") >= 3, "banner, result and table"
        assert shown.count(REASON) >= 3
    predicate = predicate_of(true_report().provenance, {}, report)
    assert predicate["override"] == override
    assert "override" not in predicate_of(true_report().provenance, {}, true_report().report)


def test_without_the_override_there_is_no_saving_and_the_rule_is_named():
    report = refused()
    engine = report["engine"]
    assert report["refused_because"] == ["stuck_value"]
    assert engine["override"] is None
    for name in ("uncertainty", "worked", "with_and_without_events"):
        assert engine[name] is None
    assert {event["value_kwh"] for event in engine["events"]} == {None}
    assert engine["equation"] is not None


def test_events_add_up_with_their_signs():
    report = building()
    totals, saving = report["engine"]["with_and_without_events"], report["saving"]
    stove, shift = report["engine"]["events"]
    assert (stove["sign"], stove["value_kwh"]) == ("-", "90.000")
    assert (shift["sign"], shift["treatment"]) == ("+", "indicator")
    assert (shift["author"], shift["approval"]) == ("J. Kim", "A. Park")
    value = Decimal(shift["value_kwh"]) - Decimal(stove["value_kwh"])
    assert value == Decimal(totals["value_kwh"])
    assert totals["with"]["avoided_kwh"] == saving["avoided_kwh"]
    without = Decimal(totals["without"]["avoided_kwh"])
    assert abs(without + value - Decimal(saving["avoided_kwh"])) <= Decimal("0.001")
    difference = Decimal(saving["counterfactual_kwh"]) - Decimal(saving["measured_kwh"])
    assert abs(difference - without) <= Decimal("0.001")


def test_uncertainties_add_in_quadrature_and_the_policy_stands_beside():
    report = building()
    parts = report["engine"]["uncertainty"]
    assert parts["policy"] == "caltrack-daily-2.0 1"
    for unit, names in (("t", ("model", "meter", "events", "factor")),
                        ("kwh", ("model", "meter", "events"))):  # fmt: skip
        together = math.hypot(*(float(parts[name][unit]) for name in names))
        assert together == pytest.approx(float(parts["combined"][unit]), rel=1e-4)
    assert parts["combined"]["t"] == report["carbon"]["standard_uncertainty_t"]
    assert parts["factor"]["kwh"] is None
    alone = plant()["engine"]["uncertainty"]
    assert alone["meter"] is alone["events"] is None


def test_the_meter_says_what_its_limit_is_worth():
    meter = building()["engine"]["meter"]
    assert (meter["limit_percent"], meter["random_percent"]) == ("1", "0.2")
    bias = float(meter["bias_limit_kwh"]) / 3**0.5
    assert float(meter["bias_u_kwh"]) == pytest.approx(bias, abs=1e-3)
    assert plant()["engine"]["meter"] is None
    for report, words in (
        (building(), "accuracy that the plan states"),
        (plant(), "not the accuracy class"),
    ):
        [limit] = [item["text"] for item in report["limits"] if item["code"] == "not_logged"]
        assert words in limit


def test_a_lasting_change_that_no_event_explains_is_a_warning():
    report = building()
    by_unit = {one["unit"]: one["event"] for one in report["engine"]["changes"]}
    assert by_unit[day_of(500)] == by_unit[day_of(520)] == "second-shift"
    assert by_unit[day_of(620)] is None
    warned = [w["text"] for w in report["warnings"] if w["code"] == "unexplained_change"]
    assert any(day_of(620) in text and "not corrected" in text for text in warned)
    assert not any(day_of(500) in text for text in warned)


def test_models_that_were_looked_at_are_told_with_their_bic():
    engine = building()["engine"]
    others = {one["id"]: one for one in engine["alternatives"]}
    assert engine["method"] == "change-point-3ph"
    assert {"mean-1p", "change-point-5p"} <= set(others)
    assert all(Decimal(one["bic_difference"]) > 0 for one in others.values())
    assert "lowest BIC" in engine["chosen_by"]
    chosen = plant(selection_policy="iso50006-regression")["engine"]
    assert "largest adjusted R2" in chosen["chosen_by"]
    assert [p["id"] for p in chosen["policies"]] == ["data-checks", "iso50006-regression"]
    assert "names this model" in plant()["engine"]["chosen_by"]


def test_drivers_are_named_as_the_plan_names_them():
    subjects = {finding["subject"] for finding in building()["findings"]}
    assert {"baseline: energy", "baseline: outdoors", "outdoors"} <= subjects
    assert not any("temperature_c" in subject or "_wh" in subject for subject in subjects)


@pytest.mark.parametrize("make", REPORTS)
def test_every_figure_is_one_and_has_at_most_ten_digits(make):
    text = json.dumps(make())
    assert not re.search(r"NaN|Infinity|\"-?(nan|inf)\"", text)
    for figure in re.findall(r'"(-?[0-9]+(?:\.[0-9]+)?)"', text):
        assert len(figure.lstrip("-0.").replace(".", "")) <= 10, figure


@pytest.mark.parametrize("make", REPORTS)
def test_every_sentence_is_said_in_korean(make):
    report, of = make(), WORDS["ko"].of
    engine = report["engine"]
    said = [item["text"] for name in ("banners", "warnings", "limits") for item in report[name]]
    said += [finding["rule"] for finding in (*report["findings"], *engine["told"])]
    said += [policy[name] for policy in engine["policies"] for name in ("text", "source")]
    said += [report["policy"]["text"], report["policy"]["source"], engine["chosen_by"]]
    assert [text for text in said if of(text) == text] == []


def test_what_a_finding_is_about_is_said_in_korean():
    shown = page(building(), "ko")
    assert "기준 기간: 에너지" in shown
    assert "보고 기간: outdoors" in shown
    assert "baseline:" not in shown


def test_both_languages_show_the_same_figures_and_the_pdf_is_made():
    number = re.compile(r"[0-9]+\.[0-9]{2,}")
    for make in REPORTS:
        english, korean = (page(make(), language) for language in ("en", "ko"))
        assert sorted(number.findall(english)) == sorted(number.findall(korean))
    assert pdf(building(), "ko").startswith(b"%PDF")
    assert content(building(), "ko").banners[0].name == "정책 예외 적용"


def test_what_people_wrote_in_the_plan_stays_text():
    hostile = "'><script>alert(1)</script>{unit}"
    found, _, _ = heated()
    event = {**STATED, "cause": hostile, "author": hostile, "approval": hostile}
    driver = {**weather_driver(), "name": hostile}
    meter = {"limit_ratio": "0.01", "source": hostile}
    project = heated_plan(non_routine=[event], drivers=[driver], meter=meter)
    report = reported(project, found)
    for language in ("en", "ko"):
        shown = page(report, language)
        assert "<script" not in shown
        assert shown.count("&lt;script&gt;") >= 8
        assert "{unit}" in shown, "nothing is filled in"


def test_a_year_in_parts_has_a_line_for_each_and_knows_their_words():
    term = {"value": "-2", "unit": "kWh/(K d)", "kind": "cooling"}
    equation = {
        "unit": "day",
        "temperature": "outdoors",
        "levels": None,
        "knots_c": [],
        "terms": [
            {"name": "weekday base", "value": "3", "unit": "kWh/day", "kind": "base",
             "part": "weekday"},
            {**term, "name": "summer and shoulder cooling", "part": "summer and shoulder"},
        ],
        "change_points": [
            {"part": "summer and shoulder", "kind": "cooling", "value_c": "18"},
        ],
    }  # fmt: skip
    weekday, summer, _ = equation_lines(equation, WORDS["en"])
    assert weekday == "weekday: energy of a day = 3 kWh/day × days"  # noqa: RUF001
    assert summer.startswith("summer and shoulder: energy of a day = −2 kWh")  # noqa: RUF001
    assert summer.endswith("days × max(outdoors − 18 °C, 0)")  # noqa: RUF001
    assert part_words("weekday heating", WORDS["ko"]) == "평일 난방"
    assert part_words("Boiler heating", WORDS["ko"]) == "Boiler heating"


def test_the_line_of_a_chart_bends_at_its_change_points():
    curve = curve_of(building())
    assert isinstance(curve, Curve)
    [bend] = curve.bends
    assert curve.at(bend) == curve.at(bend + 9) == curve.intercept
    assert curve.at(bend - 2) > curve.intercept
    assert curve_of(office()) is None
