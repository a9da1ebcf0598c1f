"""Which role and scope each address needs. What declares no role is shut: 403, whoever asks.

What declares no scope is shut to every token that is limited to some.

The table is made from the routes themselves, and the guard in front looks it up before any of
their code runs; `only_admitted` sees to it that what then runs is what was looked up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.routing import iter_route_contexts

from joulemark_gateway.access.gate import Visit
from joulemark_gateway.access.roles import Role, Scope
from joulemark_gateway.api.problems import Problem

_DECLARED, _SCOPE = "joulemark_needs", "joulemark_scope"
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def needs(role: Role, scope: Scope | None = None) -> Callable[[Endpoint], Endpoint]:
    """Declare what an address needs; stands under the route's own decorator.

    Args:
        role: of whoever asks.
        scope: of a token that is limited to some; None: no such token is let in.
    """

    def declared(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _DECLARED, role)
        setattr(endpoint, _SCOPE, scope)
        return endpoint

    return declared


def needed(endpoint: Any) -> Role | None:
    """The role an endpoint declares; None where it declares none."""
    role: Role | None = getattr(endpoint, _DECLARED, None)
    return role


@dataclass(frozen=True)
class Door:
    """One address: its pattern, its methods, what runs, and the role and scope it needs."""

    path: str
    pattern: re.Pattern[str]
    methods: frozenset[str]
    endpoint: Any

    @property
    def needs(self) -> Role | None:
        """None: shut."""
        return needed(self.endpoint)

    @property
    def scope(self) -> Scope | None:
        """None: only for those who are not limited to some."""
        found: Scope | None = getattr(self.endpoint, _SCOPE, None)
        return found


@dataclass(frozen=True)
class Found:
    """The door of a request, and what its path names."""

    door: Door
    named: Mapping[str, str]


def doors_of(app: FastAPI) -> list[Door]:
    """Every address of the application, in the order in which it looks."""
    found = []
    for route in iter_route_contexts(app.routes):
        assert route.path is not None  # no route of ours is without
        methods = frozenset(route.methods or ()) - {"HEAD"}
        found.append(Door(route.path, route.path_regex, methods, route.endpoint))
    return found


def door_of(doors: Sequence[Door], method: str, path: str) -> Found | frozenset[str]:
    """The door of a request; where there is none, the methods that the path has. Empty: none."""
    methods: set[str] = set()
    for door in doors:
        match = door.pattern.match(path)
        if match and method in door.methods:
            return Found(door, match.groupdict())
        if match:
            methods |= door.methods
    return frozenset(methods)


def only_admitted(request: Request) -> None:
    """Refuse to run what the guard did not look up.

    Raises:
        Problem: it is another.
    """
    if request.scope["state"].get("admitted") is not request.scope["route"].endpoint:
        raise shut(request.method, request.url.path)


def visit_of(request: Request) -> Visit:
    """Who asks, as the guard found."""
    found: Visit = request.scope["state"]["visit"]
    return found


def shut(method: str, path: str) -> Problem:
    """The refusal of an address that declares no role."""
    return Problem(
        403,
        "no_role_declared",
        f"{method} {path[:80]!r} says nothing of who may ask.",
        "Nobody may until it does; tell the makers of this version.",
    )


def unreached(scope: Scope | None, visit: Visit, method: str, path: str) -> Problem:
    """The refusal of a token that is limited to something else."""
    wanted = "is not for limited tokens" if scope is None else f"takes the scope {scope.value!r}"
    given = ", ".join(sorted(visit.who.scopes or ()))
    return Problem(
        403,
        "scope_too_small",
        f"{method} {path[:80]!r} {wanted}; this token is limited to {given}.",
        "Ask an admin for a token that has the scope; see 'x-joulemark-scope' in /openapi.json.",
    )
