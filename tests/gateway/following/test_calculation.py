"""The saving so far is what a report on the same days prints, and nothing before there is one."""

from dataclasses import replace
from datetime import date, timedelta

import pytest

from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.document import document_bytes
from joulemark_gateway.evidence.account import read_account
from joulemark_gateway.evidence.history import parse_tree
from joulemark_gateway.following import calculation
from joulemark_gateway.following.calculation import calculated, plan_until
from joulemark_gateway.following.so_far import so_far_of
from joulemark_gateway.reports.issue import issue
from joulemark_gateway.reports.project_file import gather, load_project
from support.bundles import CLAIMS
from support.followed import at, project_file
from support.plant import plan_mapping, small

FIRST, END = date(2018, 3, 8), date(2018, 4, 7)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def material(filled):
    return gather(load_project(project_file(filled, "calculation.yaml")))


@pytest.fixture
def running(monkeypatch):
    """The same evidence taken for that of a clock that runs: the wall says which days are over."""
    monkeypatch.setattr(calculation, "SIMULATED", "as if it ran")


def found_at(material, now_us, **plan):
    plan_bytes = document_bytes(plan_mapping(**plan)) if plan else material.plan
    return so_far_of(calculated(replace(material, plan=plan_bytes), now_us))


def report_until(material, end):
    """The report on a plan that a person cut there."""
    witnessed = [(parse_tree(tree.parts), tree.checkpoints) for tree in material.trees]
    plan = plan_until(material.plan, end)
    return issue(plan, witnessed, material.documents, CLAIMS, read_account(material.log)).report


@pytest.mark.parametrize("days", [9, 25])
def test_every_figure_is_the_one_that_the_report_on_the_same_days_prints(material, running, days):
    del running
    end = FIRST + days * DAY
    found, report = found_at(material, at(end, 0, 31)), report_until(material, end)
    assert (found.state, found.stands_to, found.is_final) == ("measured", end - DAY, False)
    head = found.headline.model_dump()
    assert head.pop("creditable_kwh") == report["creditable"]["creditable_kwh"]
    assert head == {name: report["headline"][name] for name in head}
    assert [row.model_dump() for row in found.findings] == [
        {name: value for name, value in row.items() if name != "by"} for row in report["findings"]
    ]
    assert [(m.month, m.avoided_kwh, m.half_width_kwh) for m in found.months] == [
        (m["month"], m["avoided_kwh"], m["half_width_kwh"]) for m in report["months"]
    ]
    series = report["series"]
    columns = ("label", "counterfactual_kwh", "cumulative_kwh", "cumulative_half_width_kwh")
    printed = list(zip(*(series[name][-days:] for name in columns), strict=True))
    shown = [(str(d.day), d.predicted_kwh, d.cumulative_kwh, d.half_width_kwh) for d in found.days]
    assert shown == printed
    assert found.days[-1].cumulative_t == report["carbon"]["avoided_t"]
    assert found.plan_sha256 != report["plan_sha256"], "its own is that of the whole plan"


def test_a_day_counts_half_an_hour_after_its_midnight(material, running):
    del running
    second = FIRST + 11 * DAY
    assert found_at(material, at(second, 0, 29)).stands_to == second - 2 * DAY
    assert found_at(material, at(second, 0, 30)).stands_to == second - DAY


def test_after_the_reporting_period_the_saving_is_that_of_all_of_it(material, running):
    del running
    found = found_at(material, at(date(2019, 1, 1)))
    assert (found.stands_to, found.is_final) == (END - DAY, True)
    assert found.headline.avoided_kwh == report_until(material, END)["headline"]["avoided_kwh"]


def test_of_a_simulated_clock_the_last_day_that_was_read_counts(material):
    found = found_at(material, at(date(2026, 1, 1)))
    assert (found.simulated, found.stands_to, found.is_final) == (True, END - DAY, True)


def test_a_day_with_a_gap_is_left_out_and_says_why(material):
    [out] = [day for day in found_at(material, 0).days if day.predicted_kwh is None]
    assert (out.cumulative_kwh, out.cumulative_t) == (None, None)
    assert out.reasons == ("main-meter/energy_wh: gap:timeout",)


@pytest.mark.parametrize(
    ("now", "state", "passed"),
    [
        (at(date(2017, 12, 1)), "baseline", 0),
        (at(date(2018, 1, 24), 1), "baseline", 23),
        (at(date(2018, 3, 8), 20), "waiting", 66),
    ],
)
def test_before_a_day_of_the_reporting_period_is_over_nothing_is_stated(
    material, running, now, state, passed
):
    del running
    found = found_at(material, now)
    assert (found.state, found.baseline_days, found.baseline_days_in_all) == (state, passed, 66)
    assert found.headline is None
    assert not found.days


def test_a_baseline_that_its_policy_refuses_gives_codes_and_no_saving(material):
    found = found_at(material, 0, production_cycle_days=60)
    assert found.state == "refused"
    assert found.refused_because == ("too_few_cycles",)
    assert found.headline is None
    assert all(day.cumulative_kwh is None for day in found.days)
    assert [rule.code for rule in found.findings if not rule.passed] == ["too_few_cycles"]


def test_a_plan_cut_at_its_own_end_is_the_plan():
    plan = small().plan
    assert plan_until(plan, END) == plan
    assert parse_canonical(plan_until(plan, FIRST + DAY))["reporting"]["to"] == str(FIRST + DAY)


def test_a_saving_by_the_hour_is_told_by_the_day(material):
    found = found_at(material, 0, unit="hour")
    assert len(found.days) == len({day.day for day in found.days}) == 30
    last = found.days[-1]
    assert last.cumulative_kwh is not None
    assert float(last.cumulative_kwh) == pytest.approx(float(found.headline.avoided_kwh), rel=1e-4)
    assert float(last.cumulative_t) == pytest.approx(float(found.headline.avoided_t), rel=1e-4)


def test_a_plan_whose_dates_bear_the_other_names_is_followed(material, running):
    del running
    dates = {"first": FIRST.isoformat(), "end": END.isoformat()}
    now_us = at(FIRST + 9 * DAY, 0, 31)
    found = found_at(material, now_us, reporting=dates)
    assert found.headline == found_at(material, now_us).headline
    assert found.state == "measured"
