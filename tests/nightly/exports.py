"""Exports of ten million rows over a real socket: every row once, in little memory.

The series is filled by columns with a sample a second; the collector's pages run in a process of
their own, whose greatest memory is read from the kernel before and after each file. The control
reads the whole table at once, as `fetchall` would, and must take more than the bound.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from joulemark_gateway.evidence.store import FILE, SqliteStore
from joulemark_gateway.series.base import Carry, Intervals, Part, Points
from joulemark_gateway.series.embedded import EmbeddedSeries
from support.book import NOW_US, Book, registry
from support.evidence import METER, SITE, START_US, build_tree, documents, meter_readings

BOUND_MB = 100
_SECOND_US = 1_000_000
_AT_ONCE = 500_000
_READ = 1024 * 1024
_SERVE = """\
import sys
from pathlib import Path

from joulemark_gateway.web.server import PagesServer
from support import pages

state = pages.State(Path(sys.argv[1]), Path(sys.argv[1]))
with state.sources() as sources:
    server = PagesServer(sources, pages.gate(state.folder), port=0)
    print(server.url, flush=True)
    sys.stdin.read()
    server.stop()
"""
_CONTROL = """\
import sys

import duckdb

with duckdb.connect(sys.argv[1], read_only=True) as db:
    rows = db.execute("SELECT t_utc_us, value, quality FROM points ORDER BY t_utc_us").fetchall()
print(len(rows), next(
    line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")
))
"""


def run(seed: int, *, full: bool) -> dict[str, str]:
    """Ten million rows in three forms; else one million."""
    count = 10_000_000 if full else 1_000_000
    figures: dict[str, str] = {"rows": f"{count:,}"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        values = _fill(folder, count, seed)
        query = f"api/v1/sites/{SITE}/devices/{METER}/series?resolution=raw&point=power_w"
        for form in ("csv", "ndjson", "parquet"):
            with _served(folder) as (server, url):
                _drain(f"{url}{query}&limit=1000")  # everything is imported
                before_mb = _most_mb(server)
                begun_s = time.monotonic()
                size, lines, made = _drain(f"{url}{query}&format={form}", folder / "export")
                took_s, grown_mb = time.monotonic() - begun_s, _most_mb(server) - before_mb
            if form == "parquet":
                found = duckdb.execute(
                    f"SELECT count(DISTINCT t_utc), sum(power_w) FROM read_parquet('{made}')"
                ).fetchall()[0]
                lines = found[0]
                assert found[1] == float(values.sum())
            elif form == "csv":
                lines -= 1  # the head
                read = duckdb.execute(f"SELECT sum(power_w) FROM read_csv('{made}')").fetchall()
                assert read[0][0] == float(values.sum())
            assert lines == count, (form, lines)
            assert grown_mb < BOUND_MB * (4 if form == "parquet" else 1), (form, grown_mb)
            figures[form] = (
                f"{size / 1e6:,.0f} MB in {took_s:.0f} s, {count / took_s:,.0f} rows/s, the "
                f"process grew by {grown_mb:.0f} MB at most"
            )
        asked = [sys.executable, "-c", _CONTROL, str(folder / "series.duckdb")]
        done = subprocess.run(asked, capture_output=True, text=True, check=True)
        rows, most_kb = done.stdout.split()[-2:]  # DuckDB may show how far it is before
    assert int(rows) == count
    if full:
        assert int(most_kb) / 1024 > 5 * BOUND_MB
    figures["control, all rows at once"] = f"{int(most_kb) / 1024:,.0f} MB"
    return figures


def _fill(folder: Path, count: int, seed: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A meter that is read every second, and its power in the series."""
    site = documents(period_s=1)
    book = Book(registry(devices=(METER,)))
    with SqliteStore(folder / FILE) as store:
        for batch in build_tree(site, METER, meter_readings(site, [1000, 1000])):
            verdict, note = book.accepted(batch)
            store.accept(verdict, note=note, received_us=NOW_US)
    values = np.random.default_rng(seed).integers(0, 60_000, count).astype(np.float64)
    none = np.empty(0, np.int64)
    intervals = Intervals(np.empty(0, object), none, none, none, none, none, none)
    series = EmbeddedSeries(folder / "series.duckdb")
    for k in range(0, count, _AT_ONCE):
        part = values[k : k + _AT_ONCE]
        times_us = START_US + (k + np.arange(part.size)) * _SECOND_US
        names = np.full(part.size, "power_w", object)
        points = Points(names, times_us, part, np.zeros(part.size, np.uint8))
        series.write([Part(f"joulemark/{SITE}/{METER}/1", k + 1, Carry(), points, intervals)])
    series.close()
    return values


@contextmanager
def _served(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The pages over it in a process of their own, and their address."""
    command = [sys.executable, "-c", _SERVE, str(folder)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=_environment(),
    ) as server:
        assert server.stdout is not None
        try:
            yield server, server.stdout.readline().strip()
        finally:
            server.communicate()


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": ":".join(path for path in sys.path if path)}


def _drain(url: str, into: Path | None = None) -> tuple[int, int, Path | None]:
    """How many bytes and lines an address answers with."""
    size = lines = 0
    with urllib.request.urlopen(url, timeout=600) as answer:
        file = None if into is None else into.open("wb")
        while piece := answer.read(_READ):
            size, lines = size + len(piece), lines + piece.count(b"\n")
            if file is not None:
                file.write(piece)
        if file is not None:
            file.close()
    return size, lines, into


def _most_mb(server: subprocess.Popen[str]) -> float:
    """The most memory that the process has had. [MB]"""
    for line in Path(f"/proc/{server.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise AssertionError("the kernel does not say")
