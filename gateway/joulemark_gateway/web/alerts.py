"""The pages of alerts: what is open, one alert with its log, and taking note of it."""

from __future__ import annotations

from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from joulemark_gateway.access.roles import Role
from joulemark_gateway.api import alerts as api
from joulemark_gateway.api.admin import Asker, Gate
from joulemark_gateway.api.doors import needs
from joulemark_gateway.api.problems import Problem
from joulemark_gateway.api.routes import Here
from joulemark_gateway.api.sources import Sources
from joulemark_gateway.web.forms import Sent
from joulemark_gateway.web.pages import page

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

_UTC = ZoneInfo("UTC")
_STATES = ("open", "raised", "acknowledged", "resolved", "all")


@router.get("/alerts")
@needs(Role.VIEWER)
def get_alerts(
    *,
    request: Request,
    here: Here,
    state: api.StateFilter = "open",
    site: api.SiteFilter = None,
    subject: api.SubjectFilter = None,
    before: api.Before = None,
) -> Response:
    """What is open, newest first."""
    found = api.alerts(here, state=state, site=site, subject=subject, before=before)
    kept = {"site": site, "subject": subject}
    asked = {name: value for name, value in kept.items() if value}
    return page(
        request,
        "alerts.html",
        found=found,
        state=state,
        states={name: f"?{urlencode({**asked, 'state': name})}" for name in _STATES},
        older=f"?{urlencode({**asked, 'state': state, 'before': found.next_before})}",
        subject=subject,
        zone=_UTC,
        now_us=here.now_us(),
        OPERATOR=Role.OPERATOR,
        banner=None,
    )


@router.get("/alerts/{number}")
@needs(Role.VIEWER)
def get_alert(
    request: Request, here: Here, number: api.AlertNumber, link: api.Link = None
) -> Response:
    """One alert, its log, and the form that takes note of it."""
    return _shown(request, here, number, link)


@router.post("/alerts/{number}/acknowledge")
@needs(Role.OPERATOR)
def post_acknowledgement(
    *, request: Request, here: Here, gate: Gate, visit: Asker, number: api.AlertNumber, form: Sent
) -> Response:
    """Take note of it."""
    try:
        values = {"note": form["note"], "link": form["link"] or None}
        sent = form.as_model(api.Acknowledgement, values)
        api.acknowledge(here, gate, visit, number, sent)
    except Problem as problem:
        if problem.status == 404:
            raise
        return _shown(request, here, number, None, problem)
    return RedirectResponse(f"/alerts/{number}", 303)


def _shown(
    request: Request,
    here: Sources,
    number: int,
    link: str | None,
    problem: Problem | None = None,
) -> Response:
    return page(
        request,
        "alert.html",
        status=200 if problem is None else problem.status,
        alert=api.alert(here, number),
        link=link,
        problem=problem,
        zone=_UTC,
        OPERATOR=Role.OPERATOR,
        banner=None,
    )
