"""Log in, log out, and one's own password."""

from __future__ import annotations

import math
import re
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from joulemark_gateway.access import passwords
from joulemark_gateway.access.gate import Access, Entered, Visit
from joulemark_gateway.access.roles import Role
from joulemark_gateway.api.admin import Asker, Gate, set_password
from joulemark_gateway.api.doors import needs
from joulemark_gateway.api.problems import Problem
from joulemark_gateway.web.errors import LOGIN
from joulemark_gateway.web.forms import Sent
from joulemark_gateway.web.pages import page
from joulemark_gateway.web.wire import cookie_in

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

_OWN_PATH = re.compile(r"/(?![/\\])[!-~]{0,2000}")  # of this server: not //host, nothing unseen


@router.get(LOGIN)
@needs(Role.ANYBODY)
def get_login(request: Request, visit: Asker) -> Response:
    """The form; whoever is let in already is led on."""
    where = own_path(request.query_params.get("next", "/"))
    if visit.who.kind != "nobody":
        return RedirectResponse(where, 303)
    return _login_page(request, where)


@router.post(LOGIN)
@needs(Role.ANYBODY)
def post_login(request: Request, gate: Gate, visit: Asker, form: Sent) -> Response:
    """Begin a session."""
    where = own_path(form["next"] or "/")
    if visit.who.kind == "machine":
        return RedirectResponse(where, 303)
    answer = gate.log_in(form["name"], form["password"], visit.address)
    if isinstance(answer, Entered):
        response = RedirectResponse(where, 303)
        _set_cookie(response, gate, answer.cookie)
        return response
    if answer.wait_s:
        wait_s = math.ceil(answer.wait_s)
        return _login_page(request, where, 429, "login_wait", seconds=wait_s)
    if answer.is_busy:
        return _login_page(request, where, 503, "login_busy")
    return _login_page(request, where, 401, "login_wrong")


@router.post("/logout")
@needs(Role.VIEWER)
def post_logout(request: Request, gate: Gate, visit: Asker) -> Response:
    """End the session."""
    gate.log_out(_cookie(request, gate), visit)
    response = RedirectResponse(LOGIN, 303)
    _set_cookie(response, gate, "")
    return response


@router.get("/account")
@needs(Role.VIEWER)
def get_account(request: Request, visit: Asker) -> Response:
    """Who one is here, and the form for another password."""
    return _account_page(request, visit)


@router.post("/account/password")
@needs(Role.VIEWER)
def post_password(request: Request, gate: Gate, visit: Asker, form: Sent) -> Response:
    """Another password of one's own; every session ends, and this one is begun anew."""
    if visit.who.kind != "person":
        raise Problem(403, "no_person", "Only a person has a password.", "Log in as one.")
    name = visit.who.name
    answer = gate.log_in(name, form["password"], visit.address)
    if not isinstance(answer, Entered):
        told = "login_wait" if answer.wait_s else "password_wrong"
        return _account_page(request, visit, 403, told, seconds=math.ceil(answer.wait_s))
    try:
        set_password(gate, visit, name, form["new"])
    except Problem as problem:
        return _account_page(request, visit, problem.status, problem=problem)
    again = gate.log_in(name, form["new"], visit.address)
    response = RedirectResponse("/account?changed=1", 303)
    _set_cookie(response, gate, again.cookie if isinstance(again, Entered) else "")
    return response


def own_path(text: str) -> str:
    """The address on this server to go on to; anything else becomes the first page."""
    return text if _OWN_PATH.fullmatch(text) else "/"


def _login_page(
    request: Request, where: str, status: int = 200, told: str = "", **values: Any
) -> Response:
    response = page(
        request, "login.html", status=status, next=where, notice=told, values=values, banner=None
    )
    if status == 429:
        response.headers["Retry-After"] = str(values["seconds"])
    return response


def _account_page(
    request: Request,
    visit: Visit,
    status: int = 200,
    told: str = "",
    *,
    problem: Problem | None = None,
    **values: Any,
) -> Response:
    return page(
        request,
        "account.html",
        status=status,
        who=visit.who,
        notice=told,
        values=values,
        problem=problem,
        changed=request.query_params.get("changed") == "1",
        least=passwords.LEAST_LENGTH,
        banner=None,
    )


def _cookie(request: Request, gate: Access) -> str:
    return cookie_in(request.headers.get("cookie", ""), gate.wanted.cookie)


def _set_cookie(response: Response, gate: Access, cookie: str) -> None:
    """Give the browser its session's cookie, or take it away."""
    response.set_cookie(
        gate.wanted.cookie,
        cookie,
        max_age=None if cookie else 0,
        path="/",
        secure=gate.wanted.tls is not None,
        httponly=True,
        samesite="strict",
    )
