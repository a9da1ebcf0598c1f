"""One request to an address of the collector's file: no redirect, no proxy, a bounded answer."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from joulemark_agent.contract.errors import UplinkError

MOST_BYTES = 256 * 1024
TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    body: bytes


Post = Callable[[str, bytes, str], Answer]  # url, body, Content-Type


def post(url: str, body: bytes, kind: str, *, timeout_s: float = TIMEOUT_S) -> Answer:
    """The answer to one POST; all of it must come in time, however slowly it drips.

    Args:
        url: where to; https is checked against the system's certificates.
        body: what is sent.
        kind: its Content-Type.
        timeout_s: for everything together.

    Raises:
        UplinkError: no answer, a longer one than MOST_BYTES, or none in time.
    """
    parts = urlsplit(url)
    connection = _connection(parts.scheme, parts.hostname or "", parts.port, timeout_s)
    late = threading.Event()

    def end() -> None:
        late.set()
        with suppress(OSError):
            if connection.sock is not None:
                connection.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(timeout_s, end)
    timer.start()
    try:
        connection.request("POST", parts.path or "/", body, {"Content-Type": kind})
        answer = connection.getresponse()
        found = answer.read(MOST_BYTES + 1)
    except (OSError, http.client.HTTPException) as error:
        raise _failed(url, "it takes too long" if late.is_set() else f"{error!r:.200}") from error
    finally:
        timer.cancel()
        timer.join()
        connection.close()
    if late.is_set():
        raise _failed(url, "it takes too long")
    if len(found) > MOST_BYTES:
        raise _failed(url, f"its answer is longer than {MOST_BYTES} bytes")
    return Answer(answer.status, found)


def _connection(
    scheme: str, host: str, port: int | None, timeout_s: float
) -> http.client.HTTPConnection:
    if scheme == "https":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)
    return http.client.HTTPConnection(host, port, timeout=timeout_s)


def _failed(url: str, why: str) -> UplinkError:
    return UplinkError(
        f"{url} does not answer: {why}.",
        "Check the address and the network; it is tried again, less and less often.",
        code="no_answer",
    )
