"""What an operator does over HTTP: corrections they signed elsewhere, and asking for raw records.

A correction is signed with the operator's own key where that is kept; it never comes here.
"""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.raw import RawRequest, signed_request
from joulemark_agent.contract.signature import decode64, encode64
from joulemark_gateway.access.roles import Role, Scope
from joulemark_gateway.api.admin import Asker, Form, Gate, Name, as_problem
from joulemark_gateway.api.agents import settings_of
from joulemark_gateway.api.answers import require_readable
from joulemark_gateway.api.doors import needs
from joulemark_gateway.api.models import PROBLEMS
from joulemark_gateway.api.problems import Problem
from joulemark_gateway.api.routes import Here, Reading, SiteId, Written, span_asked
from joulemark_gateway.bookkeeping.correct import take
from joulemark_gateway.bookkeeping.start import open_log
from joulemark_gateway.evidence.corrections import Made, corrections_in, parse_correction
from joulemark_gateway.evidence.entries import parse_entry
from joulemark_gateway.evidence.ranges import batches_between, missing_in
from joulemark_gateway.ingest.requests import Asked, Requests
from joulemark_gateway.keys import witness_key

router = APIRouter(prefix="/api/v1", responses=PROBLEMS)


class Signed(Form):
    """A correction as `joulemark collector correct` would log it, with the operator's signature."""

    correction: dict[str, Any] = Field(description="what was signed, as canonical JSON")
    operator_key: str = Field(min_length=44, max_length=44)
    operator_signature: str = Field(min_length=88, max_length=88)


class CorrectionMade(BaseModel):
    """A correction in the collector's log."""

    digest: str
    position: int
    time_us: int
    correction: dict[str, Any]
    operator_key: str


class CorrectionsMade(BaseModel):
    """The corrections of a site in the order of the log; withdrawn ones stay in it."""

    corrections: list[CorrectionMade]


class Taken(BaseModel):
    """A correction that was logged, and the size of the log over it."""

    digest: str
    log_size: int


class RawWanted(Form):
    """Raw records that stay at the factory, of a device and a time."""

    device: Name
    start: Annotated[datetime, Written, Field(alias="from")]
    end: Annotated[datetime, Written, Field(alias="to")]


class RawAsked(BaseModel):
    """What was asked for; `id` is null where every record is here already."""

    id: str | None
    origin: str
    batches: int
    missing: int


class RawAnswer(BaseModel):
    """A request for raw records, and what the factory said so far."""

    id: str
    device: str
    asked_us: int
    answers: list[dict[str, Any]]


class RawAnswers(BaseModel):
    """Every request of a site."""

    requests: list[RawAnswer]


@router.get("/sites/{site}/corrections")
@needs(Role.VERIFIER, Scope.EVIDENCE)
def get_corrections(here: Here, read: Reading, site: SiteId) -> CorrectionsMade:
    """What operators stated better than devices, as it stands in the collector's log."""
    read.site(site)
    with here.evidence.log(write=False) as book:
        leaves = book.of_site(site)
    made = corrections_in(parse_entry(leaf, position) for position, leaf in leaves)
    return CorrectionsMade(corrections=[_shown(item) for item in made])


@router.post("/sites/{site}/corrections", status_code=201)
@needs(Role.OPERATOR, Scope.OPERATE)
def post_correction(
    *, here: Here, read: Reading, gate: Gate, visit: Asker, site: SiteId, signed: Signed
) -> Taken:
    """Log a correction that an operator of this collector has signed."""
    settings, now_us = settings_of(here), gate.now_us()
    read.site(site)
    with as_problem():
        correction = parse_correction(signed.correction)
        key, signature = decode64(signed.operator_key), decode64(signed.operator_signature)
        made = Made(correction, key, signature, -1, now_us)
        if correction.content()["site"] != site:
            raise Problem(
                422, "other_site", "It is of another site.", f"Send it to that of {site}."
            )
        if signed.operator_key not in settings.operators or not made.is_signed:
            raise Problem(
                422,
                "unknown_operator",
                "No operator of this collector signed these bytes.",
                "Sign the canonical JSON of 'correction' with a key of 'operators'.",
            )
        book = open_log(settings)
        try:
            head = take(book, read.store, made, now_us)
        finally:
            book.store.close()
    gate.changed("correction_logged", visit, f"{site}, {correction.digest[:16]}")
    return Taken(digest=correction.digest, log_size=head.size)


@router.get("/sites/{site}/raw-requests")
@needs(Role.VERIFIER, Scope.EVIDENCE)
def get_raw_requests(here: Here, read: Reading, site: SiteId) -> RawAnswers:
    """Which raw records were asked for, and what the factory said."""
    held = read.site(site).devices
    asked = Requests(settings_of(here).state_dir).all()
    origins = {one.head.origin for device in held.values() for one in device.epochs}
    return RawAnswers(
        requests=[
            RawAnswer(id=one.id, device=one.device, asked_us=one.asked_us, answers=one.answers)
            for one in asked
            if parse_canonical(one.payload)["request"]["origin"] in origins
        ]
    )


@router.post("/sites/{site}/raw-requests", status_code=201)
@needs(Role.OPERATOR, Scope.OPERATE)
def post_raw_request(
    *, here: Here, read: Reading, gate: Gate, visit: Asker, site: SiteId, wanted: RawWanted
) -> RawAsked:
    """Ask the factory for raw records that it keeps; the answer comes with its next batch."""
    settings = settings_of(here)
    span_us = span_asked(read, site, wanted.device, wanted.start, wanted.end)
    device = read.device(site, wanted.device)
    require_readable(device, span_us)
    head = device.head
    batches = batches_between(read.store, head.origin, *span_us)
    missing = missing_in(read.store, head.origin, batches)
    number = secrets.token_hex(16) if missing else None
    if number is not None:
        request = RawRequest(
            id=number,
            origin=head.origin,
            first_seq=batches[0].first_seq,
            last_seq=batches[-1].size - 1,
            from_us=span_us[0],
            to_us=span_us[1],
            asked_us=gate.now_us(),
            by=settings.name,
        )
        payload = signed_request(request, witness_key(settings.state_dir).private)
        asked = Asked(head.grant["agent"], head.grant["dev"], payload)
        Requests(settings.state_dir).put(asked)
        gate.changed("raw_asked", visit, f"{head.origin}, {number}")
    return RawAsked(id=number, origin=head.origin, batches=len(batches), missing=missing)


def _shown(made: Made) -> CorrectionMade:
    return CorrectionMade(
        digest=made.correction.digest,
        position=made.position,
        time_us=made.time_us,
        correction=made.correction.content(),
        operator_key=encode64(made.operator_key),
    )
