"""The collector behind a real broker: order of commit, receipt and acknowledgement; fair turns."""

import json
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from pydantic import SecretStr

from joulemark_agent.contract.batch import batch_bytes, columns_bytes
from joulemark_agent.contract.errors import StoreError, UplinkError
from joulemark_agent.contract.topics import all_answers, batch_topic, live_topic, origin
from joulemark_agent.mqtt_client import says_columns
from joulemark_gateway.broker import start_broker
from joulemark_gateway.evidence.store import FILE, SqliteStore
from joulemark_gateway.ingest import mqtt
from joulemark_gateway.ingest.intake import Answer
from joulemark_gateway.settings import BrokerSettings
from support.book import registry
from support.child import search_path
from support.evidence import (
    AGENT,
    METER,
    SITE,
    build_tree,
    documents,
    meter_readings,
    uncosigned,
)
from support.intakes import new_intake

WAIT_S = 20.0
OTHER = "edge-2"
DOCS = documents()
RESULTS = meter_readings(DOCS, [1000] * 11)
TREE = [uncosigned(b) for b in build_tree(DOCS, METER, RESULTS, slots_per_batch=3)]
TOPIC = batch_topic(AGENT, METER)
NAME = origin(SITE, METER, 1)


@dataclass
class Edge:
    """An agent's side: what it sends, and the answers it hears."""

    client: Client
    answers: queue.Queue[tuple[str, bytes]] = field(default_factory=queue.Queue)
    says_columns: list[bool] = field(default_factory=list)

    def hear(self, message: MQTTMessage) -> None:
        self.says_columns.append(says_columns(message))
        self.answers.put((message.topic, bytes(message.payload)))

    def send(self, *batches) -> None:
        for batch in batches:
            self.send_raw(batch_bytes(batch))

    def send_raw(self, payload: bytes, topic: str = TOPIC) -> None:
        self.client.publish(topic, payload, qos=1)

    def answer(self) -> tuple[str, str]:
        topic, payload = self.answers.get(timeout=WAIT_S)
        return topic.rpartition("/")[2], payload.decode()

    def refusal(self) -> dict[str, str]:
        kind, text = self.answer()
        assert kind == "refusal", text
        told: dict[str, str] = json.loads(text)
        return told


@contextmanager
def edge(port: int, agent: str = AGENT) -> Iterator[Edge]:
    client = Client(
        CallbackAPIVersion.VERSION2, client_id=agent, protocol=MQTTProtocolVersion.MQTTv5
    )
    found, ready = Edge(client), threading.Event()
    client.on_connect = lambda connected, *_: connected.subscribe(all_answers(agent), qos=1)
    client.on_subscribe = lambda *_: ready.set()
    client.on_message = lambda _c, _u, message: found.hear(message)
    client.reconnect_delay_set(1, 1)
    client.connect("127.0.0.1", port, keepalive=15, clean_start=True)
    client.loop_start()
    try:
        assert ready.wait(WAIT_S)
        yield found
    finally:
        client.disconnect()
        client.loop_stop()


@dataclass
class Served:
    subscriber: mqtt.Subscriber
    stop: threading.Event
    thread: threading.Thread


@contextmanager
def served(port: int, taker, **options) -> Iterator[mqtt.Subscriber]:
    """A subscriber that is connected, running in a thread."""
    subscriber = mqtt.Subscriber(
        BrokerSettings(url=f"mqtt://127.0.0.1:{port}"),
        taker,
        **{"agents": frozenset({AGENT, OTHER}), "waiting_batches": 64, **options},
    )
    subscriber._client.reconnect_delay_set(0.05, 0.1)  # type: ignore[arg-type]  # paho waits fractions too
    stop = threading.Event()
    thread = threading.Thread(target=subscriber.run, args=(stop,))
    thread.start()
    try:
        assert subscriber.is_ready.wait(WAIT_S)
        yield subscriber
    finally:
        stop.set()
        thread.join()


def test_every_batch_gets_its_receipt_and_is_in_the_store(broker, tmp_path):
    grown = []
    intake = new_intake(tmp_path / FILE)
    with served(broker.port, intake, on_growth=lambda: grown.append(1)), edge(broker.port) as agent:
        agent.send(*TREE)
        answers = [agent.answer() for _ in TREE]
    intake.close()
    with SqliteStore(tmp_path / FILE, create=False) as store:
        assert [("receipt", note) for note in store.notes(NAME)] == answers
        assert store.leaves(NAME) == [leaf for batch in TREE for leaf in batch.leaves]
    assert len(grown) == len(TREE)


def test_a_collector_says_that_it_takes_columns_and_takes_them(broker, tmp_path):
    intake = new_intake(tmp_path / FILE)
    with served(broker.port, intake), edge(broker.port) as agent:
        agent.send_raw(columns_bytes(TREE[0]))
        agent.send(*TREE)
        answers = [agent.answer() for _ in [0, *TREE]]
    intake.close()

    assert answers[0] == answers[1], "the same batch, once as columns and once as text"
    assert agent.says_columns == [True] * len(answers)
    with SqliteStore(tmp_path / FILE, create=False) as store:
        assert store.leaves(NAME) == [leaf for batch in TREE for leaf in batch.leaves]


class Recorded:
    """A taker that notes, when it is asked, what was published and acknowledged before."""

    def __init__(self, taker):
        self.taker, self.events = taker, []

    def take(self, topic, payload):
        answer = self.taker.take(topic, payload)
        self.events.append("committed")
        return answer

    def expected(self, agent, device):
        return self.taker.expected(agent, device)

    def reopen(self):
        self.taker.reopen()


def test_the_order_is_commit_then_receipt_then_acknowledgement(broker, tmp_path, monkeypatch):
    intake = new_intake(tmp_path / FILE)
    recorded = Recorded(intake)
    with served(broker.port, recorded) as subscriber, edge(broker.port) as agent:
        for name in ("publish", "ack"):
            plain = getattr(subscriber._client, name)

            def noted(*args, name=name, plain=plain, **kwargs):
                recorded.events.append(name)
                return plain(*args, **kwargs)

            monkeypatch.setattr(subscriber._client, name, noted)
        agent.send(*TREE[:2])
        assert [agent.answer()[0] for _ in range(2)] == ["receipt"] * 2
    intake.close()
    assert recorded.events == ["committed", "publish", "ack"] * 2


def test_poison_in_front_does_not_hold_up_what_follows(broker, tmp_path):
    intake = new_intake(tmp_path / FILE)
    with served(broker.port, intake), edge(broker.port) as agent:
        agent.send_raw(b"poison")
        agent.send(TREE[1])
        agent.send(TREE[0])
        assert [agent.refusal()["code"] for _ in range(2)] == ["bad_batch", "hole"]
        assert agent.answer()[0] == "receipt"
    intake.close()


class Broken:
    """A store that is full until it is opened the n-th time, then the real one."""

    def __init__(self, taker, failures):
        self.taker, self.failures, self.reopened = taker, failures, 0

    def take(self, topic, payload):
        if self.reopened < self.failures:
            raise StoreError("The disk is full.", "Free space.", code="disk_full")
        return self.taker.take(topic, payload)

    def expected(self, agent, device):
        return self.taker.expected(agent, device)

    def reopen(self):
        self.reopened += 1
        self.taker.reopen()


def test_a_full_store_is_waited_for_and_nothing_is_acknowledged_meanwhile(
    broker, tmp_path, monkeypatch
):
    monkeypatch.setattr(mqtt, "STORE_RETRY_S", 0.01)
    intake = new_intake(tmp_path / FILE)
    broken = Broken(intake, 3)
    with served(broker.port, broken) as subscriber, edge(broker.port) as agent:
        acknowledged = []
        plain = subscriber._client.ack

        def noted(mid, qos):
            acknowledged.append(broken.reopened)
            return plain(mid, qos)

        monkeypatch.setattr(subscriber._client, "ack", noted)
        agent.send(*TREE[:2])
        assert [agent.answer()[0] for _ in range(2)] == ["receipt"] * 2
    intake.close()
    assert acknowledged == [3, 3]


class Gate:
    """A taker that waits until it is opened and remembers whom it served."""

    def __init__(self):
        self.open, self.served = threading.Event(), []

    def take(self, topic, payload):
        assert self.open.wait(WAIT_S)
        agent = topic.split("/")[3]
        self.served.append((agent, payload))
        return Answer(f"joulemark/v1/down/{agent}/{METER}/receipt", payload)

    def expected(self, agent, device):
        return Answer(f"joulemark/v1/down/{agent}/{device}/refusal", b'{"code":"hole"}')

    def reopen(self):
        raise AssertionError("nothing failed")


def test_a_flood_of_one_agent_takes_only_its_share_and_its_turns(broker):
    gate, share, flood = Gate(), 4, 40
    with (
        served(broker.port, gate, waiting_batches=share) as subscriber,
        edge(broker.port) as loud,
        edge(broker.port, OTHER) as quiet,
    ):
        for i in range(flood):
            loud.send_raw(b"%d" % i)
        while AGENT not in subscriber._dropped:  # its share is full and the rest is dropped unread
            subscriber.is_ready.wait(0.001)
        quiet.send_raw(b"q", batch_topic(OTHER, METER))
        while OTHER not in subscriber._queue._waiting:
            subscriber.is_ready.wait(0.001)
        gate.open.set()
        assert quiet.answer() == ("receipt", "q")
        before = gate.served.index((OTHER, b"q"))
        assert before <= 2, "one message of the flood was at work, one had its turn"
        while loud.answer() != ("refusal", '{"code":"hole"}'):
            pass
        served_loud = [payload for agent, payload in gate.served if agent == AGENT]
        assert len(served_loud) < flood


def test_what_goes_ahead_of_a_backlog_takes_no_place_of_the_backlog(broker):
    gate, share = Gate(), 4
    with served(broker.port, gate, waiting_batches=share) as subscriber, edge(broker.port) as agent:
        for i in range(10 * share):
            agent.send_raw(b"%d" % i, live_topic(AGENT, METER))
        while f"{AGENT}/live" not in subscriber._queue._waiting:
            subscriber.is_ready.wait(0.001)
        for i in range(share):
            agent.send_raw(b"batch %d" % i)
        gate.open.set()
        told = list(iter(agent.answer, ("receipt", f"batch {share - 1}")))
        assert {kind for kind, _ in told} == {"receipt"}, "no batch was turned away"
        assert {f"batch {i}" for i in range(share - 1)} <= {text for _, text in told}
        assert not subscriber._dropped, "and of what was turned away nobody is asked for again"


def test_a_broker_that_dies_and_returns_loses_nothing_that_is_sent_again(kind, tmp_path):
    intake = new_intake(tmp_path / FILE)
    first = start_broker(kind)
    try:
        with served(first.port, intake) as subscriber, edge(first.port) as agent:
            agent.send(TREE[0])
            receipt = agent.answer()
            subscriber.is_ready.clear()
            first.kill()
            with start_broker(kind, first.port):
                assert subscriber.is_ready.wait(WAIT_S)
                with edge(first.port) as again:
                    again.send(*TREE[:2])
                    assert again.answer() == receipt
                    assert again.answer()[0] == "receipt"
    finally:
        first.kill()
        intake.close()


def test_a_collector_that_connects_has_what_was_under_way_sent_again(broker, tmp_path):
    intake = new_intake(tmp_path / FILE)
    with edge(broker.port) as agent:
        agent.send(TREE[0])  # nobody listens yet: it is lost with its PUBACK
        for expected in (0, TREE[0].size):
            with served(broker.port, intake, greetings=intake.greetings):
                told = [agent.refusal() for _ in registry().agents[AGENT].devices]
                assert {row["code"] for row in told} == {"resend"}
                assert str(expected) in {row["expected_size"] for row in told}
                agent.send(TREE[0])
                assert agent.answer()[0] == "receipt"
    intake.close()


@pytest.mark.service
@pytest.mark.usefixtures("mosquitto")
def test_a_refused_login_is_one_clear_message(tmp_path):
    with start_broker("mosquitto", users={"collector": "right"}) as running:
        settings = BrokerSettings(
            url=running.url, username="collector", password=SecretStr("wrong-canary")
        )
        intake = new_intake(tmp_path / FILE)
        subscriber = mqtt.Subscriber(settings, intake, agents=frozenset({AGENT}), waiting_batches=4)
        with pytest.raises(UplinkError, match="refuses our login") as caught:
            subscriber.run(threading.Event())
        intake.close()
        assert "canary" not in str(caught.value)
        right = replace_password(settings, "right")
        intake = new_intake(tmp_path / FILE)
        subscriber = mqtt.Subscriber(right, intake, agents=frozenset({AGENT}), waiting_batches=4)
        stop = threading.Event()
        thread = threading.Thread(target=subscriber.run, args=(stop,))
        thread.start()
        assert subscriber.is_ready.wait(WAIT_S)
        stop.set()
        thread.join()
        intake.close()


def replace_password(settings, text):
    return settings.model_copy(update={"password": SecretStr(text)})


CHILD = """
import os, signal, sys, threading
from pathlib import Path
from joulemark_gateway.ingest import mqtt
from joulemark_gateway.settings import BrokerSettings
from support.evidence import AGENT
from support.intakes import new_intake

intake = new_intake(Path(sys.argv[2]))
subscriber = mqtt.Subscriber(
    BrokerSettings(url=sys.argv[1]), intake, agents=frozenset({AGENT}), waiting_batches=64
)
subscriber._client.publish = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
threading.Thread(
    target=lambda: (subscriber.is_ready.wait(), print("ready", flush=True)), daemon=True
).start()
subscriber.run(threading.Event())
"""


def test_a_collector_killed_between_commit_and_receipt_absorbs_and_gives_the_same_receipt(
    broker, tmp_path
):
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, broker.url, str(tmp_path / FILE)],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": search_path()},
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    with edge(broker.port) as agent:
        agent.send(TREE[0])
        assert child.wait(WAIT_S) == -signal.SIGKILL
        child.stdout.close()
        assert agent.answers.empty()
        with SqliteStore(tmp_path / FILE, create=False) as store:
            committed = store.notes(NAME)
        assert len(committed) == 1
        intake = new_intake(tmp_path / FILE)
        with served(broker.port, intake):
            agent.send(TREE[0])
            assert agent.answer() == ("receipt", committed[0])
        intake.close()
