"""Moves old batches of an evidence store into blocks, beside the collector that writes it.

A block is packed outside of any transaction and compared with what it was made of; then one
transaction puts it in and takes the bytes out of the rows of its batches. Whoever reads meanwhile
sees either form. The room that becomes free is used by the next batches.
"""

from __future__ import annotations

import logging
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from joulemark_agent.contract.batch import inflate
from joulemark_agent.contract.errors import StoreError
from joulemark_gateway.alive import QUIET, Beat
from joulemark_gateway.evidence.blocks import (
    LOST,
    MARK,
    MARK_BYTES,
    PLAIN_BYTES,
    Content,
    Outside,
    packed,
)
from joulemark_gateway.evidence.engine import Engine
from joulemark_gateway.evidence.sqlite import SqliteFile, require_there
from joulemark_gateway.turning import TurningThread

AGE_US = 3600 * 1_000_000  # younger batches are left alone: they are the ones that are read
_LEAST = 8  # batches that are worth a block where no more can come to it
_TURN_S = 300.0
_SHARE = 0.2  # of a core, at most
_LOOKED_FOR = 8  # objects, before the place is taken for another: one of them may be lost
_BLOB_LIMIT = 64 * 1024 * 1024
_WITHHELD = b'{"withheld":'  # a line that may still be filled

log = logging.getLogger(__name__)


class Moved(NamedTuple):
    """One block that was made."""

    origin: str
    batches: int
    leaves: int
    packed_bytes: int


class CompactorTables(Engine):
    """A connection of its own to an evidence store; one thread uses it."""

    kind = "evidence store"
    _outside: Outside | None = None  # where blocks go; None: into the ledger

    @abstractmethod
    def bytes_used(self) -> int:
        """What is held, without what is free in it."""

    def may_begin(self) -> bool:
        """Whether no other collector compacts this store; true until this one is closed."""
        return True

    def moves(self, before_us: int, *, all_of_it: bool = False) -> Iterator[Moved]:
        """Make block after block of what is old enough, each durable when it is given.

        Args:
            before_us: only batches that were received before this. [us UTC]
            all_of_it: also of batches that do not yet fill a block.

        Raises:
            StoreError: the file, or what is outside of it, cannot be read or written.
            EvidenceError: `bad_block`, or `bad_batch` where a batch is damaged.
        """
        self._find_outside()
        trees = self._rows("SELECT id, origin FROM tree ORDER BY id")
        for tree, origin in trees:
            for run in self._runs(tree, before_us, all_of_it=all_of_it):
                yield self._move(tree, origin, run)

    def _find_outside(self) -> None:
        """See that an object of before is there: an empty place may be a disk that is not mounted.

        Raises:
            StoreError: one of OUTSIDE: none is, of those that were looked for.
        """
        if self._outside is None:
            return
        sql = (
            "SELECT leaves FROM block WHERE length(leaves) = ? ORDER BY tree DESC, first_seq DESC "
            f"LIMIT {_LOOKED_FOR}"
        )
        rows = self._rows(sql, MARK_BYTES)
        marks = [mark for (mark,) in rows if mark.startswith(MARK)]
        for left, mark in enumerate(marks, 1 - len(marks)):
            try:
                self._outside.get(mark)
            except StoreError as error:
                if error.code != LOST or left == 0:
                    raise
            else:
                return

    def _runs(self, tree: int, before_us: int, *, all_of_it: bool) -> Iterator[list[Content]]:
        """Consecutive batches that make a block.

        What parts them: leaves that are not here, and a batch that is not old enough between others
        that are, because the clock was ahead when it came.
        """
        [(done,)] = self._rows("SELECT max(size) FROM block WHERE tree = ?", tree)
        sql = (
            "SELECT first_seq, leaves, note FROM batch WHERE tree = ? AND first_seq >= ? AND "
            "received_us < ? AND length(leaves) > 0 ORDER BY first_seq LIMIT 256"
        )
        least = 2 if all_of_it else _LEAST
        run: list[Content] = []
        next_seq, size = done or 0, 0
        while rows := self._rows(sql, tree, next_seq, before_us):
            for first_seq, blob, note in rows:
                next_seq = first_seq + 1
                lines = inflate(blob, _BLOB_LIMIT)
                is_whole = _WITHHELD not in lines
                if run and not (is_whole and first_seq == run[-1].after_seq):
                    if len(run) >= least:
                        yield run
                    run, size = [], 0
                if not is_whole:
                    continue
                run.append(Content(first_seq, lines, note))
                size += len(lines)
                if size >= PLAIN_BYTES:
                    yield run
                    run, size = [], 0
        if all_of_it and len(run) > 1:
            yield run

    def _move(self, tree: int, origin: str, run: list[Content]) -> Moved:
        leaves, notes = packed(run)
        if self._outside is not None:  # before a row refers to it
            leaves = self._outside.put(leaves)
        first_seq, after_seq = run[0].first_seq, run[-1].after_seq
        with self._transaction() as db:
            place = (tree, first_seq, after_seq)
            db.execute("INSERT INTO block VALUES (?, ?, ?, ?, ?)", (*place, leaves, notes))
            those = "FROM batch WHERE tree = ? AND first_seq >= ? AND first_seq < ? "
            sql = f"SELECT first_seq, size, received_us, flags {those} AND length(leaves) > 0"
            rows = db.execute(f"{sql} ORDER BY first_seq", place).fetchall()
            if len(rows) != len(run):
                raise StoreError(
                    f"{len(run)} batches of {origin} were packed, and {len(rows)} are there.",
                    "Nothing was changed; let one program compact a store.",
                    code="store_busy",
                )
            db.execute(f"DELETE {those}", place)
            db.executemany(  # anew, together: emptied where they stand, they would keep their pages
                "INSERT INTO batch VALUES (?, ?, ?, ?, '', ?, ?)",
                [(tree, one, size, b"", *rest) for one, size, *rest in rows],
            )
        moved = Moved(origin, len(run), after_seq - first_seq, len(leaves) + len(notes))
        log.debug("batches_compacted", extra=moved._asdict())
        return moved


class Compactor(CompactorTables, SqliteFile):
    """The same for a store in a file."""

    def __init__(self, path: Path, outside: Outside | None = None) -> None:
        """Open a store that is there.

        Args:
            path: the file.
            outside: where blocks go; None: into the file.

        Raises:
            StoreError: there is none, or it cannot be used.
        """
        require_there(path)
        super().__init__(path)
        self._outside = outside
        try:
            self._make_durable()
        except BaseException:
            self.close()
            raise

    def bytes_used(self) -> int:
        """What the file holds, without what is free in it."""
        (pages,), (free,), (size,) = (
            self._rows(f"PRAGMA {name}")[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)


class CompactorThread(TurningThread):
    """Compacts from a thread of its own, with a share of a core, until it is stopped."""

    def __init__(
        self,
        open_compactor: Callable[[], CompactorTables],
        now_us: Callable[[], int],
        beat: Beat = QUIET,
    ) -> None:
        """Nothing runs yet.

        Args:
            open_compactor: of the evidence store.
            now_us: wall time, UTC. [us]
            beat: told of every block.
        """
        self._open, self._now_us, self._on_block = open_compactor, now_us, beat.on
        super().__init__("compaction", self._compact, every_s=_TURN_S, beat=beat, rests_first=True)

    def _compact(self, stop: threading.Event) -> None:
        with self._open() as compactor:
            if not compactor.may_begin():
                return
            begun_s = time.thread_time()
            for _ in compactor.moves(self._now_us() - AGE_US):
                self._on_block()
                took_s, begun_s = time.thread_time() - begun_s, time.thread_time()
                if stop.wait(took_s * (1 / _SHARE - 1)):
                    return
