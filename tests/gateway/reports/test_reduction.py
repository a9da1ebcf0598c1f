"""The report says what was measured, what was not, and nothing that cannot be backed."""

import json
import re
from decimal import Decimal
from functools import cache

import pytest

from joulemark_agent.contract.canonical import canonical_bytes, digest_hex, parse_canonical
from joulemark_agent.contract.document import document_bytes
from joulemark_agent.contract.errors import EvidenceError
from joulemark_gateway.evidence.history import parse_tree
from joulemark_gateway.reports.issue import issue, measured
from joulemark_gateway.reports.provenance import claims_of, predicate_of
from joulemark_gateway.reports.text import lines
from support.bundles import CLAIMS, Recipe, true_report
from support.evidence import METER, build_tree, leaves_of
from support.plant import plan_mapping, plant, small

FIGURE = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def witnessed(batches):
    return parse_tree(leaves_of(batches)), [batch.checkpoint for batch in batches]


def report(**plan):
    recipe = Recipe(plan=document_bytes(plan_mapping(**plan))) if plan else Recipe()
    return recipe.report().report


def figures(value, name=""):
    """Every figure of the report with the name it stands under."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from figures(item, key)
    elif isinstance(value, list):
        for item in value:
            yield from figures(item, name)
    elif isinstance(value, str) and FIGURE.fullmatch(value):
        yield name, value


def test_the_report_is_canonical_json_without_any_number_but_small_integers():
    data = true_report().report_json
    assert canonical_bytes(parse_canonical(data)) == data
    assert not re.search(rb":-?[0-9]*\.[0-9]", data)


def test_the_same_evidence_gives_the_same_bytes():
    again = Recipe().report()
    assert again.report_json == true_report().report_json
    assert again.report_html == true_report().report_html


def test_no_figure_has_more_than_ten_significant_digits():
    for name, text in figures(report()):
        assert len(text.lstrip("-0.").replace(".", "")) <= 10, (name, text)


def test_saving_interval_and_parts_fit_together():
    told = report()
    saving, split, carbon = told["saving"], told["split"], told["carbon"]
    avoided = Decimal(saving["avoided_kwh"])
    assert avoided == Decimal(saving["counterfactual_kwh"]) - Decimal(saving["measured_kwh"])
    assert avoided - Decimal(saving["half_width_kwh"]) == Decimal(saving["low_kwh"])
    parts = Decimal(split["activity_kwh"]) + Decimal(split["efficiency_kwh"])
    assert parts == Decimal(split["change_kwh"])
    assert split["efficiency_kwh"] == saving["avoided_kwh"]
    assert Decimal(carbon["from_energy_t"]) < Decimal(carbon["standard_uncertainty_t"])
    assert Decimal(told["creditable"]["creditable_t"]) < Decimal(carbon["avoided_t"])
    assert told["months"][-1]["month"] == "2018-04"


def test_the_saving_that_was_put_in_lies_in_the_interval():
    saving = report()["saving"]
    truth = Decimal(saving["measured_kwh"]) / Decimal("0.92") * Decimal("0.08")
    assert Decimal(saving["low_kwh"]) < truth < Decimal(saving["high_kwh"])


def test_the_policy_stands_beside_every_saving():
    told = report()
    assert told["headline"]["sufficiency_policy"] == "iso50006-production 1"
    assert told["saving"]["policy"] == "iso50006-production 1"
    assert told["headline"]["creditable_policy"] == "lower-bound-one-sided-95 1"
    assert told["creditable"]["policy"]["id"] == "lower-bound-one-sided-95"


def test_every_slot_is_a_reading_or_in_a_gap():
    energy, production = report()["coverage"]
    assert (energy["slots"], energy["readings"], energy["gap_slots"]) == ("768", "766", "2")
    assert (production["slots"], production["gap_slots"]) == ("768", "0")
    for tree in report()["evidence"]:
        assert int(tree["slots"]) == int(tree["records"]) + int(tree["gap_slots"]) == 769


def test_gap_hole_and_masked_days_are_named_in_local_time():
    told = report()
    assert told["gaps"] == [
        {
            "device": METER,
            "first_slot": "2018-03-22 06:00 +09:00",
            "last_slot": "2018-03-22 09:00 +09:00",
            "slots": "2",
            "cause": "timeout",
        }
    ]
    spans = {tuple(span["reasons"]): (span["start"], span["end"]) for span in told["missing"]}
    assert set(spans) == {("all_zero",), ("gap:timeout",)}
    assert [row["unit"] for row in told["masked"]] == ["2018-01-21", "2018-03-22"]
    states = dict(zip(told["series"]["label"], told["series"]["state"], strict=True))
    assert (states["2018-01-21"], states["2018-03-22"]) == ("missing", "estimated")
    assert list(states.values()).count("measured") == 94
    assert told["partial"] == []


def test_a_day_with_a_small_hole_is_kept_with_its_measured_part_and_says_so():
    told = fine()
    [part] = [row for row in told["partial"] if row["unit"] == "2018-01-21"]
    assert part["covered_percent"] == "95.8333"
    assert "all_zero" in part["reasons"][0]
    assert "2018-01-21" not in {row["unit"] for row in told["masked"]}
    kept = dict(zip(told["series"]["label"], told["series"]["kept"], strict=True))
    assert kept["2018-01-21"] is True


def test_it_says_that_it_is_a_replay_and_what_is_synthetic():
    told = report()
    assert [banner["code"] for banner in told["banners"]] == ["replayed", "synthetic"]
    assert told["clock"] == "simulated"
    assert {"replayed", "synthetic", "plain_modbus"} <= {item["code"] for item in told["limits"]}
    assert told["coverage"][1]["synthetic"] is True


def test_it_names_evidence_documents_plan_software_and_refused_batches():
    told, source = report(), true_report().provenance
    assert told["plan_sha256"] == digest_hex(small().plan)
    assert told["quarantined"] == {"bad_batch": "2"}
    assert told["issued"] == CLAIMS.issued
    assert told["software"]["source_sha256"] == CLAIMS.software_digest
    for tree, used in zip(told["evidence"], source.trees, strict=True):
        assert (tree["origin"], tree["root"]) == (used.origin, used.root)
        assert tree["documents"] == small().site.of(used.device)
        assert tree["last_leaf"] == str(used.size - 1)


def test_the_factor_is_printed_with_source_uncertainty_and_validity():
    [factor] = report()["factors"]
    assert (factor["id"], factor["factor_kg_per_kwh"]) == ("KR-grid-to-2019", "0.4781")
    assert factor["standard_uncertainty_percent"] == "5.0000"
    assert "Korean grid factor" in factor["source"]
    avoided = Decimal(factor["avoided_kwh"]) * Decimal("0.4781") / 1000
    assert abs(avoided - Decimal(factor["avoided_t"])) < Decimal("0.000002")


@cache
def fine():
    """The report on hourly readings of the same plant."""
    source = plant(period_s=3600)
    trees = [
        witnessed(build_tree(source.site, device, results))
        for device, results in source.results.items()
    ]
    return issue(source.plan, trees, source.site.by_digest(), CLAIMS).report


def test_what_the_calendar_would_have_claimed_is_shown_and_refused():
    told = fine()
    [claim] = told["refused_claims"]
    hole = next(span for span in told["missing"] if span["reasons"] == ["all_zero"])
    assert (hole["start"], hole["hours"]) == ("2018-01-21 01:00 +09:00", "1.0000")
    assert claim["code"] == "no_activity_driver"
    predicted, metered = Decimal(claim["predicted_kwh"]), Decimal(claim["measured_kwh"])
    claimed = Decimal(claim["would_have_claimed_kwh"])
    assert abs(predicted - metered - claimed) <= Decimal("0.001")


def test_exclusions_are_listed_with_cause_author_and_what_they_change():
    plan = {
        "non_routine": [
            {
                "id": "stop-1",
                "dates": {"from": "2018-04-01", "to": "2018-04-03"},
                "cause": "The line stood still for repair.",
                "evidence_sha256": "0" * 64,
                "author": "A. Manager",
                "approval": "B. Verifier",
                "treatment": "exclude",
            }
        ]
    }
    told = report(**plan)
    [excluded] = told["exclusions"]
    assert (excluded["author"], excluded["to_exclusive"]) == ("A. Manager", "2018-04-03")
    assert told["saving"]["without_exclusions_kwh"] == report()["saving"]["avoided_kwh"]
    assert {"2018-04-01", "2018-04-02"} <= {row["unit"] for row in told["masked"]}


DISQUALIFIED = {
    "no driver": {"drivers": []},
    "short": {
        "baseline": {"from": "2018-02-01", "to": "2018-03-08"},
        "production_cycle_days": 30,
    },
}


@pytest.mark.parametrize("plan", DISQUALIFIED.values(), ids=DISQUALIFIED)
def test_a_disqualified_baseline_prints_no_saving_anywhere(plan):
    told = report(**plan)
    assert told["result"] == "disqualified"
    assert told["refused_because"]
    for name in ("headline", "saving", "carbon", "creditable", "split"):
        assert told[name] is None
    assert told["months"] == told["factors"] == []
    whole = json.dumps({**told, "refused_claims": []})
    for name in ("avoided_kwh", "counterfactual_kwh", "cumulative_kwh"):
        assert set(told["series"][name]) == {None}
    assert not re.search(r'"(avoided|creditable)_(t|kwh)": "', whole)
    assert "disqualified" in [banner["code"] for banner in told["banners"]]


def test_leaves_that_no_witness_saw_are_counted():
    made = Recipe(sealing={"cosigned": False}).report().report["time_quality"]
    assert (made["unattested"], made["unattested_percent"]) == (made["leaves"], "100.0000")
    assert report()["time_quality"]["unattested"] == "0"


def test_claims_survive_the_statement():
    issued = true_report()
    predicate = predicate_of(issued.provenance, {}, issued.report)
    assert claims_of(predicate) == issued.provenance.claims


@pytest.mark.parametrize(
    "change", [{"issued": 7}, {"software": {}}, {"quarantined": {"a": "-1"}}, {"quarantined": []}]
)
def test_claims_of_another_kind_are_refused(change):
    predicate = predicate_of(true_report().provenance, {}, true_report().report)
    with pytest.raises(EvidenceError):
        claims_of({**predicate, **change})


def code_of(trees, plan=None, documents=None):
    with pytest.raises(EvidenceError) as caught:
        measured(plan or small().plan, trees, {**small().site.by_digest(), **(documents or {})})
    return caught.value.code


def test_material_that_gives_no_report_is_refused_with_a_code():
    trees = [witnessed(batches) for batches in Recipe().made_batches().values()]
    assert code_of(trees, plan=b'{"id":"x"}') == "bad_plan"
    assert code_of([*trees, trees[0]]) == "device_twice"
    assert code_of([]) == "factors_differ"
    factors = small().site.of(METER)["factors"]
    assert code_of(trees, documents={factors: b"{}"}) == "bad_document"


def test_no_line_for_a_terminal_moves_its_cursor():
    told = true_report().report
    hostile = {**told, "project": {**told["project"], "title": "Pumps\x1b[2J\u202e\nverified"}}
    shown = list(lines(hostile))
    assert shown[0] == "Pumps\\u001b[2J\\u202e\\u000averified"
    assert all(line.isprintable() for line in shown)
