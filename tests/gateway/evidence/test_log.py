"""The collector's own log: what it says, and that it never says two things of one size."""

import random
import sys

import pytest

from joulemark_agent.contract.tree import Edge, append
from joulemark_gateway.evidence.base import Head
from joulemark_gateway.evidence.entries import is_log_name, parse_entry
from joulemark_gateway.evidence.log import CollectorLog
from joulemark_gateway.evidence.log_store import LogStore
from support import killed, log_writer
from support.evidence import KEYS, SITE, WITNESS
from support.log_writer import ORIGIN, Breaking, Broken, HastyStore, an_entry, forks, watched

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


@pytest.mark.parametrize(("name", "good"), [(WITNESS, True), ("acme", True), ("meter/1", False)])
def test_the_log_cannot_be_taken_for_the_tree_of_a_device(name, good):
    assert is_log_name(name) == good


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
