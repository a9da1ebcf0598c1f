"""One agent floods the collector; the others have their receipts as if it did not (F30, F7)."""

import statistics
from contextlib import ExitStack, contextmanager

import pytest

from joulemark_agent.contract.topics import batch_topic, origin
from joulemark_gateway.broker import start_broker
from joulemark_gateway.evidence.store import FILE, SqliteStore
from support import servers
from support.evidence import METER, SITE, build_tree, documents, meter_readings, uncosigned
from support.flooding import (
    FLOODER,
    FLOODS,
    OTHERS,
    QUARANTINE,
    many,
    process,
    resident_mb,
    waiting,
)

DOCS = documents()
TREE = [
    uncosigned(batch)
    for batch in build_tree(DOCS, METER, meter_readings(DOCS, [1000] * 41), slots_per_batch=1)
]
COUNT, AGAIN_S = 40, 2.0
MOST_S = 5.0  # of any receipt, the one included in whose time the flood is found out
BROKER = ["mosquitto" if servers.program("mosquitto") else "embedded"]


@contextmanager
def chain(folder, kind, flood, broker_kind):
    with ExitStack() as stack:
        broker = stack.enter_context(start_broker(broker_kind))
        words = ("collect", broker.url, str(folder / FILE), kind)
        collector = stack.enter_context(process(*words))
        honest = stack.enter_context(waiting(broker.port))
        if flood is not None:
            stack.enter_context(process("flood", str(broker.port), flood))
        yield broker, collector, honest


@pytest.mark.endurance
@pytest.mark.parametrize("broker_kind", BROKER)
def test_a_flood_costs_the_others_no_receipt(tmp_path, broker_kind):
    waits, most_mb = {}, {}
    for i, flood in enumerate((None, *FLOODS)):
        folder = tmp_path / str(i)
        folder.mkdir()
        with chain(folder, "fair", flood, broker_kind) as (broker, collector, honest):
            waits[flood] = honest.receipts(many(TREE, COUNT), again_s=AGAIN_S, within_s=60)
            most_mb[flood] = max(map(resident_mb, (broker.process.pid, collector.pid)))
        with SqliteStore(folder / FILE, create=False) as store:
            assert store.leaves(origin(SITE, METER, 1)) == [
                leaf for batch in TREE[:COUNT] for leaf in batch.leaves
            ]
            kept = {(row.agent, row.code): row for row in store.quarantined()}
        assert sum(row.kept for row in kept.values() if row.agent == FLOODER) <= QUARANTINE
        assert {agent for agent, _ in kept} <= {FLOODER, ""}, "nobody else was refused anything"
    usual_s = statistics.median(waits.pop(None))
    for flood, found in waits.items():
        assert max(found) < MOST_S, (flood, max(found))
        assert statistics.median(found) < 2 * usual_s + 0.2, (flood, statistics.median(found))
    assert max(most_mb.values()) < 400, most_mb


@pytest.mark.endurance
def test_the_control_one_queue_for_all_gives_no_receipt(tmp_path):
    flood = "acknowledged messages"
    with chain(tmp_path, "unfair", flood, BROKER[0]) as (_, _, honest):
        found = honest.receipts(many(TREE, 3), again_s=AGAIN_S, within_s=10)
    assert honest.sent_again >= 3, found
    assert max(found) > MOST_S


def test_a_message_that_cannot_be_read_is_kept_once_and_holds_up_nobody(tmp_path):
    """F7: again and again it is one row, and what comes behind it is taken."""
    with chain(tmp_path, "fair", None, BROKER[0]) as (_, _, honest):
        for batch in TREE[:3]:
            for _ in range(5):
                honest.client.publish(batch_topic(FLOODER, OTHERS), b"poison", qos=1)
            assert len(honest.receipts([batch], again_s=10, within_s=20)) == 1
    with SqliteStore(tmp_path / FILE, create=False) as store:
        [row] = store.quarantined()
    assert (row.agent, row.code, row.messages, row.kept) == (FLOODER, "bad_batch", 15, 1)
    assert honest.sent_again == 0
