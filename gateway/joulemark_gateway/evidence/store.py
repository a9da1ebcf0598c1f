"""The evidence store on SQLite: WAL with synchronous=FULL, one transaction an accepted batch.

The leaves of a batch are one zlib blob in an ordinary table (docs/decisions/0003): joined by line
breaks, which canonical JSON cannot contain; compressed bytes are never hashed. A note is committed
together with its leaves and published afterwards, so a batch sent again gets the same receipt.

StoreError codes: `disk_full`, `store_io`, `store_busy`, `store_damaged`, `store_foreign`,
`store_missing`, `head_moved`.
"""

from __future__ import annotations

import hashlib
import sqlite3
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from joulemark_agent.contract.batch import inflate
from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_agent.contract.errors import EvidenceError, StoreError
from joulemark_agent.contract.signature import parse_checkpoint, parse_note
from joulemark_agent.contract.topics import parse_origin
from joulemark_agent.contract.tree import Edge, append, root
from joulemark_gateway.evidence.base import (
    Accepted,
    Head,
    QuarantineCount,
    Quarantined,
    StoredBatch,
)

FILE = "evidence.sqlite"
QUARANTINE_BYTES = 64 * 1024 * 1024
QUARANTINE_MESSAGES = 10_000
_APPLICATION = 0x4A4C6576  # "JLev"
_VERSION = 1
_BLOB_LIMIT = 64 * 1024 * 1024
_SCHEMA = """
CREATE TABLE tree (
    id INTEGER PRIMARY KEY, origin TEXT NOT NULL UNIQUE, site TEXT NOT NULL, device TEXT NOT NULL,
    epoch INTEGER NOT NULL, content BLOB NOT NULL, operator_signature BLOB NOT NULL,
    size INTEGER NOT NULL, edge BLOB NOT NULL, note TEXT NOT NULL, received_us INTEGER NOT NULL,
    live_us INTEGER, next_slot_us INTEGER, UNIQUE (site, device, epoch));
CREATE TABLE batch (
    tree INTEGER NOT NULL REFERENCES tree, first_seq INTEGER NOT NULL, size INTEGER NOT NULL,
    leaves BLOB NOT NULL, note TEXT NOT NULL, received_us INTEGER NOT NULL, flags TEXT NOT NULL,
    UNIQUE (tree, first_seq));
CREATE TABLE document (digest TEXT PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE quarantine (
    agent TEXT NOT NULL, code TEXT NOT NULL, sha256 BLOB NOT NULL, topic TEXT NOT NULL,
    what TEXT NOT NULL, payload BLOB NOT NULL, first_us INTEGER NOT NULL, last_us INTEGER NOT NULL,
    times INTEGER NOT NULL, UNIQUE (agent, code, sha256));
CREATE TABLE quarantine_count (
    agent TEXT NOT NULL, code TEXT NOT NULL, messages INTEGER NOT NULL, last_us INTEGER NOT NULL,
    UNIQUE (agent, code));
"""
_TREE = (
    "SELECT origin, size, edge, content, operator_signature, note, received_us, live_us, "
    "next_slot_us FROM tree"
)


class SqliteStore:
    """One file; one connection, used by one thread at a time."""

    def __init__(
        self,
        path: Path,
        *,
        create: bool = True,
        quarantine_bytes: int = QUARANTINE_BYTES,
        quarantine_messages: int = QUARANTINE_MESSAGES,
    ) -> None:
        """Open the store; a writer makes it where there is none, and checks that it is whole.

        Args:
            path: the file.
            create: False: only read a store that is there, beside the collector that writes it.
            quarantine_bytes: how much is kept of the refused messages of one agent.
            quarantine_messages: and how many.

        Raises:
            StoreError: the file is missing, damaged, of another program, or cannot be used.
        """
        self._path = path
        self._quarantine = (quarantine_bytes, quarantine_messages)
        if not create and not path.exists():
            raise StoreError(
                f"There is no evidence store at {path}.",
                "Start the collector once, or name the state_dir it uses.",
                code="store_missing",
            )
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            with self._errors():
                self._prepare(create=create)
                if create:
                    self._check()
        except BaseException:
            self._db.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the file."""
        self._db.close()

    def head(self, origin: str) -> Head | None:
        """What is held of this tree."""
        rows = self._rows(f"{_TREE} WHERE origin = ?", origin)
        return self._head(rows[0]) if rows else None

    def heads(self) -> list[Head]:
        """What is held of every tree, by origin."""
        return [self._head(row) for row in self._rows(f"{_TREE} ORDER BY site, device, epoch")]

    def latest(self, site: str, device: str) -> Head | None:
        """The tree of the device's highest epoch."""
        sql = f"{_TREE} WHERE site = ? AND device = ? ORDER BY epoch DESC LIMIT 1"
        rows = self._rows(sql, site, device)
        return self._head(rows[0]) if rows else None

    def leaves(self, origin: str, start: int = 0, end: int | None = None) -> list[bytes]:
        """Leaves start .. end - 1 of a tree, as far as they are held."""
        end = 2**63 - 1 if end is None else end
        found: list[bytes] = []
        sql = (
            "SELECT b.first_seq, b.leaves FROM tree t JOIN batch b ON b.tree = t.id WHERE "
            "t.origin = ? AND b.first_seq < ? AND b.first_seq >= (SELECT max(first_seq) FROM batch "
            "WHERE tree = t.id AND first_seq <= ?) ORDER BY b.first_seq"
        )
        for first_seq, blob in self._rows(sql, origin, end, start):
            leaves = self._unpacked(blob)
            found += leaves[max(start - first_seq, 0) : max(end - first_seq, 0)]
        return found

    def batches(self, origin: str) -> list[StoredBatch]:
        """The accepted batches of a tree in order."""
        sql = (
            "SELECT first_seq, size, note, received_us, flags FROM batch WHERE tree = (SELECT id "
            "FROM tree WHERE origin = ?) ORDER BY first_seq"
        )
        return [
            StoredBatch(first_seq, size, note, received_us, tuple(flags.split()))
            for first_seq, size, note, received_us, flags in self._rows(sql, origin)
        ]

    def notes(self, origin: str) -> list[str]:
        """The cosigned checkpoints of a tree in order."""
        return [batch.note for batch in self.batches(origin)]

    def note_at(self, origin: str, size: int) -> str | None:
        """The cosigned checkpoint of the batch that ended at this size."""
        sql = (
            "SELECT size, note FROM batch WHERE tree = (SELECT id FROM tree WHERE origin = ?) "
            "AND first_seq < ? ORDER BY first_seq DESC LIMIT 1"
        )
        rows = self._rows(sql, origin, size)
        return str(rows[0][1]) if rows and rows[0][0] == size else None

    def documents(self) -> dict[str, bytes]:
        """Every approved document by digest."""
        return dict(self._rows("SELECT digest, data FROM document ORDER BY digest"))

    def accept(self, batch: Accepted, *, note: str, received_us: int) -> None:
        """Add the batch and its cosigned note durably, or nothing.

        Raises:
            StoreError: `head_moved` where the head is not the one the batch was judged by.
        """
        flags, blob = " ".join(batch.flags), zlib.compress(b"\n".join(batch.leaves), 6)
        head = (batch.after.size, batch.after.to_bytes(), note, received_us)
        due = (batch.live_us, batch.next_slot_us)
        with self._transaction() as db:
            tree = self._tree_to_extend(db, batch)
            if tree is None:
                content = canonical_bytes(dict(batch.grant))
                tree = db.execute(
                    "INSERT INTO tree VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        batch.origin,
                        *parse_origin(batch.origin),
                        content,
                        batch.operator_signature,
                        *head,
                        *due,
                    ),
                ).lastrowid
            else:
                db.execute(
                    "UPDATE tree SET size = ?, edge = ?, note = ?, received_us = ?, live_us = ?, "
                    "next_slot_us = ? WHERE id = ?",
                    (*head, *due, tree),
                )
            row = (tree, batch.before.size, batch.after.size, blob, note, received_us, flags)
            db.execute("INSERT INTO batch VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            documents = batch.documents.items()
            db.executemany("INSERT OR IGNORE INTO document VALUES (?, ?)", documents)

    def quarantine(self, item: Quarantined) -> None:
        """Keep a refused message durably, within the limits of its agent; counted in any case.

        What came first is kept, and forks have limits of their own: a flood, which anybody who
        reaches the broker can make, cannot push out the proof of a fork, which only the agent's key
        can make. The same message again is one entry, counted.
        """
        digest = hashlib.sha256(item.payload).digest()
        key = (item.agent, item.code)
        with self._transaction() as db:
            db.execute(
                "INSERT INTO quarantine_count VALUES (?, ?, 1, ?) ON CONFLICT (agent, code) DO "
                "UPDATE SET messages = messages + 1, last_us = excluded.last_us",
                (*key, item.time_us),
            )
            again = db.execute(
                "UPDATE quarantine SET times = times + 1, last_us = ? "
                "WHERE agent = ? AND code = ? AND sha256 = ?",
                (item.time_us, *key, digest),
            ).rowcount
            if again or not self._has_room(db, item):
                return
            row = (*key, digest, item.topic, item.what, item.payload, item.time_us, item.time_us, 1)
            db.execute("INSERT INTO quarantine VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    def quarantined(self) -> list[QuarantineCount]:
        """What was refused, by agent and reason."""
        sql = (
            "SELECT c.agent, c.code, c.messages, (SELECT count(*) FROM quarantine q WHERE "
            "q.agent = c.agent AND q.code = c.code), c.last_us FROM quarantine_count c "
            "ORDER BY c.agent, c.code"
        )
        return [QuarantineCount(*row) for row in self._rows(sql)]

    def scrub(self, origin: str) -> None:
        """Hash every leaf of a tree again; each batch must give the root of its checkpoint.

        Raises:
            StoreError: `store_damaged` with the first batch that does not.
        """
        edge = Edge()
        sql = (
            "SELECT first_seq, leaves, note FROM batch WHERE tree = (SELECT id FROM tree WHERE "
            "origin = ?) ORDER BY first_seq"
        )
        for first_seq, blob, note in self._rows(sql, origin):
            after = append(edge, self._unpacked(blob))
            try:
                head = parse_checkpoint(parse_note(note)[0])
            except EvidenceError as error:
                raise self._damaged(f"the note at leaf {first_seq}: {error.what}") from error
            if (head.origin, head.size, head.root) != (origin, after.size, root(after)):
                raise self._damaged(f"{origin}, leaves from {first_seq} on, do not give their root")
            edge = after
        held = self.head(origin)
        if held is None or held.edge != edge:
            raise self._damaged(f"the head of {origin} is not that of its leaves")

    def _prepare(self, *, create: bool) -> None:
        db = self._db
        db.execute("PRAGMA busy_timeout = 10000")
        application = db.execute("PRAGMA application_id").fetchone()[0]
        tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if application == 0 and tables == 0 and create:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.executescript(
                f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA application_id = {_APPLICATION}; "
                f"PRAGMA user_version = {_VERSION}; COMMIT;"
            )
            application = _APPLICATION
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if (application, version) != (_APPLICATION, _VERSION):
            raise StoreError(
                f"{self._path} is not an evidence store of version {_VERSION}.",
                "Name another state_dir, or use the version of Joulemark that wrote it.",
                code="store_foreign",
            )
        mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        db.execute("PRAGMA synchronous = FULL")
        if (mode, db.execute("PRAGMA synchronous").fetchone()[0]) != ("wal", 2):
            raise StoreError(
                f"{self._path} cannot keep a write-ahead log (journal mode {mode!r}).",
                "Put state_dir on a local disk; network file systems lose evidence.",
                code="store_io",
            )
        if not create:
            db.execute("PRAGMA query_only = 1")

    def _check(self) -> None:
        found = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise self._damaged(str(found))
        broken = self._db.execute(
            "SELECT origin FROM tree WHERE size IS NOT (SELECT max(size) FROM batch WHERE tree = "
            "id) OR size IS NOT (SELECT sum(size - first_seq) FROM batch WHERE tree = id) LIMIT 1"
        ).fetchone()
        if broken:
            raise self._damaged(f"the batches of {broken[0]} do not fill its tree")

    def _tree_to_extend(self, db: sqlite3.Connection, batch: Accepted) -> int | None:
        sql = "SELECT id, size, edge FROM tree WHERE origin = ?"
        row = db.execute(sql, (batch.origin,)).fetchone()
        held = Edge() if row is None else Edge.from_bytes(row[1], row[2])
        if held != batch.before:
            raise StoreError(
                f"{batch.origin} has {held.size} leaves now, not {batch.before.size}.",
                "Judge the batch again by the new head.",
                code="head_moved",
            )
        return None if row is None else int(row[0])

    def _has_room(self, db: sqlite3.Connection, item: Quarantined) -> bool:
        count, size = db.execute(
            "SELECT count(*), total(length(payload)) FROM quarantine WHERE agent = ? AND "
            "(code = 'fork') = ?",
            (item.agent, item.code == "fork"),
        ).fetchone()
        limit_bytes, limit_messages = self._quarantine
        return bool(count < limit_messages and size + len(item.payload) <= limit_bytes)

    def _unpacked(self, blob: bytes) -> list[bytes]:
        try:
            return inflate(blob, _BLOB_LIMIT).split(b"\n")
        except EvidenceError as error:
            raise self._damaged(error.what) from error

    def _head(self, row: Sequence[Any]) -> Head:
        origin, size, edge, content, operator_signature, note, *times_us = row
        try:
            parse_origin(origin)
            held, grant = Edge.from_bytes(size, edge), parse_canonical(content)
        except (EvidenceError, ValueError) as error:
            raise self._damaged(f"the head of {origin}: {error}") from error
        return Head(origin, held, grant, operator_signature, note, *times_us)

    def _rows(self, sql: str, *values: Any) -> list[Any]:
        with self._errors():
            return self._db.execute(sql, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit on leaving, or leave nothing behind."""
        with self._errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code, do = _told(error)
            raise StoreError(f"The evidence store {self._path}: {error}.", do, code=code) from error
        except OSError as error:
            raise StoreError(
                f"The evidence store {self._path}: {error.strerror}.",
                "Check the folder and who may write to it.",
                code="store_io",
            ) from error

    def _damaged(self, what: str) -> StoreError:
        return StoreError(
            f"The evidence store {self._path} is damaged: {what}.",
            "Stop the collector, keep the file, restore the last copy; agents send the rest again.",
            code="store_damaged",
        )


_TOLD: Mapping[int, tuple[str, str]] = {
    sqlite3.SQLITE_FULL: (
        "disk_full",
        "Free space on the disk; agents keep what is not receipted.",
    ),
    sqlite3.SQLITE_IOERR: ("store_io", "Check the disk; agents keep what is not receipted."),
    sqlite3.SQLITE_READONLY: ("store_io", "Let the collector's user write to the folder."),
    sqlite3.SQLITE_CANTOPEN: ("store_io", "Check the folder and who may write to it."),
    sqlite3.SQLITE_BUSY: ("store_busy", "Stop the other program that holds the file."),
    sqlite3.SQLITE_CORRUPT: ("store_damaged", "Stop, keep the file, and restore the last copy."),
    sqlite3.SQLITE_NOTADB: ("store_foreign", "Name another state_dir; this file is not a store."),
}


def _told(error: sqlite3.Error) -> tuple[str, str]:
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return _TOLD.get(primary, ("store_io", "See the text above; the evidence held is unchanged."))
