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
| collector/leaves.jsonl.gz | the site's leaves of the collector's log, covers for all others |
| collector/checkpoints.json | signed heads of the log, cosigned by its witnesses |
| anchors/SIZE-AUTHORITY.tsr | time stamps over heads of the log |
| readme.txt | how to read all this without Joulemark |

The first format has no collector's log and no covers; it is read for ever and written no more.

The PDFs and the Korean page lie beside the bundle: nothing in it needs them, and the statement
holds their digests.
Opening says only whether this is a bundle; what is wrong inside one, the verifier says.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from typing import Any

from joulemark_agent.contract.canonical import canonical_bytes, digest_hex, parse_canonical
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.sparse import Part, Withheld, leaves_in, line_of
from joulemark_gateway.evidence.account import LogFiles
from joulemark_gateway.evidence.container import container_bytes, read_container
from joulemark_gateway.evidence.lines import Lines
from joulemark_gateway.evidence.statement import sign_statement

FORMAT = "joulemark-bundle/2"
FIRST_FORMAT = "joulemark-bundle/1"  # every leaf is in it
MANIFEST, STATEMENT = "manifest.json", "statement.json"
REPORT, PAGE, PLAN, README = "report.json", "report.html", "plan.json", "readme.txt"
PAGE_KO, PDF, PDF_KO = "report.ko.html", "report.pdf", "report.ko.pdf"
RENDERINGS = frozenset({PAGE_KO, PDF, PDF_KO})  # beside the bundle; the statement has their digests
LOG_LEAVES, LOG_HEADS = "collector/leaves.jsonl.gz", "collector/checkpoints.json"
MAX_LEAVES_BYTES = 256 * 1024 * 1024  # of all trees together
MAX_LOG_BYTES = 64 * 1024 * 1024  # of the collector's log
LEAST_LEAF_BYTES = 48  # {"dev":"a","epoch":1,"seq":"1","type":"b","v":1}
_EVIDENCE = re.compile(
    r"evidence/([a-z0-9-]{1,64})/([1-9][0-9]{0,8})/(?:leaves\.jsonl\.gz|checkpoints\.json)"
)
_DOCUMENT = re.compile(r"documents/([0-9a-f]{64})\.json")
_TOKEN = re.compile(r"anchors/([1-9][0-9]{0,18})-([a-z0-9-]{1,64})\.tsr")
_FIRST = frozenset({MANIFEST, STATEMENT, REPORT, PAGE, PLAN, README})
REQUIRED: Mapping[str, frozenset[str]] = {  # by format
    FIRST_FORMAT: _FIRST,
    FORMAT: _FIRST | {LOG_LEAVES, LOG_HEADS},
}


@dataclass(frozen=True)
class TreeFiles:
    """The evidence of one (device, epoch): all its leaves and the cosigned note of each batch.

    For leaves that stay at the gateway, or were lost, stands their cover.
    """

    device: str
    epoch: int
    parts: Sequence[Part]
    checkpoints: Sequence[str]

    @property
    def leaves(self) -> list[bytes]:
        """The leaves that are here."""
        return [part for part in self.parts if not isinstance(part, Withheld)]

    @cached_property
    def present(self) -> int:
        """How many leaves are here."""
        return sum(not isinstance(part, Withheld) for part in self.parts)

    @cached_property
    def size(self) -> int:
        """How many leaves the tree has."""
        return leaves_in(self.parts)

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
    log: LogFiles  # of the collector
    renderings: Mapping[str, bytes] = field(default_factory=dict)  # signed, and kept beside it


@dataclass(frozen=True)
class Bundle:
    """The members of an opened bundle, by name; nothing about them is checked yet."""

    members: Mapping[str, bytes]

    @cached_property
    def format(self) -> str:
        """The format that the manifest names; empty where there is no such manifest."""
        try:
            manifest = parse_canonical(self.members[MANIFEST])
            return str(manifest["format"])
        except (EvidenceError, KeyError, TypeError):
            return ""

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
        parts = self._parts(f"{folder}/leaves.jsonl.gz", limit)
        return TreeFiles(device, epoch, parts, self._notes(f"{folder}/checkpoints.json"))

    def log(self, limit: int) -> LogFiles | None:
        """What is here of the collector's log, unpacked; None: nothing, as in the first format.

        Args:
            limit: how much the leaves may unpack to. [bytes]

        Raises:
            EvidenceError: `bad_leaves` or `bad_checkpoints`.
        """
        if not {LOG_LEAVES, LOG_HEADS} & self.members.keys():
            return None
        found = ((_TOKEN.fullmatch(name), data) for name, data in self.members.items())
        tokens = {(int(match[1]), match[2]): data for match, data in found if match}
        return LogFiles(self._parts(LOG_LEAVES, limit), self._notes(LOG_HEADS), tokens)

    def _parts(self, name: str, limit: int) -> Lines:
        parts = _lines(self.members.get(name, b""), limit)
        if not parts.is_ended:
            raise _bad("bad_leaves", f"{name} does not end with a line")
        if len(parts) * LEAST_LEAF_BYTES > parts.plain_bytes:
            raise _bad("bad_leaves", f"{name} has more lines than leaves have room")
        runs = sum(isinstance(part, Withheld) for part in parts)
        if runs and self.format == FIRST_FORMAT:
            raise _bad("bad_leaves", f"{name} lacks leaves, and {FIRST_FORMAT} has them all")
        return parts

    def _notes(self, name: str) -> list[str]:
        notes = parse_canonical(self.members.get(name, b""))
        if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
            raise _bad("bad_checkpoints", f"{name} is no list of notes")
        return notes


def is_known(name: str, form: str) -> bool:
    """Whether a bundle of this format may have a member of this name."""
    patterns = (_EVIDENCE, _DOCUMENT) if form == FIRST_FORMAT else (_EVIDENCE, _DOCUMENT, _TOKEN)
    return name in REQUIRED[form] or any(pattern.fullmatch(name) for pattern in patterns)


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
        members[f"{tree.folder}/leaves.jsonl.gz"] = packed(tree.parts)
        members[f"{tree.folder}/checkpoints.json"] = canonical_bytes(list(tree.checkpoints))
    members |= log_members(contents.log)
    return container_bytes(signed(members, predicate, reporter_key, contents.renderings))


def log_members(log: LogFiles) -> dict[str, bytes]:
    """The members that the collector's log is kept in."""
    stamps = {f"anchors/{size}-{name}.tsr": data for (size, name), data in log.tokens.items()}
    heads = canonical_bytes(list(log.checkpoints))
    return {LOG_LEAVES: packed(log.parts), LOG_HEADS: heads, **stamps}


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
    if not isinstance(known, str) or known not in REQUIRED:
        formats = " and ".join(map(repr, REQUIRED))
        raise _bad("not_a_bundle", f"its format is {str(known)[:40]!r}, this reads {formats}")
    return Bundle(members)


def packed(parts: Sequence[Part]) -> bytes:
    """Leaves as lines, compressed; without a time stamp, so equal leaves give equal bytes."""
    lines = b"".join(line_of(part) + b"\n" for part in parts)
    return gzip.compress(lines, compresslevel=6, mtime=0)


def _lines(data: bytes, limit: int) -> Lines:
    """The leaves in these bytes, up to a limit."""
    try:
        return Lines(data, limit)
    except ValueError as error:
        raise _bad("bad_leaves", f"of a tree's leaves, {error}") from error


def _bad(code: str, what: str) -> EvidenceError:
    return EvidenceError(
        f"This bundle cannot be read: {what}.", "Take it from its source again.", code=code
    )
