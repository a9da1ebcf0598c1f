"""What damage to the files of an outbox costs, and that it is said."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from joulemark_agent import outbox as outbox_module
from joulemark_agent.backlog import ASIDE
from joulemark_agent.contract import batch as form
from joulemark_agent.contract.batch import parse_batch
from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.errors import ConfigError, StoreError
from joulemark_agent.contract.signature import parse_checkpoint, parse_note
from joulemark_agent.contract.sparse import Withheld, extended, parse_sparse
from joulemark_agent.contract.tree import Edge, append, root
from joulemark_agent.covers import SPARSE
from joulemark_agent.outbox import Outbox
from joulemark_agent.recorder import Recorder
from support import evidence
from support.evidence import METER, PERIOD_US
from support.recording import batches_of, database, recorded, recorder, slots_of, state

SITE = evidence.documents()
READINGS = evidence.meter_readings(SITE, [1000] * 120)
SLOTS, TOGETHER = 3, 8  # slots of a batch, batches of a group


@pytest.fixture(autouse=True)
def small_groups(monkeypatch) -> None:
    monkeypatch.setattr(outbox_module, "MOST_BATCHES", TOGETHER)
    monkeypatch.setattr(outbox_module, "_LOOSE", 2 * TOGETHER)


def outbox(folder: Path) -> closing[Outbox]:
    return closing(Outbox(state(folder)))


def covers(folder: Path) -> Path:
    return state(folder).with_name("outbox-covers.db")


def writer(box: Outbox, epoch: int = 1) -> Recorder:
    return recorder(box, recorded(SITE, epoch=epoch), slots=SLOTS)


def filled(folder: Path, slots: int) -> None:
    with outbox(folder) as box:
        writer(box).commit(READINGS[:slots])


def walk(box: Outbox, epoch: int = 1) -> list[dict[str, Any]]:
    """Read what waits as a collector would, from the first leaf: every head must follow."""
    edge, found = Edge(), []
    for batch in batches_of(box, epoch=epoch):
        assert batch.first_seq == edge.size, "nothing is missing between two batches"
        if batch.kind == SPARSE:
            sparse = parse_sparse(batch.payload)
            edge, leaves = extended(edge, sparse.parts), []
            assert all(isinstance(part, Withheld) for part in sparse.parts)
        else:
            whole = parse_batch(batch.payload)
            edge, leaves = append(edge, whole.leaves), list(whole.leaves)
        head = parse_checkpoint(parse_note(batch.checkpoint)[0])
        assert (head.size, head.root) == (edge.size, root(edge)), "the head is the one signed"
        found += [parse_canonical(leaf) for leaf in leaves]
    found += [parse_canonical(leaf) for leaf in box.open_leaves(METER, epoch)]
    return found


def accounted(leaves: list[dict[str, Any]]) -> list[int]:
    """Every slot that a record, a gap or a discontinuity accounts for, in order."""
    found = slots_of(leaves, PERIOD_US)
    for leaf in told(leaves):
        if leaf.get("first_slot") is not None:
            found += range(int(leaf["first_slot"]), int(leaf["last_slot"]) + 1, PERIOD_US)
    return sorted(found)


def told(leaves: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [leaf for leaf in leaves if leaf.get("type") == "discontinuity"]


def aside(folder: Path) -> list[str]:
    return sorted(path.name for path in (state(folder).parent / ASIDE).glob("*"))


def every_slot(leaves: list[dict[str, Any]]) -> bool:
    """Whether each slot from the first to the last is accounted for once."""
    slots = accounted(leaves)
    return slots == list(range(slots[0], slots[-1] + 1, PERIOD_US))


# ------------------------------------------------------------------- a batch


def spoil(box: Outbox, size: int) -> None:
    half = "substr(payload, 1, length(payload) / 2)"
    database(box).execute(f"UPDATE batches SET payload = {half} WHERE size = ?", (size,))


@pytest.mark.parametrize("columns_from", [1, 1000])
def test_a_damaged_batch_is_set_aside_and_its_cover_is_sent(tmp_path, monkeypatch, columns_from):
    monkeypatch.setattr(form, "COLUMNS_FROM", columns_from)
    with outbox(tmp_path) as box:
        keeping = writer(box)
        keeping.commit(READINGS[:30])
        third = batches_of(box)[3]
        spoil(box, third.size)
        found = box.next_batch(METER, 1, third.first_seq)
        assert found is not None
        assert (found.kind, found.first_seq, found.size) == (SPARSE, third.first_seq, third.size)
        assert found.checkpoint == third.checkpoint
        keeping.commit(READINGS[30:33])
        keeping.tell_losses()
        leaves = walk(box)
        (loss,) = told(leaves)
        assert (loss["first_seq"], loss["last_seq"]) == (str(third.first_seq), str(third.size - 1))
        assert loss["slots"] == str(SLOTS)
        assert every_slot(leaves)
        keeping.tell_losses()
        assert len(told(walk(box))) == 1, "told once"
    assert any(name.endswith(".batch") for name in aside(tmp_path))


def test_a_loss_is_told_after_a_restart_too(tmp_path):
    filled(tmp_path, 30)
    with outbox(tmp_path) as box:
        spoil(box, batches_of(box)[3].size)
        batches_of(box)
    with outbox(tmp_path) as box:
        writer(box)
        assert len(told(walk(box))) == 1


def test_of_the_first_batch_of_an_epoch_there_is_a_second_copy(tmp_path):
    with outbox(tmp_path) as box:
        keeping = writer(box)
        keeping.commit(READINGS[:9])
        first = batches_of(box)[0]
        spoil(box, first.size)
        again = batches_of(box)[0]
        assert (again.kind, again.payload) == ("batch", first.payload)
        keeping.tell_losses()
        assert told(walk(box)) == []


def test_control_without_covers_a_damaged_batch_ends_its_tree(tmp_path):
    filled(tmp_path, 30)
    with outbox(tmp_path) as box:
        assert box._files is not None
        box._files.covers.file.transact(lambda db: db.execute("DELETE FROM runs"))
        spoil(box, batches_of(box)[3].size)
        with pytest.raises(StoreError) as caught:
            batches_of(box)
    assert caught.value.code == "tree_lost"


# ------------------------------------------------------------------- a group


def groups(folder: Path) -> list[Path]:
    return sorted(state(folder).with_name("outbox-backlog").glob("*.group"))


@pytest.fixture
def grouped(tmp_path):
    """An outbox of which most lies in groups."""
    with outbox(tmp_path) as box:
        writer(box).commit(READINGS[: SLOTS * TOGETHER * 3])
        while box.upkeep():
            pass
    assert len(groups(tmp_path)) == 2
    return tmp_path


def harms(path: Path, rng: random.Random) -> None:
    """Flip a bit, cut the end off, or delete it."""
    data = bytearray(path.read_bytes())
    kind = rng.choice(("flip", "cut", "delete"))
    if kind == "flip":
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
    elif kind == "cut":
        path.write_bytes(data[: rng.randrange(len(data))])
    else:
        path.unlink()


@pytest.mark.parametrize("seed", range(6))
def test_a_damaged_group_costs_what_it_holds_and_no_more(grouped, seed):
    rng = random.Random(seed)
    harms(groups(grouped)[seed % 2], rng)
    with outbox(grouped) as box:
        if rng.random() < 0.5:  # found by the slow reading of everything, or when it is to be sent
            while box.scrub():
                pass
        batches_of(box)
        keeping = writer(box)
        leaves = walk(box)
        (loss,) = told(leaves)
        assert int(loss["slots"]) == SLOTS * TOGETHER
        assert every_slot(leaves)
        keeping.commit(READINGS[SLOTS * TOGETHER * 3 :][:3])
        assert every_slot(walk(box))
    assert len(groups(grouped)) == 1


def test_the_slow_reading_finds_leaves_that_changed_under_a_true_digest(grouped):
    """A file rewritten whole: its digest is right, its leaves are not those that were signed."""
    with outbox(grouped) as box:
        assert box._files is not None
        backlog = box._files.backlog
        (name,) = [path.name for path in groups(grouped)[:1]]
        group = backlog.group(name)
        assert group is not None
        plains = [plain.replace(b"4000", b"5000", 1) for plain in backlog.read(group)]
        assert plains != backlog.read(group)
        backlog.write(group, plains)
        backlog.remove([])
        while box.scrub():
            pass
        assert len(groups(grouped)) == 1
        writer(box)
        assert len(told(walk(box))) == 1


# ------------------------------------------------------------------- a file


def overwrite(path: Path, first: int, count: int, rng: random.Random) -> None:
    """Pages of a database that the disk lost."""
    data = bytearray(path.read_bytes())
    for page in range(first, first + count):
        data[4096 * page : 4096 * (page + 1)] = rng.randbytes(4096)
    path.write_bytes(data)


@pytest.mark.parametrize("seed", range(8))
def test_a_damaged_outbox_file_costs_only_what_cannot_be_read_any_more(tmp_path, seed):
    filled(tmp_path, 100)
    rng = random.Random(seed)
    pages = state(tmp_path).stat().st_size // 4096
    overwrite(state(tmp_path), rng.randrange(pages), 1, rng)
    with outbox(tmp_path) as box:
        before = len(told(walk(box)))
        keeping = writer(box)
        leaves = walk(box)
        records = [leaf for leaf in leaves if "type" not in leaf]
        keeping.commit([READINGS[110]])
        leaves = walk(box)
        assert before == 0
        assert every_slot(leaves), "each slot is a record, a gap or a discontinuity"
        gaps = {leaf["cause"] for leaf in leaves if leaf.get("type") == "gap"}
        assert gaps <= {"store_damaged", "agent_down"}
    if seed:
        assert any("outbox.db" in name for name in aside(tmp_path))
        assert any(name.endswith("why.txt") for name in aside(tmp_path))
    assert len(records) >= 40, "whole batches of the damaged file are kept"


def test_an_outbox_file_that_is_gone_is_stood_for_by_the_index_of_heads(tmp_path):
    filled(tmp_path, 31)
    state(tmp_path).unlink()
    with outbox(tmp_path) as box:
        assert box.trees()[0].last_slot_us == evidence.START_US + 29 * PERIOD_US
        keeping = writer(box)
        keeping.commit([READINGS[40]])
        leaves = walk(box)
        assert every_slot(leaves)
        (gap,) = [leaf for leaf in leaves if leaf.get("type") == "gap"]
        assert (gap["cause"], gap["slots"]) == ("store_damaged", "10")
        (loss,) = told(leaves)
        assert loss["slots"] == "30", "all but the first batch, of which there is a copy"


@pytest.mark.parametrize("harm", ["delete", "spoil", "foreign"])
def test_an_index_of_heads_that_is_lost_is_made_again(tmp_path, harm):
    filled(tmp_path, 30)
    if harm == "delete":
        covers(tmp_path).unlink()
    elif harm == "spoil":
        overwrite(covers(tmp_path), 2, 3, random.Random(1))
    else:
        covers(tmp_path).write_bytes(b"accounts of last year\n" * 400)
    with outbox(tmp_path) as box:
        writer(box)
        assert told(walk(box)) == []
    state(tmp_path).unlink()  # now it is needed
    with outbox(tmp_path) as box:
        writer(box)
        assert every_slot(walk(box))


def test_an_outbox_that_went_back_in_time_does_not_sign_a_second_history(tmp_path):
    """What a disk does that says it has flushed and has not."""
    filled(tmp_path, 30)
    old = {path: path.read_bytes() for path in state(tmp_path).parent.glob("outbox.db*")}
    with outbox(tmp_path) as box:
        keeping = writer(box)
        keeping.commit(READINGS[30:45])
        signed = {batch.size: batch.checkpoint for batch in batches_of(box)}
    for path, data in old.items():
        path.write_bytes(data)
    with outbox(tmp_path) as box:
        keeping = writer(box)
        keeping.commit(READINGS[46:60])
        leaves = walk(box)
        again = {batch.size: batch.checkpoint for batch in batches_of(box)}
        same = signed.keys() & again.keys()
        assert max(signed) in same
        assert {signed[size] for size in same} == {again[size] for size in same}
        assert every_slot(leaves)


def test_control_without_the_index_of_heads_two_histories_are_signed(tmp_path):
    filled(tmp_path, 30)
    old = {path: path.read_bytes() for path in state(tmp_path).parent.glob("outbox.db*")}
    with outbox(tmp_path) as box:
        writer(box).commit(READINGS[30:45])
        signed = {batch.size: batch.checkpoint for batch in batches_of(box)}
    for path, data in old.items():
        path.write_bytes(data)
    covers(tmp_path).unlink()
    with outbox(tmp_path) as box:
        writer(box).commit(evidence.meter_readings(SITE, [2000] * 50)[30:45])
        again = {batch.size: batch.checkpoint for batch in batches_of(box)}
    same = signed.keys() & again.keys()
    assert any(signed[size] != again[size] for size in same)


def test_open_leaves_that_changed_are_set_aside_and_their_slots_a_gap(tmp_path):
    filled(tmp_path, 31)
    with outbox(tmp_path) as box:
        database(box).execute(
            "UPDATE leaves SET leaf = CAST(replace(leaf, '4000', '5000') AS BLOB)"
        )
    with outbox(tmp_path) as box:
        writer(box).commit([READINGS[40]])
        leaves = walk(box)
        assert every_slot(leaves)
        assert "store_damaged" in {leaf.get("cause") for leaf in leaves}
    assert any(name.endswith(".leaves") for name in aside(tmp_path))


# ------------------------------------------------------------- nothing is left


def lose_everything(folder: Path) -> None:
    overwrite(state(folder), 0, 3, random.Random(2))
    overwrite(covers(folder), 1, 3, random.Random(3))
    data = bytearray(state(folder).read_bytes())
    data[:16] = b"SQLite format 3\0"  # so that it is ours, and damaged
    state(folder).write_bytes(data)


def test_where_nothing_is_left_the_epoch_has_ended_and_the_next_one_tells_of_it(tmp_path):
    filled(tmp_path, 30)
    lose_everything(tmp_path)
    with outbox(tmp_path) as box:
        box.end_forgotten([(METER, 1)])
        assert [(e.device, e.epoch) for e in box.ended()] == [(METER, 1)]
        with pytest.raises(ConfigError, match="cannot be gone on with") as caught:
            writer(box)
        assert "--epoch 2" in caught.value.do
        writer(box, epoch=2)
        leaves = walk(box, epoch=2)
        kinds = [leaf.get("type") for leaf in leaves[:3]]
        assert kinds == ["epoch_start", "boot", "discontinuity"]
        assert leaves[2]["old_epoch"] == 1
    with outbox(tmp_path) as box:
        writer(box, epoch=2)
        assert len(told(walk(box, epoch=2))) == 1, "told once"


def test_a_new_outbox_has_forgotten_nothing(tmp_path):
    with outbox(tmp_path) as box:
        box.end_forgotten([(METER, 1)])
        assert box.ended() == []
        writer(box)


def test_a_loss_whose_explanation_is_lost_too_is_told_again(tmp_path):
    with outbox(tmp_path) as box:
        keeping = writer(box)
        keeping.commit(READINGS[:30])
        spoil(box, batches_of(box)[3].size)
        batches_of(box)
        keeping.tell_losses()
        keeping.seal_all()
        telling = next(
            batch
            for batch in batches_of(box)
            if batch.kind != SPARSE and b"discontinuity" in b"".join(leaves_of(batch.payload))
        )
        spoil(box, telling.size)
        batches_of(box)
        keeping.tell_losses()
        assert len(told(walk(box))) == 2, "of the first loss once more, and of the second"
        assert every_slot(walk(box))


def leaves_of(payload: bytes) -> tuple[bytes, ...]:
    return parse_batch(payload).leaves


def test_a_page_that_holds_something_else_is_found_at_the_start(tmp_path):
    """Whole by its form, and not what was written there: SQLite sees nothing wrong."""
    filled(tmp_path, 30)
    with outbox(tmp_path) as box:
        database(box).execute("UPDATE batches SET device = x'00' WHERE first_seq > 20")
    with outbox(tmp_path) as box:
        keeping = writer(box)
        keeping.commit([READINGS[30]])
        assert every_slot(walk(box))
    assert any("outbox.db" in name for name in aside(tmp_path))


def test_slots_of_a_loss_outlive_the_loss_of_both_files_one_after_the_other(tmp_path):
    filled(tmp_path, 60)
    with outbox(tmp_path) as box:
        spoil(box, batches_of(box)[3].size)
        batches_of(box)
    covers(tmp_path).unlink()  # made again from what stands for the batch
    with outbox(tmp_path) as box:
        assert [loss.slots for loss in box.losses(METER, 1)] == [SLOTS]
    state(tmp_path).unlink()  # and now that is gone too
    with outbox(tmp_path) as box:
        writer(box)
        assert every_slot(walk(box))
