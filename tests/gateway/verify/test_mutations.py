"""Forged bundles: each is found by the layer that must find it, and by no other where only one can.

`MUTATIONS` (tests/support/forgeries) are made by somebody who changes one thing and then computes
everything that follows from it anew, signing with keys of his own. `ALONE` are made with the true
keys, so that one layer alone can object; without that layer they pass: the layer is needed.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest

from joulemark_agent.contract.signature import encode64
from joulemark_gateway.evidence.bundle import packed
from joulemark_gateway.evidence.corrections import Correction
from joulemark_gateway.verify import (
    anchors,
    corrections,
    decode,
    documents,
    heads,
    log,
    manifest,
    plans,
    recompute,
    records,
    signers,
    times,
)
from joulemark_gateway.verify.command import UNCHECKED, as_json, as_text
from joulemark_gateway.verify.policy import policy_of
from joulemark_gateway.verify.verdict import STEPS, verify
from support.bundles import Recipe, policy, policy_mapping, true_bundle, true_report
from support.evidence import FOREIGN, KEYS, METER, SITE
from support.forgeries import accounts, keys, kinds, papers, reports, statements, trees, versions
from support.forgeries import corrections as corrected
from support.forgeries import plans as planned
from support.forgeries import records as readings
from support.forgeries.base import (
    BATCH,
    LEAVES,
    MUTATIONS,
    a_wh_more,
    changed,
    edited_report,
    unpacked,
)
from support.log_recipes import LogRecipe

SUBJECTS = (
    accounts, corrected, keys, kinds, papers, planned, readings, reports, statements, trees,
    versions,
)  # fmt: skip
ALONE: dict[str, tuple[object, str, Callable[[], Recipe]]] = {}


def found_only_by(step, code):
    """A bundle of true keys to which this step alone objects."""

    def keep(make):
        ALONE[make.__name__] = (step, code, make)
        return make

    return keep


# --- one layer alone ----------------------------------------------------------------------------


@found_only_by(manifest.check, "file_changed")
def readme_rewritten():
    return Recipe(end=lambda members: {**members, "readme.txt": b"All is well.\n"})


@found_only_by(signers.check, "statement_signature")
def true_evidence_false_reporter():
    return Recipe(reporter=FOREIGN)


@found_only_by(heads.check, "root_mismatch")
def monotonic_time_changed_after_the_fact():
    """Nothing is computed from this field; the tree alone protects it."""

    def change(members):
        lines = unpacked(members)
        lines[40] = lines[40].replace(b'"t_mono_ns":"', b'"t_mono_ns":"1', 1)
        return {**members, LEAVES: packed(lines)}

    return Recipe(members=change)


@found_only_by(records.check, "slot_missing")
def agent_that_leaves_a_slot_out():
    return changed(lambda group: group.pop(10), owner=KEYS)


@found_only_by(documents.check, "document_changed")
def agent_that_names_another_document():
    def name_it(index, fields):
        named = {**fields["documents"], "factors": "0" * 64}
        return {**fields, "documents": named} if index == BATCH else fields

    return Recipe(sealing={"envelope": name_it})


@found_only_by(decode.check, "decode_mismatch")
def agent_that_writes_another_value():
    return changed(lambda group: group[10]["val"].update(energy_wh="1"), owner=KEYS)


@found_only_by(recompute.check, "report_differs")
def reporter_that_prints_another_saving():
    edited = edited_report(saving__avoided_kwh=a_wh_more)
    page = true_report().report_html
    return Recipe(issued=replace(edited, report_html=page))


@found_only_by(times.check, "back_dated")
def batches_sealed_long_before_they_were_seen():
    return Recipe(sealing={"cosign_delay_s": 3600})


@found_only_by(log.check, "log_head")
def collector_that_logged_another_head():
    def other(closings):
        [*before, last] = closings
        head = [entry for entry in last if entry.kind == "heads" and entry.site == SITE]
        rows = head[0].fields["heads"]
        changed = [{**rows[0], "root": encode64(bytes(32))}, *rows[1:]]
        first = [replace(head[0], fields={"heads": changed}), *last]
        return [*before, first]

    return Recipe(log=LogRecipe(closings=other))


@found_only_by(corrections.check, "correction_signature")
def correction_that_no_operator_signed():
    correction = Correction(f"joulemark/{SITE}/{METER}/1", 300, 300, "energy_wh", "excluded",
                            "it suits us", "nobody")  # fmt: skip
    return Recipe(log=LogRecipe(corrections=[(correction, FOREIGN.operator)]))


@found_only_by(plans.check, "plan_signature")
def plan_that_no_operator_signed():
    return planned.registering(key=FOREIGN.operator)


@found_only_by(plans.check, "plan_form")
def plan_registered_for_another_project():
    return planned.registering(project="boiler-house")


@found_only_by(anchors.check, "timestamp_head")
def time_stamp_over_nothing():
    return Recipe(log=LogRecipe(files=lambda files: replace(files, tokens={(1, "tsa"): b"x"})))


def test_the_true_bundle_is_verified():
    verdict = verify(true_bundle(), policy())
    assert verdict.findings == ()
    assert (verdict.status, verdict.exit_code, verdict.simulated) == ("verified", 0, True)


def test_a_bundle_made_by_other_keys_throughout_is_consistent_and_refuted_under_the_policy():
    forged = trees.forged_grant().make()
    alone, trusted = verify(forged, None), verify(forged, policy())
    assert (alone.status, alone.signers) == ("verified", "unchecked")
    assert (trusted.status, trusted.exit_code) == ("refuted", 1)
    assert verify(forged, policy_of(policy_mapping(FOREIGN))).status == "verified"


NOT_MEASURED = tuple(step for step in STEPS if step is not recompute.check)
MEASURED = {"report_differs", "page_differs", "statement_differs", "not_recomputed"}


@cache
def judged(name):
    """The verdict on a forgery under its policy; without measuring where that is not needed."""
    forgery = MUTATIONS[name]
    steps = STEPS if forgery.code in MEASURED else NOT_MEASURED
    return verify(forgery.make().make(), policy_of(forgery.policy()), steps)


def is_right(name):
    """Whether the finding is there that the forgery deserves."""
    return MUTATIONS[name].code in {finding.code for finding in judged(name).findings}


@pytest.mark.endurance
@pytest.mark.parametrize("name", MUTATIONS)
def test_a_forgery_is_refuted_by_the_layer_that_must_find_it(name):
    assert judged(name).exit_code == 1
    assert is_right(name)


@pytest.mark.endurance
def test_all_kinds_of_forgery_are_refuted_nearly_all_for_the_right_reason():
    refuted = [name for name in MUTATIONS if judged(name).exit_code == 1]
    right = [name for name in MUTATIONS if is_right(name)]
    codes = {forgery.code for forgery in MUTATIONS.values()}
    subjects = ", ".join(subject.__name__.rpartition(".")[2] for subject in SUBJECTS)
    sys.stdout.write(
        f"{len(MUTATIONS)} kinds of forgery ({subjects}), {len(codes)} reasons:"
        f" {len(refuted)} refuted, {len(right)} with the right code\n"
    )
    assert len(MUTATIONS) >= 40
    assert len(refuted) == len(MUTATIONS)
    assert len(right) >= 0.95 * len(MUTATIONS)


RE_SIGNED = ("forged_grant", "replay_passed_off_as_real", "revoked_key_used_after")


@pytest.mark.parametrize("name", RE_SIGNED)
def test_without_a_policy_no_signer_counts_as_checked(name):
    """What is consistent passes then, and says so in its first line; under the policy it is 1."""
    verdict = verify(MUTATIONS[name].make().make(), None)
    told, first = as_json(verdict), next(as_text(verdict, None))
    assert (verdict.signers, told["signers"]) == ("unchecked", "unchecked")
    assert first == (UNCHECKED if verdict.status == "verified" else "refuted; signers not checked")
    assert (verdict.status == "verified") == (name != "replay_passed_off_as_real")
    assert judged(name).exit_code == 1


def test_every_layer_has_a_forgery_that_it_alone_finds():
    assert list(dict.fromkeys(step for step, _, _ in ALONE.values())) == list(STEPS)


@pytest.mark.parametrize("name", ALONE)
def test_without_the_layer_that_alone_finds_it_the_forgery_passes(name):
    step, code, make = ALONE[name]
    forged = make().make()
    whole = verify(forged, policy())
    assert {finding.code for finding in whole.findings} == {code}
    assert whole.exit_code == 1
    mutant = verify(forged, policy(), tuple(item for item in STEPS if item is not step))
    assert mutant.exit_code == 0, "this layer is needed: nothing else objects"
