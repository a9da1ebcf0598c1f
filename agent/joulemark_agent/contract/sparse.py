"""A sparse batch: consecutive leaves of a tree of which some stay where they were read.

Sent in committed mode, where raw records never leave the gateway, and for leaves that a damaged
disk has lost. In place of such a run stand its length and its cover (see `tree`), so the signed
head is proved to extend the one before it, and whoever gets the leaves later can prove that they
are the ones.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, cast

from joulemark_agent.contract.batch import (
    MAX_DOCUMENTS,
    MAX_LEAVES,
    MAX_PLAIN_BYTES,
    MAX_WIRE_BYTES,
    check_memory,
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
_MOST_VALUES = 65_536  # hashes of all covers, leaves and documents
_FIELDS = {"checkpoint", "documents", "first_seq", "parts", "v"}
_RUN = b'{"withheld":'  # how the line of a run begins; no leaf begins so


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
    for is_run, those in groupby(parts, key=lambda part: isinstance(part, Withheld)):
        if not is_run:
            edge = append(edge, cast("Iterator[bytes]", those))
            continue
        for run in cast("Iterator[Withheld]", those):
            try:
                edge = append_covered(edge, run.count, run.hashes)
            except ValueError as error:
                raise _bad(str(error)) from error
    return edge


def numbered(parts: Sequence[Part], first_seq: int) -> Iterator[tuple[int, Part]]:
    """Each part with the index of its first leaf; `first_seq` is that of the first part."""
    for part in parts:
        yield first_seq, part
        first_seq += part.count if isinstance(part, Withheld) else 1


def present(parts: Sequence[Part], first_seq: int) -> Iterator[tuple[int, bytes]]:
    """Each leaf that is here with its index."""
    for seq, part in numbered(parts, first_seq):
        if not isinstance(part, Withheld):
            yield seq, part


def between(parts: Sequence[Part], first_seq: int, start: int, end: int) -> list[Part]:
    """What of the parts lies in start .. end - 1; a run that is cut has no cover any more."""
    found: list[Part] = []
    for seq, part in numbered(parts, first_seq):
        if isinstance(part, Withheld):
            count = min(seq + part.count, end) - max(seq, start)
            if count > 0:
                found.append(part if count == part.count else Withheld(count, ()))
        elif start <= seq < end:
            found.append(part)
    return found


class Reel:
    """Parts of a tree from its first leaf on, taken off head by head."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts, self._size = iter(parts), 0

    def take(self, size: int) -> list[Part]:
        """The next parts, up to this size of the tree, or all where there are not so many.

        Raises:
            EvidenceError: a run goes on beyond it.
        """
        found: list[Part] = []
        while self._size < size and (part := next(self._parts, None)) is not None:
            found.append(part)
            self._size += part.count if isinstance(part, Withheld) else 1
        if self._size > size:
            raise _bad(f"a run of withheld leaves goes on beyond leaf {size}, where a head stands")
        return found


def is_same_tree(one: Sequence[Part], other: Sequence[Part], first_seq: int) -> bool:
    """Whether two runs of parts stand for the same leaves, each with covers where it likes.

    What stands before them does not matter: after any edge of that size, both give one edge only if
    the leaves are the same.
    """
    before = Edge(first_seq, (bytes(HASH_BYTES),) * first_seq.bit_count())
    return extended(before, one) == extended(before, other)


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


def line_of(part: Part) -> bytes:
    """A part as one line of a store or a bundle."""
    if isinstance(part, Withheld):
        return canonical_bytes({"withheld": part_content(part)})
    return part


def parse_line(line: bytes) -> Part:
    """The part of `line_of`; whether a leaf is one, who reads it must see.

    Raises:
        EvidenceError: it begins as a run and is none.
    """
    if not line.startswith(_RUN):
        return line
    content = parse_canonical(line)
    if set(content) != {"withheld"} or not isinstance(content["withheld"], dict):
        raise _bad("a line begins as a run of withheld leaves and is none")
    return parse_part(content["withheld"])


def parse_sparse(data: bytes) -> SparseBatch:
    """The sparse batch on the wire, its form checked; signatures and tree are checked later.

    Raises:
        EvidenceError: too large, not zlib, not canonical, or fields of another kind.
    """
    if len(data) > MAX_WIRE_BYTES:
        raise _bad(f"it has {len(data)} bytes; {MAX_WIRE_BYTES} are the most")
    plain = inflate(data, MAX_PLAIN_BYTES)
    check_memory(plain, _MOST_VALUES)
    content = parse_canonical(plain)
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
