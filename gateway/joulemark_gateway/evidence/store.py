"""The evidence store in a SQLite file: WAL with synchronous=FULL; its tables are those of `tables`.

StoreError codes: `disk_full`, `store_io`, `store_busy`, `store_damaged`, `store_foreign`,
`store_missing`, `head_moved`.
"""

from __future__ import annotations

from pathlib import Path

from joulemark_agent.contract.errors import StoreError
from joulemark_gateway.evidence.blocks import Blocks, Outside
from joulemark_gateway.evidence.sqlite import SqliteFile, require_there
from joulemark_gateway.evidence.tables import (
    ADDED,
    QUARANTINE_BYTES,
    QUARANTINE_MESSAGES,
    SCHEMA,
    EvidenceTables,
)

FILE = "evidence.sqlite"
_APPLICATION = 0x4A4C6576  # "JLev"
_VERSION = 2


class SqliteStore(EvidenceTables, SqliteFile):
    """One file; one connection, used by one thread at a time."""

    def __init__(
        self,
        path: Path,
        *,
        create: bool = True,
        quarantine_bytes: int = QUARANTINE_BYTES,
        quarantine_messages: int = QUARANTINE_MESSAGES,
        outside: Outside | None = None,
    ) -> None:
        """Open the store; a writer makes it where there is none, and checks that it is whole.

        Args:
            path: the file.
            create: False: only read a store that is there, beside the collector that writes it.
            quarantine_bytes: how much is kept of the refused messages of one agent.
            quarantine_messages: and how many.
            outside: where blocks are that do not stand in the file.

        Raises:
            StoreError: the file is missing, damaged, of another program, or cannot be used.
        """
        self._quarantine = (quarantine_bytes, quarantine_messages)
        if not create:
            require_there(path)
        super().__init__(path)
        self._blocks = Blocks(self._rows, outside)
        try:
            with self._errors():
                self._prepare(create=create)
                if create:
                    self._check()
        except BaseException:
            self._db.close()
            raise

    def _prepare(self, *, create: bool) -> None:
        db = self._db
        application = db.execute("PRAGMA application_id").fetchone()[0]
        tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if application == 0 and tables == 0 and create:
            self._make_durable()
            db.executescript(
                f"BEGIN IMMEDIATE; {SCHEMA} {ADDED} PRAGMA application_id = {_APPLICATION}; "
                f"PRAGMA user_version = {_VERSION}; COMMIT;"
            )
            application = _APPLICATION
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if (application, version) == (_APPLICATION, 1):
            version = self._upgrade(create=create)
        if (application, version) != (_APPLICATION, _VERSION):
            raise StoreError(
                f"{self._path} is not an evidence store of version {_VERSION}.",
                "Name another state_dir, or use the version of Joulemark that wrote it.",
                code="store_foreign",
            )
        self._make_durable()
        if not create:
            db.execute("PRAGMA query_only = 1")

    def _upgrade(self, *, create: bool) -> int:
        """Add what version 1 did not have; nothing that is there is touched."""
        if not create:
            raise StoreError(
                f"{self._path} was written by an older version.",
                "Start the collector once: it adds what is missing.",
                code="store_foreign",
            )
        self._db.executescript(
            f"BEGIN IMMEDIATE; {ADDED} PRAGMA user_version = {_VERSION}; COMMIT;"
        )
        return _VERSION

    def _check(self) -> None:
        found = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise self._damaged(str(found))
        self._check_sizes()
