"""An event loop whose clock jumps to the next timer when no byte is on its way.

Real sockets, whose bytes are at the other end as soon as they are sent on one machine; waiting
costs nothing, so that thousands of time-outs take as long as their computing. What a thread does
for the loop takes no time at all: the clock stands still until it is done. Not for
pseudo-terminals: their bytes are carried by a thread of the kernel, in their own time.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Jumping(selectors.DefaultSelector):
    """Waits for no timer, only for bytes under way."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.threads = 0  # at work for the loop: their end is an event

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or (timeout > 0 and self.threads):
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

    def run_in_executor(  # type: ignore[override]  # of any arguments, whatever their types
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """As asyncio's, while the clock stands still."""
        self._jumping.threads += 1
        future: asyncio.Future[T] = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._thread_ended)
        return future

    def _thread_ended(self, _: object) -> None:
        self._jumping.threads -= 1

    async def shutdown_default_executor(self, *_: float | None) -> None:
        """Threads end in the time of the wall: no time-out, which would be over at once."""
        await super().shutdown_default_executor()


def run(main: Coroutine[Any, Any, T]) -> T:
    """Its result, in virtual time."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(main)
