"""A rule that was looked at, and the policy it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from joulemark_agent.contract.errors import MeasureError

Policy = TypeVar("Policy")
ENGINE = "engine"  # rules that no policy can waive


@dataclass(frozen=True)
class Finding:
    """One rule looked at: what was seen, what is asked for, and whether it holds.

    `by` is the id of the policy, or `ENGINE`. `at_least` and
    `at_most` are None where that side is open.
    """

    code: str
    by: str
    subject: str
    rule: str
    seen: float
    at_least: float | None
    at_most: float | None
    unit: str
    passed: bool


@dataclass(frozen=True)
class PolicyUsed:
    """The named, versioned policy that stands beside a figure."""

    id: str
    version: str
    text: str
    source: str


@dataclass(frozen=True)
class NamedPolicy:
    """Limits or a rule under a name; what changes it makes a new version."""

    id: str
    version: str
    text: str
    source: str

    def used(self) -> PolicyUsed:
        """The policy as it stands beside a figure."""
        return PolicyUsed(self.id, self.version, self.text, self.source)


def named(policies: Mapping[str, Policy], name: str, code: str) -> Policy:
    """The policy of a name.

    Raises:
        MeasureError: with this code, there is none.
    """
    if name not in policies:
        raise MeasureError(
            f"There is no policy {name!r}.",
            f"Name one of: {', '.join(sorted(policies))}.",
            code=code,
        )
    return policies[name]
