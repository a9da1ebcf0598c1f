"""Step 8: claimed times lie where the witness's clock allows, and clocks are not mixed.

A batch arrives fresh if nothing it claims is more than EPSILON_US older than its cosignature. One
that arrives late is explained by an outage as long as it claims nothing from before the last fresh
arrival; otherwise it is back-dated. In a replay only the sealing time, which is wall time, counts.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping
from datetime import datetime

from joulemark_agent.contract.batch import parse_u64
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.reading import SIMULATED
from joulemark_agent.contract.signature import (
    cosigned_at,
    decode64,
    parse_checkpoint,
    parse_note,
)
from joulemark_gateway.evidence.history import Tree, interval_us_of
from joulemark_gateway.verify.case import Case, Place, readable
from joulemark_gateway.verify.finding import Finding
from joulemark_gateway.verify.policy import Policy, Signers

LAYER = "times"
EPSILON_US = 300 * 1_000_000
_US_PER_S = 1_000_000
_CLOCK = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_INSTANT = re.compile(
    rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T{_CLOCK}(?::[0-5][0-9](?:\.[0-9]+)?)?(?:Z|[+-]{_CLOCK})"
)


def check(case: Case, policy: Policy | None) -> list[Finding]:
    """Findings `back_dated`, `future`, `mixed_clocks`, `clock_mismatch`, `issued_early`."""
    trusted = policy or case.claimed
    trees, findings = readable(case.trees), []
    if len({tree.clock for tree in trees.values()}) > 1:
        findings.append(Finding("mixed_clocks", "simulated and real evidence are mixed", LAYER))
    latest_us = 0
    for place, tree in trees.items():
        if any((sync == SIMULATED) != (tree.clock == SIMULATED) for sync in tree.columns.sync):
            what = f"the readings of {tree.origin} are of another clock than its grant says"
            findings.append(Finding("clock_mismatch", what, LAYER))
        if trusted is None:
            continue
        received = _received_us(case, place, trusted)
        latest_us = max(latest_us, *received.values(), 0)
        findings += _tree(tree, received, EPSILON_US + _interval_us(case, tree))
    return findings + _issued(case, latest_us)


def _received_us(case: Case, place: Place, trusted: Signers) -> dict[int, int]:
    """When the first witness saw each head, UTC, by size; 0 where none did. [us]"""
    files, times = case.files[place], {}
    assert not isinstance(files, EvidenceError)  # its tree was parsed from them
    for note in files.checkpoints:
        try:
            size = parse_checkpoint(parse_note(note)[0]).size
            seen = [cosigned_at(note, w.name, decode64(w.key)) for w in trusted.witnesses]
        except EvidenceError:
            continue  # the layer of heads says so
        times[size] = min((s for s in seen if s is not None), default=0) * _US_PER_S
    return times


def _interval_us(case: Case, tree: Tree) -> int:
    """How much older than its head a record of committed evidence may be. [us]"""
    try:
        return interval_us_of(tree, case.documents) or 0
    except EvidenceError:
        return 0  # the layer of documents says so


def _tree(tree: Tree, received: Mapping[int, int], fresh_us: int) -> list[Finding]:
    """What the times of one tree break; the first batch that does is named.

    Args:
        tree: the leaves.
        received: when each head was seen, by size: an envelope is the last leaf under its head.
        fresh_us: how much older than its head a batch may be.
    """
    start, live_us = 0, None
    rows = tree.columns
    for envelope in tree.envelopes:
        now_us = received.get(envelope.seq + 1, 0)
        if not now_us:
            continue  # no head, or no cosignature: the layer of heads says so
        claimed_us = [_sealed_us(envelope.fields)]
        ends_us = list(claimed_us)
        if tree.clock != SIMULATED:
            inside = slice(bisect_left(rows.seq, start), bisect_left(rows.seq, envelope.seq))
            claimed_us += rows.t_utc_us[inside].tolist() + rows.slot_us[inside].tolist()
            ends_us += [gap.last_slot_us for seq, gap in tree.gaps if start <= seq < envelope.seq]
        start = envelope.seq
        if max(*claimed_us, *ends_us) > now_us + _US_PER_S + EPSILON_US:
            return [_finding("future", tree, envelope.seq, "after")]
        oldest_us = min(claimed_us)
        if oldest_us >= now_us - fresh_us:
            live_us = now_us
        elif live_us is None or oldest_us < live_us - fresh_us:
            return [_finding("back_dated", tree, envelope.seq, "long before")]
    return []


def _sealed_us(fields: object) -> int:
    try:
        return parse_u64(fields["sealed_us"], "sealed_us")  # type: ignore[index] # hostile
    except (EvidenceError, KeyError, TypeError):
        return 0


def _finding(code: str, tree: Tree, seq: int, when: str) -> Finding:
    what = f"batch {seq} of {tree.origin} claims times {when} its witness saw it"
    return Finding(code, what, LAYER)


def _issued(case: Case, latest_us: int) -> list[Finding]:
    if isinstance(case.statement, EvidenceError):
        return []
    told = case.statement.predicate.get("issued")
    issued_us = _instant_us(told)
    if issued_us is None:
        return [Finding("issued_early", "the statement does not say when it was issued", LAYER)]
    if issued_us < latest_us - EPSILON_US:
        what = f"the report was issued at {told}, before its evidence was witnessed"
        return [Finding("issued_early", what, LAYER)]
    return []


def _instant_us(told: object) -> int | None:
    """The instant in whole seconds, UTC; None: it is none of the one form. [us]"""
    if not isinstance(told, str) or not _INSTANT.fullmatch(told):
        return None
    try:
        return int(datetime.fromisoformat(told).timestamp()) * _US_PER_S
    except (ValueError, OverflowError):  # no day of the calendar
        return None
