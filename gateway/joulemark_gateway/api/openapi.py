"""The description of the API: each address with its role and scope, and every refusal."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from joulemark_gateway.access.roles import Role
from joulemark_gateway.access.settings import PagesSettings
from joulemark_gateway.api.doors import Door, doors_of
from joulemark_gateway.api.models import ProblemAnswer
from joulemark_gateway.api.problems import JSON, Problem, content_of, title_of

_ALWAYS = (400, 408, 413, 421, 429, 500, 503)
_TOKEN, _SESSION = "token", "session"
_CSRF = {
    "name": "x-csrf-token",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "with a session's cookie only: as it stands in the forms of its pages",
}


@lru_cache(maxsize=4)
def described(app: FastAPI, wanted: PagesSettings) -> dict[str, Any]:
    """The OpenAPI document of the application."""
    made = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    parts = made.setdefault("components", {})
    schemas = parts.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas[ProblemAnswer.__name__] = ProblemAnswer.model_json_schema()
    if wanted.login:
        parts["securitySchemes"] = {
            _TOKEN: {"type": "http", "scheme": "bearer", "description": "of a program; see tokens"},
            _SESSION: {"type": "apiKey", "in": "cookie", "name": wanted.cookie},
        }
    for door in doors_of(app):
        for method in door.methods:
            operation = made["paths"].get(door.path, {}).get(method.lower())
            if operation is not None:
                _complete(operation, door, method, has_login=wanted.login)
    return made


def _complete(operation: dict[str, Any], door: Door, method: str, *, has_login: bool) -> None:
    """Say of one operation what the guard does before it."""
    role = Role.ADMIN if door.needs is None else door.needs
    operation["x-joulemark-role"] = role.word
    operation["x-joulemark-scope"] = None if door.scope is None else door.scope.value
    statuses = [int(status) for status in operation["responses"] if status.isdecimal()]
    refusals = {*_ALWAYS, *(status for status in statuses if status >= 400)}
    if role > Role.ANYBODY:
        refusals |= {401, 403} if has_login else {403}
        operation["security"] = [{_TOKEN: []}, {_SESSION: []}] if has_login else []
    _give_examples(operation, f"{method} {door.path}")
    if method != "GET":
        operation.setdefault("parameters", []).append(_CSRF)
    shape = {"$ref": f"#/components/schemas/{ProblemAnswer.__name__}"}
    for status in sorted(refusals):
        operation["responses"][str(status)] = {
            "description": title_of(status),
            "content": {JSON: {"schema": shape, "example": _refusal(status)}},
        }


def _give_examples(operation: dict[str, Any], name: str) -> None:
    """An answer as a collector gave it, and what was sent for it."""
    given = dict(_read("examples.json").get(name, {}))
    if "sent" in given:
        operation["requestBody"]["content"]["application/json"]["example"] = given.pop("sent")
    for status in ("200", "201"):
        media = operation["responses"].get(status, {}).get("content", {})
        for kind in media.keys() & given.keys():
            media[kind]["example"] = given[kind]


@lru_cache(maxsize=2)
def _read(name: str) -> dict[str, dict[str, Any]]:
    """A file beside this one; `examples.json` is made by docs/scripts/make_api_examples.py."""
    text = resources.files(__package__).joinpath(name).read_text("utf-8")
    found: dict[str, dict[str, Any]] = json.loads(text)
    return found


def _refusal(status: int) -> dict[str, Any]:
    """A refusal of this status, as one looks."""
    told = _read("refusals.json")[str(status)]
    return content_of(Problem(status, told["code"], told["detail"], told["do"]))
