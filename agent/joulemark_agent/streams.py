"""What was sent of each tree and has no receipt yet: what is next, what is late. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

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
    sent: dict[int, Sent] = field(default_factory=dict)  # by first seq, in order
    tried_s: float = 0.0
    not_before_s: float = 0.0
    rewound_to: int | None = None  # a hole that is being filled; further news of it are old

    def rewind(self, seq: int = 0) -> None:
        """Send again what waits from this leaf on."""
        self.next_seq, self.is_empty = seq, False
        self.sent.clear()

    def resume(self) -> None:
        """Send again all that waits, whatever was said of it before."""
        self.rewind()
        self.rewound_to = None


class Streams(dict[_Place, Stream]):
    """The stream of each tree."""

    def __init__(self, timing: Timing) -> None:
        super().__init__()
        self._timing = timing

    def next(self, now_s: float) -> _Place | None:
        """The tree of which something may be sent and that was served longest ago."""
        ready = [
            (stream.tried_s, len(stream.sent), place)
            for place, stream in self.items()
            if not stream.is_empty and now_s >= stream.not_before_s
        ]
        return min(ready)[2] if ready else None

    @property
    def has_sent_all(self) -> bool:
        """Whether nothing is to be sent, and everything that was is confirmed."""
        return all(stream.is_empty and not stream.sent for stream in self.values())

    def under_way(self) -> Iterator[tuple[_Place, Sent]]:
        """What was sent and not confirmed."""
        for place, stream in self.items():
            for sent in stream.sent.values():
                yield place, sent

    def late(self, now_s: float) -> Iterator[tuple[Stream, list[Sent]]]:
        """Streams with what was not answered for too long."""
        for stream in self.values():
            late = [sent for sent in stream.sent.values() if self._patience_ends_s(sent) <= now_s]
            if late:
                yield stream, late

    def marks_s(self) -> Iterator[float]:
        """When something is to be done without an event."""
        for stream in self.values():
            yield stream.not_before_s
            yield from map(self._patience_ends_s, stream.sent.values())

    def _patience_ends_s(self, sent: Sent) -> float:
        if sent.acked_s is None:
            return sent.sent_s + self._timing.puback_s
        return sent.acked_s + self._timing.receipt_s
