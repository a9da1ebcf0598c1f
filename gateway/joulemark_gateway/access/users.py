"""Users: people who may log in, each with a role and the sites they see."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from joulemark_agent.contract.errors import ConfigError
from joulemark_gateway.access import passwords
from joulemark_gateway.access.database import Database, checked, sites_of
from joulemark_gateway.access.roles import Role, Who

COLUMNS = "u.name, u.role, u.sites, u.made_us, u.password"
_USER = f"SELECT {COLUMNS} FROM user u"


@dataclass(frozen=True)
class User:
    """A person who may log in."""

    name: str
    role: Role
    sites: frozenset[str] | None
    made_us: int
    password: str = field(repr=False)  # its hash

    @property
    def who(self) -> Who:
        """The user as one who asks."""
        return Who(self.name, self.role, self.sites, "person")


class Users:
    """Everybody who may log in."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def listed(self) -> list[User]:
        """Every user by name."""
        return [user_of(row) for row in self._db.rows(f"{_USER} ORDER BY name")]

    def find(self, name: str) -> User | None:
        """The user of this name."""
        rows = self._db.rows(f"{_USER} WHERE name = ?", name)
        return user_of(rows[0]) if rows else None

    def add(
        self, name: str, role: Role, sites: Iterable[str] | None, password: str, now_us: int
    ) -> None:
        """Let somebody log in.

        Raises:
            ConfigError: the name, the sites or the password are not accepted, or the name is taken.
        """
        kept = checked(name, role, sites)
        passwords.require_good(password, name)
        row = (name, int(role), kept, passwords.hashed(password), now_us)
        with self._db.transaction() as db:
            if db.execute("SELECT 1 FROM user WHERE name = ?", (name,)).fetchone():
                raise ConfigError(
                    f"There is a user {name!r} already.", "Take another name.", code="user_exists"
                )
            db.execute("INSERT INTO user VALUES (?, ?, ?, ?, ?)", row)

    def change(self, name: str, role: Role, sites: Iterable[str] | None) -> None:
        """Give a user another role and other sites; their sessions end.

        Raises:
            ConfigError: as `add`; there is no such user; it is the last admin.
        """
        kept = checked(name, role, sites)
        with self._db.transaction() as db:
            _require_user(db, name)
            if role < Role.ADMIN:
                _require_other_admin(db, name)
            values = (int(role), kept, name)
            db.execute("UPDATE user SET role = ?, sites = ? WHERE name = ?", values)
            db.execute("DELETE FROM session WHERE user = ?", (name,))

    def set_password(self, name: str, password: str) -> None:
        """Give a user another password; their sessions end.

        Raises:
            ConfigError: there is no such user, or the password is not accepted.
        """
        passwords.require_good(password, name)
        values = (passwords.hashed(password), name)
        with self._db.transaction() as db:
            _require_user(db, name)
            db.execute("UPDATE user SET password = ? WHERE name = ?", values)
            db.execute("DELETE FROM session WHERE user = ?", (name,))

    def remove(self, name: str) -> None:
        """Let somebody log in no more; their sessions end.

        Raises:
            ConfigError: there is no such user, or it is the last admin.
        """
        with self._db.transaction() as db:
            _require_user(db, name)
            _require_other_admin(db, name)
            db.execute("DELETE FROM user WHERE name = ?", (name,))


def _require_user(db: sqlite3.Connection, name: str) -> None:
    if not db.execute("SELECT 1 FROM user WHERE name = ?", (name,)).fetchone():
        raise _unknown(name)


def _unknown(name: str) -> ConfigError:
    return ConfigError(
        f"There is no user {name!r:.80}.", "List the users for their names.", code="no_user"
    )


def _require_other_admin(db: sqlite3.Connection, name: str) -> None:
    """Refuse to leave the collector without an admin."""
    role = db.execute("SELECT role FROM user WHERE name = ?", (name,)).fetchone()[0]
    sql = "SELECT count(*) FROM user WHERE role = ? AND name <> ?"
    if role == Role.ADMIN and not db.execute(sql, (int(Role.ADMIN), name)).fetchone()[0]:
        raise ConfigError(
            f"{name!r} is the last admin.", "Make another one first.", code="last_admin"
        )


def user_of(row: Sequence[Any]) -> User:
    """The user in a row of these columns."""
    name, role, sites, made_us, password = row
    return User(name, Role(role), sites_of(sites), made_us, password)
