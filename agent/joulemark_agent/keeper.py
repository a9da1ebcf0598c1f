"""Between what is read and the disk: commits, waits where the disk cannot take more, goes on alone.

A full, failing or read-only disk stops reading and nothing else: what was read before is kept in
memory until it is on disk, the slots that pass are a gap with the cause, and batches are sent as
before, which is what makes room. Nothing here needs a person or a restart.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from joulemark_agent.contract.errors import StoreError
from joulemark_agent.contract.reading import Gap, Reading
from joulemark_agent.mending import TREE_LOST
from joulemark_agent.outbox import Outbox, Sealed
from joulemark_agent.recorder import Recorder
from joulemark_agent.room import Level, Reserve, level_of
from joulemark_agent.sqlite_file import PASSING, free_bytes
from joulemark_agent.store_thread import StoreThread
from joulemark_agent.troubles import Troubles
from joulemark_agent.uplink import Uplink

log = logging.getLogger(__name__)

DISK_FULL, DISK_FAILED = "disk_full", "disk_failed"  # causes of the slots that pass meanwhile
RETRY_S = 1.0
RESERVE = "reserve"
_SCRUB_TICKS = 5  # between two pieces of the slow reading of everything
_FULL, _DOWN, _BACK = "outbox_full", "outbox_down", "outbox_back"


class Keeper:
    """Keeps what one agent reads; all of it in one event loop, the disk's part in its thread."""

    def __init__(
        self,
        recorder: Recorder,
        outbox: Outbox,
        uplink: Uplink,
        store: StoreThread,
        *,
        folder: Path,
        quota_bytes: int,
        now_us: Callable[[], int],
        is_replay: bool,
    ) -> None:
        """Reading may go on at first.

        Args:
            recorder: writes the leaves.
            outbox: keeps them.
            uplink: sends what was closed.
            store: the thread for both.
            folder: where the outbox is.
            quota_bytes: how much of the disk the evidence that waits may take.
            now_us: the clock of the slots, UTC. [us]
            is_replay: whether the slots wait for us: then none passes, and none is left out.
        """
        self._recorder, self._outbox, self._uplink, self._store = recorder, outbox, uplink, store
        self._folder, self._quota_bytes = folder, quota_bytes
        self._now_us, self._is_replay = now_us, is_replay
        self._reserve = Reserve(folder / RESERVE)
        self._gate = asyncio.Event()
        self._gate.set()
        self._mending = asyncio.Lock()
        self._cause: str | None = None  # why reading has stopped
        self._told: frozenset[str] | None = None  # of which devices a gap says so; None: of none
        self._is_doubtful = False  # whether what was not committed may be on disk all the same
        self._ticks = 0
        self.level = Level.NOTHING
        self.used_bytes, self.capacity_bytes = 0, quota_bytes
        self.troubles = Troubles(log)

    @property
    def is_thin(self) -> bool:
        """Whether a device is read once a minute only."""
        return self.level >= Level.READINGS and not self._is_replay

    @property
    def is_stopped(self) -> bool:
        """Whether nothing is read."""
        return not self._gate.is_set()

    async def may_read(self) -> None:
        """Return when the disk takes what will be read."""
        await self._gate.wait()

    async def commit(self, results: Sequence[Reading | Gap]) -> None:
        """Return when the results are on disk, however long that takes."""
        await self.change(partial(self._commit, results))
        self._is_doubtful = False  # no other change says what became of readings

    async def change(self, work: Callable[[], Sequence[Sealed]]) -> None:
        """Make a change of the outbox and send what it closed; wait where the disk refuses it.

        Raises:
            StoreError: waiting cannot help.
        """
        failures = 0
        while True:
            try:
                sealed = await self._store.run(work)
            except StoreError as error:
                failures += 1
                await self._overcome(error, failures)
            except asyncio.CancelledError:
                self._is_doubtful = True
                raise
            else:
                self._uplink.offer(sealed)
                return

    async def finish(self, results: Sequence[Reading | Gap]) -> None:
        """Keep what was read and close the batches; what the disk refuses becomes a gap."""

        def work() -> list[Sealed]:
            sealed = self._commit(results)
            return [*sealed, *self._recorder.seal_all()]

        for _ in range(2):
            try:
                await self._mend()
                self._uplink.offer(await self._store.run(work))
            except StoreError as error:
                if error.code == TREE_LOST:
                    return  # the next start opens the next epoch, which tells of it
                self._stop(error)
                self._reserve.release()
                self._is_doubtful = True
            else:
                return

    async def care(self) -> None:
        """Watch the room on the disk, keep house, and end a stop, for ever."""
        while True:
            try:
                await self._mend()
                free = await self._store.run(self._measure)
                await self._look(free)
                while await self._keep_house():
                    pass
            except StoreError as error:
                self._stop(error)
                await self._mend()
            await asyncio.sleep(RETRY_S)

    # ------------------------------------------------------------- a disk that refuses

    def _commit(self, results: Sequence[Reading | Gap]) -> list[Sealed]:
        """Commit those that the outbox does not have: a failed flush may have kept them."""
        if self._is_doubtful:
            known = {r.device: self._recorder.committed_us(r.device) or 0 for r in results}
            results = [result for result in results if _first_us(result) > known[result.device]]
        return self._recorder.commit(results)

    async def _overcome(self, error: StoreError, failures: int) -> None:
        """Do what can help so that a change can be tried again, or wait.

        Raises:
            StoreError: this one, if nothing can help.
        """
        self._is_doubtful = True
        if error.code != DISK_FULL and failures == 1 and await self._mend():
            return
        self._stop(error)
        if error.code == DISK_FULL and self._reserve.is_held:
            self._reserve.release()
            return
        await asyncio.sleep(RETRY_S)
        await self._mend()

    def _stop(self, error: StoreError) -> None:
        """Have nothing read until the disk takes it.

        Raises:
            StoreError: this one, if waiting cannot help.
        """
        if error.code not in PASSING:
            raise error
        is_full = error.code == DISK_FULL
        self.troubles.say(_FULL if is_full else _DOWN, error)
        if self._gate.is_set():
            self._gate.clear()
            self._cause, self._told = DISK_FULL if is_full else DISK_FAILED, None

    async def _mend(self) -> bool:
        """Open the outbox anew where an error of the disk or damage was met; whether it is open.

        Raises:
            StoreError: a tree has ended.
        """
        async with self._mending:  # who waits here may find it done
            if not self._outbox.needs_reopening:
                return True

            def work() -> None:
                self._outbox.reopen()
                self._recorder.resume()

            try:
                await self._store.run(work)
                self._is_doubtful = True
                await self._uplink.take_stock()
            except StoreError as error:
                if error.code == TREE_LOST:
                    raise
                self._stop(error)
                return False
            log.warning("outbox_reopened")
            return True

    # ------------------------------------------------------------------- room

    def _measure(self) -> int:
        """See how full the disk is, and hold the reserve while it is read; what is free. [bytes]"""
        held, free = self._outbox.bytes_held(), free_bytes(self._folder)
        self.capacity_bytes = min(self._quota_bytes, held + free)
        self.used_bytes = self._outbox.bytes_used()
        if not self.is_stopped and self._level() < Level.EVERYTHING:
            self._reserve.hold(self.capacity_bytes)
        return free

    def _level(self) -> Level:
        """What gives way now."""
        return level_of(self.used_bytes, self.capacity_bytes, self.level)

    async def _look(self, free: int) -> None:
        """Let things give way, or come back, as the room on the disk says."""
        before, self.level = self.level, self._level()
        self._recorder.is_lean = self.level >= Level.FIGURES
        if self.level != before:
            fields = {"level": self.level.name.lower(), "before": before.name.lower()}
            sizes = {"used_bytes": self.used_bytes, "capacity_bytes": self.capacity_bytes}
            log.warning("outbox_room", extra={**fields, **sizes})
        if self.level == Level.EVERYTHING:
            self._stop(_too_full(self.used_bytes, self.capacity_bytes))
            if free < self._reserve.size(self.capacity_bytes):
                self._reserve.release()  # for receipts, which make room
        if self.is_stopped:
            await self._end_stop()

    async def _end_stop(self) -> None:
        """Say in the evidence that nothing is read; go on when the disk has room and works."""
        is_open = await self._mend()
        if is_open and not self._is_replay:
            await self._say_gap()
        if not is_open or self.level == Level.EVERYTHING:
            return

        def works() -> bool:
            if not self._reserve.hold(self.capacity_bytes):
                return False
            self._outbox.touch()
            return True

        if await self._store.run(works):
            self._cause = None
            self._gate.set()
            for event in (_FULL, _DOWN):
                self.troubles.say_over(event, _BACK)

    async def _say_gap(self) -> None:
        """Have a leaf in every tree say why its slots pass unread, from the first that did."""
        cause, now_us = self._cause, self._now_us()
        missed = self._recorder.missed(now_us)
        if cause is None or (self._told is not None and missed <= self._told):
            return
        try:
            sealed = await self._store.run(partial(self._recorder.stop, cause, now_us))
        except StoreError as error:
            if error.code != DISK_FULL:
                raise
            self._reserve.release()  # then the next attempt has room
            return
        self._told = (self._told or frozenset()) | missed
        self._is_doubtful = True  # of slots that were being read
        self._uplink.offer(sealed)

    async def _keep_house(self) -> bool:
        """One piece of housekeeping; whether the next is urgent."""
        self._ticks += 1
        is_scrub = self._ticks % _SCRUB_TICKS == 0

        def work() -> tuple[bool, list[Sealed]]:
            has_more = self._outbox.upkeep()
            if is_scrub:
                self._outbox.scrub()
            return has_more, self._recorder.tell_losses()

        has_more, sealed = await self._store.run(work)
        self._uplink.offer(sealed)
        return has_more and self.level >= Level.FIGURES


def _first_us(result: Reading | Gap) -> int:
    return result.slot_us if isinstance(result, Reading) else result.first_slot_us


def _too_full(used_bytes: int, capacity_bytes: int) -> StoreError:
    return StoreError(
        f"What waits for the collector takes {used_bytes / 1e6:.0f} MB of the"
        f" {capacity_bytes / 1e6:.0f} MB that it may take.",
        "See why the collector is out of reach, free space on the disk, or raise"
        " 'outbox.quota_mb'. Nothing that was kept is lost, and reading goes on by itself.",
        code=DISK_FULL,
    )
