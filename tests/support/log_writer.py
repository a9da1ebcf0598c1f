"""A collector's log that a test breaks off at any moment, and what it signed before that."""

from __future__ import annotations

import os
import random
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest import mock

from joulemark_agent.contract.signature import Checkpoint, encode64, sign_checkpoint
from joulemark_agent.contract.tree import append, root
from joulemark_gateway.evidence.entries import Entry, entry_leaf, heads_entry, log_origin
from joulemark_gateway.evidence.log import CollectorLog
from joulemark_gateway.evidence.log_store import LogHead, LogStore
from joulemark_gateway.evidence.store import FILE, SqliteStore
from support.evidence import KEYS, SITE, WITNESS
from support.present import present

ORIGIN = log_origin(WITNESS)
Signed = list[tuple[int, str]]  # size and root of each head, in the order of signing


class Broken(BaseException):
    """The process ended here."""


class HastyStore(LogStore):
    """The mutant: it signs the head to be, and commits its leaves afterwards."""

    def append(
        self,
        origin: str,
        entries: Iterable[Entry],
        time_us: int,
        *,
        unless: Callable[[], None] = lambda: None,
    ) -> int:
        """As the true store, a signature too early."""
        entries, before = list(entries), self.edge()
        leaves = [entry_leaf(entry, i, time_us) for i, entry in enumerate(entries, before.size)]
        after = append(before, leaves)
        sign_checkpoint(KEYS.witness, Checkpoint(origin, after.size, root(after)))
        return super().append(origin, entries, time_us, unless=unless)


def close_log(path: Path, now_us: int) -> LogHead:
    """What the collector's own thread does every hour; its new head."""
    with SqliteStore(path, create=False) as store, LogStore(path) as book:
        log = CollectorLog(book, WITNESS, KEYS.witness)
        log.approve(store.heads(), [], now_us)
        log.take_heads(store.heads(), now_us)
        return present(log.close(now_us))


def new_file(folder: Path) -> Path:
    """The file of an evidence store that holds nothing."""
    path = folder / FILE
    SqliteStore(path).close()
    return path


def an_entry(draw: random.Random) -> Entry:
    """Something to log that is another thing every time."""
    head = Checkpoint(f"joulemark/{SITE}/meter/1", draw.randrange(1, 2**40), draw.randbytes(32))
    return heads_entry(SITE, [head])


@contextmanager
def watched(note: Callable[[int, str], None]) -> Iterator[None]:
    """Tell of every head before its signature exists."""
    sign = sign_checkpoint

    def signing(key: bytes, head: Checkpoint) -> str:
        note(head.size, encode64(head.root))
        return sign(key, head)

    with (
        mock.patch("joulemark_gateway.evidence.log.sign_checkpoint", signing),
        mock.patch("support.log_writer.sign_checkpoint", signing),
    ):
        yield


def forks(signed: Iterable[tuple[int, str]]) -> list[int]:
    """The sizes of which two different heads were signed."""
    roots = defaultdict(set)
    for size, found in signed:
        roots[size].add(found)
    return [size for size, found in roots.items() if len(found) > 1]


class Breaking:
    """A connection to SQLite that breaks at its n-th call, before or after it took effect."""

    def __init__(self, db: sqlite3.Connection, at: int, *, after: bool) -> None:
        self._db, self._left, self._after = db, at, after

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        """As the connection's own, until it breaks."""
        return self._called(self._db.execute, arguments)

    def executemany(self, *arguments: Any) -> sqlite3.Cursor:
        """As `execute`."""
        return self._called(self._db.executemany, arguments)

    def close(self) -> None:
        """Close; nothing is committed by it."""
        self._db.close()

    @property
    def in_transaction(self) -> bool:
        """Never, once it broke: nobody is there to roll back."""
        return self._left >= 0 and self._db.in_transaction

    def _called(self, call: Callable[..., sqlite3.Cursor], arguments: Any) -> sqlite3.Cursor:
        self._left -= 1
        if self._left < 0 and not self._after:
            raise Broken
        found = call(*arguments)
        if self._left < 0:
            raise Broken
        return found


def write(folder: Path, said: Connection) -> None:
    """Log and close for ever; every signature stands in a file before it is made."""
    _write(LogStore(folder / FILE), folder, said)


def write_hastily(folder: Path, said: Connection) -> None:
    """The same with the mutant."""
    _write(HastyStore(folder / FILE), folder, said)


def signed_in(folder: Path) -> Signed:
    """What the writers of a folder signed."""
    lines = (folder / "signed.txt").read_text().splitlines()
    return [(int(size), found) for size, _, found in (line.partition(" ") for line in lines)]


def _write(store: LogStore, folder: Path, said: Connection) -> None:
    file = os.open(folder / "signed.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    draw = random.Random(os.getpid())
    book = CollectorLog(store, WITNESS, KEYS.witness)
    with watched(lambda size, found: (os.write(file, f"{size} {found}\n".encode()), None)[1]):
        while True:
            store.append(ORIGIN, [an_entry(draw)], draw.randrange(2**40))
            head = book.close(0)
            assert head is not None
            said.send((head.size, head.note))
