"""Which ledger a collector uses, and how each part of the program opens its own connection to it.

Evidence and the collector's log are one ledger: a file in the state folder of one collector, or a
database that several share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from joulemark_gateway.evidence.blocks import Outside
from joulemark_gateway.evidence.compactor import Compactor, CompactorTables
from joulemark_gateway.evidence.log_store import LogStore, LogTables
from joulemark_gateway.evidence.store import SqliteStore
from joulemark_gateway.evidence.tables import QUARANTINE_BYTES, QUARANTINE_MESSAGES, EvidenceTables


class Ledger(Protocol):
    """One ledger; whoever opens something of it closes it."""

    @property
    def where(self) -> str:
        """For messages: the file, or the address without a password."""

    @property
    def is_shared(self) -> bool:
        """Whether several collectors may write to it."""

    def exists(self) -> bool:
        """Whether a collector has written to it once.

        Raises:
            StoreError: that cannot be found out.
        """

    def writer(
        self,
        *,
        quarantine_bytes: int = QUARANTINE_BYTES,
        quarantine_messages: int = QUARANTINE_MESSAGES,
    ) -> EvidenceTables:
        """The evidence, made where there is none, and looked over.

        Args:
            quarantine_bytes: how much is kept of the refused messages of one agent.
            quarantine_messages: and how many.

        Raises:
            StoreError: it is damaged, of another program, or cannot be used.
        """

    def reader(self) -> EvidenceTables:
        """The evidence, for reading; StoreError `store_missing` where there is none."""

    def log(self, *, write: bool = True) -> LogTables:
        """The collector's log; errors as `reader`."""

    def compactor(self) -> CompactorTables:
        """What moves old batches together; errors as `reader`."""

    def claim(self, name: str, witness_key: bytes) -> None:
        """Say which collector writes here: one name and one key, however many processes.

        Raises:
            StoreError: `ledger_of_another`: it is another's.
        """

    def exchange_registry(self, merge: Callable[[bytes], bytes]) -> bytes:
        """Merge who was enrolled and revoked with what the other collectors know, and keep it.

        Args:
            merge: what is known together, of what the others know; b"" where they know nothing.

        Raises:
            StoreError: it cannot be used.
        """


@dataclass(frozen=True)
class SqliteLedger:
    """A file in the state folder: the ledger of one collector."""

    path: Path
    outside: Outside | None = None  # where blocks of old batches are; None: in the file
    is_shared = False

    @property
    def where(self) -> str:
        """The file."""
        return str(self.path)

    def exists(self) -> bool:
        """Whether the file is there."""
        return self.path.exists()

    def writer(
        self,
        *,
        quarantine_bytes: int = QUARANTINE_BYTES,
        quarantine_messages: int = QUARANTINE_MESSAGES,
    ) -> SqliteStore:
        """The evidence, to be written."""
        return SqliteStore(
            self.path,
            quarantine_bytes=quarantine_bytes,
            quarantine_messages=quarantine_messages,
            outside=self.outside,
        )

    def reader(self) -> SqliteStore:
        """The evidence, for reading."""
        return SqliteStore(self.path, create=False, outside=self.outside)

    def log(self, *, write: bool = True) -> LogStore:
        """The collector's log."""
        return LogStore(self.path, write=write)

    def compactor(self) -> Compactor:
        """What moves old batches together."""
        return Compactor(self.path, self.outside)

    def claim(self, name: str, witness_key: bytes) -> None:
        """Nothing: name and key stand in the same folder, and the log in the file has the name."""

    def exchange_registry(self, merge: Callable[[bytes], bytes]) -> bytes:
        """Nobody else knows anything."""
        return merge(b"")
