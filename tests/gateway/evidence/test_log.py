"""The collector's own log: what it says, and that it never says two things of one size."""

import random
import sys

import pytest

from joulemark_agent.contract.errors import StoreError
from joulemark_agent.contract.signature import (
    Checkpoint,
    is_log_signed,
    parse_checkpoint,
    parse_note,
    public_key,
)
from joulemark_agent.contract.tree import Edge, append, root
from joulemark_gateway.evidence.base import Head
from joulemark_gateway.evidence.entries import is_log_name, parse_entry
from joulemark_gateway.evidence.log import CollectorLog
from joulemark_gateway.evidence.log_store import LogStore, Token
from support import killed, log_writer
from support.evidence import KEYS, SITE, WITNESS
from support.log_writer import ORIGIN, Breaking, Broken, HastyStore, an_entry, forks, watched
from support.present import present

DOCUMENTS = {"profile": "a" * 64, "site": "b" * 64, "factors": "c" * 64}


@pytest.fixture
def path(tmp_path):
    return log_writer.new_file(tmp_path)


def tree(size, device="meter", site=SITE, epoch=1, documents=DOCUMENTS):
    """A head of a tree whose leaves nobody looks at."""
    edge = append(Edge(), [b"%s %d" % (device.encode(), i) for i in range(size)])
    grant = {"documents": documents, "epoch": epoch, "dev": device, "site": site}
    return Head(f"joulemark/{site}/{device}/{epoch}", edge, grant, b"", "", 0, None, None)


def entries(store):
    return [parse_entry(leaf, i) for i, (_, leaf) in enumerate(store.leaves(10**6))]


def test_a_head_covers_every_leaf_and_is_signed_by_the_log(path):
    with LogStore(path) as store:
        book = CollectorLog(store, WITNESS, KEYS.witness)
        assert book.close(1) is None, "of nothing there is no head"
        assert book.approve([tree(5), tree(3, "pump")], [], 1_000) == 5
        assert book.take_heads([tree(5), tree(3, "pump")], 2_000) == 1
        head = present(book.close(3_000))
        assert is_log_signed(head.note, public_key(KEYS.witness))
        leaves = [leaf for _, leaf in store.leaves(head.size)]
        true = Checkpoint(ORIGIN, 6, root(append(Edge(), leaves)))
        assert parse_checkpoint(parse_note(head.note)[0]) == true
        assert present(book.close(4_000)) == head, "the same leaves have the same head"
        [last] = [entry for entry in entries(store) if entry.kind == "heads"]
        assert {found.origin: (found.size, found.root) for found in last.heads} == {
            tree(5).origin: (5, tree(5).root),
            tree(3, "pump").origin: (3, tree(3, "pump").root),
        }


def test_what_stands_is_not_said_again_and_only_what_grew_is_named(path):
    with LogStore(path) as store:
        book = CollectorLog(store, WITNESS, KEYS.witness)
        heads = [tree(5), tree(3, "pump"), tree(2, "mill", "pohang")]
        assert book.approve(heads, [], 1) == 9, "a grant a tree, a document once a site"
        assert book.approve(heads, [], 2) == 0
        assert book.take_heads(heads, 3) == 2, "a leaf a site"
        assert book.take_heads(heads, 4) == 0
        assert book.take_heads([tree(5), tree(4, "pump"), heads[2]], 5) == 1
        assert [head.origin for head in entries(store)[-1].heads] == [tree(4, "pump").origin]
        again = tree(1, "mill", "pohang", epoch=2)
        assert book.approve([*heads, again], [], 6) == 1, "the documents stand; the grant is new"


def test_who_was_slower_does_not_take_a_tree_back(path, monkeypatch):
    """The collector's thread commits while a person's command waits for the file."""
    with LogStore(path) as one, LogStore(path) as other:
        slow, fast = (CollectorLog(store, WITNESS, KEYS.witness) for store in (one, other))
        fast.take_heads([tree(3)], 1)
        commit = one.append

        def after_the_other(*args):
            fast.take_heads([tree(9)], 2)
            return commit(*args)

        monkeypatch.setattr(one, "append", after_the_other)
        assert slow.take_heads([tree(5), tree(2, "pump")], 3) == 1
        named = [(head.origin, head.size) for entry in entries(one) for head in entry.heads]
        meter, pump = tree(1).origin, tree(1, "pump").origin
        assert named == [(meter, 3), (meter, 9), (pump, 2)]


def test_the_leaves_of_each_site_are_numbered_by_themselves(path):
    with LogStore(path) as store:
        book = CollectorLog(store, WITNESS, KEYS.witness)
        for size in range(1, 6):
            book.take_heads([tree(size), tree(size, "mill", "pohang")], size)
        for site in (SITE, "pohang"):
            numbers = [entry.n for entry in entries(store) if entry.site == site]
            assert numbers == list(range(5))


def test_the_log_of_another_name_is_not_gone_on_with(path):
    with LogStore(path) as store:
        CollectorLog(store, WITNESS, KEYS.witness).take_heads([tree(1)], 1)
        with pytest.raises(StoreError, match="Put the collector's name back") as caught:
            CollectorLog(store, "another", KEYS.witness).take_heads([tree(2)], 2)
        assert caught.value.code == "log_of_another"


@pytest.mark.parametrize(("name", "good"), [(WITNESS, True), ("acme", True), ("meter/1", False)])
def test_the_log_cannot_be_taken_for_the_tree_of_a_device(name, good):
    assert is_log_name(name) == good


def test_two_who_write_at_once_make_one_tree(path):
    """The collector's own thread, and a person's command beside it."""
    draw = random.Random(3)
    with LogStore(path) as one, LogStore(path) as other:
        for store in (one, other) * 5:
            store.append(ORIGIN, [an_entry(draw)], 1)
            present(CollectorLog(store, WITNESS, KEYS.witness).close(1))
        assert one.edge() == other.edge()
        assert one.edge().size == 10
        one.scrub()


def test_a_scrub_finds_a_leaf_that_was_changed_and_a_head_that_was_made_up(path):
    with LogStore(path) as store:
        book, draw = CollectorLog(store, WITNESS, KEYS.witness), random.Random(4)
        for _ in range(5):
            store.append(ORIGIN, [an_entry(draw)], 1)
            book.close(1)
        store.scrub()
        [(leaf,)] = store._rows("SELECT leaf FROM log_leaf WHERE position = 2")
        store._rows("UPDATE log_leaf SET leaf = ? WHERE position = 2", leaf + b" ")
        with pytest.raises(StoreError, match="first 3 leaves"):
            store.scrub()
        store._rows("UPDATE log_leaf SET leaf = ? WHERE position = 2", leaf)
        store._rows("INSERT INTO log_head VALUES (9, '', 0)")
        with pytest.raises(StoreError, match="its 5 leaves"):
            store.scrub()


def test_a_reader_beside_the_collector_changes_nothing_and_needs_nothing(path):
    with LogStore(path, write=False) as reader:
        assert (reader.origin, reader.heads(), reader.edge()) == (None, [], Edge())
        assert (reader.leaves(9), reader.tokens(), reader.logged_sizes()) == ([], [], {})
        assert reader.cosigned_size("anchor-firm") == 0
    with LogStore(path) as store, LogStore(path, write=False) as reader:
        CollectorLog(store, WITNESS, KEYS.witness).take_heads([tree(1)], 1)
        assert reader.edge().size == 1
        with pytest.raises(StoreError):
            reader.append(ORIGIN, [an_entry(random.Random(1))], 1)


def test_the_first_cosignature_and_the_first_token_stand(path):
    with LogStore(path) as store:
        book = CollectorLog(store, WITNESS, KEYS.witness)
        book.take_heads([tree(1)], 1)
        size = present(book.close(1)).size
        for line in ("— anchor-firm AAAA\n", "— anchor-firm BBBB\n"):
            store.keep_cosignature(size, "anchor-firm", line)
        for token in (b"first", b"second"):
            store.keep_token(Token(size, "tsa", token, 7))
        head = present(store.head(size))
        assert head.cosigned == head.note + "— anchor-firm AAAA\n"
        assert [token.token for token in store.tokens()] == [b"first"]
        assert store.cosigned_size("anchor-firm") == size


# --- broken off ---------------------------------------------------------------------------------


def broken_off(path, store_of, at, *, after):
    """The heads signed by a collector that breaks at one call and by the one after it."""
    signed = []
    draw = random.Random(5)
    with watched(lambda size, found: signed.append((size, found))):
        with LogStore(path) as store:
            store.append(ORIGIN, [an_entry(draw)], 1)
            CollectorLog(store, WITNESS, KEYS.witness).close(1)
        first = store_of(path)
        true = first._db
        first._db = Breaking(true, at, after=after)
        try:
            first.append(ORIGIN, [an_entry(draw), an_entry(draw)], 2)
            CollectorLog(first, WITNESS, KEYS.witness).close(2)
            is_over = True
        except Broken:
            is_over = False
        true.close()
        with LogStore(path) as second:
            second.append(ORIGIN, [an_entry(draw), an_entry(draw)], 3)
            CollectorLog(second, WITNESS, KEYS.witness).close(3)
            second.scrub()
    return signed, is_over


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_broken_off_at_any_call_it_never_signs_two_heads_of_one_size(tmp_path, after):
    hasty = tried = 0
    for at in range(100):
        paths = [tmp_path / f"{at}-{kind}" for kind in "ab"]
        for folder in paths:
            folder.mkdir()
        files = [log_writer.new_file(folder) for folder in paths]
        signed, is_over = broken_off(files[0], LogStore, at, after=after)
        assert forks(signed) == [], at
        hasty += bool(forks(broken_off(files[1], HastyStore, at, after=after)[0]))
        tried += 1
        if is_over:
            break
    sys.stdout.write(f"\nbroken off at {tried} calls: 0 forks; the mutant forks at {hasty}\n")
    assert tried > 10
    assert hasty > 3, "the control must fail"


def kill_often(folder, writer, kills, seed):
    """The heads that were signed by writers of which each was killed at a random moment."""
    log_writer.new_file(folder)
    draw = random.Random(seed)
    for _ in range(kills):
        process, said = killed.start(writer, folder)
        for _ in range(draw.randrange(1, 6)):
            said.recv()
        if draw.random() < 0.8:
            process.join(draw.uniform(0, 0.003))
        process.kill()
        process.join()
        said.close()
    return log_writer.signed_in(folder)


@pytest.mark.parametrize(
    "kills", [3, pytest.param(80, marks=pytest.mark.endurance)], ids=["few", "many"]
)
def test_killed_at_any_moment_it_never_signs_two_heads_of_one_size(tmp_path, kills):
    signed = kill_often(tmp_path, log_writer.write, kills, seed=1)
    assert forks(signed) == []
    with LogStore(tmp_path / "evidence.sqlite") as store:
        store.scrub()
        heads = {head.size for head in store.heads()}
    published = {size for size, _ in signed}
    assert len(published) >= kills
    assert heads <= published
    mutant = tmp_path / "mutant"
    mutant.mkdir()
    naive = kill_often(mutant, log_writer.write_hastily, kills, seed=1)
    sys.stdout.write(
        f"\n{kills} kills, {len(signed)} heads: 0 forks; mutant: {len(forks(naive))}\n"
    )
    if kills > 50:
        assert forks(naive), "the control must fail"
