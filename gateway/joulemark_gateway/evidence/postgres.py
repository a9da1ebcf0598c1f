"""A database of a PostgreSQL server that holds what must not be lost.

What is committed is on the server's disk before the commit returns. A server that was told
otherwise (`fsync`, `full_page_writes` or `synchronous_commit` off) is refused with every connection
that writes. A connection that breaks, a server that restarts, a lock that is not had in time and a
transaction that the server gives up are StoreErrors: nothing was kept, or it is not known whether
it was, and the agent sends again.

The tables stand in a schema of their own, `joulemark`.

StoreError codes: `store_away`, `store_busy`, `disk_full`, `store_io`, `store_damaged`,
`store_missing`, `store_foreign`, `store_not_durable`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import errors

from joulemark_agent.contract.errors import ConfigError, StoreError
from joulemark_gateway.evidence.engine import Engine, Session

SCHEMA_NAME = "joulemark"
_CONNECT_S = 10
_LOCK_MS = 10_000  # as long as a SQLite file is waited for
_IDLE_MS = 60_000  # a collector that stands still in a transaction must not hold up the others
_DURABLE: Mapping[str, frozenset[str]] = {
    "fsync": frozenset({"on"}),
    "full_page_writes": frozenset({"on"}),
    "synchronous_commit": frozenset({"on", "remote_apply"}),
}


@dataclass(frozen=True)
class Server:
    """Where the database is, and who logs in."""

    url: str  # without a password
    password: str = field(default="", repr=False)  # "": none, or from the file that libpq reads

    @property
    def where(self) -> str:
        """The address for messages: nobody who logs in, and no password."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """A new connection; errors as libpq gives them.

        Raises:
            ConfigError: the address says what libpq does not know.
        """
        known: dict[str, Any] = {"password": self.password} if self.password else {}
        try:
            psycopg.conninfo.conninfo_to_dict(self.url)
        except psycopg.ProgrammingError as error:
            raise ConfigError(
                f"The address of the ledger, {self.where}, cannot be used: {str(error).strip()}.",
                "Correct 'ledger.url' in the collector's file.",
            ) from error
        return psycopg.connect(
            self.url,
            autocommit=True,
            connect_timeout=_CONNECT_S,
            application_name="joulemark",
            keepalives_idle=20,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=30_000,
            options=f"-c search_path={SCHEMA_NAME} -c lock_timeout={_LOCK_MS}"
            f" -c idle_in_transaction_session_timeout={_IDLE_MS} -c client_encoding=UTF8",
            **known,
        )


class _Session:
    """A connection that takes `?` for a value."""

    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        self._connection = connection

    def execute(self, sql: str, values: tuple[Any, ...] = ()) -> psycopg.Cursor[tuple[Any, ...]]:
        return self._connection.execute(_translated(sql), values)

    def executemany(self, sql: str, rows: Iterable[tuple[Any, ...]]) -> None:
        with self._connection.cursor() as cursor:
            cursor.executemany(_translated(sql), rows)


class PostgresDatabase(Engine):
    """One connection; used by one thread at a time."""

    if_lost = "keep the database, and restore the last copy"
    locked = " FOR NO KEY UPDATE"
    leaf_time = (  # a text of its json cannot hold NUL, which people may have written elsewhere
        "CAST(replace(convert_from(leaf, 'UTF8'), '\\u0000', '\\ufffd')::json ->> 't_utc_us' "
        "AS bigint)"
    )

    def __init__(self, server: Server) -> None:
        """Connect.

        Raises:
            StoreError: the server does not answer or refuses the login.
        """
        self._server = server
        with self._errors():
            self._db = server.connect()
        self._session = _Session(self._db)

    @property
    def where(self) -> str:
        """The address."""
        return self._server.where

    def close(self) -> None:
        """Release the connection."""
        self._db.close()

    def _require_durable(self) -> None:
        """See that the server keeps what it says it has committed.

        Raises:
            StoreError: `store_not_durable`; `store_foreign` where texts are not kept as UTF-8.
        """
        for name, wanted in _DURABLE.items():
            [(found,)] = self._rows("SELECT current_setting(?)", name)
            if found not in wanted:
                raise StoreError(
                    f"The server of {self.where} runs with {name} = {found}: it may lose what it"
                    " has confirmed, and agents delete what is confirmed.",
                    f"Set {name} = on in postgresql.conf, and for this user and database.",
                    code="store_not_durable",
                )
        [(encoding,)] = self._rows("SELECT current_setting('server_encoding')")
        if encoding != "UTF8":
            raise StoreError(
                f"The database {self.where} keeps texts as {encoding}, not as UTF8.",
                "Make the database anew with ENCODING 'UTF8'.",
                code="store_foreign",
            )

    def _make(self, schema: str) -> None:
        """Make the tables that are missing; several may try at once."""
        with self._transaction() as db:
            db.execute("SELECT pg_advisory_xact_lock(hashtext('joulemark schema'))")
            if not self._rows("SELECT 1 FROM pg_namespace WHERE nspname = ?", SCHEMA_NAME):
                db.execute(f"CREATE SCHEMA {SCHEMA_NAME}")
            for statement in schema.split(";"):
                if statement.strip():
                    db.execute(_as_ours(statement))

    def _has(self, table: str) -> bool:
        return bool(self._rows("SELECT to_regclass(?) IS NOT NULL", table)[0][0])

    def _rows(self, sql: str, *values: Any) -> list[Any]:
        with self._errors():
            return self._session.execute(sql, values).fetchall()

    def _alone(self, table: str) -> None:
        self._session.execute(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")

    @contextmanager
    def _transaction(self) -> Iterator[Session]:
        """Commit on leaving, or leave nothing behind."""
        with self._errors(), self._db.transaction():
            yield self._session

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """What the program itself did wrong stays what it is; all else says what to do."""
        try:
            yield
        except (psycopg.DataError, psycopg.NotSupportedError):
            raise
        except psycopg.Error as error:
            told = _told(error)
            if told is None:
                raise
            said = str(error).strip().partition("\n")[0]
            what = f"The {self.kind} {self.where}: {said or type(error).__name__}."
            raise StoreError(what, told[1], code=told[0]) from error


def _translated(sql: str) -> str:
    return sql.replace("?", "%s")


def _as_ours(statement: str) -> str:
    """A statement that makes a table, as this server understands it."""
    for theirs, ours in (
        ("id INTEGER PRIMARY KEY,", "id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"),
        ("INTEGER", "BIGINT"),
        ("BLOB", "BYTEA"),
        ("TEXT", 'TEXT COLLATE "C"'),  # one order everywhere: it stands in the log
        ("CREATE TABLE IF NOT EXISTS", "CREATE TABLE"),
        ("CREATE TABLE", "CREATE TABLE IF NOT EXISTS"),
    ):
        statement = statement.replace(theirs, ours)
    return statement


_TOLD: tuple[tuple[tuple[type[psycopg.Error], ...], tuple[str, str]], ...] = (
    (
        (errors.SerializationFailure, errors.DeadlockDetected, errors.LockNotAvailable),
        ("store_busy", "It is tried again; look for who holds the lock if it stays so."),
    ),
    (
        (errors.UniqueViolation,),
        ("store_busy", "Another collector was faster; it is tried again."),
    ),
    (
        (errors.DiskFull,),
        ("disk_full", "Free space at the server; agents keep what is not receipted."),
    ),
    (
        (errors.DataCorrupted, errors.IndexCorrupted),
        ("store_damaged", "Stop all collectors, keep the database, and restore the last copy."),
    ),
    (
        (errors.UndefinedTable, errors.InvalidSchemaName),
        ("store_missing", "Start the collector once, or name the database it uses."),
    ),
    (
        (errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction),
        ("store_io", "Let this user write to the database, on the server that takes writes."),
    ),
    (
        (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError),
        (
            "store_away",
            "Start the server, check address and login; agents keep what is not receipted.",
        ),
    ),
)


def _told(error: psycopg.Error) -> tuple[str, str] | None:
    return next((told for kinds, told in _TOLD if isinstance(error, kinds)), None)
