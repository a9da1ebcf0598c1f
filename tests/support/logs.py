"""Logs of bare leaves, as forked as a test wants, and what their witnesses are asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from joulemark_agent.contract.signature import Checkpoint, public_key, sign_checkpoint
from joulemark_agent.contract.tree import Edge, append, leaf_hash, root
from joulemark_gateway.evidence.entries import log_origin
from joulemark_gateway.evidence.proof import consistency_path
from joulemark_gateway.witness.cosigner import Identity
from joulemark_gateway.witness.exchange import Request
from support.evidence import KEYS, WITNESS

ORIGIN = log_origin(WITNESS)
FIRM, FIRM_KEY = "anchor-firm", b"f" * 32


@dataclass
class Log:
    """Leaves, and heads over the first so many of them."""

    leaves: list[bytes] = field(default_factory=list)
    origin: str = ORIGIN
    key: bytes = KEYS.witness

    def head(self, size: int) -> Checkpoint:
        """The true head of this size."""
        return Checkpoint(self.origin, size, root(append(Edge(), self.leaves[:size])))

    def note(self, size: int) -> str:
        """The same, signed."""
        return sign_checkpoint(self.key, self.head(size))

    def request(self, old: int, size: int) -> Request:
        """What a witness is asked that cosigned `old` leaves last."""
        hashes = [leaf_hash(leaf) for leaf in self.leaves[:size]]
        path = consistency_path(hashes, old) if old else []
        return Request(old, tuple(path), self.note(size))

    def body(self, old: int, size: int) -> bytes:
        """The same in bytes."""
        return self.request(old, size).text().encode()


def log_of(size: int, word: str = "leaf", after: Sequence[bytes] = ()) -> Log:
    """A log of so many leaves, the first of them those of another."""
    return Log([*after, *(b"%s %d" % (word.encode(), i) for i in range(len(after), size))])


def identity() -> Identity:
    """A witness that knows the collector's log."""
    return Identity(FIRM, FIRM_KEY, {ORIGIN: (public_key(KEYS.witness),)})
