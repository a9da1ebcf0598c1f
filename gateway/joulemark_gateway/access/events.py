"""The security log: log-ins, refusals, and what was changed by whom; no secret stands in it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from joulemark_gateway.access.chain import START, End, Ends, Event, Link, breaks
from joulemark_gateway.access.database import FILE, Database, append_event
from joulemark_gateway.evidence.entries import ITSELF, SECURITY, parse_entry
from joulemark_gateway.evidence.log_store import LogTables

MOST_REFUSALS = 50_000  # kept; log-ins and what was changed are kept for ever
_GATHERED_US = 60_000_000
_MOST_GATHERED = 1000
_OTHERS = "(others)"
_COLUMNS = "id, t_us, code, refused, who, address, what, times"


class Events:
    """The log; it is only added to, and each line holds the digest of the one before (`chain`)."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(
        self,
        code: str,
        now_us: int,
        *,
        who: str = "",
        address: str = "",
        what: str = "",
        refused: bool = False,
        times: int = 1,
    ) -> None:
        """Add a line; of refusals the oldest are given up when there are too many."""
        told = [printable(text)[:most] for text, most in ((who, 120), (address, 60), (what, 300))]
        with self._db.transaction() as db:
            append_event(db, None, now_us, code, refused, *told, times)
            if refused:
                db.execute(
                    "DELETE FROM event WHERE refused AND id <= (SELECT id FROM event WHERE refused "
                    "ORDER BY id DESC LIMIT 1 OFFSET ?)",
                    (MOST_REFUSALS,),
                )

    def listed(self, before: int | None = None, limit: int = 100) -> list[Event]:
        """Lines of the security log, the newest first."""
        sql = f"SELECT {_COLUMNS} FROM event WHERE id < ? ORDER BY id DESC LIMIT ?"
        rows = self._db.rows(sql, 2**62 if before is None else before, limit)
        return [_event(row) for row in rows]

    def ends(self) -> Ends:
        """How far the chains stand: of what was done, and of what was refused."""
        found = {False: End(0, START), True: End(0, START)}
        sql = "SELECT max(id), digest, refused FROM event GROUP BY refused"
        for last, digest, refused in self._db.rows(sql):
            found[bool(refused)] = End(last, digest)
        return found

    def breaks(self, logged: Sequence[Ends]) -> list[str]:
        """What is not as it was written; `logged`: how far the chains stood at each closing."""
        rows = self._db.rows(f"SELECT before, digest, {_COLUMNS} FROM event ORDER BY id")
        links = [Link(_event(event), before, digest) for before, digest, *event in rows]
        return breaks(links, logged, MOST_REFUSALS)


def ends_in(state_dir: Path) -> Ends | None:
    """How far the security log of a collector stands; None where none is kept.

    Raises:
        StoreError: it cannot be used.
    """
    path = state_dir / FILE
    if not path.exists():
        return None
    with Database(path) as database:
        return Events(database).ends()


def ends_logged(log: LogTables) -> list[Ends]:
    """How far it stood at each closing of the collector's log, as that says.

    Raises:
        EvidenceError: a leaf of it cannot be read.
    """
    entries = (parse_entry(leaf, position) for position, leaf in log.of_site(ITSELF))
    return [
        {False: _end(entry.fields["done"]), True: _end(entry.fields["refused"])}
        for entry in entries
        if entry.kind == SECURITY
    ]


def _end(fields: Mapping[str, str]) -> End:
    return End(int(fields["last"]), bytes.fromhex(fields["digest"]))


def _event(row: Sequence[Any]) -> Event:
    id_, t_us, code, refused, *rest = row
    return Event(id_, t_us, code, bool(refused), *rest)


def printable(text: str) -> str:
    """The text on one line; what could move a cursor or end the line is written out."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class Repeats:
    """Gathers refusals of one kind to one line a minute, so that a flood does not fill the disk."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, str, str], tuple[int, int]] = OrderedDict()

    def counted(self, code: str, who: str, address: str, now_us: int) -> tuple[str, int]:
        """The address and the times that a line is to say now; 0 times: no line, it is gathered."""
        key = (code, who, address)
        if key not in self._seen and len(self._seen) >= _MOST_GATHERED:
            oldest, (since_us, _) = next(iter(self._seen.items()))
            if now_us - since_us < _GATHERED_US:
                address = _OTHERS
                key = (code, "", address)
            else:
                del self._seen[oldest]
        since_us, held = self._seen.get(key, (now_us - _GATHERED_US, 0))
        if now_us - since_us < _GATHERED_US:
            self._seen[key] = (since_us, held + 1)
            return address, 0
        self._seen.pop(key, None)
        self._seen[key] = (now_us, 0)
        return address, held + 1
