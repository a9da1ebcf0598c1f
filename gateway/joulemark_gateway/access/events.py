"""The security log: log-ins, refusals, and what was changed by whom; no secret stands in it."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from joulemark_gateway.access.database import Database

MOST_REFUSALS = 50_000  # kept; log-ins and what was changed are kept for ever
_GATHERED_US = 60_000_000
_MOST_GATHERED = 1000
_OTHERS = "(others)"


@dataclass(frozen=True)
class Event:
    """One line of the security log."""

    id: int
    t_us: int
    code: str
    refused: bool
    who: str
    address: str
    what: str
    times: int


class Events:
    """The log; it is only added to."""

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
        told = (printable(text)[:most] for text, most in ((who, 120), (address, 60), (what, 300)))
        row = (now_us, code, int(refused), *told, times)
        with self._db.transaction() as db:
            db.execute("INSERT INTO event VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", row)
            if refused:
                db.execute(
                    "DELETE FROM event WHERE refused AND id <= (SELECT id FROM event WHERE refused "
                    "ORDER BY id DESC LIMIT 1 OFFSET ?)",
                    (MOST_REFUSALS,),
                )

    def listed(self, before: int | None = None, limit: int = 100) -> list[Event]:
        """Lines of the security log, the newest first."""
        sql = (
            "SELECT id, t_us, code, refused, who, address, what, times FROM event WHERE id < ? "
            "ORDER BY id DESC LIMIT ?"
        )
        rows = self._db.rows(sql, 2**62 if before is None else before, limit)
        return [Event(id_, t, code, bool(refused), *rest) for id_, t, code, refused, *rest in rows]


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
