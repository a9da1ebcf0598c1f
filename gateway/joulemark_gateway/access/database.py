"""The file in which users, sessions, tokens and the security log are kept: SQLite in state_dir.

The collector and its commands use it at the same time. Of passwords, sessions and tokens only
hashes are kept.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.topics import is_id
from joulemark_gateway.access.chain import START, Event, digest_of_line
from joulemark_gateway.access.roles import Role
from joulemark_gateway.evidence.sqlite import SqliteFile, statements

FILE = "access.sqlite"
_APPLICATION = 0x4A4C6163  # "JLac"
_VERSION = 3
_EVENTS = """
CREATE TABLE event (
    id INTEGER PRIMARY KEY AUTOINCREMENT, t_us INTEGER NOT NULL, code TEXT NOT NULL,
    refused INTEGER NOT NULL, who TEXT NOT NULL, address TEXT NOT NULL, what TEXT NOT NULL,
    times INTEGER NOT NULL, before BLOB NOT NULL, digest BLOB NOT NULL);
CREATE INDEX event_refused ON event (refused, id);
CREATE TRIGGER event_stays BEFORE UPDATE ON event BEGIN
    SELECT raise(ABORT, 'the security log is only added to'); END;
CREATE TRIGGER event_is_kept BEFORE DELETE ON event WHEN NOT OLD.refused BEGIN
    SELECT raise(ABORT, 'the security log is only added to'); END;
"""
_SCHEMA = f"""
CREATE TABLE user (
    name TEXT PRIMARY KEY, role INTEGER NOT NULL, sites TEXT, password TEXT NOT NULL,
    made_us INTEGER NOT NULL);
CREATE TABLE session (
    digest BLOB PRIMARY KEY, user TEXT NOT NULL REFERENCES user ON DELETE CASCADE,
    made_us INTEGER NOT NULL, seen_us INTEGER NOT NULL);
CREATE TABLE token (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, role INTEGER NOT NULL, sites TEXT,
    digest BLOB NOT NULL, made_us INTEGER NOT NULL, expires_us INTEGER NOT NULL, seen_us INTEGER,
    revoked_us INTEGER, scopes TEXT);
{_EVENTS}"""


class Database(SqliteFile):
    """The file; any thread may call, one after the other."""

    kind = "file of users"

    def __init__(self, path: Path) -> None:
        """Open the file, made where there is none.

        Raises:
            StoreError: it cannot be used.
        """
        self._lock = threading.RLock()
        super().__init__(path)
        try:
            self._make_durable()
            self._open_as(_APPLICATION, _VERSION, _SCHEMA, {1: _from_first, 2: _scope_tokens})
            self._rows("PRAGMA foreign_keys = 1")
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


def append_event(db: sqlite3.Connection, id_: int | None, *values: Any) -> None:
    """Add a line of the security log to its chain.

    Args:
        db: in a transaction.
        id_: None: the next.
        values: those of `Event` after the id.
    """
    if id_ is None:
        last = "SELECT seq FROM sqlite_sequence WHERE name = 'event'"
        id_ = (db.execute(last).fetchone() or (0,))[0] + 1
    t_us, code, refused, *rest = values
    event = Event(id_, t_us, code, bool(refused), *rest)
    newest = "SELECT digest FROM event WHERE refused = ? ORDER BY id DESC LIMIT 1"
    (before,) = db.execute(newest, (event.refused,)).fetchone() or (START,)
    row = (id_, *values, before, digest_of_line(event, before))
    db.execute("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)


def _chain_events(db: sqlite3.Connection) -> None:
    """Chain the lines that were written before there was a chain."""
    rows = db.execute("SELECT * FROM event ORDER BY id").fetchall()
    db.execute("DROP TABLE event")
    for statement in statements(_EVENTS):
        db.execute(statement)
    for row in rows:
        append_event(db, *row)


def _from_first(db: sqlite3.Connection) -> None:
    _chain_events(db)
    _scope_tokens(db)


def _scope_tokens(db: sqlite3.Connection) -> None:
    """Tokens of before there were scopes have none: all that their role may."""
    db.execute("ALTER TABLE token ADD COLUMN scopes TEXT")


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
