"""The page on which an admin lets agents in, and takes back what they were given."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from joulemark_gateway.access.roles import Role
from joulemark_gateway.api.admin import Asker, Gate
from joulemark_gateway.api.agents import (
    ApplicationId,
    Invitation,
    InvitationMade,
    Revoking,
    decide,
    enrolments_of,
    invite,
    revocations_of,
    revoke,
    settings_of,
)
from joulemark_gateway.api.doors import needs
from joulemark_gateway.api.problems import Problem
from joulemark_gateway.api.routes import Here
from joulemark_gateway.api.sources import Sources
from joulemark_gateway.web.forms import Sent
from joulemark_gateway.web.pages import page

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

_HERE = "/admin/agents"


@router.get(_HERE)
@needs(Role.ADMIN)
def get_agents(request: Request, here: Here) -> Response:
    """Who applies, who holds a certificate, whose keys are revoked."""
    return _page(request, here)


@router.post(f"{_HERE}/invite")
@needs(Role.ADMIN)
def post_invitation(request: Request, here: Here, gate: Gate, visit: Asker, form: Sent) -> Response:
    """A one-time token; it stands on the page that answers, and nowhere else."""
    try:
        values = {
            "agent": form["agent"],
            "site": form["site"],
            "devices": form.words("devices"),
            "minutes": form["minutes"],
        }
        made = invite(settings_of(here), gate, visit, form.as_model(Invitation, values))
    except Problem as problem:
        return _page(request, here, problem=problem)
    return _page(request, here, made=made)


@router.post(f"{_HERE}/{{id}}/approve")
@needs(Role.ADMIN)
def post_approval(
    request: Request,
    here: Here,
    gate: Gate,
    visit: Asker,
    id: ApplicationId,  # noqa: A002
) -> Response:
    """Give the applicant its certificate."""
    return _decided(request, here, gate, visit, id, is_approved=True)


@router.post(f"{_HERE}/{{id}}/refuse")
@needs(Role.ADMIN)
def post_refusal(
    request: Request,
    here: Here,
    gate: Gate,
    visit: Asker,
    id: ApplicationId,  # noqa: A002
) -> Response:
    """Send the applicant away."""
    return _decided(request, here, gate, visit, id, is_approved=False)


@router.post(f"{_HERE}/revoke")
@needs(Role.ADMIN)
def post_revocation(request: Request, here: Here, gate: Gate, visit: Asker, form: Sent) -> Response:
    """Trust an agent's keys no longer than up to what is held now."""
    try:
        values = {"agent": form["agent"], "reason": form["reason"]}
        revoke(here, gate, visit, form.as_model(Revoking, values))
    except Problem as problem:
        return _page(request, here, problem=problem)
    return RedirectResponse(f"{_HERE}#h-revoked", 303)


def _decided(
    request: Request, here: Sources, gate: Gate, visit: Asker, number: str, *, is_approved: bool
) -> Response:
    try:
        decide(settings_of(here), gate, visit, number, is_approved=is_approved)
    except Problem as problem:
        return _page(request, here, problem=problem)
    return RedirectResponse(_HERE, 303)


def _page(
    request: Request,
    here: Sources,
    *,
    problem: Problem | None = None,
    made: InvitationMade | None = None,
) -> Response:
    settings = settings_of(here)
    return page(
        request,
        "agents.html",
        status=200 if problem is None else problem.status,
        agents=sorted(here.agents.items()),
        found=enrolments_of(settings),
        revoked=revocations_of(settings).revoked,
        problem=problem,
        made=made,
        banner=None,
    )
