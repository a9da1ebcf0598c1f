"""What the service manager is told: that we have begun, go on, and end. See sd_notify(3).

Datagrams to the socket that NOTIFY_SOCKET names. Where there is no service manager nothing is sent.
A container has none: there the file that JOULEMARK_ALIVE_FILE names is touched with every ping, and
its health check looks how old it is.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping
from pathlib import Path


class ServiceManager:
    """The manager that started us, if one did."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self._file = environment.get("JOULEMARK_ALIVE_FILE", "")
        self._status = ""
        watched_us = environment.get("WATCHDOG_USEC", "")
        is_ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.ping_every_s: float | None = None  # None: nobody waits for it
        if self._address and is_ours and watched_us.isdecimal() and int(watched_us) > 0:
            self.ping_every_s = int(watched_us) / 2e6

    def ready(self) -> None:
        """We have begun."""
        self._send("READY=1")

    def ping(self) -> None:
        """We go on."""
        self._send("WATCHDOG=1")
        if self._file:
            with contextlib.suppress(OSError):
                Path(self._file).touch()

    def stopping(self) -> None:
        """We end."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """How we are, for `systemctl status`; said when it changes."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        address = self._address
        if address.startswith("@"):  # of the abstract namespace
            address = f"\0{address[1:]}"
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(text.encode(), address)
