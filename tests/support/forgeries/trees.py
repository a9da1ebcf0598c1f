"""Trees, heads and cosignatures that do not fit."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_agent.contract.signature import (
    Checkpoint,
    cosign,
    decode64,
    encode64,
    parse_checkpoint,
    parse_note,
    sign_checkpoint,
)
from support import evidence
from support.bundles import (
    Recipe,
    groups_of,
    tree_members,
    true_report,
)
from support.evidence import COUNTER, FOREIGN, KEYS, METER, opening
from support.forgeries.base import (
    BATCH,
    NOTES,
    changed_note,
    found_by,
    reporter_only,
)
from support.plant import small


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


@found_by("bad_note")
def line_by_a_name_with_white_space():
    """A line separator of another age: some languages pass it over."""

    def add(members):
        notes = parse_canonical(members[NOTES])
        notes[BATCH] += "— so\x85mebody AAAAAAAA\n"
        return {**members, NOTES: canonical_bytes(notes)}

    return reporter_only(members=add, issued=true_report())


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
