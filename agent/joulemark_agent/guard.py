"""Whether everything goes on that should: each line, the disk; and the word to the service manager.

A line whose task hangs is read anew; the service manager hears of us only while nothing hangs, so a
loop that does not turn, a call to the disk that does not return, or a line that cannot even be
given up, ends in a restart by it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from joulemark_agent.clock import Clock
from joulemark_agent.progress import Progress
from joulemark_agent.reload import Crew
from joulemark_agent.store_thread import StoreThread
from joulemark_agent.watchdog import ServiceManager

log = logging.getLogger(__name__)

LONGEST_READ_S = 120.0  # of one device, all its requests and time-outs included
LONGEST_CALL_S = 60.0  # of the store: a slow card flushes within seconds
_LOOK_S = 1.0
_NAP_US = 5_000_000
_RESTART = "restart of "


class Guard:
    """Watches the loops of one agent."""

    def __init__(self, manager: ServiceManager, store: StoreThread) -> None:
        self._manager, self._store = manager, store
        self._progress = Progress()
        self.late: list[str] = []  # lines that hang

    async def until(self, crew: Crew, clock: Clock, slot_us: int) -> None:
        """Return when the slot of a line has come; from then on it is expected back."""
        while True:
            self._progress.promise(crew.name, LONGEST_READ_S)
            now_us = clock.now_us()
            await clock.until(min(slot_us, now_us + _NAP_US), None)
            if clock.now_us() >= slot_us:
                return

    def rest(self, crew: Crew) -> None:
        """A line is not read for as long as it takes."""
        self._progress.forget(crew.name)

    async def watch(
        self, restart: Callable[[str], Awaitable[None]], is_waiting: Callable[[], bool]
    ) -> None:
        """Restart lines that hang, and tell the service manager that we go on, for ever.

        Args:
            restart: has the line of this name read anew.
            is_waiting: whether lines wait for the disk, which is no fault of theirs.
        """
        every_s = self._manager.ping_every_s or _LOOK_S
        restarts: dict[str, asyncio.Task[None]] = {}
        while True:
            if is_waiting():
                self._progress.renew(LONGEST_READ_S)
            late = self._progress.late()
            self.late = [name for name in late if not name.startswith(_RESTART)]
            for name in self.late:
                what = f"Nothing was heard of the line of {name} for {LONGEST_READ_S:.0f} s."
                do = "It is opened anew. If it happens again, report it with the log of this hour."
                log.error("line_stuck", extra={"line": name, "what": what, "do": do})
                self._progress.forget(name)  # until it is read anew
                self._progress.promise(f"{_RESTART}{name}", LONGEST_READ_S)
                restarts[name] = asyncio.create_task(self._restart(restart, name))
            is_lost = any(name.startswith(_RESTART) for name in late)
            if not is_lost and self._store.busy_s < LONGEST_CALL_S:
                self._manager.ping()
            await asyncio.sleep(min(every_s, _LOOK_S))

    async def _restart(self, restart: Callable[[str], Awaitable[None]], name: str) -> None:
        await restart(name)
        self._progress.forget(f"{_RESTART}{name}")
        log.info("line_restarted", extra={"line": name})
