"""What MQTT 5 promises of QoS 1, asked of a broker: each question ends in what came of it.

A broker is asked as it is run: with certificates and access list, or open on this machine.
"""

from __future__ import annotations

import queue
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol
from uuid import uuid4

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

HOST = "127.0.0.1"
OFFLINE, UNACKED, SHARED = 200, 100, 100
QUIET_S, WAIT_S = 1.0, 20.0
TOPIC, FORBIDDEN = "joulemark/v1/up/edge-1/meter/batch", "joulemark/v1/up/edge-2/press/batch"
READER, WRITER = "reader", "writer"
NO_SUCH_RIGHT, FIRST_FAILURE = 0x87, 0x80


class Broker(Protocol):
    """A broker that runs, and may be stopped and started again."""

    port: int

    def start(self) -> None:
        """Return when it serves."""

    def stop(self) -> None:
        """In order, as the service manager does."""

    def kill(self) -> None:
        """As a power cut."""

    def identity(self, who: str, number: int) -> tuple[str, ssl.SSLContext | None]:
        """The client id of the reader or the writer of that number, and its certificate."""


@dataclass
class Talker:
    """A connected client, and what it heard."""

    client: Client
    had_session: bool = False
    heard: queue.Queue[MQTTMessage] = field(default_factory=queue.Queue)
    acked: queue.Queue[int] = field(default_factory=queue.Queue)
    lost: queue.Queue[int] = field(default_factory=queue.Queue)

    def publish(self, payload: bytes, topic: str = TOPIC) -> int:
        """Send with QoS 1; the reason the broker gives."""
        self.client.publish(topic, payload, qos=1)
        return self.acked.get(timeout=WAIT_S)

    def hear(self, most: int) -> list[MQTTMessage]:
        """So many messages, or those that came until it was quiet."""
        found: list[MQTTMessage] = []
        while len(found) < most:
            try:
                found.append(self.heard.get(timeout=QUIET_S))
            except queue.Empty:
                break
        return found

    def break_off(self) -> None:
        """End the connection without a goodbye, as a cable that is pulled."""
        self.client.on_disconnect = None
        sock = self.client.socket()
        assert sock is not None
        sock.close()


@contextmanager
def connected(
    broker: Broker, who: str, number: int = 0, *, keeps: bool = False, acks: bool = True
) -> Iterator[Talker]:
    """A client of the broker.

    Args:
        broker: which.
        who: reader or writer.
        number: of several.
        keeps: it asks for the session it had, and for this one to be kept an hour.
        acks: whether it acknowledges what it hears.
    """
    name, context = broker.identity(who, number)
    client = Client(
        CallbackAPIVersion.VERSION2, client_id=name, protocol=MQTTProtocolVersion.MQTTv5,
        manual_ack=not acks, reconnect_on_failure=False,
    )  # fmt: skip
    if context is not None:
        client.tls_set_context(context)
    asked = Properties(PacketTypes.CONNECT)
    asked.SessionExpiryInterval = 3600 if keeps else 0
    asked.ReceiveMaximum = 512
    found = Talker(client)
    answers = queue.Queue[tuple[int, bool]]()
    client.on_connect = lambda _c, _u, flags, reason, _p: answers.put(
        (reason.value, flags.session_present)
    )
    client.on_message = lambda _c, _u, message: found.heard.put(message)
    client.on_publish = lambda _c, _u, _m, reason, _p: found.acked.put(reason.value)
    client.on_disconnect = lambda _c, _u, _f, reason, _p: found.lost.put(reason.value)
    client.connect(HOST, broker.port, 15, clean_start=not keeps, properties=asked)
    client.loop_start()
    try:
        reason, found.had_session = answers.get(timeout=WAIT_S)
        assert reason == 0, reason
        yield found
    finally:
        client.disconnect()
        client.loop_stop()
        client._reset_sockets()  # or the garbage collector warns of what wakes its thread


def subscribed(talker: Talker, topic: str = TOPIC) -> int:
    """The QoS that the broker grants, of 1 that is asked for."""
    answers = queue.Queue[int]()
    talker.client.on_subscribe = lambda _c, _u, _m, reasons, _p: answers.put(reasons[0].value)
    talker.client.subscribe(topic, qos=1)
    reason = answers.get(timeout=WAIT_S)
    assert reason < FIRST_FAILURE, f"subscription to {topic}: {reason:#x}"
    return reason


def granted(broker: Broker) -> str:
    """What QoS a subscription with QoS 1 is granted, and a message then has."""
    with connected(broker, READER) as reader, connected(broker, WRITER) as writer:
        qos = subscribed(reader)
        writer.publish(b"1")
        return f"QoS {qos} is granted, QoS {reader.heard.get(timeout=WAIT_S).qos} delivered"


def offline(broker: Broker, meanwhile: Callable[[], None] = lambda: None) -> str:
    """Messages for a client that is away and comes back; `meanwhile` before it does."""
    with connected(broker, READER, keeps=True) as reader:
        subscribed(reader)
    mark = uuid4().hex  # a killed broker may come back with messages of an earlier day
    sent = [f"{mark} {number:04}".encode() for number in range(OFFLINE)]
    with connected(broker, WRITER) as writer:
        reasons = [writer.publish(payload) for payload in sent]
    assert set(reasons) <= {0, 0x10}, reasons
    meanwhile()
    with connected(broker, READER, keeps=True) as reader:
        payloads = [message.payload for message in reader.hear(2 * OFFLINE)]
    heard = [payload for payload in payloads if payload.startswith(mark.encode())]
    old = f", and {len(payloads) - len(heard)} of before" if len(payloads) > len(heard) else ""
    _forget(broker)
    in_order = ", in order" if heard == sent else ""
    word = "success" if set(reasons) == {0} else "no matching subscribers"
    return f"{len(set(heard))}/{OFFLINE}{in_order}{old}; PUBACK: {word}"


def restarted(broker: Broker) -> str:
    """The same with an orderly restart before the client comes back."""

    def meanwhile() -> None:
        broker.stop()
        broker.start()

    return offline(broker, meanwhile)


def killed(broker: Broker) -> str:
    """The same with SIGKILL."""

    def meanwhile() -> None:
        broker.kill()
        broker.start()

    return offline(broker, meanwhile)


def unacked(broker: Broker) -> str:
    """Messages that were heard and not acknowledged, when the client is back."""
    with connected(broker, READER, keeps=True, acks=False) as reader:
        subscribed(reader)
        with connected(broker, WRITER) as writer:
            for number in range(UNACKED):
                writer.publish(f"{number:04}".encode())
        first = reader.hear(UNACKED)
        reader.break_off()
    with connected(broker, READER, keeps=True) as reader:
        again = reader.hear(UNACKED)
    _forget(broker)
    assert len(first) == UNACKED
    marked = sum(message.dup for message in again)
    return f"{len(again)}/{UNACKED}, DUP on {marked}"


def shared(broker: Broker) -> str:
    """Messages of a topic that two readers share: what each hears, what both or none do."""
    topic = f"$share/collectors/{TOPIC}"
    with connected(broker, READER, 0) as one, connected(broker, READER, 1) as two:
        subscribed(two, topic)
        if not one.lost.empty():
            return f"one reader at a time: the second took the first's place ({one.lost.get():#x})"
        subscribed(one, topic)
        with connected(broker, WRITER) as writer:
            for number in range(SHARED):
                writer.publish(f"{number:04}".encode())
        heard = [[message.payload for message in each.hear(SHARED)] for each in (one, two)]
    both = set(heard[0]) & set(heard[1])
    missing = SHARED - len(set(heard[0]) | set(heard[1]))
    return f"{len(heard[0])} + {len(heard[1])} of {SHARED}; {len(both)} twice, {missing} lost"


def refused(broker: Broker) -> str:
    """What a writer is told that may not write there; and whether somebody hears it."""
    with connected(broker, READER) as reader, connected(broker, WRITER) as writer:
        subscribed(reader, "joulemark/v1/up/#")
        reason = writer.publish(b"forged", FORBIDDEN)
        heard = reader.hear(1)
    told = "not authorized (0x87)" if reason == NO_SUCH_RIGHT else f"{reason:#x}"
    return f"{told}, {'passed on' if heard else 'not passed on'}"


def _forget(broker: Broker) -> None:
    """The reader's session is not needed any more."""
    with connected(broker, READER):
        pass


QUESTIONS: dict[str, Callable[[Broker], str]] = {
    "a subscription with QoS 1": granted,
    "offline session": offline,
    "un-acknowledged, after a broken connection": unacked,
    "offline session over an orderly restart": restarted,
    "offline session over kill -9": killed,
    "shared subscription": shared,
    "a topic that the access list forbids": refused,
}
