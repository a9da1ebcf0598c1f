"""Where the collector's own log is kept: tables of their own beside those of the evidence.

A leaf that was committed is never changed or removed, so the root at each size is fixed before a
head of that size can be signed: whatever happens, there are never two heads of one size.

StoreError codes: those of the database, and `log_of_another`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from joulemark_agent.contract.errors import StoreError
from joulemark_agent.contract.signature import Checkpoint, parse_checkpoint, parse_note
from joulemark_agent.contract.tree import Edge, append, leaf_hash, root
from joulemark_gateway.evidence.engine import Engine, Session
from joulemark_gateway.evidence.entries import Entry, entry_leaf, heads_in
from joulemark_gateway.evidence.sqlite import SqliteFile, require_there

_ALL = 2**62
_NAMED = (
    "INSERT INTO log_tree VALUES (?, ?) ON CONFLICT (origin) DO UPDATE SET size = excluded.size"
)
SCHEMA = """
CREATE TABLE IF NOT EXISTS log (
    id INTEGER PRIMARY KEY CHECK (id = 1), origin TEXT NOT NULL, size INTEGER NOT NULL,
    edge BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS log_leaf (
    position INTEGER PRIMARY KEY, site TEXT NOT NULL, n INTEGER NOT NULL, mark TEXT,
    leaf BLOB NOT NULL, UNIQUE (site, n), UNIQUE (site, mark));
CREATE TABLE IF NOT EXISTS log_tree (origin TEXT PRIMARY KEY, size INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS log_head (
    size INTEGER PRIMARY KEY, note TEXT NOT NULL, time_us INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS log_cosignature (
    size INTEGER NOT NULL REFERENCES log_head, witness TEXT NOT NULL, line TEXT NOT NULL,
    UNIQUE (size, witness));
CREATE TABLE IF NOT EXISTS log_token (
    size INTEGER NOT NULL REFERENCES log_head, authority TEXT NOT NULL, token BLOB NOT NULL,
    time_us INTEGER NOT NULL, UNIQUE (size, authority));
CREATE TABLE IF NOT EXISTS log_shown (size INTEGER PRIMARY KEY REFERENCES log_head);
"""


@dataclass(frozen=True)
class LogHead:
    """A head of the log that was signed, and who has seen it."""

    size: int
    note: str  # signed by the log
    time_us: int
    cosignatures: Mapping[str, str] = field(default_factory=dict)  # line by name of the witness

    @property
    def cosigned(self) -> str:
        """The note with the lines of the witnesses."""
        return self.note + "".join(line for _, line in sorted(self.cosignatures.items()))


@dataclass(frozen=True)
class Token:
    """A time stamp over a head of the log."""

    size: int
    authority: str
    token: bytes = field(repr=False)
    time_us: int  # when it was received, the collector's clock


class LogTables(Engine):
    """The log on one connection; several may be open, in one process or in more."""

    kind = "collector's log"
    _is_there: bool  # whether a log was ever kept here

    @property
    def origin(self) -> str | None:
        """The name of the log; None where nothing was ever logged."""
        rows = self._rows("SELECT origin FROM log") if self._is_there else []
        return str(rows[0][0]) if rows else None

    def require(self, origin: str) -> None:
        """Raise `StoreError` (`log_of_another`) where another log is kept here."""
        self._check_origin(self.origin or origin, origin)

    def edge(self) -> Edge:
        """The right edge of the tree of all committed leaves."""
        rows = self._rows("SELECT size, edge FROM log") if self._is_there else []
        return Edge.from_bytes(*rows[0]) if rows else Edge()

    def append(
        self,
        origin: str,
        entries: Iterable[Entry],
        time_us: int,
        *,
        unless: Callable[[], None] = lambda: None,
    ) -> int:
        """Commit the entries, but for those whose mark stands; how many leaves were added.

        Args:
            origin: of the log.
            entries: what is logged; asked for while nobody else can add to the log.
            time_us: the collector's clock.
            unless: looks at what stands, while nobody else can add to it, and raises.

        Raises:
            StoreError: `log_of_another`: the leaves that are there belong to another log.
        """
        with self._transaction() as db:
            self._alone("log")
            edge = self._to_extend(db, origin)
            unless()
            first = edge.size
            for entry in entries:
                marked = "SELECT 1 FROM log_leaf WHERE site = ? AND mark = ?"
                if db.execute(marked, (entry.site, entry.mark)).fetchone():
                    continue
                last = "SELECT max(n) FROM log_leaf WHERE site = ?"
                before = db.execute(last, (entry.site,)).fetchone()[0]
                n = 0 if before is None else before + 1
                leaf = entry_leaf(entry, n, time_us)
                row = (edge.size, entry.site, n, entry.mark, leaf)
                db.execute("INSERT INTO log_leaf VALUES (?, ?, ?, ?, ?)", row)
                heads = heads_in(entry.fields["heads"]) if "heads" in entry.fields else ()
                for head in heads:
                    db.execute(_NAMED, (head.origin, head.size))
                edge = append(edge, (leaf,))
            db.execute("UPDATE log SET size = ?, edge = ?", (edge.size, edge.to_bytes()))
            return edge.size - first

    def sign_head(self, sign: Callable[[Checkpoint], str], time_us: int) -> LogHead | None:
        """The signed head over all committed leaves, committed before it is returned.

        Args:
            sign: makes the signed note of a head; called only for leaves that are committed.
            time_us: the collector's clock.
        """
        with self._transaction() as db:
            self._alone("log")
            row = db.execute("SELECT origin, size, edge FROM log").fetchone()
            if row is None or not row[1]:
                return None
            origin, size, edge = row
            if not db.execute("SELECT 1 FROM log_head WHERE size = ?", (size,)).fetchone():
                note = sign(Checkpoint(origin, size, root(Edge.from_bytes(size, edge))))
                db.execute("INSERT INTO log_head VALUES (?, ?, ?)", (size, note, time_us))
        return self.head(size)

    def head(self, size: int) -> LogHead | None:
        """The signed head of this size."""
        found = [head for head in self.heads(size) if head.size == size]
        return found[0] if found else None

    def heads(self, from_size: int = 0) -> list[LogHead]:
        """The signed heads in order, from a size on."""
        if not self._is_there:
            return []
        lines: dict[int, dict[str, str]] = {}
        cosignatures = "SELECT size, witness, line FROM log_cosignature WHERE size >= ?"
        for size, witness, line in self._rows(cosignatures, from_size):
            lines.setdefault(size, {})[witness] = line
        rows = self._rows("SELECT * FROM log_head WHERE size >= ? ORDER BY size", from_size)
        return [LogHead(size, note, at_us, lines.get(size, {})) for size, note, at_us in rows]

    def leaves(self, end: int) -> list[tuple[str, bytes]]:
        """Site and bytes of the first `end` leaves."""
        if not self._is_there:
            return []
        sql = "SELECT site, leaf FROM log_leaf WHERE position < ? ORDER BY position"
        return [(str(site), bytes(leaf)) for site, leaf in self._rows(sql, end)]

    def latest_us(self, end: int) -> int:
        """The latest time that one of the first `end` leaves claims; clocks are set back. [us]"""
        sql = f"SELECT max({self.leaf_time}) FROM log_leaf WHERE position < ?"
        found = self._rows(sql, end) if self._is_there else []
        return int(found[0][0] or 0) if found else 0

    def of_site(self, site: str) -> list[tuple[int, bytes]]:
        """Position and bytes of every leaf of a site."""
        if not self._is_there:
            return []
        sql = "SELECT position, leaf FROM log_leaf WHERE site = ? ORDER BY position"
        return [(int(position), bytes(leaf)) for position, leaf in self._rows(sql, site)]

    def of_kind(self, site: str, kind: str) -> list[int]:
        """The positions of a site's leaves whose mark begins with this kind."""
        if not self._is_there:
            return []
        begins = "substr(mark, 1, ?) = ?"
        sql = f"SELECT position FROM log_leaf WHERE site = ? AND {begins} ORDER BY position"
        start = f"{kind} "
        return [int(position) for (position,) in self._rows(sql, site, len(start), start)]

    def hashes(self, end: int) -> list[bytes]:
        """The hashes of the first `end` leaves."""
        return [leaf_hash(leaf) for _, leaf in self.leaves(end)]

    def logged_sizes(self) -> dict[str, int]:
        """The size at which each tree was named last, by origin."""
        return dict(self._rows("SELECT origin, size FROM log_tree")) if self._is_there else {}

    def cosigned_size(self, witness: str) -> int:
        """The largest head that a witness cosigned; 0: none."""
        sql = "SELECT max(size) FROM log_cosignature WHERE witness = ?"
        found = self._rows(sql, witness) if self._is_there else []
        return int(found[0][0] or 0) if found else 0

    def keep_cosignature(self, size: int, witness: str, line: str) -> None:
        """Keep that a witness cosigned the head of this size; the first line stands."""
        with self._transaction() as db:
            row = (size, witness, line)
            db.execute("INSERT INTO log_cosignature VALUES (?, ?, ?) ON CONFLICT DO NOTHING", row)

    def keep_token(self, token: Token) -> None:
        """Keep a time stamp; the first of an authority over a head stands."""
        with self._transaction() as db:
            row = (token.size, token.authority, token.token, token.time_us)
            db.execute("INSERT INTO log_token VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", row)

    def mark_shown(self, size: int) -> None:
        """Remember that the head of this size went out with a report."""
        with self._transaction() as db:
            db.execute("INSERT INTO log_shown VALUES (?) ON CONFLICT DO NOTHING", (size,))

    def shown(self) -> frozenset[int]:
        """The sizes of the heads that went out with reports."""
        rows = self._rows("SELECT size FROM log_shown") if self._is_there else []
        return frozenset(int(size) for (size,) in rows)

    def tokens(self) -> Sequence[Token]:
        """Every time stamp, by size."""
        if not self._is_there:
            return []
        return [Token(*row) for row in self._rows("SELECT * FROM log_token ORDER BY size")]

    def scrub(self) -> None:
        """Hash every leaf again: they must give the root of each signed head.

        Raises:
            StoreError: `store_damaged` with the first place that does not fit.
        """
        edge, name = Edge(), self.origin
        notes = {head.size: head.note for head in self.heads()}
        for _, leaf in self.leaves(_ALL):
            edge = append(edge, (leaf,))
            note = notes.pop(edge.size, None)
            true = Checkpoint(name or "", edge.size, root(edge))
            if note is not None and parse_checkpoint(parse_note(note)[0]) != true:
                raise self._damaged(f"the first {edge.size} leaves do not give their signed root")
        if notes or edge != self.edge():
            raise self._damaged(f"its {edge.size} leaves are not those of its heads")

    def _to_extend(self, db: Session, origin: str) -> Edge:
        row = db.execute("SELECT origin, size, edge FROM log").fetchone()
        if row is None:
            db.execute("INSERT INTO log VALUES (1, ?, 0, ?)", (origin, b""))
            return Edge()
        self._check_origin(row[0], origin)
        return Edge.from_bytes(row[1], row[2])

    def _check_origin(self, known: str, origin: str) -> None:
        if known != origin:
            raise StoreError(
                f"The log in {self.where} is {known!r}; the collector's name makes it {origin!r}.",
                "Put the collector's name back: its log, its heads and their witnesses know it.",
                code="log_of_another",
            )

    def _damaged(self, what: str) -> StoreError:
        return StoreError(
            f"The {self.kind} {self.where} is damaged: {what}.",
            f"Stop the collector, {self.if_lost}, and tell the witnesses.",
            code="store_damaged",
        )


class LogStore(LogTables, SqliteFile):
    """The log in the file of an evidence store."""

    def __init__(self, path: Path, *, write: bool = True) -> None:
        """Open the log in an evidence store.

        Args:
            path: the file of the evidence store.
            write: False: only read; where no log was ever kept there is none, and nothing is made.

        Raises:
            StoreError: there is no such file, or it cannot be used.
        """
        require_there(path)
        super().__init__(path)
        try:
            if write:
                self._make_durable()
                with self._errors():
                    self._db.executescript(f"BEGIN IMMEDIATE; {SCHEMA} COMMIT;")
            else:
                self._rows("PRAGMA query_only = 1")
            tables = "SELECT count(*) FROM sqlite_master WHERE name = 'log_shown'"
            self._is_there = bool(self._rows(tables)[0][0])
        except BaseException:
            self.close()
            raise
