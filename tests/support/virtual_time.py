"""An event loop whose clock jumps to the next timer when no byte is on its way.

Real sockets, whose bytes are at the other end as soon as they are sent on one machine; waiting
costs nothing, so that thousands of time-outs take as long as their computing. Not for
pseudo-terminals: their bytes are carried by a thread of the kernel, in their own time.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Jumping(selectors.DefaultSelector):
    """Waits for no timer, only for bytes under way."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select(None)
        found = super().select(0)
        if not found and timeout > 0:
            self.now_s += timeout
        return found


class JumpingLoop(asyncio.SelectorEventLoop):
    """Its `time()` is not that of the wall."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s

    async def shutdown_default_executor(self, *_: float | None) -> None:
        """Threads end in the time of the wall: no time-out, which would be over at once."""
        await super().shutdown_default_executor()


def run(main: Coroutine[Any, Any, T]) -> T:
    """Its result, in virtual time."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(main)
