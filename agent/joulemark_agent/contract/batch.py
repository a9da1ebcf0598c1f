"""A batch: consecutive leaves of one (device, epoch), sent under one signed checkpoint.

The batch's envelope is its last leaf, so the checkpoint's signature covers it and an inclusion
proof proves it; the envelope names the head before it and so needs no root of its own. Documents
(profile, site, factors) travel with the batch that opens an epoch and are known by their digest.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from joulemark_agent.contract.canonical import (
    check_values,
    digest_hex,
    parse_canonical,
    written_bytes,
)
from joulemark_agent.contract.columns import pack, unpack
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.frame import is_packed
from joulemark_agent.contract.signature import MAX_NOTE_BYTES

VERSION = 1
MAX_WIRE_BYTES = 1024 * 1024
MAX_PLAIN_BYTES = 8 * 1024 * 1024  # as it stands in memory: letters beyond ASCII take 2 or 4 each
MAX_LEAVES = 4096
MAX_DOCUMENTS = 8
COLUMNS_FROM = 8  # leaves: of fewer, seal and names are most, and text costs less work
_FIELDS = {"checkpoint", "documents", "first_seq", "leaves", "v"}
_LEAVES, _NEXT, _END = b',"leaves":["', b'","', b'"],"v":1}'
_CONTROLS, _MARK = bytes(range(0x20)), b"\0"
_ASTRAL = re.compile(rb"[\xf0-\xff]")  # how letters of four bytes in memory begin in UTF-8


@dataclass(frozen=True)
class Batch:
    """Leaves first_seq .. first_seq + len(leaves) - 1 and the checkpoint note after the last."""

    first_seq: int
    leaves: tuple[bytes, ...]
    checkpoint: str
    documents: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """The tree's size after this batch."""
        return self.first_seq + len(self.leaves)


def batch_bytes(batch: Batch) -> bytes:
    """The wire form: canonical JSON under zlib; the same batch always gives the same plain text."""
    return zlib.compress(plain_bytes(batch), 6)


def columns_bytes(batch: Batch) -> bytes:
    """The wire form of many records: columns (`columns`); whoever takes it is to say so first.

    The first line is the batch with an empty leaf instead of its own, which follow it.
    """
    return pack([plain_bytes(replace(batch, leaves=(b"",))), *batch.leaves])


def sealed_bytes(batch: Batch) -> bytes:
    """The form in which a batch of so many leaves is kept and sent."""
    return columns_bytes(batch) if len(batch.leaves) >= COLUMNS_FROM else batch_bytes(batch)


def text_bytes(data: bytes) -> bytes:
    """The wire form of a batch for whoever does not take columns."""
    return batch_bytes(parse_batch(data)) if is_packed(data) else data


def plain_bytes(batch: Batch) -> bytes:
    """The batch as canonical JSON."""
    content = {
        "checkpoint": batch.checkpoint,
        "documents": {digest: data.decode() for digest, data in batch.documents.items()},
        "first_seq": str(batch.first_seq),
        "leaves": [leaf.decode() for leaf in batch.leaves],
        "v": VERSION,
    }
    return written_bytes(content)


def parse_batch(data: bytes) -> Batch:
    """The batch on the wire, its form checked; signatures and tree are checked by the collector.

    Raises:
        EvidenceError: too large, neither zlib nor columns, not canonical, or of other fields.
    """
    if len(data) > MAX_WIRE_BYTES:
        raise _bad(f"it has {len(data)} bytes; {MAX_WIRE_BYTES} are the most")
    if is_packed(data):
        return _of_lines(unpack(data, MAX_PLAIN_BYTES, 1 + MAX_LEAVES))
    return batch_of(inflate(data, MAX_PLAIN_BYTES))


def plain_of(data: bytes) -> bytes:
    """The `plain_bytes` of a batch on the wire.

    Raises:
        EvidenceError: too large, or damaged.
    """
    return plain_bytes(parse_batch(data)) if is_packed(data) else inflate(data, MAX_PLAIN_BYTES)


def _of_lines(lines: Sequence[bytes]) -> Batch:
    """The batch of the lines of `columns_bytes`, its form checked."""
    if len(lines) < 2:
        raise _bad("its columns hold no leaf")
    head, leaves = batch_of(lines[0]), lines[1:]
    if head.leaves != (b"",):
        raise _bad("its columns begin with a batch that has leaves of its own")
    for leaf in leaves:
        if b"\n" in leaf or not _is_text(leaf):
            raise _bad("a leaf is not text of one line")
    return replace(head, leaves=tuple(leaves))


def _is_text(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def batch_of(plain: bytes) -> Batch:
    """The batch of `plain_bytes`, its form checked.

    Raises:
        EvidenceError: not canonical, or fields of another kind.
    """
    frame, bare = _without_leaves(plain)
    others = 2 * MAX_DOCUMENTS + 2 * len(_FIELDS)
    check_memory(frame, others + (0 if bare else MAX_LEAVES), len(plain))
    content = parse_canonical(frame)
    if not isinstance(content, dict) or set(content) != _FIELDS:
        raise _bad("its fields are not those of a batch")
    if content["v"] != VERSION:
        raise _bad(f"its version is {str(content['v'])[:20]!r}, not {VERSION}")
    leaves, documents = content["leaves"], content["documents"]
    if not isinstance(leaves, list) or not 1 <= len(bare or leaves) <= MAX_LEAVES:
        raise _bad(f"it must hold 1 to {MAX_LEAVES} leaves")
    if not isinstance(documents, dict) or len(documents) > MAX_DOCUMENTS:
        raise _bad(f"it may hold up to {MAX_DOCUMENTS} documents")
    checkpoint = content["checkpoint"]
    texts = [*leaves, *documents.values(), checkpoint]
    if not all(isinstance(text, str) for text in texts) or len(checkpoint) > MAX_NOTE_BYTES:
        raise _bad("a leaf, document or checkpoint is not text")
    if any("\n" in leaf for leaf in leaves):
        raise _bad("a leaf holds a line break")
    by_digest = {digest: text.encode() for digest, text in documents.items()}
    for digest, document in by_digest.items():
        if digest_hex(document) != digest:
            raise _bad(f"document {digest[:16]} has another digest")
    return Batch(
        parse_u64(content["first_seq"], "first_seq"),
        tuple(bare or [leaf.encode() for leaf in leaves]),
        checkpoint,
        by_digest,
    )


def _without_leaves(plain: bytes) -> tuple[bytes, list[bytes]]:
    """The batch as it would be without leaves, and these; no leaf where it is to be read whole.

    Leaves are nearly all of its bytes, and nearly always printable ASCII that only escapes quotes.
    Then they are texts in their one form, and the batch is canonical where the rest of it is.
    """
    head, begun, tail = plain.partition(_LEAVES)
    inside = tail[: -len(_END)]
    if not begun or not tail.endswith(_END) or not inside.isascii():
        return plain, []
    if len(inside.translate(None, _CONTROLS)) < len(inside) or inside.count(_NEXT) >= MAX_LEAVES:
        return plain, []
    leaves = inside.replace(b'\\"', _MARK).split(_NEXT)
    if any(b'"' in leaf or b"\\" in leaf for leaf in leaves):
        return plain, []
    return head + _LEAVES[:-1] + _END[1:], [leaf.replace(_MARK, b'"') for leaf in leaves]


def check_memory(plain: bytes, values: int, size: int = 0) -> None:
    """Refuse what would take far more memory than it has bytes, before it is read.

    Args:
        plain: JSON.
        values: that it may have.
        size: of a text that holds it, and beside it ASCII only. [bytes]

    Raises:
        EvidenceError: longer than `MAX_PLAIN_BYTES` in memory, or with more values than these.
    """
    width = 1 if plain.isascii() else 4 if _ASTRAL.search(plain) else 2
    if width * max(len(plain), size) > MAX_PLAIN_BYTES:
        raise _bad(f"it takes more than {MAX_PLAIN_BYTES} bytes of memory")
    check_values(plain, values)


def inflate(data: bytes, limit: int) -> bytes:
    """The plain bytes of one whole zlib stream, of at most `limit` bytes.

    Raises:
        EvidenceError: damaged, truncated, followed by other bytes, or larger than the limit.
    """
    stream = zlib.decompressobj()
    try:
        plain = stream.decompress(data, limit + 1)
    except zlib.error as error:
        raise _bad(f"its compression is damaged: {error}") from error
    if len(plain) > limit:
        raise _bad(f"it unpacks to more than {limit} bytes")
    if not stream.eof or stream.unused_data:
        raise _bad("its compression is cut short or followed by other bytes")
    return plain


def parse_u64(value: Any, name: str) -> int:
    """The integer of a plain decimal string below 2^64.

    Raises:
        EvidenceError: any other form (signs, leading zeros, a JSON number).
    """
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 20:
        number = int(value)
        if str(number) == value and number < 2**64:
            return number
    raise _bad(f"{name} is {str(value)[:40]!r}, not a plain decimal below 2^64")


def _bad(why: str) -> EvidenceError:
    return EvidenceError(
        f"This is not a batch: {why}.",
        "It is quarantined; look at the sender's log for its version and settings.",
        code="bad_batch",
    )
