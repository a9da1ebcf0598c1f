"""What holds for every ledger, whatever database it stands in: one suite for all of them."""

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from joulemark_agent.contract.errors import StoreError
from joulemark_agent.contract.signature import (
    Checkpoint,
    is_log_signed,
    parse_checkpoint,
    parse_note,
    public_key,
)
from joulemark_agent.contract.topics import origin
from joulemark_agent.contract.tree import Edge, append, root
from joulemark_gateway.evidence import compactor
from joulemark_gateway.evidence.base import Head, Quarantined, StoredBatch
from joulemark_gateway.evidence.entries import Entry, parse_entry
from joulemark_gateway.evidence.ledger import SqliteLedger
from joulemark_gateway.evidence.log import CollectorLog
from joulemark_gateway.evidence.log_store import Token
from joulemark_gateway.evidence.store import FILE
from support.book import NOW_US, Book
from support.evidence import (
    COUNTER,
    KEYS,
    METER,
    SITE,
    WITNESS,
    build_tree,
    counter_readings,
    documents,
    leaves_of,
    meter_readings,
    uncosigned,
)
from support.log_writer import ORIGIN, an_entry
from support.present import present

DOCS = documents()
TREE = [
    uncosigned(b)
    for b in build_tree(DOCS, METER, meter_readings(DOCS, [1000] * 299), slots_per_batch=3)
]
NAME = origin(SITE, METER, 1)
SMALL = TREE[:4]
LATER_US = NOW_US + 10**12
DOCUMENTS = {"profile": "a" * 64, "site": "b" * 64, "factors": "c" * 64}


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.service)])
def ledger(request, tmp_path):
    """A new ledger of each kind."""
    if request.param == "sqlite":
        return SqliteLedger(tmp_path / "state" / FILE)
    return request.getfixturevalue("postgres").ledger()


@pytest.fixture
def store(ledger):
    with ledger.writer() as opened:
        yield opened


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


def statement(engine, sql, *values):
    """Change what nothing of ours would change."""
    with engine._transaction() as db:
        db.execute(sql, values)


def refused(i, *, agent="edge-1", code="bad_batch", payload=None):
    data = b"payload %d" % i if payload is None else payload
    return Quarantined(agent, "a/topic", code, "why", data, NOW_US + i)


# --- evidence -----------------------------------------------------------------------------------


def test_what_was_accepted_is_given_back_as_it_was(store, ledger):
    notes = fill(store)
    counter = build_tree(DOCS, COUNTER, counter_readings(DOCS, [10] * 4))
    counter_notes = fill(store, counter)
    with ledger.reader() as reader:
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


def test_the_quarantine_is_bounded_by_agent_and_counts_what_it_does_not_keep(ledger):
    with ledger.writer(quarantine_messages=3, quarantine_bytes=1000) as store:
        for i in range(10):
            store.quarantine(refused(i))
            store.quarantine(refused(i, agent="edge-2", payload=b"x" * 400 + b"%d" % i))
        counts = {row.agent: (row.messages, row.kept) for row in store.quarantined()}
    assert counts == {"edge-1": (10, 3), "edge-2": (10, 2)}


def test_a_flood_does_not_push_out_the_proof_of_an_earlier_fork(ledger):
    with ledger.writer(quarantine_messages=3) as store:
        store.quarantine(refused(0, code="fork", payload=b"proof"))
        for i in range(10):
            store.quarantine(refused(i))
        assert {r.code: (r.messages, r.kept) for r in store.quarantined()} == {
            "fork": (1, 1),
            "bad_batch": (10, 3),
        }
    with ledger.reader() as store:
        kept = store._rows("SELECT payload FROM quarantine WHERE code = 'fork'")
    assert kept == [(b"proof",)]


def test_a_flood_leaves_room_for_the_proof_of_a_later_fork(ledger):
    """Anybody who reaches the broker can flood; only the agent's key can sign a fork."""
    with ledger.writer(quarantine_messages=3) as store:
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


def test_a_reader_cannot_write(store, ledger):
    fill(store)
    with ledger.reader() as reader, pytest.raises(StoreError):
        reader.quarantine(refused(0))


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM batch WHERE first_seq = (SELECT max(first_seq) FROM batch)",
        "DELETE FROM batch WHERE first_seq = 0",
        "UPDATE tree SET size = size + 1",
        "UPDATE batch SET size = size + 1 WHERE first_seq = 0",
    ],
)
def test_batches_that_do_not_fill_their_tree_are_found_at_start(store, ledger, sql):
    fill(store)
    with ledger.log() as other:
        statement(other, sql)
    with pytest.raises(StoreError) as caught:
        ledger.writer()
    assert caught.value.code == "store_damaged"


@pytest.mark.parametrize(("column", "value"), [("content", b"x"), ("edge", b"x"), ("origin", "x")])
def test_a_head_that_cannot_be_read_is_damage_and_no_traceback(store, ledger, column, value):
    fill(store, SMALL)
    with ledger.log() as other:
        statement(other, f"UPDATE tree SET {column} = ?", value)
    for read in (store.heads, lambda: store.latest(SITE, METER)):
        with pytest.raises(StoreError) as caught:
            read()
        assert caught.value.code == "store_damaged"


def test_of_two_who_extend_one_head_one_is_told_that_it_moved(ledger):
    """A hundred races of two writers, each with a connection of its own."""
    moved = 0
    with ledger.writer() as one, ledger.writer() as other, ThreadPoolExecutor(2) as pool:
        for verdict, note in accepted(TREE):
            raced = [
                pool.submit(store.accept, verdict, note=note, received_us=NOW_US)
                for store in (one, other)
            ]
            faults = [found for race in raced if (found := race.exception()) is not None]
            assert [getattr(fault, "code", fault) for fault in faults] == ["head_moved"]
            moved += 1
        assert moved == len(TREE)
        assert one.leaves(NAME) == leaves_of(TREE)
        one.scrub(NAME)


def test_the_limits_of_the_quarantine_hold_for_all_who_write_together(ledger):
    with (
        ledger.writer(quarantine_messages=5) as one,
        ledger.writer(quarantine_messages=5) as other,
        ThreadPoolExecutor(2) as pool,
    ):
        found = pool.map(
            lambda who: [who[0].quarantine(refused(i)) for i in who[1]],
            (
                (one, range(0, 40, 2)),
                (other, range(1, 40, 2)),
            ),
        )
        assert len(list(found)) == 2
        [row] = one.quarantined()
    assert (row.messages, row.kept) == (40, 5)


def test_old_batches_move_into_blocks_and_every_answer_stays(ledger, store, monkeypatch):
    monkeypatch.setattr(compactor, "PLAIN_BYTES", 20_000)
    fill(store, TREE)

    def answers():
        with ledger.reader() as reader:
            reader.scrub(NAME)
            notes = [reader.note_at(NAME, at) for at in range(0, TREE[-1].size + 1, 3)]
            return reader.leaves(NAME), reader.batches(NAME), reader.head(NAME), notes

    before = answers()
    with ledger.compactor() as opened:
        assert opened.may_begin()
        size = opened.bytes_used()
        moved = list(opened.moves(LATER_US, all_of_it=True))
        assert len(moved) > 2
        assert opened.bytes_used() < size
    assert answers() == before
    assert store.batches(NAME) == before[1], "to who had it open all the while, too"
    ledger.writer().close()


def test_a_ledger_that_was_never_written_is_missing_and_is_not_made_by_a_reader(ledger):
    assert not ledger.exists()
    for opened in (ledger.reader, ledger.compactor):
        with pytest.raises(StoreError) as caught:
            opened()
        assert caught.value.code == "store_missing"
    assert not ledger.exists()
    ledger.writer().close()
    assert ledger.exists()


# --- the collector's log ------------------------------------------------------------------------


def head_of(size, device="meter", site=SITE, epoch=1, documents=DOCUMENTS):
    """A head of a tree whose leaves nobody looks at."""
    edge = append(Edge(), [b"%s %d" % (device.encode(), i) for i in range(size)])
    grant = {"documents": documents, "epoch": epoch, "dev": device, "site": site}
    return Head(f"joulemark/{site}/{device}/{epoch}", edge, grant, b"", "", 0, None, None)


def entries(store):
    return [parse_entry(leaf, i) for i, (_, leaf) in enumerate(store.leaves(10**6))]


@pytest.fixture
def begun(ledger):
    """A ledger in which no log was kept yet."""
    ledger.writer().close()
    return ledger


def test_a_head_covers_every_leaf_and_is_signed_by_the_log(begun):
    with begun.log() as store:
        book = CollectorLog(store, WITNESS, KEYS.witness)
        assert book.close(1) is None, "of nothing there is no head"
        assert book.approve([head_of(5), head_of(3, "pump")], [], 1_000) == 5
        assert book.take_heads([head_of(5), head_of(3, "pump")], 2_000) == 1
        head = present(book.close(3_000))
        assert is_log_signed(head.note, public_key(KEYS.witness))
        leaves = [leaf for _, leaf in store.leaves(head.size)]
        true = Checkpoint(ORIGIN, 6, root(append(Edge(), leaves)))
        assert parse_checkpoint(parse_note(head.note)[0]) == true
        assert present(book.close(4_000)) == head, "the same leaves have the same head"
        [last] = [entry for entry in entries(store) if entry.kind == "heads"]
        assert {found.origin: (found.size, found.root) for found in last.heads} == {
            head_of(5).origin: (5, head_of(5).root),
            head_of(3, "pump").origin: (3, head_of(3, "pump").root),
        }


def test_what_stands_is_not_said_again_and_only_what_grew_is_named(begun):
    with begun.log() as store:
        book = CollectorLog(store, WITNESS, KEYS.witness)
        heads = [head_of(5), head_of(3, "pump"), head_of(2, "mill", "pohang")]
        assert book.approve(heads, [], 1) == 9, "a grant a tree, a document once a site"
        assert book.approve(heads, [], 2) == 0
        assert book.take_heads(heads, 3) == 2, "a leaf a site"
        assert book.take_heads(heads, 4) == 0
        assert book.take_heads([head_of(5), head_of(4, "pump"), heads[2]], 5) == 1
        assert [head.origin for head in entries(store)[-1].heads] == [head_of(4, "pump").origin]
        again = head_of(1, "mill", "pohang", epoch=2)
        assert book.approve([*heads, again], [], 6) == 1, "the documents stand; the grant is new"


def test_who_was_slower_does_not_take_a_tree_back(begun, monkeypatch):
    """The collector's thread commits while a person's command waits for the file."""
    with begun.log() as one, begun.log() as other:
        slow, fast = (CollectorLog(store, WITNESS, KEYS.witness) for store in (one, other))
        fast.take_heads([head_of(3)], 1)
        commit = one.append

        def after_the_other(*args):
            fast.take_heads([head_of(9)], 2)
            return commit(*args)

        monkeypatch.setattr(one, "append", after_the_other)
        assert slow.take_heads([head_of(5), head_of(2, "pump")], 3) == 1
        named = [(head.origin, head.size) for entry in entries(one) for head in entry.heads]
        meter, pump = head_of(1).origin, head_of(1, "pump").origin
        assert named == [(meter, 3), (meter, 9), (pump, 2)]


def test_the_leaves_of_each_site_are_numbered_by_themselves(begun):
    with begun.log() as store:
        book = CollectorLog(store, WITNESS, KEYS.witness)
        for size in range(1, 6):
            book.take_heads([head_of(size), head_of(size, "mill", "pohang")], size)
        for site in (SITE, "pohang"):
            numbers = [entry.n for entry in entries(store) if entry.site == site]
            assert numbers == list(range(5))


def test_the_log_of_another_name_is_not_gone_on_with(begun):
    with begun.log() as store:
        CollectorLog(store, WITNESS, KEYS.witness).take_heads([head_of(1)], 1)
        with pytest.raises(StoreError, match="Put the collector's name back") as caught:
            CollectorLog(store, "another", KEYS.witness).take_heads([head_of(2)], 2)
        assert caught.value.code == "log_of_another"


def test_two_who_write_at_once_make_one_head_of(begun):
    """The collector's own thread, and a person's command beside it."""
    draw = random.Random(3)
    with begun.log() as one, begun.log() as other:
        for store in (one, other) * 5:
            store.append(ORIGIN, [an_entry(draw)], 1)
            present(CollectorLog(store, WITNESS, KEYS.witness).close(1))
        assert one.edge() == other.edge()
        assert one.edge().size == 10
        one.scrub()


def test_a_scrub_finds_a_leaf_that_was_changed_and_a_head_that_was_made_up(begun):
    with begun.log() as store:
        book, draw = CollectorLog(store, WITNESS, KEYS.witness), random.Random(4)
        for _ in range(5):
            store.append(ORIGIN, [an_entry(draw)], 1)
            book.close(1)
        store.scrub()
        [(leaf,)] = store._rows("SELECT leaf FROM log_leaf WHERE position = 2")
        statement(store, "UPDATE log_leaf SET leaf = ? WHERE position = 2", leaf + b" ")
        with pytest.raises(StoreError, match="first 3 leaves"):
            store.scrub()
        statement(store, "UPDATE log_leaf SET leaf = ? WHERE position = 2", leaf)
        statement(store, "INSERT INTO log_head VALUES (9, '', 0)")
        with pytest.raises(StoreError, match="its 5 leaves"):
            store.scrub()


def test_a_reader_beside_the_collector_changes_nothing_and_needs_nothing(begun):
    with begun.log(write=False) as reader:
        assert (reader.origin, reader.heads(), reader.edge()) == (None, [], Edge())
        assert (reader.leaves(9), reader.tokens(), reader.logged_sizes()) == ([], [], {})
        assert reader.cosigned_size("anchor-firm") == 0
    with begun.log() as store, begun.log(write=False) as reader:
        CollectorLog(store, WITNESS, KEYS.witness).take_heads([head_of(1)], 1)
        assert reader.edge().size == 1
        with pytest.raises(StoreError):
            reader.append(ORIGIN, [an_entry(random.Random(1))], 1)


def test_the_first_cosignature_and_the_first_token_stand(begun):
    with begun.log() as store:
        book = CollectorLog(store, WITNESS, KEYS.witness)
        book.take_heads([head_of(1)], 1)
        size = present(book.close(1)).size
        for line in ("— anchor-firm AAAA\n", "— anchor-firm BBBB\n"):
            store.keep_cosignature(size, "anchor-firm", line)
        for token in (b"first", b"second"):
            store.keep_token(Token(size, "tsa", token, 7))
        head = present(store.head(size))
        assert head.cosigned == head.note + "— anchor-firm AAAA\n"
        assert [token.token for token in store.tokens()] == [b"first"]
        assert store.cosigned_size("anchor-firm") == size


def test_the_latest_time_and_the_kinds_of_leaves_are_found(begun):
    with begun.log() as store:
        book = CollectorLog(store, WITNESS, KEYS.witness)
        book.approve([head_of(5)], [], 7_000)
        book.take_heads([head_of(5)], 3_000)
        assert store.latest_us(99) == 7_000
        assert store.latest_us(0) == 0
        marks = dict(store._rows("SELECT position, mark FROM log_leaf WHERE mark IS NOT NULL"))
        kind = marks[0].partition(" ")[0]
        ours = [at for at, mark in sorted(marks.items()) if mark.startswith(f"{kind} ")]
        assert store.of_kind(SITE, kind) == ours
        assert store.of_kind(SITE, kind[:-1]) == store.of_kind("pohang", kind) == []


def test_the_latest_time_is_found_whatever_people_wrote_into_the_log(begun):
    """PostgreSQL takes no NUL in a text, and the text around it must not be changed by that."""
    for reason in ("a\0b", "a\\u0000", '","t_utc_us":"9999999'):
        with begun.log() as store:
            entry = Entry(SITE, "note", {"reason": reason})
            store.append(ORIGIN, [entry], 7_000)
            assert store.latest_us(99) == 7_000
