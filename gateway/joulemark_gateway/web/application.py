"""The whole application: pages, API, static files, and what every answer carries.

Read-only and without log-in, so it listens on loopback, answers to its own name only (a page
elsewhere cannot reach it by pointing its own name here) and lets nothing run or load from outside.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from importlib import resources
from ipaddress import ip_address
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from joulemark_agent.contract.errors import JoulemarkError
from joulemark_gateway.api import routes
from joulemark_gateway.api import systems as system_routes
from joulemark_gateway.api.problems import (
    JSON,
    Problem,
    content_of,
    of_validation,
    problem_of,
    title_of,
)
from joulemark_gateway.api.sources import Sources
from joulemark_gateway.software import VERSION
from joulemark_gateway.web import pages, systems

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}
STATIC: Mapping[str, str] = {
    "style.css": "text/css; charset=utf-8",
    "live.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_METHODS = {"GET", "HEAD"}
_JSON_PATHS = ("/api/", "/health", "/openapi.json")

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def application(sources: Sources) -> Guard:
    """The application over these sources, behind its guard."""
    app = FastAPI(
        title="Joulemark collector",
        version=VERSION,
        description="Read-only: energy, CO2e and the evidence behind them. Times are UTC in "
        "microseconds since 1970; units stand at the end of each name.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.sources = sources
    app.include_router(routes.router)
    app.include_router(system_routes.router)
    app.include_router(pages.router)
    app.include_router(systems.router)
    app.add_api_route("/static/{name}", _static, include_in_schema=False)
    app.add_exception_handler(Exception, _failed)
    app.add_exception_handler(JoulemarkError, _failed)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(HTTPException, _refused)
    return Guard(app)


class Guard:
    """In front of everything: reads only, its own name only, and the same headers on all."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection."""
        if scope["type"] != "http":
            return
        found = dict(scope["headers"])

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", []))
                names = {name.lower() for name, _ in given}
                given += [
                    (name.encode(), value.encode())
                    for name, value in HEADERS.items()
                    if name.encode() not in names
                ]
                message["headers"] = given
            await send(message)

        if scope["method"] == "HEAD":  # what GET says, without its body: routes know GET alone
            scope, send = {**scope, "method": "GET"}, _without_body(send)
        host = found.get(b"host", b"").decode("latin-1")
        refused = None
        if scope["method"] not in _METHODS:
            refused = Problem(
                405,
                "read_only",
                f"{scope['method']!r:.20} was received; this is read-only.",
                "Use GET.",
            )
        elif not is_own_name(host):
            refused = Problem(
                421,
                "foreign_host",
                f"The request names the host {host!r:.80}.",
                "Ask by 127.0.0.1, [::1] or localhost: the pages are shown on this machine only.",
            )
        if refused is not None:
            await _answered(refused)(scope, receive, guarded)
            return
        try:
            await self._app(scope, receive, guarded)
        except Exception:  # `_failed` has told it and answered; Starlette raises it once more
            log.debug("request_failed_again", exc_info=True)


def _without_body(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return sent


def is_own_name(host: str) -> bool:
    """Whether a Host header names this machine's loopback."""
    name = host.partition(":")[0]
    if host.startswith("["):
        name, _, port = host[1:].partition("]")
        if port and not port.startswith(":"):
            return False
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _static(name: str) -> Response:
    if name not in STATIC:
        raise Problem(404, "no_file", f"There is no file {name!r:.80}.", "Go back to the pages.")
    data = resources.files("joulemark_gateway.web").joinpath("static", name).read_bytes()
    return Response(data, media_type=STATIC[name], headers={"Cache-Control": "max-age=300"})


def _failed(request: Request, error: Exception) -> Response:
    problem = problem_of(error)
    if problem.status == 500:
        log.error("request_failed", extra={"path": request.url.path[:200]}, exc_info=error)
    return _told(request, problem)


def _not_valid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _told(request, of_validation(error.errors()))


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    what = f"{request.method} {request.url.path[:80]!r} was refused: {error.detail}."
    do = "Start at '/', or see /openapi.json for what can be asked."
    return _told(request, Problem(error.status_code, f"http_{error.status_code}", what, do))


def _told(request: Request, problem: Problem) -> Response:
    """The problem as a page or as JSON, by what was asked."""
    if request.url.path.startswith(_JSON_PATHS):
        return _answered(problem)
    words = pages.words_of(request)
    title = words.known(f"status_{problem.status}", title_of(problem.status))
    return pages.page(
        request, "problem.html", status=problem.status, problem=problem, title=title, banner=None
    )


def _answered(problem: Problem) -> Response:
    data = json.dumps(content_of(problem), ensure_ascii=False)
    return Response(data, problem.status, media_type=JSON)
