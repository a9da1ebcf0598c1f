"""Values of another kind, which a language may take for the right ones: true for 1."""

from __future__ import annotations

from joulemark_agent.contract.reading import signed_grant
from support.bundles import Recipe, groups_of, true_report
from support.evidence import KEYS, METER
from support.forgeries.base import BATCH, changed, found_by, gap_leaf


def counting(**fields):
    """An agent whose envelopes say otherwise."""
    return Recipe(sealing={"envelope": lambda _, true: {**true, **fields}}, issued=true_report())


def granted(**fields):
    """A grant of the true operator that says otherwise."""
    groups = groups_of(METER)
    first = groups[0][0]
    groups[0][0] = {**first, **signed_grant({**first["grant"], **fields}, KEYS.operator)}
    return Recipe(groups={METER: groups}, issued=true_report())


@found_by("bad_envelope")
def envelope_that_counts_no_as_nothing():
    return counting(time={"unsynchronised": False})


@found_by("bad_envelope")
def envelope_without_a_count():
    """Of slots that are none: missing is not null."""

    def drop(index, fields):
        is_bare = index == BATCH and fields["first_slot"] is None
        return {k: v for k, v in fields.items() if not (is_bare and k == "first_slot")}

    groups = groups_of(METER)
    groups.insert(BATCH, [groups[0][1]])  # the agent started again, and read nothing yet
    return Recipe(groups={METER: groups}, sealing={"envelope": drop}, issued=true_report())


@found_by("bad_leaf")
def paper_of_another_type_as_a_grant():
    return granted(type="lease")


@found_by("bad_leaf")
def grant_of_another_version():
    return granted(v=2)


@found_by("bad_leaf")
def gap_whose_cause_is_no_text():
    def change(group):
        group[10] = {**gap_leaf(group[10]["slot"]), "cause": None}

    return changed(change, owner=KEYS, issued=true_report())


@found_by("bad_leaf")
def clock_whose_state_is_no_text():
    return changed(lambda g: g[10]["tq"].update(sync=True), owner=KEYS, issued=true_report())


@found_by("statement_differs")
def statement_of_truths():
    def claim(predicate):
        rows = [{**row, "epoch": True} for row in predicate["coverage"]]
        return {**predicate, "coverage": rows}

    return Recipe(predicate=claim)
