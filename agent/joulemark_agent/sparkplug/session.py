"""The edge node's connection: will first, then births, data while somebody listens, and a death.

One thread, one connection after the other, each with the next bdSeq, which is on disk before the
connection is made and so goes on over restarts. While no broker is there, or the primary host is
away, readings wait, as many as the site allows; what waited is sent as historical, no faster than
the broker takes it. From a host only one command is heard, to be born again, and not more than once
a second: nothing that arrives here can reach a machine.
"""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from joulemark_agent.contract.errors import ConfigError, EvidenceError
from joulemark_agent.files import replace_file
from joulemark_agent.mqtt import Login
from joulemark_agent.mqtt_client import LimitedClient, topic_of
from joulemark_agent.sparkplug.host import HostState, asks_for_rebirth
from joulemark_agent.sparkplug.node import (
    ROOT,
    BornDevice,
    EdgeNode,
    Known,
    Message,
    Sample,
    known_with,
)
from joulemark_agent.tls import client_context

log = logging.getLogger(__name__)

STATE_FILE = "sparkplug.json"
KEEPALIVE_S = 15
_BDSEQS = 256
_MOST_BYTES = 256 * 1024
_RETRY_S, _LONGEST_RETRY_S, _TURN_S, _GOODBYE_S = 1.0, 8.0, 0.5, 2.0
_WITH_WILL = 0x04
_SILENT_PERIODS = 3
_BETWEEN_BIRTHS_S = 1.0  # however often a host asks
_AT_ONCE, _LOOK_S = 100, 0.01  # readings that are handed to the connection; then it must take them


@dataclass(frozen=True)
class Node:
    """Who speaks, and to whom."""

    group: str
    name: str
    primary_host: str | None  # None: it speaks whether a host is there or not
    buffered: int  # readings that wait at most
    text: Mapping[str, str]


class Session:
    """Tells a Sparkplug host what is read; `offer` may be called by any thread."""

    def __init__(
        self,
        login: Login,
        node: Node,
        state_dir: Path,
        *,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """Nothing is connected yet.

        Args:
            login: the broker.
            node: who speaks.
            state_dir: where bdSeq is kept.
            now_ms: wall time, UTC.
        """
        self._login, self._node = login, node
        self._path, self._now_ms = state_dir / STATE_FILE, now_ms
        self._devices: tuple[BornDevice, ...] = ()
        self._periods_s: Mapping[str, float] = {}
        self._waiting: deque[Sample] = deque()
        self._lost = 0
        self._lock = threading.Lock()
        self._events: queue.Queue[tuple[str, Any]] = queue.Queue()
        self._newest: dict[str, Known] = {}
        self._heard_s: dict[str, float] = {}
        self._stop, self._is_asked_for_birth = threading.Event(), threading.Event()
        self._has_refused = False  # a command on this connection
        self._host = HostState(node.primary_host)
        self._thread = threading.Thread(target=self._run, name="sparkplug", daemon=True)

    def start(self) -> None:
        """Begin to speak."""
        self._thread.start()

    def change(self, devices: Sequence[BornDevice], periods_s: Mapping[str, float]) -> None:
        """Speak of these devices from now on, in a new session where one is open.

        Args:
            devices: what their births state.
            periods_s: how often each is read; silent for three of them, it is dead.
        """
        with self._lock:
            self._devices, self._periods_s = tuple(devices), dict(periods_s)
            self._newest = {name: one for name, one in self._newest.items() if name in periods_s}
            self._heard_s = {name: at for name, at in self._heard_s.items() if name in periods_s}
        self._events.put(("changed", None))

    def offer(self, sample: Sample) -> None:
        """A reading; where too many wait the oldest gives way, and that is said."""
        with self._lock:
            if sample.device not in self._periods_s:
                return
            self._waiting.append(sample)
            self._give_way()
            known = self._newest.get(sample.device, {})
            self._newest[sample.device] = known_with(known, sample)
            self._heard_s[sample.device] = time.monotonic()
        self._events.put(("sample", None))

    def close(self) -> None:
        """Say that the node dies, and disconnect."""
        self._stop.set()
        self._events.put(("stop", None))
        self._thread.join(2 * _GOODBYE_S)

    # ------------------------------------------------------------- connection

    def _run(self) -> None:
        retry_s = _RETRY_S
        while not self._stop.is_set():
            try:
                was_connected = self._connection()
            except (OSError, ValueError, RuntimeError, ConfigError) as error:
                log.warning("sparkplug_unreachable", extra={"what": str(error)[:200]})
                was_connected = False
            retry_s = _RETRY_S if was_connected else min(2 * retry_s, _LONGEST_RETRY_S)
            self._stop.wait(retry_s)

    def _connection(self) -> bool:
        """One connection from its will to its end; whether it was ever open."""
        self._events = queue.Queue()  # before the node: a change from here on is heard
        self._is_asked_for_birth.clear()
        self._has_refused = False
        self._host = HostState(self._node.primary_host)
        node = self._edge_node()
        client = self._client(node)
        host, port = self._login.address
        properties = client.limits()
        properties.SessionExpiryInterval = 0
        client.connect(host, port, KEEPALIVE_S, clean_start=True, properties=properties)
        client.loop_start()
        is_open = False
        try:
            is_open = self._speak(client, node)
            return is_open
        finally:
            self._goodbye(client, node, is_open=is_open)

    def _edge_node(self) -> EdgeNode:
        """The node of a new connection, its devices as they were last heard."""
        silent = self._silent()
        with self._lock:
            newest = {name: one for name, one in self._newest.items() if name not in silent}
            devices = self._devices
        told = self._node
        return EdgeNode(told.group, told.name, devices, self._next_bdseq(), told.text, newest)

    def _client(self, node: EdgeNode) -> LimitedClient:
        client = LimitedClient(
            CallbackAPIVersion.VERSION2,
            client_id=f"{self._node.group}/{self._node.name}",  # as unique as the node must be
            protocol=mqtt.MQTTv5,
            reconnect_on_failure=False,
            most_bytes=_MOST_BYTES,
        )
        if self._login.username is not None:
            client.username_pw_set(self._login.username, self._login.password)
        if self._login.tls is not None:
            client.tls_set_context(client_context(self._login.tls))
        elif self._login.is_encrypted:
            client.tls_set()
        death = node.death(self._now_ms())
        client.will_set(death.topic, death.payload, qos=1, retain=False)
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        return client

    def _speak(self, client: LimitedClient, node: EdgeNode) -> bool:
        """Serve one connection; whether it was ever open."""
        is_open = is_born = False
        born_s, out = 0.0, _Outgoing()
        try:
            while not self._stop.is_set():
                kind, content = self._next_event(_LOOK_S if out.samples else _TURN_S)
                if kind == "lost":
                    log.warning("sparkplug_lost", extra={"what": str(content)})
                if kind in {"lost", "changed"}:
                    return is_open
                if kind == "open":
                    is_open = True
                    for topic in self._topics(node):
                        client.subscribe(topic, qos=1)
                if kind == "state":
                    self._host.hear(content)
                    if is_born and not self._host.is_online:
                        return is_open  # it starts again from the beginning
                if is_open and not is_born and self._host.is_online:
                    is_born, born_s = True, self._be_born(client, node)
                    self._take(out, is_historical=True)
                    fields = {"bdseq": node.bdseq, "waited": len(out.samples)}
                    log.info("sparkplug_born", extra=fields)
                if is_born and self._is_asked_for_birth.is_set():
                    if time.monotonic() - born_s < _BETWEEN_BIRTHS_S:
                        continue  # and no data meanwhile
                    born_s = self._be_born(client, node)
                if is_born:
                    self._tell(client, node, out)
            return is_open
        finally:
            with self._lock:
                self._waiting.extendleft(sample for sample, _ in reversed(out.samples))
                self._give_way()

    def _next_event(self, timeout_s: float) -> tuple[str, Any]:
        try:
            return self._events.get(timeout=timeout_s)
        except queue.Empty:
            return "", None

    def _be_born(self, client: LimitedClient, node: EdgeNode) -> float:
        """Publish all births; the monotonic time of that. [s]"""
        self._is_asked_for_birth.clear()
        self._publish(client, node.births(self._now_ms()))
        return time.monotonic()

    def _take(self, out: _Outgoing, *, is_historical: bool) -> None:
        """Have what waits be sent next."""
        with self._lock:
            samples, self._waiting = self._waiting, deque()
            lost, self._lost = self._lost, 0
        out.samples.extend((sample, is_historical) for sample in samples)
        if lost:
            log.warning("sparkplug_buffer_full", extra={"readings": lost})

    def _tell(self, client: LimitedClient, node: EdgeNode, out: _Outgoing) -> None:
        """Send some readings, if the connection has taken those before."""
        if out.last is not None and not out.last.is_published():
            return
        if not out.samples:
            self._take(out, is_historical=False)
        for _ in range(min(_AT_ONCE, len(out.samples))):
            sample, is_historical = out.samples[0]
            messages = node.data(sample, self._now_ms(), is_historical=is_historical)
            out.last = self._publish(client, messages) or out.last
            out.samples.popleft()
        for device in sorted(self._silent()):
            self._publish(client, node.silence(device, self._now_ms()))

    def _give_way(self) -> None:
        """Have no more wait than the site allows: the oldest go."""
        while len(self._waiting) > self._node.buffered:
            self._waiting.popleft()
            self._lost += 1

    def _silent(self) -> set[str]:
        """The devices that have not answered for so long that they count as dead."""
        now_s = time.monotonic()
        with self._lock:
            return {
                device
                for device, heard_s in self._heard_s.items()
                if now_s - heard_s > _SILENT_PERIODS * self._periods_s[device] + _TURN_S
            }

    def _goodbye(self, client: LimitedClient, node: EdgeNode, *, is_open: bool) -> None:
        if is_open and client.is_connected():
            death = node.death(self._now_ms())
            sent = client.publish(death.topic, death.payload, qos=death.qos)
            with contextlib.suppress(RuntimeError, ValueError):
                sent.wait_for_publish(_GOODBYE_S)
            client.disconnect(reasoncode=ReasonCode(PacketTypes.DISCONNECT, identifier=_WITH_WILL))
        else:
            client.disconnect()
        client.loop_stop()
        client._reset_sockets()  # noqa: SLF001 - there is no public name for it

    @staticmethod
    def _publish(client: LimitedClient, messages: Sequence[Message]) -> mqtt.MQTTMessageInfo | None:
        """Hand messages to the connection, all of quality of service 0; the last of them.

        Raises:
            ConnectionError: it takes none any more.
        """
        last = None
        for message in messages:
            last = client.publish(message.topic, message.payload, qos=message.qos, retain=False)
            if last.rc != mqtt.MQTT_ERR_SUCCESS:
                raise ConnectionError(mqtt.error_string(last.rc))
        return last

    def _topics(self, node: EdgeNode) -> list[str]:
        topics = [node.topic("NCMD"), node.topic("DCMD", "+")]
        if self._node.primary_host is not None:
            topics.append(f"{ROOT}/STATE/{self._node.primary_host}")
        return topics

    def _next_bdseq(self) -> int:
        """The number of the next connection, on disk before it is used."""
        try:
            last = json.loads(self._path.read_bytes())["bdseq"]
        except (OSError, ValueError, KeyError, TypeError):
            last = -1
        following = (last + 1) % _BDSEQS if type(last) is int else 0
        replace_file(self._path, json.dumps({"bdseq": following}).encode())
        return following

    # Everything below runs in paho's thread.

    def _on_connect(
        self, _c: mqtt.Client, _u: Any, _f: Any, reason: ReasonCode, _p: Properties | None
    ) -> None:
        self._events.put(("lost", reason) if reason.is_failure else ("open", None))

    def _on_disconnect(
        self, _c: mqtt.Client, _u: Any, _f: Any, reason: ReasonCode, _p: Properties | None
    ) -> None:
        self._events.put(("lost", reason))

    def _on_message(self, _c: mqtt.Client, _u: Any, message: mqtt.MQTTMessage) -> None:
        topic = topic_of(message)
        if topic.startswith(f"{ROOT}/STATE/"):
            self._events.put(("state", bytes(message.payload)))
            return
        if "/DCMD/" in topic or self._is_asked_for_birth.is_set():  # a device takes no commands
            return
        try:
            is_asked = asks_for_rebirth(bytes(message.payload))
        except EvidenceError as error:
            if not self._has_refused:  # once a connection, however many come
                log.warning("sparkplug_command_refused", extra={"what": error.what})
            self._has_refused = True
            return
        if is_asked:
            self._is_asked_for_birth.set()
            self._events.put(("birth", None))


@dataclass
class _Outgoing:
    """What is to be sent, each with whether it is historical; the last message on its way."""

    samples: deque[tuple[Sample, bool]] = field(default_factory=deque)
    last: mqtt.MQTTMessageInfo | None = None
