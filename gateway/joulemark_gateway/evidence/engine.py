"""What the tables of a ledger stand in: a SQLite file, or a database of a PostgreSQL server.

The statements are the same for both (`tables`, `log_store`, `compactor`); what differs stands here.
`?` is a value, whatever the server's own sign for it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Protocol, Self


class Cursor(Protocol):
    """What a statement gives."""

    @property
    def rowcount(self) -> int:
        """How many rows were changed."""

    def fetchone(self) -> Any:
        """The next row, or None."""

    def fetchall(self) -> list[Any]:
        """The rows that are left."""


class Session(Protocol):
    """A connection on which statements run."""

    def execute(self, sql: str, values: tuple[Any, ...] = ..., /) -> Cursor:
        """Run one statement."""

    def executemany(self, sql: str, rows: Iterable[tuple[Any, ...]], /) -> object:
        """Run one statement with each of these rows."""


class Engine(ABC):
    """One connection, used by one thread at a time."""

    kind: ClassVar[str] = "store"  # what is kept, for messages
    if_lost: ClassVar[str]  # what to do where what is kept is damaged
    locked: ClassVar[str]  # behind a SELECT of a row that this transaction is about to change
    leaf_time: ClassVar[str]  # the time that a leaf of the collector's log claims, as a number

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    @abstractmethod
    def where(self) -> str:
        """The file, or the address of the server: for messages."""

    @abstractmethod
    def close(self) -> None:
        """Release it."""

    @abstractmethod
    def _rows(self, sql: str, *values: Any) -> list[Any]:
        """All rows of a query."""

    @abstractmethod
    def _transaction(self) -> AbstractContextManager[Session]:
        """Commit durably on leaving, or leave nothing behind."""

    @abstractmethod
    def _alone(self, table: str) -> None:
        """Within a transaction: until its end nobody else writes to this table."""
