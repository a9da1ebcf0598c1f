"""The tables of the outbox file, and what is read from and written to them. No policy.

| table | holds |
|---|---|
| agent | how often the agent was started; whether trees may have been forgotten |
| trees | per (device, epoch): the grant, right edge, last head, last slot, where the sums stand |
| leaves | leaves that no batch holds yet |
| batches | what was sealed and has no receipt: the wire bytes with their leaves or their cover |
| groups | the same for batches that lie together in a file of the backlog |
| losses | runs of leaves that a disk lost, until the collector has the leaf that tells of each |
| ended | trees that cannot be gone on with, and whether a later epoch tells of it |
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import astuple, dataclass, replace

from joulemark_agent.backlog import Group
from joulemark_agent.covers import (
    BATCH,
    SPARSE,
    Loss,
    Run,
    Tree,
    damaged,
    edge_of,
    forget_within,
    loss_of,
)
from joulemark_agent.sqlite_file import Form, SqliteFile

APPLICATION_ID = 0x4A4D4F42  # "JMOB"
FORM = Form(
    "outbox",
    APPLICATION_ID,
    (
        """
CREATE TABLE agent (boots INTEGER NOT NULL);
INSERT INTO agent VALUES (0);
CREATE TABLE trees (
    device TEXT NOT NULL, epoch INTEGER NOT NULL, opening BLOB NOT NULL,
    size INTEGER NOT NULL, edge BLOB NOT NULL, sealed INTEGER NOT NULL, sealed_edge BLOB NOT NULL,
    head TEXT, last_slot_us INTEGER, records INTEGER NOT NULL, gap_slots INTEGER NOT NULL,
    anchor BLOB,
    PRIMARY KEY (device, epoch)
) WITHOUT ROWID;
CREATE TABLE leaves (
    device TEXT NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL, leaf BLOB NOT NULL,
    UNIQUE (device, epoch, seq)
);
CREATE TABLE batches (
    device TEXT NOT NULL, epoch INTEGER NOT NULL, first_seq INTEGER NOT NULL,
    size INTEGER NOT NULL, checkpoint TEXT NOT NULL, payload BLOB NOT NULL,
    UNIQUE (device, epoch, size)
);
""",
        f"""
ALTER TABLE agent ADD COLUMN forgotten INTEGER NOT NULL DEFAULT 0;
ALTER TABLE trees ADD COLUMN cause TEXT;
ALTER TABLE trees ADD COLUMN confirmed INTEGER NOT NULL DEFAULT 0;
UPDATE trees SET confirmed = coalesce((SELECT min(b.first_seq) FROM batches b
    WHERE b.device = trees.device AND b.epoch = trees.epoch), sealed);
ALTER TABLE batches ADD COLUMN kind TEXT NOT NULL DEFAULT '{BATCH}';
CREATE TABLE groups (
    device TEXT NOT NULL, epoch INTEGER NOT NULL, first_seq INTEGER NOT NULL,
    size INTEGER NOT NULL, ends TEXT NOT NULL, file_bytes INTEGER NOT NULL,
    UNIQUE (device, epoch, size)
);
CREATE TABLE losses (
    device TEXT NOT NULL, epoch INTEGER NOT NULL, first_seq INTEGER NOT NULL,
    last_seq INTEGER NOT NULL, first_slot_us INTEGER, last_slot_us INTEGER,
    slots INTEGER NOT NULL, why TEXT NOT NULL, told_at INTEGER,
    UNIQUE (device, epoch, first_seq)
);
CREATE TABLE ended (
    device TEXT NOT NULL, epoch INTEGER NOT NULL, size INTEGER, root BLOB,
    last_slot_us INTEGER, why TEXT NOT NULL, told INTEGER NOT NULL DEFAULT 0,
    UNIQUE (device, epoch)
);
""",
    ),
)


@dataclass(frozen=True)
class Row:
    """A batch that waits by itself: its place and its wire bytes."""

    device: str
    epoch: int
    first_seq: int
    size: int
    checkpoint: str
    payload: bytes
    kind: str = BATCH

    @property
    def place(self) -> tuple[str, int]:
        """Device and epoch."""
        return self.device, self.epoch


@dataclass(frozen=True)
class Ended:
    """A tree that cannot be gone on with, and what is still known of its last head."""

    device: str
    epoch: int
    size: int | None
    root: bytes | None
    last_slot_us: int | None
    why: str
    is_told: bool = False  # by a leaf of a later epoch


_PLACE = {"device": "text", "epoch": "integer"}
_RUN = {**_PLACE, "first_seq": "integer", "size": "integer"}
_KINDS = {
    "agent": {"boots": "integer", "forgotten": "integer"},
    "trees": {
        **_PLACE, "opening": "blob", "size": "integer", "edge": "blob", "sealed": "integer",
        "sealed_edge": "blob", "head": "text null", "last_slot_us": "integer null",
        "records": "integer", "gap_slots": "integer", "anchor": "blob null", "cause": "text null",
        "confirmed": "integer",
    },
    "leaves": {**_PLACE, "seq": "integer", "leaf": "blob"},
    "batches": {**_RUN, "checkpoint": "text", "payload": "blob", "kind": "text"},
    "groups": {**_RUN, "ends": "text", "file_bytes": "integer"},
    "losses": {
        **_PLACE, "first_seq": "integer", "last_seq": "integer", "first_slot_us": "integer null",
        "last_slot_us": "integer null", "slots": "integer", "why": "text",
        "told_at": "integer null",
    },
    "ended": {
        **_PLACE, "size": "integer null", "root": "blob null", "last_slot_us": "integer null",
        "why": "text", "told": "integer",
    },
}  # fmt: skip


def check(file: SqliteFile) -> None:
    """See whether every row is one that is written.

    Raises:
        StoreError: `damaged`, with what is not.
    """
    file.check_kinds(_KINDS)
    known = {tree.place for tree in trees(file)} | {(e.device, e.epoch) for e in ended(file)}
    for table in ("leaves", "batches", "groups", "losses"):
        for device, epoch in file.rows(f"SELECT DISTINCT device, epoch FROM {table}"):
            if (device, epoch) not in known:
                raise damaged(f"a row of {table} is of no tree: {(device, epoch)!r:.200}")
    if file.rows("SELECT 1 FROM batches WHERE kind NOT IN (?, ?)", BATCH, SPARSE):
        raise damaged("a batch is of no kind")


def trees(file: SqliteFile) -> list[Tree]:
    """Every tree, devices in order, epochs ascending."""
    found = []
    for device, epoch, opening, size, edge, sealed, sealed_edge, *rest in file.rows(
        "SELECT device, epoch, opening, size, edge, sealed, sealed_edge, head, last_slot_us,"
        " records, gap_slots, anchor, cause FROM trees ORDER BY device, epoch"
    ):
        edges = edge_of(size, edge), edge_of(sealed, sealed_edge)
        found.append(Tree(device, epoch, opening, *edges, *rest))
    return found


def write_tree(db: sqlite3.Connection, tree: Tree) -> None:
    """Keep where a tree stands; how much of it is confirmed stays as it is."""
    db.execute(
        "INSERT INTO trees (device, epoch, opening, size, edge, sealed, sealed_edge, head,"
        " last_slot_us, records, gap_slots, anchor, cause)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (device, epoch) DO UPDATE SET size = excluded.size, edge = excluded.edge,"
        " sealed = excluded.sealed, sealed_edge = excluded.sealed_edge, head = excluded.head,"
        " last_slot_us = excluded.last_slot_us, records = excluded.records,"
        " gap_slots = excluded.gap_slots, anchor = excluded.anchor, cause = excluded.cause",
        (
            *tree.place, tree.opening, tree.edge.size, tree.edge.to_bytes(),
            tree.sealed.size, tree.sealed.to_bytes(), tree.head, tree.last_slot_us,
            tree.records, tree.gap_slots, tree.anchor, tree.cause,
        ),
    )  # fmt: skip


def confirmed(file: SqliteFile) -> dict[tuple[str, int], int]:
    """Up to which size the collector has each tree."""
    rows = file.rows("SELECT device, epoch, confirmed FROM trees")
    return {(device, epoch): size for device, epoch, size in rows}


def open_leaves(file: SqliteFile, device: str, epoch: int) -> list[bytes]:
    """The leaves that no batch holds yet, in order."""
    query = "SELECT leaf FROM leaves WHERE device = ? AND epoch = ? ORDER BY seq"
    found = file.rows(query, device, epoch)
    return [leaf if isinstance(leaf, bytes) else str(leaf).encode() for (leaf,) in found]


def write_leaves(
    db: sqlite3.Connection, place: tuple[str, int], first_seq: int, leaves: Iterable[bytes]
) -> None:
    """Keep leaves that no batch holds."""
    db.executemany(
        "INSERT INTO leaves VALUES (?, ?, ?, ?)",
        ((*place, seq, leaf) for seq, leaf in enumerate(leaves, first_seq)),
    )


def forget_leaves(db: sqlite3.Connection, place: tuple[str, int]) -> None:
    """The leaves that no batch holds are in one now, or are lost."""
    db.execute("DELETE FROM leaves WHERE device = ? AND epoch = ?", place)


def rows(file: SqliteFile, condition: str, *values: object) -> list[Row]:
    """The batches that wait by themselves and fulfil a condition."""
    found = file.rows(
        "SELECT device, epoch, first_seq, size, checkpoint, payload, kind FROM batches"
        f" WHERE {condition}",
        *values,
    )
    return [Row(*row) for row in found]


def write_rows(db: sqlite3.Connection, new: Iterable[Row]) -> None:
    """Keep batches by themselves."""
    db.executemany(
        "INSERT INTO batches (device, epoch, first_seq, size, checkpoint, payload, kind)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            (r.device, r.epoch, r.first_seq, r.size, r.checkpoint, r.payload, r.kind)
            for r in new
        ),
    )  # fmt: skip


def forget_unit(db: sqlite3.Connection, place: tuple[str, int], size: int) -> None:
    """A batch or group that ends at this size does not wait any more."""
    for table in ("batches", "groups"):
        query = f"DELETE FROM {table} WHERE device = ? AND epoch = ? AND size = ?"
        db.execute(query, (*place, size))


def groups(file: SqliteFile, condition: str = "1", *values: object) -> list[Group]:
    """The groups that fulfil a condition, each tree's in order."""
    found = file.rows(
        "SELECT device, epoch, first_seq, size, ends, file_bytes FROM groups"
        f" WHERE {condition} ORDER BY device, epoch, size",
        *values,
    )
    return [Group(*row) for row in found]


def group_bytes(file: SqliteFile) -> int:
    """How much of the disk the groups take."""
    return int(file.rows("SELECT coalesce(sum(file_bytes), 0) FROM groups")[0][0])


def write_group(db: sqlite3.Connection, group: Group) -> None:
    """Have a group take the place of the batches that it holds."""
    within = (*group.place, group.first_seq, group.size)
    db.execute(
        "DELETE FROM batches WHERE device = ? AND epoch = ? AND size > ? AND size <= ?", within
    )
    db.execute(
        "INSERT INTO groups VALUES (?, ?, ?, ?, ?, ?)",
        (*group.place, group.first_seq, group.size, group.listed, group.file_bytes),
    )


def losses(file: SqliteFile, *, told_too: bool = False) -> list[Loss]:
    """What was lost and no leaf tells of yet, in order; `told_too`: nor has the collector it."""
    found = file.rows(
        "SELECT device, epoch, first_seq, last_seq, first_slot_us, last_slot_us, slots, why"
        " FROM losses WHERE told_at IS NULL OR ? ORDER BY device, epoch, first_seq",
        told_too,
    )
    return [Loss(*row) for row in found]


def write_loss(db: sqlite3.Connection, run: Run, why: str) -> None:
    """Have a run stood for by its cover from now on, and remember that a leaf must tell of it."""
    place = (run.device, run.epoch)
    within = (*place, run.first_seq, run.size)
    for table in ("batches", "groups"):
        db.execute(
            f"DELETE FROM {table} WHERE device = ? AND epoch = ? AND size > ? AND size <= ?", within
        )
    tell_again(db, place, run.first_seq, run.size)  # what the lost leaves told of
    row = Row(*place, run.first_seq, run.size, run.checkpoint, run.sparse, SPARSE)
    if run.payload is not None:  # nothing of it is lost
        write_rows(db, [replace(row, payload=run.payload, kind=run.kind)])
        return
    write_rows(db, [row])
    write_losses(db, [loss_of(run, why)])


def write_losses(db: sqlite3.Connection, items: Iterable[Loss]) -> None:
    """Remember what was lost, until the collector has the leaf that tells of it."""
    items = list(items)
    forget_within(db, items)
    db.executemany(
        "INSERT OR REPLACE INTO losses VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)", map(astuple, items)
    )


def tell_again(db: sqlite3.Connection, place: tuple[str, int], first: int, end: int) -> None:
    """The leaves first .. end - 1 are gone: what they told of is to be told once more."""
    db.execute(
        "UPDATE losses SET told_at = NULL"
        " WHERE device = ? AND epoch = ? AND told_at >= ? AND told_at < ?",
        (*place, first, end),
    )


def ended(file: SqliteFile) -> list[Ended]:
    """The trees that cannot be gone on with."""
    found = file.rows(
        "SELECT device, epoch, size, root, last_slot_us, why, told FROM ended"
        " ORDER BY device, epoch"
    )
    return [
        Ended(device, epoch, size, root, last_us, why, bool(told))
        for device, epoch, size, root, last_us, why, told in found
    ]


def write_ended(db: sqlite3.Connection, item: Ended) -> None:
    """Remember a tree that cannot be gone on with."""
    db.execute(
        "INSERT OR IGNORE INTO ended VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            item.device, item.epoch, item.size, item.root, item.last_slot_us, item.why,
            item.is_told,
        ),
    )  # fmt: skip
