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
from joulemark_agent.contract.tree import Edge
from joulemark_gateway.evidence.base import Quarantined, StoredBatch
from joulemark_gateway.evidence.store import FILE, SqliteStore
from support.book import NOW_US, Book
from support.child import search_path
from support.evidence import (
    COUNTER,
    METER,
    SITE,
    build_tree,
    counter_readings,
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


def test_what_was_accepted_is_given_back_as_it_was(store, path):
    notes = fill(store)
    counter = build_tree(DOCS, COUNTER, counter_readings(DOCS, [10] * 4))
    counter_notes = fill(store, counter)
    with SqliteStore(path, create=False) as reader:
        leaves = leaves_of(SMALL)
        assert reader.leaves(NAME) == leaves
        for start, end in [(0, 1), (3, 9), (5, 5), (9, 3), (len(leaves) - 1, None), (99, 120)]:
            assert reader.leaves(NAME, start, end) == leaves[start:end]
        assert reader.notes(NAME) == notes
        assert [reader.note_at(NAME, b.size) for b in SMALL] == notes
        assert reader.note_at(NAME, SMALL[0].size + 1) is None
        assert reader.note_at(NAME, 0) is None
        assert reader.documents() == {**SMALL[0].documents, **counter[0].documents}
        assert [head.origin for head in reader.heads()] == [NAME, origin(SITE, COUNTER, 1)]
        assert reader.batches(NAME)[1] == StoredBatch(
            SMALL[1].first_seq, SMALL[1].size, notes[1], NOW_US, ()
        )
        head = reader.head(NAME)
        assert head == reader.latest(SITE, METER)
        assert head == replace(accepted_head(), note=notes[-1])
        assert present(reader.head(origin(SITE, COUNTER, 1))).note == counter_notes[-1]
        for held in reader.heads():
            reader.scrub(held.origin)


def accepted_head():
    book = Book()
    book.offer_all(SMALL)
    return book.heads[NAME]


def test_nothing_is_held_of_a_tree_that_never_came(store):
    assert store.head(NAME) is None
    assert store.latest(SITE, METER) is None
    assert store.leaves(NAME) == []
    assert store.notes(NAME) == []
    assert store.note_at(NAME, 1) is None


def test_the_latest_tree_of_a_device_is_that_of_its_highest_epoch(store):
    second = build_tree(DOCS, METER, meter_readings(DOCS, [1]), epoch=2)
    fill(store, [*SMALL, *second])
    assert store.latest(SITE, METER).epoch == 2
    assert store.head(NAME).size == SMALL[-1].size


def test_a_batch_that_does_not_extend_the_head_changes_nothing(store):
    verdicts = accepted()
    store.accept(verdicts[0][0], note=verdicts[0][1], received_us=NOW_US)
    other_head = replace(verdicts[1][0], before=Edge(SMALL[0].size, (b"\0" * 32,) * 3))
    for wrong in (verdicts[0][0], verdicts[2][0], other_head):
        with pytest.raises(StoreError) as caught:
            store.accept(wrong, note="", received_us=NOW_US)
        assert caught.value.code == "head_moved"
    assert store.leaves(NAME) == list(SMALL[0].leaves)
    assert store.notes(NAME) == [verdicts[0][1]]


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


def test_the_quarantine_is_bounded_by_agent_and_counts_what_it_does_not_keep(path):
    with SqliteStore(path, quarantine_messages=3, quarantine_bytes=1000) as store:
        for i in range(10):
            store.quarantine(refused(i))
            store.quarantine(refused(i, agent="edge-2", payload=b"x" * 400 + b"%d" % i))
        counts = {row.agent: (row.messages, row.kept) for row in store.quarantined()}
    assert counts == {"edge-1": (10, 3), "edge-2": (10, 2)}


def test_a_flood_does_not_push_out_the_proof_of_an_earlier_fork(path):
    with SqliteStore(path, quarantine_messages=3) as store:
        store.quarantine(refused(0, code="fork", payload=b"proof"))
        for i in range(10):
            store.quarantine(refused(i))
        assert {r.code: (r.messages, r.kept) for r in store.quarantined()} == {
            "fork": (1, 1),
            "bad_batch": (10, 3),
        }
    with closing(sqlite3.connect(path)) as db, db:
        kept = db.execute("SELECT payload FROM quarantine WHERE code = 'fork'").fetchall()
    db.close()
    assert kept == [(b"proof",)]


def test_a_flood_leaves_room_for_the_proof_of_a_later_fork(path):
    """Anybody who reaches the broker can flood; only the agent's key can sign a fork."""
    with SqliteStore(path, quarantine_messages=3) as store:
        for i in range(10):
            store.quarantine(refused(i))
        store.quarantine(refused(0, code="fork", payload=b"proof"))
        assert {r.code: (r.messages, r.kept) for r in store.quarantined()} == {
            "fork": (1, 1),
            "bad_batch": (10, 3),
        }


def test_the_same_message_again_is_one_entry(store):
    for i in range(5):
        store.quarantine(refused(i, payload=b"same"))
    (row,) = store.quarantined()
    assert (row.messages, row.kept, row.last_us) == (5, 1, NOW_US + 4)


def test_quarantine_never_touches_what_is_held(store):
    fill(store)
    heads = store.heads()
    for i in range(5):
        store.quarantine(refused(i, code="fork"))
    assert store.heads() == heads


def test_commits_are_flushed_and_the_journal_is_a_write_ahead_log(store):
    assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_reader_cannot_write(store, path):
    fill(store)
    with SqliteStore(path, create=False) as reader, pytest.raises(StoreError):
        reader.quarantine(refused(0))


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
        "DELETE FROM batch WHERE first_seq = (SELECT max(first_seq) FROM batch)",
        "DELETE FROM batch WHERE first_seq = 0",
        "UPDATE tree SET size = size + 1",
        "UPDATE batch SET size = size + 1 WHERE first_seq = 0",
    ],
)
def test_batches_that_do_not_fill_their_tree_are_found_at_start(store, path, sql):
    fill(store)
    store._db.execute(sql)
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


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE tree SET content = x'00'",
        "UPDATE tree SET edge = x'00'",
        "UPDATE tree SET origin = 'x'",
    ],
)
def test_a_head_that_cannot_be_read_is_damage_and_no_traceback(store, path, sql):
    fill(store, SMALL)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(sql)
    db.close()
    for read in (store.heads, lambda: store.latest(SITE, METER)):
        with pytest.raises(StoreError) as caught:
            read()
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
