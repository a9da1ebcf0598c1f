"""N15: the outbox against SQLite alone and against a file that is appended to and flushed.

Records of 200 bytes; one commit each of 100 and of 1,000 of them, all durable when it returns. The
outbox keeps its state, an index of heads and covers beside them. Rates are wall time: a disk that
flushes costs no CPU. Bytes written are the kernel's, of this process, over those of the records.
"""

import os
import sqlite3
import time
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from joulemark_agent.covers import Tree
from joulemark_agent.outbox import Change, Outbox
from support.rounds import Work, in_turns, say, show

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

SIZE, COMMITS = 200, 30
LEAF = os.urandom(SIZE // 2).hex().encode()


def written_bytes() -> int:
    lines = Path("/proc/self/io").read_text("utf-8").splitlines()
    [found] = [int(line.split()[1]) for line in lines if line.startswith("write_bytes")]
    return found


def append(folder: Path, records: int) -> None:
    descriptor = os.open(folder / "log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    for _ in range(COMMITS):
        frame = b"".join(
            len(LEAF).to_bytes(4) + zlib.crc32(LEAF).to_bytes(4) + LEAF for _ in range(records)
        )
        os.write(descriptor, frame)
        os.fdatasync(descriptor)
    os.close(descriptor)


def plain_sqlite(folder: Path, records: int) -> None:
    with closing(sqlite3.connect(folder / "plain.db", isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("CREATE TABLE leaves (seq INTEGER PRIMARY KEY, leaf BLOB)")
        for commit in range(COMMITS):
            db.execute("BEGIN")
            rows = ((commit * records + i, LEAF) for i in range(records))
            db.executemany("INSERT INTO leaves VALUES (?, ?)", rows)
            db.execute("COMMIT")


def outbox(folder: Path, records: int) -> None:
    tree = Tree("bench", 1, b"{}")
    with closing(Outbox(folder / "outbox.db")) as box:
        for commit in range(COMMITS):
            box.commit([Change(tree, commit * records, [LEAF] * records)])


@pytest.mark.parametrize("records", [100, 1000])
def test_rate_and_bytes_written_against_appending(tmp_path: Path, records: int) -> None:
    amplification: dict[str, list[float]] = {}
    number = iter(range(10_000))

    def way(name: str, write: Callable[[Path, int], None]) -> Work:
        def work() -> float:
            folder = tmp_path / f"{name}-{next(number)}"
            folder.mkdir()
            before, begun_s = written_bytes(), time.monotonic()
            write(folder, records)
            took_s = time.monotonic() - begun_s
            payload = COMMITS * records * SIZE
            amplification.setdefault(name, []).append((written_bytes() - before) / payload)
            return took_s / (COMMITS * records) * 1e6

        return work

    ways = {"append, fdatasync": way("append", append), "SQLite": way("sqlite", plain_sqlite),
            "outbox": way("outbox", outbox)}  # fmt: skip
    seen = in_turns(ways)
    show(f"N15 a record of {SIZE} B, {records} a commit", seen, "us", to="append, fdatasync")
    for name, found in amplification.items():
        say(f"  {name}: {sorted(found)[len(found) // 2]:.2f} bytes written for one of a record")
