"""Sends a notice as a signed POST: no redirects, no surprises of DNS, within size and time.

    Joulemark-Signature: v1=HEX(HMAC-SHA256(secret, TIMESTAMP + "." + BODY))

The name is resolved once, every address it has is looked at, and the connection goes to one of
these: a name that points into the plant's own network, or does so a moment later, reaches nothing
there unless the collector's file allows it.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from pathlib import Path
from urllib.parse import urlsplit

from joulemark_agent.contract.errors import ConfigError

TIMEOUT_S = 10.0
MOST_ANSWER = 64 * 1024
_TAKEN = range(200, 300)
_EMBEDDING = (IPv6Network("64:ff9b::/96"), IPv6Network("::/96"))  # RFC 6052; RFC 4291, 2.5.5.1
_LAST_32 = 2**32 - 1


class NotDelivered(Exception):  # noqa: N818 - no error of ours: tried again
    """Why a notice did not reach its receiver."""


@dataclass(frozen=True)
class Webhook:
    """Where to, and by which secret."""

    url: str
    secret: bytes
    ca: Path | None = None
    may_be_private: bool = False
    timeout_s: float = TIMEOUT_S

    def send(self, id_: str, body: bytes, now_us: int) -> None:
        """Deliver; an answer of 200 to 299 says that it was taken.

        Raises:
            NotDelivered: it was not, or nobody knows.
        """
        stamp = str(now_us // 1_000_000)
        headers = {
            "Content-Type": "application/json",
            "Joulemark-Id": id_,
            "Joulemark-Timestamp": stamp,
            "Joulemark-Signature": f"v1={signature(self.secret, stamp, body)}",
            "User-Agent": "joulemark-collector",
        }
        status = self._posted(body, headers, time.monotonic() + self.timeout_s)
        if status not in _TAKEN:
            raise NotDelivered(f"it answered {status}")

    def _posted(self, body: bytes, headers: Mapping[str, str], until_s: float) -> int:
        parts = urlsplit(self.url)
        host, is_tls = parts.hostname or "", parts.scheme == "https"
        port = parts.port or (443 if is_tls else 80)
        path = parts.path or "/"
        path += f"?{parts.query}" if parts.query else ""
        try:
            address = self._address(host, port)
            sock = socket.create_connection((str(address), port), timeout=self.timeout_s)
            try:
                if is_tls:
                    context = ssl.create_default_context(cafile=self.ca)
                    sock = context.wrap_socket(
                        sock, server_hostname=host, do_handshake_on_connect=False
                    )
                # The timeout of a socket bounds each wait; one that answers letter by letter, all.
                end = threading.Timer(until_s - time.monotonic(), _cut, (sock,))
                end.start()
                try:
                    return self._asked(sock, (host, port), (path, body, headers), until_s)
                finally:
                    end.cancel()
            finally:
                sock.close()
        except TimeoutError as error:
            raise NotDelivered("it did not answer in time") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            if time.monotonic() >= until_s:
                raise NotDelivered("it did not answer in time") from error
            raise NotDelivered(f"{type(error).__name__}: {error!s:.200}") from error

    def _asked(
        self,
        sock: socket.socket,
        server: tuple[str, int],
        request: tuple[str, bytes, Mapping[str, str]],
        until_s: float,
    ) -> int:
        if isinstance(sock, ssl.SSLSocket):
            sock.do_handshake()
        connection = http.client.HTTPConnection(*server, timeout=self.timeout_s)
        connection.sock = sock
        path, body, headers = request
        connection.request("POST", path, body, dict(headers))
        return _answer(connection, sock, until_s)

    def _address(self, host: str, port: int) -> IPv4Address | IPv6Address:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [ip_address(str(row[4][0]).partition("%")[0]) for row in found]
        for address in addresses:
            if not self.may_be_private and not all(map(_is_public, (address, *_within(address)))):
                raise NotDelivered(
                    f"{host} is {address}, an address of a private network; where that is meant, "
                    "set alerts.private_addresses"
                )
        return addresses[0]


def _cut(sock: socket.socket) -> None:
    with suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # of the connection, not of its TLS


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    is_local = isinstance(address, IPv6Address) and address.is_site_local
    return address.is_global and not (is_local or address.is_multicast)


def _within(address: IPv4Address | IPv6Address) -> list[IPv4Address]:
    """The IPv4 addresses that a gateway may reach by an IPv6 address."""
    if isinstance(address, IPv4Address):
        return []
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if any(address in net for net in _EMBEDDING):
        found.append(IPv4Address(int(address) & _LAST_32))
    return [one for one in found if one is not None]


def signature(secret: bytes, stamp: str, body: bytes) -> str:
    """What the receiver computes as well, and compares in constant time."""
    return hmac.new(secret, stamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _answer(connection: http.client.HTTPConnection, sock: socket.socket, until_s: float) -> int:
    """The status; of the answer's body a part is read, and nothing done with it."""
    # Each wait is bounded by the socket, all of them together here.
    sock.settimeout(max(until_s - time.monotonic(), 0.001))
    response = connection.getresponse()
    read = 0
    while read < MOST_ANSWER:
        if time.monotonic() > until_s:
            raise TimeoutError
        part = response.read1(8192)
        if not part:
            break
        read += len(part)
    return response.status


def secret_of(value: str | None, variable: str, least: int) -> bytes:
    """The secret of an environment variable.

    Raises:
        ConfigError: it is not there, or too short.
    """
    if value is None or len(value) < least:
        raise ConfigError(
            f"{variable} is {'not set' if value is None else 'too short'}.",
            f"Set it to {least} characters or more that the receiver knows, such as what "
            "'openssl rand -hex 32' prints.",
        )
    return value.encode()
