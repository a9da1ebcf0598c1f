"""Who floods is not listened to; an honest agent that comes back after an outage is."""

import asyncio
import threading
import time
from contextlib import contextmanager

import pytest

from joulemark_agent.contract.topics import ALL_UP, batch_topic
from joulemark_agent.uplink import WINDOW
from joulemark_gateway.ingest import floods, mqtt
from joulemark_gateway.ingest.floods import FIRST_S, LONGEST_S, MOST_DROPPED, Floods, filters
from joulemark_gateway.ingest.intake import Answer
from joulemark_gateway.settings import BrokerSettings
from support.evidence import AGENT, METER
from support.hostile_broker import hostile_broker, published

LOUD = "edge-9"


def flooded(found: Floods, now_s: float, count: int = MOST_DROPPED + 1, size: int = 10) -> None:
    for i in range(count):
        found.dropped(LOUD, size, now_s + i / 1000)


def test_a_flood_is_shut_out_and_nobody_else():
    found = Floods()
    flooded(found, 0, MOST_DROPPED)
    assert found.shut_out(1) == set()
    found.dropped(LOUD, 10, 1)
    assert found.shut_out(1) == {LOUD}
    assert found.shut_out(FIRST_S - 1) == {LOUD}
    assert found.shut_out(1 + FIRST_S) == set()


def test_a_few_large_messages_are_a_flood_too():
    found = Floods()
    flooded(found, 0, 65, 1024 * 1024)
    assert found.shut_out(1) == {LOUD}


def test_a_flood_that_goes_on_is_shut_out_longer_up_to_an_hour():
    found, now_s, spans = Floods(), 0.0, []
    for _ in range(9):
        flooded(found, now_s)
        began = now_s
        while found.shut_out(now_s):
            now_s += 1
        spans.append(round(now_s - began, -1))
    assert spans[:3] == [FIRST_S, 2 * FIRST_S, 4 * FIRST_S]
    assert spans[-1] == LONGEST_S
    now_s += 2 * LONGEST_S
    flooded(found, now_s)
    assert found.shut_out(now_s + FIRST_S + 1) == set(), "it has been quiet for as long"


def test_an_honest_agent_that_has_an_outage_behind_it_is_none():
    found = Floods()
    for second in range(0, 3600, 2):  # its whole window finds the share full, again and again
        for _ in range(WINDOW):
            found.dropped(AGENT, 60_000, second)
    assert found.shut_out(3600) == set()


def test_what_is_subscribed_to_leaves_out_who_floods_and_what_nobody_registered_sends():
    agents = ("a", "b", LOUD)
    assert filters(agents, ()) == ALL_UP
    heard = filters(agents, {LOUD})
    assert {topic.split("/")[3] for topic in heard} == {"a", "b"}
    assert len(heard) == 2 * len(ALL_UP)
    assert filters(agents, {""}) == filters([*agents], {"x"})
    assert filters((LOUD,), {LOUD}) == ()


class Taker:
    """Answers everything."""

    def __init__(self):
        self.heard: list[bytes] = []

    def take(self, topic, payload):
        self.heard.append(payload)
        return Answer(topic.replace("up", "down"), b"told")

    def expected(self, *_):
        return None

    def reopen(self):
        raise AssertionError("nothing failed")


@contextmanager
def running(broker, taker, agents):
    made = mqtt.Subscriber(
        BrokerSettings(url=broker.url), taker, agents=agents, waiting_batches=4
    )  # fmt: skip
    stop = threading.Event()
    thread = threading.Thread(target=made.run, args=(stop,))
    thread.start()
    try:
        yield made
    finally:
        stop.set()
        thread.join()


def met(condition, within_s=10.0):
    """A condition for `until`."""
    until_s = time.monotonic() + within_s

    def is_met():
        assert time.monotonic() < until_s, "it did not come about"
        return condition()

    return is_met


async def until(is_met):
    while not is_met():  # noqa: ASYNC110 - what a thread does is looked at
        await asyncio.sleep(0.02)


async def test_a_collector_whose_answers_are_not_acknowledged_connects_anew(monkeypatch):
    monkeypatch.setattr(mqtt, "ANSWER_S", 1.0)
    async with hostile_broker() as broker:
        broker.acknowledges = False
        broker.after = published(batch_topic(AGENT, METER).encode(), payload=b"1")
        with running(broker, Taker(), {AGENT}):
            await until(met(lambda: broker.connections == 1 and broker.published))
            broker.after = b""
            await until(met(lambda: broker.connections > 1))
            broker.acknowledges = True
            count = len(broker.published)
            await until(met(lambda: len(broker.published) > count))
            connections = broker.connections
            await until(met(lambda: broker.connections > 1))
            assert broker.published[0][:20] == broker.published[-1][:20], "it is said again"
            assert broker.connections == connections


async def test_while_somebody_is_shut_out_all_others_are_subscribed_to(monkeypatch):
    monkeypatch.setattr(floods, "FIRST_S", 3.0)
    agents = {AGENT, *(f"edge-{i}" for i in range(100, 150)), LOUD}
    async with hostile_broker() as broker:
        with running(broker, Taker(), agents) as made:
            await until(met(made.is_ready.is_set))
            assert set(broker.filters) == set(ALL_UP)
            broker.filters.clear()
            flooded(made._floods, time.monotonic())
            await until(met(lambda: broker.connections == 2 and made.is_ready.is_set()))
            heard = {topic.split("/")[3] for topic in broker.filters}
            assert heard == agents - {LOUD}
            assert len(broker.filters) == len(heard) * len(ALL_UP)
            broker.filters.clear()
            await until(met(lambda: broker.connections == 3 and made.is_ready.is_set()))
            assert set(broker.filters) == set(ALL_UP), "its time is over"


@pytest.mark.parametrize("agents", [set(), {LOUD}])
async def test_a_collector_that_nobody_is_left_for_waits(agents, monkeypatch):
    monkeypatch.setattr(floods, "FIRST_S", 2.0)
    async with hostile_broker() as broker:
        with running(broker, Taker(), agents) as made:
            await until(met(made.is_ready.is_set))
            flooded(made._floods, time.monotonic())
            await until(met(lambda: broker.connections == 2 and made.is_ready.is_set()))
            await until(met(lambda: broker.connections == 3 and made.is_ready.is_set()))
            assert set(broker.filters) == set(ALL_UP)
