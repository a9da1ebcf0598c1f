"""The leaves of the collector's own log: what it answers for, each in one canonical JSON text.

| type | fields beside the common ones | says |
|---|---|---|
| heads | heads: [{origin, root, size}] | how far trees of the site stood, and with which root |
| approval | what, content | a grant, an enrolment or a revocation as the collector knew it |
| document | name, sha256 | a document that a grant names was taken |
| correction | correction, operator_key, operator_signature | see `corrections` |
| plan | plan, operator_key, operator_signature | see `plans` |
| security | done, refused: {digest, last} | how far the two chains of the security log stood |

Common to all: type, v, site, n, t_utc_us. A leaf speaks of one site, so that a bundle can carry
those of its own site and nobody else's (what the collector says of itself has a site of its own,
and stands in no bundle); `n` counts the leaves of a site from 0, so that none can be
left out between two others unnoticed. A later version writes `minor`, as in the leaves of devices:
then fields and types that are not known are kept, hashed and otherwise left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from joulemark_agent.contract.batch import parse_u64
from joulemark_agent.contract.canonical import canonical_bytes, digest_hex, parse_canonical
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.leaf import MINOR
from joulemark_agent.contract.signature import Checkpoint, decode64, encode64
from joulemark_agent.contract.topics import is_id, parse_origin
from joulemark_agent.contract.tree import HASH_BYTES

PREFIX = "joulemark/collector/"
ITSELF = "joulemark-collector"  # the site of what a collector says of itself
HEADS, APPROVAL, DOCUMENT, CORRECTION = "heads", "approval", "document", "correction"
PLAN, SECURITY = "plan", "security"
GRANT, ENROLMENT, REVOCATION = "grant", "enrolment", "revocation"
VERSION = 1
_COMMON = {"n", "site", "t_utc_us", "type", "v"}
_FIELDS: Mapping[str, set[str]] = {
    HEADS: {"heads"},
    APPROVAL: {"content", "what"},
    DOCUMENT: {"name", "sha256"},
    CORRECTION: {"correction", "operator_key", "operator_signature"},
    PLAN: {"operator_key", "operator_signature", "plan"},
    SECURITY: {"done", "refused"},
}


@dataclass(frozen=True)
class Entry:
    """What is to be logged; a `mark` that stands already is not logged again for its site."""

    site: str
    kind: str
    fields: Mapping[str, Any]
    mark: str | None = None


@dataclass(frozen=True)
class Logged:
    """One leaf of the log, read back."""

    position: int
    n: int
    site: str
    kind: str
    time_us: int  # the collector's clock when it was logged
    fields: Mapping[str, Any]

    @property
    def heads(self) -> tuple[Checkpoint, ...]:
        """The heads that a leaf of this kind names; of another kind none."""
        return heads_in(self.fields["heads"]) if self.kind == HEADS else ()


def log_origin(name: str) -> str:
    """The origin of the log of a collector: the first line of its heads."""
    return PREFIX + name


def is_log_name(name: str) -> bool:
    """Whether the log of a collector of this name can be told from the tree of a device."""
    try:
        parse_origin(log_origin(name))
    except EvidenceError:
        return True
    return False


def heads_entry(site: str, heads: Iterable[Checkpoint]) -> Entry:
    """How far trees of a site stand."""
    rows = sorted(heads, key=lambda head: head.origin)
    listed = [
        {"origin": head.origin, "root": encode64(head.root), "size": str(head.size)}
        for head in rows
    ]
    return Entry(site, HEADS, {"heads": listed})


def approval_entry(site: str, what: str, content: Mapping[str, Any]) -> Entry:
    """What was approved; the same approval is logged once."""
    digest = digest_hex(canonical_bytes(dict(content)))
    return Entry(site, APPROVAL, {"content": dict(content), "what": what}, f"{what} {digest}")


def grant_content(origin: str, grant: Mapping[str, Any]) -> dict[str, Any]:
    """What the approval of a grant says of it."""
    return {"origin": origin, "sha256": digest_hex(canonical_bytes(dict(grant)))}


def document_entry(site: str, name: str, digest: str) -> Entry:
    """That a document was taken; once for each site."""
    return Entry(site, DOCUMENT, {"name": name, "sha256": digest}, f"document {name} {digest}")


def security_entry(done: tuple[int, bytes], refused: tuple[int, bytes]) -> Entry:
    """How far the two chains of the security log stand: last line and digest of each."""
    rows = {"done": done, "refused": refused}
    fields = {
        name: {"digest": digest.hex(), "last": str(last)} for name, (last, digest) in rows.items()
    }
    return Entry(ITSELF, SECURITY, fields, f"{SECURITY} {digest_hex(canonical_bytes(fields))}")


def entry_leaf(entry: Entry, n: int, time_us: int) -> bytes:
    """The bytes of a leaf: the `n`-th of its site, logged at this time."""
    common = {"n": str(n), "site": entry.site, "t_utc_us": str(time_us), "type": entry.kind}
    return canonical_bytes({**entry.fields, **common, "v": VERSION})


def parse_entry(leaf: bytes, position: int) -> Logged:
    """The leaf at this place of the log.

    Raises:
        EvidenceError: `log_entry`, `not_canonical` or `unknown_version`.
    """
    content = parse_canonical(leaf)
    if not isinstance(content, dict) or type(content.get("v")) is not int:
        raise _bad(position, "it is no leaf of any version")
    if content["v"] != VERSION:
        why = f"it is of version {content['v']}; this reads version {VERSION}"
        raise _bad(position, why, code="unknown_version")
    site, kind = content.get("site"), content.get("type")
    if not isinstance(site, str) or not is_id(site) or not isinstance(kind, str):
        raise _bad(position, "it names no site or no type")
    _check_fields(position, kind, content)
    try:
        n, time_us = parse_u64(content.get("n"), "n"), parse_u64(content.get("t_utc_us"), "time")
    except EvidenceError as error:
        raise _bad(position, error.what) from error
    fields = {name: item for name, item in content.items() if name not in _COMMON}
    logged = Logged(position, n, site, kind, time_us, fields)
    if any(parse_origin(head.origin)[0] != site for head in logged.heads):
        raise _bad(position, "it names a tree of another site than its own")
    return logged


def heads_in(listed: Any) -> tuple[Checkpoint, ...]:
    """The heads in the list of a leaf.

    Raises:
        EvidenceError: `log_entry`, `bad_base64` or `bad_origin`.
    """
    rows = listed if isinstance(listed, list) and listed else [None]
    found = []
    for row in rows:
        if not isinstance(row, dict) or set(row) != {"origin", "root", "size"}:
            raise _bad(None, "a head has origin, root and size")
        if not isinstance(row["root"], str) or not isinstance(row["origin"], str):
            raise _bad(None, "origin or root of a head is no text")
        head = Checkpoint(row["origin"], parse_u64(row["size"], "size"), decode64(row["root"]))
        parse_origin(head.origin)
        if head.size < 1 or len(head.root) != HASH_BYTES:
            raise _bad(None, f"the head of {head.origin} has no leaf or no root")
        found.append(head)
    return tuple(found)


def _check_fields(position: int, kind: str, content: Mapping[str, Any]) -> None:
    fields, is_later = set(content) - {MINOR}, MINOR in content
    if is_later and not (type(content[MINOR]) is int and content[MINOR] >= 1):
        raise _bad(position, "its minor version is no number from 1")
    wanted = _COMMON | _FIELDS.get(kind, set())
    is_known = kind in _FIELDS
    if not (fields >= wanted if is_later else is_known and fields == wanted):
        raise _bad(position, f"a leaf of type {kind[:40]!r} has other fields")


def _bad(position: int | None, why: str, *, code: str = "log_entry") -> EvidenceError:
    where = "A leaf" if position is None else f"Leaf {position}"
    return EvidenceError(
        f"{where} of the collector's log cannot be read: {why}.",
        "Take it from its source again, or read it with the version of Joulemark that wrote it.",
        code=code,
    )
