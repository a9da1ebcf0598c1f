"""Receivers of alerts for tests: a real HTTP or HTTPS server, and a real mail server with TLS."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from support.certificates import certificate, key_pem, pem

SECRET = "a secret of this test that is long enough"
USER, PASSWORD = "collector", "rusty bucket"


@dataclass
class Taken:
    """What a receiver was sent; and how it answers."""

    url: str = ""
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)  # the next ones; then 204
    wait_s: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def ids(self) -> list[str]:
        """Of the notices, in order."""
        return [headers["Joulemark-Id"] for headers, _ in self.requests]


def tls_files(folder: Path) -> tuple[Path, Path]:
    """Certificate and key of 127.0.0.1 and localhost; the certificate is its own authority."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "receiver.pem", folder / "receiver.key"
    paths[0].write_bytes(pem(certificate("receiver")))
    paths[1].write_bytes(key_pem("receiver"))
    return paths


@contextmanager
def http_receiver(tls: tuple[Path, Path] | None = None) -> Iterator[Taken]:
    """An HTTP server that takes notices."""
    taken = Taken()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taken.requests.append((dict(self.headers), body))
            if taken.wait_s:
                time.sleep(taken.wait_s)
            self.send_response(taken.answers.pop(0) if taken.answers else 204)
            for name, value in taken.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(taken.body)))
            self.end_headers()
            self.wfile.write(taken.body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """A client that goes away is what some tests want."""

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    scheme = "http" if tls is None else "https"
    taken.url = f"{scheme}://localhost:{server.server_address[1]}/hook?a=1"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield taken
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Mailbox:
    """A mail server and what it took."""

    port: int = 0
    messages: list[Message] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)  # the next ones; then 250
    asks: bool = True
    refuses: set[str] = field(default_factory=set)  # addresses
    recipients: list[list[str]] = field(default_factory=list)  # of each message

    async def handle_RCPT(  # noqa: N802 - its name
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        """Take a recipient."""
        del server, session, options
        if address in self.refuses:
            return "550 nobody of that name"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - its name
        """Take a message."""
        del server
        if self.asks:
            assert session.ssl is not None, "nothing is sent without TLS"
        if self.answers:
            return self.answers.pop(0)
        self.recipients.append(list(envelope.rcpt_tos))
        self.messages.append(message_from_bytes(envelope.content))
        return "250 OK"


@contextmanager
def mail_receiver(tls: tuple[Path, Path], *, starttls: bool | None = True) -> Iterator[Mailbox]:
    """A mail server with STARTTLS, or TLS from the start, or none (None); the first asks who."""
    box = Mailbox(asks=starttls is True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*tls)

    def known(server: Any, session: Any, envelope: Any, mechanism: Any, data: Any) -> AuthResult:
        del server, session, envelope, mechanism
        given = (data.login.decode(), data.password.decode())
        return AuthResult(success=given == (USER, PASSWORD))

    how: dict[str, Any] = {}
    if starttls is False:
        how = {"ssl_context": context}  # there it does not see that TLS is on
    if starttls:
        how = {"authenticator": known, "auth_required": True}
        how |= {"tls_context": context, "require_starttls": True}
    with socket.create_server(("127.0.0.1", 0)) as free:
        box.port = free.getsockname()[1]
    controller = Controller(box, hostname="127.0.0.1", port=box.port, **how)
    controller.start()
    try:
        yield box
    finally:
        controller.stop()
