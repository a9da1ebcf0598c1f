"""Changed, revoked and lost keys of agents in a bundle, and heads that the verifier knows."""

import json
from dataclasses import replace
from typing import Any

import pytest

from joulemark_agent.contract.canonical import canonical_bytes
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.signature import (
    encode64,
    fingerprint,
    parse_checkpoint,
    parse_note,
    public_key,
)
from joulemark_agent.contract.topics import origin
from joulemark_gateway.verify import command, heads
from joulemark_gateway.verify.policy import parse_policy, policy_of
from joulemark_gateway.verify.verdict import STEPS, verify
from support.bundles import Recipe, groups_of, policy_mapping, true_bundle, true_report
from support.evidence import COUNTER, KEYS, METER, SITE, opening, seal
from support.logs import ORIGIN
from support.plant import small
from support.rotations import NEW, OLD, THIRD, rotated_often, signed_from

DEVICES = METER, COUNTER
TREES = {device: origin(SITE, device, 1) for device in DEVICES}
AT = 4


def with_changes(*changes, **more):
    """The true bundle, the agent's key changed at these batches of both devices."""
    groups = {d: rotated_often(groups_of(d), d, changes) for d in DEVICES}
    return Recipe(groups=groups, sealing={"signer": signed_from(*changes)}, **more)


CHANGED = with_changes((AT, NEW))


def codes(data, mapping):
    return {finding.code for finding in verify(data, policy_of(mapping)).findings}


def head_at(batch, recipe=None, device=METER):
    """What the verifier remembers of a tree after so many batches."""
    note = (recipe or Recipe()).made_batches()[device][batch].checkpoint
    head = parse_checkpoint(parse_note(note)[0])
    return {"origin": head.origin, "size": head.size, "root": encode64(head.root)}


def revoking(size, key=OLD, name=TREES[METER], **others):
    row = {"key": encode64(public_key(key)), "origin": name, "size": size, **others}
    return {**policy_mapping(), "revoked": [row]}


# ------------------------------------------------------------------ a change of key


def test_a_tree_whose_key_changed_twice_is_verified_with_the_first_key_alone():
    bundle = with_changes((2, NEW), (6, THIRD)).make()
    assert codes(bundle, policy_mapping()) == set()
    assert verify(bundle, None).status == "verified"


def test_a_change_of_key_changes_no_figure():
    mine, theirs = CHANGED.report().report, true_report().report
    assert mine["headline"] == theirs["headline"]
    assert mine["saving"] == theirs["saving"]
    keys = {fingerprint(public_key(key)) for key in (OLD, NEW)}
    assert {key for tree in mine["evidence"] for key in tree["agent_key"].split(", ")} == keys


def test_an_epoch_that_the_new_key_opened_is_trusted_through_the_tree_that_tells_of_it():
    owner = replace(KEYS, agent=NEW)
    groups = groups_of(METER)
    groups[0][:2] = opening(small().site, METER, owner)
    later = {METER: lambda _: seal(small().site, METER, groups, owner)}
    counter = {COUNTER: rotated_often(groups_of(COUNTER), COUNTER, [(AT, NEW)])}
    recipe = Recipe(groups=counter, sealing={"signer": signed_from((AT, NEW))}, batches=later)
    assert codes(recipe.make(), policy_mapping()) == set()
    assert "agent_unknown" in codes(Recipe(batches=later).make(), policy_mapping())
    limited = revoking(head_at(AT - 1, device=COUNTER)["size"], name=TREES[COUNTER])
    assert "agent_unknown" in codes(recipe.make(), limited), "a revoked key names no other"


# ------------------------------------------------------------------ revoked keys


def test_a_revoked_key_is_believed_up_to_its_size_and_no_further():
    last = head_at(-1)["size"]
    others = [{**revoking(0)["revoked"][0], "origin": TREES[COUNTER], "size": 10**6}]
    whole = revoking(last, time="2026-11-22T12:00:00Z", reason="stolen")
    whole["revoked"] += others
    assert codes(true_bundle(), whole) == set()
    for size in (last - 1, 0):
        cut = revoking(size)
        cut["revoked"] += others
        assert codes(true_bundle(), cut) == {"revoked_key"}


def test_a_key_that_is_revoked_in_one_tree_is_trusted_in_no_other():
    assert codes(true_bundle(), revoking(10**6)) == {"revoked_key"}


def test_a_new_key_goes_on_where_the_old_one_was_revoked_only_if_the_change_was_in_time():
    change = head_at(AT, CHANGED)["size"] - 1  # up to and with the leaf that changes the key
    rows: list[dict[str, Any]] = [
        {"key": encode64(public_key(OLD)), "origin": name, "size": size}
        for name, size in ((TREES[METER], change), (TREES[COUNTER], 10**6))
    ]
    bundle = CHANGED.make()
    assert codes(bundle, {**policy_mapping(), "revoked": rows}) == set()
    rows[0]["size"] -= 1
    assert codes(bundle, {**policy_mapping(), "revoked": rows}) == {"revoked_key"}


# ------------------------------------------------------------------ known heads


@pytest.mark.parametrize("batch", [0, AT, -1])
def test_heads_that_were_seen_before_are_contained_in_what_has_grown_since(batch):
    seen = [head_at(batch, device=device) for device in DEVICES]
    assert codes(true_bundle(), {**policy_mapping(), "heads": seen}) == set()


def test_a_tree_that_was_seen_larger_or_with_another_root_is_refuted():
    seen = head_at(AT)
    larger = {**head_at(-1), "size": head_at(-1)["size"] + 1}
    for head in (larger, {**seen, "root": "A" * 43 + "="}, {**seen, "size": seen["size"] - 1}):
        assert codes(true_bundle(), {**policy_mapping(), "heads": [head]}) == {"known_head"}
    elsewhere = {**larger, "origin": origin(SITE, "furnace", 1)}
    assert codes(true_bundle(), {**policy_mapping(), "heads": [elsewhere]}) == set()


def test_a_head_may_be_known_at_any_size_and_not_only_at_the_end_of_a_batch():
    first = {"origin": TREES[METER], "size": 1, "root": "A" * 43 + "="}
    assert codes(true_bundle(), {**policy_mapping(), "heads": [first]}) == {"known_head"}


@pytest.mark.parametrize(
    ("field", "row"),
    [
        ("heads", {"origin": TREES[METER], "size": -1, "root": "A" * 43 + "="}),
        ("heads", {"origin": TREES[METER], "size": "1", "root": "A" * 43 + "="}),
        ("heads", {"origin": "main-meter", "size": 1, "root": "A" * 43 + "="}),
        ("heads", {"origin": TREES[METER], "size": 1, "root": "A"}),
        ("heads", {"origin": TREES[METER], "size": 1}),
        ("revoked", {"key": "A", "origin": TREES[METER], "size": 1}),
        ("revoked", {"key": "A" * 43 + "=", "origin": "x", "size": 1}),
        ("revoked", {"key": "A" * 43 + "=", "origin": TREES[METER]}),
        ("revoked", {"key": "A" * 43 + "=", "origin": TREES[METER], "size": 1, "why": "x"}),
    ],
)
def test_a_limit_or_a_head_of_another_form_is_no_policy(field, row):
    with pytest.raises(ConfigError, match=field):
        policy_of({**policy_mapping(), field: [row]})


def test_a_bundle_cannot_bring_limits_or_heads_of_its_own():
    """The signers it names stand in where there is no policy: keys, and nothing beyond."""
    recipe = Recipe(predicate=lambda p: {**p, "signers": {**p["signers"], "heads": [head_at(-1)]}})
    assert {f.code for f in verify(recipe.make(), None).findings} >= {"signers_missing"}


# ------------------------------------------------------------------ remembering


def run(*words):
    import argparse  # noqa: PLC0415 - for this helper only

    parser = argparse.ArgumentParser()
    command.add_command(parser.add_subparsers())
    args = parser.parse_args(["verify", *map(str, words)])
    return args.run(args)


def test_what_was_verified_once_is_remembered_and_no_later_bundle_may_contradict(tmp_path):
    policy, bundle = tmp_path / "policy.json", tmp_path / "bundle.zip"
    policy.write_bytes(canonical_bytes(policy_mapping()))
    policy.chmod(0o640)
    bundle.write_bytes(true_bundle())
    assert run(bundle, "--policy", policy, "--remember") == 0
    kept = json.loads(policy.read_text())
    trees = [head for head in kept["heads"] if head["origin"] != ORIGIN]
    assert trees == [head_at(-1, device=device) for device in DEVICES]
    assert len(kept["heads"]) == 3, "and that of the collector's log"
    assert (policy.stat().st_mode & 0o777, "revoked" in kept) == (0o640, False)
    assert run(bundle, "--policy", policy) == 0
    bundle.write_bytes(CHANGED.make())
    assert run(bundle, "--policy", policy) == 1, "another history, truly signed"
    assert run(bundle, "--policy", policy, "--remember") == 1
    assert json.loads(policy.read_text()) == kept, "what is refuted is not remembered"


def test_remembering_goes_on_from_what_was_remembered():
    parsed = parse_policy(canonical_bytes({**policy_mapping(), "heads": [head_at(AT)]}))
    verdict = verify(true_bundle(), parsed)
    again = parsed.remembering(verdict.heads)
    assert [head.size for head in again.heads if head.origin == TREES[METER]] == [
        head_at(-1)["size"]
    ]
    assert again.signers() == parsed.signers()


def test_remembering_needs_a_policy_and_a_file_that_may_be_written(tmp_path, monkeypatch):
    bundle = tmp_path / "bundle.zip"
    bundle.write_bytes(true_bundle())
    with pytest.raises(ConfigError, match="where to"):
        run(bundle, "--remember")
    policy = tmp_path / "policy.json"
    policy.write_bytes(canonical_bytes(policy_mapping()))

    def fail(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(command, "replace_file", fail)
    with pytest.raises(ConfigError, match="cannot be written"):
        run(bundle, "--policy", policy, "--remember")


SEEN = {"origin": TREES[METER], "size": 10**6, "root": encode64(bytes(32))}


@pytest.mark.parametrize("now", [{"heads": [SEEN]}, None])
def test_a_policy_that_changed_meanwhile_is_left_as_it_is(tmp_path, monkeypatch, now):
    """Two bundles verified at once: who wrote last would forget what the other saw."""
    policy, bundle = tmp_path / "policy.json", tmp_path / "bundle.zip"
    policy.write_bytes(canonical_bytes(policy_mapping()))
    bundle.write_bytes(true_bundle())
    other = b"{" if now is None else canonical_bytes({**policy_mapping(), **now})
    tell = command.as_text

    def late(*args):
        policy.write_bytes(other)
        return tell(*args)

    monkeypatch.setattr(command, "as_text", late)
    with pytest.raises(ConfigError, match="not a policy" if now is None else "Run it again"):
        run(bundle, "--policy", policy, "--remember")
    assert policy.read_bytes() == other


def test_without_the_layer_of_heads_no_known_head_is_missed_by_another_layer():
    """The control: nothing but this layer compares."""
    seen = policy_of({**policy_mapping(), "heads": [{**head_at(AT), "root": "A" * 43 + "="}]})
    steps = tuple(step for step in STEPS if step is not heads.check)
    assert verify(true_bundle(), seen, steps).status == "verified"
