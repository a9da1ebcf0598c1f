"""Bundles whose plan names its model: both verifiers, and what the smaller one leaves out."""

from typing import Any

from joulemark_agent.contract.document import document_bytes
from joulemark_gateway.evidence.bundle import REPORT
from joulemark_gateway.verify.policy import policy_of
from joulemark_gateway.verify.verdict import verify
from support.bundles import Recipe, policy_mapping
from support.plant import plan_mapping
from support.second_verifier import Asked, judged

LINE = {"family": "production"}
CHOSEN = {**LINE, "selection_policy": "iso50006-regression"}
OVERRIDE = {
    "author": "A. Manager",
    "reason": "The mean is shown for comparison.",
    "codes": ["no_activity_driver", "low_adjusted_r2"],
}
PLANS: dict[str, tuple[dict[str, Any], str]] = {
    "a line": ({"model": CHOSEN}, "adds to its report"),
    "a mean": ({"model": {"family": "mean"}, "override": OVERRIDE}, "this model"),
}
CHANGES = {
    "another fit": (b'"residual_sd_kwh":"', b'"residual_sd_kwh":"1'),
    "another format": (b"joulemark-report/3", b"joulemark-report/2"),
}


def recipe(**changes):
    return Recipe(plan=document_bytes(plan_mapping(**changes)))


def asked(name, made):
    return Asked(name, made.make(), policy_mapping())


def first_verdict(one):
    return verify(one.data, policy_of(one.policy)).exit_code


def test_the_same_model_gives_the_same_saving_in_both_formats():
    before, now = (one.report().report for one in (Recipe(), recipe(model=LINE)))
    assert (before["format"], now["format"]) == ("joulemark-report/2", "joulemark-report/3")
    same = set(before) - {"format", "findings", "model", "plan_sha256"}
    assert {name for name in same if before[name] != now[name]} == set()
    kinds = ({**before["model"], "kind": ""}, {**now["model"], "kind": ""})
    assert kinds[0] == kinds[1]
    assert before["findings"] == now["findings"][: len(before["findings"])]


def test_what_the_second_verifier_cannot_recompute_it_says_and_does_not_refute(node, tmp_path):
    subjects = [asked(name, recipe(**plan)) for name, (plan, _) in PLANS.items()]
    assert [first_verdict(one) for one in subjects] == [0] * len(subjects)
    for one, told in zip(subjects, judged(node, subjects, tmp_path), strict=True):
        assert (told["exit"], told["findings"]) == (2, []), one.name
        [left_out] = told["undecided"]
        assert PLANS[one.name][1] in left_out


def test_a_line_is_recomputed_and_another_figure_is_found(node, tmp_path):
    def forged(old, new):
        def change(members):
            text = members[REPORT].replace(old, new, 1)
            assert text != members[REPORT]
            return {**members, REPORT: text}

        return Recipe(plan=document_bytes(plan_mapping(model=LINE)), members=change)

    subjects = [asked(name, forged(*change)) for name, change in CHANGES.items()]
    assert {first_verdict(one) for one in subjects} == {1}
    for told in judged(node, subjects, tmp_path):
        assert (told["exit"], told["findings"]) == (1, [["recompute", "report_differs"]])


def test_the_statement_says_whose_decision_the_figures_are():
    def silent(predicate):
        assert predicate["override"]["passed_over"] == sorted(OVERRIDE["codes"])
        return {name: value for name, value in predicate.items() if name != "override"}

    made = Recipe(plan=recipe(**PLANS["a mean"][0]).plan, predicate=silent)
    assert first_verdict(asked("silent", made)) == 1
