"""What a witness must not forget: the head of each log that it cosigned last. SQLite, durable.

Comparing with that head, and taking the new one for it, are one transaction: two requests at once
cannot make the witness go back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from joulemark_agent.contract.signature import Checkpoint
from joulemark_gateway.evidence.sqlite import SqliteFile

FILE = "witness.sqlite"
_APPLICATION = 0x4A4C7769  # "JLwi"
_VERSION = 1
_MOST_FORKS = 100  # kept of one log
_SCHEMA = """
CREATE TABLE cosigned (
    origin TEXT PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL, note TEXT NOT NULL,
    time_s INTEGER NOT NULL);
CREATE TABLE fork (
    origin TEXT NOT NULL, note TEXT NOT NULL, why TEXT NOT NULL, time_s INTEGER NOT NULL,
    UNIQUE (origin, note));
"""


@dataclass(frozen=True)
class Cosigned:
    """What was cosigned last for one log."""

    head: Checkpoint
    note: str  # with the cosignature
    time_s: int


@dataclass(frozen=True)
class Fork:
    """A head that its log signed, of the size of one that was cosigned with another root."""

    origin: str
    note: str
    why: str
    time_s: int


class WitnessStore(SqliteFile):
    """One file; one connection, used by one thread at a time."""

    kind = "witness's memory"

    def __init__(self, path: Path) -> None:
        """Open the file, made where there is none.

        Raises:
            StoreError: it cannot be used.
        """
        super().__init__(path)
        try:
            self._make_durable()
            self._open_as(_APPLICATION, _VERSION, _SCHEMA)
        except BaseException:
            self.close()
            raise

    def last(self, origin: str) -> Cosigned | None:
        """What was cosigned last for this log."""
        found = [item for item in self.all() if item.head.origin == origin]
        return found[0] if found else None

    def all(self) -> list[Cosigned]:
        """The same of every log."""
        rows = self._rows("SELECT origin, size, root, note, time_s FROM cosigned ORDER BY origin")
        return [Cosigned(Checkpoint(*head), note, at_s) for *head, note, at_s in rows]

    def forks(self) -> list[Fork]:
        """Every kept head that speaks against its log."""
        rows = self._rows("SELECT origin, note, why, time_s FROM fork ORDER BY time_s")
        return [Fork(*row) for row in rows]

    def advance(self, origin: str, decide: Callable[[Checkpoint | None], Cosigned | None]) -> None:
        """Replace what was cosigned last by what is decided on it, durably, or leave it.

        Args:
            origin: of the log.
            decide: gets what is held, gives what is cosigned now, or None.
        """
        with self._transaction() as db:
            sql = "SELECT origin, size, root FROM cosigned WHERE origin = ?"
            row = db.execute(sql, (origin,)).fetchone()
            found = decide(Checkpoint(*row) if row else None)
            if found is not None:
                head = found.head
                new = (head.origin, head.size, head.root, found.note, found.time_s)
                db.execute("INSERT OR REPLACE INTO cosigned VALUES (?, ?, ?, ?, ?)", new)

    def keep_fork(self, fork: Fork) -> None:
        """Keep what proves that a log was rewritten; the first of each log stay."""
        with self._transaction() as db:
            sql = "SELECT count(*) FROM fork WHERE origin = ?"
            if db.execute(sql, (fork.origin,)).fetchone()[0] < _MOST_FORKS:
                row = (fork.origin, fork.note, fork.why, fork.time_s)
                db.execute("INSERT OR IGNORE INTO fork VALUES (?, ?, ?, ?)", row)
