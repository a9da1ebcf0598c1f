"""An agent joins: a token lets it apply once, a person compares fingerprints and approves."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

from cryptography import x509

from joulemark_agent.contract.enrolment import (
    APPROVED,
    PENDING,
    REFUSED,
    SECRET_BYTES,
    Application,
    Token,
)
from joulemark_agent.contract.errors import ConfigError, EvidenceError
from joulemark_gateway.pki.authority import agent_holder, requested_key
from joulemark_gateway.pki.records import Applied, Invited, Records
from joulemark_gateway.pki.site_ca import SiteCa

MOST_MINUTES = 15  # that a token holds
WAITS = timedelta(hours=1)  # an application, for somebody to decide
_NUMBER_BYTES = 16


def new_token(
    records: Records, invited: Invited, fingerprint: str, now: datetime, minutes: int = MOST_MINUTES
) -> Token:
    """A token for one agent; one made for it before is of no use any more.

    Args:
        records: where its hash is kept.
        invited: whom it lets in.
        fingerprint: of the certificate of whom it may be told.
        now: aware.
        minutes: how long it holds.

    Raises:
        ConfigError: it would hold too long.
    """
    if not 1 <= minutes <= MOST_MINUTES:
        raise ConfigError(
            f"A token cannot hold for {minutes} minutes.", f"Choose 1 to {MOST_MINUTES}."
        )
    token = Token(secrets.token_bytes(SECRET_BYTES), fingerprint)
    records.invite(token.secret, invited, now + timedelta(minutes=minutes))
    return token


def apply(records: Records, sent: Application, now: datetime) -> str:
    """Take an application; its number, by which only the sender can ask after it.

    A mistake in what is sent leaves the token as it is, so that the person can correct it.

    Raises:
        EvidenceError: `no_token`, `not_invited`, `other_devices`, `bad_proof` or `bad_csr`.
    """
    invited = records.invited(sent.secret, now)
    if invited is None:
        raise _no_token()
    if (sent.site, sent.agent) != (invited.site, invited.agent):
        raise EvidenceError(
            f"The token is not for the agent {sent.agent!r} of site {sent.site!r}.",
            "Have one made for it: 'joulemark collector enroll-token AGENT --site SITE'.",
            code="not_invited",
        )
    if set(sent.devices) != set(invited.devices):
        raise EvidenceError(
            f"The agent reads {', '.join(sorted(sent.devices))}, and the token is for"
            f" {', '.join(sorted(invited.devices))}.",
            "Correct the site file, or have a token made for these devices.",
            code="other_devices",
        )
    if not sent.is_proven:
        raise EvidenceError(
            "The evidence key did not sign this request for a certificate.",
            "Use the same version of joulemark on both sides.",
            code="bad_proof",
        )
    requested_key(sent.csr)
    number = secrets.token_hex(_NUMBER_BYTES)
    if not records.apply(number, sent, now, now + WAITS):
        raise _no_token()
    return number


def approve(
    ca: SiteCa,
    number: str,
    now: datetime,
    days: int,
    register: Callable[[Applied], None],
) -> x509.Certificate:
    """Give the applicant its certificate; those given in its name before are taken back.

    Args:
        ca: the site's authority.
        number: of the application, or the beginning of it that only one has.
        now: aware.
        days: how long the certificate holds.
        register: makes the collector know agent, key and devices; may be called again.

    Raises:
        ConfigError: there is no such application, it was decided, or nothing can be signed now.
    """
    found = pending(ca.records, number, now)
    key = requested_key(found.csr)
    ca.require_ready(now)  # before anything is taken back
    register(found)
    ca.records.revoke(found.agent, now)
    certificate = ca.certify(key, agent_holder(found.site, found.agent), now, days)
    ca.records.decide(found.id, APPROVED, certificate.serial_number)
    return certificate


def refuse(records: Records, number: str, now: datetime) -> Applied:
    """Send the applicant away; errors as `pending`."""
    found = pending(records, number, now)
    records.decide(found.id, REFUSED)
    return found


def pending(records: Records, number: str, now: datetime) -> Applied:
    """The one application of that number, or beginning with it, that nobody has decided.

    Raises:
        ConfigError: there is none, or there are several.
    """
    waiting = [one for one in records.applications(now) if one.state == PENDING]
    found = [one for one in waiting if number and one.id.startswith(number)]
    if len(found) != 1:
        known = ", ".join(one.id for one in waiting) or "none"
        raise ConfigError(
            f"{len(found) or 'No'} pending enrolments begin with {number!r:.40}.",
            f"These wait: {known}.",
        )
    return found[0]


def _no_token() -> EvidenceError:
    return EvidenceError(
        "The token is unknown, used or too old.",
        "Have a new one made with 'joulemark collector enroll-token'; it holds for 15 minutes and"
        " is taken once.",
        code="no_token",
    )
