"""The newest readings go ahead of a backlog, and a slow line is not filled with what is old."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing

import pytest

from agent.test_uplink import PATIENT, collecting, drained, running, until, uplink_to
from joulemark_agent.contract.live import parse_live
from joulemark_agent.outbox import Outbox
from joulemark_agent.pace import LEAST_BYTES, MOST_BYTES, TARGET_S, Pace
from support import evidence
from support.collecting import Ledger, honest
from support.evidence import METER, PERIOD_US, START_US
from support.recording import recorded, recorder, state

DOCUMENTS = evidence.documents()
READINGS = evidence.meter_readings(DOCUMENTS, [1000] * 300)


@pytest.fixture
def outbox(tmp_path) -> Iterator[Outbox]:
    with closing(Outbox(state(tmp_path))) as box:
        yield box


async def test_the_newest_batch_is_shown_while_older_ones_wait(broker, outbox):
    writer = recorder(outbox, recorded(DOCUMENTS), slots=4)
    writer.commit(READINGS[:200])
    is_open = asyncio.Event()

    def slow(collector, agent, device, batch):
        return honest(collector, agent, device, batch) if is_open.is_set() else []

    ledger = Ledger()
    with collecting(broker.port, ledger, answering=slow) as collector:
        async with running(uplink_to(broker.url, outbox, PATIENT)) as uplink:
            await until(lambda: len(ledger.arrivals) >= 20)
            uplink.offer(writer.commit(READINGS[200:204]))
            await until(lambda: collector.live)
            device, payload = collector.live[-1]
            live, head, _ = parse_live(payload)
            assert device == METER
            assert head.size == outbox.trees()[0].sealed.size
            assert str(START_US + 203 * PERIOD_US).encode() in live.batch.leaves[-2]
            assert sum(outbox.waiting().values()) > 20, "and it is evidence only in its turn"
            assert ledger.leaves == {}


async def test_what_the_index_of_heads_does_not_know_yet_is_not_shown(broker, outbox, monkeypatch):
    """A head that left and that the disk then forgets would be signed a second time."""
    writer = recorder(outbox, recorded(DOCUMENTS), slots=4)
    writer.commit(READINGS[:200])
    ledger = Ledger()
    with collecting(broker.port, ledger, answering=lambda *_: []) as collector:
        async with running(uplink_to(broker.url, outbox, PATIENT)) as uplink:
            await until(lambda: len(ledger.arrivals) >= 20)
            with monkeypatch.context() as patch:
                patch.setattr(Outbox, "_show", lambda _: None)
                hidden = writer.commit(READINGS[200:204])
                uplink.offer(hidden)
                await asyncio.sleep(0.1)
                assert collector.live == []
            assert not outbox.has_shown(hidden[0])
            uplink.offer(writer.commit(READINGS[204:208]))
            await until(lambda: collector.live)


async def test_where_nothing_waits_nothing_is_sent_twice(broker, outbox):
    writer = recorder(outbox, recorded(DOCUMENTS), slots=4)
    with collecting(broker.port, Ledger()) as collector:
        async with running(uplink_to(broker.url, outbox)) as uplink:
            await drained(uplink)
            for i in range(0, 40, 4):
                uplink.offer(writer.commit(READINGS[i : i + 4]))
                await drained(uplink)
        assert collector.live == []


async def test_only_the_newest_of_what_is_told_waits_for_a_broker(broker, outbox):
    uplink = uplink_to(broker.url, outbox)
    for number in range(50):
        uplink.tell("joulemark/v1/up/edge-1/edge-1/health", b"%d" % number)
    with collecting(broker.port, Ledger()) as collector:
        async with running(uplink):
            await until(lambda: collector.health)
            await asyncio.sleep(0.05)
    assert collector.health == [b"49"]


# ------------------------------------------------------------------------- pace


def test_a_line_that_takes_long_gets_less_and_one_that_is_quick_more():
    pace = Pace()
    for _ in range(2000):
        pace.answered(0.01, 4000)
    assert pace.allowed_bytes == MOST_BYTES
    for _ in range(100):
        pace.answered(2 * TARGET_S, 4000)
    assert pace.allowed_bytes == LEAST_BYTES


@pytest.mark.parametrize("rate", [8_000, 64_000, 1_000_000])
def test_what_waits_on_a_line_is_what_it_takes_in_about_the_target(rate):
    """A line that takes so many bytes a second, with as much under way as is allowed."""
    pace, batch = Pace(), 1500
    for _ in range(3000):
        pace.answered(max(pace.allowed_bytes, batch) / rate, batch)
    waiting_s = pace.allowed_bytes / rate
    assert waiting_s <= 1.5 * TARGET_S or pace.allowed_bytes == LEAST_BYTES
    assert waiting_s >= 0.5 * TARGET_S or pace.allowed_bytes == MOST_BYTES
