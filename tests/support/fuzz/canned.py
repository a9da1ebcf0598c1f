"""A connection on which one answer waits: the whole of a driver, without a socket."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.exchange import CLOSED, TIMEOUT, Check


class Canned:
    """In place of an `Exchange`: what was asked last, and what the answer to anything is."""

    peer = "192.0.2.1:9"
    pause_s = 0.0

    def __init__(self, answer: bytes | Callable[[bytes], bytes]) -> None:
        self.answer = answer
        self.is_open = True

    async def ask(
        self, question: bytes, check: Check, *, timeout_s: float, at_end: Check | None = None
    ) -> bytes:
        """The answer as it arrives, in two segments; a wrong one is the end of the connection."""
        if not self.is_open:
            raise DeviceError("It is closed.", "", code=CLOSED)
        said = self.answer if isinstance(self.answer, bytes) else self.answer(question)
        self.is_open = False
        for end in sorted({len(said) // 2, len(said)} - {0}):
            if (found := check(said[:end])) is not None:
                self.is_open = end == len(said)  # what comes unasked ends it
                return found
        if at_end is not None and (found := at_end(said)) is not None:
            return found
        raise DeviceError(f"Nothing within {timeout_s} s.", "", code=TIMEOUT)

    async def close(self) -> None:
        """No more of it."""
        self.is_open = False


def always(number: int) -> itertools.repeat[int]:
    """In place of a counter of transactions."""
    return itertools.repeat(number)
