"""The whole chain for devices that show tables: agent, broker, collector, and what is kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Event
from typing import Any
from zoneinfo import ZoneInfo

from joulemark_agent import app, cli
from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.signature import encode64, public_key
from joulemark_agent.equipment import Analysis, Samples
from joulemark_agent.equipment.readings import of_readings
from joulemark_agent.keys import AGENT_KEY, load_key
from joulemark_agent.settings import load_site
from joulemark_gateway.broker import RunningBroker
from joulemark_gateway.equipment import analysis_of
from joulemark_gateway.evidence import history
from joulemark_gateway.evidence.history import DeviceHistory, Tree
from joulemark_gateway.evidence.store import SqliteStore
from joulemark_gateway.ingest.intake import Intake, Witness
from joulemark_gateway.ingest.mqtt import Subscriber
from joulemark_gateway.ingest.registered import Agent, Registry
from joulemark_gateway.measure.intervals import Counted, counted
from joulemark_gateway.settings import BrokerSettings
from support.evidence import KEYS
from support.log_writer import close_log
from support.table_factory import Table, serving_tables, write_site

_WAIT_S = 20.0


@dataclass(frozen=True, eq=False)
class Kept:
    """What the collector holds of one device."""

    tree: Tree
    documents: dict[str, bytes]

    @cached_property
    def history(self) -> DeviceHistory:
        """The readings as arrays, decoded anew from the raw words."""
        return history.history_of(self.tree, self.documents)

    def counter(self, point: str) -> Counted:
        """A counter, followed as the profile says."""
        return counted(self.history, self.history.profile.point(point))

    @cached_property
    def samples(self) -> Samples:
        """The values at the device's own times."""
        held = self.history
        zone = ZoneInfo(held.time_zone)
        return of_readings(held.profile, self.tree.records, held.period_us, zone)

    @cached_property
    def analysis(self) -> Analysis:
        """What the model of its kind makes of it."""
        site = parse_canonical(self.documents[self.tree.grant["documents"]["site"]])
        section = {row["id"]: row.get("equipment") for row in site["devices"]}[self.tree.device]
        found = analysis_of(self.history.profile.kind, section, self.samples)
        assert found is not None
        return found


@dataclass(frozen=True, eq=False)
class PlantDay:
    """What a run left: the agent's summary, and what is kept by device."""

    summary: dict[str, Any]
    kept: dict[str, Kept]
    took_s: float
    ledger: Path

    def __getitem__(self, device: str) -> Kept:
        return self.kept[device]


def run_day(folder: Path, broker: RunningBroker, tables: Sequence[Table]) -> PlantDay:
    """Read every row of every table and keep it; what is kept is checked leaf by leaf."""
    return asyncio.run(_run(folder, broker, tables))


async def _run(folder: Path, broker: RunningBroker, tables: Sequence[Table]) -> PlantDay:
    began_s = time.monotonic()
    async with serving_tables(tables) as factory:
        key = encode64(public_key(KEYS.witness))
        path = write_site(folder, tables, factory, broker_url=broker.url, key=key)
        operator = folder / "operator.key"
        command = ["agent", "enroll", "-c", str(path), "--operator-key", str(operator)]
        assert cli.main([*command, "--create-operator-key"]) == 0
        settings = load_site(path)
        agent = Agent(
            settings.agent,
            settings.site,
            load_key(settings.state_dir / AGENT_KEY).public,
            frozenset(table.id for table in tables),
        )
        trusted = Registry({settings.agent: agent}, frozenset({load_key(operator).public}), True)
        with collecting(folder / "ledger.db", broker, trusted):
            summary = await app.run(settings)
    close_log(folder / "ledger.db", time.time_ns() // 1000)
    kept = _kept(folder / "ledger.db")
    for table in tables:
        tree = kept[table.id].tree
        history.check_slots(tree, table.period_s * 1_000_000)
        history.check_envelopes(tree)
        history.check_decode(tree, kept[table.id].history.profile)
        assert len(tree.records) + sum(gap.slots for _, gap in tree.gaps) == len(table.rows)
    assert summary["unconfirmed"] == 0
    return PlantDay(summary, kept, time.monotonic() - began_s, folder / "ledger.db")


@contextmanager
def collecting(ledger: Path, broker: RunningBroker, trusted: Registry) -> Iterator[None]:
    """The collector's own parts in a thread: what it accepts is in the ledger."""
    stop, ready = Event(), Event()

    def collect() -> None:
        now_us = time.time_ns
        witness = Witness("witness", KEYS.witness)
        intake = Intake(
            lambda: SqliteStore(ledger), lambda: trusted, witness, lambda: now_us() // 1000
        )
        subscriber = Subscriber(
            BrokerSettings(url=broker.url),
            intake,
            agents=frozenset(trusted.agents),
            waiting_batches=200,
        )
        subscriber.is_ready = ready
        try:
            subscriber.run(stop)
        finally:
            intake.close()

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(collect)
        try:
            assert ready.wait(_WAIT_S)
            yield
        finally:
            stop.set()
            running.result()


def _kept(ledger: Path) -> dict[str, Kept]:
    with SqliteStore(ledger, create=False) as store:
        documents = store.documents()
        found = {}
        for head in store.heads():
            store.scrub(head.origin)
            tree = history.parse_tree(store.leaves(head.origin))
            found[tree.device] = Kept(tree, documents)
        return found
