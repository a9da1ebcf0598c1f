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
from support.hostile_broker import packet, text
from support.intakes import new_intake

FLOODER, OTHERS = "edge-9", "oven"
WAIT_S = 30.0
SHARE, QUARANTINE = 32, 200  # messages
_CONNECT = packet(0x10, text(b"MQTT") + b"\5\2\0\x3c\0" + text(FLOODER.encode()))


def _said(topic: str, payload: bytes) -> bytes:
    """A PUBLISH that nobody acknowledges: as many as the wire takes."""
    return packet(0x30, text(topic.encode()) + b"\0" + payload)


def _acknowledged(i: int) -> bytes:
    """A PUBLISH that the broker acknowledges."""
    head = text(batch_topic(FLOODER, OTHERS).encode()) + (i % 20 + 1).to_bytes(2, "big")
    return packet(0x32, head + b"\0" + b"%d" % i)


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
    "acknowledged messages": lambda: [_acknowledged(i) for i in range(2000)],
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
    count = max(1, 65_536 // len(messages[0]))
    chunks = [b"".join(messages[i : i + count]) for i in range(0, len(messages), count)]
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 10) as broker:
            broker.sendall(_CONNECT)
            broker.recv(64)
            threading.Thread(target=_read_all, args=(broker,), daemon=True).start()
            _say("begun")
            for some in cycle(chunks):
                broker.sendall(some)
        time.sleep(0.05)


def _read_all(broker: socket.socket) -> None:
    with suppress(OSError):
        while broker.recv(65_536):
            pass


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


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
        setattr(mqtt, "FairQueue", _Unfair)  # noqa: B010 - mypy knows it as a class
    found = two_agents()
    intake = new_intake(Path(path), lambda: found, quarantine_messages=QUARANTINE)
    subscriber = mqtt.Subscriber(
        BrokerSettings(url=url), intake, agents=frozenset(found.agents),
        waiting_batches=SHARE if kind == "fair" else 10**6,
    )  # fmt: skip
    threading.Thread(target=_say_when, args=(subscriber.is_ready,), daemon=True).start()
    subscriber.run(threading.Event())


def _say_when(ready: threading.Event) -> None:
    ready.wait()
    _say("ready")


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
        """The wait for each receipt, one after the other; [s].

        Args:
            batches: to send.
            again_s: after which one without a receipt is sent again, as an agent does.
            within_s: of them all; those that have none by then have waited until then.
        """
        found: list[float] = []
        until = time.monotonic() + within_s
        for batch in batches:
            began = time.monotonic()
            payload, is_there = batch_bytes(batch), False
            head = batch.checkpoint.partition("\n\n")[0].encode()
            while not is_there and time.monotonic() < until:
                self.client.publish(batch_topic(AGENT, METER), payload, qos=1)
                with suppress(queue.Empty):
                    while not is_there:
                        _, answer = self.answers.get(timeout=again_s)
                        is_there = answer.partition(b"\n\n")[0] == head
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
    what, *words = sys.argv[1:]
    if what == "flood":
        flood(int(words[0]), words[1])
    else:
        collect(*words)
