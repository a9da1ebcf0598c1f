"""Sessions: after a log-in the browser holds a random cookie, and the file its hash and times."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from joulemark_gateway.access.database import Database, digest_of
from joulemark_gateway.access.users import COLUMNS, User, user_of

MOST = 10  # of one user; a further one ends the oldest
_MINUTE_US = 60_000_000


@dataclass(frozen=True)
class SessionLimits:
    """How long a session lasts at most, and without being used. [us]"""

    life_us: int
    idle_us: int


class Sessions:
    """Who is logged in."""

    def __init__(self, database: Database, limits: SessionLimits) -> None:
        self._db, self._limits = database, limits

    def begin(self, user: str, now_us: int) -> str:
        """The cookie of a new session."""
        cookie = secrets.token_urlsafe(32)
        with self._db.transaction() as db:
            row = (digest_of(cookie), user, now_us, now_us)
            db.execute("INSERT INTO session VALUES (?, ?, ?, ?)", row)
            db.execute(
                "DELETE FROM session WHERE user = ? AND digest NOT IN (SELECT digest FROM session "
                "WHERE user = ? ORDER BY made_us DESC, rowid DESC LIMIT ?)",
                (user, user, MOST),
            )
        return cookie

    def user_of(self, cookie: str, now_us: int, *, used: bool) -> User | None:
        """Whose session the cookie is; None where it is none or is over.

        Args:
            cookie: as the browser sent it.
            now_us: now. [us UTC]
            used: whether a person did something; a page that refreshes itself keeps none alive.
        """
        digest, limits = digest_of(cookie), self._limits
        rows = self._db.rows(
            f"SELECT s.made_us, s.seen_us, {COLUMNS} FROM session s JOIN user u ON u.name = s.user "
            "WHERE s.digest = ?",
            digest,
        )
        if not rows:
            return None
        made_us, seen_us, *user = rows[0]
        if now_us - made_us >= limits.life_us or now_us - seen_us >= limits.idle_us:
            self.end(cookie)
            return None
        if used and now_us - seen_us > min(_MINUTE_US, limits.idle_us // 4):
            self._db.rows("UPDATE session SET seen_us = ? WHERE digest = ?", now_us, digest)
        return user_of(user)

    def end(self, cookie: str) -> None:
        """Log out."""
        self._db.rows("DELETE FROM session WHERE digest = ?", digest_of(cookie))

    def end_old(self, now_us: int) -> None:
        """Forget those that are over."""
        self._db.rows(
            "DELETE FROM session WHERE made_us <= ? OR seen_us <= ?",
            now_us - self._limits.life_us,
            now_us - self._limits.idle_us,
        )
