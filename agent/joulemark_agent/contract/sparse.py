"""A sparse batch: consecutive leaves of a tree of which some stay where they were read.

Sent in committed mode, where raw records never leave the gateway, and for leaves that a damaged
disk has lost. In place of such a run stand its length and its cover (see `tree`), so the signed
head is proved to extend the one before it, and whoever gets the leaves later can prove that they
are the ones.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from joulemark_agent.contract.batch import (
    MAX_DOCUMENTS,
    MAX_LEAVES,
    MAX_PLAIN_BYTES,
    MAX_WIRE_BYTES,
    inflate,
    parse_u64,
)
from joulemark_agent.contract.canonical import canonical_bytes, digest_hex, parse_canonical
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.signature import MAX_NOTE_BYTES, decode64, encode64
from joulemark_agent.contract.tree import HASH_BYTES, Edge, append, append_covered, cover, leaf_hash

VERSION = 1
MAX_WITHHELD = 1_000_000  # leaves of one run
_MOST_HASHES = 128  # of one cover: at most 2 log2 of its leaves
_FIELDS = {"checkpoint", "documents", "first_seq", "parts", "v"}


@dataclass(frozen=True)
class Withheld:
    """A run of leaves that is not here: how many, and the roots of the subtrees that cover it."""

    count: int
    hashes: tuple[bytes, ...]


Part = bytes | Withheld


@dataclass(frozen=True)
class SparseBatch:
    """Parts of a tree from leaf `first_seq` on, and the checkpoint note after the last."""

    first_seq: int
    parts: tuple[Part, ...]
    checkpoint: str
    documents: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """The tree's size after this batch."""
        return self.first_seq + leaves_in(self.parts)


def leaves_in(parts: Sequence[Part]) -> int:
    """How many leaves the parts stand for."""
    return sum(part.count if isinstance(part, Withheld) else 1 for part in parts)


def withheld(leaves: Sequence[bytes], first_seq: int) -> Withheld:
    """What stands for a run of leaves; `first_seq` is the index of the first."""
    return Withheld(len(leaves), tuple(cover([leaf_hash(leaf) for leaf in leaves], first_seq)))


def extended(edge: Edge, parts: Sequence[Part]) -> Edge:
    """The edge after the parts.

    Raises:
        EvidenceError: a cover has another number of hashes than its run needs at its place.
    """
    for part in parts:
        try:
            if isinstance(part, Withheld):
                edge = append_covered(edge, part.count, part.hashes)
            else:
                edge = append(edge, (part,))
        except ValueError as error:
            raise _bad(str(error)) from error
    return edge


def sparse_bytes(batch: SparseBatch) -> bytes:
    """The wire form: canonical JSON under zlib; the same batch always gives the same plain text."""
    content = {
        "checkpoint": batch.checkpoint,
        "documents": {digest: data.decode() for digest, data in batch.documents.items()},
        "first_seq": str(batch.first_seq),
        "parts": [part_content(part) for part in batch.parts],
        "v": VERSION,
    }
    return zlib.compress(canonical_bytes(content), 6)


def part_content(part: Part) -> Any:
    """A part in JSON: the text of a leaf, or an object with `count` and `hashes`."""
    if isinstance(part, Withheld):
        return {"count": str(part.count), "hashes": [encode64(item) for item in part.hashes]}
    return part.decode()


def parse_part(content: Any) -> Part:
    """The part of `part_content`.

    Raises:
        EvidenceError: it is neither text of one line nor a run with a cover.
    """
    if isinstance(content, str) and "\n" not in content:
        return content.encode()
    if not isinstance(content, dict) or set(content) != {"count", "hashes"}:
        raise _bad("a part is neither a leaf nor a run of withheld leaves")
    count, hashes = parse_u64(content["count"], "count"), content["hashes"]
    if not 1 <= count <= MAX_WITHHELD:
        raise _bad(f"a run of {count} withheld leaves; 1 to {MAX_WITHHELD} are possible")
    if not isinstance(hashes, list) or not 1 <= len(hashes) <= _MOST_HASHES:
        raise _bad(f"a cover has 1 to {_MOST_HASHES} hashes")
    if not all(isinstance(item, str) for item in hashes):
        raise _bad("a hash is not text")
    found = tuple(decode64(item) for item in hashes)
    if any(len(item) != HASH_BYTES for item in found):
        raise _bad(f"a hash has {HASH_BYTES} bytes")
    return Withheld(count, found)


def parse_sparse(data: bytes) -> SparseBatch:
    """The sparse batch on the wire, its form checked; signatures and tree are checked later.

    Raises:
        EvidenceError: too large, not zlib, not canonical, or fields of another kind.
    """
    if len(data) > MAX_WIRE_BYTES:
        raise _bad(f"it has {len(data)} bytes; {MAX_WIRE_BYTES} are the most")
    content = parse_canonical(inflate(data, MAX_PLAIN_BYTES))
    if not isinstance(content, dict) or set(content) != _FIELDS or content["v"] != VERSION:
        raise _bad("its fields are not those of a sparse batch of this version")
    parts, documents, checkpoint = content["parts"], content["documents"], content["checkpoint"]
    if not isinstance(parts, list) or not 1 <= len(parts) <= MAX_LEAVES:
        raise _bad(f"it must hold 1 to {MAX_LEAVES} parts")
    if not isinstance(documents, dict) or len(documents) > MAX_DOCUMENTS:
        raise _bad(f"it may hold up to {MAX_DOCUMENTS} documents")
    texts = [*documents.values(), checkpoint]
    if not all(isinstance(text, str) for text in texts) or len(checkpoint) > MAX_NOTE_BYTES:
        raise _bad("a document or the checkpoint is not text")
    by_digest = {digest: text.encode() for digest, text in documents.items()}
    if wrong := [digest for digest, data in by_digest.items() if digest_hex(data) != digest]:
        raise _bad(f"document {wrong[0][:16]} has another digest")
    first_seq = parse_u64(content["first_seq"], "first_seq")
    return SparseBatch(first_seq, tuple(map(parse_part, parts)), checkpoint, by_digest)


def _bad(why: str) -> EvidenceError:
    return EvidenceError(
        f"This is not a sparse batch: {why}.",
        "It is quarantined; look at the sender's log for its version and settings.",
        code="bad_batch",
    )
