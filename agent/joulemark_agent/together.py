"""What several lines answer within a few ms is committed together: one transaction, one flush.

Who is answered waits for those who were asked at the same time, and for nobody who was asked
longer ago: a machine that is slow or dead delays no commit, and one alone is kept at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

LONGEST_S = 0.005  # after the newest question; a flush takes as long


class Together:
    """The questions that are under way, of all lines of an agent."""

    def __init__(self) -> None:
        self._under_way = 0
        self._newest_s = 0.0  # when the last one was asked
        self._answered = asyncio.Event()  # none is under way

    @contextmanager
    def asking(self) -> Iterator[None]:
        """While a line is asked."""
        self._under_way += 1
        self._newest_s = time.monotonic()
        self._answered.clear()
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._answered.set()

    @property
    def left_s(self) -> float:
        """How long those that are under way are still waited for. [s]"""
        return self._newest_s + LONGEST_S - time.monotonic() if self._under_way else 0.0

    async def gathered(self) -> None:
        """Return when all are answered, or those that are not were asked too long ago."""
        if (left_s := self.left_s) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._answered.wait()
