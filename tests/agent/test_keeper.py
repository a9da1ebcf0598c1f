"""What a keeper does when the disk is full, fails or comes back."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from joulemark_agent.contract.errors import StoreError
from joulemark_agent.outbox import Outbox, Sealed
from joulemark_agent.room import Level
from support import keeping
from support.disk import mounted
from support.keeping import Plant, plant


@asynccontextmanager
async def cared_for(found: Plant) -> AsyncIterator[Plant]:
    care = asyncio.create_task(found.keeper.care())
    try:
        yield found
    finally:
        care.cancel()
        await asyncio.gather(care, return_exceptions=True)


async def looked() -> None:
    """The keeper has looked at the disk."""
    await asyncio.sleep(4 * keeping.RETRY_S)


async def test_at_the_quota_reading_stops_with_a_gap_and_goes_on_when_there_is_room(tmp_path):
    with plant(tmp_path, quota_mb=2.0) as found:
        async with cared_for(found):
            for _ in range(10):
                await found.tick()
            assert not found.keeper.is_stopped
            found.keeper._quota_bytes = found.box.bytes_used()
            await found.until("stopped")
            for _ in range(20):
                await found.tick()
            await looked()
            said = keeping.account(found.box)
            assert said.gaps["disk_full"] > 0, "said while it lasts"
            assert found.keeper.level == Level.EVERYTHING
            assert [t.error.code for t in found.keeper.troubles.open()] == ["disk_full"]
            found.keeper._quota_bytes = 50_000_000
            await found.until("reading")
            for _ in range(5):
                await found.tick()
            account = keeping.account(found.box)
    assert account.missing == []
    assert set(found.promised) <= set(account.records)
    assert set(account.gaps) == {"disk_full"}
    assert found.keeper.troubles.open() == []


async def test_a_stop_is_known_after_a_restart_too(tmp_path):
    with plant(tmp_path, quota_mb=2.0) as found:
        async with cared_for(found):
            await found.tick()
            found.keeper._quota_bytes = 1
            await found.until("stopped")
            for _ in range(20):
                await found.tick()
            await looked()
            last = found.slot
    with plant(tmp_path) as found:
        found.slot = last + 10
        await found.tick()
        account = keeping.account(found.box)
    assert account.missing == []
    assert set(account.gaps) == {"disk_full"}, "not agent_down: it was stopped before it ended"


async def test_room_gives_way_in_steps_and_comes_back(tmp_path):
    with plant(tmp_path) as found:
        async with cared_for(found):
            for _ in range(10):
                await found.tick()
            used = found.box.bytes_used()
            seen = []
            for share in (0.5, 0.75, 0.88, 0.99, 0.88, 0.75, 0.5):
                found.keeper._quota_bytes = int(used / share)
                await looked()
                seen.append((found.keeper.level, found.keeper.is_thin, found.keeper.is_stopped))
    assert [level for level, _, _ in seen] == [0, 1, 2, 3, 2, 1, 0]
    assert [thin for _, thin, _ in seen] == [False, False, True, True, True, False, False]
    assert [stopped for _, _, stopped in seen] == [False] * 3 + [True] + [False] * 3


async def test_a_disk_that_turns_read_only_is_waited_for(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    with mounted(disk, "16m"), plant(disk) as found:
        async with cared_for(found):
            for _ in range(5):
                await found.tick()
            # Who has it open for writing keeps it so: what a failing disk does is this instead.
            files = found.box._files
            assert files is not None
            files.file.rows("PRAGMA query_only = 1")
            ticking = asyncio.create_task(found.tick())
            await asyncio.sleep(6 * keeping.RETRY_S)
            assert found.keeper.is_stopped
            assert not ticking.done()
            files.file.rows("PRAGMA query_only = 0")
            await ticking
            await found.until("reading")
            await found.tick()
            account = keeping.account(found.box)
    assert account.missing == []
    assert set(account.gaps) <= {"disk_failed"}


async def test_an_error_that_was_met_while_sending_is_mended_before_the_next_reading(tmp_path):
    """A receipt could not be flushed: what the connection says of the disk is not trusted."""
    failed = sqlite3.OperationalError("disk I/O error")
    failed.sqlite_errorcode = sqlite3.SQLITE_IOERR

    def fails(_: sqlite3.Connection) -> None:
        raise failed

    with plant(tmp_path) as found:
        for _ in range(5):
            await found.tick()
        files = found.box._files
        assert files is not None
        with found.box._use(), pytest.raises(StoreError):
            files.file.transact(fails)
        found.box._is_sick = True
        async with cared_for(found):
            await looked()
            assert not found.box.needs_reopening
            assert not found.keeper.is_stopped
            await found.tick()
        account = keeping.account(found.box)
    assert (account.missing, account.gaps.total()) == ([], 0)


async def test_two_who_find_the_outbox_sick_open_it_once(tmp_path, monkeypatch):
    opened: list[Outbox] = []
    reopen = Outbox.reopen

    def counted(box: Outbox) -> None:
        opened.append(box)
        reopen(box)

    monkeypatch.setattr(Outbox, "reopen", counted)
    with plant(tmp_path) as found:
        await found.tick()
        found.box._is_sick = True
        await asyncio.gather(found.keeper._mend(), found.keeper._mend())
        await found.tick()
    assert len(opened) == 1


async def test_an_agent_that_is_stopped_in_a_commit_keeps_no_slot_twice(tmp_path):
    """A batch that is closed meanwhile does not say that the commit's slots are known."""
    with plant(tmp_path) as found:
        keeper, reading = found.keeper, keeping.READINGS[0]
        begun, may_end = threading.Event(), threading.Event()

        def slow() -> list[Sealed]:
            begun.set()
            may_end.wait(10)
            return []

        blocked = asyncio.create_task(keeper.change(slow))
        await asyncio.to_thread(begun.wait, 10)
        stopped = asyncio.create_task(keeper.commit([reading]))
        closing_batches = asyncio.create_task(keeper.change(list))
        await asyncio.sleep(0)
        stopped.cancel()
        await asyncio.sleep(0)
        may_end.set()
        await asyncio.gather(blocked, stopped, closing_batches, return_exceptions=True)
        await keeper.finish([reading])
        account = keeping.account(found.box)
    assert (account.records, account.missing) == ([0], [])
