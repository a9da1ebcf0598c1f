"""Batches that wait long move together, and come out as they went in."""

from __future__ import annotations

from contextlib import closing

import pytest

from joulemark_agent import outbox as outbox_module
from joulemark_agent.contract.batch import inflate
from joulemark_agent.outbox import Outbox
from support import evidence
from support.evidence import METER
from support.recording import batches_of, recorded, recorder, state

SITE = evidence.documents()
READINGS = evidence.meter_readings(SITE, [1000] * 200)
SLOTS, TOGETHER = 2, 8


@pytest.fixture(autouse=True)
def small_groups(monkeypatch) -> None:
    monkeypatch.setattr(outbox_module, "MOST_BATCHES", TOGETHER)
    monkeypatch.setattr(outbox_module, "_LOOSE", 2 * TOGETHER)


@pytest.fixture
def box(tmp_path):
    with closing(Outbox(state(tmp_path))) as opened:
        recorder(opened, recorded(SITE), slots=SLOTS).commit(READINGS[:80])
        yield opened


def plain(box: Outbox) -> list[tuple[int, int, str, bytes]]:
    return [
        (b.first_seq, b.size, b.checkpoint, inflate(b.payload, 1 << 20)) for b in batches_of(box)
    ]


def grouped(box: Outbox) -> int:
    while box.upkeep():
        pass
    return len(files(box))


def files(box: Outbox) -> list[str]:
    assert box._files is not None
    return sorted(box._files.backlog.files())


def test_what_moved_together_comes_out_byte_for_byte_and_takes_less_room(box):
    before, waiting = plain(box), box.waiting()
    alone = sum(len(batch.payload) for batch in batches_of(box)[1 : 1 + 4 * TOGETHER])
    assert grouped(box) == 4
    assert plain(box) == before
    assert box.waiting() == waiting
    assert box._files is not None
    assert sum(box._files.backlog.files().values()) < 0.6 * alone
    assert [box.batch_ending_at(METER, 1, size) is None for _, size, _, _ in before] == [False] * 41
    assert box.batch_ending_at(METER, 1, before[5][1] - 1) is None


def test_the_newest_batches_and_the_first_wait_by_themselves(box):
    grouped(box)
    assert box._files is not None
    alone = box._files.file.rows("SELECT first_seq FROM batches ORDER BY first_seq")
    assert alone[0] == (0,)
    assert TOGETHER <= len(alone) < 2 * TOGETHER


def test_groups_are_there_after_a_restart(tmp_path, box):
    before = plain(box)
    grouped(box)
    box.close()
    with closing(Outbox(state(tmp_path))) as again:
        assert plain(again) == before
        assert len(files(again)) == 4


@pytest.mark.parametrize("confirmed", [1, 5, 9, 20, 41])
def test_a_receipt_in_the_middle_of_a_group_deletes_what_it_covers(tmp_path, box, confirmed):
    before = plain(box)
    grouped(box)
    size = before[confirmed - 1][1]
    assert box.receipt(METER, 1, size) == confirmed
    assert box.receipt(METER, 1, size) == 0
    assert plain(box) == before[confirmed:]
    assert sum(box.waiting().values()) == len(before) - confirmed
    box.close()
    with closing(Outbox(state(tmp_path))) as again:
        assert plain(again) == before[confirmed:]
        assert (
            len(files(again)) == 4 - max(confirmed - 1, 0) // TOGETHER if confirmed < 41 else True
        )


def test_files_of_a_kill_before_or_after_its_commit_are_cleared_away(tmp_path, box):
    before = plain(box)
    grouped(box)
    assert box._files is not None
    folder = box._files.backlog._folder
    first = files(box)[0]
    data = (folder / first).read_bytes()
    group = box._files.backlog.group(first)
    assert group is not None
    box.receipt(METER, 1, before[12][1])
    box.close()
    (folder / first).write_bytes(data)  # its removal was not on the disk yet
    (folder / f".{first}.1234").write_bytes(data[:50])  # a new one was being written
    with closing(Outbox(state(tmp_path))) as again:
        assert plain(again) == before[13:]
        assert not list(folder.glob(".*"))


def test_what_was_not_confirmed_is_never_deleted_by_housekeeping(box):
    before = plain(box)
    for _ in range(5):
        grouped(box)
        while box.scrub():
            pass
    assert plain(box) == before
