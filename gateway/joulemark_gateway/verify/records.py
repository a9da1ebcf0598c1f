"""Step 4: leaf after leaf without a hole, and every slot has a reading or stands in a gap."""

from __future__ import annotations

from heapq import merge
from itertools import pairwise

from joulemark_agent.contract.errors import EvidenceError
from joulemark_gateway.evidence.history import (
    Tree,
    check_envelopes,
    check_slots,
    interval_us_of,
    period_us_of,
)
from joulemark_gateway.evidence.withheld import check_approved, check_explained
from joulemark_gateway.verify.case import Case, readable, unreadable
from joulemark_gateway.verify.finding import Finding, found
from joulemark_gateway.verify.policy import Policy

LAYER = "records"


def check(case: Case, _policy: Policy | None) -> list[Finding]:
    """Leaves that cannot be read, are out of order or miscounted; slots unaccounted for.

    Codes: those of `parse_tree`, `check_slots`, `check_envelopes`, `check_approved` and
    `check_explained`, and `bad_leaves`, `bad_checkpoints`, `tree_misplaced`, `no_evidence`,
    `slot_order`.
    """
    findings = [found(error, LAYER) for error in unreadable(case.files) + unreadable(case.trees)]
    if not case.files:
        findings.append(Finding("no_evidence", "there is no leaf of any device", LAYER))
    for place, tree in readable(case.trees).items():
        if place != (tree.device, tree.epoch):
            what = f"the leaves of {tree.origin} lie under {place[0]}/{place[1]}"
            findings.append(Finding("tree_misplaced", what, LAYER))
        findings += _tree(case, tree)
    return findings


def _withheld(case: Case, tree: Tree) -> list[Finding]:
    """Leaves stay away as the operator approved it, and what was lost is explained."""
    if not tree.withheld:
        return []
    try:
        check_approved(tree, interval_us_of(tree, case.documents))
        check_explained(tree)
    except EvidenceError as error:
        return [found(error, LAYER)]
    return []


def _tree(case: Case, tree: Tree) -> list[Finding]:
    findings = []
    try:
        check_envelopes(tree)
    except EvidenceError as error:
        findings.append(found(error, LAYER))
    findings += _withheld(case, tree)
    seqs, slots_us = tree.columns.seq.tolist(), tree.columns.slot_us.tolist()
    gaps = [(seq, gap.first_slot_us, gap.last_slot_us) for seq, gap in tree.gaps]
    spans = merge(zip(seqs, slots_us, slots_us, strict=True), gaps)
    for (_, _, before_us), (seq, slot_us, _) in pairwise(spans):
        if slot_us <= before_us:
            what = f"leaf {seq} of {tree.origin} is of an earlier slot than the one before it"
            findings.append(Finding("slot_order", what, LAYER))
            break
    try:
        period_us = period_us_of(tree, case.documents)
    except (EvidenceError, KeyError, TypeError, ValueError):
        return findings  # without its documents: the layer of documents says so
    try:
        check_slots(tree, period_us)
    except EvidenceError as error:
        findings.append(found(error, LAYER))
    return findings
