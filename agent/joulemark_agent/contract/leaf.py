"""The form of a leaf: which fields a record and each event has, and which versions are read.

`v` is the major version: another one is refused whole. A later minor version writes `minor` beside
it; then fields and types of events that a reader does not know are kept, hashed and otherwise left
alone. Without `minor` they are refused, so that nothing unread hides in an old form.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.reading import VERSION

MINOR = "minor"  # an integer from 1
MAX_LEAF_BYTES = 2 * 1024 * 1024  # of a thousand values, each with all a controller may answer
COMMON_FIELDS = frozenset({"dev", "epoch", "seq", "type", "v"})  # of every event
RECORD_FIELDS = frozenset(
    {"boot", "dev", "epoch", "q", "raw", "seq", "slot", "t_mono_ns", "t_utc_us", "tq", "v", "val"}
)  # all of them
EVENT_FIELDS: Mapping[str, frozenset[str]] = {  # what may stand beside the common ones
    "epoch_start": frozenset({"grant", "operator_signature", "t_utc_us"}),
    "boot": frozenset({"boot", "t_mono_ns", "t_utc_us"}),
    "gap": frozenset({"cause", "first_slot", "last_slot", "slots"}),
    "batch": frozenset(
        {"documents", "energy", "first_seq", "first_slot", "gap_slots", "last_seq", "last_slot"}
        | {"previous", "records", "sealed_us", "slots", "time", "values"}
    ),
    "figures": frozenset(
        {"absent", "end", "figures", "findings", "first_seq", "last_seq", "start", "version"}
    ),
    "discontinuity": frozenset(
        {"first_seq", "first_slot", "last_seq", "last_slot", "slots", "why"} | {"head", "old_epoch"}
    ),
    "key_rotation": frozenset({"new_key", "new_signature", "old_key", "old_signature"}),
    "archive_trimmed": frozenset({"first_seq", "last_seq", "origin"}),
    "raw_request": frozenset({"answer", "batches", "request", "signature"}),
}


def parse_leaf(leaf: bytes) -> dict[str, Any]:
    """The content of one leaf: a record, or an event; `type` names what it is.

    Raises:
        EvidenceError: `not_canonical`, `bad_leaf`, or `unknown_version`.
    """
    if len(leaf) > MAX_LEAF_BYTES:
        raise _bad(leaf, f"has {len(leaf)} bytes; {MAX_LEAF_BYTES} are the most")
    content = parse_canonical(leaf)
    if not isinstance(content, dict) or type(content.get("v")) is not int:
        raise _bad(leaf, "is no leaf of any version")
    if content["v"] != VERSION:
        why = f"is of version {content['v']}; this reads version {VERSION}"
        raise _bad(leaf, why, code="unknown_version")
    if not _has_form(content) or type(content.get("epoch")) is not int or "dev" not in content:
        raise _bad(leaf, "is neither a record nor a known event")
    content.setdefault("seq", "")
    return content


def _has_form(content: Mapping[str, Any]) -> bool:
    if content.keys() == RECORD_FIELDS:
        return True  # what most leaves are
    fields, kind = set(content) - {MINOR}, content.get("type")
    is_later = MINOR in content
    if is_later and not (type(content[MINOR]) is int and content[MINOR] >= 1):
        return False
    if "type" not in content:
        return is_later and fields >= RECORD_FIELDS
    if not isinstance(kind, str):
        return False
    return is_later or (kind in EVENT_FIELDS and fields <= COMMON_FIELDS | EVENT_FIELDS[kind])


def _bad(leaf: bytes, why: str, *, code: str = "bad_leaf") -> EvidenceError:
    return EvidenceError(
        f"The evidence does not hold: {leaf[:60]!r} {why}.",
        "Compare it with the copy of the collector and of the witness, or read it with the version"
        " of Joulemark that wrote it.",
        code=code,
    )
