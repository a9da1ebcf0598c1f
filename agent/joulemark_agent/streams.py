"""What was sent of each tree and has no receipt yet: what is next, what is late. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import nsmallest

from joulemark_agent.outbox import Sealed

_Place = tuple[str, int]  # device and epoch


@dataclass(frozen=True)
class Timing:
    """How long the uplink waits. [s]"""

    receipt_s: float = 5.0  # from PUBACK to receipt
    puback_s: float = 120.0  # on a line that is alive: a slow one needs time for a large batch
    retry_s: float = 0.25  # after the first failure; doubled up to
    longest_retry_s: float = 3.0  # data flow again within 5 s of the other side's return
    refused_s: float = 60.0  # before a batch that was refused is tried again


@dataclass
class Sent:
    """A batch that was sent."""

    size: int
    mid: int
    sent_s: float
    checkpoint: str
    bytes: int
    acked_s: float | None = None


@dataclass
class Stream:
    """What was sent of one (device, epoch)."""

    next_seq: int = 0
    is_empty: bool = False  # nothing in the outbox at or after `next_seq`
    offered: int = 0  # batches, so far
    newest: int = 0  # the size after the last batch in the outbox, as far as it is known
    ready: deque[Sealed] = field(default_factory=deque)  # in memory, from `next_seq` on
    sent: dict[int, Sent] = field(default_factory=dict)  # by first seq, in order
    tried_s: float = 0.0
    not_before_s: float = 0.0
    rewound_to: int | None = None  # a hole that is being filled; further news of it are old

    def offer(self, batch: Sealed) -> None:
        """Know of a batch that has just been closed; if it is the next it need not be read again.

        One a tree is held so, whatever waits: the others are on the disk.
        """
        self.is_empty, self.newest = False, batch.size
        self.offered += 1
        if not self.ready and batch.first_seq == self.next_seq:
            self.ready.append(batch)

    def take(self, batches: list[Sealed], *, are_all: bool) -> None:
        """Have what was read from `next_seq` on; `are_all`: there is nothing behind it."""
        self.ready = deque(batches)
        if are_all:
            self.newest = batches[-1].size if batches else self.next_seq
            self.is_empty = not batches

    def went(self, sent: Sent, first_seq: int) -> None:
        """Note that the first of `ready` was sent."""
        self.ready.popleft()
        self.sent[first_seq] = sent
        self.next_seq, self.tried_s = sent.size, sent.sent_s
        self.is_empty = sent.size == self.newest

    def confirm(self, size: int) -> None:
        """Forget what the collector has committed."""
        self.sent = {seq: sent for seq, sent in self.sent.items() if sent.size > size}
        while self.ready and self.ready[0].size <= size:
            self.ready.popleft()
        self.next_seq = max(self.next_seq, size)
        self.rewound_to = None

    def rewind(self, seq: int = 0) -> None:
        """Send again what waits from this leaf on."""
        self.next_seq, self.is_empty = seq, False
        self.sent.clear()
        self.ready.clear()

    def resume(self) -> None:
        """Send again all that waits, whatever was said of it before."""
        self.rewind()
        self.rewound_to = None


class Streams(dict[_Place, Stream]):
    """The stream of each tree."""

    def __init__(self, timing: Timing) -> None:
        super().__init__()
        self._timing = timing

    def next(self, now_s: float, most: int) -> list[_Place]:
        """The trees of which something may be sent, at most so many: served longest ago first."""
        ready = (
            (stream.tried_s, len(stream.sent), place)
            for place, stream in self.items()
            if not stream.is_empty and now_s >= stream.not_before_s
        )
        return [place for _, _, place in nsmallest(most, ready)]

    @property
    def has_sent_all(self) -> bool:
        """Whether nothing is to be sent, and everything that was is confirmed."""
        return all(stream.is_empty and not stream.sent for stream in self.values())

    def under_way(self) -> Iterator[tuple[_Place, Sent]]:
        """What was sent and not confirmed."""
        for place, stream in self.items():
            if stream.sent:
                for sent in stream.sent.values():
                    yield place, sent

    def late(self, now_s: float) -> Iterator[tuple[Stream, list[Sent]]]:
        """Streams with what was not answered for too long."""
        for stream in self.values():
            if not stream.sent:
                continue
            late = [sent for sent in stream.sent.values() if self._patience_ends_s(sent) <= now_s]
            if late:
                yield stream, late

    def marks_s(self) -> Iterator[float]:
        """When something is to be done without an event."""
        for stream in self.values():
            if stream.not_before_s:
                yield stream.not_before_s
            if stream.sent:
                yield from map(self._patience_ends_s, stream.sent.values())

    def _patience_ends_s(self, sent: Sent) -> float:
        if sent.acked_s is None:
            return sent.sent_s + self._timing.puback_s
        return sent.acked_s + self._timing.receipt_s
