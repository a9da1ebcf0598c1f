"""One MQTT 5 connection with a clean start, over paho-mqtt, which stays behind this file.

Once it is open it has no thread: the event loop says when the socket can be read or written, so a
message and its acknowledgement wait for no other thread's turn. A connection that was lost is not
repaired: paho would send its own leftovers again, and what is sent again is the uplink's decision.
The next connection is a new object.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, LogLevel, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from joulemark_agent.contract.errors import ConfigError, UplinkError
from joulemark_agent.mqtt_client import LimitedClient, says_columns, topic_of
from joulemark_agent.tls import TlsFiles, client_context

KEEPALIVE_S = 15
MAX_ANSWER_BYTES = 128 * 1024  # a receipt is a note, and the longest of all
_ANSWER_S = 10.0  # for the broker's answer to a connection or subscription
_GOODBYE_S = 1.0
_TICK_S = 1.0  # between two looks at the keep-alive
_PORTS = {"mqtt": 1883, "mqtts": 8883}
_NO_PERMISSION = {0x86, 0x87, 0x8A}  # bad user name or password, not authorized, banned
_UNSPECIFIED = 0x80  # what paho says of a connection that ended without an answer


@dataclass(frozen=True)
class Login:
    """Where the broker is and who connects."""

    url: str
    client_id: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: TlsFiles | None = None  # None: with mqtts any authority that this machine believes

    @property
    def is_encrypted(self) -> bool:
        """Whether TLS is spoken."""
        return self.url.startswith("mqtts:")

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)


@dataclass(frozen=True)
class Acked:
    """The broker answered a publication; a reason of 0 only means that it has it."""

    mid: int
    reason: int
    name: str


@dataclass(frozen=True)
class Received:
    """A message on a subscribed topic."""

    topic: str
    payload: bytes
    takes_columns: bool = False  # who sent it says that of itself


@dataclass(frozen=True)
class Lost:
    """The connection is gone."""

    why: str
    reason: int = 0  # of the broker's DISCONNECT; 0: it gave none


Event = Acked | Received | Lost


class Connection:
    """An open connection; `events` is called in the event loop, in the order of arrival."""

    def __init__(self, login: Login, events: Callable[[Event], None]) -> None:
        self._login, self._events = login, events
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[ReasonCode] = self._loop.create_future()
        self._closed = asyncio.Event()
        self._said = ""  # by TLS, when it ended the connection
        self._tick: asyncio.TimerHandle | None = None
        self._client = self._new_client()

    async def open(self, topic: str) -> None:
        """Connect and subscribe to `topic`, so that no answer to what is sent can be missed.

        Raises:
            UplinkError: the broker is out of reach (`unreachable`) or refuses (`refused`); it is
                not the one we trust (`untrusted_broker`), or does not trust us
                (`certificate_refused`); our own certificate cannot be used (`tls_files`).
        """
        host, port = self._login.address
        try:
            self._encrypt()
            await asyncio.to_thread(
                self._client.connect,
                host,
                port,
                keepalive=KEEPALIVE_S,
                clean_start=True,
                properties=self._client.limits(),
            )
        except ConfigError as error:
            raise UplinkError(error.what, error.do, code=error.code) from error
        except ssl.SSLCertVerificationError as error:
            raise UplinkError(
                f"The broker {self._login.url} shows a certificate that is not trusted:"
                f" {error.verify_message}.",
                "Check that the name in 'uplink.url' is one of the certificate's, this machine's"
                " clock, and 'uplink.tls.ca'. Nothing was sent; readings wait in the outbox.",
                code="untrusted_broker",
            ) from error
        except (OSError, ValueError) as error:
            raise UplinkError(
                f"The broker {self._login.url} cannot be reached: {error}.",
                "Check 'uplink.url', the network, and that the broker runs. Nothing is lost:"
                " readings wait in the outbox.",
                code="unreachable",
            ) from error
        try:
            self._attach()
            self._check(await self._answered(), "the connection", "Set 'uplink.username' and"
                        " JOULEMARK_UPLINK__PASSWORD to what the broker knows.")  # fmt: skip
            self._answer = self._loop.create_future()
            self._client.subscribe(topic, qos=1)
            self._check(await self._answered(), f"the subscription to {topic!r}",
                        "Allow it in the broker's access list.")  # fmt: skip
        except BaseException:
            await self.close()
            raise

    def publish(self, topic: str, payload: bytes, qos: int = 1) -> int:
        """Send a message, now or when the socket takes it; its `Acked` has the number returned.

        With QoS 0 that says only that it has left.
        """
        mid = self._client.publish(topic, payload, qos=qos).mid
        self._await_room()
        return mid

    async def close(self) -> None:
        """Say goodbye and close the socket; returns within about a second."""
        self._client.disconnect()
        self._await_room()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_S):
                await self._closed.wait()
        if self._tick is not None:
            self._tick.cancel()
        # The peer may not even take a goodbye; paho has no public name for closing without it.
        self._client._reset_sockets()  # noqa: SLF001

    async def _answered(self) -> ReasonCode:
        try:
            async with asyncio.timeout(_ANSWER_S):
                return await self._answer
        except TimeoutError as error:
            raise UplinkError(
                f"The broker {self._login.url} took the connection and said nothing for"
                f" {_ANSWER_S:.0f} s.",
                "Check that an MQTT 5 broker listens on this port.",
                code="unreachable",
            ) from error

    def _check(self, reason: ReasonCode, what: str, do: str) -> None:
        if not reason.is_failure:
            return
        if self._login.is_encrypted and reason.value == _UNSPECIFIED:
            raise UplinkError(
                f"The broker {self._login.url} ended {what} of {self._login.client_id!r} without an"
                f" answer{f' ({self._said})' if self._said else ''}.",
                "Most likely it does not take our certificate: it has ended, was revoked, is of"
                " another authority, or there is none. Look into the broker's log; renew it with"
                " 'joulemark agent renew', or enrol again. Readings wait in the outbox.",
                code="certificate_refused",
            )
        if reason.value not in _NO_PERMISSION:
            do = "Look into the broker's log; MQTT 5 is needed."
        raise UplinkError(
            f"The broker {self._login.url} refuses {what} of {self._login.client_id!r}"
            f" (user {self._login.username!r}): {reason}.",
            f"{do} Readings wait in the outbox.",
            code="refused",
        )

    def _new_client(self) -> LimitedClient:
        client = LimitedClient(
            CallbackAPIVersion.VERSION2,
            most_bytes=MAX_ANSWER_BYTES,
            client_id=self._login.client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
        )
        if self._login.username is not None:
            client.username_pw_set(self._login.username, self._login.password)
        client.on_log = self._on_log
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        client.on_socket_close = self._detach
        return client

    def _encrypt(self) -> None:
        if self._login.is_encrypted:
            self._client.tls_set_context(client_context(self._login.tls))

    def _attach(self) -> None:
        """Have the event loop read and write."""
        if (sock := self._client.socket()) is not None:  # else it is lost already, and that is told
            self._loop.add_reader(sock, self._read)
            self._keep_alive()

    def _detach(self, _c: Client, _u: Any, sock: Any) -> None:
        """Called before the socket is closed."""
        self._loop.remove_reader(sock)
        self._loop.remove_writer(sock)

    def _read(self) -> None:
        """Take what has arrived, with all that TLS has deciphered beyond it."""
        self._client.loop_read()
        while isinstance(sock := self._client.socket(), ssl.SSLSocket) and sock.pending():
            self._client.loop_read()
        self._await_room()

    def _write(self) -> None:
        self._client.loop_write()
        sock = self._client.socket()
        if sock is not None and not self._client.want_write():
            self._loop.remove_writer(sock)

    def _await_room(self) -> None:
        """Go on writing when the socket takes more, if it did not take all at once."""
        sock = self._client.socket()
        if sock is not None and self._client.want_write():
            self._loop.add_writer(sock, self._write)

    def _keep_alive(self) -> None:
        self._client.loop_misc()
        self._await_room()
        self._tick = self._loop.call_later(_TICK_S, self._keep_alive)

    def _post(self, call: Callable[..., None], *args: object) -> None:
        """Call it in the event loop: while it connects, paho runs in a thread."""
        with contextlib.suppress(RuntimeError):  # the event loop has ended: nobody listens
            self._loop.call_soon_threadsafe(call, *args)

    def _settle(self, reason: ReasonCode) -> None:
        if not self._answer.done():
            self._answer.set_result(reason)

    def _on_connect(self, _c: Client, _u: Any, _f: Any, reason: ReasonCode, _p: Any) -> None:
        self._post(self._settle, reason)

    def _on_subscribe(
        self, _c: Client, _u: Any, _m: int, reasons: list[ReasonCode], _p: Any
    ) -> None:
        if reasons:
            self._post(self._settle, reasons[0])

    def _on_publish(self, _c: Client, _u: Any, mid: int, reason: ReasonCode, _p: Any) -> None:
        self._events(Acked(mid, reason.value, str(reason)))

    def _on_message(self, _c: Client, _u: Any, message: MQTTMessage) -> None:
        received = Received(topic_of(message), bytes(message.payload), says_columns(message))
        self._events(received)

    def _on_log(self, _c: Client, _u: Any, level: int, text: str) -> None:
        """Keep what TLS says: paho ends the connection and tells nobody else."""
        if level == LogLevel.MQTT_LOG_ERR and "SSL: " in text:
            self._said = text.partition("SSL: ")[2].partition("]")[0]

    def _on_disconnect(self, _c: Client, _u: Any, flags: Any, reason: ReasonCode, _p: Any) -> None:
        given = reason.value if flags.is_disconnect_packet_from_server else 0
        self._post(self._settle, reason)
        self._post(self._closed.set)
        self._post(self._events, Lost(str(reason), given))
