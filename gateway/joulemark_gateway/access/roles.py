"""Roles, and whoever asks. Each role may do what those before it may."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
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


GIVEN = tuple(role for role in Role if role is not Role.ANYBODY)  # what a user or token can be
Kind = Literal["nobody", "machine", "person", "program"]


def role_of(word: str) -> Role:
    """The role of this name; ValueError where there is none."""
    for role in GIVEN:
        if role.word == word:
            return role
    names = ", ".join(role.word for role in GIVEN)
    raise ValueError(f"there is no role {word!r:.40}; there are {names}")


@dataclass(frozen=True)
class Who:
    """Whoever asks: their name, role, and the sites they see."""

    name: str
    role: Role
    sites: frozenset[str] | None  # None: all
    kind: Kind

    def may(self, role: Role) -> bool:
        """Whether they may do what this role may."""
        return self.role >= role

    def sees(self, site: str) -> bool:
        """Whether the site is one of theirs."""
        return self.sites is None or site in self.sites


NOBODY = Who("", Role.ANYBODY, frozenset(), "nobody")
# Without log-in whoever is on this machine looks at everything and changes nothing.
MACHINE = Who("", Role.VERIFIER, None, "machine")
