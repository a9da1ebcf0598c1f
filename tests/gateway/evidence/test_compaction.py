"""Old batches move into blocks: every answer of the store stays what it was."""

import json
import shutil
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path

import pytest

from joulemark_agent.contract.batch import batch_bytes
from joulemark_agent.contract.errors import StoreError
from joulemark_agent.contract.topics import batch_topic, origin
from joulemark_gateway.alive import Beat
from joulemark_gateway.evidence import blocks, compactor
from joulemark_gateway.evidence.blocks import Content, packed, unpacked
from joulemark_gateway.evidence.compactor import Compactor
from joulemark_gateway.evidence.store import FILE, SqliteStore
from support.book import NOW_US
from support.collector_command import collector
from support.evidence import (
    AGENT,
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
from support.forks import until
from support.intakes import new_intake
from support.present import present

DOCS = documents()
TREES = {
    METER: build_tree(DOCS, METER, meter_readings(DOCS, [1000] * 299), slots_per_batch=3),
    COUNTER: build_tree(DOCS, COUNTER, counter_readings(DOCS, [7] * 99), slots_per_batch=5),
}
LATER_US = NOW_US + 10**12


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    path = tmp_path_factory.mktemp("filled") / FILE
    with closing(new_intake(path, step_us=0)) as intake:
        for device, tree in TREES.items():
            for batch in tree:
                intake.take(batch_topic(AGENT, device), batch_bytes(uncosigned(batch)))
    return path


@pytest.fixture
def path(filled, tmp_path):
    return Path(shutil.copy(filled, tmp_path / FILE))


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(compactor, "PLAIN_BYTES", 20_000)


def answers(path) -> list[object]:
    """All that a store can be asked of its trees."""
    found: list[object] = []
    with SqliteStore(path, create=False) as store:
        for device, tree in TREES.items():
            name = origin(SITE, device, 1)
            size = tree[-1].size
            store.scrub(name)
            spans = [(0, None), (0, 1), (3, 90), (size // 2, size // 2 + 1), (size - 4, None)]
            found.append([store.leaves(name, *span) for span in spans])
            found.append([store.note_at(name, at) for at in range(0, size + 1, 3)])
            found += [store.batches(name), store.notes(name), store.head(name)]
    return found


def compacted(path, before_us=LATER_US, *, all_of_it=False):
    with Compactor(path) as opened:
        return list(opened.moves(before_us, all_of_it=all_of_it))


def test_every_answer_is_what_it_was_and_the_file_is_smaller(path):
    before = answers(path)
    with Compactor(path) as opened:
        size = opened.bytes_used()
        moved = list(opened.moves(LATER_US))
        assert len({one.origin for one in moved}) == 2
        assert len(moved) > 4
        assert answers(path) == before
        more = list(opened.moves(LATER_US, all_of_it=True))
        assert opened.bytes_used() < 0.6 * size
    left = sum(map(len, TREES.values())) - sum(one.batches for one in (*moved, *more))
    assert left <= len(TREES), "one batch alone is no block"
    assert answers(path) == before
    assert compacted(path, all_of_it=True) == []


def test_a_batch_that_comes_again_gets_the_receipt_it_got(path):
    with SqliteStore(path, create=False) as store:
        notes = store.notes(origin(SITE, METER, 1))
    compacted(path, all_of_it=True)
    with closing(new_intake(path, step_us=0)) as intake:
        for batch, note in zip(TREES[METER], notes, strict=True):
            answer = present(intake.take(batch_topic(AGENT, METER), batch_bytes(uncosigned(batch))))
            assert answer.payload.decode() == note
            assert not answer.has_grown


def test_a_clock_that_ran_ahead_for_a_while_does_not_stop_it(path):
    """A batch received in the future parts the old ones around it, and stays as it is."""
    place = TREES[METER][40].first_seq
    with closing(sqlite3.connect(path)) as db:
        ahead = "UPDATE batch SET received_us = ? WHERE tree = 1 AND first_seq = ?"
        db.execute(ahead, (2 * LATER_US, place))
        db.commit()
    before = answers(path)
    with Compactor(path) as opened:
        trees = {one.origin for one in opened.moves(LATER_US, all_of_it=True)}
    assert len(trees) == len(TREES), "and the trees after it have their turn"
    assert answers(path) == before
    with closing(sqlite3.connect(path)) as db:
        left = db.execute("SELECT first_seq FROM batch WHERE length(leaves) > 0 AND tree = 1")
        assert left.fetchall() == [(place,)]


def test_what_is_young_or_too_little_stays_where_it_is(path):
    assert compacted(path, NOW_US) == []
    (first, *_) = compacted(path)
    assert first.leaves < TREES[METER][-1].size


def test_a_reader_that_was_there_before_reads_on(path):
    expected = leaves_of(TREES[METER])
    with SqliteStore(path, create=False) as store:
        assert store.leaves(origin(SITE, METER, 1), 5, 50) == expected[5:50]
        compacted(path, all_of_it=True)
        assert store.leaves(origin(SITE, METER, 1)) == expected


def test_two_who_compact_at_once_leave_one_whole_store(path):
    before = answers(path)
    with Compactor(path) as one, Compactor(path) as other:
        mine, theirs = one.moves(LATER_US), other.moves(LATER_US)
        next(mine)
        next(theirs)  # saw what the first had left
        with pytest.raises(StoreError) as caught:
            list(mine)  # packed what the second had taken meanwhile
        assert caught.value.code in {"store_busy", "store_io"}
        list(theirs)
    assert answers(path) == before


def test_a_leaf_that_is_not_here_keeps_its_batch_out_of_blocks(path):
    away = zlib.compress(b'{"withheld":{"count":1,"hashes":[]}}')
    place = TREES[METER][40].first_seq
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE batch SET leaves = ? WHERE tree = 1 AND first_seq = ?", (away, place))
        db.commit()
    compacted(path, all_of_it=True)
    with closing(sqlite3.connect(path)) as db:
        left = db.execute("SELECT first_seq FROM batch WHERE length(leaves) > 0 AND tree = 1")
        assert left.fetchall() == [(place,)]


@pytest.mark.parametrize("column", ["leaves", "notes"])
@pytest.mark.parametrize("harm", ["substr({0}, 1, length({0}) - 9)", "zeroblob(length({0}))"])
def test_a_damaged_block_is_damage_of_the_store(path, column, harm):
    compacted(path, all_of_it=True)
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"UPDATE block SET {column} = {harm.format(column)}")
        db.commit()
    with SqliteStore(path, create=False) as store, pytest.raises(StoreError) as caught:
        store.scrub(origin(SITE, METER, 1))
    assert caught.value.code == "store_damaged"


def test_a_block_of_another_place_is_found_by_the_scrub(path):
    compacted(path, all_of_it=True)
    with closing(sqlite3.connect(path)) as db:
        swap = "UPDATE block SET leaves = (SELECT leaves FROM block WHERE tree = 2 LIMIT 1)"
        db.execute(f"{swap} WHERE tree = 1")
        db.commit()
    with SqliteStore(path, create=False) as store, pytest.raises(StoreError, match="damaged"):
        store.scrub(origin(SITE, METER, 1))


def test_a_block_gives_back_what_it_was_made_of():
    batches = [Content(i, b"\n".join([b"x" * i] * 3), f"note {i}\n\n— a b\n") for i in range(1, 40)]
    leaves, notes = packed(batches)
    assert unpacked(leaves) == [batch.lines for batch in batches]
    assert blocks.notes_of(notes) == [batch.note for batch in batches]


def test_the_command_compacts_what_is_there_and_says_what_it_came_to(path, capsys):
    before = answers(path)
    assert collector(path.parent, "compact", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["blocks"] > 0
    assert told["bytes_after"] < told["bytes_before"]
    assert collector(path.parent, "compact") == 0
    assert capsys.readouterr().out.startswith("0 batches in 0 blocks")
    assert answers(path) == before


def test_a_running_collector_compacts_by_itself_and_goes_on_after_trouble(
    path, monkeypatch, caplog
):
    monkeypatch.setattr(compactor, "_TURN_S", 0.01)
    before, away = answers(path), path.with_suffix(".away")
    path.rename(away)
    thread = compactor.CompactorThread(lambda: Compactor(path), lambda: LATER_US)
    thread.start()
    try:
        until(lambda: "compaction_down" in caplog.text, "it says that there is no store")
        away.rename(path)
        until(lambda: blocks_in(path) > 4, "blocks are made")
    finally:
        thread.stop()
    assert caplog.text.count("compaction_down") == 1
    assert answers(path) == before


def test_a_mistake_of_ours_is_told_and_the_next_turn_compacts(path, monkeypatch, caplog):
    monkeypatch.setattr(compactor, "_TURN_S", 0.01)
    opened = iter([ValueError("of ours"), OSError("of ours, too")])

    def open_compactor():
        if (mistake := next(opened, None)) is not None:
            raise mistake
        return Compactor(path)

    beats = []
    beat = Beat(lambda: beats.append("on"), lambda: beats.append("off"))
    thread = compactor.CompactorThread(open_compactor, lambda: LATER_US, beat)
    thread.start()
    try:
        until(lambda: blocks_in(path) > 4, "blocks are made")
    finally:
        thread.stop()
    assert "compaction_failed" in caplog.text
    assert "ValueError: of ours" in caplog.text
    assert beats.count("on") > blocks_in(path), "each block says that it goes on"
    assert beats[-1] == "off"


def blocks_in(path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("SELECT count(*) FROM block").fetchone()[0])
