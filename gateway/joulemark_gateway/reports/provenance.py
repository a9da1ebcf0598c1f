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
from joulemark_agent.contract.rotation import keys_of
from joulemark_agent.contract.signature import (
    decode64,
    encode64,
    fingerprint,
    parse_checkpoint,
    parse_note,
)
from joulemark_gateway.evidence.account import Account
from joulemark_gateway.evidence.history import Tree, period_us_of, profile_of
from joulemark_gateway.evidence.plans import Dated, dated
from joulemark_gateway.evidence.withheld import lost_slots, withheld_slots
from joulemark_gateway.reports.accounted import AccountUsed, account_used


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
    agent_key: str  # fingerprint; of several, one after the other, where the key was changed
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
    withheld: int = 0  # records that stay at the gateway
    lost_slots: int = 0  # whose leaves a disk lost

    @property
    def slots(self) -> int:
        """Every slot that the tree accounts for."""
        gap_slots = sum(gap.slots for gap in self.gaps)
        return self.records + gap_slots + self.withheld + self.lost_slots


@dataclass(frozen=True)
class Provenance:
    """All of it, for one report."""

    trees: tuple[TreeUsed, ...]
    plan_digest: str
    claims: Claims
    account: AccountUsed | None = None  # None: the first format, without the collector's log
    dated: Dated | None = None  # the registration of the plan in that log


def provenance_of(
    trees: Sequence[tuple[Tree, Sequence[str]]],
    documents: Mapping[str, bytes],
    plan: bytes,
    claims: Claims,
    account: Account | None = None,
) -> Provenance:
    """The provenance of a report over these trees, each with its checkpoint notes in order.

    Raises:
        EvidenceError: a note is not a checkpoint, a document is missing, or a correction or the
            registration of a plan does not hold.
    """
    used = [_used(tree, notes, documents) for tree, notes in trees]
    used.sort(key=lambda item: (item.device, item.epoch))
    accounted = account_used(account, [tree for tree, _ in trees]) if account else None
    registered = dated(account, digest_hex(plan)) if account else None
    return Provenance(tuple(used), digest_hex(plan), claims, accounted, registered)


def _used(tree: Tree, notes: Sequence[str], documents: Mapping[str, bytes]) -> TreeUsed:
    heads = [(parse_checkpoint(text), len(lines)) for text, lines in map(parse_note, notes)]
    last = heads[-1][0]
    keys = keys_of(decode64(tree.grant["agent_key"]), tree.rotations)
    read_us = tree.columns.slot_us
    spans = [(int(read_us.min()), int(read_us.max()))] if read_us.size else []
    spans += [(gap.first_slot_us, gap.last_slot_us) for _, gap in tree.gaps]
    withheld, lost = withheld_slots(tree, period_us_of(tree, documents)), lost_slots(tree)
    spans += [(slots.first_us, slots.last_us) for slots in (*withheld, *lost)]
    return TreeUsed(
        origin=tree.origin,
        device=tree.device,
        epoch=tree.epoch,
        clock=tree.clock,
        agent=tree.grant["agent"],
        agent_key=", ".join(map(fingerprint, keys)),
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
        withheld=sum(slots.number for slots in withheld),
        lost_slots=sum(slots.number for slots in lost),
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


def predicate_of(
    provenance: Provenance, signers: Mapping[str, Any], report: Mapping[str, Any]
) -> dict[str, Any]:
    """What the statement says of a report with this provenance.

    Args:
        provenance: of the report.
        signers: who signed, in the form of a policy.
        report: its content.
    """
    claims = provenance.claims
    trees = sorted(provenance.trees, key=lambda tree: tree.origin)
    found = {
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
    if provenance.account is not None:
        found |= _second(provenance.account, report)
    return found | _stated_by(report)


def _stated_by(report: Mapping[str, Any]) -> dict[str, Any]:
    """Whose decision the figures are, where rules of the policy were passed over."""
    override = (report.get("engine") or {}).get("override")
    return {} if override is None else {"override": override}


def _second(account: AccountUsed, report: Mapping[str, Any]) -> dict[str, Any]:
    """What the second form of the predicate says besides."""
    return {
        "baseline": report["periods"]["baseline"],
        "corrections": [item["digest"] for item in report["corrections"]["listed"]],
        "coverage": report["coverage"],
        "exclusions": report["exclusions"],
        "log": {"origin": account.origin, "root": account.root, "size": str(account.size)},
        "time_quality": report["time_quality"],
        "v": 2,
    }


def _bad(why: str) -> EvidenceError:
    return EvidenceError(
        f"The statement does not say what a report needs: {why}.",
        "Take the bundle from its source again.",
        code="bad_statement",
    )
