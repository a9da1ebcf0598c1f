"""What an MQTT 5 client really sends: a relay before a broker that keeps its packets, parsed.

Source: MQTT Version 5.0 (OASIS, 2019-03-07), sections 2.1, 3.1, 3.3, 3.8 and 3.14.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

CONNECT, PUBLISH, SUBSCRIBE, DISCONNECT = 1, 3, 8, 14
_SESSION_EXPIRY = 0x11
# How long a property's value is: bytes, or what its first two bytes say; two of those for a pair.
_SIZES = {0x11: 4, 0x17: 1, 0x19: 1, 0x21: 2, 0x22: 2, 0x27: 4, 0x01: 1, 0x02: 4, 0x18: 4, 0x23: 2}
_PAIR = 0x26


@dataclass(frozen=True)
class Connect:
    """A CONNECT, with its will."""

    version: int
    clean_start: bool
    session_expiry_s: int
    will_topic: str | None
    will_payload: bytes
    will_qos: int
    will_retain: bool


@dataclass(frozen=True)
class Published:
    """A PUBLISH."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


@dataclass(frozen=True)
class Subscribed:
    """A SUBSCRIBE."""

    topics: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Disconnected:
    """A DISCONNECT."""

    reason: int


Packet = Connect | Published | Subscribed | Disconnected


@dataclass
class Relay:
    """What went through, in order; `cut` ends all connections, as a pulled plug does."""

    port: int
    packets: list[Packet] = field(default_factory=list)
    _sockets: list[socket.socket] = field(default_factory=list)

    def cut(self) -> None:
        """End every connection without a word."""
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@contextmanager
def relay(to_port: int) -> Iterator[Relay]:
    """A relay to a broker on this machine."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept = Relay(server.getsockname()[1])
        threading.Thread(target=_accept, args=(server, to_port, kept), daemon=True).start()
        yield kept
        kept.cut()


def _accept(server: socket.socket, to_port: int, kept: Relay) -> None:
    with suppress(OSError):
        while True:
            client, _ = server.accept()
            broker = socket.create_connection(("127.0.0.1", to_port))
            kept._sockets += [client, broker]
            for one, other, is_client in ((client, broker, True), (broker, client, False)):
                words = (one, other, kept.packets if is_client else None)
                threading.Thread(target=_pump, args=words, daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket, packets: list[Packet] | None) -> None:
    waiting = b""
    with suppress(OSError), source, sink:
        while data := source.recv(65536):
            if packets is not None:
                waiting = _take(waiting + data, packets)
            sink.sendall(data)


def _take(data: bytes, packets: list[Packet]) -> bytes:
    """Parse whole packets off the front; what is left."""
    while len(data) >= 2:
        size, at = _varint(data, 1)
        if size is None or len(data) < at + size:
            break
        if (packet := _packet(data[0], data[at : at + size])) is not None:
            packets.append(packet)
        data = data[at + size :]
    return data


def _packet(first: int, body: bytes) -> Packet | None:
    kind, flags = first >> 4, first & 0x0F
    if kind == CONNECT:
        return _connect(body)
    if kind == PUBLISH:
        topic, at = _text(body, 0)
        qos = flags >> 1 & 3
        at += 2 if qos else 0
        _, at = _properties(body, at)
        return Published(topic, body[at:], qos, bool(flags & 1))
    if kind == SUBSCRIBE:
        _, at = _properties(body, 2)
        topics = []
        while at < len(body):
            topic, at = _text(body, at)
            topics.append((topic, body[at] & 3))
            at += 1
        return Subscribed(tuple(topics))
    if kind == DISCONNECT:
        return Disconnected(body[0] if body else 0)
    return None


def _connect(body: bytes) -> Connect:
    _, at = _text(body, 0)
    version, flags = body[at], body[at + 1]
    expiry, at = _properties(body, at + 4)
    _, at = _text(body, at)
    topic, payload = None, b""
    if flags & 4:
        _, at = _properties(body, at)
        topic, at = _text(body, at)
        size = int.from_bytes(body[at : at + 2], "big")
        payload = body[at + 2 : at + 2 + size]
    return Connect(
        version, bool(flags & 2), expiry, topic, payload, flags >> 3 & 3, bool(flags & 32)
    )


def _properties(body: bytes, at: int) -> tuple[int, int]:
    """The session expiry interval among the properties, 0 where there is none, and their end."""
    size, at = _varint(body, at)
    assert size is not None
    end, expiry = at + size, 0
    while at < end:
        kind = body[at]
        at += 1
        if kind == _SESSION_EXPIRY:
            expiry = int.from_bytes(body[at : at + 4], "big")
        if kind in _SIZES:
            at += _SIZES[kind]
        else:
            for _ in range(2 if kind == _PAIR else 1):
                at += 2 + int.from_bytes(body[at : at + 2], "big")
    return expiry, end


def _text(body: bytes, at: int) -> tuple[str, int]:
    size = int.from_bytes(body[at : at + 2], "big")
    return body[at + 2 : at + 2 + size].decode(), at + 2 + size


def _varint(data: bytes, at: int) -> tuple[int | None, int]:
    value = 0
    for shift in range(0, 28, 7):
        if at >= len(data):
            return None, at
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return value, at
    return None, at
