"""Open connections of a server: none may hold a place for others by being idle or slow.

Counted from the moment they are accepted, TLS handshake included. Where there are too many, the
address with the most gives up its oldest idle one; one that is being answered is never given up.

| what is slow | is cut after |
|---|---|
| handshake, head of a request, rest of a request nobody reads | HEAD_S since the last answer |
| reading of an answer | a window of HEAD_S in which less than LEAST_READ bytes were taken |
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from joulemark_gateway.access.throttle import network_of

HEAD_S = 10.0
LEAST_READ = 10 * 1024
OF_ONE = 4  # one address may hold a quarter of all


@dataclass
class Open:
    """One connection."""

    socket: socket.socket = field(repr=False)
    address: str
    since_s: float  # accepted, or answered for the last time
    is_answered: Callable[[], bool] = lambda: False  # whether a request is being answered now
    waiting_bytes: Callable[[], int] = lambda: 0  # of an answer, to be read by the other side
    window_s: float = 0.0
    unread: int = 0  # at the window's begin

    def is_slow(self, now_s: float) -> bool:
        """Whether it has had its time."""
        waiting = self.waiting_bytes()
        if waiting:
            return self._reads_slowly(waiting, now_s)
        self.unread = 0
        return not self.is_answered() and now_s - self.since_s > HEAD_S

    def _reads_slowly(self, waiting: int, now_s: float) -> bool:
        if not self.unread or self.unread - waiting >= LEAST_READ or waiting > self.unread:
            self.window_s, self.unread = now_s, waiting
        return now_s - self.window_s > HEAD_S


class Connections:
    """All of one server; used by its thread alone."""

    def __init__(self, most: int, now_s: Callable[[], float]) -> None:
        self._most, self._now_s = most, now_s
        self._open: dict[int, Open] = {}

    def __len__(self) -> int:
        return len(self._open)

    def admits(self, accepted: socket.socket, peer: Any) -> bool:
        """Whether there is a place for it; an idle one is given up where that makes one."""
        address = network_of(str(peer[0]))
        mine = [one for one in self._open.values() if one.address == address]
        if not _is_loopback(address) and len(mine) >= max(self._most // OF_ONE, 1):
            if not self._gives_up(mine):
                return False
        elif len(self._open) >= self._most:
            counts = Counter(one.address for one in self._open.values())
            crowd = counts.most_common(1)[0][0]
            others = list(self._open.values())
            if not self._gives_up([one for one in others if one.address == crowd] or others):
                return False
        self._open[accepted.fileno()] = Open(accepted, address, self._now_s())
        return True

    def of(self, descriptor: int) -> Open | None:
        """The connection of this descriptor."""
        return self._open.get(descriptor)

    def answered(self, one: Open) -> None:
        """Its request has been answered; the next may come."""
        one.since_s = self._now_s()

    def closed(self, descriptor: int) -> None:
        """It is gone."""
        self._open.pop(descriptor, None)

    def sweep(self) -> None:
        """Cut those that have had their time."""
        now_s = self._now_s()
        for one in [one for one in self._open.values() if one.is_slow(now_s)]:
            _cut(one)

    def _gives_up(self, among: list[Open]) -> bool:
        idle = [one for one in among if not one.is_answered() and not one.waiting_bytes()]
        if not idle:
            return False
        oldest = min(idle, key=lambda one: one.since_s)
        self.closed(oldest.socket.fileno())
        _cut(oldest)
        return True


class Door(socket.socket):
    """A listening socket that counts what it accepts, and turns away what has no place."""

    connections: Connections

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection that has a place."""
        while True:
            plain, peer = super().accept()
            found = _Counted(plain.family, plain.type, plain.proto, fileno=plain.detach())
            found.connections = self.connections
            if self.connections.admits(found, peer):
                return found, peer
            found.close()


class _Counted(socket.socket):
    """An accepted connection that says when it is closed."""

    connections: Connections

    def close(self) -> None:
        self.connections.closed(self.fileno())
        super().close()


def _is_loopback(address: str) -> bool:
    """Whoever comes through a tunnel or a proxy on this machine has one address with all others."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def _cut(one: Open) -> None:
    """End it; the server's loop sees the end and tidies up."""
    try:
        one.socket.shutdown(socket.SHUT_RDWR)
    except OSError:  # it has gone by itself
        one.since_s = float("inf")
