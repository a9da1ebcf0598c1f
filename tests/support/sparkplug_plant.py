"""A Sparkplug session, the wire before its broker, and a host that may speak."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from joulemark_agent.documents import load_profile
from joulemark_agent.mqtt import Login
from joulemark_agent.sparkplug.node import REBIRTH, BornDevice, Sample
from joulemark_agent.sparkplug.payload import (
    BOOLEAN,
    Metric,
    Payload,
    parse_payload,
    payload_bytes,
)
from joulemark_agent.sparkplug.session import Node, Session
from support.mqtt_wire import Published, Relay, relay

GROUP, NAME, DEVICE, HOST = "plant", "edge-1", "meter", "scada"
PROFILE = load_profile("eastron_sdm630")[0]
POINT = "power_w"
COUNTER = next(point.name for point in PROFILE.points if point.counter)
WAIT_S = 10.0


class Plant:
    """What a test does with them."""

    def __init__(self, wire: Relay, session: Session, host: mqtt.Client) -> None:
        self.wire, self.session, self.host = wire, session, host

    def say(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish something as a host."""
        self.host.publish(topic, payload, qos=1, retain=retain).wait_for_publish(WAIT_S)

    def state(self, *, online: bool, time_ms: int, host: str = HOST) -> None:
        """Say whether a host is there."""
        content = json.dumps({"online": online, "timestamp": time_ms}).encode()
        self.say(f"spBv1.0/STATE/{host}", content, retain=True)

    def ask_for_birth(self) -> None:
        """Ask the node to be born again."""
        metric = Metric(REBIRTH, timestamp_ms=1, datatype=BOOLEAN, value=True)
        self.say(f"spBv1.0/{GROUP}/NCMD/{NAME}", payload_bytes(Payload(1, (metric,))))

    def read(self, **quality: str) -> None:
        """Have the meter answer."""
        values = {POINT: "1500.5", COUNTER: "10000"}
        now_ms = time.time_ns() // 1_000_000
        self.session.offer(Sample(DEVICE, now_ms, values, quality))

    def published(self, kind: str) -> list[Published]:
        """The messages of a kind that left so far."""
        return [p for p in self.wire.packets if isinstance(p, Published) and f"/{kind}/" in p.topic]

    def until(self, what: Callable[[], bool]) -> None:
        """Wait for it."""
        end_s = time.monotonic() + WAIT_S
        while not what():
            assert time.monotonic() < end_s, "it did not come"
            time.sleep(0.02)

    def until_published(self, kind: str, count: int) -> list[Published]:
        """The messages of a kind, as soon as there are so many."""
        self.until(lambda: len(self.published(kind)) >= count)
        return self.published(kind)

    def seqs(self) -> list[int | None]:
        """The sequence numbers of all that was sent, the deaths of the node left out."""
        sent = [p for p in self.wire.packets if isinstance(p, Published)]
        told = [p for p in sent if p.topic.startswith("spBv1.0/") and "/NDEATH/" not in p.topic]
        return [parse_payload(p.payload).seq for p in told]


@contextmanager
def plant_of(
    broker_port: int,
    folder: Path,
    *,
    host: str | None = None,
    buffered: int = 1000,
    period_s: float = 60.0,
) -> Iterator[Plant]:
    """A plant whose session has begun.

    Args:
        broker_port: of the broker on this machine.
        folder: where bdSeq is kept.
        host: the primary host.
        buffered: readings that wait at most.
        period_s: of the meter. [s]
    """
    speaker = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    speaker.connect("127.0.0.1", broker_port)
    speaker.loop_start()
    with relay(broker_port) as wire:
        login = Login(f"mqtt://127.0.0.1:{wire.port}", NAME)
        session = Session(login, Node(GROUP, NAME, host, buffered, {"site": "works"}), folder)
        born = BornDevice(DEVICE, PROFILE, {"epoch": "1", "model": PROFILE.model})
        session.change([born], {DEVICE: period_s})
        session.start()
        yield Plant(wire, session, speaker)
        session.close()
    speaker.publish(f"spBv1.0/STATE/{HOST}", b"", retain=True).wait_for_publish(WAIT_S)
    speaker.disconnect()
    speaker.loop_stop()


def metric_of(published: Published, name: str) -> Metric:
    """The metric of this name in a birth."""
    (found,) = [m for m in parse_payload(published.payload).metrics if m.name == name]
    return found
