import random
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import count
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from joulemark_agent import outbox as outbox_module
from joulemark_agent.contract.batch import Batch, batch_bytes
from joulemark_agent.contract.errors import StoreError
from joulemark_agent.contract.signature import Checkpoint, sign_checkpoint
from joulemark_agent.contract.sparse import withheld
from joulemark_agent.contract.tree import Edge, append, root
from joulemark_agent.covers import Run, packed
from joulemark_agent.outbox import APPLICATION_ID, Change, Closing, Outbox, Sealed, Tree
from support import killed
from support.disk import mounted
from support.evidence import KEYS, PERIOD_US
from support.recording import (
    batches_of,
    database,
    kept,
    recorded,
    recorder,
    slots_of,
    slots_read,
    state,
)


def tree(device: str = "a", *, size: int = 0, sealed: int = 0) -> Tree:
    """Leaves 0, 1, 2 ..., of which the first `sealed` are in batches."""
    edge, closed = (append(Edge(), [b"%d" % i for i in range(n)]) for n in (size, sealed))
    head = Checkpoint(f"joulemark/site/{device}/1", sealed, root(closed))
    note = sign_checkpoint(KEYS.agent, head) if sealed else None
    return Tree(device, 1, b"grant", edge, closed, note)


def sealed(first_seq: int, size: int, device: str = "a") -> Sealed:
    """A batch of leaves 0, 1, 2 ... without an envelope."""
    leaves = [b"%d" % seq for seq in range(size)]
    after = append(Edge(), leaves)
    note = sign_checkpoint(KEYS.agent, Checkpoint(f"joulemark/site/{device}/1", size, root(after)))
    own = tuple(leaves[first_seq:])
    payload = batch_bytes(Batch(first_seq, own, note))
    place = (device, 1, first_seq, size, note)
    run = Run(*place, packed([withheld(own, first_seq)]), None, None, 0)
    state_now = Tree(device, 1, b"grant", after, after, note)
    closing = Closing(append(Edge(), leaves[:first_seq]), state_now, run)
    return Sealed(*place, payload, closing=closing)


@pytest.fixture
def path(tmp_path):
    return state(tmp_path)


# ---------------------------------------------------------------- nothing is lost


def disturbed(folder, writer, done, *, kills: int, seed: int) -> tuple[int, int]:
    """Kill the writer at seeded moments; how many kept slots were lost, how many there are."""
    rng = random.Random(seed)
    lost, said = 0, 0
    for _ in range(kills):
        process, pipe = killed.start(writer, folder)
        until = said + killed.GROUP * rng.randrange(1, 12)
        while said < until:
            said = pipe.recv()
        time.sleep(rng.uniform(0, 0.003))  # the moment inside a commit, not a wait for anything
        process.kill()
        process.join()
        while pipe.poll():
            try:
                said = pipe.recv()
            except EOFError:
                break
        found = done(folder)
        lost += max(said - found, 0)
        said = found
    return lost, said


def slots_in_outbox(folder) -> int:
    box = Outbox(state(folder))
    found = kept(box)
    slots = slots_of(found.contents, PERIOD_US)
    assert slots == slots_read(killed.READINGS[: len(slots)]), "a slot is missing or twice"
    assert [int(leaf["seq"]) for leaf in found.contents] == list(range(len(found.leaves)))
    for head in found.heads:
        assert head.root == root(append(Edge(), found.leaves[: head.size]))
    assert box.trees()[0].edge == append(Edge(), found.leaves)
    box.close()
    return len(slots)


@pytest.mark.endurance
def test_sigkill_at_seeded_moments_loses_nothing_and_repeats_nothing(tmp_path):
    lost, slots = disturbed(tmp_path, killed.record, slots_in_outbox, kills=12, seed=1)
    assert lost == 0
    assert slots >= 12 * killed.GROUP
    box = Outbox(state(tmp_path))
    assert box.boots() >= 12
    box.close()


@pytest.mark.endurance
def test_control_a_file_that_is_flushed_now_and_then_loses_slots(tmp_path):
    def lines(folder) -> int:
        return len((folder / "naive.txt").read_text().splitlines())

    lost, _ = disturbed(tmp_path, killed.record_naively, lines, kills=3, seed=1)
    assert lost > 0


# --------------------------------------------------------------------- disk full


def test_a_file_that_may_not_grow_stops_the_commit_and_nothing_else(tmp_path):
    process, pipe = killed.start(killed.record_on_a_small_disk, tmp_path)
    done, code, do = pipe.recv()
    more, _, _ = pipe.recv()
    process.join()
    assert process.exitcode == 0
    assert code in {"disk_full", "io_error"}
    assert do
    assert done > 0
    assert slots_in_outbox(tmp_path) == more == done + killed.GROUP


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 768 kB; where nothing may be mounted, the test above stands alone."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with mounted(folder, "768k"):
        yield folder


def fill(disk):
    """Write until there is no room; the file to delete for room."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    return ballast


def test_a_full_disk_keeps_what_was_committed_and_goes_on_when_there_is_room(small_disk):
    box = Outbox(state(small_disk))
    writer = recorder(box, recorded(killed.SITE), slots=20)
    writer.commit(killed.READINGS[: killed.GROUP])
    ballast = fill(small_disk)
    done = killed.GROUP
    refused: list[StoreError] = []
    while len(refused) < 5:
        try:
            writer.commit(killed.READINGS[done : done + killed.GROUP])
            done += killed.GROUP
        except StoreError as error:
            refused.append(error)
    assert {error.code for error in refused} == {"disk_full"}
    assert "Free space" in refused[0].do
    assert len(slots_of(kept(box).contents, PERIOD_US)) == done, "readable while it is full"
    ballast.unlink()
    writer.commit(killed.READINGS[done : done + 30])
    writer.seal_all()
    box.close()
    assert slots_in_outbox(small_disk) == done + 30


def test_a_disk_without_room_for_an_outbox_is_one_message(small_disk):
    fill(small_disk)
    with pytest.raises(StoreError) as caught:
        Outbox(state(small_disk))
    assert caught.value.code == "disk_full"


def test_a_read_only_disk_is_told_at_the_start_and_not_at_the_first_reading(small_disk):
    box = Outbox(state(small_disk))
    recorder(box, recorded(killed.SITE)).commit(killed.READINGS[:3])
    box.close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StoreError) as caught:
        Outbox(state(small_disk))
    assert caught.value.code == "read_only"
    assert "mounted read-only" in caught.value.do


# ----------------------------------------------------------- foreign and damaged


def test_the_store_is_flushed_at_every_commit(path):
    box = Outbox(path)
    assert database(box).execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert database(box).execute("PRAGMA synchronous").fetchone() == (2,)
    box.close()
    assert path.parent.stat().st_mode & 0o077 == 0


def test_a_second_agent_on_the_same_outbox_is_refused(path):
    box = Outbox(path)
    with pytest.raises(StoreError) as caught:
        Outbox(path)
    assert caught.value.code == "in_use"
    assert "two agents with one key" in caught.value.do
    box.close()
    Outbox(path).close()


def test_a_file_that_is_no_outbox_is_refused_and_left_alone(path):
    path.parent.mkdir()
    path.write_bytes(b"these are the accounts of last year\n" * 300)
    with pytest.raises(StoreError) as caught:
        Outbox(path)
    assert caught.value.code == "foreign"
    assert path.read_bytes().startswith(b"these are the accounts")


def test_a_database_of_another_program_is_refused_and_left_alone(path):
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE accounts (euros INTEGER)")
    db.close()
    before = path.read_bytes()
    with pytest.raises(StoreError) as caught:
        Outbox(path)
    assert caught.value.code == "foreign"
    assert path.read_bytes() == before


def test_the_outbox_of_a_newer_agent_is_refused(path):
    Outbox(path).close()
    with closing(sqlite3.connect(path)) as db, db:
        assert db.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreError, match="format 99"):
        Outbox(path)


# ------------------------------------------------------------------------- laws


def test_a_commit_that_fails_in_its_middle_keeps_none_of_it(path):
    box = Outbox(path)
    box.commit([Change(tree(size=2), 0, [b"0", b"1"])], boots=1)
    again = Change(tree("b", size=1), 0, [b"x"])
    twice = Change(tree(size=3), 1, [b"1", b"2"])  # leaf 1 is there already
    with pytest.raises(StoreError):
        box.commit([again, twice], boots=2)
    assert box.boots() == 1
    assert [t.device for t in box.trees()] == ["a"]
    assert box.open_leaves("a", 1) == [b"0", b"1"]
    box.close()


def test_a_receipt_covers_the_batches_before_it_and_no_other_tree(path):
    box = Outbox(path)
    for device in ("a", "b"):
        batches = [sealed(0, 3, device), sealed(3, 7, device), sealed(7, 8, device)]
        box.commit([Change(tree(device, size=9, sealed=8), 8, [b"8"], batches)])
    assert box.receipt("a", 1, 7) == 2
    assert box.waiting() == {("a", 1): 1, ("b", 1): 3}
    assert box.open_leaves("a", 1) == [b"8"]
    assert box.receipt("a", 1, 7) == 0
    box.close()


def test_receipts_of_several_trees_are_one_transaction(path, monkeypatch):
    box = Outbox(path)
    for device in ("a", "b"):
        batches = [sealed(0, 3, device), sealed(3, 7, device), sealed(7, 8, device)]
        box.commit([Change(tree(device, size=8, sealed=8), 8, [], batches)])
    box.receipt("a", 1, 3)
    assert box.receipts({("a", 1): 3, ("b", 1): 7, ("c", 1): 9}) == {
        ("a", 1): 0, ("b", 1): 2, ("c", 1): 0,
    }  # fmt: skip
    assert box.waiting() == {("a", 1): 2, ("b", 1): 1}
    forget = outbox_module._forget

    def fails_second(db, place, size):
        if place == ("b", 1):
            raise sqlite3.OperationalError("disk I/O error")
        return forget(db, place, size)

    monkeypatch.setattr(outbox_module, "_forget", fails_second)
    with pytest.raises(StoreError):
        box.receipts({("a", 1): 8, ("b", 1): 8})
    box.reopen()
    assert box.waiting() == {("a", 1): 2, ("b", 1): 1}, "all of them or none"
    box.close()


class OutboxMachine(RuleBasedStateMachine):
    """The outbox against a list and a dictionary."""

    base: Path
    numbers: Iterator[int]

    @initialize()
    def begin(self):
        self.folder = self.base / str(next(self.numbers))
        self.box = Outbox(state(self.folder))
        self.leaves: list[bytes] = []
        self.sealed_at = 0
        self.batches: dict[int, Sealed] = {}

    @rule(added=st.integers(1, 5), seal=st.booleans())
    def commit(self, added, seal):
        new = [b"%d" % (len(self.leaves) + i) for i in range(added)]
        everything = [*self.leaves, *new]
        batches, end = [], self.sealed_at
        if seal:
            end = len(everything)
            batches = [sealed(self.sealed_at, end)]
        open_now = [] if seal else new
        first = end if seal else len(self.leaves)
        self.box.commit([Change(tree(size=len(everything), sealed=end), first, open_now, batches)])
        self.leaves, self.sealed_at = everything, end
        self.batches |= {b.size: b for b in batches}

    @rule()
    def commit_that_fails(self):
        change = Change(tree(size=99), 0, [b"x", b"y"])
        clash = Change(tree(size=99), 1, [b"z"])
        with pytest.raises(StoreError):
            self.box.commit([change, clash])

    @rule(data=st.data())
    def receipt(self, data):
        if self.batches:
            size = data.draw(st.sampled_from(sorted(self.batches)))
            covered = [s for s in self.batches if s <= size]
            assert self.box.receipt("a", 1, size) == len(covered)
            for s in covered:
                del self.batches[s]

    @rule()
    def reopen(self):
        self.box.close()
        self.box = Outbox(state(self.folder))

    @invariant()
    def holds_what_the_model_holds(self):
        assert self.box.open_leaves("a", 1) == self.leaves[self.sealed_at :]
        assert list(batches_of(self.box, "a")) == [self.batches[s] for s in sorted(self.batches)]
        assert self.box.waiting() == ({("a", 1): len(self.batches)} if self.batches else {})
        for size, batch in self.batches.items():
            assert self.box.batch_ending_at("a", 1, size) == batch
            assert self.box.next_batch("a", 1, batch.first_seq) == batch
        sizes = [(t.edge.size, t.sealed.size) for t in self.box.trees()]
        assert sizes == ([(len(self.leaves), self.sealed_at)] if self.leaves else [])

    def teardown(self):
        if hasattr(self, "box"):
            self.box.close()


def test_the_outbox_holds_what_was_committed_and_has_no_receipt(tmp_path):
    machine = type("Machine", (OutboxMachine,), {"base": tmp_path, "numbers": count()})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=25, stateful_step_count=25, deadline=None)
    )
