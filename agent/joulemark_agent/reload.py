"""A new site file while the agent runs: what may change, and who has to stop for it.

The devices of one line are a crew: they share a connection, and one task reads them. A crew whose
devices are as they were is not touched; another is stopped between two readings, its line closed,
and a new one takes its place before the next slot has passed. What cannot change without a restart
is refused, and so is a device whose grant is not there: all of the file takes effect, or nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from typing import Any

from joulemark_agent.clock import Clock
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.lines import Lines
from joulemark_agent.plan import PlannedDevice
from joulemark_agent.poll import Poller
from joulemark_agent.refused import Book
from joulemark_agent.settings import SiteSettings

FOR_A_RESTART = (
    *("site", "agent", "clock", "replay", "state_dir", "uplink", "batch"),
    *("evidence", "evidence_key", "interval_s", "archive", "raw_requests", "outbox", "sparkplug"),
)


class Crew:
    """The devices of one line, or of a replay all, and the task that reads them."""

    def __init__(
        self,
        devices: Iterable[PlannedDevice],
        clock: Clock,
        book: Book,
        *,
        is_shared: bool,
        lost: Collection[str] = (),
    ) -> None:
        """Nothing is opened or read yet.

        Args:
            devices: who they are.
            clock: tells slots and times.
            book: what they are known to refuse.
            is_shared: whether the line's time is; in a replay it has all there is.
            lost: devices whose subscriptions ended with a crew before.
        """
        self.devices = tuple(devices)
        self.lines = Lines(self.devices, is_shared=is_shared, book=book, lost=lost)
        self.poller = Poller(self.devices, self.lines, clock)
        self.reading = asyncio.Lock()  # held from a slot's first question until it is kept
        self.task: asyncio.Task[None] | None = None

    @property
    def names(self) -> list[str]:
        """The ids of its devices."""
        return [device.id for device in self.devices]

    @property
    def name(self) -> str:
        """What the line is called in the log."""
        return ", ".join(self.names)

    def start(self, job: Callable[[Crew], Coroutine[Any, Any, None]]) -> None:
        """Begin to read."""
        self.task = asyncio.create_task(job(self), name=f"read {self.name}")

    async def stop(self) -> None:
        """End between two readings, and give the connection back."""
        async with self.reading:
            await self.cancel()
        await self.lines.close()

    async def cancel(self) -> None:
        """End at once."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)


def check_can_change(old: SiteSettings, new: SiteSettings) -> None:
    """Refuse what takes a restart.

    Raises:
        ConfigError: it names the keys.
    """
    changed = [key for key in FOR_A_RESTART if getattr(old, key) != getattr(new, key)]
    if changed:
        raise ConfigError(
            f"These cannot change while the agent runs: {', '.join(changed)}.",
            "Put them back, or stop the agent and start it again.",
        )


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, list[str]]:
    """Which devices are new, gone and changed, for the log."""
    return {
        "added": sorted(new.keys() - old.keys()),
        "removed": sorted(old.keys() - new.keys()),
        "changed": sorted(name for name in new.keys() & old.keys() if new[name] != old[name]),
    }
