"""What stands behind a report: trees, heads, documents, plan and software, named so that they can
be found again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from joulemark_agent.contract.canonical import digest_hex
from joulemark_agent.contract.profile import Profile
from joulemark_agent.contract.reading import Gap
from joulemark_agent.contract.signature import (
    decode64,
    encode64,
    fingerprint,
    parse_checkpoint,
    parse_note,
)
from joulemark_gateway.evidence.history import Tree, profile_of


@dataclass(frozen=True)
class Claims:
    """What only the reporter can say; it stands in the signed statement."""

    issued: str  # UTC, ISO 8601
    software_version: str
    software_digest: str  # SHA-256 (hex) of the source that measured and printed
    quarantined: Mapping[str, int] = field(default_factory=dict)  # batches refused, by code


@dataclass(frozen=True)
class TreeUsed:
    """One tree of evidence and the head under which it was used."""

    origin: str
    device: str
    epoch: int
    clock: str
    agent: str
    agent_key: str  # fingerprint
    size: int
    root: str  # base64
    heads: int
    witnessed_size: int  # leaves under the last head that anybody cosigned
    records: int
    gaps: tuple[Gap, ...]
    first_slot_us: int | None
    last_slot_us: int | None
    documents: Mapping[str, str]
    profile: Profile


@dataclass(frozen=True)
class Provenance:
    """All of it, for one report."""

    trees: tuple[TreeUsed, ...]
    plan_digest: str
    claims: Claims


def provenance_of(
    trees: Sequence[tuple[Tree, Sequence[str]]],
    documents: Mapping[str, bytes],
    plan: bytes,
    claims: Claims,
) -> Provenance:
    """The provenance of a report over these trees, each with its checkpoint notes in order.

    Raises:
        EvidenceError: a note is not a checkpoint, or a document is missing.
    """
    used = [_used(tree, notes, documents) for tree, notes in trees]
    used.sort(key=lambda item: (item.device, item.epoch))
    return Provenance(tuple(used), digest_hex(plan), claims)


def _used(tree: Tree, notes: Sequence[str], documents: Mapping[str, bytes]) -> TreeUsed:
    heads = [(parse_checkpoint(text), len(lines)) for text, lines in map(parse_note, notes)]
    last = heads[-1][0]
    spans = [(record.slot_us, record.slot_us) for record in tree.records]
    spans += [(gap.first_slot_us, gap.last_slot_us) for _, gap in tree.gaps]
    return TreeUsed(
        origin=tree.origin,
        device=tree.device,
        epoch=tree.epoch,
        clock=tree.clock,
        agent=tree.grant["agent"],
        agent_key=fingerprint(decode64(tree.grant["agent_key"])),
        size=last.size,
        root=encode64(last.root),
        heads=len(heads),
        witnessed_size=max((head.size for head, lines in heads if lines > 1), default=0),
        records=len(tree.records),
        gaps=tuple(gap for _, gap in tree.gaps),
        first_slot_us=min((start for start, _ in spans), default=None),
        last_slot_us=max((end for _, end in spans), default=None),
        documents=dict(tree.grant["documents"]),
        profile=profile_of(tree, documents),
    )
