"""A measurement and verification plan that was there before: an operator registers its digest.

The registration stands in the collector's log, signed by the operator over

    {"type": "plan", "v": 1, "site", "project", "plan_sha256", "author", "role"}

The plan itself stays with its author until a report carries it: `plan_sha256` is the SHA-256 of its
canonical bytes, which are `plan.json` of every bundle that measures it. When it was registered the
collector says, and better than the collector whoever cosigned the first head over the leaf.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from joulemark_agent.contract.canonical import canonical_bytes, digest_hex, is_same
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.signature import decode64, encode64, is_signed_by, public_key, sign
from joulemark_agent.contract.topics import is_id
from joulemark_gateway.evidence.account import Account, cosignatures_of
from joulemark_gateway.evidence.entries import PLAN, Entry, Logged

VERSION = 1
MOST_TEXT = 1000  # letters of a name or a role
ShownBy = Literal["witness", "collector", "nobody"]
_US_PER_S = 1_000_000
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FIELDS = {"author", "plan_sha256", "project", "role", "site", "type", "v"}


@dataclass(frozen=True)
class PlanStatement:
    """Who states which plan, for which project of which site."""

    site: str
    project: str
    plan_sha256: str  # of the plan's canonical bytes
    author: str
    role: str

    def content(self) -> dict[str, Any]:
        """What the operator signs."""
        return {
            "author": self.author,
            "plan_sha256": self.plan_sha256,
            "project": self.project,
            "role": self.role,
            "site": self.site,
            "type": PLAN,
            "v": VERSION,
        }


@dataclass(frozen=True)
class Registered:
    """A statement that its operator signed, and where it stands in the log."""

    statement: PlanStatement
    operator_key: bytes
    signature: bytes
    position: int = -1  # in the log; -1: not there yet
    time_us: int = 0  # when it was logged, the collector's clock

    @property
    def is_signed(self) -> bool:
        """Whether the operator with the key that is named signed it."""
        message = canonical_bytes(self.statement.content())
        return is_signed_by(self.operator_key, message, self.signature)


@dataclass(frozen=True)
class Dated:
    """A registration, and the first who says to have seen it: a line under a head over its leaf.

    Nothing of the line is checked here; a verifier looks it up among the witnesses of his policy.
    """

    registered: Registered
    note: str  # of the head; empty where nobody cosigned one
    cosigned: tuple[str, int] | None  # name, POSIX seconds
    versions: int = 1  # how many plans of this project stand in the log: one may be chosen of many

    def shown_by(self, start_us: int) -> ShownBy:
        """Who shows that it was there before this instant: a witness, the collector alone, nobody.

        The collector's own time must be earlier in any case.

        Args:
            start_us: when the reporting period starts. [us]
        """
        if self.registered.time_us >= start_us:
            return "nobody"
        is_seen = self.cosigned is not None and self.cosigned[1] * _US_PER_S < start_us
        return "witness" if is_seen else "collector"


def statement_of(plan: bytes, site: str, project: str, author: str, role: str) -> PlanStatement:
    """The statement of a plan, by its canonical bytes."""
    return PlanStatement(site, project, digest_hex(plan), author, role)


def signed_plan(statement: PlanStatement, operator_key: bytes) -> Registered:
    """The statement, signed with the operator's private key."""
    signature = sign(operator_key, canonical_bytes(statement.content()))
    return Registered(statement, public_key(operator_key), signature)


def plan_entry(registered: Registered) -> Entry:
    """The registration, for the log; the same plan is logged once for its site."""
    content = registered.statement.content()
    fields = {
        "operator_key": encode64(registered.operator_key),
        "operator_signature": encode64(registered.signature),
        "plan": content,
    }
    return Entry(content["site"], PLAN, fields, f"{PLAN} {content['plan_sha256']}")


def plans_in(entries: Iterable[Logged]) -> list[Registered]:
    """The registrations among what was logged, in order; signatures are checked elsewhere.

    Raises:
        EvidenceError: `plan_form`: a leaf holds none.
    """
    return [_registered(entry) for entry in entries if entry.kind == PLAN]


def dated(account: Account, plan_sha256: str) -> Dated | None:
    """The first registration of a plan, and who cosigned a head over it first; None: there is none.

    Of several lines of one name under a head the latest counts.

    Raises:
        EvidenceError: `plan_form`.
    """
    plans = plans_in(account.entries)
    same = [one for one in plans if one.statement.plan_sha256 == plan_sha256]
    if not same:
        return None
    versions = sum(one.statement.project == same[0].statement.project for one in plans)
    seen: list[tuple[int, str, str]] = []
    for head, note in zip(account.heads, account.notes, strict=True):
        if head.size > same[0].position:
            times: dict[str, int] = {}
            for name, time_s in cosignatures_of(note, head.origin):
                times[name] = max(time_s, times.get(name, 0))
            seen += [(time_s, name, note) for name, time_s in times.items()]
    if not seen:
        return Dated(same[0], "", None, versions)
    time_s, name, note = min(seen, key=lambda one: one[:2])
    return Dated(same[0], note, (name, time_s), versions)


def parse_statement(content: Any) -> PlanStatement:
    """The statement that an operator signed.

    Raises:
        EvidenceError: `plan_form` where it is none.
    """
    if not isinstance(content, dict) or set(content) != _FIELDS:
        raise _bad("it has other fields")
    named = ("author", "plan_sha256", "project", "role", "site")
    texts = {name: content[name] for name in named}
    if not all(isinstance(text, str) and 1 <= len(text) <= MOST_TEXT for text in texts.values()):
        raise _bad("a text is missing or too long")
    if not _DIGEST.fullmatch(texts["plan_sha256"]):
        raise _bad("it names no SHA-256 of a plan")
    if not is_id(texts["site"]) or not is_id(texts["project"]):
        raise _bad("it names no site or no project")
    found = PlanStatement(**texts)
    if not is_same(found.content(), content):
        raise _bad("it is of another version")
    return found


def _registered(entry: Logged) -> Registered:
    fields = entry.fields
    try:
        key, signature = decode64(fields["operator_key"]), decode64(fields["operator_signature"])
    except (TypeError, AttributeError) as error:
        raise _bad("its signature is no text") from error
    statement = parse_statement(fields["plan"])
    if statement.site != entry.site:
        raise _bad("it is of another site than its leaf")
    return Registered(statement, key, signature, entry.position, entry.time_us)


def _bad(what: str) -> EvidenceError:
    return EvidenceError(
        f"The registration of a plan does not hold: {what}.",
        "Sign the project file again with 'joulemark plan sign'.",
        code="plan_form",
    )
