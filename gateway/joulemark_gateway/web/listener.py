"""An HTTP server in a thread of its own, with or without TLS; what it serves is the caller's."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from joulemark_gateway.alive import QUIET, Beat
from joulemark_gateway.web.connections import Connections, Door, Open

if TYPE_CHECKING:
    import uvicorn

log = logging.getLogger(__name__)

PEER = "peer_certificate"  # in the state of a request: what the client showed, in DER; None
UNREADABLE = {
    "type": "about:blank",
    "title": "The request cannot be read",
    "status": 400,
    "code": "bad_request",
    "detail": "What came is not HTTP/1.1.",
    "do": "Send a request as RFC 9112 describes it.",
}
_BACKLOG = 64
_LAST_REQUESTS_S = 3


class Listener:
    """Listens once made; `stop` ends it within some seconds."""

    def __init__(
        self,
        name: str,
        make: Callable[[], Any],
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        connections: int = 64,
        done: Callable[[], None] = lambda: None,
        beat: Beat = QUIET,
    ) -> None:
        """Bind the address and serve from a thread of its own.

        Args:
            name: of the thread and in the log.
            make: makes the application, in the thread: its imports may take a second.
            host: address to listen on.
            port: port to listen on; 0: a free one.
            tls: how it is encrypted; None: not at all.
            connections: how many at a time; idle and slow ones make room for others.
            done: called when nothing is served any more.
            beat: told once a second while requests are served.

        Raises:
            OSError: the address cannot be had.
        """
        bound = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        )
        self._socket = Door(fileno=bound.detach())
        self._socket.connections = Connections(connections, time.monotonic)
        self._name, self._make, self._tls, self._done = name, make, tls, done
        self._beat = beat
        self._server: uvicorn.Server | None = None
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        shown = f"[{host}]" if ":" in host else host
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://{shown}:{self._socket.getsockname()[1]}/"
        log.info("%s_started", name, extra={"url": self.url})

    def stop(self) -> None:
        """Answer what was asked, and end."""
        self._is_stopping.set()
        if self._server is not None:
            self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        try:
            self._server = _server(self._make(), self._tls, self._socket.connections, self._beat)
            if not self._is_stopping.is_set():
                self._server.run([self._socket])
        except Exception:  # what is shown may stop; evidence goes on
            log.exception("%s_failed", self._name)
        finally:
            self._beat.off()
            self._done()


def _server(
    application: Any, tls: ssl.SSLContext | None, connections: Connections, beat: Beat = QUIET
) -> uvicorn.Server:
    import uvicorn  # noqa: PLC0415 - only in the thread, where nobody waits for it

    async def sweep() -> None:
        beat.on()
        connections.sweep()

    return uvicorn.Server(
        uvicorn.Config(
            application,
            http=_protocol(connections),
            loop="asyncio",
            backlog=_BACKLOG,
            ssl_context_factory=None if tls is None else lambda *_: tls,
            callback_notify=sweep,
            timeout_notify=1,
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,  # or whoever is on this machine says where they come from
            lifespan="off",
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=_LAST_REQUESTS_S,
        )
    )


def _protocol(connections: Connections) -> type[asyncio.Protocol]:
    """HTTP/1.1 of uvicorn that says which certificate the client showed, and what it is doing."""
    import h11  # noqa: PLC0415 - as above
    from uvicorn.protocols.http.h11_impl import H11Protocol  # noqa: PLC0415

    class Told(H11Protocol):
        one: Open | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # uvicorn's too
            super().connection_made(transport)
            secured: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
            shown = None if secured is None else secured.getpeercert(binary_form=True)
            self.app_state = {**self.app_state, PEER: shown}
            self.one = connections.of(transport.get_extra_info("socket").fileno())
            if self.one is not None:
                self.one.is_answered = self.is_answering
                self.one.waiting_bytes = transport.get_write_buffer_size

        def is_answering(self) -> bool:
            return self.cycle is not None and not self.cycle.response_complete

        def on_response_complete(self) -> None:
            if self.one is not None:
                connections.answered(self.one)
            super().on_response_complete()

        def send_400_response(self, msg: str) -> None:
            del msg
            data = json.dumps(UNREADABLE).encode()
            headers = [
                (b"content-type", b"application/problem+json"),
                (b"content-length", str(len(data)).encode()),
                (b"x-content-type-options", b"nosniff"),
                (b"connection", b"close"),
            ]
            head = h11.Response(status_code=400, headers=headers, reason=b"Bad Request")
            for event in (head, h11.Data(data=data), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
            self.transport.close()

    return Told
