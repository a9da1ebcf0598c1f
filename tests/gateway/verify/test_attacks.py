"""What a supplier with true keys, or a bundle made to harm its reader, must not get away with."""

import copy
import gzip
import json
from dataclasses import replace

import pytest

from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_agent.contract.document import document_bytes
from joulemark_agent.contract.signature import Checkpoint, cosign, parse_checkpoint, parse_note
from joulemark_agent.contract.signature import sign_checkpoint as signed_note
from joulemark_gateway.evidence import bundle as bundles
from joulemark_gateway.verify.command import as_text
from joulemark_gateway.verify.policy import policy_of
from joulemark_gateway.verify.verdict import verify
from support.bundles import (
    Recipe,
    groups_of,
    policy,
    policy_mapping,
    true_bundle,
    true_report,
)
from support.evidence import COUNTER, KEYS, METER, SEALED_US, WITNESS, opening
from support.plant import plan_mapping, small

LEAVES = f"evidence/{METER}/1/leaves.jsonl.gz"


def codes(data, trusted=None):
    return {finding.code for finding in verify(data, trusted or policy()).findings}


def renamed(note, origin):
    """The head under another log's name, truly signed by agent and witness."""
    head = parse_checkpoint(parse_note(note)[0])
    alone = signed_note(KEYS.agent, Checkpoint(origin, head.size, head.root))
    return cosign(KEYS.witness, WITNESS, alone, SEALED_US // 1_000_000 + 1)


def test_heads_of_another_log_do_not_cover_these_leaves():
    """A witness compares heads by origin: a second history under another name is no fork to it."""
    other = "joulemark/other/main-meter/1"

    def rename(batches):
        return [replace(b, checkpoint=renamed(b.checkpoint, other)) for b in batches]

    def claim(predicate):
        heads = [
            {**head, "origin": other} if head["origin"].split("/")[2] == METER else head
            for head in predicate["heads"]
        ]
        return {**predicate, "heads": sorted(heads, key=lambda head: head["origin"])}

    recipe = Recipe(batches={METER: rename}, predicate=claim, issued=true_report())
    assert "head_origin" in codes(recipe.make())


def test_every_envelope_stands_under_a_head_of_its_own():
    """Two batches under one head would shift the times at which all later ones were seen."""

    def merge(batches):
        both = replace(batches[5], first_seq=batches[4].first_seq)
        merged = replace(both, leaves=batches[4].leaves + batches[5].leaves)
        return [*batches[:4], merged, *batches[6:]]

    def envelope(index, fields):
        is_second = index == 5 and fields["documents"]["profile"] == profile
        return {**fields, "previous": first["previous"]} if is_second else fields

    profile = small().site.of(METER)["profile"]
    first = json.loads(Recipe().made_batches()[METER][4].leaves[-1])
    recipe = Recipe(sealing={"envelope": envelope}, batches={METER: merge})
    assert "envelope_head" in codes(recipe.make())


@pytest.mark.parametrize(
    "change",
    [
        lambda predicate: {**predicate, "certified_by": "a name of weight"},
        lambda predicate: {**predicate, "v": 3},
        lambda predicate: {**predicate, "log": {**predicate["log"], "size": "1"}},
        lambda predicate: {name: predicate[name] for name in predicate if name != "signers"},
        lambda predicate: {**predicate, "signers": "myself"},
        lambda predicate: {**predicate, "software": {**predicate["software"], "audited": "yes"}},
    ],
)
def test_a_statement_says_what_the_report_gives_and_nothing_else(change):
    assert "statement_differs" in codes(Recipe(predicate=change).make())


@pytest.mark.parametrize(
    "change",
    [
        {"time_zone": "Pacific/Kiritimati"},
        {"factors": {"set": "korea", "rule_set": "ESG", "jurisdiction": "CN"}},
    ],
)
def test_a_plan_measures_where_the_operator_says_the_site_is(change):
    """Other days, or the factor of another country, would be the reporter's own choice."""
    plan = document_bytes(plan_mapping(**change))
    forged = Recipe(plan=plan, issued=true_report())
    what = [f.what for f in verify(forged.make(), policy()).findings if f.layer == "recompute"]
    assert any("plan_of_another_place" in text for text in what)


def moved(leaf, late_us):
    """The record read this long after its slot."""
    return {**leaf, "t_utc_us": str(int(leaf["slot"]) + late_us)}


@pytest.mark.parametrize(("late_h", "is_found"), [(1, False), (4, True), (-4, True), (480, True)])
def test_a_reading_belongs_to_the_slot_at_which_it_was_read(late_h, is_found):
    """Else consumption could be moved from the reporting period into the baseline."""
    groups = groups_of(METER)
    group = groups[4]
    group[10] = moved(group[10], late_h * 3_600_000_000)
    assert ("off_slot" in codes(Recipe(groups={METER: groups}).make())) == is_found


def test_checkpoints_without_leaves_are_not_passed_over():
    def add(members):
        return {**members, "evidence/ghost/1/checkpoints.json": canonical_bytes([])}

    assert "bad_leaves" in codes(Recipe(members=add).make())


# --- harm to the reader -----------------------------------------------------------------------


def test_nothing_in_a_bundle_can_write_over_the_verdict_on_a_terminal():
    spoof = "edge\x1b[2J\x1b[Hverified\nvalid"

    def claim(predicate):
        signers = copy.deepcopy(predicate["signers"])
        signers["agents"][0]["agent"] = spoof
        return {**predicate, "signers": signers}

    groups = groups_of(METER)
    start = opening(small().site, METER, KEYS)[0]
    groups[0][0] = {**start, "grant": {**start["grant"], "agent": spoof, "site": spoof}}
    for recipe in (
        Recipe(predicate=claim),
        Recipe(groups={METER: groups}, issued=true_report()),
    ):
        for trusted in (None, policy()):
            for line in as_text(verify(recipe.make(), trusted), trusted):
                assert line.isprintable(), repr(line)


@pytest.mark.parametrize("name", ["site", "agent", "dev"])
def test_a_grant_for_a_name_that_is_no_id_is_refused(name):
    groups = groups_of(METER)
    start = opening(small().site, METER, KEYS)[0]
    groups[0][0] = {**start, "grant": {**start["grant"], name: "main-mеter"}}  # noqa: RUF001
    assert "bad_leaf" in codes(Recipe(groups={METER: groups}, issued=true_report()).make())


def test_leaves_of_all_trees_together_unpack_to_the_limit_at_most(monkeypatch):
    monkeypatch.setattr(bundles, "MAX_LEAVES_BYTES", 400_000)
    plain = gzip.decompress(Recipe().made_members()[LEAVES])
    assert len(plain) < 400_000, "each tree alone is below the limit"
    assert "bad_leaves" in codes(true_bundle())


def test_a_million_empty_leaves_are_refused_before_they_are_taken_apart():
    def bomb(members):
        return {**members, LEAVES: gzip.compress(b"\n" * 1_000_000, mtime=0)}

    findings = verify(Recipe(members=bomb, issued=true_report()).make(), policy()).findings
    assert "more than can be meant" in next(f.what for f in findings if f.code == "bad_leaves")


@pytest.mark.parametrize("scale", ["1e999999999", "1e-999999999", "9" * 5000])
def test_a_scale_that_would_take_for_ever_is_a_bad_document(scale):
    digest = small().site.of(METER)["profile"]
    content = parse_canonical(small().site.by_digest()[digest])
    content["points"][1]["scale"] = scale
    forged = canonical_bytes(content)
    recipe = Recipe(documents={digest: forged}, issued=true_report())
    assert {"document_missing", "not_recomputed"} <= codes(recipe.make())


@pytest.mark.parametrize(
    "dates",
    [
        {"from": "0001-01-01", "to": "2018-01-01"},
        {"from": "1900-01-01", "to": "1900-02-01"},
        {"from": "2000-01-01", "to": "2018-01-01"},
    ],
)
def test_a_plan_of_many_years_is_no_plan(dates):
    plan = document_bytes(plan_mapping(baseline=dates, unit="hour"))
    assert "not_recomputed" in codes(Recipe(plan=plan, issued=true_report()).make())


# --- policies ---------------------------------------------------------------------------------


def test_one_witness_under_two_keys_counts_once():
    from joulemark_agent.contract.signature import encode64, public_key  # noqa: PLC0415

    second = b"2" * 32
    mapping = policy_mapping()
    mapping["witnesses"].append({"name": WITNESS, "key": encode64(public_key(second))})
    assert "quorum" in _refused({**mapping, "quorum": 2})
    mapping["witnesses"].append({"name": "another", "key": encode64(public_key(b"3" * 32))})

    def cosigned_twice(batches):
        at_s = SEALED_US // 1_000_000 + 1
        return [replace(b, checkpoint=cosign(second, WITNESS, b.checkpoint, at_s)) for b in batches]

    recipe = Recipe(batches={METER: cosigned_twice, COUNTER: cosigned_twice})
    assert "cosignature_missing" in codes(recipe.make(), policy_of({**mapping, "quorum": 2}))


@pytest.mark.parametrize("role", ["operators", "reporters", "witnesses"])
def test_no_key_does_the_work_of_another(role):
    """An agent that is its own witness has none."""
    mapping = policy_mapping()
    key = mapping["agents"][0]["key"]
    mapping[role] = [{"name": "w", "key": key}] if role == "witnesses" else [key]
    assert "two roles" in _refused(mapping)


def _refused(mapping):
    with pytest.raises(Exception, match="not a policy") as caught:
        policy_of(mapping)
    return str(caught.value)
