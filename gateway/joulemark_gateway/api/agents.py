"""Agents as an admin sees them: who applies, who holds a certificate, whose keys are revoked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Annotated

from cryptography.hazmat.primitives.serialization import Encoding
from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from joulemark_agent.contract.enrolment import PENDING
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.signature import encode64, fingerprint
from joulemark_agent.tls import certificate_fingerprint, own_certificate
from joulemark_gateway.access.gate import Access, Visit
from joulemark_gateway.access.roles import Role, Scope
from joulemark_gateway.api.admin import Asker, Form, Gate, Name, as_problem
from joulemark_gateway.api.doors import needs
from joulemark_gateway.api.models import PROBLEMS
from joulemark_gateway.api.problems import Problem
from joulemark_gateway.api.routes import Here
from joulemark_gateway.api.sources import Sources
from joulemark_gateway.pki import enrolments
from joulemark_gateway.pki.records import Invited
from joulemark_gateway.pki.rights import (
    refresh_broker,
    register,
    registry_now,
    withdraw_certificates,
)
from joulemark_gateway.pki.settings import EnrolmentSettings, ca_folder, own_file
from joulemark_gateway.pki.site_ca import SiteCa
from joulemark_gateway.registry import read_added, withdrawals, withdrawn
from joulemark_gateway.settings import CollectorSettings

router = APIRouter(prefix="/api/v1", responses=PROBLEMS)

ApplicationId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$", description="of an application")]


class Applying(BaseModel):
    """An agent that asks to be let in; its fingerprint is compared with the one it shows."""

    id: str
    agent: str
    site: str
    devices: list[str]
    fingerprint: str
    at: str
    state: str


class Holding(BaseModel):
    """A certificate that was given out."""

    name: str
    role: str
    serial: str
    until: str
    revoked: str | None


class Enrolments(BaseModel):
    """Who applies, and who holds a certificate; `fingerprint` is the collector's own."""

    has_authority: bool
    fingerprint: str | None
    applying: list[Applying]
    certificates: list[Holding]


class Invitation(Form):
    """An agent that may apply once."""

    agent: Name
    site: Name
    devices: list[Name] = Field(min_length=1, max_length=1000)
    minutes: int = Field(default=enrolments.MOST_MINUTES, ge=1, le=enrolments.MOST_MINUTES)


class InvitationMade(BaseModel):
    """The one-time token; it is not shown again."""

    token: str
    fingerprint: str
    minutes: int


class Revoking(Form):
    """An agent whose keys are to be trusted no longer than up to what is held now."""

    agent: Name
    reason: str = Field(default="", max_length=300)


class RevokedKey(BaseModel):
    """A key that is trusted up to a size of one tree; who, when and why where that is known."""

    key: str
    fingerprint: str
    origin: str
    size: int
    agent: str | None
    time: str | None
    reason: str | None


class Revocations(BaseModel):
    """Every key that is revoked."""

    revoked: list[RevokedKey]


@router.get("/enrolments")
@needs(Role.ADMIN, Scope.ADMIN)
def get_enrolments(here: Here) -> Enrolments:
    """Who applies, and who holds a certificate."""
    return enrolments_of(settings_of(here))


@router.post("/enrolments", status_code=201)
@needs(Role.ADMIN, Scope.ADMIN)
def post_invitation(here: Here, gate: Gate, visit: Asker, wanted: Invitation) -> InvitationMade:
    """A one-time token with which an agent may apply."""
    return invite(settings_of(here), gate, visit, wanted)


@router.post("/enrolments/{id}/approve")
@needs(Role.ADMIN, Scope.ADMIN)
def post_approval(here: Here, gate: Gate, visit: Asker, id: ApplicationId) -> Enrolments:  # noqa: A002
    """Give the applicant its certificate, and have the collector take what it sends."""
    return decide(settings_of(here), gate, visit, id, is_approved=True)


@router.post("/enrolments/{id}/refuse")
@needs(Role.ADMIN, Scope.ADMIN)
def post_refusal(here: Here, gate: Gate, visit: Asker, id: ApplicationId) -> Enrolments:  # noqa: A002
    """Send the applicant away."""
    return decide(settings_of(here), gate, visit, id, is_approved=False)


@router.get("/revocations")
@needs(Role.ADMIN, Scope.ADMIN)
def get_revocations(here: Here) -> Revocations:
    """Every key that is revoked, and up to which size of a tree it is trusted."""
    return revocations_of(settings_of(here))


@router.post("/revocations", status_code=201)
@needs(Role.ADMIN, Scope.ADMIN)
def post_revocation(here: Here, gate: Gate, visit: Asker, wanted: Revoking) -> Revocations:
    """Trust an agent's keys no longer than up to what is held now; take its certificates back."""
    return revoke(here, gate, visit, wanted)


def settings_of(here: Sources) -> CollectorSettings:
    """The collector's settings; Problem where these pages were started without."""
    if here.settings is None:
        raise Problem(
            503, "no_collector", "No collector runs behind these pages.", "Start it to do this."
        )
    return here.settings


def enrolments_of(settings: CollectorSettings) -> Enrolments:
    """Who applies, and who holds a certificate; nobody where there is no authority."""
    now = datetime.now(UTC)
    with _authority(settings) as ca:
        if ca is None:
            return Enrolments(has_authority=False, fingerprint=None, applying=[], certificates=[])
        applying = [
            Applying(
                id=one.id,
                agent=one.agent,
                site=one.site,
                devices=list(one.devices),
                fingerprint=fingerprint(one.key),
                at=_told(one.at),
                state=one.state,
            )
            for one in ca.records.applications(now)
        ]
        certificates = [
            Holding(
                name=one.name,
                role=str(one.role),
                serial=f"{one.serial:x}",
                until=_told(one.until),
                revoked=None if one.revoked is None else _told(one.revoked),
            )
            for one in ca.records.issued()
        ]
    own = None
    with suppress(ConfigError):
        own = _fingerprint(settings)
    return Enrolments(
        has_authority=True, fingerprint=own, applying=applying, certificates=certificates
    )


def invite(
    settings: CollectorSettings, gate: Access, visit: Visit, wanted: Invitation
) -> InvitationMade:
    """A one-time token for an agent; Problem where there is no authority."""
    invited = Invited(wanted.site, wanted.agent, tuple(sorted(set(wanted.devices))))
    with as_problem(), _authority(settings) as ca:
        if ca is None:
            raise _no_authority()
        own, now = _fingerprint(settings), datetime.now(UTC)
        token = enrolments.new_token(ca.records, invited, own, now, wanted.minutes)
    gate.changed("agent_invited", visit, f"{wanted.agent}, {wanted.site}")
    return InvitationMade(token=token.text, fingerprint=token.fingerprint, minutes=wanted.minutes)


def decide(
    settings: CollectorSettings, gate: Access, visit: Visit, number: str, *, is_approved: bool
) -> Enrolments:
    """Approve or refuse an application; Problem where there is none that waits."""
    now = datetime.now(UTC)
    with as_problem(), _authority(settings) as ca:
        if ca is None:
            raise _no_authority()
        waiting = [one.id for one in ca.records.applications(now) if one.state == PENDING]
        if number not in waiting:
            raise Problem(
                404, "no_application", f"No application {number!r} waits.", "List them anew."
            )
        found = enrolments.pending(ca.records, number, now)
        if is_approved:
            days = (settings.enrolment or EnrolmentSettings()).days
            enrolments.approve(ca, number, now, days, partial(register, settings))
        else:
            enrolments.refuse(ca.records, number, now)
        code = "agent_approved" if is_approved else "agent_refused"
        gate.changed(code, visit, f"{found.agent}, {found.site}, {fingerprint(found.key)}")
        if is_approved:
            refresh_broker(settings, ca, now)
    return enrolments_of(settings)


def revocations_of(settings: CollectorSettings) -> Revocations:
    """The keys that are revoked; those of the collector's file without who and when."""
    with as_problem():
        told = {
            (row.revoked.key, row.revoked.origin): row
            for row in read_added(settings.state_dir).revoked
        }
        revoked = registry_now(settings).revoked
    rows = []
    for one in revoked:
        row = told.get((one.key, one.origin))
        rows.append(
            RevokedKey(
                key=encode64(one.key),
                fingerprint=fingerprint(one.key),
                origin=one.origin,
                size=one.size,
                agent=row.agent if row else None,
                time=row.time if row else None,
                reason=row.reason if row else None,
            )
        )
    return Revocations(revoked=rows)


def revoke(here: Sources, gate: Access, visit: Visit, wanted: Revoking) -> Revocations:
    """Revoke an agent's keys; Problem where there is no such agent."""
    settings, now = settings_of(here), datetime.now(UTC)
    with as_problem():
        agents = registry_now(settings).agents
        if wanted.agent not in agents:
            raise Problem(
                404, "no_agent", f"There is no agent {wanted.agent!r}.", "List the agents."
            )
        with here.store() as store:
            heads = store.heads()
        time = f"{now:%Y-%m-%dT%H:%M:%SZ}"
        withdrawn(settings.state_dir, withdrawals(agents[wanted.agent], heads, time, wanted.reason))
        gate.changed("agent_revoked", visit, f"{wanted.agent}: {wanted.reason}")
        withdraw_certificates(settings, wanted.agent, now)
    return revocations_of(settings)


@contextmanager
def _authority(settings: CollectorSettings) -> Iterator[SiteCa | None]:
    """The site's authority; None where there is none."""
    try:
        ca = SiteCa(ca_folder(settings.state_dir))
    except ConfigError:
        yield None
        return
    with ca:
        yield ca


def _no_authority() -> Problem:
    return Problem(
        409,
        "no_authority",
        "This collector has no certificate authority.",
        "Make one at its machine: joulemark collector ca init -c COLLECTOR.yaml",
    )


def _fingerprint(settings: CollectorSettings) -> str:
    own = own_certificate(own_file(settings.state_dir))
    return certificate_fingerprint(own.public_bytes(Encoding.DER))


def _told(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
