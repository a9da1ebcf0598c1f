"""The part of the collector's log in a bundle: all of one site, covers for the rest. Pure.

It has the form of the trees beside it: leaves in order, covers in the place of those that are of
other sites, and the signed heads, at each of which a cover ends. So one walk from the first leaf to
the last proves that every leaf stands under every later head and that each head goes on from the
one before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from joulemark_agent.contract.canonical import digest_hex
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.signature import (
    Checkpoint,
    NoteSignature,
    parse_checkpoint,
    parse_note,
)
from joulemark_agent.contract.sparse import Part, present
from joulemark_gateway.evidence.entries import HEADS, Logged, parse_entry

_COSIGNATURE_BYTES = 8 + 64  # time and signature
Stamp = tuple[int, str]  # size of the head, and name of the authority


@dataclass(frozen=True)
class LogFiles:
    """Leaves, covers and signed heads of a log, and the time stamps over some of the heads."""

    parts: Sequence[Part]
    checkpoints: Sequence[str]
    tokens: Mapping[Stamp, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Account:
    """The same, read: what was logged of the site, and every head; nothing of it is checked yet."""

    heads: tuple[Checkpoint, ...]
    notes: tuple[str, ...]
    entries: tuple[Logged, ...]
    tokens: Mapping[Stamp, bytes]

    @property
    def newest(self) -> Checkpoint:
        """The head under which everything stands."""
        return self.heads[-1]

    def last_heads(self) -> dict[str, Checkpoint]:
        """What was logged last of each tree, by origin."""
        return {head.origin: head for entry in self.entries for head in entry.heads}

    def cosignatures(self) -> list[NoteSignature]:
        """The lines that say to be of witnesses of the newest head; unchecked."""
        return _cosignatures(self.notes[-1], self.newest.origin)

    def cosigners(self) -> list[tuple[str, int]]:
        """Who says to have cosigned the newest head, and when (POSIX seconds); unchecked."""
        return cosignatures_of(self.notes[-1], self.newest.origin)

    @property
    def closed_us(self) -> int | None:
        """When the heads of the site's trees were logged last, the collector's clock. [us]"""
        times = [entry.time_us for entry in self.entries if entry.kind == HEADS]
        return times[-1] if times else None

    def stamps(self) -> list[tuple[int, str, str]]:
        """Size, authority and SHA-256 of every time stamp."""
        return [
            (size, name, digest_hex(data)) for (size, name), data in sorted(self.tokens.items())
        ]


def cosignatures_of(note: str, origin: str) -> list[tuple[str, int]]:
    """Who says to have cosigned a head of this origin, and when (POSIX seconds); unchecked."""
    return sorted((one.name, int.from_bytes(one.body[:8])) for one in _cosignatures(note, origin))


def _cosignatures(note: str, origin: str) -> list[NoteSignature]:
    _, lines = parse_note(note)
    return [one for one in lines if one.name != origin and len(one.body) == _COSIGNATURE_BYTES]


def read_account(files: LogFiles) -> Account:
    """What these files say.

    Raises:
        EvidenceError: a leaf or a head cannot be read.
    """
    heads = tuple(parse_checkpoint(parse_note(note)[0]) for note in files.checkpoints)
    if not heads:
        raise EvidenceError(
            "The collector's log has no head here.",
            "Take the bundle from its source again.",
            code="bad_checkpoints",
        )
    entries = tuple(parse_entry(leaf, position) for position, leaf in present(files.parts, 0))
    return Account(heads, tuple(files.checkpoints), entries, files.tokens)
