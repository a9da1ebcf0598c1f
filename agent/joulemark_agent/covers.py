"""What was signed, in a file of its own: every head that waits for its receipt and what it covers.

It is written before a head can leave, so a disk that loses the outbox, or takes it back to an
earlier state, cannot make the agent sign a second history: the tree goes on after the last head
that stands here, and what was lost in between is stood for by its cover (see `contract.sparse`).

| table | holds |
|---|---|
| trees | per (device, epoch): the grant, where the tree stood at its last head, what is confirmed |
| runs | per batch or group that waits: its place, cover and slots, and the note of its last head |
| losses | runs that a disk lost, until the collector has the leaf that tells of each |
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from joulemark_agent.contract.batch import parse_batch
from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.errors import EvidenceError, StoreError
from joulemark_agent.contract.signature import parse_checkpoint, parse_note
from joulemark_agent.contract.sparse import (
    Part,
    SparseBatch,
    Withheld,
    leaves_in,
    parse_sparse,
    sparse_bytes,
    withheld,
)
from joulemark_agent.contract.tree import HASH_BYTES, Edge, leaf_hash, root
from joulemark_agent.sqlite_file import Form, SqliteFile

_PACKED = struct.Struct(">IB")  # how many leaves, how many hashes
BATCH, SPARSE = "batch", "sparse"  # what a payload is, and the last part of its topic
_FORM = Form(
    "index of heads",
    0x4A4D434F,  # "JMCO"
    (
        """
CREATE TABLE trees (
    device TEXT NOT NULL, epoch INTEGER NOT NULL, opening BLOB NOT NULL,
    size INTEGER NOT NULL, edge BLOB NOT NULL, head TEXT, last_slot_us INTEGER,
    records INTEGER NOT NULL, gap_slots INTEGER NOT NULL,
    PRIMARY KEY (device, epoch)
) WITHOUT ROWID;
CREATE TABLE runs (
    device TEXT NOT NULL, epoch INTEGER NOT NULL, first_seq INTEGER NOT NULL,
    size INTEGER NOT NULL, checkpoint TEXT NOT NULL, covers BLOB NOT NULL,
    first_slot_us INTEGER, last_slot_us INTEGER, slots INTEGER NOT NULL,
    kind TEXT NOT NULL, payload BLOB,
    UNIQUE (device, epoch, size)
);
CREATE TABLE losses (
    device TEXT NOT NULL, epoch INTEGER NOT NULL, first_seq INTEGER NOT NULL,
    last_seq INTEGER NOT NULL, first_slot_us INTEGER, last_slot_us INTEGER,
    slots INTEGER NOT NULL, why TEXT NOT NULL,
    UNIQUE (device, epoch, first_seq)
);
""",
        "ALTER TABLE trees ADD COLUMN confirmed INTEGER NOT NULL DEFAULT 0;",
    ),
)


_KINDS = {
    "trees": {
        "device": "text", "epoch": "integer", "opening": "blob", "size": "integer", "edge": "blob",
        "head": "text null", "last_slot_us": "integer null", "records": "integer",
        "gap_slots": "integer", "confirmed": "integer",
    },
    "runs": {
        "device": "text", "epoch": "integer", "first_seq": "integer", "size": "integer",
        "checkpoint": "text", "covers": "blob", "first_slot_us": "integer null",
        "last_slot_us": "integer null", "slots": "integer", "kind": "text",
        "payload": "blob null",
    },
    "losses": {
        "device": "text", "epoch": "integer", "first_seq": "integer", "last_seq": "integer",
        "first_slot_us": "integer null", "last_slot_us": "integer null", "slots": "integer",
        "why": "text",
    },
}  # fmt: skip


@dataclass(frozen=True)
class Tree:
    """What is kept of one (device, epoch) however much was sent and deleted."""

    device: str
    epoch: int
    opening: bytes  # canonical bytes of the signed grant that opened the epoch
    edge: Edge = field(default_factory=Edge)
    sealed: Edge = field(default_factory=Edge)  # after the last batch; later leaves are in none
    head: str | None = None  # the last signed checkpoint note
    last_slot_us: int | None = None
    records: int = 0  # since the epoch began
    gap_slots: int = 0
    anchor: bytes | None = None  # record leaf in a batch that the sums go on from
    cause: str | None = None  # of the slots that are missing next, where that is known already

    @property
    def place(self) -> tuple[str, int]:
        """Device and epoch."""
        return self.device, self.epoch

    @property
    def is_sound(self) -> bool:
        """Whether the edge after the last batch is the one that was signed."""
        if self.head is None:
            return self.sealed.size == 0
        try:
            head = parse_checkpoint(parse_note(self.head)[0])
        except EvidenceError:
            return False
        return (head.size, head.root) == (self.sealed.size, root(self.sealed))


@dataclass(frozen=True)
class Loss:
    """Leaves of a tree that a disk lost."""

    device: str
    epoch: int
    first_seq: int
    last_seq: int
    first_slot_us: int | None
    last_slot_us: int | None
    slots: int
    why: str

    @property
    def place(self) -> tuple[str, int]:
        """Device and epoch."""
        return self.device, self.epoch


class Span(NamedTuple):
    """Where a run lies."""

    first_seq: int
    size: int  # of the tree after it


@dataclass(frozen=True)
class Run:
    """Consecutive leaves of a tree under one signed head, known by their cover."""

    device: str
    epoch: int
    first_seq: int
    size: int
    checkpoint: str
    covers: bytes  # packed: one cover for each batch, so that what is held of them can be told
    first_slot_us: int | None
    last_slot_us: int | None
    slots: int
    kind: str = BATCH
    payload: bytes | None = None  # the batch itself where nothing can stand for it: the first one

    @property
    def sparse(self) -> bytes:
        """The wire bytes that stand for the run.

        Raises:
            StoreError: `damaged`: its cover is none.
        """
        return sparse_bytes(SparseBatch(self.first_seq, unpacked(self.covers), self.checkpoint))


class Covers:
    """The runs of an outbox; one thread at a time uses it."""

    def __init__(self, path: Path) -> None:
        """Open the file, made where there is none, and check it whole.

        Raises:
            StoreError: it cannot be used.
        """
        self.file = SqliteFile(path, _FORM)
        try:
            self.file.check_kinds(_KINDS)
            self.trees()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the file back."""
        self.file.close()

    def trees(self) -> list[Tree]:
        """Every tree as it stood at its last head, devices in order, epochs ascending.

        Raises:
            StoreError: it cannot be read, or (`damaged`) an edge is none.
        """
        rows = self.file.rows(
            "SELECT device, epoch, opening, size, edge, head, last_slot_us, records, gap_slots"
            " FROM trees ORDER BY device, epoch"
        )
        return [_tree(*row) for row in rows]

    def spans(self, device: str, epoch: int, after: int = 0) -> list[Span]:
        """Where the runs of a tree lie that end after this size, in order."""
        rows = self.file.rows(
            "SELECT first_seq, size FROM runs WHERE device = ? AND epoch = ? AND size > ?"
            " ORDER BY size",
            device, epoch, after,
        )  # fmt: skip
        return [Span(*row) for row in rows]

    def runs(self, device: str, epoch: int, first_seq: int, size: int) -> list[Run]:
        """The runs of a tree that lie between two leaves, in order."""
        rows = self.file.rows(
            "SELECT device, epoch, first_seq, size, checkpoint, covers, first_slot_us,"
            " last_slot_us, slots, kind, payload FROM runs"
            " WHERE device = ? AND epoch = ? AND size > ? AND size <= ? AND first_seq >= ?"
            " ORDER BY size",
            device, epoch, first_seq, size, first_seq,
        )  # fmt: skip
        return [Run(*row) for row in rows]

    def keep(self, trees: Iterable[Tree], runs: Sequence[Run]) -> None:
        """Keep runs and where their trees stand after them, in one transaction.

        A run takes the place of those that lie in it.

        Raises:
            StoreError: nothing of it was kept.
        """

        def write(db: sqlite3.Connection) -> None:
            for tree in trees:
                db.execute(
                    "INSERT INTO trees (device, epoch, opening, size, edge, head, last_slot_us,"
                    " records, gap_slots) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
                    " ON CONFLICT (device, epoch) DO UPDATE SET size = excluded.size,"
                    " opening = excluded.opening, edge = excluded.edge, head = excluded.head,"
                    " last_slot_us = excluded.last_slot_us, records = excluded.records,"
                    " gap_slots = excluded.gap_slots",
                    (
                        *tree.place, tree.opening, tree.sealed.size, tree.sealed.to_bytes(),
                        tree.head, tree.last_slot_us, tree.records, tree.gap_slots,
                    ),
                )  # fmt: skip
            for run in runs:
                place = (run.device, run.epoch)
                db.execute(
                    "DELETE FROM runs WHERE device = ? AND epoch = ? AND size > ? AND size <= ?",
                    (*place, run.first_seq, run.size),
                )
                slots = (run.first_slot_us, run.last_slot_us, run.slots)
                db.execute(
                    "INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        *place, run.first_seq, run.size, run.checkpoint, run.covers, *slots,
                        run.kind, run.payload,
                    ),
                )  # fmt: skip

        self.file.transact(write)

    def losses(self) -> list[Loss]:
        """What was lost and may still have to be told."""
        found = self.file.rows(
            "SELECT device, epoch, first_seq, last_seq, first_slot_us, last_slot_us, slots, why"
            " FROM losses ORDER BY device, epoch, first_seq"
        )
        return [Loss(*row) for row in found]

    def keep_losses(self, items: Iterable[Loss], *, only: bool = False) -> None:
        """Remember what was lost; `only` these, for all others were told."""
        kept = list(items)
        rows = [astuple(item) for item in kept]

        def write(db: sqlite3.Connection) -> None:
            if only:
                db.execute("DELETE FROM losses")
            forget_within(db, kept)
            db.executemany("INSERT OR REPLACE INTO losses VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)

        self.file.transact(write)

    def confirmed(self) -> dict[tuple[str, int], int]:
        """Up to which size the collector has each tree, as far as it is known here."""
        rows = self.file.rows("SELECT device, epoch, confirmed FROM trees")
        return {(device, epoch): size for device, epoch, size in rows}

    def confirm(self, sizes: Iterable[tuple[str, int, int]]) -> None:
        """Forget the runs up to a size of each (device, epoch): the collector has them."""
        done = list(sizes)
        delete = "DELETE FROM runs WHERE device = ? AND epoch = ? AND size <= ?"
        note = "UPDATE trees SET confirmed = max(confirmed, ?) WHERE device = ? AND epoch = ?"

        def write(db: sqlite3.Connection) -> None:
            db.executemany(delete, done)
            db.executemany(note, [(size, device, epoch) for device, epoch, size in done])

        self.file.transact(write)


def forget_within(db: sqlite3.Connection, losses: Iterable[Loss]) -> None:
    """Forget the losses that lie within one of these: it tells of them too."""
    db.executemany(
        "DELETE FROM losses WHERE device = ? AND epoch = ? AND first_seq >= ? AND last_seq <= ?",
        [(*loss.place, loss.first_seq, loss.last_seq) for loss in losses],
    )


def run_of(place: tuple[str, int], kind: str, payload: bytes) -> Run:
    """What stands for a batch, from its wire bytes.

    Args:
        place: device and epoch.
        kind: `batch` or `sparse`.
        payload: the wire bytes.

    Raises:
        EvidenceError: they are not those of such a batch.
    """
    parts: tuple[Part, ...]
    if kind == SPARSE:
        sparse = parse_sparse(payload)
        first_seq, parts, checkpoint = sparse.first_seq, sparse.parts, sparse.checkpoint
        covers = packed(_covered(part) for part in parts)
    else:
        batch = parse_batch(payload)
        first_seq, parts, checkpoint = batch.first_seq, batch.leaves, batch.checkpoint
        covers = packed([withheld(batch.leaves, first_seq)])
    place_now = (*place, first_seq, first_seq + leaves_in(parts), checkpoint)
    kept = None if first_seq else payload
    return Run(*place_now, covers, *_slots_of(parts[-1]), kind, kept)


def loss_of(run: Run, why: str) -> Loss:
    """What a leaf must tell of a run that was lost."""
    slots = (run.first_slot_us, run.last_slot_us, run.slots)
    return Loss(run.device, run.epoch, run.first_seq, run.size - 1, *slots, why[:500])


def packed(parts: Iterable[Withheld]) -> bytes:
    """Covers in one string of bytes."""
    return b"".join(
        _PACKED.pack(part.count, len(part.hashes)) + b"".join(part.hashes) for part in parts
    )


def unpacked(data: bytes) -> tuple[Withheld, ...]:
    """The covers of `packed`.

    Raises:
        StoreError: `damaged`: these bytes are none.
    """
    found, at = [], 0
    while at < len(data):
        try:
            count, hashes = _PACKED.unpack_from(data, at)
        except struct.error as error:
            raise damaged("a cover ends too soon") from error
        at += _PACKED.size
        ends = range(at + HASH_BYTES, at + hashes * HASH_BYTES + 1, HASH_BYTES)
        found.append(Withheld(count, tuple(data[end - HASH_BYTES : end] for end in ends)))
        at += hashes * HASH_BYTES
    if at != len(data) or not found:
        raise damaged("a cover has another length than it says")
    return tuple(found)


def _covered(part: Part) -> Withheld:
    return part if isinstance(part, Withheld) else Withheld(1, (leaf_hash(part),))


def merged(runs: Sequence[Run]) -> Run:
    """One run for consecutive ones, the first batch of a tree not among them."""
    first, last = runs[0], runs[-1]
    firsts = [run.first_slot_us for run in runs if run.first_slot_us is not None]
    lasts = [run.last_slot_us for run in runs if run.last_slot_us is not None]
    return replace(
        last,
        first_seq=first.first_seq,
        covers=b"".join(run.covers for run in runs),
        first_slot_us=firsts[0] if firsts else None,
        last_slot_us=lasts[-1] if lasts else None,
        slots=sum(run.slots for run in runs),
    )


def _slots_of(part: Part) -> tuple[int | None, int | None, int]:
    """First and last slot and how many, as the envelope that ends a batch says."""
    if isinstance(part, Withheld):
        return None, None, 0
    content = parse_canonical(part)
    if content.get("type") != "batch":
        return None, None, 0
    first, last = content["first_slot"], content["last_slot"]
    return (
        None if first is None else int(first),
        None if last is None else int(last),
        int(content["slots"]),
    )


def _tree(device: str, epoch: int, opening: bytes, size: int, edge: bytes, *rest: Any) -> Tree:
    found = edge_of(size, edge)
    head, last_slot_us, records, gap_slots = rest
    return Tree(device, epoch, opening, found, found, head, last_slot_us, records, gap_slots)


def edge_of(size: int, edge: bytes) -> Edge:
    """The edge that a file kept.

    Raises:
        StoreError: `damaged`: it is none of a tree of this size.
    """
    try:
        return Edge.from_bytes(size, edge)
    except (ValueError, TypeError) as error:
        raise damaged(str(error)) from error


def damaged(why: str) -> StoreError:
    """What a file holds is not what was written to it."""
    return StoreError(
        f"A file of the outbox does not hold what was written to it: {why[:300]}.",
        "It is set aside, never deleted; the agent goes on with what it can prove. Copy the state"
        " folder and look into the system log for errors of the disk.",
        code="damaged",
    )
