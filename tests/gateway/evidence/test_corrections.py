"""A correction supersedes and never edits: who may make it, where, and what it changes."""

import json
from dataclasses import replace

import numpy as np
import pytest

from joulemark_agent.contract.canonical import canonical_bytes
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.signature import public_key
from joulemark_gateway.evidence.corrections import (
    Correction,
    Made,
    check_form,
    check_point,
    corrected,
    in_force,
    parse_correction,
    readings_of,
)
from joulemark_gateway.evidence.history import history_of, parse_tree
from joulemark_gateway.verify.verdict import verify
from support.bundles import Recipe, policy, true_bundle, true_report
from support.evidence import FOREIGN, KEYS, METER, SITE, build_tree, leaves_of, meter_readings
from support.log_recipes import LogRecipe
from support.plant import small
from support.present import present

ORIGIN = f"joulemark/{SITE}/{METER}/1"


def correction(first=600, last=None, treatment="excluded", **changes):
    given = {"point": "energy_wh", "reason": "the meter was tested", "who": "J. Kim", **changes}
    return Correction(
        origin=given.pop("origin", ORIGIN),
        first_seq=first,
        last_seq=first if last is None else last,
        treatment=treatment,
        **given,
    )


def made(item, key=KEYS.operator):
    return Made(item, public_key(key), b"", 7, 0)


def withdrawal(item):
    return replace(item, treatment="withdrawn", value=None, withdraws=item.digest, reason="typo")


def small_history():
    site = small().site
    results = meter_readings(site, [1000] * 9)
    tree = parse_tree(leaves_of(build_tree(site, METER, results)))
    return tree, history_of(tree, site.by_digest())


def code_of(call, *arguments):
    with pytest.raises(EvidenceError) as caught:
        call(*arguments)
    return caught.value.code


# --- on arrays ----------------------------------------------------------------------------------


def test_an_excluded_value_is_bad_and_a_replaced_one_is_good():
    tree, history = small_history()
    seqs = history.sources.tolist()
    one = correction(seqs[2], seqs[3])
    two = correction(seqs[5], treatment="replaced", value="7", point="energy_wh")
    three = correction(seqs[5], treatment="replaced", value="-1.5", point="power_w")
    after = corrected(history, [one, two, three])
    assert after.good["energy_wh"].tolist() == [k not in (2, 3) for k in range(len(seqs))]
    assert after.counters["energy_wh"][[2, 3, 5]].tolist() == [0, 0, 7]
    assert after.gauges["power_w"][5] == -1.5
    same = [k for k in range(len(seqs)) if k not in (2, 3, 5)]
    before = history.counters["energy_wh"]
    assert after.counters["energy_wh"][same].tolist() == before[same].tolist()
    assert history.good["energy_wh"].all(), "what was read stays as it is"
    assert np.isfinite(history.gauges["power_w"][5])
    assert [record.seq for record in readings_of(one, tree)] == seqs[2:4]


def test_a_bad_value_can_be_replaced_by_a_good_one():
    _, history = small_history()
    seq = int(history.sources[4])
    bad = corrected(history, [correction(seq)])
    assert (
        corrected(bad, [correction(seq, treatment="replaced", value="9")]).good["energy_wh"].all()
    )


def test_a_correction_of_another_tree_changes_nothing():
    _, history = small_history()
    other = correction(1, 10**9, origin=f"joulemark/{SITE}/{METER}/2")
    assert corrected(history, [other]).good["energy_wh"].all()


@pytest.mark.parametrize("value", ["-1", "9" * 25])
def test_what_is_no_count_is_refused(value):
    _, history = small_history()
    item = correction(int(history.sources[1]), treatment="replaced", value=value)
    assert code_of(corrected, history, [item]) == "correction_value"
    assert code_of(check_point, item, history.profile) == "correction_value"


def test_a_place_that_is_no_reading_of_the_point_is_refused():
    tree, history = small_history()
    first, last = int(history.sources[0]), int(history.sources[-1])
    for item in (
        correction(0),  # opens the epoch
        correction(first, last + 1),
        correction(first - 1, last),
        correction(10**6),
        correction(first, point="no_such_point"),
    ):
        assert code_of(readings_of, item, tree) == "correction_position"
    assert code_of(check_point, correction(first, point="x"), history.profile) == (
        "correction_position"
    )


# --- together -----------------------------------------------------------------------------------


def test_of_one_reading_and_point_there_are_no_two():
    first = correction(600, 610)
    for other in (correction(610), correction(600, 620), correction(605, who="another")):
        assert code_of(in_force, [made(first), made(other)]) == "correction_overlap"
    beside = [correction(611), correction(605, point="power_w")]
    beside.append(correction(605, origin=ORIGIN.replace("main", "sub")))
    assert len(in_force([made(first), *map(made, beside)])) == 4


def test_what_is_taken_back_makes_room_for_another():
    wrong = correction(600, treatment="replaced", value="70")
    right = replace(wrong, value="7")
    log = [made(wrong), made(withdrawal(wrong)), made(right)]
    assert [item.correction for item in in_force(log)] == [right]
    assert code_of(in_force, log[1:]) == "correction_position"
    again = replace(withdrawal(wrong), reason="once more")
    assert code_of(in_force, [*log[:2], made(again)]) == "correction_position"
    elsewhere = replace(withdrawal(wrong), last_seq=601)
    assert code_of(in_force, [log[0], made(elsewhere)]) == "correction_position"


def test_what_an_operator_signed_counts_once():
    """Whoever writes the log has the signature for ever."""
    wrong = correction(600)
    log = [made(wrong), made(withdrawal(wrong))]
    assert in_force(log) == []
    for item in log:
        assert code_of(in_force, [*log, item]) == "correction_overlap"


@pytest.mark.parametrize(
    "changes",
    [
        {"treatment": "improved"},
        {"last_seq": 599},
        {"value": "7"},
        {"treatment": "replaced"},
        {"treatment": "replaced", "value": "1e9"},
        {"treatment": "replaced", "value": "07"},
        {"treatment": "replaced", "value": "1.50"},
        {"treatment": "replaced", "value": "-0"},
        {"treatment": "replaced", "value": "NaN"},
        {"treatment": "withdrawn"},
        {"withdraws": "0" * 64},
        {"treatment": "withdrawn", "withdraws": "0" * 63},
    ],
)
def test_parts_that_do_not_fit_together_are_refused(changes):
    assert code_of(check_form, replace(correction(), **changes)) == "correction_form"


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2}, {"site": "pohang"}, {"reason": ""}, {"reason": 7}, {"who": "x" * 1001},
        {"first_seq": 600}, {"value": 7}, {"more": 1}, {"origin": "somewhere"}, {"type": "x"},
    ],
)  # fmt: skip
def test_what_an_operator_signed_is_read_as_it_is_or_not_at_all(change):
    content = correction().content()
    assert parse_correction(content) == correction()
    with pytest.raises(EvidenceError):
        parse_correction({**content, **change})


# --- in a report --------------------------------------------------------------------------------


def with_corrections(*items, key=KEYS.operator, **more):
    log = LogRecipe(corrections=[(item, key) for item in items])
    return Recipe(log=log, **more)


def last_reading():
    """The leaf of the last reading of the reporting period, and what its counter shows."""
    leaves = leaves_of(Recipe().made_batches()[METER])
    content = next(c for c in map(json.loads, leaves[::-1]) if c.get("val"))
    return int(content["seq"]), int(content["val"]["energy_wh"])


def test_a_report_lists_each_correction_and_gives_totals_with_and_without():
    seq, count = last_reading()
    more = correction(seq, treatment="replaced", value=str(count + 1000))
    recipe = with_corrections(more)
    report = recipe.report().report
    [listed] = report["corrections"]["listed"]
    assert (listed["old_first"], listed["new"], listed["readings"]) == (str(count), more.value, "1")
    assert (listed["who"], listed["reason"], listed["counts"]) == (more.who, more.reason, True)
    true, told = true_report().report, report["corrections"]
    assert told["without"]["avoided_kwh"] == true["saving"]["avoided_kwh"]
    assert told["without"]["baseline_kwh"] == true["periods"]["baseline"]["energy_kwh"]
    assert told["with"]["avoided_kwh"] == report["saving"]["avoided_kwh"]
    assert told["with"] != told["without"]
    verdict = verify(recipe.make(), policy())
    assert verdict.status == "verified"
    assert present(verdict.log)["corrections"] == 1
    members = recipe.made_members()
    leaves = members[f"evidence/{METER}/1/leaves.jsonl.gz"]
    true_leaves = Recipe().made_members()[f"evidence/{METER}/1/leaves.jsonl.gz"]
    assert leaves == true_leaves, "the superseded leaf stays"


def test_a_correction_that_was_taken_back_is_told_and_does_not_count():
    wrong = correction(last_reading()[0])
    report = with_corrections(wrong, withdrawal(wrong)).report().report
    assert [item["counts"] for item in report["corrections"]["listed"]] == [False, False]
    assert report["corrections"]["without"] is None
    assert report["saving"] == true_report().report["saving"]


@pytest.mark.parametrize("name", ["with", "without"])
def test_the_verifier_recomputes_both_totals(name):
    seq, count = last_reading()
    recipe = with_corrections(correction(seq, treatment="replaced", value=str(count + 1000)))
    issued = recipe.report()
    report = json.loads(issued.report_json)
    report["corrections"][name]["avoided_kwh"] += "1"

    forged = replace(issued, report=report, report_json=canonical_bytes(report))
    codes = {item.code for item in verify(replace(recipe, issued=forged).make(), policy()).findings}
    assert codes == {"report_differs"}


def test_a_correction_by_somebody_else_refutes_the_report():
    recipe = with_corrections(correction(last_reading()[0]), key=FOREIGN.operator)
    codes = {finding.code for finding in verify(recipe.make(), policy()).findings}
    assert codes == {"correction_signature"}


def test_a_signature_under_other_words_refutes_it_too():
    item = correction(last_reading()[0])

    def reword(leaf):
        return leaf.replace(b"the meter was tested", b"the meter was stolen")

    log = LogRecipe(corrections=[(item, KEYS.operator)], leaf=reword)
    codes = {finding.code for finding in verify(Recipe(log=log).make(), policy()).findings}
    assert codes == {"correction_signature"}


@pytest.mark.parametrize(
    ("items", "code"),
    [
        ([correction(0)], "correction_position"),
        ([correction(600, 620), correction(620)], "correction_overlap"),
    ],
)
def test_corrections_that_do_not_hold_are_found_in_a_bundle(items, code):
    recipe = with_corrections(*items, issued=true_report())
    codes = {finding.code for finding in verify(recipe.make(), policy()).findings}
    assert {code, "not_recomputed"} <= codes
    assert verify(true_bundle(), policy()).findings == ()
