"""A SQLite file that holds what must not be lost: WAL with synchronous=FULL.

Failures become StoreErrors that say what to do: `disk_full`, `store_io`, `store_busy`,
`store_damaged`, `store_foreign`.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from joulemark_agent.contract.errors import StoreError
from joulemark_agent.files import PRIVATE
from joulemark_gateway.evidence.engine import Engine


def require_there(path: Path) -> None:
    """Refuse to go on without a file that a collector has made.

    Raises:
        StoreError: there is none.
    """
    if not path.exists():
        raise StoreError(
            f"There is no evidence store at {path}.",
            "Start the collector once, or name the state_dir it uses.",
            code="store_missing",
        )


class SqliteFile(Engine):
    """One file; one connection, used by one thread at a time."""

    if_lost = "keep the file, and restore the last copy"
    locked = ""  # a transaction that writes is the only one
    leaf_time = "CAST(json_extract(CAST(leaf AS TEXT), '$.t_utc_us') AS INTEGER)"

    def __init__(self, path: Path) -> None:
        """Connect; folder and file are made where there are none, the file for nobody else.

        Raises:
            StoreError: it cannot be used.
        """
        self._path = path
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():  # what SQLite makes beside it has the same mode
                os.close(os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE))
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._rows("PRAGMA busy_timeout = 10000")
        except BaseException:
            self._db.close()
            raise

    @property
    def where(self) -> str:
        """The file."""
        return str(self._path)

    def close(self) -> None:
        """Release the file."""
        self._db.close()

    def copy_to(self, path: Path) -> None:
        """Copy the file as it is at one instant, for nobody else; others may write to it meanwhile.

        Args:
            path: where no file is.

        Raises:
            StoreError: one of the two cannot be used.
        """
        with self._errors():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, PRIVATE))
            with closing(sqlite3.connect(path)) as copy:
                self._db.backup(copy)  # all of it in one step, under one reading lock

    def _make_durable(self) -> None:
        """What is committed is on the disk before the commit returns.

        Raises:
            StoreError: the disk cannot keep a write-ahead log.
        """
        [(mode,)] = self._rows("PRAGMA journal_mode = WAL")
        self._rows("PRAGMA synchronous = FULL")
        [(synchronous,)] = self._rows("PRAGMA synchronous")
        if (mode, synchronous) != ("wal", 2):
            raise StoreError(
                f"{self._path} cannot keep a write-ahead log (journal mode {mode!r}).",
                "Put state_dir on a local disk; network file systems lose evidence.",
                code="store_io",
            )

    def _open_as(
        self,
        application: int,
        version: int,
        schema: str,
        upgrades: Mapping[int, Callable[[sqlite3.Connection], None]] = MappingProxyType({}),
    ) -> None:
        """Make the tables where the file is new, or what they lack where it is older.

        Args:
            application: the number that tells our files of this kind.
            version: of the schema.
            schema: the statements that make the tables.
            upgrades: what makes this version of an older one.

        Raises:
            StoreError: `store_foreign`: it is a file of another kind or version.
        """
        with self._transaction() as db:
            if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                for statement in statements(schema):  # a script would end the transaction
                    db.execute(statement)
                db.execute(f"PRAGMA application_id = {application}")
                db.execute(f"PRAGMA user_version = {version}")
            found = _form(db)
            if found[0] == application and found[1] in upgrades:
                upgrades[found[1]](db)
                db.execute(f"PRAGMA user_version = {version}")
                found = _form(db)
        if found != [application, version]:
            raise StoreError(
                f"{self._path} is not a {self.kind} of version {version}.",
                "Name another state_dir, or use the version of Joulemark that wrote it.",
                code="store_foreign",
            )

    def _rows(self, sql: str, *values: Any) -> list[Any]:
        with self._errors():
            return self._db.execute(sql, values).fetchall()

    def _alone(self, table: str) -> None:
        """Nobody else writes to the file anyway."""

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
            what = f"The {self.kind} {self._path}: {error}."
            raise StoreError(what, do, code=code) from error
        except OSError as error:
            raise StoreError(
                f"The {self.kind} {self._path}: {error.strerror}.",
                "Check the folder and who may write to it.",
                code="store_io",
            ) from error


def statements(script: str) -> Iterator[str]:
    """The statements of a script one by one."""
    part = ""
    for line in script.splitlines():
        part += line + "\n"
        if sqlite3.complete_statement(part):
            yield part
            part = ""


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


def _form(db: sqlite3.Connection) -> list[int]:
    """Which kind of file of ours it is, and which version of it."""
    names = ("application_id", "user_version")
    return [db.execute(f"PRAGMA {name}").fetchone()[0] for name in names]


def _told(error: sqlite3.Error) -> tuple[str, str]:
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return _TOLD.get(primary, ("store_io", "See the text above; the evidence held is unchanged."))
