"""A SQLite file that holds what must not be lost: WAL, synchronous=FULL, whole transactions.

Its failures are StoreErrors that say what to do. The code says what can help:

| code | what can help |
|---|---|
| disk_full | room; nothing was changed |
| read_only, in_use, foreign, newer | a person |
| io_error | opening the file anew: what a failed flush has left in memory is not trusted |
| damaged | setting the file aside and going on with what can be proved |
| closed | nothing: a mistake of the program |
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from joulemark_agent.contract.errors import StoreError

Result = TypeVar("Result")
SICK = frozenset({"io_error", "damaged"})  # then only opening the file anew can help
PASSING = SICK | {"disk_full", "read_only", "closed"}  # ends by itself, or by opening anew
SUFFIXES = ("", "-wal", "-shm")  # of the files that are one database
_LOG_PAGES = 256  # of the log before it is brought into the file: it takes 1 MB, not 4
_SMALL_BYTES = 256 * 1024  # less than this free on the disk: an I/O error is a full disk


@dataclass(frozen=True)
class Form:
    """What a file of one kind looks like."""

    name: str  # for messages
    application_id: int  # tells our file from any other SQLite database
    scripts: Sequence[str]  # what makes version 1, what makes 2 of it, and so on


class SqliteFile:
    """One file and its connection; whatever thread calls, one call at a time."""

    def __init__(self, path: Path, form: Form) -> None:
        """Open the file, made where there is none, bring it up to date and check it whole.

        Raises:
            StoreError: in use, foreign, damaged, read-only, or no space.
        """
        self.path, self._form = path, form
        self._alone = threading.RLock()
        self._db: sqlite3.Connection | None = None
        self._is_spent = False  # a change met an error of the disk: a second flush would say less
        try:
            with self._translated():
                # One thread at a time, see `_alone`: it need not always be the same one.
                self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
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

    def rows(self, query: str, *values: object) -> list[Any]:
        """All rows of a query."""
        with self._alone, self._translated():
            return self._connection().execute(query, values).fetchall()

    def transact(self, change: Callable[[sqlite3.Connection], Result]) -> Result:
        """Make a change whole and durable, or not at all.

        Raises:
            StoreError: nothing was changed, or (`io_error`) only opening anew can tell, and until
                then nothing more is changed.
        """
        with self._alone:
            if self._is_spent:
                why = "an error of the disk was met before"
                raise _known(f"The {self._form.name} {self.path}", "io_error", why)
            try:
                return self._transact_once(change)
            except StoreError as error:
                if error.code != "disk_full":
                    self._is_spent = _primary(error.__cause__) == sqlite3.SQLITE_IOERR
                    raise
            with contextlib.suppress(sqlite3.Error):  # the log may hold room for the tables
                self._connection().execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return self._transact_once(change)

    def check_kinds(self, kinds: Mapping[str, Mapping[str, str]]) -> None:
        """See whether every value is of a kind that is written: a torn page may be a whole one.

        Args:
            kinds: by table and column, the types of SQLite that its values have.

        Raises:
            StoreError: `damaged`: one is of another.
        """
        for table, columns in kinds.items():
            is_other = [
                f"typeof({name}) NOT IN ({', '.join(map(repr, types.split()))})"
                for name, types in columns.items()
            ]
            [(count,)] = self.rows(f"SELECT count(*) FROM {table} WHERE {' OR '.join(is_other)}")
            if count:
                raise self._damaged(f"{count} rows of the table {table} are none")

    def bytes_held(self) -> int:
        """How much of the disk the file and its log take, pages that are free for reuse included.

        Without `bytes_free` of them it is what is really in use.
        """
        found = 0
        for suffix in SUFFIXES[:2]:
            with contextlib.suppress(OSError):
                found += Path(f"{self.path}{suffix}").stat().st_size
        return found

    def bytes_free(self) -> int:
        """How much of the file may be used again without growing it."""
        [(pages,)] = self.rows("PRAGMA freelist_count")
        [(page_bytes,)] = self.rows("PRAGMA page_size")
        return int(pages * page_bytes)

    def _prepare(self, db: sqlite3.Connection) -> None:
        form = self._form
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if (application, tables) != (0, 0) and application != form.application_id:
            raise self._foreign()
        if version > len(form.scripts):
            raise StoreError(
                f"The {form.name} {self.path} has format {version}; this agent knows"
                f" {len(form.scripts)}.",
                "Run the newer agent that wrote it; it holds evidence that was not sent yet.",
                code="newer",
            )
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA cell_size_check = ON")
        db.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        verdict = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if verdict != "ok":
            raise self._damaged(str(verdict))
        if version < len(form.scripts):
            names = f"PRAGMA application_id = {form.application_id};"
            names += f"PRAGMA user_version = {len(form.scripts)};"
            new = "".join(form.scripts[version:])
            try:
                db.executescript(f"BEGIN IMMEDIATE; {names} {new} COMMIT;")
            except sqlite3.Error:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
        db.execute("BEGIN IMMEDIATE")  # says now, not at the first reading, that it is read-only
        db.execute(f"PRAGMA user_version = {len(form.scripts)}")
        db.execute("ROLLBACK")
        try:  # what a failed flush left in the log is written anew, to other places of the disk
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            if self._store_error(error).code != "disk_full":
                raise

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            raise StoreError(f"The {self._form.name} is closed.", "Open it again.", code="closed")
        return self._db

    def _transact_once(self, change: Callable[[sqlite3.Connection], Result]) -> Result:
        db = self._connection()
        with self._translated():
            try:
                db.execute("BEGIN IMMEDIATE")
                result = change(db)
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:  # SQLite has rolled back by itself when the disk was full
                    with contextlib.suppress(sqlite3.Error):
                        db.execute("ROLLBACK")
                raise
        return result

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._store_error(error) from error
        except OSError as error:
            raise store_error(f"The {self._form.name} {self.path}", error) from error

    def _store_error(self, error: sqlite3.Error) -> StoreError:
        primary = _primary(error)
        if primary == sqlite3.SQLITE_NOTADB:
            return self._foreign()
        if primary == sqlite3.SQLITE_CORRUPT:
            return self._damaged(str(error))
        code = _CODES.get(primary, "io_error")
        if code in {"io_error", "read_only"} and free_bytes(self.path.parent) < _SMALL_BYTES:
            code = "disk_full"  # SQLite names a full disk otherwise where it grows its own files
        return _known(f"The {self._form.name} {self.path}", code, str(error))

    def _foreign(self) -> StoreError:
        return StoreError(
            f"{self.path} is not an {self._form.name} of Joulemark.",
            "Name another 'state_dir', or move that file away; it was not touched.",
            code="foreign",
        )

    def _damaged(self, why: str) -> StoreError:
        return StoreError(
            f"The {self._form.name} {self.path} is damaged ({why[:200]}).",
            "It is set aside, never deleted; the agent goes on with what it can prove. Copy the"
            " state folder and look into the system log for errors of the disk.",
            code="damaged",
        )


def _primary(error: BaseException | None) -> int:
    """What SQLite says of an error, the details left out."""
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)) & 0xFF


def store_error(what: str, error: OSError) -> StoreError:
    """What a failed call of the system means for a store, which `what` names."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return _known(what, "disk_full", str(error.strerror))
    is_io = error.errno == errno.EIO
    return _known(what, "io_error" if is_io else "read_only", str(error.strerror))


def free_bytes(folder: Path) -> int:
    """How much the agent may still write to the folder's disk."""
    try:
        status = os.statvfs(folder)
    except OSError:
        return _SMALL_BYTES
    return status.f_bavail * status.f_frsize


_CODES = {
    sqlite3.SQLITE_FULL: "disk_full",
    sqlite3.SQLITE_READONLY: "read_only",
    sqlite3.SQLITE_CANTOPEN: "read_only",
    sqlite3.SQLITE_PERM: "read_only",
    sqlite3.SQLITE_BUSY: "in_use",
}
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
        "Look into the system log for errors of the disk. It is opened anew, checked and used.",
    ),
}


def _known(what: str, code: str, why: str) -> StoreError:
    meaning, do = _MEANING[code]
    return StoreError(f"{what} {meaning} ({why}).", do, code=code)
