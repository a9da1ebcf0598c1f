"""A table of the series as a file: CSV and lines of JSON as it is read, Parquet at its end.

A number that is not there is an empty cell, or null; never 0. Times are UTC. CSV is that of
RFC 4180: a head, `,` between cells, lines that end in CR LF, `.` before decimals. A text that a
spreadsheet would compute has an apostrophe before it.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import duckdb
import numpy as np
from numpy.typing import NDArray

from joulemark_agent.contract.errors import StoreError
from joulemark_gateway.api.series_rows import Column, Table

Format = Literal["json", "csv", "ndjson", "parquet"]
MEDIA: dict[Format, str] = {
    "json": "application/json",
    "csv": "text/csv",
    "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}
_MEMORY = "256MB"  # of DuckDB while it makes a Parquet file; more goes to the disk
_PIECE = 256 * 1024
_LEFT_S = 86_400  # after which a folder that a killed process left is removed
_FOLDER = ".export-"
# What a formula begins with, also in its full-width form (OWASP, "CSV Injection").
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
_SPECIAL = frozenset(',"\r\n')
_TYPES = {"time": "TIMESTAMP", "local_time": "VARCHAR", "number": "DOUBLE", "word": "VARCHAR"}

Cells = Sequence[object]


def told(columns: Sequence[Column], chunk: Sequence[NDArray[np.generic]]) -> Iterator[Cells]:
    """The rows of a chunk as JSON has them: times as text, None where there is no number."""
    return zip(*(_told(c, a) for c, a in zip(columns, chunk, strict=True)), strict=True)


def _told(column: Column, cells: NDArray[np.generic]) -> list[object]:
    if column.kind == "time":
        return list(_times(cells))
    if column.kind == "number":
        return [None if x != x else x for x in cells.tolist()]  # noqa: PLR0124 - NaN
    return [word or None for word in cells.tolist()]


def _times(t_us: NDArray[np.generic]) -> list[str]:
    """ISO 8601 in UTC, without a fraction where no time has one."""
    times = t_us.astype(np.int64)
    unit: Literal["us", "s"] = "us" if np.any(times % 1_000_000) else "s"
    text = np.datetime_as_string(times.astype("datetime64[us]"), unit=unit)
    return [f"{one}Z" for one in text.tolist()]


def csv_of(table: Table) -> Iterator[bytes]:
    """The table as CSV, in pieces."""
    columns = table.columns
    yield (",".join(_harmless(column.name) for column in columns) + "\r\n").encode()
    for chunk in table.chunks():
        cells = [_written(c, a) for c, a in zip(columns, chunk, strict=True)]
        yield ("\r\n".join(map(",".join, zip(*cells, strict=True))) + "\r\n").encode()


def _written(column: Column, cells: NDArray[np.generic]) -> list[str]:
    if column.kind == "time":
        return _times(cells)
    if column.kind == "number":
        return ["" if x != x else repr(x).removesuffix(".0") for x in cells.tolist()]  # noqa: PLR0124 - NaN
    words: list[str] = cells.tolist()
    harmless = {word: _harmless(word) for word in set(words)}
    return [harmless[word] for word in words]


def _harmless(text: str) -> str:
    """A text as a cell: never a formula, and in quotes where it has to be."""
    if text.startswith(_FORMULA):
        text = f"'{text}"
    if _SPECIAL.isdisjoint(text):
        return text
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


def lines_of(table: Table) -> Iterator[bytes]:
    """The table as one JSON object a line, in pieces."""
    names = [column.name for column in table.columns]
    for chunk in table.chunks():
        rows = told(table.columns, chunk)
        made = [json.dumps(dict(zip(names, row, strict=True))) for row in rows]
        yield ("\n".join(made) + "\n").encode()


def parquet_of(table: Table, state_dir: Path) -> Iterator[bytes]:
    """The table as Parquet (zstd), in pieces; it is gathered on the disk first.

    Args:
        table: what.
        state_dir: of the collector; the files of it are in a folder there meanwhile.

    Raises:
        StoreError: the series cannot be read, or the disk not be written.
    """
    _remove_left(state_dir)
    with tempfile.TemporaryDirectory(prefix=_FOLDER, dir=state_dir) as name:
        made = Path(name) / "rows.parquet"
        _gather(table, Path(name), made)
        with made.open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece


def _gather(table: Table, folder: Path, made: Path) -> None:
    columns = table.columns
    names = [column.name for column in columns]
    wanted: dict[str, str | bool | int | float | list[str]] = {
        "threads": 1,
        "memory_limit": _MEMORY,
        "temp_directory": str(folder / "spilt"),
    }
    try:
        with duckdb.connect(str(folder / "rows.duckdb"), config=wanted) as db:
            types = ", ".join(f'"{column.name}" {_TYPES[column.kind]}' for column in columns)
            db.execute(f"CREATE TABLE rows ({types})")
            taken = ", ".join(_taken(k, column) for k, column in enumerate(columns))
            for chunk in table.chunks():
                db.register("chunk", {f"c{k}": cells for k, cells in enumerate(chunk)})
                db.execute(f"INSERT INTO rows SELECT {taken} FROM chunk")
                db.unregister("chunk")
            listed = ", ".join(f'"{name}"' for name in names)
            db.execute(
                f"COPY (SELECT {listed} FROM rows) TO '{_quoted(made)}' "
                "(FORMAT parquet, COMPRESSION zstd)"
            )
    except duckdb.Error as error:
        what = str(error).partition("\n")[0]
        raise StoreError(
            f"The Parquet file cannot be made: {what}.",
            "Look at the disk of state_dir, or ask for CSV, which needs no room there.",
            code="export",
        ) from error


def _taken(k: int, column: Column) -> str:
    if column.kind == "time":
        return f"make_timestamp(c{k})"
    if column.kind == "number":
        return f"CASE WHEN NOT isnan(c{k}) THEN c{k} END"
    return f"nullif(c{k}, '')"


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


def _remove_left(state_dir: Path) -> None:
    """What a process that was killed meanwhile left behind."""
    for folder in state_dir.glob(f"{_FOLDER}*"):
        try:
            is_old = time.time() - folder.stat().st_mtime > _LEFT_S
        except OSError:
            continue  # it has gone by itself
        if is_old:
            shutil.rmtree(folder, ignore_errors=True)


def writer_of(form: Format, state_dir: Path) -> Callable[[Table], Iterator[bytes]]:
    """What makes a file of this form."""
    if form == "parquet":
        return lambda table: parquet_of(table, state_dir)
    return csv_of if form == "csv" else lines_of


def form_of(asked: str | None, accept: str) -> Format | None:
    """The form that an answer has: as asked for by name, else by `Accept`; None: none fits.

    Of several that are equally welcome the first of `MEDIA`; RFC 9110, section 12.5.1.
    """
    if asked is not None:
        return next((form for form in MEDIA if form == asked), None)
    ranges = [_range_of(part) for part in accept.split(",") if part.strip()]
    if not ranges:
        return "json"
    weights = {form: _weight(media, ranges) for form, media in MEDIA.items()}
    best = max(weights, key=lambda form: weights[form])
    return best if weights[best] > 0 else None


def _range_of(part: str) -> tuple[str, float]:
    media, *parameters = (word.strip().lower() for word in part.split(";"))
    weight = 1.0
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                weight = min(max(float(parameter[2:]), 0.0), 1.0)
            except ValueError:
                weight = 0.0
    return media, weight if weight == weight else 0.0  # noqa: PLR0124 - NaN


def _weight(media: str, ranges: Sequence[tuple[str, float]]) -> float:
    """The weight that the most specific range gives."""
    kind = f"{media.partition('/')[0]}/*"
    for fitting in (media, kind, "*/*"):
        found = [weight for name, weight in ranges if name == fitting]
        if found:
            return max(found)
    return 0.0
