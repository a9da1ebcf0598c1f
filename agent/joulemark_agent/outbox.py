"""The durable queue between the devices and the collector: SQLite, WAL, synchronous=FULL.

One connection and one transaction per group commit. What a call here returned for is on disk; what
raised is not, not even in part. A batch leaves only by `receipt`; nothing else deletes evidence.

| table | holds |
|---|---|
| agent | how often the agent was started |
| trees | per (device, epoch): the grant, right edge, last head, last slot, where the sums stand |
| leaves | leaves that no batch holds yet |
| batches | what was sealed and has no receipt: the wire bytes, compressed, with their leaves |
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from joulemark_agent.contract.batch import MAX_PLAIN_BYTES, inflate
from joulemark_agent.contract.errors import EvidenceError, StoreError
from joulemark_agent.contract.tree import Edge

APPLICATION_ID = 0x4A4D4F42  # "JMOB": tells our file from any other SQLite database
VERSION = 1
_SCHEMA = """
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
"""
Result = TypeVar("Result")
_SMALL_BYTES = 256 * 1024  # less than this free on the disk: an I/O error is a full disk


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


@dataclass(frozen=True)
class Sealed:
    """A batch that was closed: its place, its signed checkpoint and its wire bytes."""

    device: str
    epoch: int
    first_seq: int
    size: int
    checkpoint: str
    payload: bytes


@dataclass(frozen=True)
class Change:
    """One tree's part of a commit: its new state, the batches closed, the leaves still in none."""

    tree: Tree
    first_seq: int  # of `leaves`
    leaves: Sequence[bytes]  # only those not kept before
    sealed: Sequence[Sealed] = ()


class Outbox:
    """The queue in one file; only one process at a time has it, and within it one thread."""

    def __init__(self, path: Path) -> None:
        """Open the file, made where there is none, and check it whole.

        Raises:
            StoreError: in use, foreign, damaged, read-only, or no space.
        """
        self._path = path
        with _translated(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _lock(path)
        self._db: sqlite3.Connection | None = None
        try:
            with _translated(path):
                self._db = sqlite3.connect(path, isolation_level=None)
                self._prepare(self._db)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the file back; every commit is on disk already."""
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):  # a full disk must not stop the way out
                self._db.close()
        self._db = None
        os.close(self._lock)

    def boots(self) -> int:
        """How often the agent was started with this outbox."""
        return int(self._rows("SELECT boots FROM agent")[0][0])

    def trees(self) -> list[Tree]:
        """Every tree, devices in order, epochs ascending."""
        rows = self._rows(
            "SELECT device, epoch, opening, size, edge, sealed, sealed_edge, head, last_slot_us,"
            " records, gap_slots, anchor FROM trees ORDER BY device, epoch"
        )
        return [self._tree(*row) for row in rows]

    def open_leaves(self, device: str, epoch: int) -> list[bytes]:
        """The leaves that no batch holds yet, in order."""
        rows = self._rows(
            "SELECT leaf FROM leaves WHERE device = ? AND epoch = ? ORDER BY seq", device, epoch
        )
        return [row[0] for row in rows]

    def commit(self, changes: Sequence[Change], *, boots: int | None = None) -> None:
        """Keep the changes, all of them or none, on disk when this returns.

        Raises:
            StoreError: nothing of it was kept (`disk_full`: free space, then commit again).
        """

        def write(db: sqlite3.Connection) -> None:
            if boots is not None:
                db.execute("UPDATE agent SET boots = ?", (boots,))
            for change in changes:
                _write(db, change)

        self._transact(write)

    def next_batch(self, device: str, epoch: int, from_seq: int) -> Sealed | None:
        """The batch without receipt that holds leaf `from_seq`, or the first one after it."""
        return self._batch("size > ? ORDER BY size LIMIT 1", device, epoch, from_seq)

    def batch_ending_at(self, device: str, epoch: int, size: int) -> Sealed | None:
        """The batch without receipt after which the tree has this size."""
        return self._batch("size = ?", device, epoch, size)

    def waiting(self) -> dict[tuple[str, int], int]:
        """How many batches without receipt each (device, epoch) has, old epochs first."""
        rows = self._rows(
            "SELECT device, epoch, count(*) FROM batches GROUP BY device, epoch"
            " ORDER BY epoch, device"
        )
        return {(device, epoch): count for device, epoch, count in rows}

    def receipt(self, device: str, epoch: int, size: int) -> int:
        """Delete the batches that a head of this size covers: the collector has committed them.

        Returns:
            how many batches were deleted.

        Raises:
            StoreError: nothing was deleted.
        """
        delete = "DELETE FROM batches WHERE device = ? AND epoch = ? AND size <= ?"
        return self._transact(lambda db: db.execute(delete, (device, epoch, size)).rowcount)

    def _prepare(self, db: sqlite3.Connection) -> None:
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if (application, tables) != (0, 0) and application != APPLICATION_ID:
            raise _foreign(self._path)
        if version > VERSION:
            raise StoreError(
                f"The outbox {self._path} has format {version}; this agent knows {VERSION}.",
                "Run the newer agent that wrote it; it holds evidence that was not sent yet.",
                code="foreign",
            )
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA cell_size_check = ON")
        if tables == 0:
            names = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};"
            db.executescript(f"BEGIN IMMEDIATE; {names} {_SCHEMA} COMMIT;")
        verdict = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise _damaged(self._path, str(verdict))
        db.execute("BEGIN IMMEDIATE")  # says now, not at the first reading, that it is read-only
        db.execute("UPDATE agent SET boots = boots")
        db.execute("ROLLBACK")

    def _batch(self, condition: str, *values: object) -> Sealed | None:
        rows = self._rows(
            "SELECT device, epoch, first_seq, size, checkpoint, payload FROM batches"
            f" WHERE device = ? AND epoch = ? AND {condition}",
            *values,
        )
        return Sealed(*rows[0]) if rows else None

    def _tree(self, device: str, epoch: int, opening: bytes, *state: Any) -> Tree:
        size, edge, sealed, sealed_edge, *rest = state
        edges = self._edge(size, edge), self._edge(sealed, sealed_edge)
        return Tree(device, epoch, opening, *edges, *rest)

    def _edge(self, size: int, data: bytes) -> Edge:
        try:
            return Edge.from_bytes(size, data)
        except ValueError as error:
            raise _damaged(self._path, str(error)) from error

    def _rows(self, query: str, *values: object) -> list[Any]:
        with _translated(self._path):
            return self._connection().execute(query, values).fetchall()

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            raise StoreError("The outbox is closed.", "Open it again.", code="closed")
        return self._db

    def _transact(self, change: Callable[[sqlite3.Connection], Result]) -> Result:
        """Make a change whole and durable, or not at all."""
        try:
            return self._transact_once(change)
        except StoreError as error:
            if error.code != "disk_full":
                raise
        with contextlib.suppress(sqlite3.Error):  # the log may hold room that the table could use
            self._connection().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return self._transact_once(change)

    def _transact_once(self, change: Callable[[sqlite3.Connection], Result]) -> Result:
        db = self._connection()
        with _translated(self._path):
            try:
                db.execute("BEGIN IMMEDIATE")
                result = change(db)
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:  # SQLite has rolled back by itself when the disk was full
                    db.execute("ROLLBACK")
                raise
        return result


def check_whole(batch: Sealed) -> None:
    """Find damaged bytes here, where they can still be explained, and not at the collector.

    Raises:
        StoreError: the disk gave back other bytes than it was given (zlib's checksum).
    """
    try:
        inflate(batch.payload, MAX_PLAIN_BYTES)
    except EvidenceError as error:
        raise StoreError(
            f"Batch {batch.first_seq} of {batch.device}, epoch {batch.epoch}, is damaged on the"
            f" disk: {error.what}",
            "Copy the state folder before anything else, replace the disk, and enroll again.",
            code="damaged",
        ) from error


def _write(db: sqlite3.Connection, change: Change) -> None:
    tree = change.tree
    place = (tree.device, tree.epoch)
    db.execute(
        "INSERT INTO trees VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (device, epoch) DO UPDATE SET size = excluded.size, edge = excluded.edge,"
        " sealed = excluded.sealed, sealed_edge = excluded.sealed_edge, head = excluded.head,"
        " last_slot_us = excluded.last_slot_us, records = excluded.records,"
        " gap_slots = excluded.gap_slots, anchor = excluded.anchor",
        (
            *place, tree.opening, tree.edge.size, tree.edge.to_bytes(),
            tree.sealed.size, tree.sealed.to_bytes(), tree.head, tree.last_slot_us,
            tree.records, tree.gap_slots, tree.anchor,
        ),
    )  # fmt: skip
    if change.sealed:
        db.execute("DELETE FROM leaves WHERE device = ? AND epoch = ?", place)
    db.executemany(
        "INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?)",
        ((*place, b.first_seq, b.size, b.checkpoint, b.payload) for b in change.sealed),
    )
    db.executemany(
        "INSERT INTO leaves VALUES (?, ?, ?, ?)",
        ((*place, seq, leaf) for seq, leaf in enumerate(change.leaves, change.first_seq)),
    )


def _lock(path: Path) -> int:
    descriptor = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise StoreError(
            f"The outbox {path} is in use by another agent.",
            "Stop that one first: two agents with one key would fork the evidence.",
            code="in_use",
        ) from error
    return descriptor


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise _store_error(path, error) from error
    except OSError as error:
        code = "disk_full" if error.errno in {errno.ENOSPC, errno.EDQUOT} else "read_only"
        raise _known(path, code, str(error.strerror)) from error


def _store_error(path: Path, error: sqlite3.Error) -> StoreError:
    primary = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if primary == sqlite3.SQLITE_NOTADB:
        return _foreign(path)
    if primary == sqlite3.SQLITE_CORRUPT:
        return _damaged(path, str(error))
    codes = {
        sqlite3.SQLITE_FULL: "disk_full",
        sqlite3.SQLITE_READONLY: "read_only",
        sqlite3.SQLITE_CANTOPEN: "read_only",
        sqlite3.SQLITE_PERM: "read_only",
        sqlite3.SQLITE_BUSY: "in_use",
    }
    code = codes.get(primary, "io_error")
    if code in {"io_error", "read_only"} and _free_bytes(path) < _SMALL_BYTES:
        code = "disk_full"  # SQLite names a full disk otherwise where it grows its own files
    return _known(path, code, str(error))


_MEANING = {
    "disk_full": (
        "has no room left on its disk",
        "Free space on that disk: nothing that was kept is lost, and the agent goes on by itself.",
    ),
    "read_only": (
        "cannot be opened for writing",
        "Check that its folder exists, is not mounted read-only and belongs to the agent.",
    ),
    "in_use": (
        "is in use by another program",
        "Stop that program; only one agent may have it.",
    ),
    "io_error": (
        "could not be written or read",
        "Look into the system log for errors of the disk; then start the agent again.",
    ),
}


def _known(path: Path, code: str, why: str) -> StoreError:
    what, do = _MEANING[code]
    return StoreError(f"The outbox {path} {what} ({why}).", do, code=code)


def _foreign(path: Path) -> StoreError:
    return StoreError(
        f"{path} is not an outbox of Joulemark.",
        "Name another 'state_dir', or move that file away; it was not touched.",
        code="foreign",
    )


def _damaged(path: Path, why: str) -> StoreError:
    return StoreError(
        f"The outbox {path} is damaged ({why[:200]}).",
        "Copy the state folder before anything else, move it away, and enroll again: a new epoch"
        " begins, and the collector still has what it confirmed.",
        code="damaged",
    )


def _free_bytes(path: Path) -> int:
    try:
        status = os.statvfs(path.parent)
    except OSError:
        return _SMALL_BYTES
    return status.f_bavail * status.f_frsize
