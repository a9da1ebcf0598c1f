"""A bundle: everything needed to check one report without a network.

| member | content |
|---|---|
| manifest.json | format and SHA-256 of every other member but the statement |
| statement.json | signed: manifest, report, renderings, heads, documents, plan, software, signers |
| report.json, report.html | the report |
| plan.json | the measurement and verification plan |
| documents/SHA256.json | the approved documents behind every digest |
| evidence/DEVICE/EPOCH/leaves.jsonl.gz | every leaf of the tree, one a line |
| evidence/DEVICE/EPOCH/checkpoints.json | the cosigned checkpoint after each batch |
| readme.txt | how to read all this without Joulemark |

The PDFs and the Korean page lie beside the bundle: nothing in it needs them, and the statement
holds their digests.
Opening says only whether this is a bundle; what is wrong inside one, the verifier says.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from joulemark_agent.contract.canonical import canonical_bytes, digest_hex, parse_canonical
from joulemark_agent.contract.errors import EvidenceError
from joulemark_gateway.evidence.container import container_bytes, read_container
from joulemark_gateway.evidence.statement import sign_statement

FORMAT = "joulemark-bundle/1"
MANIFEST, STATEMENT = "manifest.json", "statement.json"
REPORT, PAGE, PLAN, README = "report.json", "report.html", "plan.json", "readme.txt"
PAGE_KO, PDF, PDF_KO = "report.ko.html", "report.pdf", "report.ko.pdf"
RENDERINGS = frozenset({PAGE_KO, PDF, PDF_KO})  # beside the bundle; the statement has their digests
MAX_LEAVES_BYTES = 256 * 1024 * 1024  # of all trees together
LEAST_LEAF_BYTES = 48  # {"dev":"a","epoch":1,"seq":"1","type":"b","v":1}
_EVIDENCE = re.compile(
    r"evidence/([a-z0-9-]{1,64})/([1-9][0-9]{0,8})/(?:leaves\.jsonl\.gz|checkpoints\.json)"
)
_DOCUMENT = re.compile(r"documents/([0-9a-f]{64})\.json")
REQUIRED = frozenset({MANIFEST, STATEMENT, REPORT, PAGE, PLAN, README})
_GZIP = 16 + zlib.MAX_WBITS


@dataclass(frozen=True)
class TreeFiles:
    """The evidence of one (device, epoch): all its leaves and the cosigned note of each batch."""

    device: str
    epoch: int
    leaves: Sequence[bytes]
    checkpoints: Sequence[str]

    @property
    def folder(self) -> str:
        """Where its two members lie."""
        return f"evidence/{self.device}/{self.epoch}"


@dataclass(frozen=True)
class Contents:
    """What goes into a bundle before it is signed."""

    report: bytes
    page: bytes
    plan: bytes
    documents: Mapping[str, bytes]  # by digest
    trees: Sequence[TreeFiles]
    renderings: Mapping[str, bytes] = field(default_factory=dict)  # signed, and kept beside it


@dataclass(frozen=True)
class Bundle:
    """The members of an opened bundle, by name; nothing about them is checked yet."""

    members: Mapping[str, bytes]

    def documents(self) -> dict[str, bytes]:
        """The documents by the digest that their names claim."""
        found = ((_DOCUMENT.fullmatch(name), data) for name, data in self.members.items())
        return {match[1]: data for match, data in found if match}

    def trees(self) -> list[tuple[str, int]]:
        """Device and epoch of every tree that has leaves or checkpoints here."""
        found = (_EVIDENCE.fullmatch(name) for name in self.members)
        return sorted({(match[1], int(match[2])) for match in found if match})

    def tree(self, device: str, epoch: int, limit: int) -> TreeFiles:
        """The leaves and checkpoints of one tree, unpacked.

        Args:
            device: its device.
            epoch: its epoch.
            limit: how much the leaves may unpack to. [bytes]

        Raises:
            EvidenceError: `bad_leaves` or `bad_checkpoints`.
        """
        folder = f"evidence/{device}/{epoch}"
        plain = _inflated(self.members.get(f"{folder}/leaves.jsonl.gz", b""), limit)
        if not plain.endswith(b"\n"):
            raise _bad("bad_leaves", f"the leaves of {folder} do not end with a line")
        if plain.count(b"\n") * LEAST_LEAF_BYTES > len(plain):
            raise _bad("bad_leaves", f"{folder} has more lines than leaves have room")
        notes = parse_canonical(self.members.get(f"{folder}/checkpoints.json", b""))
        if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
            raise _bad("bad_checkpoints", f"the checkpoints of {folder} are no list of notes")
        return TreeFiles(device, epoch, plain[:-1].split(b"\n"), notes)


def is_known(name: str) -> bool:
    """Whether a bundle of this format may have a member of this name."""
    patterns = (_EVIDENCE, _DOCUMENT)
    return name in REQUIRED or any(pattern.fullmatch(name) for pattern in patterns)


def make_bundle(contents: Contents, predicate: Mapping[str, Any], reporter_key: bytes) -> bytes:
    """The bundle: the same contents, predicate and key always give the same bytes."""
    members = {
        REPORT: contents.report,
        PAGE: contents.page,
        PLAN: contents.plan,
        README: resources.files(__package__).joinpath("bundle_readme.txt").read_bytes(),
    }
    for digest, data in contents.documents.items():
        members[f"documents/{digest}.json"] = data
    for tree in contents.trees:
        members[f"{tree.folder}/leaves.jsonl.gz"] = packed(tree.leaves)
        members[f"{tree.folder}/checkpoints.json"] = canonical_bytes(list(tree.checkpoints))
    return container_bytes(signed(members, predicate, reporter_key, contents.renderings))


def signed(
    members: Mapping[str, bytes],
    predicate: Mapping[str, Any],
    reporter_key: bytes,
    renderings: Mapping[str, bytes] | None = None,
) -> dict[str, bytes]:
    """The members, a manifest over them, a statement over manifest, report and renderings."""
    manifest = canonical_bytes(
        {"files": {name: digest_hex(data) for name, data in members.items()}, "format": FORMAT}
    )
    subjects = {MANIFEST: manifest, REPORT: members[REPORT], **(renderings or {})}
    statement = sign_statement(subjects, predicate, reporter_key)
    return {**members, MANIFEST: manifest, STATEMENT: statement}


def open_bundle(data: bytes) -> Bundle:
    """The bundle in these bytes.

    Raises:
        EvidenceError: `bad_container`, or `not_a_bundle` where it is no bundle of this format.
    """
    members = read_container(data)
    if MANIFEST not in members:
        raise _bad("not_a_bundle", f"it has no {MANIFEST}")
    try:
        manifest = parse_canonical(members[MANIFEST])
    except EvidenceError:
        return Bundle(members)  # a damaged bundle: the verifier names it
    known = manifest.get("format") if isinstance(manifest, dict) else None
    if known != FORMAT:
        raise _bad("not_a_bundle", f"its format is {str(known)[:40]!r}, this reads {FORMAT!r}")
    return Bundle(members)


def packed(leaves: Sequence[bytes]) -> bytes:
    """Leaves as lines, compressed; without a time stamp, so equal leaves give equal bytes."""
    return gzip.compress(b"".join(leaf + b"\n" for leaf in leaves), compresslevel=6, mtime=0)


def _inflated(data: bytes, limit: int) -> bytes:
    """The one gzip member in these bytes, up to a limit."""
    stream = zlib.decompressobj(_GZIP)
    try:
        plain = stream.decompress(data, limit + 1)
    except zlib.error as error:
        raise _bad("bad_leaves", f"the compression of leaves is damaged: {error}") from error
    if len(plain) > limit:
        raise _bad("bad_leaves", f"leaves unpack to more than {MAX_LEAVES_BYTES} bytes in all")
    if not stream.eof or stream.unused_data:
        raise _bad("bad_leaves", "the compression is cut short or followed by other bytes")
    return plain


def _bad(code: str, what: str) -> EvidenceError:
    return EvidenceError(
        f"This bundle cannot be read: {what}.", "Take it from its source again.", code=code
    )
