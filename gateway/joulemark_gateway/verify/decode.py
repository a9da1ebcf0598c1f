"""Step 6: the raw words of every record, decoded with the approved profile, give its values."""

from __future__ import annotations

from joulemark_agent.contract.errors import EvidenceError
from joulemark_gateway.evidence.history import check_decode, profile_of
from joulemark_gateway.verify.case import Case, readable
from joulemark_gateway.verify.finding import Finding, found
from joulemark_gateway.verify.policy import Policy

LAYER = "decode"


def check(case: Case, _policy: Policy | None) -> list[Finding]:
    """Finding `decode_mismatch`."""
    findings = []
    for tree in readable(case.trees).values():
        try:
            profile = profile_of(tree, case.documents)
        except (EvidenceError, KeyError):
            continue  # without its profile: the layer of documents says so
        try:
            check_decode(tree, profile)
        except EvidenceError as error:
            findings.append(found(error, LAYER))
    return findings
