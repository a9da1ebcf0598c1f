"""Damage upon damage: a disk that fails to read, a kill while mending, an end that was ended."""

from __future__ import annotations

import errno
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from joulemark_agent import opening
from joulemark_agent import outbox as outbox_module
from joulemark_agent import outbox_tables as tables
from joulemark_agent.backlog import ASIDE
from joulemark_agent.contract.errors import StoreError
from joulemark_agent.covers import SPARSE
from joulemark_agent.outbox import Outbox
from joulemark_agent.recorder import Recorder
from joulemark_agent.sqlite_file import SqliteFile
from joulemark_agent.units import runs_of
from support import evidence
from support.evidence import METER
from support.recording import batches_of, database, kept, recorded, recorder, state

SITE = evidence.documents()
READINGS = evidence.meter_readings(SITE, [1000] * 120)
SLOTS, TOGETHER = 3, 8  # slots of a batch, batches of a group


@pytest.fixture(autouse=True)
def small_groups(monkeypatch) -> None:
    monkeypatch.setattr(outbox_module, "MOST_BATCHES", TOGETHER)
    monkeypatch.setattr(outbox_module, "_LOOSE", 2 * TOGETHER)


def outbox(folder: Path) -> closing[Outbox]:
    return closing(Outbox(state(folder)))


def writer(box: Outbox, epoch: int = 1) -> Recorder:
    return recorder(box, recorded(SITE, epoch=epoch), slots=SLOTS)


def groups(folder: Path) -> list[Path]:
    return sorted(
        state(folder).with_name("outbox-backlog").glob("*.group"),
        key=lambda path: int(path.name.split(".")[2]),
    )


@pytest.fixture
def grouped(tmp_path):
    """An outbox of which most lies in groups."""
    with outbox(tmp_path) as box:
        writer(box).commit(READINGS[: SLOTS * TOGETHER * 3])
        while box.upkeep():
            pass
    assert len(groups(tmp_path)) == 2
    return tmp_path


def spoil(path: Path) -> None:
    """A page in the middle that the disk lost."""
    data = bytearray(path.read_bytes())
    middle = len(data) // 8192 * 4096
    data[middle : middle + 4096] = random.Random(1).randbytes(4096)
    path.write_bytes(data)


def aside(folder: Path) -> list[str]:
    return sorted(path.name for path in (state(folder).parent / ASIDE).glob("*"))


# ------------------------------------------------------------------- a disk that fails to read


def failing(times: int, error: Exception, call: Callable[..., Any]) -> Callable[..., Any]:
    """The call, which fails so many times before it works."""
    left = iter(range(times))

    def tampered(*words: Any, **named: Any) -> Any:
        if next(left, None) is not None:
            raise error
        return call(*words, **named)

    return tampered


@pytest.mark.parametrize("times", [1, 5])
def test_an_outbox_file_that_cannot_be_read_for_a_moment_is_not_damaged(
    tmp_path, monkeypatch, times
):
    """SQLite says of a read error that the file is malformed."""
    with outbox(tmp_path) as box:
        writer(box).commit(READINGS[:31])
        leaves = kept(box).leaves
    malformed = StoreError("It is malformed.", "Nothing.", code="damaged")
    unreadable = OSError(errno.EIO, "Input/output error")
    monkeypatch.setattr(opening, "SqliteFile", failing(times, malformed, SqliteFile))
    monkeypatch.setattr(opening, "_read_through", failing(times - 1, unreadable, lambda _: None))
    with outbox(tmp_path) as box:
        assert kept(box).leaves == leaves
    assert aside(tmp_path) == []


def test_a_group_that_cannot_be_read_for_a_moment_is_not_damaged(grouped, monkeypatch):
    unreadable = OSError(errno.EIO, "Input/output error")
    monkeypatch.setattr(Path, "read_bytes", failing(5, unreadable, Path.read_bytes))
    with outbox(grouped) as box:
        assert all(batch.kind != SPARSE for batch in batches_of(box))
    assert len(groups(grouped)) == 2


def test_after_an_error_of_a_flush_nothing_is_changed_until_the_file_is_opened_anew(tmp_path):
    with outbox(tmp_path) as box:
        keeping = writer(box)
        assert box._files is not None
        failed = sqlite3.OperationalError("disk I/O error")
        failed.sqlite_errorcode = sqlite3.SQLITE_IOERR
        with pytest.raises(StoreError):
            box._files.file.transact(failing(1, failed, lambda _: None))
        with pytest.raises(StoreError) as caught:
            keeping.commit(READINGS[:3])
        assert caught.value.code == "io_error"
        assert box.needs_reopening
        box.reopen()
        keeping.resume()
        keeping.commit(READINGS[:3])


# ------------------------------------------------------------------- a kill while mending


class Killed(BaseException):
    """What no code expects."""


def changes(folder: Path) -> int:
    """How many transactions an opening makes."""
    return len(list(_killed_at(folder, 10_000)))


def _killed_at(folder: Path, point: int) -> Iterator[None]:
    """Open the outbox, killed before or after one of its transactions; one item for each."""
    real = SqliteFile.transact
    seen: list[None] = []

    def transact(self: Any, change: Any) -> Any:
        seen.append(None)
        if len(seen) == point:
            raise Killed
        found = real(self, change)
        seen.append(None)
        if len(seen) == point:
            raise Killed
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SqliteFile, "transact", transact)
        with suppress(Killed):
            Outbox(state(folder)).close()
    yield from seen


def test_a_kill_at_any_point_of_mending_loses_nothing_that_is_whole(tmp_path):
    def damaged(name: str) -> Path:
        folder = Path(tmp_path, name)
        with outbox(folder) as box:
            writer(box).commit(READINGS[:100])
        spoil(state(folder))
        return folder

    def whole(folder: Path) -> list[int]:
        with outbox(folder) as box:
            return [batch.size for batch in batches_of(box) if batch.kind != SPARSE]

    expected = whole(damaged("once"))
    assert len(expected) > 10
    points = changes(damaged("count"))
    assert points >= 2
    for point in range(1, points + 1):
        folder = damaged(str(point))
        list(_killed_at(folder, point))
        assert whole(folder) == expected, f"killed at {point} of {points}"


# ------------------------------------------------------------------- what has ended


def forget_covers(folder: Path) -> None:
    with outbox(folder) as box:
        assert box._files is not None
        box._files.covers.file.transact(lambda db: db.execute("DELETE FROM runs"))


def test_a_tree_that_has_ended_does_not_end_the_agent_again_and_again(grouped):
    """Its reserve epoch is recorded by then; what is whole before the hole is still sent."""
    forget_covers(grouped)
    groups(grouped)[1].unlink()
    with outbox(grouped) as box:
        assert [item.epoch for item in box.ended()] == [1]
        sent = batches_of(box)
        assert len(sent) == 1 + TOGETHER, "what comes after the hole nobody can take"
    with outbox(grouped) as box:
        assert [batch.size for batch in batches_of(box)] == [batch.size for batch in sent]
        assert sum(box.waiting().values()) == len(sent)
        writer(box, epoch=2)
    assert any(name.endswith(".batch") for name in aside(grouped)), "kept, and not sent"


def test_groups_of_a_tree_that_nothing_is_known_of_do_not_spoil_the_next_start(grouped):
    """Someone moved the databases away and left the folder of the groups."""
    for path in state(grouped).parent.glob("outbox*.db*"):
        path.unlink()
    with outbox(grouped) as box:
        assert [item.epoch for item in box.ended()] == [1]
        writer(box, epoch=2).commit(READINGS[90:100])
        leaves = kept(box, epoch=2).leaves
    with outbox(grouped) as box:
        assert kept(box, epoch=2).leaves == leaves
        assert sum(batch.kind != SPARSE for batch in batches_of(box)) == 2 * TOGETHER
    assert aside(grouped) == []


def test_an_outbox_that_went_back_beyond_a_receipt_goes_on(tmp_path):
    with outbox(tmp_path) as box:
        writer(box).commit(READINGS[:30])
    old = {path: path.read_bytes() for path in state(tmp_path).parent.glob("outbox.db*")}
    with outbox(tmp_path) as box:
        writer(box).commit(READINGS[30:60])
        sizes = [batch.size for batch in batches_of(box)]
        box.receipt(METER, 1, sizes[14])
        box.upkeep()
    for path, data in old.items():
        path.write_bytes(data)
    with outbox(tmp_path) as box:
        assert box.ended() == []
        assert max(batch.size for batch in batches_of(box)) == sizes[-1]
        writer(box).commit([READINGS[61]])


def test_a_group_whose_cover_is_known_in_part_is_whole(grouped):
    """The disk failed between the group and its cover, and the first of it was confirmed."""
    with outbox(grouped) as box:
        assert box._files is not None
        group = groups(grouped)[1].name
        _, _, first, _, _ = group.split(".")
        inside = next(batch for batch in batches_of(box) if batch.first_seq == int(first))
        (found,) = [one for one in tables.groups(box._files.file) if one.file == group]
        one = runs_of(found, box._files.backlog)[3]
        box._files.covers.file.transact(
            lambda db: db.execute("DELETE FROM runs WHERE first_seq = ?", (inside.first_seq,))
        )
        box._files.covers.keep([], [one])
        while box.scrub():
            pass
        assert box.ended() == []
        assert all(batch.kind != SPARSE for batch in batches_of(box))


# ------------------------------------------------------------------- a row


def test_the_note_of_a_batch_is_the_one_in_its_bytes(tmp_path):
    """Else no receipt would ever fit, and the batch would wait for ever."""
    with outbox(tmp_path) as box:
        writer(box).commit(READINGS[:9])
        notes = [batch.checkpoint for batch in batches_of(box)]
        sizes = [batch.size for batch in batches_of(box)]
        database(box).execute("UPDATE batches SET checkpoint = replace(checkpoint, 'A', 'B')")
        assert [batch.checkpoint for batch in batches_of(box)] == notes
        ends = [box.batch_ending_at(METER, 1, size) for size in sizes]
        assert [batch.checkpoint for batch in ends if batch is not None] == notes


def test_a_row_that_holds_another_batch_is_damaged(tmp_path):
    with outbox(tmp_path) as box:
        writer(box).commit(READINGS[:30])
        third, fourth = batches_of(box)[2:4]
        database(box).execute(
            "UPDATE batches SET payload = ? WHERE size = ?", (third.payload, fourth.size)
        )
        kinds = [batch.kind for batch in batches_of(box)]
    assert kinds.count(SPARSE) == 1
    assert kinds[3] == SPARSE


@pytest.mark.parametrize(
    ("file", "harm"),
    [
        ("outbox.db", "UPDATE trees SET head = x'00'"),
        ("outbox.db", "UPDATE trees SET records = 'x'"),
        ("outbox-covers.db", "UPDATE runs SET size = 'x' WHERE first_seq = 23"),
        ("outbox-covers.db", "UPDATE trees SET head = x'00'"),
    ],
)
def test_a_value_of_another_kind_is_damage_and_no_mistake_of_the_program(tmp_path, file, harm):
    with outbox(tmp_path) as box:
        writer(box).commit(READINGS[:30])
    with closing(sqlite3.connect(state(tmp_path).with_name(file))) as db, db:
        db.execute(harm)
    with outbox(tmp_path) as box:
        writer(box).commit([READINGS[30]])
        assert sum(batch.kind != SPARSE for batch in batches_of(box)) >= 10
    assert any(file in name for name in aside(tmp_path))
