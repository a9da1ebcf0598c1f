"""One agent that floods a collector behind a broker, beside one that waits for its receipts."""

from __future__ import annotations

import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from joulemark_agent.contract.batch import MAX_WIRE_BYTES, Batch, batch_bytes
from joulemark_agent.contract.signature import new_private_key, public_key
from joulemark_agent.contract.topics import all_answers, batch_topic
from joulemark_gateway.ingest import fair, mqtt
from joulemark_gateway.ingest.registered import Agent, Registry
from joulemark_gateway.settings import BrokerSettings
from support.book import registry
from support.child import search_path
from support.evidence import AGENT, METER, SITE
from support.hostile_broker import length, text
from support.intakes import new_intake

FLOODER, OTHERS = "edge-9", "oven"
WAIT_S = 30.0
SHARE, QUARANTINE = 32, 200  # messages
_CONNECT = b"\x10" + length(10 + 1 + 2 + len(FLOODER)) + text(b"MQTT") + b"\5\2\0\x3c\0" + text(FLOODER.encode())  # fmt: skip # noqa: E501


def _said(topic: str, payload: bytes) -> bytes:
    """A PUBLISH that nobody acknowledges: as many as the wire takes."""
    body = text(topic.encode()) + b"\0" + payload
    return b"\x30" + length(len(body)) + body


def _large() -> list[bytes]:
    noise = [os.urandom(MAX_WIRE_BYTES - 300) for _ in range(8)]
    return [_said(batch_topic(FLOODER, OTHERS), some) for some in noise]


def _bombs() -> list[bytes]:
    """Each unpacks to all that may be unpacked, and is refused then."""
    filled = [f'{{"leaves":{json.dumps(["x" * 60] * (100_000 + i))}}}' for i in range(4)]
    packed = [zlib.compress(text.replace(" ", "").encode()) for text in filled]
    return [_said(batch_topic(FLOODER, OTHERS), data) for data in packed]


FLOODS = {
    "small messages at the full rate": lambda: [
        _said(batch_topic(FLOODER, OTHERS), b"%d" % i) for i in range(2000)
    ],
    "messages as large as they may be": _large,
    "messages that unpack to the limit": _bombs,
    "another topic with every message": lambda: [
        _said(f"joulemark/v1/up/nobody-{i}/{OTHERS}/batch", b"x" * 200) for i in range(2000)
    ],
    "live values": lambda: [
        _said(f"joulemark/v1/up/{FLOODER}/{OTHERS}/live", b'{"v":%d}' % i) for i in range(2000)
    ],
}


def flood(port: int, kind: str) -> None:
    """Until killed; says when it has begun."""
    messages = FLOODS[kind]()
    chunk = max(1, 65_536 // len(messages[0]))
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 10) as broker:
            broker.sendall(_CONNECT)
            broker.recv(64)
            print("begun", flush=True)
            for some in cycle([b"".join(messages[i : i + chunk]) for i in range(0, len(messages), chunk)]):  # fmt: skip # noqa: E501
                broker.sendall(some)
        time.sleep(0.05)


def two_agents() -> Registry:
    """The honest one and the one that floods."""
    honest = registry()
    key = public_key(new_private_key())
    other = Agent(FLOODER, SITE, key, frozenset({OTHERS}))
    return Registry({**honest.agents, FLOODER: other}, honest.operators, honest.accept_simulated)


class _Unfair(fair.FairQueue[Any]):
    """The control: one queue for all, first come, first served."""

    def put(self, owner: str, item: Any) -> bool:
        del owner
        return super().put("", item)


def collect(url: str, path: str, kind: str) -> None:
    """A collector until it is killed; says when it listens."""
    if kind == "unfair":
        mqtt.FairQueue = _Unfair  # type: ignore[misc,assignment]
    found = two_agents()
    intake = new_intake(Path(path), lambda: found, quarantine_messages=QUARANTINE)
    subscriber = mqtt.Subscriber(
        BrokerSettings(url=url), intake, agents=frozenset(found.agents),
        waiting_batches=SHARE if kind == "fair" else 10**6,
    )  # fmt: skip
    ready = subscriber.is_ready
    threading.Thread(target=lambda: (ready.wait(), print("ready", flush=True)), daemon=True).start()
    subscriber.run(threading.Event())


@contextmanager
def process(*words: str) -> Iterator[subprocess.Popen[str]]:
    """This module as a process that has said that it is ready; killed at the end."""
    started = subprocess.Popen(
        [sys.executable, "-m", "support.flooding", *words],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": search_path()},
    )  # fmt: skip
    assert started.stdout is not None
    try:
        assert started.stdout.readline()
        yield started
    finally:
        started.kill()
        started.communicate()


@dataclass
class Waiting:
    """The honest agent: what it sends, and how long it waits for an answer."""

    client: Client
    answers: queue.Queue[tuple[str, bytes]] = field(default_factory=queue.Queue)
    sent_again: int = 0

    def receipts(self, batches: Sequence[Batch], *, again_s: float, within_s: float) -> list[float]:
        """For each batch, one after the other: the wait for its receipt; sent again as an agent does. [s]"""  # noqa: E501
        found: list[float] = []
        until = time.monotonic() + within_s
        for batch in batches:
            began = time.monotonic()
            payload, is_there = batch_bytes(batch), False
            while not is_there and time.monotonic() < until:
                self.client.publish(batch_topic(AGENT, METER), payload, qos=1)
                with suppress(queue.Empty):
                    while not is_there:
                        topic, _ = self.answers.get(timeout=again_s)
                        is_there = topic.endswith("receipt")
                self.sent_again += not is_there
            found.append(time.monotonic() - began)
        return found


@contextmanager
def waiting(port: int) -> Iterator[Waiting]:
    """The honest agent, connected."""
    client = Client(
        CallbackAPIVersion.VERSION2, client_id=AGENT, protocol=MQTTProtocolVersion.MQTTv5
    )
    found, ready = Waiting(client), threading.Event()
    client.on_connect = lambda connected, *_: connected.subscribe(all_answers(AGENT), qos=1)
    client.on_subscribe = lambda *_: ready.set()
    client.on_message = lambda _c, _u, m: found.answers.put((m.topic, bytes(m.payload)))
    client.connect("127.0.0.1", port, keepalive=60, clean_start=True)
    client.loop_start()
    try:
        assert ready.wait(WAIT_S)
        yield found
    finally:
        client.disconnect()
        client.loop_stop()


def resident_mb(pid: int) -> float:
    """What a process holds in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 1e6


def many(batches: Sequence[Batch], count: int) -> list[Batch]:
    """The batches and, once all are held, the same again: each gets its receipt again."""
    return list(islice(cycle(batches), count))


if __name__ == "__main__":
    {"flood": lambda port, kind: flood(int(port), kind), "collect": collect}[sys.argv[1]](
        *sys.argv[2:]
    )
