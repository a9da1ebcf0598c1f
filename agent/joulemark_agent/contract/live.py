"""The newest batch of a device, sent ahead of a backlog: shown as live, never counted.

The edge of the tree before the batch comes with it. Its root is the one that the envelope names as
the head before, and with the batch's leaves it gives the root that is signed: so the message proves
by itself what this agent says, only not that nothing is missing before it. That the backlog proves.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

from joulemark_agent.contract.batch import (
    MAX_PLAIN_BYTES,
    MAX_WIRE_BYTES,
    Batch,
    batch_of,
    inflate,
    plain_bytes,
)
from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.signature import (
    Checkpoint,
    decode64,
    encode64,
    parse_checkpoint,
    parse_note,
)
from joulemark_agent.contract.tree import Edge, append, root

VERSION = 1
_FIELDS = {"batch", "edge", "v"}
_MOST_HASHES = 64


@dataclass(frozen=True)
class Live:
    """A batch and the edge of its tree before it."""

    before: Edge
    batch: Batch


def live_bytes(live: Live) -> bytes:
    """The wire form: canonical JSON under zlib; documents stay with the backlog."""
    batch = Batch(live.batch.first_seq, live.batch.leaves, live.batch.checkpoint)
    return live_around(plain_bytes(batch), live.before)


def live_around(plain: bytes, before: Edge) -> bytes:
    """The same of a batch that need not be read: its plain bytes, without documents.

    All but the first batch of a tree have none.
    """
    edge = [encode64(item) for item in before.hashes]
    content = {"batch": plain.decode(), "edge": edge, "v": VERSION}
    return zlib.compress(canonical_bytes(content), 6)


def parse_live(data: bytes) -> tuple[Live, Checkpoint, dict[str, Any]]:
    """The message, the head that it ends at and its envelope; they fit each other.

    Whose signature the checkpoint bears is for the reader to check.

    Raises:
        EvidenceError: `bad_live`, or what is wrong with the batch or its note.
    """
    if len(data) > MAX_WIRE_BYTES:
        raise _bad(f"it has {len(data)} bytes; {MAX_WIRE_BYTES} are the most")
    content = parse_canonical(inflate(data, MAX_PLAIN_BYTES))
    if not isinstance(content, dict) or set(content) != _FIELDS or content["v"] != VERSION:
        raise _bad("its fields are not those of a live message of this version")
    text, hashes = content["batch"], content["edge"]
    if not isinstance(text, str) or not isinstance(hashes, list) or len(hashes) > _MOST_HASHES:
        raise _bad("its batch or its edge is of another kind")
    if not all(isinstance(item, str) for item in hashes):
        raise _bad("a hash is not text")
    batch = batch_of(text.encode())
    try:
        edge = b"".join(decode64(item) for item in hashes)
        before = Edge.from_bytes(batch.first_seq, edge)
    except ValueError as error:
        raise _bad(str(error)) from error
    head = parse_checkpoint(parse_note(batch.checkpoint)[0])
    envelope = parse_canonical(batch.leaves[-1])
    previous = envelope.get("previous") if isinstance(envelope, dict) else None
    named = {"root": encode64(root(before)), "size": str(before.size)}
    if previous != named or envelope.get("type") != "batch":
        raise _bad("its envelope does not follow the edge before it")
    if (head.size, head.root) != (batch.size, root(append(before, batch.leaves))):
        raise _bad("its leaves do not give the signed root")
    return Live(before, batch), head, envelope


def _bad(why: str) -> EvidenceError:
    return EvidenceError(
        f"This is no live message: {why}.",
        "It is not shown; look at the sender's log for its version.",
        code="bad_live",
    )
