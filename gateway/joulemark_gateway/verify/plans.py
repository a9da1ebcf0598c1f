"""Step 11: every registered plan is an operator's, and who dates that of the report did see it."""

from __future__ import annotations

from joulemark_agent.contract.canonical import digest_hex, parse_canonical
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
    plan = case.bundle.members.get(PLAN, b"")
    own = [one for one in registered if one.statement.plan_sha256 == digest_hex(plan)]
    if own and {one.statement.project for one in own} != {_project(plan)}:
        what = "the registration of the plan names another project than the plan"
        return [Finding("plan_form", what, LAYER)]
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


def first_checked(
    account: Account, registration: Dated, trusted: Signers
) -> tuple[str, int] | None:
    """The first of the trusted witnesses that cosigned a head over the plan; None: nobody did."""
    seen = [
        (time_s, item.name)
        for head, note in zip(account.heads, account.notes, strict=True)
        if head.size > registration.registered.position
        for item in trusted.log_witnesses
        if (time_s := cosigned_at(note, item.name, decode64(item.key))) is not None
    ]
    if not seen:
        return None
    time_s, name = min(seen)
    return name, time_s


def others_in(case: Case, account: Account) -> list[str]:
    """Digests of the plans of the bundle's project that stand in the log, without its own.

    Raises:
        EvidenceError: `plan_form`.
    """
    plan = case.bundle.members.get(PLAN, b"")
    name, own = _project(plan), digest_hex(plan)
    plans = [one.statement for one in plans_in(account.entries)]
    found = dict.fromkeys(one.plan_sha256 for one in plans if one.project == name)
    return [digest for digest in found if digest != own]


def is_seen(registration: Dated, trusted: Signers) -> bool | None:
    """Whether the witness that dates the plan did cosign; None: nobody here knows that name."""
    if registration.cosigned is None:
        return None
    name, time_s = registration.cosigned
    keys = [decode64(item.key) for item in trusted.log_witnesses if item.name == name]
    times = [cosigned_at(registration.note, name, key) for key in keys]
    return time_s in times if keys else None


def _project(plan: bytes) -> str | None:
    """The id that a plan names; None: it is none, which the layer of the report says."""
    try:
        content = parse_canonical(plan)
    except EvidenceError:
        return None
    name = content.get("id") if isinstance(content, dict) else None
    return name if isinstance(name, str) else None


def _unsigned(item: Registered) -> str:
    plan = item.statement
    return (
        f"no operator that is trusted signed the plan {plan.plan_sha256[:16]} of {plan.project!r}"
    )
