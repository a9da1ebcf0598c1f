"""TLS of our servers: who was revoked is out, also with a session of before."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from joulemark_agent.tls import client_context
from joulemark_gateway.pki.authority import Role
from joulemark_gateway.pki.contexts import server_context
from joulemark_gateway.web.listener import Listener
from support.identities import HOST, PlantCa, now, plant_ca


async def _ok(_scope: Any, _receive: Any, send: Any) -> None:
    head = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
    await send(head)
    await send({"type": "http.response.body", "body": b"ok"})


@dataclass
class Asker:
    """A client with a certificate that has opened the door, and the session it got."""

    context: ssl.SSLContext
    port: int
    session: ssl.SSLSession | None = None

    def is_let_in(self, session: ssl.SSLSession | None = None) -> bool:
        try:
            with (
                socket.create_connection((HOST, self.port)) as plain,
                self.context.wrap_socket(plain, server_hostname=HOST, session=session) as tls,
            ):
                tls.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                data = tls.recv(4096)
                self.session = tls.session
        except OSError:
            return False
        return data.startswith(b"HTTP/1.1 200")


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[PlantCa]:
    with plant_ca(tmp_path) as found:
        yield found


def resumed_after_revocation(plant: PlantCa, *, tickets: bool, version: ssl.TLSVersion) -> bool:
    """Whether a client that was revoked comes in again with the session it had."""
    own = plant.folder / "collector.pem"
    plant.ca.equip(own, Role.COLLECTOR, now(), hosts=[HOST])
    tls = server_context(
        own,
        clients=plant.ca.folder / "ca.pem",
        revoked=plant.ca.folder / "crl.pem",
        must_show=True,
    )
    if tickets:
        tls.minimum_version, tls.num_tickets = ssl.TLSVersion.TLSv1_2, 2
    context = client_context(plant.agent("edge-1"))
    context.sslsocket_class, context.maximum_version = ssl.SSLSocket, version
    listener = Listener("pages", lambda: _ok, HOST, 0, tls=tls)
    try:
        asker = Asker(context, urlsplit(listener.url).port or 0)
        if not asker.is_let_in():
            return False
        session = asker.session
        plant.ca.records.revoke("edge-1", now())
        plant.ca.revoked_list(now())
        assert not asker.is_let_in(), "who is revoked is out"
        return asker.is_let_in(session)
    finally:
        listener.stop()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_of_before_lets_nobody_in_who_was_revoked(plant, version):
    assert not resumed_after_revocation(plant, tickets=False, version=version)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_control_with_sessions_that_are_resumed_it_does(plant, version):
    assert resumed_after_revocation(plant, tickets=True, version=version)
