"""Pages for those who let others in: users, tokens, what was refused, and the security log."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from joulemark_gateway.access import passwords
from joulemark_gateway.access.gate import Access
from joulemark_gateway.access.roles import GIVEN, Role
from joulemark_gateway.api.admin import (
    MOST_DAYS,
    Asker,
    Before,
    Gate,
    NewToken,
    NewUser,
    TokenId,
    TokenMade,
    UserChange,
    UserName,
    add_token,
    add_user,
    change_user,
    refused_of,
    remove_user,
    revoke_token,
)
from joulemark_gateway.api.doors import needs
from joulemark_gateway.api.problems import Problem
from joulemark_gateway.api.routes import Here
from joulemark_gateway.web.forms import Form, Sent
from joulemark_gateway.web.pages import page

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

_EVENTS = 100  # of one page of the log


@router.get("/admin")
@needs(Role.ADMIN)
def get_admin(request: Request, gate: Gate) -> Response:
    """Users and tokens."""
    return _page(request, gate)


@router.get("/admin/log")
@needs(Role.ADMIN)
def get_log(request: Request, gate: Gate, before: Before = None) -> Response:
    """The security log."""
    rows = gate.events.listed(before, _EVENTS)
    older = f"?before={rows[-1].id}" if len(rows) == _EVENTS else None
    return page(request, "log.html", events=rows, older=older, banner=None)


@router.get("/refused")
@needs(Role.VERIFIER)
def get_refused(request: Request, here: Here) -> Response:
    """What was refused of agents, and why."""
    return page(request, "refused.html", rows=refused_of(here), sites=here.agents, banner=None)


@router.post("/admin/users")
@needs(Role.ADMIN)
def post_user(request: Request, gate: Gate, visit: Asker, form: Sent) -> Response:
    """Let a person log in."""
    try:
        values = {"name": form["name"], "password": form["password"], **_scope(form)}
        add_user(gate, visit, form.as_model(NewUser, values))
    except Problem as problem:
        return _page(request, gate, problem=problem)
    return _back("users")


@router.post("/admin/users/{name}/change")
@needs(Role.ADMIN)
def post_change(request: Request, gate: Gate, visit: Asker, name: UserName, form: Sent) -> Response:
    """Another role, other sites, another password."""
    try:
        values = {"password": form["password"] or None, **_scope(form)}
        change_user(gate, visit, name, form.as_model(UserChange, values))
    except Problem as problem:
        return _page(request, gate, problem=problem)
    return _back("users")


@router.post("/admin/users/{name}/remove")
@needs(Role.ADMIN)
def post_remove(request: Request, gate: Gate, visit: Asker, name: UserName) -> Response:
    """Let a person log in no more."""
    try:
        remove_user(gate, visit, name)
    except Problem as problem:
        return _page(request, gate, problem=problem)
    return _back("users")


@router.post("/admin/tokens")
@needs(Role.ADMIN)
def post_token(request: Request, gate: Gate, visit: Asker, form: Sent) -> Response:
    """Let a program ask; its token stands on the page that answers, and nowhere else."""
    try:
        values = {"name": form["name"], "days": form["days"], **_scope(form)}
        made = add_token(gate, visit, form.as_model(NewToken, values))
    except Problem as problem:
        return _page(request, gate, problem=problem)
    return _page(request, gate, made=made)


@router.post("/admin/tokens/{id}/revoke")
@needs(Role.ADMIN)
def post_revoke(request: Request, gate: Gate, visit: Asker, id: TokenId) -> Response:  # noqa: A002 - as it is called
    """Take a token back."""
    try:
        revoke_token(gate, visit, id)
    except Problem as problem:
        return _page(request, gate, problem=problem)
    return _back("tokens")


def _scope(form: Form) -> dict[str, Any]:
    """Role and sites of a form: all sites only where that is ticked, or for an admin."""
    is_all = bool(form["all_sites"]) or form["role"] == Role.ADMIN.word
    return {"role": form["role"], "sites": None if is_all else form.words("sites")}


def _back(part: str) -> Response:
    return RedirectResponse(f"/admin#h-{part}", 303)


def _page(
    request: Request,
    gate: Access,
    *,
    problem: Problem | None = None,
    made: TokenMade | None = None,
) -> Response:
    return page(
        request,
        "admin.html",
        status=200 if problem is None else problem.status,
        users=gate.users.listed(),
        tokens=gate.tokens.listed(),
        roles=GIVEN,
        now_us=gate.now_us(),
        least=passwords.LEAST_LENGTH,
        most_days=MOST_DAYS,
        problem=problem,
        made=made,
        banner=None,
    )
