"""The chain as one would first write it, in three ways: each loses readings where ours does not.

| control | sends | receives |
|---|---|---|
| `memory` | paho's queue in memory | acknowledged by paho, committed by fifty or once a second |
| `puback` | rows on disk, deleted when the broker says PUBACK | committed, then acknowledged |
| `fire` | QoS 0, of which nobody says anything | committed, then acknowledged |

Both sessions are durable and so, as far as its time allows, is the broker: `persistence true`.
A reading is a number; `issued.txt` says which were made, `ledger.db` which have arrived.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from support.servers import program

MEMORY, PUBACK, FIRE = "memory", "puback", "fire"
KINDS = (MEMORY, PUBACK)
PER_SECOND = 200
COMMIT_EVERY, COMMIT_S = 50, 1.0
_CONFIG = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence true
persistence_location {folder}/
user root
log_dest file {folder}/mosquitto.log
"""


def broker(words: list[str]) -> None:
    """Become mosquitto, which keeps its queues as it does where nobody says how."""
    port, folder = words
    config = Path(folder) / "mosquitto.conf"
    config.write_text(_CONFIG.format(port=port, folder=folder))
    path = program("mosquitto")
    assert path is not None
    os.execv(path, [path, "-c", str(config)])


def produce(words: list[str]) -> None:
    """Make readings until SIGTERM, then send what is left for a while."""
    kind, port, folder = words[0], int(words[1]), Path(words[2])
    stop = _until_stopped()
    queue = _Disk(kind, port, folder) if kind == PUBACK else _Memory(kind, port)
    next_s = time.monotonic()
    with (folder / "issued.txt").open("ab", buffering=0) as issued:
        number = issued.tell() // 7
        while not stop.is_set():
            issued.write(b"%06d\n" % number)
            queue.put(number)
            number, next_s = number + 1, next_s + 1 / PER_SECOND
            stop.wait(max(next_s - time.monotonic(), 0.0))
    queue.drain()


def consume(words: list[str]) -> None:
    """Keep what arrives until SIGTERM."""
    kind, port, folder = words[0], int(words[1]), Path(words[2])
    stop = _until_stopped()
    with closing(_ledger(folder)) as ledger:
        waiting: list[Any] = []
        client = _client(f"{kind}-in", manual_ack=kind != MEMORY)
        client.on_connect = lambda found, *_: _subscribe(found, kind)
        client.on_message = lambda _c, _u, message: waiting.append(message)
        _connect(client, port)
        begun_s = time.monotonic()
        while not stop.wait(0.01) or waiting:
            is_due = time.monotonic() - begun_s >= COMMIT_S
            if not (kind != MEMORY or is_due or len(waiting) >= COMMIT_EVERY or stop.is_set()):
                continue
            taken, waiting[:] = waiting[:], []
            begun_s = time.monotonic()
            rows = [(int(message.payload),) for message in taken]
            ledger.executemany("INSERT OR IGNORE INTO arrived VALUES (?)", rows)
            ledger.commit()
            if kind != MEMORY:
                for message in taken:
                    client.ack(message.mid, message.qos)


def lost(folder: Path) -> tuple[int, int]:
    """How many readings were made, and how many of them never arrived."""
    issued = (folder / "issued.txt").stat().st_size // 7
    with closing(_ledger(folder)) as ledger:
        (arrived,) = ledger.execute("SELECT count(*) FROM arrived").fetchone()
    return issued, issued - int(arrived)


class _Memory:
    """paho's own queue: with QoS 1 sent again by paho as long as the process lives."""

    def __init__(self, kind: str, port: int) -> None:
        self._topic, self._client = kind, _client(f"{kind}-out")
        self._qos = 0 if kind == FIRE else 1
        self._sent: Any = None
        _connect(self._client, port)

    def put(self, number: int) -> None:
        self._sent = self._client.publish(self._topic, str(number), qos=self._qos)

    def drain(self) -> None:
        with suppress(ValueError, RuntimeError):  # what was never sent cannot be waited for
            self._sent.wait_for_publish(10)


class _Disk:
    """Rows that are deleted when the broker has them: it says so, and may forget them."""

    def __init__(self, kind: str, port: int, folder: Path) -> None:
        self._db = sqlite3.connect(folder / "outbox.db")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")  # no power is cut here
        self._db.execute("CREATE TABLE IF NOT EXISTS row (number INTEGER PRIMARY KEY)")
        self._sent: dict[int, int] = {}
        self._acked: SimpleQueue[int] = SimpleQueue()
        self._topic, self._client = kind, _client(f"{kind}-out")
        self._client.on_publish = lambda _c, _u, mid, *_: self._acked.put(mid)
        _connect(self._client, port)
        for (number,) in self._db.execute("SELECT number FROM row ORDER BY number").fetchall():
            self._send(number)

    def put(self, number: int) -> None:
        self._db.execute("INSERT INTO row VALUES (?)", (number,))
        self._db.commit()
        self._send(number)
        self._delete()

    def drain(self) -> None:
        end_s = time.monotonic() + 10
        while self._sent and time.monotonic() < end_s:
            time.sleep(0.01)
            self._delete()

    def _send(self, number: int) -> None:
        self._sent[self._client.publish(self._topic, str(number), qos=1).mid] = number

    def _delete(self) -> None:
        while not self._acked.empty():
            number = self._sent.pop(self._acked.get())
            self._db.execute("DELETE FROM row WHERE number = ?", (number,))
        self._db.commit()


def _client(name: str, *, manual_ack: bool = False) -> Client:
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=name,
        protocol=MQTTProtocolVersion.MQTTv5,
        manual_ack=manual_ack,
    )
    client.reconnect_delay_set(0.1, 0.5)  # type: ignore[arg-type] # parts of a second do
    return client


def _connect(client: Client, port: int) -> None:
    lasting = Properties(PacketTypes.CONNECT)
    lasting.SessionExpiryInterval = 86_400
    client.connect_async("127.0.0.1", port, clean_start=False, properties=lasting)
    client.loop_start()


def _subscribe(client: Client, topic: str) -> None:
    client.subscribe(topic, qos=1)


def _ledger(folder: Path) -> sqlite3.Connection:
    ledger = sqlite3.connect(folder / "ledger.db")
    ledger.execute("PRAGMA journal_mode = WAL")
    ledger.execute("CREATE TABLE IF NOT EXISTS arrived (number INTEGER PRIMARY KEY)")
    return ledger


def _until_stopped() -> threading.Event:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    return stop
