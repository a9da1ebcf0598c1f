"""Every refusal and failure as an answer: a page for people, problem+json for programs."""

from __future__ import annotations

import json
import logging
from urllib.parse import urlencode

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse, Response
from starlette.exceptions import HTTPException

from joulemark_agent.contract.errors import JoulemarkError
from joulemark_gateway.api.problems import (
    JSON,
    Problem,
    content_of,
    of_validation,
    problem_of,
    title_of,
)
from joulemark_gateway.web import pages

_JSON_PATHS = ("/api/", "/health", "/metrics", "/openapi.json", "/static/")
LOGIN = "/login"

log = logging.getLogger(__name__)


def add_handlers(app: FastAPI) -> None:
    """Let the application answer every error in its one form."""
    app.add_exception_handler(Exception, _failed)
    app.add_exception_handler(JoulemarkError, _failed)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(HTTPException, _refused)


def told(request: Request, problem: Problem) -> Response:
    """The problem as a page or as JSON, by what was asked; who has to log in is led there."""
    if request.url.path.startswith(_JSON_PATHS):
        return _answered(problem)
    if problem.status == 401 and request.method == "GET":
        here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        where = LOGIN if here == "/" else f"{LOGIN}?{urlencode({'next': here})}"
        return RedirectResponse(where, 303)
    words = pages.words_of(request)
    title = words.known(f"status_{problem.status}", title_of(problem.status))
    page = pages.page(
        request, "problem.html", status=problem.status, problem=problem, title=title, banner=None
    )
    page.headers.update(problem.headers)
    return page


def _answered(problem: Problem) -> Response:
    data = json.dumps(content_of(problem), ensure_ascii=False).encode("utf-8", "backslashreplace")
    return Response(data, problem.status, headers=dict(problem.headers), media_type=JSON)


def _failed(request: Request, error: Exception) -> Response:
    problem = problem_of(error)
    if problem.status == 500:
        log.error("request_failed", extra={"path": request.url.path[:200]}, exc_info=error)
    return told(request, problem)


def _not_valid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return told(request, of_validation(error.errors()))


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    what = f"{request.method} {request.url.path[:80]!r} was refused: {error.detail}."
    do = "Start at '/', or see /openapi.json for what can be asked."
    return told(request, Problem(error.status_code, f"http_{error.status_code}", what, do))
