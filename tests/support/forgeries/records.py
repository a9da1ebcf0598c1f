"""Records that are not what was read."""

from __future__ import annotations

from dataclasses import replace

from joulemark_gateway.evidence.bundle import packed
from support.bundles import (
    Recipe,
    groups_of,
    true_report,
)
from support.evidence import FOREIGN, KEYS, METER
from support.forgeries.base import (
    BATCH,
    LEAVES,
    changed,
    decoded_again,
    flip_word,
    found_by,
    gap_leaf,
    reporter_only,
    unpacked,
)


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
