"""What a service manager listens on, for tests of those who tell it that they go on."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

WAIT_S = 30.0


class Heard:
    """What systemd would hear; its queue is short, so it is emptied all the time."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._said: list[str] = []
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while (text := self._socket.recv(4096).decode()) != "END":
            self._said.append(text)

    def all(self) -> list[str]:
        """Everything so far; nothing is heard after that."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ending:
            ending.sendto(b"END", self._socket.getsockname())
        self._thread.join()
        return self._said

    def close(self) -> None:
        """Give the socket back."""
        if self._thread.is_alive():
            self.all()
        self._socket.close()

    @property
    def so_far(self) -> list[str]:
        """What was said up to now."""
        return list(self._said)

    def until(self, holds: Callable[[list[str]], bool]) -> None:
        """Return when what was said is enough."""
        until_s = time.monotonic() + WAIT_S
        while not holds(self.so_far):
            assert time.monotonic() < until_s, self.so_far
            time.sleep(0.01)
