"""One question, one answer over TCP: anything else that arrives ends the connection.

A connection on which an answer was late, wrong, cut short or not asked for is closed at once, so
no byte of it can ever become a value. One timer and one future per question keep it cheap: this is
the hot path of a replay.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable

from joulemark_agent.contract.errors import DeviceError

TIMEOUT, REFUSED, UNREACHABLE = "timeout", "refused", "unreachable"
CLOSED, BAD_REPLY = "closed", "bad_reply"

# Sees all bytes since the question. None: not complete yet. Raises DeviceError: no answer to it.
Check = Callable[[bytes], bytes | None]


class Exchange(asyncio.Protocol):
    """An open connection for questions in turn; asyncio sets TCP_NODELAY on it."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self._loop = asyncio.get_running_loop()
        self._lost = self._loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[bytes] | None = None
        self._check: Check = lambda _: None
        self._buffer = b""

    @property
    def is_open(self) -> bool:
        """Whether a question may be asked."""
        return self._transport is not None

    async def ask(self, question: bytes, check: Check, *, timeout_s: float) -> bytes:
        """The answer that `check` accepted; any other outcome closes the connection.

        Raises:
            DeviceError: `timeout`, `closed`, or what `check` raised.
        """
        if self._waiting is not None:
            raise RuntimeError(f"{self.peer}: a question is asked while another waits")
        if self._transport is None:
            raise self._closed()
        self._check, self._buffer = check, b""
        waiting: asyncio.Future[bytes] = self._loop.create_future()
        self._waiting = waiting
        timer = self._loop.call_later(timeout_s, self._expire, timeout_s)
        self._transport.write(question)
        try:
            return await waiting
        except asyncio.CancelledError:
            self._drop()
            raise
        finally:
            timer.cancel()
            self._waiting = None

    async def close(self) -> None:
        """Drop the connection and wait until it is gone."""
        self._drop()
        await self._lost

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio once."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Called by asyncio with what arrived."""
        waiting = self._waiting
        if waiting is None or waiting.done():
            self._drop()  # nobody asked
            return
        self._buffer += data
        try:
            answer = self._check(self._buffer)
        except DeviceError as error:
            self._fail(error)
        else:
            if answer is not None:
                waiting.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio when the connection has ended."""
        self._fail(self._closed(exc))
        if not self._lost.done():
            self._lost.set_result(None)

    def _expire(self, timeout_s: float) -> None:
        self._fail(
            DeviceError(
                f"{self.peer} sent {len(self._buffer) or 'no'} bytes of an answer"
                f" within {timeout_s:g} s.",
                "Check that the device is on, its unit number, and 'timeout_s'.",
                code=TIMEOUT,
            )
        )

    def _fail(self, error: DeviceError) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)
        self._drop()

    def _drop(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def _closed(self, why: Exception | None = None) -> DeviceError:
        reason = f" ({why})" if why else ""
        return DeviceError(
            f"{self.peer} closed the connection after {len(self._buffer)} bytes{reason}.",
            "Check that nothing else uses the device's only connection.",
            code=CLOSED,
        )


async def connect(host: str, port: int, *, timeout_s: float) -> Exchange:
    """An open connection.

    Raises:
        DeviceError: `refused`, `unreachable` or `timeout`.
    """
    peer = f"{host}:{port}"
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_s):
            _, exchange = await loop.create_connection(lambda: Exchange(peer), host, port)
    except TimeoutError as error:
        raise DeviceError(
            f"{peer} did not take a connection within {timeout_s:g} s.",
            "Check the address, the cable and the firewall.",
            code=TIMEOUT,
        ) from error
    except (OSError, ValueError) as error:  # ValueError: a name that no resolver can be asked for
        # A name with several addresses gives one error without errno that quotes them all.
        if f"[Errno {errno.ECONNREFUSED}]" in str(error):
            raise DeviceError(
                f"{peer} refuses connections: no service listens there.",
                "Check the port, and that the device's network interface is switched on.",
                code=REFUSED,
            ) from error
        raise DeviceError(
            f"{peer} cannot be reached: {error}.",
            "Check the address, the cable and the firewall.",
            code=UNREACHABLE,
        ) from error
    return exchange
