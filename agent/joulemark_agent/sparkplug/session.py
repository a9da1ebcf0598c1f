"""The edge node's connection: will first, then births, data while somebody listens, and a death.

One thread, one connection after the other, each with the next bdSeq, which is on disk before the
connection is made and so goes on over restarts. While no broker is there, or the primary host is
away, readings wait, as many as the site allows; what waited is sent as historical. From a host only
one command is heard, to be born again: nothing that arrives here can reach a machine.
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
from dataclasses import dataclass
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
from joulemark_agent.sparkplug.node import REBIRTH, ROOT, BornDevice, EdgeNode, Message, Sample
from joulemark_agent.sparkplug.payload import parse_payload
from joulemark_agent.tls import client_context

log = logging.getLogger(__name__)

STATE_FILE = "sparkplug.json"
KEEPALIVE_S = 15
_BDSEQS = 256
_MOST_BYTES = 256 * 1024
_RETRY_S, _LONGEST_RETRY_S, _TURN_S, _GOODBYE_S = 1.0, 8.0, 0.5, 2.0
_WITH_WILL = 0x04
_SILENT_PERIODS = 3


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
        self._newest: dict[str, Sample] = {}
        self._heard_s: dict[str, float] = {}
        self._stop = threading.Event()
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
            if len(self._waiting) >= self._node.buffered:
                self._waiting.popleft()
                self._lost += 1
            self._waiting.append(sample)
            self._newest[sample.device] = sample
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
            except (OSError, ValueError, ConfigError) as error:
                log.warning("sparkplug_unreachable", extra={"what": str(error)[:200]})
                was_connected = False
            retry_s = _RETRY_S if was_connected else min(2 * retry_s, _LONGEST_RETRY_S)
            self._stop.wait(retry_s)

    def _connection(self) -> bool:
        """One connection from its will to its end; whether it was ever open."""
        node = self._edge_node()
        self._events = queue.Queue()
        self._host = HostState(self._node.primary_host)
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
        told = self._node
        return EdgeNode(told.group, told.name, self._devices, self._next_bdseq(), told.text, newest)

    def _client(self, node: EdgeNode) -> LimitedClient:
        client = LimitedClient(
            CallbackAPIVersion.VERSION2,
            client_id=f"{self._node.name}-sparkplug",
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
        while not self._stop.is_set():
            try:
                kind, content = self._events.get(timeout=_TURN_S)
            except queue.Empty:
                kind, content = "", None
            if kind == "lost":
                log.warning("sparkplug_lost", extra={"what": str(content)})
            if kind in {"lost", "changed"}:
                return is_open
            if kind == "open":
                is_open = True
                for topic in self._topics(node):
                    client.subscribe(topic, qos=1)
            elif kind == "state" and self._host.hears(content) and is_born:
                if not self._host.is_online:  # it starts again from the beginning
                    return is_open
            elif kind == "command" and is_born and _asks_for_rebirth(content):
                self._publish(client, node.births(self._now_ms()))
            if is_open and not is_born and self._host.is_online:
                is_born = True
                with self._lock:
                    backlog, self._waiting = self._waiting, deque()
                self._publish(client, node.births(self._now_ms()))
                log.info("sparkplug_born", extra={"bdseq": node.bdseq, "waited": len(backlog)})
                self._send(client, node, backlog, is_historical=True)
            if is_born:
                with self._lock:
                    samples, self._waiting = self._waiting, deque()
                self._send(client, node, samples, is_historical=False)
                self._bury_the_silent(client, node)
        return is_open

    def _send(
        self, client: LimitedClient, node: EdgeNode, samples: deque[Sample], *, is_historical: bool
    ) -> None:
        for sample in samples:
            messages = node.data(sample, self._now_ms(), is_historical=is_historical)
            self._publish(client, messages)
        with self._lock:
            lost, self._lost = self._lost, 0
        if lost:
            log.warning("sparkplug_buffer_full", extra={"readings": lost})

    def _bury_the_silent(self, client: LimitedClient, node: EdgeNode) -> None:
        for device in sorted(self._silent()):
            self._publish(client, node.silence(device, self._now_ms()))

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
    def _publish(client: LimitedClient, messages: Sequence[Message]) -> None:
        for message in messages:
            client.publish(message.topic, message.payload, qos=message.qos, retain=False)

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
        kind = "state" if topic.startswith(f"{ROOT}/STATE/") else "command"
        if "/DCMD/" not in topic:  # a device takes no commands here
            self._events.put((kind, bytes(message.payload)))


class HostState:
    """Whether the primary host is there, by its newest word; without one, somebody always is."""

    def __init__(self, host: str | None) -> None:
        self.is_online = host is None
        self._last_ms = -1

    def hears(self, payload: bytes) -> bool:
        """Take a STATE message; False where it is older than the last, or none."""
        try:
            content = json.loads(payload)
            online, time_ms = content["online"], content["timestamp"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return False
        if type(online) is not bool or type(time_ms) is not int or time_ms < self._last_ms:
            return False
        self.is_online, self._last_ms = online, time_ms
        return True


def _asks_for_rebirth(payload: bytes) -> bool:
    try:
        content = parse_payload(payload)
    except EvidenceError as error:
        log.warning("sparkplug_command_refused", extra={"what": error.what})
        return False
    return any(metric.name == REBIRTH and metric.value is True for metric in content.metrics)
