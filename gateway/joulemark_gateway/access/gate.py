"""Who is let in: sessions of people, tokens of programs, wrong passwords, and the log of it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from joulemark_gateway.access import passwords
from joulemark_gateway.access.database import FILE, Database
from joulemark_gateway.access.events import Events, Repeats
from joulemark_gateway.access.roles import MACHINE, NOBODY, Who
from joulemark_gateway.access.sessions import SessionLimits, Sessions
from joulemark_gateway.access.settings import PagesSettings
from joulemark_gateway.access.throttle import WrongTries, network_of
from joulemark_gateway.access.tokens import Tokens
from joulemark_gateway.access.users import Users

_FREE_OF_NAME, _WAIT_OF_NAME_S = 5, 300.0
_FREE_OF_ADDRESS, _WAIT_OF_ADDRESS_S = 20, 900.0
_AT_THE_DOOR = 4  # log-ins that are looked at or wait for it; each takes 32 MiB while it is
_MINUTE_US = 60_000_000

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Visit:
    """Who makes a request, from where, and by which session."""

    who: Who
    address: str
    csrf: str = ""  # what a change by a session's cookie has to show besides; "" without session
    is_token_bad: bool = False  # a token was shown, and it is none


@dataclass(frozen=True)
class Entered:
    """A log-in that succeeded."""

    cookie: str


@dataclass(frozen=True)
class Refused:
    """A log-in that did not; the same for a wrong name as for a wrong password."""

    wait_s: float = 0.0  # > 0: it was not looked at, the next try is after this
    is_busy: bool = False  # it was not looked at: too many others


class Access:
    """Lets in whoever the file of users knows; without log-in, whoever is on this machine."""

    def __init__(
        self,
        database: Database,
        wanted: PagesSettings,
        *,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        limits = SessionLimits(
            wanted.session_minutes * _MINUTE_US, wanted.idle_minutes * _MINUTE_US
        )
        self.wanted = wanted
        self.users, self.tokens = Users(database), Tokens(database)
        self.events = Events(database)
        self.now_us = now_us
        self._sessions = Sessions(database, limits)
        self._database, self._now_s = database, now_s
        self._of_name = WrongTries(_FREE_OF_NAME, _WAIT_OF_NAME_S)
        self._of_address = WrongTries(_FREE_OF_ADDRESS, _WAIT_OF_ADDRESS_S)
        self._repeats = Repeats()
        self._lock = threading.Lock()  # of what is remembered here
        self._door = threading.BoundedSemaphore(_AT_THE_DOOR)
        self._hashing = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the file."""
        self._database.close()

    def visit(self, cookie: str, token: str, address: str, *, used: bool = True) -> Visit:
        """Who shows this cookie or token; a token that is none never falls back to the cookie."""
        if not self.wanted.login:
            return Visit(MACHINE, address)
        if token:
            found = self.tokens.find(token, self.now_us())
            if found is None:
                return Visit(NOBODY, address, is_token_bad=True)
            return Visit(found.who, address)
        if cookie:
            user = self._sessions.user_of(cookie, self.now_us(), used=used)
            if user is not None:
                return Visit(user.who, address, csrf=csrf_of(cookie))
        return Visit(NOBODY, address)

    def log_in(self, name: str, password: str, address: str) -> Entered | Refused:
        """Begin a session where name and password are right."""
        keys = (name[:80], network_of(address))
        with self._lock:
            now_s = self._now_s()
            wait_s = max(
                self._of_name.wait_s(keys[0], now_s), self._of_address.wait_s(keys[1], now_s)
            )
            if not wait_s:
                self._of_name.begun(keys[0], now_s)
                self._of_address.begun(keys[1], now_s)
        if wait_s:
            self._refused("log_in_too_soon", name, address)
            return Refused(wait_s)
        if not self._door.acquire(blocking=False):
            self._take_back(keys, forget=False)
            return Refused(is_busy=True)
        try:
            user = self.users.find(name)
            with self._hashing:
                is_right = passwords.matches(password, None if user is None else user.password)
        finally:
            self._door.release()
        if user is None or not is_right:
            self._refused("log_in_wrong", name, address)
            return Refused()
        self._take_back(keys, forget=True)
        now_us = self.now_us()
        self._sessions.end_old(now_us)
        self.changed("log_in", Visit(user.who, address))  # first: who is let in is in the log
        return Entered(self._sessions.begin(user.name, now_us))

    def log_out(self, cookie: str, visit: Visit) -> None:
        """End the session."""
        self._sessions.end(cookie)
        self.changed("log_out", visit)

    def changed(self, code: str, visit: Visit, what: str = "") -> None:
        """Tell the security log what somebody did."""
        who = visit.who.name
        self.events.add(code, self.now_us(), who=who, address=visit.address, what=what)
        log.info(code, extra={"who": who, "address": visit.address, "what": what})

    def refused(self, code: str, visit: Visit, what: str = "") -> None:
        """Tell the security log what somebody was refused; a flood of it is gathered."""
        self._tell(code, visit.who.name, visit.address, what)

    def _take_back(self, keys: tuple[str, str], *, forget: bool) -> None:
        """The try was no wrong one; of the name those before it are forgotten, too."""
        with self._lock:
            self._of_name.was_right(keys[0], forget=forget)
            self._of_address.was_right(keys[1], forget=False)

    def _refused(self, code: str, typed: str, address: str) -> None:
        """As `refused`; what was typed is told where it is a name: it may be a password."""
        who = typed if self.users.find(typed) else "(unknown)"
        self._tell(code, who, address, "")

    def _tell(self, code: str, who: str, address: str, what: str) -> None:
        now_us = self.now_us()
        with self._lock:
            address, times = self._repeats.counted(code, who, address, now_us)
        if times:
            self.events.add(
                code, now_us, who=who, address=address, what=what, refused=True, times=times
            )
            fields = {"who": who, "address": address, "what": what, "times": times}
            log.warning(code, extra=fields)


def open_access(state_dir: Path, wanted: PagesSettings) -> Access:
    """The gate of a collector.

    Raises:
        StoreError: its file cannot be used.
    """
    return Access(Database(state_dir / FILE), wanted)


def csrf_of(cookie: str) -> str:
    """What only a page of this session can know; nothing is kept for it."""
    made = hmac.digest(cookie.encode(), b"joulemark: change", hashlib.sha256)
    return base64.urlsafe_b64encode(made).decode().rstrip("=")
