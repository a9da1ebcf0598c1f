"""The endpoints of an OPC UA server: what it offers, and which of them is taken. Pure.

The list that a channel without security gave is only believed once the same list has come over the
secured one: a relay that took the better offers out of it is found so.
Source: OPC UA specification (1.05), part 4, sections 5.4.4, 5.6.2 and 7.14.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from joulemark_agent.opcua_binary import Cursor, MalformedError
from joulemark_agent.opcua_security import NONE, URI

BINARY = "http://opcfoundation.org/UA-Profile/Transport/uatcp-uasc-uabinary"
MAX_ENDPOINTS = 1000  # a server has some ten
ANONYMOUS, USER_NAME, CERTIFICATE = 0, 1, 2  # kinds of a user's token
MODES = {1: "none", 2: "sign", 3: "sign_and_encrypt"}  # as the site file calls them


@dataclass(frozen=True)
class Token:
    """One way to log in."""

    name: str
    kind: int
    policy: str  # the URI of its own policy; empty: that of the endpoint


@dataclass(frozen=True)
class Endpoint:
    """One way to connect."""

    policy: str  # URI
    mode: int
    tokens: tuple[Token, ...]
    transport: str
    level: int
    url: str = field(default="", compare=False)  # differs by who asks
    application_uri: str = field(default="", compare=False)
    certificate: bytes = field(default=b"", compare=False, repr=False)  # may be left out

    @property
    def shown(self) -> str:
        """As the site file writes it."""
        name = self.policy.removeprefix(URI)
        return name if name == NONE else f"{name} {MODES.get(self.mode, self.mode)}"


def endpoints(cursor: Cursor) -> tuple[Endpoint, ...]:
    """Those over the binary protocol, of the array that begins here."""
    listed = cursor.elements()
    if len(listed) > MAX_ENDPOINTS:
        raise MalformedError(f"{len(listed)} endpoints")
    found = [_endpoint(cursor) for _ in listed]
    return tuple(end for end in found if end.transport in {BINARY, ""})


def choose(offered: Iterable[Endpoint], policy: str, mode: int, url: str) -> Endpoint | None:
    """The one with just that policy and mode; of several, that of the URL's path."""
    fitting = [end for end in offered if (end.policy, end.mode) == (policy, mode)]
    path = urlsplit(url).path.strip("/")
    return next((end for end in fitting if _path(end.url) == path), next(iter(fitting), None))


def are_same(one: Sequence[Endpoint], other: Sequence[Endpoint]) -> bool:
    """Whether they offer the same, in any order and under any address."""
    return set(one) == set(other)


def _path(url: str) -> str:
    try:
        return urlsplit(url).path.strip("/")
    except ValueError:  # a server's own words
        return ""


def _endpoint(cursor: Cursor) -> Endpoint:
    url, application_uri = cursor.text(), cursor.text()
    cursor.blob()  # the product
    cursor.skip_localized()
    cursor.take(4)  # kind of application
    cursor.blob(), cursor.blob()
    for _ in cursor.elements():
        cursor.blob()  # addresses
    certificate = cursor.blob() or b""
    mode, policy = cursor.u32(), cursor.text()
    tokens = tuple(_token(cursor) for _ in cursor.elements())
    return Endpoint(
        policy, mode, tokens, cursor.text(), cursor.u8(), url, application_uri, certificate
    )


def _token(cursor: Cursor) -> Token:
    name, kind = cursor.text(), cursor.u32()
    cursor.blob(), cursor.blob()  # of tokens that somebody else issues
    return Token(name, kind, cursor.text())
