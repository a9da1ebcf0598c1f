"""The full batches of committed mode, kept at the gateway after the collector has their covers.

Archive first, then delete: a batch leaves the outbox only after it is on disk here, and a batch
that is here already is not written twice, so a kill between the two loses nothing and doubles
nothing. What exceeds the quota goes, oldest first, after a signed leaf has said so.

| table | holds |
|---|---|
| batches | every batch with a receipt: its place, its slots, the wire bytes |
| requests | what was asked for: the signed request, where its answer stands, whether all was sent |
| state | whether the file is new, and no leaf has said yet what it therefore lacks |

Damage that shows while the agent runs is mended as at a start: the file is set aside, a new one
takes its place, and leaves say what that lacks.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from joulemark_agent.backlog import set_aside
from joulemark_agent.contract.batch import parse_batch
from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.errors import StoreError
from joulemark_agent.covers import BATCH, Tree
from joulemark_agent.outbox import Outbox, Sealed
from joulemark_agent.sqlite_file import SICK, SUFFIXES, Form, SqliteFile

log = logging.getLogger(__name__)

Result = TypeVar("Result")
FILE = "archive.db"
ALLOWED, DENIED, WAITING = "allowed", "denied", "waiting"  # what is to be answered
MB = 1_000_000
_SPARE = 20  # beyond the quota one part in so many goes at once, so that it is seldom said
_FORM = Form(
    "archive",
    0x4A4D4152,  # "JMAR"
    [
        """
CREATE TABLE batches (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    device TEXT NOT NULL, epoch INTEGER NOT NULL, first_seq INTEGER NOT NULL,
    size INTEGER NOT NULL, checkpoint TEXT NOT NULL, first_us INTEGER, last_us INTEGER,
    payload BLOB NOT NULL, UNIQUE (device, epoch, first_seq)
);
CREATE TABLE requests (
    id TEXT PRIMARY KEY, device TEXT NOT NULL, payload BLOB NOT NULL, state TEXT NOT NULL,
    arrived_us INTEGER NOT NULL, is_told INTEGER NOT NULL
);
CREATE TABLE state (is_new INTEGER NOT NULL);
INSERT INTO state VALUES (1);
""",
        "ALTER TABLE requests ADD COLUMN is_sent INTEGER NOT NULL DEFAULT 1;",
    ],
)
_BATCH = "SELECT device, epoch, first_seq, size, checkpoint, payload FROM batches"


@dataclass(frozen=True)
class Range:
    """Consecutive leaves of one tree whose batches are in the archive."""

    device: str
    epoch: int
    first_seq: int
    last_seq: int
    last_place: int  # of the batches; those with the same device and epoch up to it are meant


@dataclass(frozen=True)
class Asked:
    """A request that was found good, and what is to be answered."""

    id: str
    device: str
    payload: bytes
    state: str
    arrived_us: int


class Archive:
    """One file; any thread may use it, and commands of a person beside the agent."""

    def __init__(self, path: Path, quota_mb: int | None, *, is_ours: bool = True) -> None:
        """Open the file, made where there is none.

        Args:
            path: where it is.
            quota_mb: how much of the disk it may take; None: as much as there is.
            is_ours: whether a damaged one is set aside, never deleted, and a new one made; a
                command beside the agent leaves that to the agent.

        Raises:
            StoreError: foreign, read-only, or no space; or damaged, and not ours.
        """
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path, self._is_ours = path, is_ours
        self._quota_bytes = None if quota_mb is None else quota_mb * MB
        self._alone = threading.RLock()
        self._is_sick = False
        self._open_file = self._opened()

    @property
    def is_new(self) -> bool:
        """Whether no leaf has said yet what this file lacks, as it is not the first, or late."""
        return bool(self._rows("SELECT is_new FROM state")[0][0])

    def mend(self) -> None:
        """Open the file anew where it was found damaged or the disk failed.

        Raises:
            StoreError: it cannot be opened; call it again.
        """
        with self._alone:
            if self._is_sick:
                self._open_file.close()
                self._open_file = self._opened()
                self._is_sick = False

    def lack_told(self) -> None:
        """Leaves have said it."""
        self._transact(lambda db: db.execute("UPDATE state SET is_new = 0"))

    def close(self) -> None:
        """Give the file back."""
        self._open_file.close()

    def keep(self, batches: Sequence[Sealed]) -> None:
        """Have the batches on disk when this returns; what is here already stays as it is.

        Raises:
            StoreError: none of them was kept.
        """
        rows = [
            (b.device, b.epoch, b.first_seq, b.size, b.checkpoint, *_slots(b.payload), b.payload)
            for b in batches
        ]
        sql = (
            "INSERT OR IGNORE INTO batches (device, epoch, first_seq, size, checkpoint, first_us,"
            " last_us, payload) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        )
        self._transact(lambda db: db.executemany(sql, rows))

    def count(self, device: str, epoch: int, first_seq: int, last_seq: int) -> int:
        """How many batches hold any of these leaves."""
        rows = self._rows(
            "SELECT count(*) FROM batches WHERE device = ? AND epoch = ? AND size > ?"
            " AND first_seq <= ?",
            device, epoch, first_seq, last_seq,
        )  # fmt: skip
        return int(rows[0][0])

    def covering(self, device: str, epoch: int, first_seq: int, last_seq: int) -> Iterator[Sealed]:
        """The batches that hold any of these leaves, in order; each is read when it is wanted."""
        while first_seq <= last_seq:
            rows = self._rows(
                f"{_BATCH} WHERE device = ? AND epoch = ? AND size > ? AND first_seq <= ?"
                " ORDER BY first_seq LIMIT 1",
                device, epoch, first_seq, last_seq,
            )  # fmt: skip
            if not rows:
                return
            batch = Sealed(*rows[0])
            yield batch
            first_seq = batch.size

    def between(self, device: str, from_us: int, to_us: int) -> Iterator[Sealed]:
        """The batches of a device with slots in [from, to), epochs in order. [us UTC]"""
        places = self._rows(
            "SELECT place FROM batches WHERE device = ? AND last_us >= ? AND first_us < ?"
            " ORDER BY epoch, first_seq",
            device, from_us, to_us,
        )  # fmt: skip
        for (place,) in places:
            yield from (Sealed(*row) for row in self._rows(f"{_BATCH} WHERE place = ?", place))

    def held(self) -> list[dict[str, Any]]:
        """What there is of each tree: leaves, slots, batches and bytes."""
        names = ("device", "epoch", "first_seq", "last_seq", "first_us", "last_us", "batches")
        rows = self._rows(
            "SELECT device, epoch, min(first_seq), max(size) - 1, min(first_us), max(last_us),"
            " count(*) FROM batches GROUP BY device, epoch ORDER BY device, epoch"
        )
        return [dict(zip(names, row, strict=True)) for row in rows]

    def surplus(self) -> list[Range]:
        """What must go for the quota to be kept, the oldest batches first; nothing is deleted yet.

        Consecutive batches of a tree are one range.
        """
        if self._quota_bytes is None or (used := self._bytes_used()) <= self._quota_bytes:
            return []
        [(length,)] = self._rows("SELECT sum(length(payload)) FROM batches")
        excess = used - self._quota_bytes + self._quota_bytes // _SPARE
        wanted = excess * int(length or 0) // used  # a batch takes more room than its bytes
        found: dict[tuple[str, int], Range] = {}
        place = 0
        while wanted > 0:
            rows = self._rows(
                "SELECT place, device, epoch, first_seq, size, length(payload) FROM batches"
                " WHERE place > ? ORDER BY place LIMIT 1",
                place,
            )
            if not rows:
                break
            place, device, epoch, first_seq, size, length = rows[0]
            known = found.get((device, epoch))
            first = first_seq if known is None else known.first_seq
            found[device, epoch] = Range(device, epoch, first, size - 1, place)
            wanted -= length
        return list(found.values())

    def trim(self, ranges: Sequence[Range]) -> None:
        """Delete what `surplus` named.

        Raises:
            StoreError: nothing was deleted.
        """
        sql = "DELETE FROM batches WHERE device = ? AND epoch = ? AND place <= ?"
        rows = [(one.device, one.epoch, one.last_place) for one in ranges]
        self._transact(lambda db: db.executemany(sql, rows))

    def ask(self, asked: Asked) -> bool:
        """Keep a request; False where it is known already, whatever became of it."""
        row = (asked.id, asked.device, asked.payload, asked.state, asked.arrived_us)
        sql = "INSERT OR IGNORE INTO requests VALUES (?, ?, ?, ?, ?, 0, 0)"
        return self._transact(lambda db: db.execute(sql, row).rowcount) == 1

    def requests(self, *, untold: bool = False) -> list[Asked]:
        """The requests in the order of arrival; `untold`: whose state no leaf has said yet."""
        return self._asked("is_told = 0" if untold else "1")

    def unsent(self) -> list[Asked]:
        """The requests that a leaf allows, and of which not everything has been sent."""
        return self._asked(f"is_told = 1 AND is_sent = 0 AND state = '{ALLOWED}'")

    def sent(self, asked: Asked) -> None:
        """All that a request allows has been sent."""
        sql = "UPDATE requests SET is_sent = 1 WHERE id = ?"
        self._transact(lambda db: db.execute(sql, (asked.id,)))

    def decide(self, request_id: str, state: str) -> bool:
        """Answer a request that waits for a person; False where none such waits."""
        sql = "UPDATE requests SET state = ?, is_told = 0 WHERE id = ? AND state = ?"
        row = (state, request_id, WAITING)
        return self._transact(lambda db: db.execute(sql, row).rowcount) == 1

    def told(self, asked: Asked) -> None:
        """A leaf has said what becomes of a request."""
        sql = "UPDATE requests SET is_told = 1 WHERE id = ? AND state = ?"
        self._transact(lambda db: db.execute(sql, (asked.id, asked.state)))

    def _bytes_used(self) -> int:
        """How much of the disk the batches need, the log beside the file left out."""
        pages, free, page_bytes = (
            int(self._rows(f"PRAGMA {name}")[0][0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * page_bytes

    def _asked(self, only: str) -> list[Asked]:
        rows = self._rows(
            "SELECT id, device, payload, state, arrived_us FROM requests"
            f" WHERE {only} ORDER BY arrived_us, id"
        )
        return [Asked(*row) for row in rows]

    def _opened(self) -> SqliteFile:
        try:
            return SqliteFile(self._path, _FORM)
        except StoreError as error:
            if error.code != "damaged" or not self._is_ours:
                raise
            files = [Path(f"{self._path}{suffix}") for suffix in SUFFIXES]
            set_aside(self._path.parent, [file for file in files if file.exists()], error.what)
            fields = {"what": error.what, "do": error.do}
            log.error("archive_set_aside", extra=fields)  # noqa: TRY400 - said in full
            return SqliteFile(self._path, _FORM)

    def _rows(self, query: str, *values: object) -> list[Any]:
        with self._file() as file:
            return file.rows(query, *values)

    def _transact(self, change: Callable[[sqlite3.Connection], Result]) -> Result:
        with self._file() as file:
            return file.transact(change)

    @contextmanager
    def _file(self) -> Iterator[SqliteFile]:
        """The open file; what it cannot do makes it one to be opened anew."""
        with self._alone:
            try:
                yield self._open_file
            except StoreError as error:
                self._is_sick = self._is_sick or error.code in SICK
                raise


class ArchivedOutbox(Outbox):
    """An outbox whose withheld batches are in an archive before a receipt deletes them."""

    def __init__(
        self, path: Path, archive: Archive, is_committed: Callable[[Tree], bool] = lambda _: True
    ) -> None:
        """Open the outbox; errors as there.

        Args:
            path: of the outbox.
            archive: where batches go.
            is_committed: whether the raw records of a tree stay at the gateway.
        """
        super().__init__(path)
        self._archive, self._is_committed = archive, is_committed
        self._modes: dict[tuple[str, int], bool] = {}

    def withholds(self, device: str, epoch: int) -> bool:
        """Whether raw records of this tree stay here; while that cannot be told, they do."""
        if (device, epoch) not in self._modes:
            with suppress(StoreError):
                self._modes |= {tree.place: self._is_committed(tree) for tree in self.trees()}
        return self._modes.get((device, epoch), True)

    def receipts(self, sizes: Mapping[tuple[str, int], int]) -> dict[tuple[str, int], int]:
        """As of any outbox, but only after the archive has what is withheld.

        Raises:
            StoreError: nothing was deleted.
        """
        batches: list[Sealed] = []
        for place, size in sizes.items():
            seq = 0
            while self.withholds(*place):
                batch = self.next_batch(*place, seq)
                if batch is None or batch.size > size:
                    break
                batches.append(batch)
                seq = batch.size
        self._archive.keep([batch for batch in batches if batch.kind == BATCH])  # not covers
        return super().receipts(sizes)

    def received(self) -> list[tuple[str, int, int]]:
        """Device and epoch of every withheld tree, and up to which leaf the collector has it."""
        found = []
        for tree in self.trees():
            if self.withholds(*tree.place):
                waiting = self.next_batch(*tree.place, 0)
                size = tree.sealed.size if waiting is None else waiting.first_seq
                found.append((*tree.place, size))
        return found


def _slots(payload: bytes) -> tuple[int | None, int | None]:
    """First and last slot of a batch, as its envelope says. [us UTC]"""
    envelope = parse_canonical(parse_batch(payload).leaves[-1])
    first, last = (envelope.get(name) for name in ("first_slot", "last_slot"))
    return (None if first is None else int(first), None if last is None else int(last))
