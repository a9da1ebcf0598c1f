"""Errors as an answer: what was received, what is wanted, what to do next (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from joulemark_agent.contract.errors import EvidenceError, JoulemarkError, MeasureError, StoreError

JSON = "application/problem+json"
_TITLES = {
    400: "The request cannot be read",
    401: "Log in first",
    403: "Your role does not allow this",
    404: "There is no such thing here",
    405: "This cannot be done here",
    406: "It cannot be given in that form",
    408: "The request came too slowly",
    409: "This does not fit what is held",
    413: "The request is too large",
    415: "The request is of another kind",
    416: "It has no such part",
    421: "This is another host's address",
    422: "The request asks for what cannot be given",
    429: "Too many requests",
    500: "The collector failed",
    503: "Not available now",
}


class Problem(JoulemarkError):  # noqa: N818 - the word of RFC 9457
    """A request that is refused; `status` is that of the answer, `headers` stand on it besides."""

    def __init__(
        self,
        status: int,
        code: str,
        what: str,
        do: str,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(what, do, code=code)
        self.status, self.headers = status, headers or {}


def problem_of(error: Exception) -> Problem:
    """Any error as a problem; one of ours that is none of the request's fault keeps its words."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, StoreError):
        return Problem(503, error.code, error.what, error.do)
    if isinstance(error, EvidenceError | MeasureError):  # what is held does not give this
        return Problem(409, error.code, error.what, error.do)
    if isinstance(error, JoulemarkError):
        return Problem(500, error.code, error.what, error.do)
    return Problem(
        500, "internal", "The collector failed at this request.", "Look at the collector's log."
    )


def content_of(problem: Problem) -> dict[str, Any]:
    """The problem as JSON."""
    return {
        "type": "about:blank",
        "title": title_of(problem.status),
        "status": problem.status,
        "code": problem.code,
        "detail": problem.what,
        "do": problem.do,
    }


def title_of(status: int) -> str:
    """What an answer of this status says first."""
    return _TITLES.get(status, "The request was refused")


def of_validation(errors: Sequence[Mapping[str, Any]]) -> Problem:
    """The mistakes in a request's parameters as one problem; of a body nothing is repeated."""
    told = []
    for item in errors[:8]:
        place, *names = item.get("loc", ("",))
        name = ".".join(str(part)[:60] for part in names) or "the request"
        is_shown = item.get("type") != "missing" and place != "body"  # it may hold a password
        received = f", received {item.get('input')!r:.60}" if is_shown else ""
        told.append(f"{name}: {item.get('msg', 'not accepted')}{received}")
    return Problem(
        422,
        "bad_parameter",
        f"{'; '.join(told)}.",
        "Correct these parameters; /openapi.json lists what each may be.",
    )


def unknown(kind: str, name: str) -> Problem:
    """The problem that there is no such site, device, point or project."""
    return Problem(
        404,
        f"no_{kind}",
        f"There is no {kind} {name!r:.80}.",
        f"Look at the list of {kind}s for what there is.",
    )
