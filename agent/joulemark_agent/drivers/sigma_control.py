"""Kaeser Sigma Control 2 over the questions of its own web pages: reading only, behind a login.

A user has one session at a time, and a second login within it makes the controller refuse the user
for a while. So a session is kept as long as it lives, nobody logs in twice within a minute, and
after a refusal nothing is sent until a rest is over, which grows: a wrong password is sent twice in
a day, so that no user is locked out by us.
Three questions are all this file can form: what the controller is, its lamps, and objects by their
numbers; besides them login and the end of our own session. The password never leaves: the answer
to the controller's challenge is a hash.
Source: P3D-Creations/hacs-kaeser-sc2@1317ee6 custom_components/kaeser_sc2/api.py, const.py (login,
questions, "logged out"); Brown-Industries/kaeser-sc2-api@9a3eccd docs/architecture.md,
docs/reference-data.md, README.md@1baab08 (session limit -1, 60 s of rest, one login to a user).
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from time import monotonic
from urllib.parse import urlsplit

from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.contract.profile import CONTROLLER, LAMPS, LED, OBJECT
from joulemark_agent.contract.reading import Response
from joulemark_agent.drivers.base import Request
from joulemark_agent.exchange import BAD_REPLY
from joulemark_agent.http import CONTENT_TYPE, TOO_LARGE, Answer, Fields, Http
from joulemark_agent.http_login import Login
from joulemark_agent.http_trust import Trust
from joulemark_agent.identity import WRONG_DEVICE
from joulemark_agent.kernels.answers import members, parse_json

SCHEMES = ("sigma-control-http", "sigma-control-https")
DEFAULT_PORT = 80
PORTS = {"sigma-control-https": 443}
HAS_PATH = False
IDLE_S = 86_400.0  # a session is worth more than a connection: that is opened again when needed

# Method, target and body: all that ever leaves, with the objects' numbers for %b.
LOGIN = ("GET", "/login.html", b"")
INFO = ("POST", "/json.json", b'{"0":1,"1":7}')
LIGHTS = ("POST", "/json.json", b'{"0":1,"1":4}')
OBJECTS = ("POST", "/json.json", b'{"0":1,"1":2,"2":{"0":[%b]}}')
LOGOUT = ("POST", "/json.json", b'{"0":8,"1":1}')  # of our own session
SHORTEST_BETWEEN_LOGINS_S = 60.0
LIMIT_REST_S, LONGEST_REST_S = 60.0, 14_400.0  # doubled each time, to the longest
REFUSAL_RESTS_S = 900.0, 86_400.0  # a third wrong password within a day may lock the user out
MAX_OBJECTS = 100  # in one question
MAX_ELEMENT = 2048  # bytes of one object's answer

NO_LOGIN, LOGIN_REFUSED = "no_login", "login_refused"
SESSION_LIMIT, LOGIN_COOLDOWN, SESSION_EXPIRED = (
    "session_limit",
    "login_cooldown",
    "session_expired",
)
_UNAUTHORISED = "http_401"
_REFUSALS = (_UNAUTHORISED, "http_403")  # of a login
_SUCCESS, _LOGGED_OUT = "0", {"5", "", "Incorrect JSON format received."}
_COOKIE = re.compile(r"(Session-Id|Session-Key)=([A-Za-z0-9+/=_.-]{1,128})(?:;|$)")
_LANGUAGE = "Language=en_US"  # of numbers: a point before the fraction
_CLOSE_S = 1.0  # a controller that is told of our leaving may take so long


async def connect(
    url: str, *, timeout_s: float, security: Login | None = None, trust: Trust | None = None
) -> SigmaControl:
    """An open connection to `sigma-control-http[s]://HOST[:PORT]`; the login waits for a question.

    Raises:
        DeviceError: there is none to be had, or nobody to log in.
    """
    scheme = urlsplit(url).scheme
    known = (trust or Trust()) if scheme in PORTS else None
    http = Http(url, PORTS.get(scheme, DEFAULT_PORT), timeout_s=timeout_s, trust=known)
    if security is None:
        raise DeviceError(
            f"{http.peer} has no 'login' in the site file.",
            "Write 'login: {user: NAME, password_variable: JOULEMARK_NAME}' for the device.",
            code=NO_LOGIN,
        )
    await http.open()
    return SigmaControl(http, security, timeout_s=timeout_s)


@dataclass(frozen=True)
class _Session:
    id: str
    key: str
    auth: str  # the answer to the key


@dataclass
class _Rest:
    """When a login may be tried again, and what the last one ended with."""

    until_s: float = float("-inf")
    why: str = ""
    refusals: int = 0  # in a row

    def refused(self, error: DeviceError, *, is_password: bool) -> DeviceError:
        rest_s = min(LIMIT_REST_S * 2**self.refusals, LONGEST_REST_S)
        if is_password:
            rest_s = REFUSAL_RESTS_S[min(self.refusals, 1)]
        self.until_s, self.why = monotonic() + rest_s, error.what
        self.refusals = min(self.refusals + 1, 16)
        return error


class _ExpiredError(Exception):
    """The controller knows the session no more."""


class SigmaControl:
    """A client of one controller."""

    def __init__(self, http: Http, login: Login, *, timeout_s: float) -> None:
        self._http, self._login, self._timeout_s = http, login, timeout_s
        self._session: _Session | None = None
        self._rest = _Rest()
        self._is_closed = False

    @property
    def is_open(self) -> bool:
        """Whether it may be asked; the session outlives a lost connection."""
        return not self._is_closed

    async def read(
        self, unit: int, requests: Sequence[Request], *, timeout_s: float | None = None
    ) -> tuple[Response, ...]:
        """One response per request: the element as it stood in the answer, empty if it was not.

        Raises:
            DeviceError: as `Http.ask` does; `bad_reply`, `content_type`, `too_large`, `answer_N`
                (the controller says no); `wrong_device`; of logging in `no_login`,
                `login_refused`, `session_limit`, then `login_cooldown` without asking;
                `session_expired`.
        """
        del unit  # one controller to an address
        wait_s = self._timeout_s if timeout_s is None else timeout_s
        for _ in range(2):
            session = self._session or await self._log_in(wait_s)
            try:
                return await self._read(session, requests, wait_s)
            except _ExpiredError:
                self._session = None
        raise DeviceError(
            f"{self._http.peer} ended a session at once.",
            "Check that nothing else logs in as this user: each needs one of its own.",
            code=SESSION_EXPIRED,
        )

    async def close(self) -> None:
        """End the session and give the connection back."""
        self._is_closed = True
        session, self._session = self._session, None
        if session is not None:  # also over a new connection: else the next login is refused
            with suppress(DeviceError, _ExpiredError, TimeoutError):
                async with asyncio.timeout(_CLOSE_S):
                    await self._ask(session, *LOGOUT, _CLOSE_S)
        await self._http.close()

    async def _read(
        self, session: _Session, requests: Sequence[Request], timeout_s: float
    ) -> tuple[Response, ...]:
        ask = partial(self._ask, session)
        found: dict[tuple[str, int], bytes] = {}
        asked = [request for request in requests if request.table == CONTROLLER]
        if asked:
            said = await ask(*INFO, timeout_s)
            for request in asked:
                self._check_model(request.node, said)
                found[CONTROLLER, request.address] = self._of_limited_size(said)
        if any(request.table == LED for request in requests):
            lamps = self._members(await ask(*LIGHTS, timeout_s))
            found |= {(LED, i): lamps[name] for i, name in enumerate(LAMPS) if name in lamps}
        numbers = [request.address for request in requests if request.table == OBJECT]
        method, target, form = OBJECTS
        for at in range(0, len(numbers), MAX_OBJECTS):
            listed = b",".join(b"%d" % number for number in numbers[at : at + MAX_OBJECTS])
            answer = await ask(method, target, form % listed, timeout_s)
            for element in self._members(answer).values():
                number = self._number(element)
                if (OBJECT, number) in found:
                    raise self._wrong(f"object {number} twice")
                found[OBJECT, number] = element
        return tuple(
            Response(
                request.table,
                request.address,
                self._of_limited_size(found.get((request.table, request.address), b"")),
            )
            for request in requests
        )

    async def _ask(
        self, session: _Session, method: str, target: str, body: bytes, timeout_s: float
    ) -> bytes:
        """What the controller has to say, which stands under '3'."""
        fields = [
            ("Content-Type", "application/json"),
            ("Session-Auth", session.auth),
            ("Cookie", _cookie(session.id, session.key)),
        ]
        try:
            answer = await self._http.ask(method, target, fields, body, timeout_s=timeout_s)
        except DeviceError as error:
            if error.code == _UNAUTHORISED:
                raise _ExpiredError from error
            raise
        self._check_type(answer)
        try:
            said = parse_json(answer.body)
            found = members(answer.body)
        except ValueError as error:
            raise self._wrong(f"what is no answer: {error}") from error
        code = said.get("2") if isinstance(said, dict) else None
        if isinstance(code, str) and code in _LOGGED_OUT:
            raise _ExpiredError
        if code != _SUCCESS:
            raise DeviceError(
                f"{self._http.peer} answered with the code {str(code)[:40]!r}.",
                "Check the rights of the 'login', and that the profile is that of the controller.",
                code=f"answer_{code}" if re.fullmatch("[0-9]{1,5}", str(code)) else BAD_REPLY,
            )
        return found.get("3", b"{}")

    async def _log_in(self, timeout_s: float) -> _Session:
        """A new session, unless it is too early for one."""
        rest_s = self._rest.until_s - monotonic()
        if rest_s > 0:
            raise DeviceError(
                f"{self._rest.why} The next login at {self._http.peer} is in {rest_s:.0f} s.",
                "Until then the controller is left alone, so that it does not lock the user out."
                " Check that nothing else logs in as this user: each needs one of its own.",
                code=LOGIN_COOLDOWN,
            )
        password = os.environ.get(self._login.password_variable, "")
        if not password or not password.isprintable():  # nor is what is no UTF-8
            raise DeviceError(
                f"{self._login.password_variable} is not set, or to what is no line of text.",
                f"Set it to the password of {self._login.user!r} at {self._http.peer}, in UTF-8.",
                code=NO_LOGIN,
            )
        cookies = await self._page([], timeout_s)
        if "Session-Key" not in cookies:
            raise self._wrong("no Session-Key, with which a login begins")
        user, key = self._login.user, cookies["Session-Key"]
        known_by = _sha256(f"{user}:user@sc2:{password}")
        self._rest.until_s = monotonic() + SHORTEST_BETWEEN_LOGINS_S
        self._rest.why = f"{user!r} has just logged in."
        fields = [
            ("Username", user),
            ("Session-Auth", _sha256(f"{known_by}:{key}")),
            ("Cookie", _cookie(cookies.get("Session-Id", "0"), key)),
        ]
        try:
            cookies = await self._page(fields, timeout_s)
        except DeviceError as error:  # it may count as a wrong password, or have opened a session
            self._rest.refused(error, is_password=error.code in _REFUSALS)
            raise
        return self._opened(cookies, key, known_by)

    async def _page(self, fields: Fields, timeout_s: float) -> dict[str, str]:
        """The cookies that come with the login page."""
        method, target, body = LOGIN
        answer = await self._http.ask(
            method, target, fields, body, timeout_s=timeout_s, is_page=True
        )
        return _cookies(answer)

    def _opened(self, cookies: Mapping[str, str], key: str, known_by: str) -> _Session:
        number = cookies.get("Session-Id", "0")
        if number == "-1":
            error = DeviceError(
                f"{self._http.peer} has no session left for {self._login.user!r}.",
                "Log this user out elsewhere: in a browser, or in another program.",
                code=SESSION_LIMIT,
            )
            raise self._rest.refused(error, is_password=False)
        if number == "0":
            error = DeviceError(
                f"{self._http.peer} refuses the login of {self._login.user!r}.",
                f"Check user and {self._login.password_variable}.",
                code=LOGIN_REFUSED,
            )
            raise self._rest.refused(error, is_password=True)
        self._rest.refusals = 0
        key = cookies.get("Session-Key", key)
        self._session = _Session(number, key, _sha256(f"{known_by}:{key}"))
        return self._session

    def _check_model(self, rule: str, said: bytes) -> None:
        field, _, wanted = rule.partition("=")
        document = parse_json(said)
        found = document.get(field) if isinstance(document, dict) else None
        if found not in wanted.split("|"):
            raise DeviceError(
                f"{self._http.peer} is another model: its {field} is {str(found)[:40]!r}, and"
                f" {wanted} was wanted.",
                "Use a profile of its model: each has other numbers for its objects.",
                code=WRONG_DEVICE,
            )

    def _check_type(self, answer: Answer) -> None:
        kinds = [value.partition(";")[0].strip().lower() for value in answer.values("content-type")]
        if any(not kind.startswith(("application/json", "text/")) for kind in kinds):
            raise DeviceError(
                f"{self._http.peer} answered with {kinds[0][:40]!r} where JSON was due.",
                "Check that 'url' is the address of the controller.",
                code=CONTENT_TYPE,
            )

    def _members(self, answer: bytes) -> dict[str, bytes]:
        try:
            return members(answer)
        except ValueError as error:
            raise self._wrong(f"what is no list of elements: {error}") from error

    def _number(self, element: bytes) -> int:
        document = parse_json(element)
        number = document.get("Id") if isinstance(document, dict) else None
        if not isinstance(number, str) or not re.fullmatch("[0-9]{1,10}", number):
            raise self._wrong("an object without a number")
        return int(number)

    def _of_limited_size(self, element: bytes) -> bytes:
        if len(element) > MAX_ELEMENT:
            raise DeviceError(
                f"{self._http.peer} answered with an element of {len(element)} bytes.",
                f"One has {MAX_ELEMENT} at most: check that 'url' is that of the controller.",
                code=TOO_LARGE,
            )
        return element

    def _wrong(self, what: str) -> DeviceError:
        return DeviceError(
            f"{self._http.peer} answered with {what}.",
            "If it happens again, this is no Sigma Control 2.",
            code=BAD_REPLY,
        )


def _cookies(answer: Answer) -> dict[str, str]:
    """The two cookies of a session; no other is looked at, and none is kept for anybody else."""
    found = (_COOKIE.match(value) for value in answer.values("set-cookie"))
    return {one[1]: one[2] for one in found if one is not None}


def _cookie(number: str, key: str) -> str:
    return f"Session-Id={number}; Session-Key={key}; {_LANGUAGE}"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
