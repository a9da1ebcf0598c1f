"""Takes the measurement and verification plan that an operator signed into the collector's log.

What is handed over where the operator's key is not at the collector is one JSON file, canonical:

    {"plan": the plan, "statement": what was signed, "operator_key", "operator_signature"}
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from joulemark_agent.contract.canonical import canonical_bytes, digest_hex, parse_canonical
from joulemark_agent.contract.errors import ConfigError, EvidenceError
from joulemark_agent.contract.signature import decode64, encode64
from joulemark_gateway.evidence.account import Account, read_account
from joulemark_gateway.evidence.entries import parse_entry
from joulemark_gateway.evidence.log import CollectorLog, excerpt
from joulemark_gateway.evidence.log_store import LogHead, LogTables
from joulemark_gateway.evidence.plans import (
    Registered,
    parse_statement,
    plan_entry,
    plans_in,
    signed_plan,
    statement_of,
)
from joulemark_gateway.measure.project import Project

_FIELDS = {"operator_key", "operator_signature", "plan", "statement"}


@dataclass(frozen=True)
class SignedPlan:
    """A plan, and what an operator signed of it."""

    plan: bytes  # canonical
    registered: Registered

    @property
    def project(self) -> Project:
        """The plan, read."""
        return Project.model_validate(parse_canonical(self.plan))

    def to_bytes(self) -> bytes:
        """The file that is handed over."""
        one = self.registered
        content = {
            "operator_key": encode64(one.operator_key),
            "operator_signature": encode64(one.signature),
            "plan": parse_canonical(self.plan),
            "statement": one.statement.content(),
        }
        return canonical_bytes(content)


def sign_plan(plan: bytes, operator_key: bytes, author: str, role: str) -> SignedPlan:
    """The plan, by its canonical bytes, signed with the operator's private key.

    Raises:
        EvidenceError: `plan_form`: author or role is empty or too long.
    """
    project = Project.model_validate(parse_canonical(plan))
    statement = statement_of(plan, project.site, project.id, author, role)
    parse_statement(statement.content())
    return SignedPlan(plan, signed_plan(statement, operator_key))


def read_signed(data: bytes) -> SignedPlan:
    """The signed plan in a file.

    Raises:
        ConfigError: it is none, or statement, plan and signature do not belong together.
    """
    try:
        content: Any = parse_canonical(data.strip())
        if not isinstance(content, dict) or set(content) != _FIELDS:
            raise _bad("it has other fields")
        plan = canonical_bytes(content["plan"])
        key, signature = (decode64(content[f"operator_{name}"]) for name in ("key", "signature"))
        signed = SignedPlan(plan, Registered(parse_statement(content["statement"]), key, signature))
        project, statement = signed.project, signed.registered.statement
    except (EvidenceError, ValidationError, TypeError, AttributeError) as error:
        raise _bad(str(error).splitlines()[0]) from error
    same = (project.site, project.id, digest_hex(plan))
    if same != (statement.site, statement.project, statement.plan_sha256):
        raise _bad("the statement is of another plan")
    if not signed.registered.is_signed:
        raise _bad("the signature is of other bytes, or of another key")
    return signed


def register(
    book: CollectorLog, operators: Collection[str], signed: SignedPlan, now_us: int
) -> LogHead:
    """Log a signed plan, and close the log over it.

    Args:
        book: the collector's log.
        operators: the keys that may sign, base64.
        signed: the plan.
        now_us: wall time. [us]

    Raises:
        ConfigError: its operator is not known here, or the plan stands in the log already.
        StoreError: the log cannot be written.
    """
    require_operator(operators, signed.registered.operator_key)
    entry = plan_entry(signed.registered)

    def unless() -> None:
        for one in registrations(book.store, entry.site):
            if one.statement.plan_sha256 == signed.registered.statement.plan_sha256:
                raise ConfigError(
                    f"This plan is registered already, since {utc(one.time_us)} by "
                    f"{one.statement.author} ({one.statement.role}).",
                    "Nothing was changed: the first registration is the one that counts.",
                )

    book.store.append(book.origin, [entry], now_us, unless=unless)
    head = book.close(now_us)
    assert head is not None, "there is a leaf"
    return head


def require_operator(operators: Collection[str], key: bytes) -> None:
    """Raise `ConfigError` where this public key is none of these operators'."""
    if encode64(key) not in operators:
        raise ConfigError(
            f"The key {encode64(key)} is no operator's of this collector.",
            "Let an operator of its section 'operators' sign the plan.",
        )


def registrations(store: LogTables, site: str) -> list[Registered]:
    """Every registration of a site, in the order of the log."""
    leaves = store.of_site(site)
    return plans_in(parse_entry(leaf, position) for position, leaf in leaves)


def account_of(store: LogTables, site: str) -> Account | None:
    """What the log says of a site up to its newest head; None: it has none yet."""
    heads = store.heads()
    return read_account(excerpt(store, site, heads[-1])) if heads else None


def utc(time_us: int) -> str:
    """The time, UTC, to the second."""
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).isoformat(timespec="seconds")


def _bad(why: str) -> ConfigError:
    return ConfigError(
        f"This is no signed plan: {why}.",
        "Make it with 'joulemark plan sign PROJECT.yaml --key FILE --author NAME --out FILE'.",
    )
