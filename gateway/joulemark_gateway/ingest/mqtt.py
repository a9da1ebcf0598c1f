"""The MQTT 5 side of the collector: bytes in, answers out, and the acknowledgement last.

The order for every message is: judge, COMMIT, publish the answer, acknowledge to the broker. A
message whose evidence could not be committed is not acknowledged; the broker holds it and, should
the broker forget it, the agent still has it, because only the receipt lets it delete.

Limits: a message of at most MAX_WIRE_BYTES; RECEIVE_MAXIMUM unacknowledged messages in all;
`waiting_batches` of one agent. What an agent sends beyond its share is acknowledged unread, so that
it does not take the window of the others, and once its share is worked off the agent is told by a
`hole` from where to send again. All agents are served in turn, one batch each; a hostile batch that
unpacks to the limit costs the others up to about a second of waiting, once a turn. Who goes on
sending beyond its share is not listened to for a while, see `floods`.

With a group, the broker gives each batch to one of several collectors (`early`); what is shown
live and is no evidence goes to all of them (docs/decisions/0032).

A broker whose queue to us was full may have dropped acknowledgements of our answers: paho would
wait for them for ever and send no more than 20 further ones. So answers that are not acknowledged
in ANSWER_S end the connection; paho sends them again on the next one.
"""

from __future__ import annotations

import logging
import secrets
import ssl
import sys
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, LogLevel
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from joulemark_agent.contract.batch import MAX_WIRE_BYTES
from joulemark_agent.contract.errors import ConfigError, EvidenceError, StoreError, UplinkError
from joulemark_agent.contract.topics import ALL_UP, parse_topic
from joulemark_agent.mqtt_client import LimitedClient, topic_of, with_columns
from joulemark_agent.tls import TlsFiles, client_context, read_again
from joulemark_gateway.ingest.early import LOOK_S, Early, EarlyBatches
from joulemark_gateway.ingest.fair import FairQueue
from joulemark_gateway.ingest.floods import Floods, filters
from joulemark_gateway.ingest.intake import Answer
from joulemark_gateway.ingest.live import KINDS
from joulemark_gateway.ingest.requests import Requests

RECEIVE_MAXIMUM = 512
KEEPALIVE_S = 20  # paho finds a silent broker within twice that
TURN_S = 0.2  # how long a stop may go unnoticed
STORE_RETRY_S = 1.0
_SHORTEST_WAIT_S, _LONGEST_WAIT_S = 0.25, 2  # between two attempts to connect
_TOPIC_ROOM = 4096
ANSWER_S = 10.0  # in which the broker acknowledges an answer
_FILTERS = 100  # of one subscription
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


class Sharing(Protocol):
    """What decides besides where collectors share what arrives: `intake.Intake`."""

    def take_or_wait(self, topic: str, payload: bytes) -> Answer | Early | None:
        """As `Taker.take`, but what came before its predecessor may wait for it."""

    def sizes(self, origins: Collection[str]) -> Mapping[str, int]:
        """How far trees are held."""


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
        agents: Collection[str],
        waiting_batches: int,
        on_growth: Callable[[], None] = lambda: None,
        greetings: Callable[[], Sequence[Answer]] = tuple,
        requests: Requests | None = None,
        tls: TlsFiles | None = None,
        on_turn: Callable[[], None] = lambda: None,
        group: str | None = None,
        sharing: Sharing | None = None,
    ) -> None:
        """Nothing is connected yet.

        Args:
            broker: where to.
            taker: what decides on messages; called by the thread of `run` only.
            agents: those that are registered; all others share one share of the queue.
            waiting_batches: how many messages of one agent may wait.
            on_growth: called after a batch was committed.
            requests: what agents are asked for; None: nothing.
            greetings: what is told as often as the broker has connected us; StoreError: nothing is.
            tls: our certificate and whose broker to believe; None: with mqtts any authority that
                this machine believes.
            on_turn: called at every turn of `run`, and at every attempt while the store is down.
            group: the collectors with which to share what arrives; None: all of it comes here.
            sharing: decides with `taker` where there is a group.

        Raises:
            ConfigError: these files cannot be used.
        """
        self._broker, self._taker, self._agents = broker, taker, agents
        self._on_growth, self._greetings, self._tls = on_growth, greetings, tls
        self._requests, self._on_turn = requests, on_turn
        self._group, self._sharing = group, sharing if group is not None else None
        self._queue: FairQueue[_Message] = FairQueue(waiting_batches)
        self._early: EarlyBatches[_Message] = EarlyBatches(waiting_batches)
        self._dropped: defaultdict[str, set[str]] = defaultdict(set)  # devices by agent
        self._floods = Floods()
        self._lock = threading.Lock()
        self._connection, self._connected_s, self._watched_s = 0, 0.0, 0.0
        self._is_leaving = False  # of our own will, to connect again
        self._filters: tuple[str, ...] = ()  # that this connection subscribed to
        self._granting = 0  # subscriptions of which the broker has not said whether they are
        self._unheard: deque[tuple[float, mqtt.MQTTMessageInfo]] = deque()
        self._has_connected = False
        self._down_since: float | None = None
        self._said = ""
        self._fatal: UplinkError | None = None
        self.is_ready = threading.Event()  # subscribed
        self._is_new = threading.Event()  # subscribed, and nobody was told of it
        self._client = self._new_client()

    @property
    def is_busy(self) -> bool:
        """Whether messages wait."""
        return not self._queue.is_empty() or bool(self._early)

    def run(self, stop: threading.Event) -> None:
        """Serve until told to stop.

        Raises:
            UplinkError: the broker refuses the login or the subscription at the first attempt.
        """
        properties = self._client.limits()
        properties.ReceiveMaximum = RECEIVE_MAXIMUM
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
                self._on_turn()
                if self._fatal is not None:
                    raise self._fatal
                if self._is_new.is_set():
                    self._greet()
                self._ask()
                self._watch()
                self._serve_early(stop)
                found = self._queue.get(LOOK_S if self._early else TURN_S)
                if found is not None:
                    owner, message, was_last = found
                    self._serve(owner, message, stop, may_wait=True)
                    if was_last:
                        self._tell_dropped(owner)
        finally:
            self._client.disconnect()
            self._client.loop_stop()
            # Its sockets, the pair that wakes its thread included: left to the garbage collector
            # they may be found before their owner, and are warned of.
            self._client._reset_sockets()  # noqa: SLF001 - there is no public name for it

    def _new_client(self) -> LimitedClient:
        client = LimitedClient(
            CallbackAPIVersion.VERSION2,
            most_bytes=MAX_WIRE_BYTES + _TOPIC_ROOM,
            client_id=f"joulemark-collector-{secrets.token_hex(8)}",
            protocol=mqtt.MQTTv5,
            manual_ack=True,
        )
        if self._broker.username is not None:
            password = self._broker.password
            secret = password.get_secret_value() if password is not None else None
            client.username_pw_set(self._broker.username, secret)
        if self._broker.uses_tls:
            context = client_context(self._tls)
            client.tls_set_context(context)
            if self._tls is not None:
                client.on_pre_connect = partial(self._read_again, context, self._tls)
        # Annotated as whole seconds; parts of one do as well.
        client.reconnect_delay_set(_SHORTEST_WAIT_S, _LONGEST_WAIT_S)  # type: ignore[arg-type]
        client.max_queued_messages_set(0)
        client.on_log = self._on_log
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        return client

    def _read_again(
        self, context: ssl.SSLContext, files: TlsFiles, _client: mqtt.Client, _data: Any
    ) -> None:
        """Use what was renewed from this connection on; what cannot be read stays as it was."""
        try:
            read_again(context, files)
        except ConfigError as error:
            fields = {"code": error.code, "what": error.what, "do": error.do}
            log.error("certificate_unreadable", extra=fields)  # noqa: TRY400 - said in full

    def _ask(self) -> None:
        """Publish the requests that are due."""
        if self._requests is not None and self.is_ready.is_set():
            for message in self._requests.due():
                self._publish(message)

    def _watch(self) -> None:
        """Connect anew, with an empty queue at the broker, where that helps."""
        now_s = time.monotonic()
        if now_s - self._watched_s < 1:
            return
        self._watched_s, waiting = now_s, self._unheard
        while waiting and waiting[0][1].is_published():
            waiting.popleft()
        if not self.is_ready.is_set():
            return
        if waiting and now_s - max(waiting[0][0], self._connected_s) > ANSWER_S:
            self._note_down(f"answers are not acknowledged in {ANSWER_S:.0f} s")
        elif self._wanted(now_s) == self._filters:
            return
        self.is_ready.clear()
        self._is_leaving = True
        self._client.drop()

    def _publish(self, message: Answer) -> None:
        told = self._client.publish(message.topic, message.payload, 1, properties=with_columns())
        if told.rc == mqtt.MQTT_ERR_SUCCESS:
            self._unheard.append((time.monotonic(), told))

    def _greet(self) -> None:
        """Have agents send again at once what was under way when the connection ended."""
        self._is_new.clear()
        if self._requests is not None:
            self._requests.connected()
        with suppress(StoreError):  # agents send again by themselves, some seconds later
            for answer in self._greetings():
                self._publish(answer)

    def _serve_early(self, stop: threading.Event) -> None:
        """Judge what came before its predecessor and need wait no longer."""
        if self._sharing is None or not self._early.is_time(time.monotonic()):
            return
        try:
            sizes = self._sharing.sizes(self._early.origins)
        except StoreError:  # told, and waited for, with the next message
            sizes = {}
        for owner, message in self._early.due(sizes, time.monotonic()):
            self._serve(owner, message, stop, may_wait=False)

    def _serve(
        self, owner: str, message: _Message, stop: threading.Event, *, may_wait: bool
    ) -> None:
        try:
            answer = self._taken(message, stop, may_wait=may_wait)
            if isinstance(answer, Early):
                if self._early.put(owner, message, answer, time.monotonic()):
                    return
                answer = self._taken(message, stop, may_wait=False)
        except StoreError:  # stopped while the store was down: not acknowledged
            return
        assert not isinstance(answer, Early), "it was not to wait"
        if answer is not None:
            self._publish(answer)
        self._acknowledge(message)
        if answer is not None and answer.has_grown:
            self._on_growth()

    def _taken(
        self, message: _Message, stop: threading.Event, *, may_wait: bool
    ) -> Answer | Early | None:
        """The answer, however long the store is down; nothing is acknowledged meanwhile."""
        take: Callable[[str, bytes], Answer | Early | None] = self._taker.take
        if may_wait and self._sharing is not None:
            take = self._sharing.take_or_wait
        down_since: float | None = None
        while True:
            self._on_turn()
            try:
                answer = take(message.topic, message.payload)
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
                self._publish(answer)

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        topic = topic_of(message)
        try:
            _, agent, device, kind = parse_topic(topic)
        except EvidenceError:
            agent = device = kind = ""
        owner = agent if agent in self._agents else ""
        payload = bytes(message.payload[: MAX_WIRE_BYTES + 1])
        with self._lock:
            kept = _Message(topic, payload, message.mid, message.qos, self._connection)
        is_live = kind in KINDS  # a share of its own: it takes no batch's place
        if not self._queue.put(f"{owner}/live" if is_live else owner, kept):
            self._floods.dropped(owner, len(payload), time.monotonic())
            if owner and not is_live:
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
        self._connected_s = time.monotonic()
        wanted = self._wanted(self._connected_s)
        asked = [wanted[i : i + _FILTERS] for i in range(0, len(wanted), _FILTERS)]
        self._filters, self._granting = wanted, len(asked)
        for some in asked:
            client.subscribe([(topic, SubscribeOptions(qos=1)) for topic in some])
        if not asked:  # there is nobody else
            self._listen()

    def _wanted(self, now_s: float) -> tuple[str, ...]:
        """What to subscribe to now."""
        return filters(self._agents, self._floods.shut_out(now_s), self._group)

    def _on_subscribe(
        self,
        _client: mqtt.Client,
        _data: Any,
        _mid: int,
        reasons: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            first = next(reason for reason in reasons if reason.is_failure)
            self._refused(f"subscription to {', '.join(ALL_UP)}", first, is_login=True)
            return
        self._granting -= 1
        if self._granting == 0:
            self._listen()

    def _listen(self) -> None:
        """Say that all subscriptions of this connection are in force."""
        fields: dict[str, Any] = {"broker": self._broker.url}
        if self._down_since is not None:
            fields["seconds"] = round(time.monotonic() - self._down_since, 1)
        self._down_since, self._has_connected = None, True
        log.info("broker_connected", extra=fields)
        self._is_new.set()
        self.is_ready.set()

    def _on_connect_fail(self, _client: mqtt.Client, _data: Any) -> None:
        error = sys.exception()  # paho calls this where it handles what went wrong
        self._note_down(f"no connection: {error}" if error else "no connection")

    def _on_log(self, _client: mqtt.Client, _data: Any, level: int, text: str) -> None:
        """Keep what TLS says when the broker ends it: paho tells nobody else."""
        if level == LogLevel.MQTT_LOG_ERR and "SSL: " in text:
            self._said = f" ({text.partition('SSL: ')[2].partition(']')[0]})"

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
        if reason.is_failure and not self._is_leaving:
            self._note_down(f"{reason}{self._said}")
        self._is_leaving = False

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
