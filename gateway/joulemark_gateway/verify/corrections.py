"""Step 10: every correction is an operator's, of readings that are here, and of none twice."""

from __future__ import annotations

from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.signature import decode64
from joulemark_gateway.evidence.corrections import Made, corrections_in, in_force, readings_of
from joulemark_gateway.verify.case import Case, readable
from joulemark_gateway.verify.finding import Finding, found
from joulemark_gateway.verify.policy import Policy

LAYER = "corrections"


def check(case: Case, policy: Policy | None) -> list[Finding]:
    """Corrections that do not hold.

    Codes: `correction_form`, `correction_signature`, `correction_position`, `correction_overlap`.
    """
    account, trusted = case.account, policy or case.claimed
    if account is None or isinstance(account, EvidenceError):
        return []  # the layer of the log says so
    trees = {tree.origin: tree for tree in readable(case.trees).values()}
    try:
        made = corrections_in(account.entries)
        in_force(made)
        for item in made:
            if item.correction.origin in trees:
                readings_of(item.correction, trees[item.correction.origin])
    except EvidenceError as error:
        return [found(error, LAYER)]
    operators = {decode64(key) for key in trusted.operators} if trusted else None
    return [
        Finding("correction_signature", _unsigned(item), LAYER)
        for item in made
        if not item.is_signed or (operators is not None and item.operator_key not in operators)
    ]


def _unsigned(item: Made) -> str:
    return (
        f"no operator that is trusted signed the correction {item.correction.digest[:16]} of "
        f"{item.correction.origin}"
    )
