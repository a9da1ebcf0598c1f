"""Forged bundles: each is found by the layer that must find it, and by no other where only one can.

`MUTATIONS` are made by somebody who changes one thing and then computes everything that follows
from it anew, signing with keys of his own (`FOREIGN`). `ALONE` are made with the true keys, so that
one layer alone can object; without that layer they pass, which shows that the layer is needed.
"""

import dataclasses
import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from joulemark_agent.contract.canonical import canonical_bytes, digest_hex, parse_canonical
from joulemark_agent.contract.document import document_bytes
from joulemark_agent.contract.profile import Profile
from joulemark_agent.contract.reading import Response
from joulemark_agent.contract.signature import (
    Checkpoint,
    cosign,
    decode64,
    encode64,
    parse_checkpoint,
    parse_note,
    sign_checkpoint,
)
from joulemark_agent.kernels.decode import decode_responses
from joulemark_gateway.evidence.bundle import packed
from joulemark_gateway.verify import (
    decode,
    documents,
    heads,
    manifest,
    recompute,
    records,
    signers,
    times,
)
from joulemark_gateway.verify.policy import policy_of
from joulemark_gateway.verify.verdict import STEPS, verify
from support import evidence
from support.bundles import (
    CLAIMS,
    Recipe,
    groups_of,
    policy,
    policy_mapping,
    tree_members,
    true_bundle,
    true_report,
)
from support.evidence import COUNTER, FOREIGN, KEYS, METER, opening
from support.plant import plan_mapping, small

MUTATIONS: dict[str, tuple[str, Callable[[], Recipe]]] = {}
ALONE: dict[str, tuple[object, str, Callable[[], Recipe]]] = {}
PROFILE = small().site.of(METER)["profile"]
FACTORS = small().site.of(METER)["factors"]
BATCH = 4  # the batch most mutations touch; its leaf 10 is an ordinary record


def found_by(code):
    """A forgery under foreign keys; `code` is what its layer must say."""

    def keep(make):
        MUTATIONS[make.__name__] = (code, make)
        return make

    return keep


def found_only_by(step, code):
    """A bundle of true keys to which this step alone objects."""

    def keep(make):
        ALONE[make.__name__] = (step, code, make)
        return make

    return keep


def changed(change, device=METER, batch=BATCH, owner=FOREIGN, **more):
    """A recipe with one batch's leaves changed in place before they are hashed and signed."""
    groups = groups_of(device)
    change(groups[batch])
    return Recipe(owner=owner, groups={device: groups}, **more)


def reporter_only(**more):
    """A recipe that leaves the evidence as it is: only manifest and statement are made anew."""
    return Recipe(owner=KEYS, reporter=FOREIGN, **more)


def flip_word(leaf):
    """One bit of the energy counter's raw words."""
    table, address, words = leaf["raw"][0]
    leaf["raw"][0] = [table, address, words[:14] + f"{int(words[14:16], 16) ^ 1:02x}" + words[16:]]


def decoded_again(leaf, profile=None):
    """Values and quality that follow from the leaf's raw words."""
    replies = [
        Response(table, address, bytes.fromhex(hex_)) for table, address, hex_ in leaf["raw"]
    ]
    leaf["val"], leaf["q"] = decode_responses(profile or small().site.profile(METER), replies)


def gap_leaf(slot):
    return {"type": "gap", "cause": "timeout", "first_slot": slot, "last_slot": slot, "slots": "1"}


def edited_report(**paths):
    """The true report with figures replaced; names are paths with __ for a dot."""
    report = json.loads(true_report().report_json)
    for path, change in paths.items():
        *parents, name = path.split("__")
        place = report
        for parent in parents:
            place = place[parent]
        place[name] = change(place[name])
    return replace(true_report(), report=report, report_json=canonical_bytes(report))


def a_wh_more(text):
    return str(Decimal(text) + Decimal("0.001"))


def a_wh_less(text):
    return str(Decimal(text) - Decimal("0.001"))


def changed_note(index, change):
    """A recipe whose checkpoint notes have one changed; nobody signs the evidence again."""

    def change_one(batches):
        notes = list(batches)
        notes[index] = replace(notes[index], checkpoint=change(notes[index].checkpoint))
        return notes

    return reporter_only(batches={METER: change_one})


def forged_document(digest, change):
    """Another document under the name of an approved one."""
    content = parse_canonical(small().site.by_digest()[digest])
    change(content)
    return {digest: canonical_bytes(content)}


# --- records ------------------------------------------------------------------------------------


@found_by("decode_mismatch")
def one_raw_word():
    return changed(lambda group: flip_word(group[10]))


@found_by("head_signature")
def one_raw_word_and_its_value():
    def change(group):
        flip_word(group[10])
        decoded_again(group[10])

    return changed(change)


@found_by("decode_mismatch")
def one_value():
    return changed(lambda group: group[10]["val"].update(power_w="1"))


def doubtful(groups):
    return next(leaf for group in groups for leaf in group if leaf.get("q"))


@found_by("decode_mismatch")
def quality_code_removed():
    groups = groups_of(METER)
    doubtful(groups)["q"] = {}
    return Recipe(owner=FOREIGN, groups={METER: groups})


@found_by("slot_missing")
def dropped_record():
    return changed(lambda group: group.pop(10))


@found_by("slot_missing")
def dropped_batch():
    groups = groups_of(METER)
    del groups[BATCH]
    return Recipe(owner=FOREIGN, groups={METER: groups})


@found_by("slot_twice")
def duplicated_record():
    return changed(lambda group: group.insert(10, group[10]))


@found_by("slot_order")
def swapped_batches():
    groups = groups_of(METER)
    groups[BATCH], groups[BATCH + 1] = groups[BATCH + 1], groups[BATCH]
    return Recipe(owner=FOREIGN, groups={METER: groups})


@found_by("bad_sequence")
def swapped_batches_not_numbered_again():
    def swap(members):
        lines = unpacked(members)
        lines[100:199], lines[199:298] = lines[199:298], lines[100:199]
        return {**members, LEAVES: packed(lines)}

    return reporter_only(members=swap)


@found_by("head_signature")
def gap_turned_into_a_reading():
    groups = groups_of(METER)
    for group in groups:
        for index, leaf in enumerate(group):
            if leaf.get("type") == "gap":
                before = group[index - 1]
                slots = range(int(leaf["first_slot"]), int(leaf["last_slot"]) + 1, 10_800_000_000)
                group[index : index + 1] = [{**before, "slot": str(slot)} for slot in slots]
                break
    return Recipe(owner=FOREIGN, groups={METER: groups})


@found_by("head_signature")
def reading_turned_into_a_gap():
    def change(group):
        group[10] = gap_leaf(group[10]["slot"])

    return changed(change)


@found_by("head_signature")
def cause_of_a_gap():
    groups = groups_of(METER)
    next(leaf for group in groups for leaf in group if leaf.get("cause"))["cause"] = "closed"
    return Recipe(owner=FOREIGN, groups={METER: groups})


@found_by("slot_unaligned")
def slot_moved_by_a_second():
    return changed(lambda group: group[10].update(slot=str(int(group[10]["slot"]) + 1_000_000)))


@found_by("clock_mismatch")
def time_quality_changed():
    return changed(lambda group: group[10].update(tq={"err_us": "1500", "sync": "ntp"}))


@found_by("bad_envelope")
def envelope_that_miscounts():
    def change(index, fields):
        return {**fields, "records": fields["records"] - 1} if index == BATCH else fields

    return Recipe(owner=FOREIGN, sealing={"envelope": change})


@found_by("envelope_head")
def envelope_of_another_head():
    def change(index, fields):
        return {**fields, "previous": {"root": "A" * 43 + "=", "size": "1"}} if index else fields

    owner = replace(FOREIGN, agent=KEYS.agent, witness=KEYS.witness)
    return Recipe(owner=owner, sealing={"envelope": change})


@found_by("not_canonical")
def leaf_with_a_space():
    def widen(members):
        lines = unpacked(members)
        lines[20] = lines[20].replace(b'"seq":', b'"seq": ', 1)
        return {**members, LEAVES: packed(lines)}

    return reporter_only(members=widen, issued=true_report())


# --- trees --------------------------------------------------------------------------------------


LEAVES = f"evidence/{METER}/1/leaves.jsonl.gz"
NOTES = f"evidence/{METER}/1/checkpoints.json"


def unpacked(members):
    return gzip.decompress(members[LEAVES])[:-1].split(b"\n")


@found_by("statement_signature")
def cut_tail():
    """An earlier head, truly signed by agent and witness, and everything after it gone."""
    return reporter_only(batches={METER: lambda batches: batches[:-3]})


@found_by("statement_heads")
def cut_tail_under_the_old_statement():
    true = true_report().provenance
    sizes = {tree.origin: (str(tree.size), tree.root) for tree in true.trees}

    def claim(predicate):
        listed = [{"origin": o, "root": r, "size": s} for o, (s, r) in sorted(sizes.items())]
        return {**predicate, "heads": listed}

    return reporter_only(batches={METER: lambda batches: batches[:-3]}, predicate=claim)


@found_by("tail_uncovered")
def cut_heads():
    def cut(members):
        notes = parse_canonical(members[NOTES])
        return {**members, NOTES: canonical_bytes(notes[:-1])}

    return reporter_only(members=cut)


@found_by("tree_misplaced")
def spliced_device():
    """The production counter's tree in the place of the meter's."""

    def splice(members):
        other = tree_members(COUNTER, 1, Recipe().made_batches()[COUNTER])
        moved = {name.replace(COUNTER, METER): data for name, data in other.items()}
        return {**members, **moved}

    return reporter_only(members=splice, issued=true_report())


@found_by("tree_misplaced")
def other_epoch():
    def move(members):
        return {name.replace(f"{METER}/1/", f"{METER}/2/"): data for name, data in members.items()}

    return reporter_only(members=move)


@found_by("bad_sequence")
def leaves_of_another_epoch():
    return Recipe(owner=FOREIGN, epoch=2, issued=true_report())


@found_by("operator_signature")
def forged_grant():
    groups = {device: groups_of(device) for device in (METER, COUNTER)}
    for device, made in groups.items():
        made[0][:2] = opening(small().site, device, FOREIGN)
    return Recipe(owner=FOREIGN, groups=groups)


@found_by("agent_unknown")
def forged_grant_names_the_forger():
    return forged_grant()


@found_by("clock_mismatch")
def clock_mark_removed():
    groups = {device: groups_of(device) for device in (METER, COUNTER)}
    site = dataclasses.replace(small().site, clock="system")
    for device, made in groups.items():
        made[0][:2] = opening(site, device, FOREIGN)
    return Recipe(owner=FOREIGN, groups=groups)


@found_by("back_dated")
def replay_passed_off_as_real():
    """No mark anywhere, the readings say they were synchronised; only the dates tell."""
    groups = {device: groups_of(device) for device in (METER, COUNTER)}
    site = dataclasses.replace(small().site, clock="system")
    owner = replace(FOREIGN, witness=KEYS.witness)
    for device, made in groups.items():
        made[0][:2] = opening(site, device, owner)
        for group in made:
            for leaf in group:
                if "tq" in leaf:
                    leaf["tq"] = {"err_us": "1500", "sync": "ntp"}
    return Recipe(owner=owner, groups=groups)


@found_by("root_mismatch")
def root_swapped():
    def swap(note):
        head = parse_checkpoint(parse_note(note)[0])
        return sign_checkpoint(FOREIGN.agent, Checkpoint(head.origin, head.size, b"\1" * 32))

    return changed_note(BATCH, swap)


@found_by("root_mismatch")
def size_of_a_checkpoint():
    def shrink(note):
        head = parse_checkpoint(parse_note(note)[0])
        return sign_checkpoint(FOREIGN.agent, Checkpoint(head.origin, head.size - 1, head.root))

    return changed_note(BATCH, shrink)


@found_by("head_order")
def head_rolled_back():
    return reporter_only(
        batches={METER: lambda batches: batches},
        members=lambda members: {
            **members,
            NOTES: canonical_bytes(
                [*parse_canonical(members[NOTES]), parse_canonical(members[NOTES])[0]]
            ),
        },
        issued=true_report(),
    )


@found_by("envelope_head")
def one_head_left_out():
    return reporter_only(
        members=lambda members: {
            **members,
            NOTES: canonical_bytes(
                [n for i, n in enumerate(parse_canonical(members[NOTES])) if i != BATCH]
            ),
        },
        issued=true_report(),
    )


@found_by("head_origin")
def head_of_another_site():
    def rename(note):
        head = parse_checkpoint(parse_note(note)[0])
        origin = head.origin.replace("main-meter", "other-meter")
        return sign_checkpoint(KEYS.agent, Checkpoint(origin, head.size, head.root))

    return changed_note(BATCH, rename)


@found_by("cosignature_missing")
def cosignature_removed():
    return changed_note(BATCH, lambda note: note[: note[:-1].rindex("\n") + 1])


@found_by("cosignature_missing")
def cosignature_of_another_time():
    def shift(note):
        lines = note.split("\n")
        name, data = lines[-2].rsplit(" ", 1)
        body = bytearray(decode64(data))
        body[11] ^= 1  # the last byte of the time
        return "\n".join([*lines[:-2], f"{name} {encode64(bytes(body))}", ""])

    return changed_note(BATCH, shift)


@found_by("cosignature_missing")
def cosigned_by_somebody_else():
    def replace_witness(note):
        alone = note[: note[:-1].rindex("\n") + 1]
        return cosign(FOREIGN.witness, evidence.WITNESS, alone, evidence.SEALED_US // 1_000_000 + 9)

    return changed_note(BATCH, replace_witness)


# --- documents ----------------------------------------------------------------------------------


@found_by("document_missing")
def emission_factor():
    def change(content):
        content["factors"][-1]["factor_kg_per_kwh"] = "0.9"

    return reporter_only(documents=forged_document(FACTORS, change))


@found_by("document_changed")
def older_factor_table():
    older = document_bytes({**evidence.factor_mapping("korea"), "factor_set": "korea-older"})

    def name_it(_, fields):
        return {**fields, "documents": {**fields["documents"], "factors": digest_hex(older)}}

    documents_ = {digest_hex(older): older}
    return Recipe(owner=FOREIGN, sealing={"envelope": name_it}, documents=documents_)


@found_by("document_unused")
def further_document():
    older = canonical_bytes({"factor_set": "other"})
    return reporter_only(documents={digest_hex(older): older})


def with_profile(change, **more):
    """A forged profile, and every record decoded with it."""
    forged = forged_document(PROFILE, change)
    profile = Profile.model_validate(parse_canonical(forged[PROFILE]))
    groups = groups_of(METER)
    for group in groups:
        for leaf in group:
            if "raw" in leaf:
                decoded_again(leaf, profile)
    return Recipe(owner=FOREIGN, groups={METER: groups}, documents=forged, **more)


@found_by("document_missing")
def scale_in_the_profile():
    return with_profile(lambda content: content["points"][0].update(scale="2"))


@found_by("document_missing")
def word_order_in_the_profile():
    return with_profile(
        lambda content: content["points"][0].update(word_order="little"), issued=true_report()
    )


@found_by("decode_mismatch")
def scale_in_the_profile_only():
    def change(content):
        content["points"][0]["scale"] = "2"

    return reporter_only(documents=forged_document(PROFILE, change))


@found_by("site_differs")
def grant_for_another_clock_than_the_site():
    groups = groups_of(METER)
    site = dataclasses.replace(small().site, clock="system")
    groups[0][:2] = opening(site, METER, FOREIGN)
    return Recipe(owner=FOREIGN, groups={METER: groups}, issued=true_report())


# --- report -------------------------------------------------------------------------------------


@found_by("report_differs")
def saving_one_wh_more():
    return reporter_only(issued=edited_report(saving__avoided_kwh=a_wh_more))


@found_by("report_differs")
def saving_one_wh_less():
    return reporter_only(issued=edited_report(saving__avoided_kwh=a_wh_less))


@found_by("report_differs")
def interval_one_wh_narrower():
    return reporter_only(issued=edited_report(saving__half_width_kwh=a_wh_less))


@found_by("report_differs")
def interval_one_wh_wider():
    return reporter_only(issued=edited_report(saving__half_width_kwh=a_wh_more))


@found_by("report_differs")
def coverage_made_whole():
    report = json.loads(true_report().report_json)
    report["coverage"][0]["covered_percent"] = "100.0000"
    edited = replace(true_report(), report=report, report_json=canonical_bytes(report))
    return reporter_only(issued=edited)


@found_by("page_differs")
def figure_of_the_page_only():
    report = json.loads(true_report().report_json)
    figure = report["carbon"]["avoided_t"].encode()
    page = true_report().report_html.replace(figure, b"9" + figure[1:])
    assert page != true_report().report_html
    return reporter_only(issued=replace(true_report(), report_html=page))


@found_by("page_differs")
def banner_taken_from_the_page():
    page = true_report().report_html.replace(b"Replayed data", b"Measured data")
    return reporter_only(issued=replace(true_report(), report_html=page))


@found_by("report_differs")
def banner_taken_from_the_report():
    return reporter_only(issued=edited_report(banners=lambda _: [], clock=lambda _: "system"))


def with_plan(**changes):
    """Another plan under the same report."""
    plan = document_bytes(plan_mapping(**changes))
    return reporter_only(
        issued=true_report(),
        plan=plan,
        predicate=lambda predicate: {**predicate, "plan": digest_hex(plan)},
    )


@found_by("report_differs")
def plan_of_another_period():
    return with_plan(reporting={"from": "2018-03-08", "to": "2018-04-01"})


@found_by("report_differs")
def plan_of_another_policy():
    return with_plan(creditable_policy="art-trees-eq11")


@found_by("report_differs")
def plan_of_another_confidence():
    return with_plan(confidence="0.8")


@found_by("plan_differs")
def plan_under_the_old_statement():
    plan = document_bytes(plan_mapping(confidence="0.8"))
    return reporter_only(
        plan=plan, predicate=lambda predicate: {**predicate, "plan": digest_hex(small().plan)}
    )


@found_by("statement_signature")
def plan_changed_and_all_computed_anew():
    return reporter_only(plan=document_bytes(plan_mapping(confidence="0.6")))


@found_by("report_differs")
def refused_batches_not_counted():
    return reporter_only(
        issued=true_report(), predicate=lambda predicate: {**predicate, "quarantined": {}}
    )


# --- statement and manifest ---------------------------------------------------------------------


@found_by("statement_signature")
def signed_by_another_reporter():
    return reporter_only()


@found_by("statement_heads")
def heads_in_the_statement():
    def claim(predicate):
        head = {**predicate["heads"][0], "size": "1"}
        return {**predicate, "heads": [head, *predicate["heads"][1:]]}

    return reporter_only(predicate=claim)


@found_by("documents_differ")
def documents_in_the_statement():
    return reporter_only(
        predicate=lambda predicate: {**predicate, "documents": predicate["documents"][1:]}
    )


@found_by("issued_early")
def issued_before_the_evidence():
    early = replace(CLAIMS, issued="2018-07-01T00:00:00Z")
    return reporter_only(claims=early)


@found_by("statement_subject")
def statement_of_another_bundle():
    other = Recipe(claims=replace(CLAIMS, issued="2026-11-23T00:00:00Z")).made_members()
    return reporter_only(end=lambda members: {**members, "statement.json": other["statement.json"]})


@found_by("bad_statement")
def statement_with_a_further_signature():
    def add(members):
        content = parse_canonical(members["statement.json"])
        content["signatures"] *= 2
        return {**members, "statement.json": canonical_bytes(content)}

    return reporter_only(end=add)


@found_by("file_extra")
def extra_file():
    name = f"documents/{'0' * 64}.json"
    return reporter_only(end=lambda members: {**members, name: b"{}"})


@found_by("file_unknown")
def extra_file_that_is_listed():
    return reporter_only(members=lambda members: {**members, "notes.txt": b"trust me"})


@found_by("file_missing")
def missing_file():
    return reporter_only(
        end=lambda members: {n: d for n, d in members.items() if n != "readme.txt"}
    )


@found_by("file_missing")
def missing_file_that_is_not_listed():
    return reporter_only(
        members=lambda members: {n: d for n, d in members.items() if n != "readme.txt"}
    )


@found_by("file_changed")
def changed_file():
    return reporter_only(end=lambda members: {**members, "readme.txt": b"All is well.\n"})


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


def test_the_true_bundle_is_verified():
    verdict = verify(true_bundle(), policy())
    assert verdict.findings == ()
    assert (verdict.status, verdict.exit_code, verdict.simulated) == ("verified", 0, True)


def test_a_bundle_made_by_other_keys_throughout_is_consistent_and_refuted_under_the_policy():
    forged = forged_grant().make()
    alone, trusted = verify(forged, None), verify(forged, policy())
    assert (alone.status, alone.signers) == ("verified", "unchecked")
    assert (trusted.status, trusted.exit_code) == ("refuted", 1)
    assert verify(forged, policy_of(policy_mapping(FOREIGN))).status == "verified"


def test_there_are_many_kinds_of_forgery():
    assert len(MUTATIONS) >= 30


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_forgery_is_refuted_by_the_layer_that_must_find_it(name):
    code, make = MUTATIONS[name]
    verdict = verify(make().make(), policy())
    assert verdict.exit_code == 1
    assert code in {finding.code for finding in verdict.findings}


def test_every_layer_has_a_forgery_that_it_alone_finds():
    assert [step for step, _, _ in ALONE.values()] == list(STEPS)


@pytest.mark.parametrize("name", ALONE)
def test_without_the_layer_that_alone_finds_it_the_forgery_passes(name):
    step, code, make = ALONE[name]
    forged = make().make()
    whole = verify(forged, policy())
    assert {finding.code for finding in whole.findings} == {code}
    assert whole.exit_code == 1
    mutant = verify(forged, policy(), tuple(item for item in STEPS if item is not step))
    assert mutant.exit_code == 0, "this layer is needed: nothing else objects"
