"""The MQTT 5 side of the collector: bytes in, answers out, and the acknowledgement last.

The order for every message is: judge, COMMIT, publish the answer, acknowledge to the broker. A
message whose evidence could not be committed is not acknowledged; the broker holds it and, should
the broker forget it, the agent still has it, because only the receipt lets it delete.

Limits: a message of at most MAX_WIRE_BYTES; RECEIVE_MAXIMUM unacknowledged messages in all;
`waiting_batches` of one agent. What an agent sends beyond its share is acknowledged unread, so that
it does not take the window of the others, and once its share is worked off the agent is told by a
`hole` from where to send again. All agents are served in turn, one batch each; a hostile batch that
unpacks to the limit costs the others up to about a second of waiting, once a turn.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from joulemark_agent.contract.batch import MAX_WIRE_BYTES
from joulemark_agent.contract.errors import EvidenceError, StoreError, UplinkError
from joulemark_agent.contract.topics import ALL_BATCHES, parse_topic
from joulemark_gateway.ingest.fair import FairQueue
from joulemark_gateway.ingest.intake import Answer

RECEIVE_MAXIMUM = 512
KEEPALIVE_S = 30
TURN_S = 0.2  # how long a stop may go unnoticed
STORE_RETRY_S = 1.0
_LONGEST_WAIT_S = 2  # between two attempts to connect
_TOPIC_ROOM = 4096
_LOGIN_REFUSED = {0x86, 0x87, 0x8A, 0x8C}  # bad user or password, not authorized, banned, method

log = logging.getLogger(__name__)


class Taker(Protocol):
    """What decides on messages: `intake.Intake`."""

    def take(self, topic: str, payload: bytes) -> Answer | None:
        """The answer to a message that is kept, whichever way."""

    def expected(self, agent: str, device: str) -> Answer | None:
        """What an agent is told to send again from."""

    def reopen(self) -> None:
        """Open the store again."""


class Broker(Protocol):
    """How to reach the broker: `settings.BrokerSettings`."""

    @property
    def url(self) -> str:
        """For messages to people."""

    @property
    def host(self) -> str:
        """Name or address."""

    @property
    def port(self) -> int:
        """The port."""

    @property
    def uses_tls(self) -> bool:
        """Whether to encrypt."""

    @property
    def username(self) -> str | None:
        """Who logs in."""

    @property
    def password(self) -> Any:
        """A SecretStr, or None."""


@dataclass(frozen=True)
class _Message:
    topic: str
    payload: bytes
    mid: int
    qos: int
    connection: int  # acknowledged on the connection it came by, or not at all


class Subscriber:
    """One connection to the broker, and the worker that takes what comes over it."""

    def __init__(
        self,
        broker: Broker,
        taker: Taker,
        *,
        agents: frozenset[str],
        waiting_batches: int,
        on_growth: Callable[[], None] = lambda: None,
    ) -> None:
        """Nothing is connected yet.

        Args:
            broker: where to.
            taker: what decides on messages; called by the thread of `run` only.
            agents: those that are registered; all others share one share of the queue.
            waiting_batches: how many messages of one agent may wait.
            on_growth: called after a batch was committed.
        """
        self._broker, self._taker, self._agents = broker, taker, agents
        self._on_growth = on_growth
        self._queue: FairQueue[_Message] = FairQueue(waiting_batches)
        self._dropped: defaultdict[str, set[str]] = defaultdict(set)  # devices by agent
        self._lock = threading.Lock()
        self._connection = 0
        self._has_connected = False
        self._down_since: float | None = None
        self._fatal: UplinkError | None = None
        self.is_ready = threading.Event()  # subscribed
        self._client = self._new_client()

    @property
    def is_busy(self) -> bool:
        """Whether messages wait."""
        return not self._queue.is_empty()

    def run(self, stop: threading.Event) -> None:
        """Serve until told to stop.

        Raises:
            UplinkError: the broker refuses the login or the subscription at the first attempt.
        """
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho's
        properties.ReceiveMaximum = RECEIVE_MAXIMUM
        properties.MaximumPacketSize = MAX_WIRE_BYTES + _TOPIC_ROOM
        properties.SessionExpiryInterval = 0
        self._client.connect_async(
            self._broker.host,
            self._broker.port,
            keepalive=KEEPALIVE_S,
            clean_start=True,
            properties=properties,
        )
        self._client.loop_start()
        try:
            while not stop.is_set():
                if self._fatal is not None:
                    raise self._fatal
                found = self._queue.get(TURN_S)
                if found is not None:
                    self._serve(*found, stop)
        finally:
            self._client.disconnect()
            self._client.loop_stop()
            # Its sockets, the pair that wakes its thread included: left to the garbage collector
            # they may be found before their owner, and are warned of.
            self._client._reset_sockets()  # noqa: SLF001 - there is no public name for it

    def _new_client(self) -> mqtt.Client:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"joulemark-collector-{secrets.token_hex(8)}",
            protocol=mqtt.MQTTv5,
            manual_ack=True,
        )
        if self._broker.username is not None:
            password = self._broker.password
            secret = password.get_secret_value() if password is not None else None
            client.username_pw_set(self._broker.username, secret)
        if self._broker.uses_tls:
            client.tls_set()
        client.reconnect_delay_set(1, _LONGEST_WAIT_S)
        client.max_queued_messages_set(0)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        return client

    def _serve(self, owner: str, message: _Message, was_last: bool, stop: threading.Event) -> None:
        try:
            answer = self._taken(message, stop)
        except StoreError:  # stopped while the store was down: not acknowledged
            return
        if answer is not None:
            self._client.publish(answer.topic, answer.payload, qos=1)
        self._acknowledge(message)
        if answer is not None and answer.has_grown:
            self._on_growth()
        if was_last:
            self._tell_dropped(owner)

    def _taken(self, message: _Message, stop: threading.Event) -> Answer | None:
        """The answer, however long the store is down; nothing is acknowledged meanwhile."""
        down_since: float | None = None
        while True:
            try:
                answer = self._taker.take(message.topic, message.payload)
            except StoreError as error:
                if down_since is None:
                    down_since = time.monotonic()
                    fields = {"code": error.code, "what": error.what, "do": error.do}
                    log.error("store_down", extra=fields)  # noqa: TRY400 - said in full
                if stop.wait(STORE_RETRY_S):
                    raise
                self._reopen()
                continue
            if down_since is not None:
                seconds = round(time.monotonic() - down_since, 1)
                log.info("store_back", extra={"seconds": seconds})
            return answer

    def _reopen(self) -> None:
        try:
            self._taker.reopen()
        except StoreError as error:
            log.debug("store_still_down", extra={"code": error.code})

    def _acknowledge(self, message: _Message) -> None:
        with self._lock:
            if message.connection == self._connection:
                self._client.ack(message.mid, message.qos)

    def _tell_dropped(self, owner: str) -> None:
        with self._lock:
            devices = self._dropped.pop(owner, set())
        for device in sorted(devices):
            try:
                answer = self._taker.expected(owner, device)
            except StoreError:  # told when its next share is worked off
                with self._lock:
                    self._dropped[owner].add(device)
                continue
            if answer is not None:
                log.warning("flood_dropped", extra={"agent": owner, "device": device})
                self._client.publish(answer.topic, answer.payload, qos=1)

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        try:
            _, agent, device, _ = parse_topic(message.topic)
        except EvidenceError:
            agent, device = "", ""
        owner = agent if agent in self._agents else ""
        payload = bytes(message.payload[: MAX_WIRE_BYTES + 1])
        with self._lock:
            kept = _Message(message.topic, payload, message.mid, message.qos, self._connection)
        if not self._queue.put(owner, kept):
            if owner:
                with self._lock:
                    self._dropped[owner].add(device)
            self._acknowledge(kept)

    def _on_connect(
        self,
        client: mqtt.Client,
        _data: Any,
        _flags: mqtt.ConnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self._refused("login", reason, is_login=reason.value in _LOGIN_REFUSED)
            return
        with self._lock:
            self._connection += 1
        client.subscribe(ALL_BATCHES, options=SubscribeOptions(qos=1))

    def _on_subscribe(
        self,
        _client: mqtt.Client,
        _data: Any,
        _mid: int,
        reasons: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            self._refused(f"subscription to {ALL_BATCHES}", reasons[0], is_login=True)
            return
        fields: dict[str, Any] = {"broker": self._broker.url}
        if self._down_since is not None:
            fields["seconds"] = round(time.monotonic() - self._down_since, 1)
        self._down_since, self._has_connected = None, True
        log.info("broker_connected", extra=fields)
        self.is_ready.set()

    def _on_connect_fail(self, _client: mqtt.Client, _data: Any) -> None:
        self._note_down("no connection")

    def _on_disconnect(
        self,
        _client: mqtt.Client,
        _data: Any,
        _flags: mqtt.DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self.is_ready.clear()
        with self._lock:
            self._connection += 1
        if reason.is_failure:
            self._note_down(str(reason))

    def _refused(self, what: str, reason: ReasonCode, *, is_login: bool) -> None:
        if is_login and not self._has_connected:
            self._fatal = UplinkError(
                f"The broker {self._broker.url} refuses our {what}: {reason}.",
                "Check broker.username, JOULEMARK_COLLECTOR_BROKER__PASSWORD and the broker's "
                "access list.",
                code="broker_refused",
            )
        self._note_down(f"{what} refused: {reason}")

    def _note_down(self, why: str) -> None:
        """Say once that the broker is away; the way back is said by `_on_subscribe`."""
        if self._down_since is None and self._fatal is None:
            self._down_since = time.monotonic()
            log.warning("broker_down", extra={"broker": self._broker.url, "why": why})
