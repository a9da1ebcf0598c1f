"""A report says since when its plan was there, and who shows it; without a plan it is as before."""

import json
from dataclasses import replace

import pytest

from joulemark_agent.contract.canonical import canonical_bytes, digest_hex
from joulemark_agent.contract.document import document_bytes
from joulemark_agent.contract.errors import EvidenceError
from joulemark_gateway.reports.blocks import plain
from joulemark_gateway.reports.content import content
from joulemark_gateway.reports.html import page
from joulemark_gateway.reports.text import lines
from joulemark_gateway.reports.words import LANGUAGES
from joulemark_gateway.verify.command import as_text
from joulemark_gateway.verify.policy import policy_of
from joulemark_gateway.verify.verdict import verify
from support.bundles import Recipe, policy, true_bundle, true_report
from support.forgeries.plans import (
    BEFORE_S,
    BEFORE_US,
    one_of_the_firm,
    registering,
    unseen_at_first,
    with_line,
)
from support.logs import FIRM
from support.plant import plan_mapping
from support.second_verifier import Asked, judged

DATING = {"plan_not_dated_before", "plan_dated_by_collector"}
AFTER_US = BEFORE_US + 365 * 86_400_000_000
OPTION_A = {
    "option": "A",
    "boundary": "The two pumps and their meter.",
    "responsible": "J. Kim, energy manager",
    "static_factors": [
        {
            "name": "head",
            "value": "12.50",
            "unit": "m",
            "source": "drawing 7",
            "if_changed": "adjust the baseline",
            "estimated": True,
        }
    ],
}
ESTIMATED = OPTION_A["static_factors"]


def warned(report):
    return {item["code"] for item in report["warnings"]} & DATING


@pytest.mark.parametrize(
    ("recipe", "shown_by", "codes"),
    [
        (registering(), "witness", set()),
        (registering(cosigners={}), "collector", {"plan_dated_by_collector"}),
        (registering(files=unseen_at_first), "collector", {"plan_dated_by_collector"}),
        (registering(time_us=AFTER_US), "nobody", {"plan_not_dated_before"}),
    ],
    ids=["witnessed", "collector alone", "seen too late", "too late"],
)
def test_a_report_says_who_shows_that_its_plan_was_there_before(recipe, shown_by, codes):
    report = recipe.report().report
    assert report["plan"]["registered"]["before_reporting"] == shown_by
    assert warned(report) == codes
    assert report["saving"] == true_report().report["saving"]


def test_the_plan_is_verified_and_the_verdict_names_who_dates_it():
    data = registering(plan=OPTION_A).make()
    for trusted, told in ((policy_of(one_of_the_firm()), "checked"), (policy(), "not checked")):
        verdict = verify(data, trusted)
        assert verdict.findings == ()
        said = [line for line in as_text(verdict, trusted) if line.startswith("plan ")]
        assert said[0].endswith(
            "signed by J. Kim (energy manager), logged 2018-02-01T00:00:00+00:00 by the collector"
        )
        assert said[1] == f"plan first cosigned by {FIRM} at 2018-02-01T00:00:01+00:00, {told}"
    shown = verdict.report["plan"]
    assert (shown["option"], shown["static_factors"][0]["value"]) == ("A", "12.5")
    assert shown["registered"]["sha256"] == verdict.report["plan_sha256"]


def test_page_text_and_report_tell_it_alike_in_both_languages():
    report = registering(plan=OPTION_A).report().report
    told = "\n".join(lines(report))
    assert "J. Kim (energy manager)" in told
    assert f"cosigned by {FIRM}, 2018-02-01 09:00:01 +09:00" in told
    pages = {language: page(report, language) for language in LANGUAGES}
    assert "The plan before the reporting period" in pages["en"]
    assert "보고 기간 이전의 계획서" in pages["ko"]
    assert all("drawing 7" in text for text in pages.values())


def test_a_witness_that_nobody_knows_does_not_hide_the_one_who_was_checked():
    ghost = "ghost.example/witness"
    recipe = registering(files=with_line(ghost, b"x" * 32, BEFORE_S - 60))
    data, alone = recipe.make(), "plan: when it was there, the collector alone says"
    for trusted, told in (
        (policy_of(one_of_the_firm()), f"plan first cosigned by {FIRM} at 2018-02-01T00:00:01"),
        (policy(), alone),
    ):
        said = [line for line in as_text(verify(data, trusted), trusted) if line[:4] == "plan"]
        assert (
            said[1] == f"plan first cosigned by {ghost} at 2018-01-31T23:59:00+00:00, not checked"
        )
        assert said[2].startswith(told)
        assert len(said) == 3


def test_a_report_without_a_registered_plan_is_as_before():
    report = true_report().report
    assert "plan" not in report
    assert warned(report) == {"plan_not_dated_before"}
    verdict = verify(true_bundle(), policy())
    assert not [line for line in as_text(verdict, policy()) if line.startswith("plan")]
    titles = [section.title for group in content(report, "en").body for section in group
              if hasattr(section, "title")]  # fmt: skip
    assert "The plan before the reporting period" not in titles
    assert plain(content(report, "en").letterhead.lead)


def test_a_report_says_how_many_plans_of_its_project_were_registered():
    other = registering(plan={"title": "Another"}).log.early
    true = registering()
    recipe = replace(true, log=replace(true.log, early=(*other, *true.log.early)))
    assert recipe.report().report["plan"]["registered"]["versions"] == "2"
    verdict = verify(recipe.make(), policy())
    assert verdict.findings == ()
    told = "plan: one of 2 of its project that stand in the log"
    assert told in list(as_text(verdict, policy()))


def test_another_plan_of_the_project_in_the_log_dates_nothing_and_the_verdict_names_it():
    other = registering(plan={"title": "Another"})
    recipe = replace(other, plan=None)
    report = recipe.report().report
    assert "plan" not in report
    assert warned(report) == {"plan_not_dated_before"}
    digest = digest_hex(document_bytes(plan_mapping(title="Another")))
    told = f"plan: not in the log, where others of its project stand: {digest[:16]}"
    assert told in list(as_text(verify(recipe.make(), policy()), policy()))


def test_a_plan_that_is_not_in_the_log_has_nothing_to_do_with_those_of_other_projects():
    other = registering(plan={"id": "boiler-house"}, project="boiler-house")
    verdict = verify(replace(other, plan=None).make(), policy())
    assert verdict.findings == ()
    assert not [line for line in as_text(verdict, policy()) if line.startswith("plan")]


def test_a_whole_site_is_not_measured_by_a_machine():
    """The counter of the small plant counts products; its kind is no meter's."""
    changes = {"option": "C", "boundary": "The whole site."}
    assert registering(plan=changes).report().report["plan"]["option"] == "C"
    stated = {"device": "production-counter", "point": "production_kg"}
    with pytest.raises(EvidenceError) as caught:
        registering(plan={**changes, "energy": stated, "drivers": []}).report()
    assert caught.value.code == "option_contradicted"


def test_a_reporter_who_dates_the_plan_earlier_is_refuted():
    recipe = registering(files=unseen_at_first)
    issued = recipe.report()
    report = json.loads(issued.report_json)
    report["plan"]["registered"]["before_reporting"] = "witness"
    report["warnings"] = [w for w in report["warnings"] if w["code"] not in DATING]
    forged = replace(issued, report=report, report_json=canonical_bytes(report),
                     report_html=page(report).encode())  # fmt: skip
    found = verify(replace(recipe, issued=forged).make(), policy()).findings
    assert {item.code for item in found} == {"report_differs", "page_differs"}


def test_the_second_verifier_repeats_the_plan_and_refuses_what_contradicts_itself(node, tmp_path):
    """What it says of forged registrations stands in test_second_verifier.py."""
    against = {"option": "B", "boundary": "one pump", "static_factors": ESTIMATED}
    wrong = Recipe(plan=document_bytes(plan_mapping(**against)), issued=true_report())
    asked = [
        Asked("true", registering(plan=OPTION_A).make(), one_of_the_firm()),
        Asked("B", wrong.make(), one_of_the_firm()),
    ]
    told = [{code for _, code in one["findings"]} for one in judged(node, asked, tmp_path)]
    codes = {item.code for item in verify(asked[1].data, policy_of(one_of_the_firm())).findings}
    assert told == [set(), codes]
    assert "not_recomputed" in codes
