"""Step 11: every registered plan is an operator's, and who dates that of the report did see it."""

from __future__ import annotations

from joulemark_agent.contract.canonical import digest_hex
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.signature import cosigned_at, decode64
from joulemark_gateway.evidence.account import Account
from joulemark_gateway.evidence.bundle import PLAN
from joulemark_gateway.evidence.plans import Dated, Registered, dated, plans_in
from joulemark_gateway.verify.case import Case
from joulemark_gateway.verify.finding import Finding, found
from joulemark_gateway.verify.policy import Policy, Signers

LAYER = "plans"


def check(case: Case, policy: Policy | None) -> list[Finding]:
    """Registrations that do not hold.

    Codes: `plan_form`, `plan_signature`, `plan_cosignature`.
    """
    account, trusted = case.account, policy or case.claimed
    if account is None or isinstance(account, EvidenceError):
        return []  # the layer of the log says so
    try:
        registered = plans_in(account.entries)
        first = dated_in(case, account)
    except EvidenceError as error:
        return [found(error, LAYER)]
    operators = {decode64(key) for key in trusted.operators} if trusted else None
    findings = [
        Finding("plan_signature", _unsigned(item), LAYER)
        for item in registered
        if not item.is_signed or (operators is not None and item.operator_key not in operators)
    ]
    if first and trusted and is_seen(first, trusted) is False:
        what = "a line that dates the plan stands in the name of a witness whose it is not"
        findings.append(Finding("plan_cosignature", what, LAYER))
    return findings


def dated_in(case: Case, account: Account) -> Dated | None:
    """The registration of the bundle's own plan; None: there is none.

    Raises:
        EvidenceError: `plan_form`.
    """
    return dated(account, digest_hex(case.bundle.members.get(PLAN, b"")))


def is_seen(registration: Dated, trusted: Signers) -> bool | None:
    """Whether the witness that dates the plan did cosign; None: nobody here knows that name."""
    if registration.cosigned is None:
        return None
    name, time_s = registration.cosigned
    keys = [decode64(item.key) for item in trusted.log_witnesses if item.name == name]
    times = [cosigned_at(registration.note, name, key) for key in keys]
    return time_s in times if keys else None


def _unsigned(item: Registered) -> str:
    plan = item.statement
    return (
        f"no operator that is trusted signed the plan {plan.plan_sha256[:16]} of {plan.project!r}"
    )
