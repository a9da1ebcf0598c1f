"""N8: what publishing a batch costs: our connection, paho alone, and libmosquitto in C.

QoS 1 to mosquitto, 20 under way at a time, batches of 4 kB. Ours is paho behind `mqtt.Connection`,
whose acknowledgements arrive in the event loop; the difference is what that costs.
"""

import asyncio
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from joulemark_agent.mqtt import Acked, Connection, Event, Login
from joulemark_gateway.broker import RunningBroker, start_broker
from support import limits
from support.apart import apart
from support.rounds import Work, cpu_s, in_turns, show

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

COUNT, BYTES, WINDOW = 3000, 4096, 20
PAYLOAD = b"x" * BYTES


@pytest.fixture(scope="module")
def broker(mosquitto: str) -> Iterator[RunningBroker]:
    assert mosquitto
    with start_broker("mosquitto") as running:
        yield running


async def ours(url: str) -> None:
    room, left, done = asyncio.Semaphore(WINDOW), COUNT, asyncio.Event()

    def on(event: Event) -> None:
        nonlocal left
        if isinstance(event, Acked):
            assert event.reason in {0, 16}  # 16: nobody listens
            left -= 1
            room.release()
            if not left:
                done.set()

    connection = Connection(Login(url, "bench"), on)
    await connection.open("bench/answers")
    for _ in range(COUNT):
        await room.acquire()
        connection.publish("bench/batch", PAYLOAD)
    await done.wait()
    await connection.close()


def theirs(port: int) -> None:
    room, ready = threading.Semaphore(WINDOW), threading.Event()
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)

    def on_publish(*_: Any) -> None:
        room.release()

    client.on_publish = on_publish
    client.on_connect = lambda *_: ready.set()
    client.connect("127.0.0.1", port)
    client.loop_start()
    assert ready.wait(10)
    for _ in range(COUNT):
        room.acquire()
        client.publish("bench/batch", PAYLOAD, 1)
    for _ in range(WINDOW):
        room.acquire()
    client.disconnect()
    client.loop_stop()


def timed(client: str, port: int) -> tuple[float]:
    """The CPU time of all batches. [s]"""
    if client == "paho":
        return (cpu_s(lambda: theirs(port)),)
    return (cpu_s(lambda: asyncio.run(ours(f"mqtt://127.0.0.1:{port}"))),)


def test_cpu_of_a_batch_that_is_published(broker: RunningBroker) -> None:
    per_us = 1e6 / COUNT

    def by(client: str) -> float:
        return float(apart("bench.test_mqtt", f"timed({client!r}, {broker.port})")[0]) * per_us

    ways: dict[str, Work] = {name: partial(by, name) for name in ("paho", "joulemark")} | {
        "libmosquitto C": lambda: (
            limits.ran("publisher", broker.port, COUNT, BYTES, WINDOW)[1] * per_us
        ),
    }
    show(f"N8 a batch of {BYTES} B, QoS 1, window {WINDOW}: CPU", in_turns(ways), "us", to="paho")
