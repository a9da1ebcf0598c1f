"""The file in which users, sessions, tokens and the security log are kept: SQLite in state_dir.

The collector and its commands use it at the same time. Of passwords, sessions and tokens only
hashes are kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from joulemark_agent.contract.errors import ConfigError, StoreError
from joulemark_agent.contract.topics import is_id
from joulemark_gateway.access.roles import Role
from joulemark_gateway.evidence.sqlite import SqliteFile

FILE = "access.sqlite"
_APPLICATION = 0x4A4C6163  # "JLac"
_VERSION = 1
_SCHEMA = """
CREATE TABLE user (
    name TEXT PRIMARY KEY, role INTEGER NOT NULL, sites TEXT, password TEXT NOT NULL,
    made_us INTEGER NOT NULL);
CREATE TABLE session (
    digest BLOB PRIMARY KEY, user TEXT NOT NULL REFERENCES user ON DELETE CASCADE,
    made_us INTEGER NOT NULL, seen_us INTEGER NOT NULL);
CREATE TABLE token (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, role INTEGER NOT NULL, sites TEXT,
    digest BLOB NOT NULL, made_us INTEGER NOT NULL, expires_us INTEGER NOT NULL, seen_us INTEGER,
    revoked_us INTEGER);
CREATE TABLE event (
    id INTEGER PRIMARY KEY AUTOINCREMENT, t_us INTEGER NOT NULL, code TEXT NOT NULL,
    refused INTEGER NOT NULL, who TEXT NOT NULL, address TEXT NOT NULL, what TEXT NOT NULL,
    times INTEGER NOT NULL);
CREATE INDEX event_refused ON event (refused, id);
CREATE TRIGGER event_stays BEFORE UPDATE ON event BEGIN
    SELECT raise(ABORT, 'the security log is only added to'); END;
CREATE TRIGGER event_is_kept BEFORE DELETE ON event WHEN NOT OLD.refused BEGIN
    SELECT raise(ABORT, 'the security log is only added to'); END;
"""


class Database(SqliteFile):
    """The file; any thread may call, one after the other."""

    kind = "file of users"

    def __init__(self, path: Path) -> None:
        """Open the file, made where there is none, readable by nobody else.

        Raises:
            StoreError: it cannot be used.
        """
        self._lock = threading.RLock()
        with suppress(OSError):  # told below, where it is opened
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        super().__init__(path)
        try:
            self._make_durable()
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            super().close()

    def rows(self, sql: str, *values: Any) -> list[Any]:
        """What the statement gives; it is committed."""
        with self._lock:
            return self._rows(sql, *values)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit on leaving, or leave nothing behind."""
        with self._lock, self._transaction() as db:
            yield db

    def _prepare(self) -> None:
        with self.transaction() as db:
            if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                for statement in _statements(_SCHEMA):
                    db.execute(statement)
                db.execute(f"PRAGMA application_id = {_APPLICATION}")
                db.execute(f"PRAGMA user_version = {_VERSION}")
            application = db.execute("PRAGMA application_id").fetchone()[0]
            version = db.execute("PRAGMA user_version").fetchone()[0]
        if (application, version) != (_APPLICATION, _VERSION):
            raise StoreError(
                f"{self._path} is not a file of users of version {_VERSION}.",
                "Name another state_dir, or use the version of Joulemark that wrote it.",
                code="store_foreign",
            )
        self._rows("PRAGMA foreign_keys = 1")


def sites_of(kept: str | None) -> frozenset[str] | None:
    """The sites as they were kept; None: all."""
    return None if kept is None else frozenset(json.loads(kept))


def checked(name: str, role: Role, sites: Iterable[str] | None) -> str | None:
    """The sites as they are kept, of a name and role that may have them.

    Raises:
        ConfigError: `bad_name`, `bad_role` or `bad_sites`.
    """
    given = None if sites is None else sorted(set(sites))
    if not is_id(name):
        what = f"The name {name!r:.80} is not accepted."
        raise ConfigError(what, "Use 1 to 64 of a-z, 0-9 and '-' inside.", code="bad_name")
    if role is Role.ANYBODY:
        raise ConfigError("Nobody can be given no role.", "Name one.", code="bad_role")
    if given is None:
        return None
    if role is Role.ADMIN:
        raise ConfigError(
            "An admin is one of all sites.", "Leave the sites out, or name another role.",
            code="bad_sites",
        )  # fmt: skip
    wrong = [site for site in given if not is_id(site)]
    if wrong or not given:
        what = f"The site {wrong[0]!r:.80} is no id." if wrong else "No site is named."
        raise ConfigError(what, "Name sites by their ids.", code="bad_sites")
    return json.dumps(given)


def digest_of(secret: str) -> bytes:
    """What is kept of 256 random bits: they cannot be guessed, so one hash is enough."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _statements(script: str) -> Iterator[str]:
    """The statements of a script one by one: `executescript` would end the transaction."""
    part = ""
    for line in script.splitlines():
        part += line + "\n"
        if sqlite3.complete_statement(part):
            yield part
            part = ""
