import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace

import pytest

from joulemark_agent.contract.errors import StoreError
from joulemark_agent.contract.topics import origin
from joulemark_gateway.evidence.base import Quarantined
from joulemark_gateway.evidence.store import FILE, SqliteStore
from support.book import NOW_US, Book
from support.child import search_path
from support.evidence import (
    METER,
    SITE,
    build_tree,
    documents,
    leaves_of,
    meter_readings,
    uncosigned,
)
from support.present import present

DOCS = documents()
TREE = [
    uncosigned(b)
    for b in build_tree(DOCS, METER, meter_readings(DOCS, [1000] * 299), slots_per_batch=3)
]
NAME = origin(SITE, METER, 1)
SMALL = TREE[:4]


def accepted(batches=SMALL):
    """The verdicts and notes a collector would give to these batches, in order."""
    book = Book()
    return [book.accepted(batch) for batch in batches]


def fill(store, batches=SMALL):
    notes = []
    for verdict, note in accepted(batches):
        store.accept(verdict, note=note, received_us=NOW_US)
        notes.append(note)
    return notes


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / FILE


@pytest.fixture
def store(path):
    with SqliteStore(path) as opened:
        yield opened


def test_a_batch_is_kept_whole_or_not_at_all(store):
    verdict, note = accepted()[0]
    with pytest.raises(StoreError):
        store.accept(replace(verdict, documents={"d": object()}), note=note, received_us=NOW_US)
    assert store.heads() == []
    assert store.documents() == {}
    store.accept(verdict, note=note, received_us=NOW_US)


def refused(i, *, agent="edge-1", code="bad_batch", payload=None):
    data = b"payload %d" % i if payload is None else payload
    return Quarantined(agent, "a/topic", code, "why", data, NOW_US + i)


def test_commits_are_flushed_and_the_journal_is_a_write_ahead_log(store):
    assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_missing_store_is_not_made_for_a_reader(path):
    with pytest.raises(StoreError, match="There is no evidence store") as caught:
        SqliteStore(path, create=False)
    assert caught.value.code == "store_missing"
    assert not path.exists()


def test_a_file_of_something_else_is_left_alone(path):
    path.parent.mkdir()
    path.write_bytes(b"a letter to the energy manager" * 40)
    with pytest.raises(StoreError) as caught:
        SqliteStore(path)
    assert caught.value.code == "store_foreign"
    path.unlink()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE foreign_data (x)")
    db.close()
    with pytest.raises(StoreError) as caught:
        SqliteStore(path)
    assert caught.value.code == "store_foreign"


def test_a_store_of_the_first_version_is_gone_on_with_by_its_writer(store, path):
    store._db.execute("DROP TABLE rotation")
    store._db.execute("PRAGMA user_version = 1")
    store.close()
    with pytest.raises(StoreError, match="older version"):
        SqliteStore(path, create=False)
    with SqliteStore(path) as again:
        assert again.rotations() == []
    with SqliteStore(path, create=False) as reader:
        assert reader.heads() == []


def test_a_store_of_another_version_is_refused(store, path):
    store._db.execute("PRAGMA user_version = 7")
    with pytest.raises(StoreError) as caught:
        SqliteStore(path)
    assert caught.value.code == "store_foreign"


def test_nobody_else_reads_the_evidence_whatever_the_umask(tmp_path):
    old = os.umask(0)
    try:
        with SqliteStore(tmp_path / "evidence.sqlite") as store:
            fill(store)
            files = list(tmp_path.iterdir())
            assert len(files) == 3, "what SQLite keeps beside it, too"
            assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    finally:
        os.umask(old)


def test_a_damaged_page_is_found_at_start(path):
    with SqliteStore(path) as store:
        fill(store, TREE)
    data = bytearray(path.read_bytes())
    for page in range(2, len(data) // 4096):
        data[page * 4096 : page * 4096 + 100] = b"\xff" * 100
    path.write_bytes(data)
    with pytest.raises(StoreError) as caught:
        SqliteStore(path)
    assert caught.value.code == "store_damaged"


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE batch SET leaves = (SELECT leaves FROM batch WHERE first_seq = 0)",
        "UPDATE batch SET note = replace(note, 'main', 'side') WHERE first_seq = 0",
        "UPDATE batch SET note = 'no note' WHERE first_seq = 0",
        "UPDATE batch SET leaves = x'00'",
        "UPDATE tree SET edge = zeroblob(length(edge))",
    ],
)
def test_a_scrub_finds_what_the_pages_cannot_show(store, path, sql):
    fill(store)
    store._db.execute(sql)
    with SqliteStore(path) as reopened, pytest.raises(StoreError) as caught:
        reopened.scrub(NAME)
    assert caught.value.code == "store_damaged"


def test_a_full_disk_is_one_clear_message_and_the_next_batch_is_taken_when_there_is_room(store):
    verdicts = accepted()
    store.accept(verdicts[0][0], note=verdicts[0][1], received_us=NOW_US)
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError) as caught:
        store.quarantine(refused(0, payload=os.urandom(100_000)))
    assert (caught.value.code, caught.value.do.split(";")[0]) == (
        "disk_full",
        "Free space on the disk",
    )
    assert store.quarantined() == []
    store._db.execute("PRAGMA max_page_count = 1000000")
    store.accept(verdicts[1][0], note=verdicts[1][1], received_us=NOW_US)
    store.scrub(NAME)


def test_a_folder_that_cannot_be_written_is_one_clear_message(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError) as caught:
        SqliteStore(tmp_path / "file" / FILE)
    assert caught.value.code == "store_io"


WRITER = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_store import NOW_US, TREE, accepted
from joulemark_gateway.evidence.store import SqliteStore

store, order = SqliteStore(Path(sys.argv[2])), sys.argv[3]
heads = store.heads()
held = heads[0].size if heads else 0
for verdict, note in accepted(TREE):
    if verdict.before.size < held:
        continue
    if order == "receipt first":
        print(verdict.after.size, flush=True)
        if verdict.after.size >= int(sys.argv[4]):
            os.kill(os.getpid(), signal.SIGKILL)
    store.accept(verdict, note=note, received_us=NOW_US)
    if order == "commit first":
        print(verdict.after.size, flush=True)
"""


def writer(path, order, until=0):
    here = __file__.rpartition("/")[0]
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, here, str(path), order, str(until)],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": search_path()},
    )


def held_size(path):
    with SqliteStore(path) as store:
        if not store.heads():
            return 0
        store.scrub(NAME)
        size = present(store.head(NAME)).size
        assert store.leaves(NAME) == leaves_of(TREE)[:size]
        return size


@pytest.mark.endurance
def test_no_receipted_batch_is_lost_when_the_writer_is_killed(path):
    chance = random.Random(20181108)
    receipted = killed = 0
    while killed < 6:
        child = writer(path, "commit first")
        for _ in range(chance.randint(1, 8)):
            receipted = int(child.stdout.readline())
        busy_until = time.perf_counter() + chance.uniform(0, 0.003)
        while time.perf_counter() < busy_until:
            pass
        child.kill()
        rest = child.stdout.read().split()
        child.stdout.close()
        assert child.wait() == -signal.SIGKILL
        receipted = int(rest[-1]) if rest else receipted
        killed += 1
        assert held_size(path) >= receipted > 0


def test_a_receipt_before_the_commit_loses_the_batch(path):
    """The control: the same writer, killed between its receipt and its commit."""
    child = writer(path, "receipt first", until=TREE[3].size)
    said, _ = child.communicate()
    assert child.returncode == -signal.SIGKILL
    assert held_size(path) < int(said.split()[-1])
