"""One agent floods the collector: what the others wait for their receipts, and what it costs.

Broker, collector, the flooding agent and an honest one are processes or connections of their own.
The honest one sends one batch after the other and waits for each receipt. The control is a
collector with one queue for all.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Literal

from joulemark_agent.contract.topics import origin
from joulemark_gateway.broker import RunningBroker, start_broker
from joulemark_gateway.evidence.store import FILE, SqliteStore
from support import servers
from support.evidence import METER, SITE, build_tree, documents, meter_readings, uncosigned
from support.flooding import (
    FLOODER,
    FLOODS,
    QUARANTINE,
    Waiting,
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
AGAIN_S = 2.0
MOST_S = 5.0  # of any receipt, the one included in whose time the flood is found out
MORE_S = 0.5  # of the median
MOST_MB = 400.0  # that broker or collector hold
CONTROL = "messages that unpack to the limit"
WORST = ("acknowledged messages", CONTROL)
Kind = Literal["mosquitto", "embedded"]


def run(seed: int, *, full: bool) -> dict[str, str]:
    """Waits for 100 receipts beside each flood, or for 40 beside the worst; and of the control."""
    del seed  # nothing is drawn
    count = 100 if full else 40
    figures: dict[str, str] = {}
    kinds: list[Kind] = ["mosquitto", "embedded"] if servers.program("mosquitto") else ["embedded"]
    for broker in kinds if full else kinds[:1]:
        usual_s = statistics.median(_waits(broker, None, count, figures))
        for flood in FLOODS if full else WORST:
            found = _waits(broker, flood, count, figures)
            middle_s = statistics.median(found)
            assert max(found) < MOST_S, (flood, max(found))
            assert middle_s < 2 * usual_s + MORE_S, (flood, middle_s)
        figures[f"{broker}, control: one queue for all, {CONTROL}"] = _control(broker)
    return figures


def _waits(
    broker_kind: Kind, flood: str | None, count: int, figures: dict[str, str]
) -> list[float]:
    """How long each receipt was waited for, beside a flood. [s]"""
    with tempfile.TemporaryDirectory() as folder:
        with chain(Path(folder), "fair", flood, broker_kind) as (broker, collector, honest):
            found = honest.receipts(many(TREE, count), again_s=AGAIN_S, within_s=3.0 * count)
            most_mb = max(map(resident_mb, (broker.process.pid, collector.pid)))
        with SqliteStore(Path(folder) / FILE, create=False) as store:
            leaves = [leaf for batch in TREE[:count] for leaf in batch.leaves]
            assert store.leaves(origin(SITE, METER, 1)) == leaves
            kept = store.quarantined()
    assert sum(row.kept for row in kept if row.agent == FLOODER) <= QUARANTINE
    assert {row.agent for row in kept} <= {FLOODER, ""}, "nobody else was refused anything"
    assert most_mb < MOST_MB, (flood, most_mb)
    times_ms = sorted(1000 * wait_s for wait_s in found)
    figures[f"{broker_kind}, {flood or 'no flood'}"] = (
        f"{count} receipts, median {statistics.median(times_ms):.0f} ms,"
        f" 19 of 20 within {times_ms[int(0.95 * count)]:.0f} ms, longest {times_ms[-1]:.0f} ms;"
        f" {honest.sent_again} sent again; {most_mb:.0f} MB at most"
    )
    return found


def _control(broker_kind: Kind) -> str:
    with (
        tempfile.TemporaryDirectory() as folder,
        chain(Path(folder), "unfair", CONTROL, broker_kind) as (_, _, honest),
    ):
        found = honest.receipts(many(TREE, 40), again_s=AGAIN_S, within_s=15)
    assert max(found) > MOST_S, "the control must fail"
    return f"longest {max(found):.1f} s, sent again {honest.sent_again} times: fails"


@contextmanager
def chain(
    folder: Path, kind: str, flood: str | None, broker_kind: Kind
) -> Iterator[tuple[RunningBroker, Popen[str], Waiting]]:
    """Broker, collector, the honest agent, and the one that floods."""
    with ExitStack() as stack:
        broker = stack.enter_context(start_broker(broker_kind))
        words = ("collect", broker.url, str(folder / FILE), kind)
        collector = stack.enter_context(process(*words))
        honest = stack.enter_context(waiting(broker.port))
        if flood is not None:
            stack.enter_context(process("flood", str(broker.port), flood))
        yield broker, collector, honest
