"""The tables of evidence and what is asked of them, in whatever database they stand.

The leaves of a batch are one zlib blob in an ordinary table (docs/decisions/0003): joined by line
breaks, which canonical JSON cannot contain; compressed bytes are never hashed. A note is committed
together with its leaves and published afterwards, so a batch sent again gets the same receipt. Old
batches stand side by side in blocks (`blocks`, `compactor`); their rows then hold neither.

One accepted batch is one transaction. It compares the head that it extends, and nobody else can
move that head until it ends: of two collectors with two batches for one place, one is told so.

StoreError codes: `store_damaged`, `head_moved`, `not_these`, and those of the database.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from joulemark_agent.contract.batch import inflate
from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_agent.contract.errors import EvidenceError, StoreError
from joulemark_agent.contract.rotation import Rotation
from joulemark_agent.contract.signature import parse_checkpoint, parse_note
from joulemark_agent.contract.sparse import (
    Part,
    Withheld,
    between,
    extended,
    is_same_tree,
    line_of,
    numbered,
    parse_line,
)
from joulemark_agent.contract.topics import parse_origin
from joulemark_agent.contract.tree import Edge, root
from joulemark_gateway.evidence import blocks
from joulemark_gateway.evidence.base import (
    Accepted,
    Head,
    QuarantineCount,
    Quarantined,
    StoredBatch,
)
from joulemark_gateway.evidence.engine import Engine, Session

QUARANTINE_BYTES = 64 * 1024 * 1024
QUARANTINE_MESSAGES = 10_000
_BLOB_LIMIT = 64 * 1024 * 1024
_LEVEL = 4  # of zlib: 40 % of the time of 6 and 13 % more bytes, until they stand in a block
SCHEMA = """
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
ADDED = f"""
CREATE TABLE rotation (
    tree INTEGER NOT NULL REFERENCES tree, seq INTEGER NOT NULL, old_key BLOB NOT NULL,
    new_key BLOB NOT NULL, UNIQUE (tree, seq));
{blocks.SCHEMA}
"""  # to version 1, by version 2
_TREE = (
    "SELECT origin, size, edge, content, operator_signature, note, received_us, live_us, "
    "next_slot_us FROM tree"
)


class EvidenceTables(Engine):
    """The tables on one connection, used by one thread at a time."""

    kind = "evidence store"
    _quarantine = (QUARANTINE_BYTES, QUARANTINE_MESSAGES)
    _blocks: blocks.Blocks

    def head(self, origin: str) -> Head | None:
        """What is held of this tree."""
        rows = self._rows(f"{_TREE} WHERE origin = ?", origin)
        return self._head(rows[0]) if rows else None

    def heads(self) -> list[Head]:
        """What is held of every tree, by origin."""
        return [self._head(row) for row in self._rows(f"{_TREE} ORDER BY site, device, epoch")]

    def sizes(self, origins: Collection[str]) -> dict[str, int]:
        """How many leaves are held of each of these trees; of what is not held nothing is said."""
        marks = ", ".join("?" * len(origins)) or "NULL"
        return dict(
            self._rows(f"SELECT origin, size FROM tree WHERE origin IN ({marks})", *origins)
        )

    def latest(self, site: str, device: str) -> Head | None:
        """The tree of the device's highest epoch."""
        sql = f"{_TREE} WHERE site = ? AND device = ? ORDER BY epoch DESC LIMIT 1"
        rows = self._rows(sql, site, device)
        return self._head(rows[0]) if rows else None

    def leaves(self, origin: str, start: int = 0, end: int | None = None) -> list[bytes]:
        """Leaves start .. end - 1 of a tree, as far as they are held.

        Raises:
            EvidenceError: `withheld` where some of them are known by their covers only.
        """
        found: list[bytes] = []
        for seq, part in numbered(self.parts(origin, start, end), start):
            if isinstance(part, Withheld):
                raise EvidenceError(
                    f"Leaves {seq} to {seq + part.count - 1} of {origin} are not here: they stay "
                    "at the gateway, or were lost.",
                    "Run 'joulemark evidence fetch' for them; what is here, `parts` gives.",
                    code="withheld",
                )
            found.append(part)
        return found

    def parts(self, origin: str, start: int = 0, end: int | None = None) -> list[Part]:
        """The same, with runs of leaves that stay away; a run that is cut has no cover."""
        end = 2**63 - 1 if end is None else end
        found: list[Part] = []
        sql = (
            "SELECT t.id, b.first_seq, b.leaves FROM tree t JOIN batch b ON b.tree = t.id WHERE "
            "t.origin = ? AND b.first_seq < ? AND b.first_seq >= (SELECT max(first_seq) FROM batch "
            "WHERE tree = t.id AND first_seq <= ?) ORDER BY b.first_seq"
        )
        for tree, first_seq, blob in self._rows(sql, origin, end, start):
            found += between(self._content(tree, first_seq, blob), first_seq, start, end)
        return found

    def fill(self, origin: str, first_seq: int, leaves: Sequence[bytes]) -> None:
        """Put the leaves of one batch in the place of its covers, durably.

        Raises:
            StoreError: `not_these` where they are other leaves, or none are missing there.
        """
        place = "tree = (SELECT id FROM tree WHERE origin = ?) AND first_seq = ?"
        with self._transaction() as db:
            sql = f"SELECT leaves FROM batch WHERE {place} AND length(leaves) > 0"
            row = db.execute(sql, (origin, first_seq)).fetchone()
            if row is None or not is_same_tree(leaves, self._unpacked(row[0]), first_seq):
                raise StoreError(
                    f"The batch at leaf {first_seq} of {origin} is not of these leaves.",
                    "Nothing was changed; look for who sent them.",
                    code="not_these",
                )
            blob = zlib.compress(b"\n".join(leaves), _LEVEL)
            db.execute(f"UPDATE batch SET leaves = ? WHERE {place}", (blob, origin, first_seq))

    def batches(self, origin: str) -> list[StoredBatch]:
        """The accepted batches of a tree in order."""
        sql = (
            "SELECT tree, first_seq, size, note, received_us, flags FROM batch WHERE tree = "
            "(SELECT id FROM tree WHERE origin = ?) ORDER BY first_seq"
        )
        rows = self._rows(sql, origin)
        moved = self._notes_in_blocks([tree for tree, _, _, note, *_ in rows if not note])
        return [
            StoredBatch(first_seq, size, note or next(moved), received_us, tuple(flags.split()))
            for _, first_seq, size, note, received_us, flags in rows
        ]

    def notes(self, origin: str) -> list[str]:
        """The cosigned checkpoints of a tree in order."""
        return [batch.note for batch in self.batches(origin)]

    def note_at(self, origin: str, size: int) -> str | None:
        """The cosigned checkpoint of the batch that ended at this size."""
        sql = (
            "SELECT tree, first_seq, note FROM batch WHERE tree = (SELECT id FROM tree WHERE "
            "origin = ?) AND first_seq < ? AND size = ? ORDER BY first_seq DESC LIMIT 1"
        )
        for tree, first_seq, note in self._rows(sql, origin, size, size):
            with self._as_damage():
                return str(note or self._blocks.note(tree, first_seq))
        return None

    def documents(self) -> dict[str, bytes]:
        """Every approved document by digest."""
        return dict(self._rows("SELECT digest, data FROM document ORDER BY digest"))

    def rotations(self) -> list[Rotation]:
        """Every change of key that was accepted in any tree."""
        return [Rotation(*row) for row in self._rows("SELECT seq, old_key, new_key FROM rotation")]

    def accept(self, batch: Accepted, *, note: str, received_us: int) -> None:
        """Add the batch and its cosigned note durably, or nothing.

        Raises:
            StoreError: `head_moved` where the head is not the one the batch was judged by.
        """
        flags, lines = " ".join(batch.flags), map(line_of, batch.leaves)
        blob = zlib.compress(b"\n".join(lines), _LEVEL)
        head = (batch.after.size, batch.after.to_bytes(), note, received_us)
        due = (batch.live_us, batch.next_slot_us)
        with self._transaction() as db:
            tree = self._tree_to_extend(db, batch)
            if tree is None:
                content = canonical_bytes(dict(batch.grant))
                place, signature = parse_origin(batch.origin), batch.operator_signature
                tree = db.execute(
                    "INSERT INTO tree (origin, site, device, epoch, content, operator_signature, "
                    "size, edge, note, received_us, live_us, next_slot_us) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
                    (batch.origin, *place, content, signature, *head, *due),
                ).fetchone()[0]
            else:
                db.execute(
                    "UPDATE tree SET size = ?, edge = ?, note = ?, received_us = ?, live_us = ?, "
                    "next_slot_us = ? WHERE id = ?",
                    (*head, *due, tree),
                )
            row = (tree, batch.before.size, batch.after.size, blob, note, received_us, flags)
            db.execute("INSERT INTO batch VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            for document in sorted(batch.documents.items()):
                db.execute("INSERT INTO document VALUES (?, ?) ON CONFLICT DO NOTHING", document)
            for r in batch.rotations:
                change = (tree, r.seq, r.old_key, r.new_key)
                db.execute("INSERT INTO rotation VALUES (?, ?, ?, ?)", change)

    def quarantine(self, item: Quarantined) -> None:
        """Keep a refused message durably, within the limits of its agent; counted in any case.

        What came first is kept, and forks have limits of their own: a flood, which anybody who
        reaches the broker can make, cannot push out the proof of a fork, which only the agent's key
        can make. The same message again is one entry, counted.
        """
        digest = hashlib.sha256(item.payload).digest()
        key = (item.agent, item.code)
        with self._transaction() as db:
            self._alone("quarantine_count")  # so that the limits hold for all collectors together
            db.execute(
                "INSERT INTO quarantine_count VALUES (?, ?, 1, ?) ON CONFLICT (agent, code) DO "
                "UPDATE SET messages = quarantine_count.messages + 1, last_us = excluded.last_us",
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
            "SELECT tree, first_seq, leaves FROM batch WHERE tree = (SELECT id FROM tree WHERE "
            "origin = ?) ORDER BY first_seq"
        )
        notes = [batch.note for batch in self.batches(origin)]
        for (tree, first_seq, blob), note in zip(self._rows(sql, origin), notes, strict=False):
            after = extended(edge, self._content(tree, first_seq, blob))
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

    def _check_sizes(self) -> None:
        """See that the batches of every tree fill it."""
        batches = "FROM batch WHERE tree = id"
        broken = self._rows(
            f"SELECT origin FROM tree WHERE size <> coalesce((SELECT max(size) {batches}), -1) OR "
            f"size <> (SELECT sum(size - first_seq) {batches}) LIMIT 1"
        )
        if broken:
            raise self._damaged(f"the batches of {broken[0][0]} do not fill its tree")

    def _tree_to_extend(self, db: Session, batch: Accepted) -> int | None:
        sql = f"SELECT id, size, edge FROM tree WHERE origin = ?{self.locked}"
        row = db.execute(sql, (batch.origin,)).fetchone()
        if row is None:  # what is not there cannot be locked: another may be about to make it
            self._alone("tree")
            row = db.execute(sql, (batch.origin,)).fetchone()
        held = Edge() if row is None else Edge.from_bytes(row[1], row[2])
        if held != batch.before:
            raise StoreError(
                f"{batch.origin} has {held.size} leaves now, not {batch.before.size}.",
                "Judge the batch again by the new head.",
                code="head_moved",
            )
        return None if row is None else int(row[0])

    def _has_room(self, db: Session, item: Quarantined) -> bool:
        count, size = db.execute(
            "SELECT count(*), coalesce(sum(length(payload)), 0) FROM quarantine "
            "WHERE agent = ? AND (code = 'fork') = ?",
            (item.agent, item.code == "fork"),
        ).fetchone()
        limit_bytes, limit_messages = self._quarantine
        return bool(count < limit_messages and size + len(item.payload) <= limit_bytes)

    def _content(self, tree: int, first_seq: int, blob: bytes) -> list[Part]:
        """The parts of a batch, wherever they stand."""
        if blob:
            return self._unpacked(blob)
        with self._as_damage():
            return list(self._blocks.lines(tree, first_seq).split(b"\n"))

    def _notes_in_blocks(self, trees: Sequence[int]) -> Iterator[str]:
        """The notes of the batches of one tree whose rows have none, in order."""
        with self._as_damage():
            notes = self._blocks.notes(trees[0]) if trees else []
        if len(notes) < len(trees):  # more: a block was made since the rows were read, after them
            raise self._damaged(f"{len(trees)} rows lack a note, and blocks hold {len(notes)}")
        return iter(notes)

    def _unpacked(self, blob: bytes) -> list[Part]:
        with self._as_damage():
            return [parse_line(line) for line in inflate(blob, _BLOB_LIMIT).split(b"\n")]

    @contextmanager
    def _as_damage(self) -> Iterator[None]:
        """What cannot be unpacked is damage of the store."""
        try:
            yield
        except EvidenceError as error:
            raise self._damaged(error.what) from error

    def _head(self, row: Sequence[Any]) -> Head:
        origin, size, edge, content, signature, note, received_us, live_us, slot_us = row
        try:
            parse_origin(origin)
            held, grant = Edge.from_bytes(size, edge), parse_canonical(content)
        except (EvidenceError, ValueError) as error:
            raise self._damaged(f"the head of {origin}: {error}") from error
        sql = (
            "SELECT seq, old_key, new_key FROM rotation WHERE tree = (SELECT id FROM tree WHERE "
            "origin = ?) ORDER BY seq"
        )
        rotations = tuple(Rotation(*found) for found in self._rows(sql, origin))
        return Head(origin, held, grant, signature, note, received_us, live_us, slot_us, rotations)

    def _damaged(self, what: str) -> StoreError:
        return StoreError(
            f"The {self.kind} {self.where} is damaged: {what}.",
            f"Stop the collector, {self.if_lost}; agents send the rest again.",
            code="store_damaged",
        )
