"""Keys that sign where they may not, and trees that are not those the verifier has seen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from joulemark_agent.contract.signature import encode64, parse_checkpoint, parse_note, public_key
from joulemark_agent.contract.topics import origin
from support.bundles import Recipe, groups_of, policy_mapping, true_report
from support.evidence import COUNTER, KEYS, METER, SITE, opening, seal
from support.forgeries.base import BATCH, decoded_again, flip_word, found_by
from support.plant import small
from support.rotations import (
    NEW,
    OLD,
    THIRD,
    rotated,
    rotated_often,
    rotation_leaf,
    seq_of_end,
    signed_from,
)

NAMES = {device: origin(SITE, device, 1) for device in (METER, COUNTER)}
SIGNED_BY_NEW: dict[str, Any] = {"signer": signed_from((BATCH, NEW))}
HALF = {  # what somebody signs who has one of the two keys only, by place
    "old": lambda seq: rotation_leaf(METER, seq, OLD, THIRD)["old_signature"],
    "new": lambda seq: rotation_leaf(METER, seq, THIRD, NEW)["new_signature"],
}


def forged(**parts):
    """A recipe whose report stays the true one: what is wrong, other layers say."""
    return Recipe(issued=true_report(), **parts)


def both_rotated():
    """The leaves of both devices, their key changed at the usual batch."""
    return {device: rotated(groups_of(device), device, BATCH) for device in NAMES}


def with_leaf(leaf_at, signer=SIGNED_BY_NEW):
    """The meter's tree with another leaf in place of the change; all signed with true keys."""
    groups = groups_of(METER)
    groups[BATCH].append(leaf_at(seq_of_end(groups, BATCH)))
    counter = rotated(groups_of(COUNTER), COUNTER, BATCH)
    return forged(groups={METER: groups, COUNTER: counter}, sealing=signer)


def head_of(device, batch):
    """Size and root of the true tree after a batch."""
    note = Recipe().made_batches()[device][batch].checkpoint
    return parse_checkpoint(parse_note(note)[0])


def seen_at(*batches):
    """A policy with heads of the meter's true tree."""
    heads = [head_of(METER, batch) for batch in batches]
    rows = [{"origin": h.origin, "size": h.size, "root": encode64(h.root)} for h in heads]
    return {**policy_mapping(), "heads": rows}


def revoked_after(batch=BATCH, key=OLD):
    """A policy that trusts the key in every tree up to this batch."""
    rows = [
        {"key": encode64(public_key(key)), "origin": name, "size": head_of(device, batch).size}
        for device, name in NAMES.items()
    ]
    return {**policy_mapping(), "revoked": rows}


# --- a change of key ----------------------------------------------------------------------------


@found_by("bad_rotation")
def change_of_key_that_the_old_key_did_not_sign():
    return with_leaf(
        lambda seq: {**rotation_leaf(METER, seq), "old_signature": encode64(bytes(64))}
    )


@found_by("bad_rotation")
def change_of_key_that_the_new_key_did_not_sign():
    return with_leaf(
        lambda seq: {**rotation_leaf(METER, seq), "new_signature": HALF["new"](seq + 1)}
    )


@found_by("bad_rotation")
def change_of_key_signed_for_another_new_key():
    return with_leaf(lambda seq: {**rotation_leaf(METER, seq), "old_signature": HALF["old"](seq)})


@found_by("bad_rotation")
def change_of_key_of_another_place():
    return with_leaf(lambda seq: rotation_leaf(METER, seq - 1))


@found_by("bad_rotation")
def change_of_key_of_another_device():
    return with_leaf(lambda seq: rotation_leaf(COUNTER, seq))


@found_by("bad_rotation")
def change_of_key_of_another_epoch():
    return with_leaf(lambda seq: rotation_leaf(METER, seq, epoch=2))


@found_by("bad_rotation")
def change_of_key_that_changes_nothing():
    return with_leaf(lambda seq: rotation_leaf(METER, seq, OLD, OLD), {})


@found_by("bad_rotation")
def change_of_key_by_a_stranger():
    return with_leaf(lambda seq: rotation_leaf(METER, seq, THIRD, NEW))


@found_by("bad_rotation")
def change_of_key_back_to_one_that_was_replaced():
    changes = (2, NEW), (BATCH, OLD)
    groups = {device: rotated_often(groups_of(device), device, changes) for device in NAMES}
    return forged(groups=groups, sealing={"signer": signed_from(*changes)})


@found_by("head_signature")
def heads_by_a_new_key_without_a_change():
    return forged(sealing=SIGNED_BY_NEW)


@found_by("head_signature")
def new_key_before_the_change():
    return forged(groups=both_rotated(), sealing={"signer": signed_from((BATCH - 1, NEW))})


@found_by("head_signature")
def old_key_under_the_change():
    return forged(groups=both_rotated(), sealing={"signer": signed_from((BATCH + 1, NEW))})


@found_by("head_signature")
def old_key_after_the_change():
    signer = signed_from((BATCH, NEW), (BATCH + 1, OLD))
    return forged(groups=both_rotated(), sealing={"signer": signer})


@found_by("root_mismatch")
def change_of_key_taken_out_after_the_fact():
    def put_back(batches):
        true = seal(small().site, METER, both_rotated()[METER], KEYS, **SIGNED_BY_NEW)
        return [replace(b, checkpoint=t.checkpoint) for b, t in zip(batches, true, strict=True)]

    return forged(batches={METER: put_back})


@found_by("agent_unknown")
def epoch_of_a_key_that_no_tree_tells_of():
    owner = replace(KEYS, agent=NEW)
    groups = groups_of(METER)
    groups[0][:2] = opening(small().site, METER, owner)
    return forged(batches={METER: lambda _: seal(small().site, METER, groups, owner)})


# --- revoked keys -------------------------------------------------------------------------------


@found_by("revoked_key", revoked_after)
def revoked_key_used_after():
    return Recipe()


@found_by("revoked_key", revoked_after)
def revoked_key_changed_for_another_after():
    changes = ((BATCH + 1, NEW),)
    groups = {device: rotated_often(groups_of(device), device, changes) for device in NAMES}
    return forged(groups=groups, sealing={"signer": signed_from(*changes)})


@found_by("revoked_key", revoked_after)
def revoked_key_opens_another_epoch():
    return forged(epoch=2, groups={d: _opened_again(d) for d in NAMES})


def _opened_again(device):
    groups = groups_of(device)
    groups[0][:2] = opening(small().site, device, KEYS, epoch=2)
    return groups


@found_by("known_head", lambda: {**revoked_after(), **_heads(seen_at(-1))})
def truncated_after_it_was_revoked():
    """What the verifier has seen above the size is gone, so that the rest looks in order."""
    cut = slice(None, BATCH + 1)
    return forged(batches={device: lambda batches: batches[cut] for device in NAMES})


def _heads(mapping):
    return {"heads": mapping["heads"]}


# --- another past -------------------------------------------------------------------------------


@found_by("known_head", lambda: seen_at(BATCH))
def one_value_in_the_past_with_every_key_of_the_site():
    groups = groups_of(METER)
    flip_word(groups[2][10])
    decoded_again(groups[2][10])
    return Recipe(groups={METER: groups})


@found_by("known_head", lambda: seen_at(-1))
def rolled_back_behind_a_head_that_was_seen():
    return forged(batches={METER: lambda batches: batches[:-1]})


@found_by("known_head", lambda: seen_at(0, -1))
def an_epoch_opened_at_another_time():
    groups = groups_of(METER)
    groups[0][:2] = opening(small().site, METER, KEYS, wall_us=1_735_689_600_000_001)
    return forged(groups={METER: groups})


def two_of_two():
    """A policy that asks for a witness besides the collector."""
    mapping = policy_mapping()
    witness = {"name": "secretariat", "key": encode64(public_key(THIRD))}
    return {**mapping, "witnesses": [*mapping["witnesses"], witness], "quorum": 2}


@found_by("cosignature_missing", two_of_two)
def a_second_witness_that_never_saw_it():
    return Recipe()
