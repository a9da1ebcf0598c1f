"""Roles and scopes, and whoever asks.

Each role may do what those before it may. A scope narrows what a program may do within its role.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Literal


class Role(IntEnum):
    """What somebody may do; nobody may do what is not named."""

    ANYBODY = 0  # the log-in page, its style, whether the collector lives
    VIEWER = 1  # pages, series and figures of named sites
    VERIFIER = 2  # also records, proofs, bundles, and why messages were refused
    OPERATOR = 3  # also approves, corrects and asks for raw ranges
    ADMIN = 4  # also users, tokens, enrolments, revocation; of all sites

    @property
    def word(self) -> str:
        """As people write it."""
        return self.name.lower()


class Scope(StrEnum):
    """A part of the API that a token can be limited to; a person is limited by role and sites."""

    SERIES = "series:read"  # sites, devices, series, exports, figures
    EVIDENCE = "evidence:read"  # records, proofs, corrections, why messages were refused
    REPORTS = "reports:read"  # projects, reports and bundles
    METRICS = "metrics:read"  # how the collector and its agents are
    OPERATE = "operate"  # what an operator changes
    ADMIN = "admin"  # users, tokens, enrolments, revocations, the security log
    ANY = "any"  # of an address, not of a token: whichever it has


LIMITS = tuple(scope for scope in Scope if scope is not Scope.ANY)  # what a token can be given
GIVEN = tuple(role for role in Role if role is not Role.ANYBODY)  # what a user or token can be
Kind = Literal["nobody", "machine", "person", "program"]


def role_of(word: str) -> Role:
    """The role of this name; ValueError where there is none."""
    for role in GIVEN:
        if role.word == word:
            return role
    names = ", ".join(role.word for role in GIVEN)
    raise ValueError(f"there is no role {word!r:.40}; there are {names}")


def scopes_of(words: Iterable[str]) -> frozenset[Scope]:
    """The scopes of these names; ValueError where there is none of a name, or none at all."""
    given = sorted(set(words))
    known = [scope.value for scope in LIMITS]
    wrong = [word for word in given if word not in known]
    if wrong or not given:
        what = f"there is no scope {wrong[0]!r:.40}" if wrong else "no scope is named"
        raise ValueError(f"{what}; there are {', '.join(known)}")
    return frozenset(Scope(word) for word in given)


@dataclass(frozen=True)
class Who:
    """Whoever asks: their name, role, and the sites they see."""

    name: str
    role: Role
    sites: frozenset[str] | None  # None: all
    kind: Kind
    scopes: frozenset[Scope] | None = None  # of a token; None: all that the role may

    def may(self, role: Role) -> bool:
        """Whether they may do what this role may."""
        return self.role >= role

    def reaches(self, scope: Scope | None) -> bool:
        """Whether an address of this scope is one of theirs; of None, only without limits."""
        if self.scopes is None or scope is Scope.ANY:
            return True
        return scope in self.scopes

    def sees(self, site: str) -> bool:
        """Whether the site is one of theirs."""
        return self.sites is None or site in self.sites


NOBODY = Who("", Role.ANYBODY, frozenset(), "nobody")
# Without log-in whoever is on this machine looks at everything and changes nothing.
MACHINE = Who("", Role.VERIFIER, None, "machine")
