"""Step 2: the statement, the grants and the agents' keys come from people the policy names."""

from __future__ import annotations

import re
from collections.abc import Sequence

from joulemark_agent.contract.canonical import digest_hex
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.revocation import Revoked, objection
from joulemark_agent.contract.rotation import keys_before
from joulemark_agent.contract.signature import decode64, encode64
from joulemark_gateway.evidence.bundle import MANIFEST, RENDERINGS, REPORT
from joulemark_gateway.evidence.history import operator_approved
from joulemark_gateway.evidence.statement import Statement, is_statement_signed
from joulemark_gateway.verify.case import Case, readable
from joulemark_gateway.verify.finding import Finding, found
from joulemark_gateway.verify.policy import Policy, Signers

LAYER = "signers"
_DIGEST = re.compile(r"[0-9a-f]{64}")


def check(case: Case, policy: Policy | None) -> list[Finding]:
    """Signatures that are not of those who are trusted.

    Codes: `bad_statement`, `statement_signature`, `statement_subject`, `signers_missing`,
    `agent_unknown`, `operator_signature`.

    Without a policy the signers that the bundle names stand in, which shows consistency only. A key
    that a trusted key was changed for in any tree of the bundle is trusted like that one.
    """
    if isinstance(case.statement, EvidenceError):
        return [found(case.statement, LAYER)]
    trusted = policy or case.claimed
    if trusted is None:
        return [Finding("signers_missing", "the statement does not say who signed", LAYER)]
    limits = policy.limits if policy else []
    return [*_statement(case, case.statement, trusted), *_grants(case, trusted, limits)]


def _statement(case: Case, statement: Statement, trusted: Signers) -> list[Finding]:
    findings = []
    if not any(is_statement_signed(statement, decode64(key)) for key in trusted.reporters):
        findings.append(
            Finding(
                "statement_signature",
                "no reporter that is trusted signed the statement",
                LAYER,
            )
        )
    members = case.bundle.members
    actual = {name: digest_hex(members[name]) for name in (MANIFEST, REPORT) if name in members}
    bound = {name: digest for name, digest in statement.subjects.items() if name not in RENDERINGS}
    others = [digest for name, digest in statement.subjects.items() if name in RENDERINGS]
    if bound != actual or not all(_is_digest(digest) for digest in others):
        findings.append(
            Finding(
                "statement_subject",
                f"the statement speaks of another {MANIFEST} or {REPORT}",
                LAYER,
            )
        )
    return findings


def _is_digest(text: object) -> bool:
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


def _grants(case: Case, trusted: Signers, limits: Sequence[Revoked]) -> list[Finding]:
    findings = []
    trees = list(readable(case.trees).values())
    changes = [
        rotation
        for tree in trees
        for rotation in tree.rotations
        if objection(limits, rotation.old_key, tree.origin, rotation.seq + 1) is None
    ]
    for tree in trees:
        grant = tree.grant
        keys = keys_before(decode64(grant["agent_key"]), changes)
        asked = {"agent": grant["agent"], "site": tree.site, "device": tree.device}
        if not any(trusted.allows(**asked, key=encode64(key)) for key in keys):
            findings.append(
                Finding(
                    "agent_unknown",
                    f"{tree.origin}: agent {grant['agent']!r} may not speak for it with its key",
                    LAYER,
                )
            )
        if not any(operator_approved(tree, decode64(key)) for key in trusted.operators):
            findings.append(
                Finding(
                    "operator_signature",
                    f"{tree.origin}: no operator that is trusted signed its grant",
                    LAYER,
                )
            )
    return findings
