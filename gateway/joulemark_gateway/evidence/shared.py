"""The ledger in PostgreSQL, which several collectors share: the tables of a file, on a server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from joulemark_agent.contract.errors import StoreError
from joulemark_agent.contract.signature import fingerprint
from joulemark_gateway.evidence.blocks import Blocks, Outside
from joulemark_gateway.evidence.compactor import CompactorTables
from joulemark_gateway.evidence.log_store import SCHEMA as LOG_SCHEMA
from joulemark_gateway.evidence.log_store import LogTables
from joulemark_gateway.evidence.postgres import PostgresDatabase, Server
from joulemark_gateway.evidence.tables import (
    ADDED,
    QUARANTINE_BYTES,
    QUARANTINE_MESSAGES,
    SCHEMA,
    EvidenceTables,
)

_VERSION = 1
_OURS = """
CREATE TABLE ledger (
    one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL, name TEXT,
    witness_key BLOB, registry BLOB NOT NULL);
INSERT INTO ledger VALUES (1, 1, NULL, NULL, '') ON CONFLICT DO NOTHING;
ALTER TABLE batch ALTER COLUMN leaves SET STORAGE EXTERNAL;
ALTER TABLE block ALTER COLUMN leaves SET STORAGE EXTERNAL
"""  # what is packed already is not packed again


class _Connection(PostgresDatabase):
    """A connection to a ledger of ours."""

    def __init__(self, server: Server, *, write: bool, create: bool = False) -> None:
        """Connect.

        Args:
            server: where.
            write: False: nothing can be changed over it.
            create: make the tables where there are none.

        Raises:
            StoreError: it cannot be used, or is no ledger of this version.
        """
        super().__init__(server)
        try:
            if write:
                self._require_durable()
            if create and not self._has("ledger"):
                self._make(f"{SCHEMA} {ADDED} {LOG_SCHEMA} {_OURS}")
            self._check_version()
            if not write:
                with self._errors():
                    self._session.execute("SET default_transaction_read_only = on")
        except BaseException:
            self.close()
            raise

    def _check_version(self) -> None:
        if not self._has("ledger"):
            raise StoreError(
                f"There is no ledger at {self.where}.",
                "Start the collector once, or name the database it uses.",
                code="store_missing",
            )
        [(version,)] = self._rows("SELECT version FROM ledger")
        if version != _VERSION:
            raise StoreError(
                f"{self.where} holds a ledger of version {version}, not {_VERSION}.",
                "Use the version of Joulemark that wrote it, or name another database.",
                code="store_foreign",
            )


class PostgresStore(EvidenceTables, _Connection):
    """The evidence."""

    def __init__(
        self,
        server: Server,
        *,
        create: bool = True,
        quarantine_bytes: int = QUARANTINE_BYTES,
        quarantine_messages: int = QUARANTINE_MESSAGES,
        outside: Outside | None = None,
    ) -> None:
        """Open the store; arguments and errors as those of `store.SqliteStore`."""
        self._quarantine = (quarantine_bytes, quarantine_messages)
        super().__init__(server, write=create, create=create)
        self._blocks = Blocks(self._rows, outside)
        if create:
            try:
                self._check_sizes()
            except BaseException:
                self.close()
                raise


class PostgresLog(LogTables, _Connection):
    """The collector's log."""

    def __init__(self, server: Server, *, write: bool = True) -> None:
        """Open the log; where no collector has started there is none."""
        super().__init__(server, write=write)
        self._is_there = True


class PostgresCompactor(CompactorTables, _Connection):
    """What moves old batches together."""

    def __init__(self, server: Server, outside: Outside | None = None) -> None:
        """Open a store that is there; arguments as those of `compactor.Compactor`."""
        super().__init__(server, write=True)
        self._outside = outside

    def bytes_used(self) -> int:
        """What the rows hold; the server gives room that is free back by itself (VACUUM)."""
        sql = (
            "SELECT (SELECT coalesce(sum(length(leaves) + length(note)), 0) FROM batch) + "
            "(SELECT coalesce(sum(length(leaves) + length(notes)), 0) FROM block)"
        )
        return int(self._rows(sql)[0][0])

    def may_begin(self) -> bool:
        """Whether no other collector compacts; true until this one is closed."""
        sql = "SELECT pg_try_advisory_lock(hashtext('joulemark compactor'))"
        return bool(self._rows(sql)[0][0])


@dataclass(frozen=True)
class PostgresLedger:
    """A database: the ledger of as many collectors as want it."""

    server: Server
    outside: Outside | None = None
    is_shared = True

    @property
    def where(self) -> str:
        """The address."""
        return self.server.where

    def exists(self) -> bool:
        """Whether a collector has written to it once."""
        with PostgresDatabase(self.server) as database:
            return database._has("ledger")  # noqa: SLF001 - of the same family

    def writer(
        self,
        *,
        quarantine_bytes: int = QUARANTINE_BYTES,
        quarantine_messages: int = QUARANTINE_MESSAGES,
    ) -> PostgresStore:
        """The evidence, to be written."""
        return PostgresStore(
            self.server,
            quarantine_bytes=quarantine_bytes,
            quarantine_messages=quarantine_messages,
            outside=self.outside,
        )

    def reader(self) -> PostgresStore:
        """The evidence, for reading."""
        return PostgresStore(self.server, create=False, outside=self.outside)

    def log(self, *, write: bool = True) -> PostgresLog:
        """The collector's log."""
        return PostgresLog(self.server, write=write)

    def compactor(self) -> PostgresCompactor:
        """What moves old batches together."""
        return PostgresCompactor(self.server, self.outside)

    def claim(self, name: str, witness_key: bytes) -> None:
        """Say whose ledger it is, or see that it is this collector's."""
        with _Claim(self.server, write=True, create=True) as connection:
            connection.claim(name, witness_key)

    def exchange_registry(self, merge: Callable[[bytes], bytes]) -> bytes:
        """Merge who was enrolled and revoked with what the other collectors know, and keep it."""
        with _Claim(self.server, write=True) as connection:
            return connection.exchange(merge)


class _Claim(_Connection):
    kind = "ledger"

    def exchange(self, merge: Callable[[bytes], bytes]) -> bytes:
        with self._transaction() as db:
            self._alone("ledger")
            [known] = db.execute("SELECT registry FROM ledger").fetchone()
            merged = merge(known)
            if merged != known:
                db.execute("UPDATE ledger SET registry = ?", (merged,))
        return merged

    def claim(self, name: str, witness_key: bytes) -> None:
        with self._transaction() as db:
            self._alone("ledger")
            known, key = db.execute("SELECT name, witness_key FROM ledger").fetchone()
            if known is None:
                db.execute("UPDATE ledger SET name = ?, witness_key = ?", (name, witness_key))
            elif (known, key) != (name, witness_key):
                raise StoreError(
                    f"The ledger {self.where} is that of {known!r}, witness key "
                    f"{fingerprint(key)}; this collector is {name!r}, {fingerprint(witness_key)}.",
                    "Collectors that share a ledger are one witness: give each the same name and"
                    " the same witness.key (docs/several_collectors.md).",
                    code="ledger_of_another",
                )
