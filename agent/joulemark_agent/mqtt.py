"""One MQTT 5 connection with a clean start, over paho-mqtt, which stays behind this file.

The network runs in paho's own thread; what happens there arrives as events in the event loop. A
connection that was lost is not repaired: paho would send its own leftovers again, and what is sent
again is the uplink's decision. The next connection is a new object.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from joulemark_agent.contract.errors import UplinkError

KEEPALIVE_S = 15
_ANSWER_S = 10.0  # for the broker's answer to a connection or subscription
_GOODBYE_S = 1.0
_PORTS = {"mqtt": 1883, "mqtts": 8883}
_NO_PERMISSION = {0x86, 0x87, 0x8A}  # bad user name or password, not authorized, banned


@dataclass(frozen=True)
class Login:
    """Where the broker is and who connects."""

    url: str
    client_id: str
    username: str | None = None
    password: str | None = None

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


@dataclass(frozen=True)
class Lost:
    """The connection is gone."""

    why: str


Event = Acked | Received | Lost


class Connection:
    """An open connection; `events` is called in the event loop, in the order of arrival."""

    def __init__(self, login: Login, events: Callable[[Event], None]) -> None:
        self._login, self._events = login, events
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[ReasonCode] = self._loop.create_future()
        self._closed = asyncio.Event()
        self._client = self._new_client()

    async def open(self, topic: str) -> None:
        """Connect and subscribe to `topic`, so that no answer to what is sent can be missed.

        Raises:
            UplinkError: the broker is out of reach (`unreachable`) or refuses (`refused`).
        """
        host, port = self._login.address
        try:
            await asyncio.to_thread(
                self._client.connect, host, port, keepalive=KEEPALIVE_S, clean_start=True
            )
        except (OSError, ValueError) as error:
            raise UplinkError(
                f"The broker {self._login.url} cannot be reached: {error}.",
                "Check 'uplink.url', the network, and that the broker runs. Nothing is lost:"
                " readings wait in the outbox.",
                code="unreachable",
            ) from error
        try:
            self._client.loop_start()
            self._check(await self._answered(), "the connection", "Set 'uplink.username' and"
                        " JOULEMARK_UPLINK__PASSWORD to what the broker knows.")  # fmt: skip
            self._answer = self._loop.create_future()
            self._client.subscribe(topic, qos=1)
            self._check(await self._answered(), f"the subscription to {topic!r}",
                        "Allow it in the broker's access list.")  # fmt: skip
        except BaseException:
            await self.close()
            raise

    def publish(self, topic: str, payload: bytes) -> int:
        """Hand a message to the network thread with QoS 1; its `Acked` has the number returned."""
        return self._client.publish(topic, payload, qos=1).mid

    async def close(self) -> None:
        """Say goodbye and end the network thread; returns within about a second."""
        self._client.disconnect()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_S):
                await self._closed.wait()
        if (sock := self._client.socket()) is not None:  # the peer does not even take a goodbye
            with contextlib.suppress(OSError):
                cast("socket.socket", sock).shutdown(socket.SHUT_RDWR)
        await asyncio.to_thread(self._client.loop_stop)
        # Its sockets, the pair that wakes its thread included: left to the garbage collector they
        # may be found before their owner, and are warned of.
        self._client._reset_sockets()  # noqa: SLF001 - there is no public name for it

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
        if reason.value not in _NO_PERMISSION:
            do = "Look into the broker's log; MQTT 5 is needed."
        raise UplinkError(
            f"The broker {self._login.url} refuses {what} of {self._login.client_id!r}"
            f" (user {self._login.username!r}): {reason}.",
            f"{do} Readings wait in the outbox.",
            code="refused",
        )

    def _new_client(self) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._login.client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
        )
        if self._login.username is not None:
            client.username_pw_set(self._login.username, self._login.password)
        if self._login.url.startswith("mqtts:"):
            client.tls_set()
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        return client

    # Everything below runs in paho's thread.

    def _post(self, call: Callable[..., None], *args: object) -> None:
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
        self._post(self._settle, reasons[0])

    def _on_publish(self, _c: Client, _u: Any, mid: int, reason: ReasonCode, _p: Any) -> None:
        self._post(self._events, Acked(mid, reason.value, str(reason)))

    def _on_message(self, _c: Client, _u: Any, message: MQTTMessage) -> None:
        self._post(self._events, Received(message.topic, bytes(message.payload)))

    def _on_disconnect(self, _c: Client, _u: Any, _f: Any, reason: ReasonCode, _p: Any) -> None:
        self._post(self._settle, reason)
        self._post(self._closed.set)
        self._post(self._events, Lost(str(reason)))
