"""What the authority has given out and who has applied: one SQLite file, `STATE_DIR/ca/ca.db`.

The collector, which takes applications, and the commands of its administrator use it at the same
time. Of a token only the SHA-256 is kept: its secret has 256 random bits, so that no slower hash
would make guessing harder.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from joulemark_agent.contract.enrolment import APPROVED, PENDING, Application
from joulemark_gateway.evidence.sqlite import SqliteFile
from joulemark_gateway.pki.authority import Role

FILE = "ca.db"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TABLES = """\
CREATE TABLE IF NOT EXISTS certificate (
  serial TEXT PRIMARY KEY, role TEXT NOT NULL, name TEXT NOT NULL, issued_us INTEGER NOT NULL,
  until_us INTEGER NOT NULL, revoked_us INTEGER, pem BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS revocation_list (
  one INTEGER PRIMARY KEY CHECK (one = 1), number INTEGER NOT NULL, since_us INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS token (
  hash BLOB PRIMARY KEY, site TEXT NOT NULL, agent TEXT NOT NULL, devices TEXT NOT NULL,
  until_us INTEGER NOT NULL, used_us INTEGER);
CREATE TABLE IF NOT EXISTS application (
  id TEXT PRIMARY KEY, site TEXT NOT NULL, agent TEXT NOT NULL, devices TEXT NOT NULL,
  key BLOB NOT NULL, csr BLOB NOT NULL, at_us INTEGER NOT NULL, until_us INTEGER NOT NULL,
  state TEXT NOT NULL, serial TEXT);
"""


@dataclass(frozen=True)
class Issued:
    """A certificate that was given out."""

    serial: int
    role: Role
    name: str
    until: datetime
    revoked: datetime | None
    pem: bytes = field(repr=False)


@dataclass(frozen=True)
class Invited:
    """Whom a token lets in: nobody else, and with no other devices."""

    site: str
    agent: str
    devices: tuple[str, ...]


@dataclass(frozen=True)
class Applied:
    """An application, and what became of it."""

    id: str
    site: str
    agent: str
    devices: tuple[str, ...]
    key: bytes
    csr: bytes = field(repr=False)
    at: datetime
    until: datetime
    state: str
    serial: int | None


class Records(SqliteFile):
    """The file; one thread at a time."""

    kind = "record of certificates"

    def __init__(self, folder: Path) -> None:
        """Open it, and make it where it is missing.

        Raises:
            StoreError: it cannot be used.
        """
        super().__init__(folder / FILE)
        self._make_durable()
        for statement in _TABLES.split(";\n"):
            self._rows(statement)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else writes here meanwhile: what is written out of it is what it says."""
        with nullcontext() if self._db.in_transaction else self._transaction():
            yield

    # ----------------------------------------------------------- certificates

    def keep(self, certificate: x509.Certificate, role: Role, name: str, now: datetime) -> None:
        """Remember a certificate that is given out."""
        self._rows(
            "INSERT INTO certificate VALUES (?, ?, ?, ?, ?, NULL, ?)",
            f"{certificate.serial_number:x}",
            role,
            name,
            _us(now),
            _us(certificate.not_valid_after_utc),
            certificate.public_bytes(Encoding.PEM),
        )

    def issued(self, name: str | None = None) -> list[Issued]:
        """The certificates given out in a name, or in all, oldest first."""
        rows = self._rows(
            "SELECT serial, role, name, until_us, revoked_us, pem FROM certificate"
            " WHERE ? IS NULL OR name = ? ORDER BY issued_us, rowid",
            name,
            name,
        )
        return [_issued(row) for row in rows]

    def issued_as(self, serial: int) -> Issued | None:
        """The certificate of that number; None: the authority gave out no such."""
        rows = self._rows(
            "SELECT serial, role, name, until_us, revoked_us, pem FROM certificate"
            " WHERE serial = ?",
            f"{serial:x}",
        )
        return _issued(rows[0]) if rows else None

    def count_since(self, name: str, since: datetime) -> int:
        """How many certificates were given out in a name from then on."""
        sql = "SELECT count(*) FROM certificate WHERE name = ? AND issued_us > ?"
        return int(self._rows(sql, name, _us(since))[0][0])

    def revoke(self, name: str, now: datetime) -> int:
        """Take back every certificate in a name; how many that were not taken back before."""
        found = self._rows(
            "UPDATE certificate SET revoked_us = ? WHERE name = ? AND revoked_us IS NULL"
            " RETURNING serial",
            _us(now),
            name,
        )
        return len(found)

    def next_list(self, latest: datetime, now: datetime) -> tuple[int, datetime]:
        """Number and beginning of the next revocation list: each later than the one before.

        But never in the future, where a clock that was ahead once has put the one before: a list
        that has not begun shuts everybody out.

        Args:
            latest: when it begins, if the one before began earlier.
            now: aware.
        """
        [(number, since_us)] = self._rows(
            "INSERT INTO revocation_list VALUES (1, 1, ?1) ON CONFLICT (one) DO UPDATE SET"
            " number = number + 1, since_us = CASE WHEN since_us + 1000000 > ?2 THEN ?1"
            " ELSE max(?1, since_us + 1000000) END RETURNING number, since_us",
            _us(latest) // 1_000_000 * 1_000_000,
            _us(now),
        )
        return number, _instant(since_us)

    # ----------------------------------------------------------------- tokens

    def invite(self, secret: bytes, invited: Invited, until: datetime) -> None:
        """Let an agent apply once; tokens made for it before are of no use any more."""
        with self._transaction() as db:
            db.execute("DELETE FROM token WHERE agent = ?", (invited.agent,))
            db.execute(
                "INSERT INTO token VALUES (?, ?, ?, ?, ?, NULL)",
                (
                    sha256(secret).digest(),
                    invited.site,
                    invited.agent,
                    json.dumps(invited.devices),
                    _us(until),
                ),
            )

    def invited(self, secret: bytes, now: datetime) -> Invited | None:
        """Whom an unused token lets in; None: it is no such token, or its time is over.

        Every hash is compared, each in a time that does not depend on where they differ.
        """
        asked, found = sha256(secret).digest(), None
        for known, site, agent, devices in self._rows(
            "SELECT hash, site, agent, devices FROM token WHERE used_us IS NULL AND until_us > ?",
            _us(now),
        ):
            if hmac.compare_digest(known, asked):
                found = Invited(site, agent, tuple(json.loads(devices)))
        return found

    # ----------------------------------------------------------- applications

    def apply(self, number: str, sent: Application, now: datetime, until: datetime) -> bool:
        """Use the token and keep the application; False: somebody used it first.

        What the same agent applied for before, and nobody has decided, is forgotten.
        """
        with self._transaction() as db:
            used = db.execute(
                "UPDATE token SET used_us = ? WHERE hash = ? AND used_us IS NULL AND until_us > ?",
                (_us(now), sha256(sent.secret).digest(), _us(now)),
            )
            if used.rowcount != 1:
                return False
            db.execute(
                "DELETE FROM application WHERE until_us < ? OR (agent = ? AND state = ?)",
                (_us(now), sent.agent, PENDING),
            )
            devices = json.dumps(sent.devices)
            db.execute(
                "INSERT INTO application VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
                (number, sent.site, sent.agent, devices, sent.key, sent.csr, _us(now), _us(until),
                 PENDING),
            )  # fmt: skip
        return True

    def applications(self, now: datetime) -> list[Applied]:
        """Those that have not been forgotten, oldest first."""
        rows = self._rows(
            "SELECT * FROM application WHERE until_us > ? ORDER BY at_us, rowid", _us(now)
        )
        return [_applied(row) for row in rows]

    def application(self, number: str, now: datetime) -> Applied | None:
        """The one of that number; None: there is none."""
        rows = self._rows(
            "SELECT * FROM application WHERE id = ? AND until_us > ?", number, _us(now)
        )
        return _applied(rows[0]) if rows else None

    def decide(self, number: str, state: str, serial: int | None = None) -> None:
        """Say what becomes of a pending application; with which certificate where approved."""
        assert (state == APPROVED) == (serial is not None)
        self._rows(
            "UPDATE application SET state = ?, serial = ? WHERE id = ? AND state = ?",
            state,
            None if serial is None else f"{serial:x}",
            number,
            PENDING,
        )


def _us(instant: datetime) -> int:
    return (instant - _EPOCH) // timedelta(microseconds=1)


def _instant(us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=us)


def _issued(row: Sequence[Any]) -> Issued:
    serial, role, name, until_us, revoked_us, pem = row
    revoked = None if revoked_us is None else _instant(revoked_us)
    return Issued(int(serial, 16), Role(role), name, _instant(until_us), revoked, pem)


def _applied(row: Sequence[Any]) -> Applied:
    number, site, agent, devices, key, csr, at_us, until_us, state, serial = row
    return Applied(
        id=number,
        site=site,
        agent=agent,
        devices=tuple(json.loads(devices)),
        key=key,
        csr=csr,
        at=_instant(at_us),
        until=_instant(until_us),
        state=state,
        serial=None if serial is None else int(serial, 16),
    )
