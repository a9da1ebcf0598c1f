"""What stands behind a report: its trees, heads, documents, plan and software, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from joulemark_agent.contract.batch import parse_u64
from joulemark_agent.contract.canonical import digest_hex
from joulemark_agent.contract.errors import EvidenceError
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


def claims_of(predicate: Mapping[str, Any]) -> Claims:
    """The claims in the predicate of a statement.

    Raises:
        EvidenceError: `bad_statement` where they are missing or of another kind.
    """
    try:
        software, quarantined = predicate["software"], predicate["quarantined"]
        texts = [predicate["issued"], software["version"], software["sha256"], *quarantined]
        counts = {code: parse_u64(count, code) for code, count in quarantined.items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise _bad(repr(error)) from error
    if not all(isinstance(text, str) for text in texts):
        raise _bad("a claim is not text")
    return Claims(texts[0], texts[1], texts[2], counts)


def predicate_of(provenance: Provenance, signers: Mapping[str, Any]) -> dict[str, Any]:
    """What the statement says of a report with this provenance.

    Args:
        provenance: of the report.
        signers: who signed, in the form of a policy.
    """
    claims = provenance.claims
    trees = sorted(provenance.trees, key=lambda tree: tree.origin)
    return {
        "documents": sorted({digest for tree in trees for digest in tree.documents.values()}),
        "heads": [
            {"origin": tree.origin, "root": tree.root, "size": str(tree.size)} for tree in trees
        ],
        "issued": claims.issued,
        "plan": provenance.plan_digest,
        "quarantined": {code: str(count) for code, count in claims.quarantined.items()},
        "signers": dict(signers),
        "software": {"sha256": claims.software_digest, "version": claims.software_version},
        "v": 1,
    }


def _bad(why: str) -> EvidenceError:
    return EvidenceError(
        f"The statement does not say what a report needs: {why}.",
        "Take the bundle from its source again.",
        code="bad_statement",
    )
