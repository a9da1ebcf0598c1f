"""One question, one answer; over TCP anything else that arrives ends the connection.

A connection on which an answer was late, wrong, cut short or not asked for is closed at once, so
no byte of it can ever become a value. This is the hot path of a replay: a question costs a future,
and all of a connection share one timer, which looks at the deadline of the one under way.
"""

from __future__ import annotations

import asyncio
import errno
import math
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, cast

from joulemark_agent.contract.errors import DeviceError

TIMEOUT, REFUSED, UNREACHABLE = "timeout", "refused", "unreachable"
CLOSED, BAD_REPLY, UNTRUSTED = "closed", "bad_reply", "untrusted"

# Sees all bytes since the question. None: not complete yet. Raises DeviceError: no answer to it.
Check = Callable[[bytes], bytes | None]


class Asking(ABC):
    """Questions in turn, each with one answer or one error; what carries them is the subclass's."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.pause_s = 0.0  # of quiet before each question, since the last was answered
        self._loop = asyncio.get_running_loop()
        self._waiting: asyncio.Future[bytes] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timeout_s, self._deadline_s = 0.0, math.inf  # of the question under way
        self._check: Check = lambda _: None
        self._buffer = b""
        self._is_asking = False
        self._used_s = -math.inf  # when the last question was over

    async def ask(self, question: bytes, check: Check, *, timeout_s: float) -> bytes:
        """The answer that `check` accepted.

        Raises:
            DeviceError: `timeout`, `closed`, or what `check` raised.
        """
        if self._is_asking:
            raise RuntimeError(f"{self.peer}: a question is asked while another waits")
        self._is_asking = True
        try:
            if self.pause_s and (left_s := self._used_s + self.pause_s - self._loop.time()) > 0:
                await asyncio.sleep(left_s)
            await self._ready(timeout_s)
            waiting: asyncio.Future[bytes] = self._loop.create_future()
            self._check, self._buffer, self._waiting = check, b"", waiting
            self._timeout_s, self._deadline_s = timeout_s, self._loop.time() + timeout_s
            if self._timer is None or self._timer.when() > self._deadline_s:
                self._watch()
            self._say(question)
            return await waiting
        except asyncio.CancelledError:
            self._give_up()
            raise
        finally:
            self._deadline_s = math.inf
            self._waiting, self._is_asking = None, False
            self._used_s = self._loop.time()

    @abstractmethod
    async def _ready(self, timeout_s: float) -> None:
        """Return when a question may be asked; DeviceError: none may."""

    @abstractmethod
    def _say(self, question: bytes) -> None:
        """Send it."""

    @abstractmethod
    def _expire(self, timeout_s: float) -> None:
        """Fail: the answer is not there."""

    @abstractmethod
    def _give_up(self) -> None:
        """Called when the one who asked waits no more."""

    def _judge(self, check: Check) -> bytes | None:
        """The whole answer in what arrived; None: there is none yet, or it was refused."""
        try:
            return check(self._buffer)
        except DeviceError as error:
            self._fail(error)
            return None

    def _accept(self, answer: bytes) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(answer)

    def _fail(self, error: DeviceError) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)

    def _watch(self) -> None:
        """Have the timer look at the deadline when it is over; it looks again at a later one."""
        self._stop_timer()
        if self._loop.time() >= self._deadline_s:
            self._expire(self._timeout_s)
        elif self._deadline_s < math.inf:
            self._timer = self._loop.call_at(self._deadline_s, self._watch)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Exchange(Asking, asyncio.Protocol):
    """An open connection; asyncio sets TCP_NODELAY on it. Any failure closes it."""

    def __init__(self, peer: str) -> None:
        super().__init__(peer)
        self._lost = self._loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._at_end: Check | None = None

    @property
    def is_open(self) -> bool:
        """Whether a question may be asked."""
        return self._transport is not None

    @property
    def certificate(self) -> bytes:
        """What the other side showed, in DER; empty without TLS."""
        assert self._transport is not None
        secured: ssl.SSLObject | None = self._transport.get_extra_info("ssl_object")
        return b"" if secured is None else secured.getpeercert(binary_form=True) or b""

    def ask(
        self, question: bytes, check: Check, *, timeout_s: float, at_end: Check | None = None
    ) -> Coroutine[Any, Any, bytes]:
        """The answer that `check` accepted, or `at_end` when the other side sends no more.

        Raises:
            DeviceError: `timeout`, `closed`, or what either raised; the connection is gone.
        """
        self._at_end = at_end
        return super().ask(question, check, timeout_s=timeout_s)

    async def close(self) -> None:
        """Drop the connection and wait until it is gone."""
        self._drop()
        await self._lost

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio once."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class

    def data_received(self, data: bytes) -> None:
        """Called by asyncio with what arrived."""
        waiting = self._waiting
        if waiting is None or waiting.done():
            self._drop()  # nobody asked
            return
        self._buffer = self._buffer + data if self._buffer else data
        self._end(self._check)

    def eof_received(self) -> None:
        """Called by asyncio when the other side sends no more; the connection is then lost."""
        if self._at_end is not None:
            self._end(self._at_end)

    def _end(self, check: Check) -> None:
        if (answer := self._judge(check)) is not None:
            self._accept(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio when the connection has ended."""
        self._fail(self._closed(exc))
        if not self._lost.done():
            self._lost.set_result(None)

    async def _ready(self, timeout_s: float) -> None:  # noqa: ARG002 - it is, or never will be
        if self._transport is None:
            raise self._closed()

    def _say(self, question: bytes) -> None:
        assert self._transport is not None
        self._transport.write(question)

    def _give_up(self) -> None:
        self._drop()

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
        super()._fail(error)
        self._drop()

    def _drop(self) -> None:
        self._stop_timer()
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


async def connect(
    host: str,
    port: int,
    *,
    timeout_s: float,
    tls: ssl.SSLContext | None = None,
    name: str | None = None,
) -> Exchange:
    """An open connection.

    Args:
        host: name or address.
        port: of it.
        timeout_s: for opening. [s]
        tls: how it is encrypted; None: not at all.
        name: that the certificate bears; None: the host.

    Raises:
        DeviceError: `refused`, `unreachable`, `timeout`, or `untrusted`: its certificate.
    """
    peer = f"{host}:{port}"
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_s):
            _, exchange = await loop.create_connection(
                lambda: Exchange(peer),
                host,
                port,
                ssl=tls,
                server_hostname=None if tls is None else name or host,
            )
    except TimeoutError as error:
        raise DeviceError(
            f"{peer} did not take a connection within {timeout_s:g} s.",
            "Check the address, the cable and the firewall.",
            code=TIMEOUT,
        ) from error
    except ssl.SSLCertVerificationError as error:
        raise DeviceError(
            f"{peer} shows a certificate that is not trusted: {error.verify_message}.",
            "Write 'tls: {fingerprint: ...}' or 'tls: {ca: FILE}' for the device, with 'host: NAME'"
            " in it where the certificate bears another name than the 'url'.",
            code=UNTRUSTED,
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
