"""Leaves of a tree that are not here: which slots they stand for, and what may stay away. Pure.

| what stays away | why | what is known of it |
|---|---|---|
| records inside a batch | the site approved committed evidence | each its slot; the envelope |
| a whole batch, its envelope too | a disk lost it | what a `discontinuity` leaf says later |

A run of records has no slots of its own to show, but everything around it has: the batch begins at
the slot its envelope names, and after so many records the next leaf must stand where it stands.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from joulemark_agent.contract.batch import parse_u64
from joulemark_agent.contract.errors import EvidenceError

if TYPE_CHECKING:
    from joulemark_gateway.evidence.history import Event, Tree

DISCONTINUITY = "discontinuity"
UNKNOWN_SLOT = -1  # the slot due next, where leaves were lost that would tell
_seq_of = attrgetter("seq")


@dataclass(frozen=True)
class Run:
    """Consecutive leaves that are not here."""

    seq: int  # of the first
    count: int

    @property
    def end(self) -> int:
        """The leaf after the last."""
        return self.seq + self.count


class Slots(NamedTuple):
    """Consecutive slots without a leaf of their own here. [us UTC]"""

    first_us: int
    last_us: int
    number: int
    seq: int  # the first leaf that stands for them


class Closed(NamedTuple):
    """A batch of which the envelope is here."""

    first_seq: int
    envelope: Event


def batches_of(tree: Tree) -> list[Closed]:
    """The batches with an envelope, each with its first leaf.

    A batch begins after the one before it; where whole batches are missing in between, at the leaf
    that its envelope names.
    """
    found, start = [], tree.first_seq
    for envelope in tree.envelopes:
        claimed = _number(envelope.fields.get("first_seq"))
        if claimed is not None and start < claimed <= envelope.seq:
            missing = sum(run.count for run in runs_in(tree, start, claimed))
            start = claimed if missing == claimed - start else start
        found.append(Closed(start, envelope))
        start = envelope.seq + 1
    return found


def runs_in(tree: Tree, start: int, end: int) -> list[Run]:
    """The runs that lie whole in start .. end - 1."""
    first = bisect_left(tree.withheld, start, key=_seq_of)
    after = bisect_left(tree.withheld, end, lo=first, key=_seq_of)
    return [run for run in tree.withheld[first:after] if run.end <= end]


def lost_runs(tree: Tree) -> list[Run]:
    """The runs that are in no batch with an envelope: with them went what explains them."""
    closed = batches_of(tree)
    inside = {run for one in closed for run in runs_in(tree, one.first_seq, one.envelope.seq)}
    return [run for run in tree.withheld if run not in inside]


def lost_slots(tree: Tree) -> list[Slots]:
    """The slots of lost leaves, as the leaves that explain the loss state them, each loss once.

    A loss is told again where the disk lost the leaf that told of it; that leaf may be here.
    """
    found, runs = [], lost_runs(tree)
    told: set[Run] = set()
    for event in tree.discontinuities:
        names = ("first_slot", "last_slot", "slots")
        first_us, last_us, count = (_number(event.fields.get(name)) for name in names)
        explained = [run for run in runs if run not in told and _explains(event, run)]
        told.update(explained)
        if explained and first_us is not None and last_us is not None and count:
            found.append(Slots(first_us, last_us, count, explained[0].seq))
    return found


def withheld_slots(tree: Tree, period_us: int) -> list[Slots]:
    """The slots of the records that stay away, run by run; `period_us` is their distance."""
    if not tree.withheld:
        return []
    found: list[Slots] = []
    rows, next_row = _in_order(tree), 0
    for start, envelope in batches_of(tree):
        is_whole = _number(envelope.fields.get("first_seq")) == start
        at_us = _number(envelope.fields.get("first_slot")) if is_whole else None
        while next_row < len(rows) and rows[next_row].seq < envelope.seq:
            row, next_row = rows[next_row], next_row + 1
            if row.seq < start:
                continue  # of a batch that was lost
            if not isinstance(row, Run):
                at_us = row.last_us + period_us
            elif at_us is not None:
                last_us = at_us + (row.count - 1) * period_us
                found.append(Slots(at_us, last_us, row.count, row.seq))
                at_us = last_us + period_us
    return found


def check_approved(tree: Tree, interval_us: int | None) -> None:
    """Records stay away only where the site approved it, and never the last one of a batch.

    Args:
        tree: the leaves.
        interval_us: of the approved site document; None: its evidence is full. [us]

    Raises:
        EvidenceError: `withheld_refused`, or `interval_record_missing`.
    """
    seqs = tree.columns.seq
    for start, envelope in batches_of(tree):
        runs = runs_in(tree, start, envelope.seq)
        if not runs:
            continue
        if interval_us is None:
            raise _bad(
                "withheld_refused",
                f"{tree.origin} lacks {sum(run.count for run in runs)} leaves before envelope "
                f"{envelope.seq}, and its site document approves no committed evidence",
            )
        at = bisect_left(seqs, runs[-1].end)
        if at == len(seqs) or seqs[at] > envelope.seq:
            raise _bad(
                "interval_record_missing",
                f"the last record before envelope {envelope.seq} of {tree.origin} is not here",
            )


def check_explained(tree: Tree) -> None:
    """Every lost run is explained by a `discontinuity` of the agent.

    Raises:
        EvidenceError: `lost_unexplained`.
    """
    for run in lost_runs(tree):
        if not any(_explains(event, run) for event in tree.discontinuities):
            raise _bad(
                "lost_unexplained",
                f"leaves {run.seq} to {run.end - 1} of {tree.origin} are lost, and no leaf "
                "says why",
            )


def with_unseen(
    counted: Mapping[str, Any], fields: Mapping[str, Any], hidden: int
) -> dict[str, Any]:
    """What an envelope may say: as counted from the leaves here, and `hidden` records more.

    What only the records themselves would show is taken as stated, as far as it can be true.

    Args:
        counted: from the leaves that are here.
        fields: of the envelope.
        hidden: records that stay away.
    """
    seen, values = counted["time"]["unsynchronised"], counted["values"]
    stated_time, stated_values = fields.get("time"), fields.get("values")
    claimed = stated_time.get("unsynchronised") if isinstance(stated_time, dict) else None
    is_possible = type(claimed) is int and seen <= claimed <= seen + hidden
    is_enough = type(stated_values) is int and stated_values >= values
    first_slot, last_us = _number(fields.get("first_slot")), _number(fields.get("last_slot"))
    is_before = first_slot is not None and last_us is not None and first_slot <= last_us
    return {
        **counted,
        "records": counted["records"] + hidden,
        "slots": counted["slots"] + hidden,
        "values": stated_values if is_enough else values,
        "time": {"unsynchronised": claimed if is_possible else seen},
        "first_slot": str(first_slot) if is_before else counted["first_slot"],
    }


def _in_order(tree: Tree) -> list[Slots | Run]:
    """Records and gaps as slots, and runs, which have none, in the order of leaves."""
    columns = tree.columns
    records = zip(columns.slot_us.tolist(), columns.seq.tolist(), strict=True)
    rows: list[Slots | Run] = [Slots(slot_us, slot_us, 1, seq) for slot_us, seq in records]
    rows += [Slots(g.first_slot_us, g.last_slot_us, g.slots, seq) for seq, g in tree.gaps]
    return sorted([*rows, *tree.withheld], key=lambda row: row.seq)


def _explains(event: Event, run: Run) -> bool:
    first, last = (_number(event.fields.get(name)) for name in ("first_seq", "last_seq"))
    if first is None or last is None:
        return False
    return first <= run.seq and run.end - 1 <= last < event.seq


def _number(value: Any) -> int | None:
    try:
        return parse_u64(value, "value")
    except EvidenceError:
        return None


def _bad(code: str, what: str) -> EvidenceError:
    return EvidenceError(
        f"The evidence does not hold: {what}.",
        "Compare it with the copy of the collector and of the witness, or fetch the raw records.",
        code=code,
    )
