"""Raw records on their way to the collector: one message at a time, so that evidence goes first.

Nothing is lost with one that is lost: it is in the archive, and can be asked for again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from joulemark_agent.contract.topics import raw_topic
from joulemark_agent.mqtt import Connection


class RawQueue:
    """What was asked for and is not sent yet."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[str, Iterator[bytes]]] = deque()
        self._under_way: tuple[str, bytes] | None = None  # device and payload
        self._mid: int | None = None  # of the message; None: it is still to be published

    def add(self, device: str, payloads: Iterator[bytes]) -> None:
        """Send these after what waits; each is read when its turn has come."""
        self._waiting.append((device, payloads))

    def pump(
        self, connection: Connection, agent: str, form: Callable[[bytes], bytes] = bytes
    ) -> None:
        """Publish the next message, if the broker has the one before, in a form that is taken."""
        if self._under_way is None:
            self._under_way = self._next()
        if self._under_way is not None and self._mid is None:
            device, payload = self._under_way
            self._mid = connection.publish(raw_topic(agent, device), form(payload))

    def acked(self, mid: int) -> None:
        """The broker answered a message: the next one may go."""
        if mid == self._mid:
            self._under_way = self._mid = None

    def rewind(self) -> None:
        """The connection is new: what was under way goes again."""
        self._mid = None

    def _next(self) -> tuple[str, bytes] | None:
        while self._waiting:
            device, payloads = self._waiting[0]
            for payload in payloads:
                return device, payload
            self._waiting.popleft()
        return None
