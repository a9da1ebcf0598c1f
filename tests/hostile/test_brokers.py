"""A broker that says what no broker may: agent and collector drop it, come back, and go on."""

import asyncio
import threading
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack, closing, contextmanager
from dataclasses import dataclass, field

import pytest
from paho.mqtt.client import MQTTMessage

from joulemark_agent import mqtt
from joulemark_agent.contract.signature import public_key
from joulemark_agent.contract.topics import batch_topic
from joulemark_agent.mqtt import Login
from joulemark_agent.mqtt_client import NO_TOPIC, topic_of
from joulemark_agent.outbox import Outbox
from joulemark_agent.store_thread import StoreThread
from joulemark_agent.uplink import Collector, Timing, Uplink
from joulemark_gateway.ingest import mqtt as ingest
from joulemark_gateway.ingest.mqtt import Subscriber
from joulemark_gateway.settings import BrokerSettings
from support import evidence
from support.evidence import AGENT, KEYS, METER, SITE, WITNESS
from support.hostile_broker import AFTER, INSTEAD, Broker, hostile_broker, published
from support.recording import recorded, recorder, state

CASES = {**{name: (said, b"") for name, said in AFTER.items()},
         **{f"{name}, at once": (b"", said) for name, said in INSTEAD.items()}}  # fmt: skip
BACK_S = 10.0
GOOD = published(batch_topic(AGENT, METER).encode(), payload=b"good")
TOLD = Collector(SITE, AGENT, WITNESS, public_key(KEYS.witness))
QUICK = Timing(receipt_s=0.3, retry_s=0.02, longest_retry_s=0.1, refused_s=0.2)


@pytest.fixture(autouse=True)
def _short_patience(monkeypatch):
    """What a broker that falls silent within a packet costs, without waiting so long."""
    monkeypatch.setattr(mqtt, "KEEPALIVE_S", 1)
    monkeypatch.setattr(mqtt, "_ANSWER_S", 1.0)
    monkeypatch.setattr(ingest, "KEEPALIVE_S", 1)


@dataclass
class Heard:
    """Takes what the collector is given."""

    payloads: list[bytes] = field(default_factory=list)

    def take(self, topic: str, payload: bytes) -> None:
        del topic
        self.payloads.append(payload)

    def expected(self, agent: str, device: str) -> None:
        del agent, device

    def reopen(self) -> None:
        pass


@contextmanager
def collecting(brokers: Mapping[str, Broker], heard: Mapping[str, Heard]):
    """A collector for each; they are stopped together."""
    stop, threads = threading.Event(), []
    for name, broker in brokers.items():
        subscriber = Subscriber(
            BrokerSettings(url=broker.url), heard[name], agents=frozenset({AGENT}),
            waiting_batches=4,
        )  # fmt: skip
        threads.append(threading.Thread(target=subscriber.run, args=(stop,)))
        threads[-1].start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


async def become_honest(brokers: dict[str, Broker]) -> None:
    """Once each has said its worst."""
    until_s = time.monotonic() + BACK_S
    while not all(broker.subscriptions or broker.instead for broker in brokers.values()):
        assert time.monotonic() < until_s, "nobody has come"
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.2)
    for broker in brokers.values():
        broker.after = broker.instead = b""


async def test_a_collector_hears_a_good_batch_within_seconds_of_every_one_of_them():
    brokers: dict[str, Broker] = {}
    heard = {name: Heard() for name in CASES}
    async with AsyncExitStack() as stack:
        for name, (after, instead) in CASES.items():
            brokers[name] = await stack.enter_async_context(hostile_broker())
            brokers[name].after, brokers[name].instead = after, instead
        with collecting(brokers, heard):
            await become_honest(brokers)
            until_s, deaf = time.monotonic() + BACK_S, set(brokers)
            while deaf and time.monotonic() < until_s:
                for name in deaf:
                    brokers[name].say(GOOD)
                await asyncio.sleep(0.1)
                deaf = {name for name in deaf if b"good" not in heard[name].payloads}

    assert not deaf


async def ended(uplinks: list[Uplink]) -> None:
    """All of them."""
    await asyncio.gather(*(uplink.close() for uplink in uplinks))


async def test_an_agent_sends_its_batch_again_within_seconds_of_every_one_of_them(tmp_path):
    brokers: dict[str, Broker] = {}
    async with AsyncExitStack() as stack:
        outbox = stack.enter_context(closing(Outbox(state(tmp_path))))  # no receipt empties it
        store = stack.enter_context(closing(StoreThread()))
        writer = recorder(outbox, recorded(evidence.documents()), slots=4)
        writer.commit(evidence.meter_readings(evidence.documents(), [1000] * 3))
        writer.seal_all()
        uplinks: list[Uplink] = []
        stack.push_async_callback(ended, uplinks)
        for name, (after, instead) in CASES.items():
            brokers[name] = broker = await stack.enter_async_context(hostile_broker())
            broker.after, broker.instead = after, instead
            uplinks.append(Uplink(Login(broker.url, AGENT), TOLD, outbox, QUICK, store=store))
            uplinks[-1].start()
        await become_honest(brokers)
        for broker in brokers.values():
            broker.published.clear()
        until_s = time.monotonic() + BACK_S
        while not all(broker.published for broker in brokers.values()):
            if time.monotonic() > until_s:
                break
            await asyncio.sleep(0.05)
        silent = {name for name, broker in brokers.items() if not broker.published}

    assert not silent


def test_a_topic_that_is_no_text_is_nobodys():
    """Read by its own property it would end the thread that reads: nothing would be heard again."""
    message = MQTTMessage(topic=b"joulemark/\xff")

    assert topic_of(message) == NO_TOPIC
    with pytest.raises(UnicodeDecodeError):
        str(message.topic)
