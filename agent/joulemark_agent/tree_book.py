"""The working state of one tree, and how its open batch is closed. No disk, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from joulemark_agent.contract.batch import Batch, sealed_bytes
from joulemark_agent.contract.canonical import digest_hex, parse_canonical
from joulemark_agent.contract.reading import event_leaf
from joulemark_agent.contract.signature import Checkpoint, encode64, sign_checkpoint
from joulemark_agent.contract.sparse import withheld
from joulemark_agent.contract.topics import origin
from joulemark_agent.contract.tree import append, root
from joulemark_agent.covers import Run, packed
from joulemark_agent.envelope import Row, Sums, Tally, energy_sums, row_of
from joulemark_agent.figures import Taken
from joulemark_agent.keys import Key
from joulemark_agent.outbox import Change, Closing, Sealed, Tree
from joulemark_agent.recorded import Recorded


@dataclass
class TreeBook:
    """The working state of one tree: what is on disk plus what the commit under way adds."""

    grant: Mapping[str, Any]
    recorded: Recorded | None  # None: an epoch of the past, which is only closed
    tree: Tree
    open: list[bytes]  # leaves after the last batch
    kept: int  # so many of them are on disk
    tally: Tally
    opened_ns: int | None  # when the first of them was written; None: there is none
    records: list[bytes]  # of the open leaves
    window: tuple[Taken, ...] = ()  # what was read since a window of figures began
    anchor: Row | None = None  # that of the tree, where it is in memory
    sealed: list[Sealed] = field(default_factory=list)  # by the commit under way
    told: list[tuple[int, int]] = field(default_factory=list)  # losses, and leaves that tell
    told_epochs: list[int] = field(default_factory=list)  # trees that ended, likewise
    is_stopped: bool = False  # by the commit under way

    def change(self) -> Change:
        """What the commit under way adds to the tree."""
        first_seq, told = self.tree.sealed.size + self.kept, (self.told, self.told_epochs)
        return Change(self.tree, first_seq, self.open[self.kept :], tuple(self.sealed), *told)

    @property
    def has_changed(self) -> bool:
        """Whether the commit under way adds anything."""
        return bool(self.sealed) or len(self.open) > self.kept or self.is_stopped

    def note_kept(self) -> None:
        """The change is on disk."""
        self.kept, self.sealed, self.is_stopped = len(self.open), [], False
        self.told, self.told_epochs = [], []


def seal(book: TreeBook, key: Key, software: str, now_us: int) -> None:
    """Close the open batch: envelope leaf, signed checkpoint, wire bytes.

    Args:
        book: whose.
        key: the agent's evidence key.
        software: SHA-256 (hex) of the agent's own code.
        now_us: wall time. [us UTC]
    """
    tree, first_seq = book.tree, book.tree.sealed.size
    sums = _sums(book)
    leaf = event_leaf(
        "batch",
        tree.device,
        epoch=tree.epoch,
        seq=tree.edge.size,
        fields=_envelope(book, sums.fields, software, now_us),
    )
    edge = append(tree.edge, (leaf,))
    name = origin(book.grant["grant"]["site"], tree.device, tree.epoch)
    checkpoint = sign_checkpoint(key.private, Checkpoint(name, edge.size, root(edge)))
    documents = book.recorded.documents if book.recorded and first_seq == 0 else {}
    batch = Batch(
        first_seq,
        (*book.open, leaf),
        checkpoint,
        {digest_hex(data): data for data in documents.values()},
    )
    anchor = tree.anchor
    if sums.last >= 0:
        anchor, book.anchor = book.records[sums.last], book.tally.rows[sums.last]
    book.tree = replace(tree, edge=edge, sealed=edge, head=checkpoint, anchor=anchor)
    place = (tree.device, tree.epoch, first_seq, edge.size, checkpoint)
    payload, tally = sealed_bytes(batch), book.tally
    cover = packed([withheld(batch.leaves, first_seq)])
    slots = (tally.first_slot_us, tally.last_slot_us, tally.slots)
    run = Run(*place, cover, *slots, payload=None if first_seq else payload)
    closing = Closing(tree.sealed, book.tree, run)
    book.sealed.append(Sealed(*place, payload, closing=closing))
    book.open, book.records, book.kept = [], [], 0
    book.tally, book.opened_ns = Tally(), None


def _envelope(
    book: TreeBook, energy: Mapping[str, str | None], software: str, now_us: int
) -> dict[str, Any]:
    tree, tally = book.tree, book.tally
    first_us, last_us = tally.first_slot_us, tally.last_slot_us
    return {
        "documents": {**book.grant["grant"]["documents"], "software": software},
        "energy": dict(energy),
        "first_seq": str(tree.sealed.size),
        "first_slot": None if first_us is None else str(first_us),
        "gap_slots": tally.gap_slots,
        "last_seq": str(tree.edge.size - 1),
        "last_slot": None if last_us is None else str(last_us),
        "previous": {"size": str(tree.sealed.size), "root": encode64(root(tree.sealed))},
        "records": tally.records,
        "sealed_us": str(now_us),
        "slots": tally.slots,
        "time": {"unsynchronised": tally.unsynchronised},
        "values": tally.values,
    }


def _sums(book: TreeBook) -> Sums:
    """The sums of the open leaves; none for an epoch whose documents are no longer at hand."""
    device = book.recorded
    if device is None:
        return Sums({}, len(book.records) - 1)
    if book.anchor is None and book.tree.anchor is not None:
        book.anchor = row_of(parse_canonical(book.tree.anchor))
    return energy_sums(
        device.profile,
        book.anchor,
        book.tally.rows,
        period_us=device.period_us,
        carbon=device.carbon,
    )
