"""How far a series on a server is written, in a small SQLite file beside the evidence store.

It is not on the server, because what the next rows need (`Carry`) are texts and whole numbers to
2^63, and a server of numbers keeps neither. It is written after the rows were acknowledged: what a
kill between the two leaves behind is written again, at the same times, under the same tags.

One process writes a series: the file is locked from the first use until it is closed or killed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from joulemark_agent.contract.errors import StoreError
from joulemark_gateway.series.base import HELD, Carry

FILE = "series.progress"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS server (name TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS tree (origin TEXT PRIMARY KEY, size INTEGER NOT NULL,
    carry TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS mark (origin TEXT PRIMARY KEY, size INTEGER NOT NULL,
    t_us INTEGER NOT NULL) STRICT;
"""


class Progress:
    """One file, for one server."""

    def __init__(self, path: Path, server: str) -> None:
        """Open and lock the file; what it says of another server is forgotten.

        Raises:
            StoreError: another process holds it (`series_held`), or it cannot be used.
        """
        self._path = path
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                path, timeout=0, isolation_level=None, check_same_thread=False
            )
        try:
            with self._errors():
                self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
                self._db.execute("PRAGMA synchronous = FULL")
                with self._transaction():
                    for statement in _SCHEMA.split(";"):
                        self._db.execute(statement)
                    known = self._db.execute("SELECT name FROM server").fetchall()
                    if known != [(server,)]:
                        self._forget_all()
                        self._db.execute("INSERT INTO server VALUES (?)", (server,))
        except BaseException:
            self._db.close()
            raise

    def trees(self) -> dict[str, tuple[int, Carry]]:
        """Up to which leaf each tree is written, and what the next rows need."""
        with self._errors():
            rows = self._db.execute("SELECT origin, size, carry FROM tree").fetchall()
        return {origin: (size, Carry.from_text(text)) for origin, size, text in rows}

    def origins(self) -> set[str]:
        """The trees that something is written of, by whatever version."""
        with self._errors():
            return {row[0] for row in self._db.execute("SELECT origin FROM tree").fetchall()}

    def marks(self) -> dict[str, tuple[int, int]]:
        """The last mark on the server of each tree: size and time. [us UTC]"""
        with self._errors():
            rows = self._db.execute("SELECT origin, size, t_us FROM mark").fetchall()
        return {origin: (size, t_us) for origin, size, t_us in rows}

    def keep(
        self,
        trees: Mapping[str, tuple[int, Carry]],
        marks: Mapping[str, tuple[int, int]],
    ) -> None:
        """Replace what is said of these trees, durably or not at all."""
        rows = [(origin, size, carry.to_text()) for origin, (size, carry) in trees.items()]
        with self._errors(), self._transaction():
            self._db.executemany("INSERT OR REPLACE INTO tree VALUES (?, ?, ?)", rows)
            self._db.executemany(
                "INSERT OR REPLACE INTO mark VALUES (?, ?, ?)",
                [(origin, *mark) for origin, mark in marks.items()],
            )

    def forget(self, origins: Iterable[str]) -> None:
        """These trees are to be written from their first leaf."""
        rows = [(origin,) for origin in origins]
        with self._errors(), self._transaction():
            self._db.executemany("DELETE FROM tree WHERE origin = ?", rows)
            self._db.executemany("DELETE FROM mark WHERE origin = ?", rows)

    def close(self) -> None:
        """Release the file."""
        self._db.close()

    def _forget_all(self) -> None:
        for table in ("server", "tree", "mark"):
            self._db.execute(f"DELETE FROM {table}")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN EXCLUSIVE")
        try:
            yield
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
            is_held = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
            raise StoreError(
                f"The progress of the series {self._path}: {error}.",
                "Stop the other program that writes the series."
                if is_held
                else "Check the disk; a damaged file may be deleted: the series is then written "
                "anew from the evidence.",
                code=HELD if is_held else "series",
            ) from error
        except OSError as error:
            raise StoreError(
                f"The progress of the series {self._path}: {error.strerror}.",
                "Check the folder and who may write to it.",
                code="series",
            ) from error
