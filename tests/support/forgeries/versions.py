"""Leaves that hide behind a version, and what nobody reads changed after it was signed."""

from __future__ import annotations

from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_gateway.evidence.bundle import packed
from support.bundles import true_report
from support.evidence import KEYS
from support.forgeries.base import LEAVES, changed, found_by, reporter_only, unpacked


def with_leaf(change):
    """One leaf of the meter changed by somebody with the agent's key."""
    return changed(lambda group: change(group, 10), owner=KEYS, issued=true_report())


@found_by("bad_leaf")
def event_that_nobody_knows():
    return with_leaf(lambda group, at: group.insert(at, {"type": "opinion", "text": "all is well"}))


@found_by("bad_leaf")
def field_that_nobody_reads():
    return with_leaf(lambda group, at: group[at].update(note="all is well"))


@found_by("bad_leaf")
def minor_version_that_is_none():
    return with_leaf(lambda group, at: group[at].update(minor=0))


@found_by("unknown_version")
def leaf_of_another_major_version():
    return with_leaf(lambda group, at: group[at].update(v=2))


@found_by("slot_missing")
def reading_hidden_in_an_event_of_a_later_version():
    def hide(group, at):
        group[at] = {"type": "retired_record", "minor": 1, "was": group[at]["slot"]}

    return with_leaf(hide)


@found_by("bad_envelope")
def reading_hidden_in_an_event_and_counted():
    def hide(group, at):
        group[at] = {"type": "retired_record", "minor": 1, "was": group[at]["slot"]}

    def count(index, fields):
        more = {"records": fields["records"] + 1, "slots": fields["slots"] + 1}
        return {**fields, **more} if index == 4 else fields

    more = {"sealing": {"envelope": count}, "issued": true_report()}
    return changed(lambda group: hide(group, 10), owner=KEYS, **more)


@found_by("root_mismatch")
def unread_field_changed_after_it_was_signed():
    def change(members):
        lines = unpacked(members)
        content = {**parse_canonical(lines[40]), "minor": 1, "later": "all is well"}
        lines[40] = canonical_bytes(content)
        return {**members, LEAVES: packed(lines)}

    return reporter_only(members=change)


@found_by("bad_sequence")
def epoch_that_opens_twice():
    def again(group, at):
        group.insert(at, {"type": "epoch_start", "minor": 1})

    return with_leaf(again)
