"""The series in one DuckDB file beside the evidence store.

| table | row |
|---|---|
| points | site, device, point, t_utc_us, value (NULL: none), quality (code of `base.QUALITY`) |
| intervals | site, device, point, start_us, end_us, amount, covered_us, estimated_us, missing_us: |
|           | one a slot; one alone for a step over more than `project.LONGEST_STEP` slots |
| quarter, day, gauge, co2e, | of `tables.MEASUREMENTS`: site, device, the tags, t_us, the fields |
| slot, gap, batch | (NULL: not there) |
| seen | site, device, point, first_us (ever), t_us, value and quality (of the newest): so that |
|      | nobody has to look through all points for their ends |
| kept | site, device, raw_us, quarter_us: from when on its rows are here, see `retention`; |
|      | first_us: of its oldest point that is here |
| projected | origin, size, carry: up to where each tree is written |

Rows go in as numpy columns: 2 M rows/s, where `executemany` makes 2,000. There is no index: rows
lie in the order of time, and DuckDB skips the blocks whose least and greatest times do not fit.

Any thread may read while one writes: a read has a cursor of its own and sees whole transactions.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from joulemark_agent.contract.errors import StoreError
from joulemark_agent.contract.topics import parse_origin
from joulemark_gateway.series.base import HELD, Amounts, Carry, Latest, Part, Rows, Samples
from joulemark_gateway.series.retention import AMOUNTS, SCHEMA, Retention, forget
from joulemark_gateway.series.tables import MEASUREMENTS

FILE = "series.duckdb"
_VERSION = 3
_PREFIX = "joulemark_"
_TABLES = "\n".join(
    f"CREATE TABLE {name.removeprefix(_PREFIX)} (site VARCHAR, device VARCHAR, "
    + "".join(f"{tag} VARCHAR, " for tag in kind.tags)
    + "t_us BIGINT, "
    + ", ".join(f"{field} DOUBLE" for field in kind.fields)
    + ");"
    for name, kind in MEASUREMENTS.items()
)
_SCHEMA = f"""
CREATE TABLE projected (origin VARCHAR, size BIGINT, carry VARCHAR);
CREATE TABLE points (site VARCHAR, device VARCHAR, point VARCHAR, t_utc_us BIGINT, value DOUBLE,
    quality UTINYINT);
CREATE TABLE intervals (site VARCHAR, device VARCHAR, point VARCHAR, start_us BIGINT,
    end_us BIGINT, amount BIGINT, covered_us BIGINT, estimated_us BIGINT, missing_us BIGINT);
CREATE TABLE seen (site VARCHAR, device VARCHAR, point VARCHAR, first_us BIGINT, t_us BIGINT,
    value DOUBLE, quality UTINYINT, PRIMARY KEY (site, device, point));
{_TABLES}
{SCHEMA}
CREATE TABLE version AS SELECT {_VERSION} AS version;
"""
# Of two samples of one time the one that is written last stands.
_SEEN = """
INSERT INTO seen
    SELECT site, device, point, min(t_utc_us), max(t_utc_us), arg_max_null(value, t_utc_us),
        arg_max(quality, t_utc_us) FROM new_rows GROUP BY ALL
    ON CONFLICT DO UPDATE SET
        first_us = least(first_us, excluded.first_us),
        value = CASE WHEN excluded.t_us >= t_us THEN excluded.value ELSE value END,
        quality = CASE WHEN excluded.t_us >= t_us THEN excluded.quality ELSE quality END,
        t_us = greatest(t_us, excluded.t_us)
"""

FOR_EVER = Retention()
_preparing = threading.Lock()  # two that open a new file at once must not both make its tables


class EmbeddedSeries:
    """One DuckDB file, held by one process."""

    def __init__(self, path: Path, kept: Retention = FOR_EVER) -> None:
        """Open the file; make it where there is none.

        Args:
            path: of the file.
            kept: for how long its rows are.

        Raises:
            StoreError: another process holds it, or it is damaged or of another version.
        """
        self._path, self._kept = path, kept
        self._reads, self._is_closed = 0, False
        self._turn = threading.Condition()  # over these two
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = duckdb.connect(str(path), config={"threads": 1})
            try:
                with _preparing:
                    self._prepare()
            except BaseException:
                self._db.close()
                raise

    def progress(self) -> dict[str, tuple[int, Carry]]:
        """Up to which leaf each tree is written, and what the next rows need."""
        rows = self.query("SELECT origin, size, carry FROM projected")
        return {origin: (size, Carry.from_text(text)) for origin, size, text in rows}

    def write(self, parts: Sequence[Part]) -> None:
        """Add the rows and the progress in one transaction.

        Raises:
            StoreError: nothing was written.
        """
        points = _columns(parts, "points", ("point", "t_utc_us", "value", "quality"))
        intervals = _columns(
            parts,
            "intervals",
            ("point", "start_us", "end_us", "amount", "covered_us", "estimated_us", "missing_us"),
        )
        with self._errors():
            self._db.begin()
            try:
                self._insert("points", points, _SEEN)
                self._insert("intervals", intervals)
                for table, columns in _others(parts).items():
                    self._insert(table, columns)
                for part in parts:
                    self._db.execute("DELETE FROM projected WHERE origin = ?", [part.origin])
                    row = [part.origin, part.size, part.carry.to_text()]
                    self._db.execute("INSERT INTO projected VALUES (?, ?, ?)", row)
                    self._forget(part)
                self._db.commit()
            except BaseException:
                self._db.rollback()
                raise

    def samples(self, site: str, device: str, point: str, start_us: int, end_us: int) -> Samples:
        """The samples of a point in [start, end).

        Raises:
            StoreError: the series cannot be read; so with every method here.
        """
        found = self._read(
            "SELECT t_utc_us, value, quality FROM points WHERE site = ? AND device = ? AND "
            "point = ? AND t_utc_us >= ? AND t_utc_us < ? ORDER BY t_utc_us",
            (site, device, point, start_us, end_us),
        )
        value = np.ma.filled(found["value"].astype(np.float64), np.nan)
        return Samples(
            _plain(found["t_utc_us"], np.int64), value, _plain(found["quality"], np.uint8)
        )

    def amounts(self, site: str, device: str, point: str, start_us: int, end_us: int) -> Amounts:
        """What a counter counted in the steps that begin in [start, end).

        Where the steps are forgotten (`retention`), in the quarter-hours, or days, that do.
        """
        found = self._read(AMOUNTS, (site, device, point, start_us, end_us))
        amount = _plain(found.pop("amount"), np.float64)
        return Amounts(
            amount=amount, **{name: _plain(column, np.int64) for name, column in found.items()}
        )

    def latest(self, site: str) -> list[Latest]:
        """The newest sample of every point of the site, by device and point."""
        rows = self.query(
            "SELECT device, point, t_us, value, quality FROM seen WHERE site = ? "
            "ORDER BY device, point",
            (site,),
        )
        return [Latest(*row) for row in rows]

    def extent(self, site: str, device: str) -> tuple[int, int] | None:
        """The times of the first and the last sample of a device; None: there is none. [us UTC]"""
        first_us, last_us = self.query(
            "SELECT coalesce((SELECT first_us FROM kept WHERE site = ? AND device = ?), "
            "min(first_us)), max(t_us) FROM seen WHERE site = ? AND device = ?",
            (site, device, site, device),
        )[0]
        return None if first_us is None else (first_us, last_us)

    def begun_us(self, site: str, device: str) -> int | None:
        """The time of the first sample of a device, also where it is forgotten. [us UTC]"""
        sql = "SELECT min(first_us) FROM seen WHERE site = ? AND device = ?"
        first_us: int | None = self.query(sql, (site, device))[0][0]
        return first_us

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows a query gives."""
        with self._cursor() as cursor:
            return cursor.execute(sql, list(values)).fetchall()  # type: ignore[no-any-return]

    def _read(self, sql: str, values: Sequence[Any]) -> dict[str, Any]:
        """The columns a query gives."""
        with self._cursor() as cursor:
            return dict(cursor.execute(sql, list(values)).fetchnumpy())

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        """A cursor for one read, which `close` waits for: DuckDB refuses to close under it."""
        with self._turn:
            if self._is_closed:
                raise StoreError(
                    f"The series {self._path} is closed.", "Try again in a moment.", code="series"
                )
            self._reads += 1
        try:
            with self._errors(), self._db.cursor() as cursor:
                yield cursor
        finally:
            with self._turn:
                self._reads -= 1
                self._turn.notify_all()

    def close(self) -> None:
        """Release the file, when the reads that are under way are done."""
        with self._turn:
            self._is_closed = True
            self._turn.wait_for(lambda: self._reads == 0)
        self._db.close()

    def _prepare(self) -> None:
        tables = {row[0] for row in self._db.execute("SHOW TABLES").fetchall()}
        if not tables:
            self._db.begin()
            self._db.execute(_SCHEMA)
            self._db.commit()
            return
        found = (
            self._db.execute("SELECT version FROM version").fetchall()
            if "version" in tables
            else []
        )
        if found != [(_VERSION,)]:
            raise StoreError(
                f"{self._path} is not a series of version {_VERSION}.",
                "Delete it and run 'joulemark series rebuild': it is a copy.",
                code="series_foreign",
            )

    def _forget(self, part: Part) -> None:
        """What is older than it is kept, seen from the newest row of the device."""
        site, device, _ = parse_origin(part.origin)
        if self._kept.raw_days is not None and part.points.t_utc_us.size:
            oldest_us = min(part.points.t_utc_us.min(), part.intervals.start_us.min(initial=2**62))
            span_us = int(oldest_us), int(part.points.t_utc_us.max())
            forget(self._db, self._kept, site, device, span_us)

    def _insert(self, table: str, columns: dict[str, Any], also: str = "") -> None:
        if columns["site"].size:
            self._db.register("new_rows", columns)
            self._db.execute(f"INSERT INTO {table} BY NAME SELECT * FROM new_rows")
            if also:
                self._db.execute(also)
            self._db.unregister("new_rows")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except duckdb.Error as error:
            what = str(error).partition("\n")[0]
            raise StoreError(
                f"The series {self._path}: {what}.",
                "Stop the other program that holds it; if it is damaged, delete it and run "
                "'joulemark series rebuild': it is a copy.",
                code=HELD if "Could not set lock" in what else "series",
            ) from error
        except OSError as error:
            raise StoreError(
                f"The series {self._path}: {error.strerror}.",
                "Check the folder and who may write to it.",
                code="series",
            ) from error


def _plain(column: Any, dtype: Any) -> NDArray[Any]:
    """A column without a mask: it has no row without a value."""
    return np.ma.getdata(column).astype(dtype)


def _others(parts: Sequence[Part]) -> dict[str, dict[str, Any]]:
    """The columns of each other table, of all parts one below the other."""
    found: dict[str, list[dict[str, Any]]] = {}
    for part in parts:
        for table in part.others:
            name = table.measurement.removeprefix(_PREFIX)
            found.setdefault(name, []).append(_other(part, table))
    return {
        name: {key: np.ma.concatenate([row[key] for row in rows]) for key in rows[0]}  # type: ignore[no-untyped-call]
        for name, rows in found.items()
    }


def _other(part: Part, table: Rows) -> dict[str, Any]:
    """The columns of a table, with NULL where a field is not there."""
    place = np.array(parse_origin(part.origin)[:2], object)
    site, device = np.repeat(place[:, None], table.t_us.size, axis=1)
    columns = {"site": site, "device": device, **table.tags, "t_us": table.t_us}
    return columns | {k: np.ma.masked_invalid(column) for k, column in table.fields.items()}


def _columns(parts: Sequence[Part], table: str, names: Sequence[str]) -> dict[str, Any]:
    """The columns of all parts, one below the other, with site and device before them."""
    places = np.array([parse_origin(part.origin)[:2] for part in parts], object)
    sizes = [getattr(part, table).point.size for part in parts]
    columns = {"site": np.repeat(places[:, 0], sizes), "device": np.repeat(places[:, 1], sizes)}
    for name in names:
        columns[name] = np.concatenate([getattr(getattr(part, table), name) for part in parts])
    return columns
