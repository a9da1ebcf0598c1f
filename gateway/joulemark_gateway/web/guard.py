"""Stands before every address: own names only, not too much at once, and each by its role.

What is refused here reaches no code of any page. The order: name of the host, how often, the
address, the role, the site, and for what changes something the size, the time and the origin.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address

from fastapi import FastAPI, Request
from fastapi.responses import Response

from joulemark_gateway.access.gate import Access, Visit
from joulemark_gateway.access.roles import NOBODY, Role
from joulemark_gateway.access.settings import PagesSettings
from joulemark_gateway.access.throttle import Buckets, network_of
from joulemark_gateway.api.doors import Found, door_of, doors_of, shut, unreached
from joulemark_gateway.api.problems import Problem, problem_of, unknown
from joulemark_gateway.web.errors import LOGIN, told
from joulemark_gateway.web.wire import (
    FORM,
    MOST_BODY,
    Receive,
    Scope,
    Send,
    cookie_in,
    field_of,
    int_or,
    read_again,
    too_large,
    whole_body,
    with_headers,
    without_body,
)

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}
CSRF_HEADER, CSRF_FIELD = "x-csrf-token", "csrf"
_READS = {"GET"}

log = logging.getLogger(__name__)


class Guard:
    """In front of the application; everything goes through it."""

    def __init__(self, app: FastAPI, access: Access) -> None:
        self._app, self._access, self._wanted = app, access, access.wanted
        self._doors = doors_of(app)
        limits = access.wanted.limits
        self._buckets = Buckets(limits.requests_per_s, limits.burst)
        self._together: Counter[str] = Counter()
        self._most_together = limits.together
        self._thread = ThreadPoolExecutor(2, thread_name_prefix="gate")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        scope = {**scope, "app": self._app, "state": {"visit": None}}
        given = {**HEADERS, **self._secure()}
        send = with_headers(send, given)
        if scope["method"] == "HEAD":  # what GET says, without its body: routes know GET alone
            scope, send = {**scope, "method": "GET"}, without_body(send)
            scope["state"]["is_head"] = True
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        key = ""
        try:
            visit = await self._visit(scope, headers)
            key = _key(visit)
            self._together[key] += 1
            try:
                receive = await self._admitted(scope, headers, visit, key, receive)
            finally:
                given.update(self._buckets.told(key, time.monotonic()))
        except Problem as problem:
            await told(Request(scope), problem)(scope, receive, send)
        except _Answered as answered:
            await answered.response(scope, receive, send)
        else:
            try:
                await self._app(scope, receive, send)
            except Exception:  # the handler has told it and answered; Starlette raises it once more
                log.debug("request_failed_again", exc_info=True)
        finally:
            self._together[key] -= 1
            if not self._together[key]:
                del self._together[key]

    def _secure(self) -> Mapping[str, str]:
        if self._wanted.tls is None:
            return {}
        return {"strict-transport-security": "max-age=31536000"}

    async def _visit(self, scope: Scope, headers: Mapping[str, str]) -> Visit:
        """Who asks."""
        address = (scope.get("client") or ("",))[0]
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind and kind.lower() != "bearer":
            token = kind  # of a kind that is not known here: none of ours
        cookie = cookie_in(headers.get("cookie", ""), self._wanted.cookie)
        used = headers.get("sec-fetch-dest") != "empty"  # a page that refreshes itself is no use
        try:
            visit = await asyncio.get_running_loop().run_in_executor(
                self._thread,
                lambda: self._access.visit(cookie, token.strip(), address, used=used),
            )
        except Exception as error:
            scope["state"]["visit"] = Visit(NOBODY, address)
            raise problem_of(error) from error
        scope["state"]["visit"] = visit
        return visit

    async def _admitted(
        self, scope: Scope, headers: Mapping[str, str], visit: Visit, key: str, receive: Receive
    ) -> Receive:
        """Where the application reads the request's body; Problem where it is not let through."""
        host = headers.get("host", "")
        if not is_own_name(host, self._wanted):
            self._note("foreign_host", visit, host[:80])
            raise Problem(
                421,
                "foreign_host",
                f"The request names the host {host!r:.80}.",
                "Ask by the address the pages listen on, or add the name to pages.names in the "
                "collector's file.",
            )
        wait_s = self._buckets.taken(key, time.monotonic())
        if wait_s or self._together[key] > self._most_together:
            self._note("too_many_requests", visit, "")
            raise Problem(
                429,
                "too_many_requests",
                "More was asked than one may ask of this collector at a time.",
                f"Ask again in {math.ceil(max(wait_s, 1))} s, and not so often.",
                headers={"Retry-After": str(math.ceil(max(wait_s, 1)))},
            )
        method, path = scope["method"], scope["path"]
        found = door_of(self._doors, method, path)
        if not isinstance(found, Found):
            raise _no_door(method, path, found)
        self._require_role(found, visit, method, path)
        if method not in _READS:
            body = await whole_body(headers, receive)
            self._require_own_page(scope["scheme"], headers, visit, body)
            receive = read_again(body, receive)
        elif int_or(headers.get("content-length", "0")) > MOST_BODY:
            raise too_large()
        scope["state"]["admitted"] = found.door.endpoint
        return receive

    def _require_role(self, found: Found, visit: Visit, method: str, path: str) -> None:
        wanted = found.door.needs
        if wanted is None:
            self._note("no_role_declared", visit, f"{method} {path[:80]}")
            raise shut(method, path)
        if visit.is_token_bad and wanted is not Role.ANYBODY:
            self._note("bad_token", visit, f"{method} {path[:80]}")
            raise Problem(
                401,
                "bad_token",
                "The token is none, is over, or was revoked.",
                "Ask an admin for another; 'joulemark collector token add' makes one.",
                headers={"WWW-Authenticate": 'Bearer realm="joulemark", error="invalid_token"'},
            )
        if not visit.who.may(wanted):
            if visit.who.kind == "nobody":
                raise Problem(
                    401,
                    "not_logged_in",
                    f"{method} {path[:80]!r} is for those who have the role {wanted.word!r}.",
                    f"Log in at {LOGIN}, or send a token as 'Authorization: Bearer ...'.",
                    headers={"WWW-Authenticate": 'Bearer realm="joulemark"'},
                )
            self._note("role_too_small", visit, f"{method} {path[:80]}")
            raise Problem(
                403,
                "role_too_small",
                f"{method} {path[:80]!r} takes the role {wanted.word!r}; this is "
                f"{visit.who.role.word!r}.",
                "Ask an admin for the role, or somebody who has it."
                if self._wanted.login
                else "Without log-in nothing can be changed: remove 'login: false' from 'pages' in "
                "the collector's file, and add a user.",
            )
        if wanted is not Role.ANYBODY and not visit.who.reaches(found.door.scope):
            self._note("scope_too_small", visit, f"{method} {path[:80]}")
            raise unreached(found.door.scope, visit, method, path)
        site = found.named.get("site")
        if site is not None and not visit.who.sees(site):
            self._note("foreign_site", visit, f"{method} {path[:80]}")
            raise unknown("site", site)

    def _require_own_page(
        self, scheme: str, headers: Mapping[str, str], visit: Visit, body: bytes
    ) -> None:
        """Refuse what another page made this browser send."""
        origin = headers.get("origin")
        is_foreign = origin is not None and origin != f"{scheme}://{headers.get('host')}"
        is_foreign = is_foreign or headers.get("sec-fetch-site") in {"cross-site", "same-site"}
        shown = headers.get(CSRF_HEADER, "")
        if not shown and headers.get("content-type", "").partition(";")[0].strip() == FORM:
            shown = field_of(body, CSRF_FIELD)
        is_shown = secrets.compare_digest(shown.encode(), visit.csrf.encode())
        if is_foreign or (visit.csrf and not is_shown):
            self._note("foreign_page", visit, (origin or "")[:80])
            raise Problem(
                403,
                "foreign_page",
                "This change was not asked for by a page of this collector in this session.",
                f"Open the page again and repeat it; a program sends a token, or {CSRF_HEADER!r}.",
            )

    def _note(self, code: str, visit: Visit, what: str) -> None:
        """Tell the security log, without waiting for its disk."""
        self._thread.submit(self._access.refused, code, visit, what)


class _Answered(Exception):  # noqa: N818 - no error: the answer to OPTIONS
    def __init__(self, response: Response) -> None:
        self.response = response


def is_own_name(host: str, wanted: PagesSettings) -> bool:
    """Whether a Host header names this collector: a name that somebody pointed here is none.

    An address by number is always its own: a page elsewhere reaches it only by a name.
    """
    name = host.partition(":")[0]
    if host.startswith("["):
        name, _, port = host[1:].partition("]")
        if port and not port.startswith(":"):
            return False
    if name.lower() in wanted.names:
        return True
    if name == "localhost":
        return wanted.is_loopback
    try:
        address = ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or not wanted.is_loopback


def _key(visit: Visit) -> str:
    """Whose requests are counted together."""
    if visit.who.kind in {"person", "program"}:
        return f"{visit.who.kind} {visit.who.name}"
    return f"address {network_of(visit.address)}"


def _no_door(method: str, path: str, methods: frozenset[str]) -> Exception:
    """What is said where no address fits."""
    allowed = ", ".join(sorted({*methods, "OPTIONS", *(["HEAD"] if "GET" in methods else [])}))
    if not methods:
        return Problem(
            404,
            "no_address",
            f"There is no address {path!r:.80}.",
            "Start at '/', or see /openapi.json for what can be asked.",
        )
    if method == "OPTIONS":
        return _Answered(Response(status_code=204, headers={"Allow": allowed}))
    return Problem(
        405,
        "bad_method",
        f"{method!r:.20} was received.",
        f"Use one of: {allowed}.",
        headers={"Allow": allowed},
    )
