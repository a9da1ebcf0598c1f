"""The one thread that touches the outbox: a disk that is slow to flush holds up nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


class StoreThread:
    """Runs calls one after the other, in the order in which they were asked for."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "store")
        self._since_s: float | None = None  # of the call under way

    @property
    def busy_s(self) -> float:
        """How long the call under way has taken so far. [s]"""
        since_s = self._since_s
        return 0.0 if since_s is None else time.monotonic() - since_s

    async def run(self, work: Callable[[], Result]) -> Result:
        """What the call returns or raises; one that has begun is finished even when cancelled."""
        future = asyncio.get_running_loop().run_in_executor(self._pool, self._timed, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            if not future.cancelled():
                future.exception()  # nobody is left to hear it
            raise

    def close(self) -> None:
        """End the thread after the call under way."""
        self._pool.shutdown()

    def _timed(self, work: Callable[[], Result]) -> Result:
        self._since_s = time.monotonic()
        try:
            return work()
        finally:
            self._since_s = None
