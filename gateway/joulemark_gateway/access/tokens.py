"""Tokens: what a program shows instead of logging in. Its text is shown once and kept nowhere."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from joulemark_agent.contract.errors import ConfigError
from joulemark_gateway.access.database import Database, checked, digest_of, sites_of
from joulemark_gateway.access.roles import Role, Scope, Who, scopes_of

PREFIX = "jmt"  # the mark by which a scanner finds one that leaked
_MINUTE_US = 60_000_000
_COLUMNS = "id, name, role, sites, made_us, expires_us, seen_us, revoked_us, scopes"
_TOKEN = f"SELECT {_COLUMNS} FROM token"


@dataclass(frozen=True)
class Token:
    """A program that may ask; the token itself is nowhere."""

    id: str
    name: str
    role: Role
    sites: frozenset[str] | None
    made_us: int
    expires_us: int
    seen_us: int | None
    revoked_us: int | None
    scopes: frozenset[Scope] | None = None  # None: all that the role may

    @property
    def who(self) -> Who:
        """The token as one who asks."""
        return Who(f"{self.name} ({self.id})", self.role, self.sites, "program", self.scopes)


class Tokens:
    """Every program that may ask."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def listed(self) -> list[Token]:
        """Every token, the newest first."""
        return [_token(row) for row in self._db.rows(f"{_TOKEN} ORDER BY made_us DESC, id")]

    def add(
        self,
        name: str,
        role: Role,
        sites: Iterable[str] | None,
        now_us: int,
        expires_us: int,
        *,
        scopes: Iterable[str] | None = None,
    ) -> tuple[Token, str]:
        """A new token, and the text of it, which nobody can be shown again.

        Args:
            name: of the program.
            role: the most it may do.
            sites: that it sees; None: all.
            now_us: wall time, UTC. [us]
            expires_us: when it ends. [us]
            scopes: what it is limited to within its role; None: nothing.

        Raises:
            ConfigError: the name, the sites or the scopes are not accepted.
        """
        kept, limits = checked(name, role, sites), _checked_scopes(scopes)
        id_, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
        row = (id_, name, int(role), kept, digest_of(secret), now_us, expires_us, limits)
        columns = "id, name, role, sites, digest, made_us, expires_us, scopes"
        self._db.rows(f"INSERT INTO token ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", *row)
        made = _token((id_, name, role, kept, now_us, expires_us, None, None, limits))
        return made, f"{PREFIX}_{id_}_{secret}"

    def find(self, text: str, now_us: int) -> Token | None:
        """Whose token the text is; None where it is none, is over or was revoked."""
        prefix, _, rest = text.partition("_")
        id_, _, secret = rest.partition("_")
        rows = self._db.rows("SELECT digest FROM token WHERE id = ?", id_)
        digest = rows[0][0] if rows else bytes(32)
        if not secrets.compare_digest(digest, digest_of(secret)) or prefix != PREFIX:
            return None
        [row] = self._db.rows(f"{_TOKEN} WHERE id = ?", id_)
        found = _token(row)
        if found.revoked_us is not None or now_us >= found.expires_us:
            return None
        if found.seen_us is None or now_us - found.seen_us > _MINUTE_US:
            self._db.rows("UPDATE token SET seen_us = ? WHERE id = ?", now_us, id_)
        return found

    def revoke(self, id_: str, now_us: int) -> Token:
        """Take a token back from now on.

        Raises:
            ConfigError: there is none of this id.
        """
        with self._db.transaction() as db:
            changed = db.execute(
                "UPDATE token SET revoked_us = coalesce(revoked_us, ?) WHERE id = ?", (now_us, id_)
            ).rowcount
            if not changed:
                raise ConfigError(
                    f"There is no token {id_!r:.40}.",
                    "List the tokens for their ids.",
                    code="no_token",
                )
            return _token(db.execute(f"{_TOKEN} WHERE id = ?", (id_,)).fetchone())


def _token(row: Sequence[Any]) -> Token:
    id_, name, role, sites, made_us, expires_us, seen_us, revoked_us, kept = row
    return Token(
        id=id_,
        name=name,
        role=Role(role),
        sites=sites_of(sites),
        made_us=made_us,
        expires_us=expires_us,
        seen_us=seen_us,
        revoked_us=revoked_us,
        scopes=None if kept is None else frozenset(Scope(word) for word in json.loads(kept)),
    )


def _checked_scopes(scopes: Iterable[str] | None) -> str | None:
    """The scopes as they are kept."""
    if scopes is None:
        return None
    try:
        return json.dumps(sorted(scopes_of(scopes)))
    except ValueError as error:
        what = str(error)
        raise ConfigError(
            f"{what[0].upper()}{what[1:]}.", "Name some of them, or none.", code="bad_scopes"
        ) from error
