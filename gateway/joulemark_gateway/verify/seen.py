"""Who saw the head of the collector's log under which a verified bundle stands, and when."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from joulemark_agent.contract.errors import EvidenceError
from joulemark_gateway.evidence.account import Account
from joulemark_gateway.evidence.corrections import corrections_in
from joulemark_gateway.verify.anchors import anchors_of
from joulemark_gateway.verify.case import Case
from joulemark_gateway.verify.log import witnesses_of
from joulemark_gateway.verify.plans import dated_in, first_checked, is_seen, others_in
from joulemark_gateway.verify.policy import Policy


def log_seen(case: Case, policy: Policy | None) -> dict[str, Any] | None:
    """What a verified bundle says of the log; None: it has none.

    Whoever makes a bundle can name any witness: who is not in the policy is named as unchecked.
    """
    account = case.account
    if account is None or isinstance(account, EvidenceError):
        return None
    witnesses = witnesses_of(account, policy) if policy else {}
    return {
        "origin": account.newest.origin,
        "size": str(account.newest.size),
        "corrections": len(corrections_in(account.entries)),
        "witnesses": [
            {"name": name, "time": _utc(datetime.fromtimestamp(time_s, UTC))}
            for name, time_s in sorted(witnesses.items())
        ],
        "unchecked": sorted({name for name, _ in account.cosigners()} - witnesses.keys()),
        "time_stamps": [
            {"authority": item.authority, "size": str(item.size), "time": _utc(item.time)}
            for item in anchors_of(account, policy)
        ],
        **_plan(case, account, policy),
    }


def _plan(case: Case, account: Account, policy: Policy | None) -> dict[str, Any]:
    """Who registered the plan, and who of those that were checked saw it first."""
    registration = dated_in(case, account)
    if registration is None:
        others = others_in(case, account)
        return {"other_plans": others} if others else {}
    registered, cosigned = registration.registered, registration.cosigned
    is_checked = policy is not None and is_seen(registration, policy) is True
    stamps = [
        item
        for item in anchors_of(account, policy)
        if item.size > registered.position and item.time is not None
    ]
    first = min(stamps, key=lambda item: str(item.time), default=None)
    checked = first_checked(account, registration, policy) if policy else None
    plan = {
        "author": registered.statement.author,
        "role": registered.statement.role,
        "sha256": registered.statement.plan_sha256,
        "versions": registration.versions,
        "logged": _utc(datetime.fromtimestamp(registered.time_us // 1_000_000, UTC)),
        "cosigned": None
        if cosigned is None
        else {
            "name": cosigned[0],
            "time": _utc(datetime.fromtimestamp(cosigned[1], UTC)),
            "checked": is_checked,
        },
        "checked": checked
        and {"name": checked[0], "time": _utc(datetime.fromtimestamp(checked[1], UTC))},
        "stamped": first and {"authority": first.authority, "time": _utc(first.time)},
    }
    return {"plan": plan}


def _utc(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat(timespec="seconds")
