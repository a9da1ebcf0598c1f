"""The agent as a whole: a plant behind real Modbus TCP, a broker process, a small collector."""

import asyncio
import json
import logging
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from joulemark_agent import agent, app, approved, cli
from joulemark_agent.clock import SystemClock
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.signature import decode64
from joulemark_agent.contract.tree import Edge, append, root
from joulemark_agent.foundation import OUTBOX
from joulemark_agent.outbox import Outbox
from joulemark_agent.settings import load_site
from joulemark_gateway.evidence import history
from support.collecting import Ledger, SmallCollector
from support.disk import mounted
from support.evidence import COUNTER, METER, PERIOD_US, SITE, START_US
from support.recording import slots_of
from support.running import STEP_WH, Site, site, small_plant
from support.tcp import serving

ORIGINS = {METER: f"joulemark/{SITE}/{METER}/1", COUNTER: f"joulemark/{SITE}/{COUNTER}/1"}
WAIT_S = 20.0


@pytest.fixture
def collector(broker) -> Iterator[SmallCollector]:
    with closing(SmallCollector(broker.port, Ledger())) as running:
        yield running


def enrolled(place: Site, *more: str) -> Site:
    key = place.path.parent / "operator.key"
    make = [] if key.exists() else ["--create-operator-key"]
    words = ["agent", "enroll", "-c", str(place.path), "--operator-key", str(key), *make, *more]
    assert cli.main(words) == 0
    return place


async def ended(process: subprocess.Popen[str]) -> Any:
    """The summary of an agent that ends by itself or was asked to."""
    await until(lambda: process.poll() is not None)
    assert process.returncode == 0
    assert process.stdout is not None
    return json.loads(process.stdout.read().strip().splitlines()[-1])


def check_year(ledger: Ledger, summary: Any, slots: int) -> None:
    """Everything the plant showed is with the collector, once, under the heads of the summary."""
    for device, origin in ORIGINS.items():
        leaves = ledger.leaves[origin]
        tree = history.parse_tree(leaves)
        history.check_slots(tree, PERIOD_US)
        history.check_envelopes(tree)
        expected = [START_US + i * PERIOD_US for i in range(slots)]
        assert [record.slot_us for record in tree.records] == expected
        head = summary["heads"][device]
        assert decode64(head["root"]) == root(append(Edge(), leaves))
        assert head["size"] == len(leaves)
        assert (head["slots"], head["records"], head["gap_slots"]) == (slots, slots, 0)
    meter = history.parse_tree(ledger.leaves[ORIGINS[METER]])
    register = [int(record.values["energy_wh"]) for record in meter.records]
    assert register == [i * STEP_WH for i in range(slots)]
    counted = [int(e.fields["energy"].get("energy_wh", "0")) for e in meter.envelopes]
    assert sum(counted) == (slots - 1) * STEP_WH


async def test_a_recording_is_read_to_its_end_and_every_receipt_is_waited_for(
    tmp_path, broker, collector
):
    async with small_plant(305) as plant:
        place = enrolled(site(tmp_path, plant, broker.url))
        summary = await app.run(load_site(place.path))
        again = await app.run(load_site(place.path))
    check_year(collector.ledger, again, 305)
    assert summary["ended"] == "recording"
    assert (summary["slots"], summary["records"], summary["gaps"]) == (610, 610, 0)
    assert summary["unconfirmed"] == 0
    assert again["records"] == 610, "the second run found nothing left to read"


@pytest.mark.endurance
async def test_an_agent_killed_again_and_again_makes_no_gap_and_no_repeat(
    tmp_path, broker, collector
):
    rng = random.Random(3)
    async with small_plant(2000) as plant:
        place = enrolled(site(tmp_path, plant, broker.url))
        for _ in range(3):
            mark = plant.clock._committed + rng.randrange(20, 200)
            with place.started("run") as process:
                await until(lambda: plant.clock._committed >= mark)  # noqa: B023 - awaited at once
                process.kill()
                assert process.wait() == -signal.SIGKILL
        with place.started("run") as process:
            summary = await ended(process)
    check_year(collector.ledger, summary, 2000)
    boots = [
        leaf
        for leaf in map(json.loads, collector.ledger.leaves[ORIGINS[METER]])
        if leaf.get("type") == "boot"
    ]
    assert [leaf["boot"] for leaf in boots] == [1, 2, 3, 4]


@pytest.mark.usefixtures("collector")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_agent_that_is_asked_to_stop_commits_closes_and_leaves(tmp_path, broker, number):
    log = tmp_path / "agent.log"
    async with small_plant(3000) as plant:
        place = enrolled(site(tmp_path, plant, broker.url))
        with log.open("w") as stderr, place.started("run", stderr=stderr) as process:
            await until(lambda: plant.clock._committed > 50)
            process.send_signal(number)
            summary = await ended(process)
    assert summary["ended"] == "stopped"
    assert "Traceback" not in log.read_text()
    with closing(Outbox(place.state / OUTBOX)) as box:
        trees = box.trees()
        assert [box.open_leaves(t.device, t.epoch) for t in trees] == [[], []]
        assert {t.edge.size - t.sealed.size for t in trees} == {0}
        assert (trees[0].last_slot_us or 0) >= START_US + 50 * PERIOD_US


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """The state folder on a disk of its own."""
    disk = tmp_path / "state"
    disk.mkdir(mode=0o700)
    with mounted(disk, "4m"):
        yield disk


@pytest.mark.endurance
async def test_a_full_disk_stops_reading_and_room_lets_it_go_on_without_a_gap(
    tmp_path, broker, collector, small_disk
):
    ballast, log = small_disk / "ballast", tmp_path / "agent.log"
    async with small_plant(400) as plant:
        place = enrolled(site(tmp_path, plant, broker.url))
        ballast.write_bytes(bytes(3800 * 1024))
        with log.open("w") as stderr, place.started("run", stderr=stderr) as process:
            await until(lambda: "outbox_full" in log.read_text())
            assert process.poll() is None
            ballast.unlink()
            summary = await ended(process)
    check_year(collector.ledger, summary, 400)
    said = log.read_text()
    assert said.count("outbox_full") == 1
    assert said.count("outbox_back") == 1
    assert "Free space" in said


@pytest.mark.endurance
async def test_slots_that_pass_while_the_disk_is_full_are_gaps_of_that_cause(
    tmp_path, broker, collector, small_disk
):
    held, log, ballast = collector.ledger.leaves, tmp_path / "agent.log", small_disk / "ballast"
    async with small_plant(1) as plant:
        port = plant.modbus_port
        place = enrolled(site(tmp_path, None, broker.url, period_s=1, modbus_port=port, slots=1))
        ballast.write_bytes(bytes(3800 * 1024))
        with log.open("w") as stderr, place.started("run", stderr=stderr) as process:
            await until(lambda: "outbox_full" in log.read_text())
            full_s = time.time()
            await until(lambda: time.time() > full_s + 2.1)  # so that a whole slot passes unread
            ballast.unlink()
            await until(lambda: b'"gap"' in b"".join(held.get(ORIGINS[METER], [])))
            process.send_signal(signal.SIGTERM)
            await ended(process)
    tree = history.parse_tree(held[ORIGINS[METER]])
    history.check_slots(tree, 1_000_000)
    assert tree.gaps[0][1].cause == "disk_full"


@pytest.mark.endurance
async def test_on_the_systems_clock_slots_that_were_missed_are_gaps(tmp_path, broker, collector):
    """Two runs of a second's period with a pause: every slot is a record or in a gap."""
    held = collector.ledger.leaves
    async with small_plant(1) as plant:
        port = plant.modbus_port
        place = enrolled(site(tmp_path, None, broker.url, period_s=1, modbus_port=port, slots=2))
        with place.started("run") as process:
            await until(lambda: len(held.get(ORIGINS[METER], [])) > 5)
            process.send_signal(signal.SIGTERM)
            first = await ended(process)
        stopped_s = time.time()
        await until(lambda: time.time() > stopped_s + 2.1)  # so that a whole slot passes unread
        with place.started("run") as process:
            await until(lambda: b"agent_down" in b"".join(held[ORIGINS[METER]]))
            process.send_signal(signal.SIGTERM)
            second = await ended(process)
    assert first["ended"] == second["ended"] == "stopped"
    tree = history.parse_tree(held[ORIGINS[METER]])
    history.check_slots(tree, 1_000_000)
    assert "agent_down" in {gap.cause for _, gap in tree.gaps} <= {"agent_down", "overrun"}
    with closing(Outbox(place.state / OUTBOX)) as box:
        counts = {t.device: t.records + t.gap_slots for t in box.trees()}
    assert {name: head["slots"] for name, head in second["heads"].items()} == counts


async def test_a_device_that_does_not_answer_gives_gaps_and_the_other_one_records(
    tmp_path, broker, collector
):
    async with small_plant(30) as plant:
        text = (
            site(tmp_path, plant, broker.url).path.read_text("utf-8").replace("unit: 2", "unit: 9")
        )
        (tmp_path / "site.yaml").write_text(text, "utf-8")
        place = enrolled(Site(tmp_path / "site.yaml"))
        summary = await app.run(load_site(place.path))
    assert (summary["slots"], summary["records"], summary["gaps"]) == (60, 30, 30)
    contents = [json.loads(leaf) for leaf in collector.ledger.leaves[ORIGINS[COUNTER]]]
    assert len(slots_of(contents, PERIOD_US)) == 30
    assert {leaf["cause"] for leaf in contents if leaf.get("type") == "gap"} == {"exception_11"}
    assert len([leaf for leaf in contents if leaf.get("type") == "gap"]) == 3, "merged per commit"


@pytest.mark.endurance
async def test_a_silent_line_costs_the_devices_of_other_lines_no_slot(tmp_path, broker, collector):
    """One device every second, and one that keeps its own line waiting for three."""
    held = collector.ledger.leaves

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        del writer

    async with small_plant(1) as plant, serving(never) as silent_port:
        place = site(tmp_path, None, broker.url, period_s=1, modbus_port=plant.modbus_port, slots=1)
        text = place.path.read_text("utf-8")
        meter, counter = f":{plant.modbus_port}", f":{silent_port}"
        first, second = text.rsplit(meter, 1)
        second = second.replace("period_s: 1}", "period_s: 3, timeout_s: 3}")
        place.path.write_text(f"{first}{counter}{second}", "utf-8")
        enrolled(place)
        with place.started("run") as process:
            await until(lambda: b"timeout" in b"".join(held.get(ORIGINS[COUNTER], [])))
            await until(lambda: len(history.parse_tree(held[ORIGINS[METER]]).records) >= 4)
            process.send_signal(signal.SIGTERM)
            await ended(process)
    tree = history.parse_tree(held[ORIGINS[METER]])
    history.check_slots(tree, 1_000_000)
    assert tree.gaps == ()


class SetClock(SystemClock):
    """The system's clock, which a test sets."""

    ahead_us = 0

    def now_us(self) -> int:
        return super().now_us() + self.ahead_us


async def test_a_clock_that_is_set_back_is_said_and_no_slot_is_read_twice(
    tmp_path, broker, collector, monkeypatch, caplog
):
    held = collector.ledger.leaves
    monkeypatch.setattr(agent, "SystemClock", SetClock)
    monkeypatch.setattr(SetClock, "ahead_us", 3_600_000_000)
    caplog.set_level(logging.INFO, "joulemark_agent.agent")

    def said() -> list[str]:
        return [record.getMessage() for record in caplog.records]

    async with small_plant(1) as plant:
        port = plant.modbus_port
        place = enrolled(site(tmp_path, None, broker.url, period_s=1, modbus_port=port, slots=1))
        running = asyncio.create_task(app.run(load_site(place.path)))
        await until(lambda: any(b"raw" in leaf for leaf in held.get(ORIGINS[METER], [])))
        monkeypatch.setattr(SetClock, "ahead_us", 0)
        await until(lambda: "clock_behind" in said())
        before = len(history.parse_tree(held[ORIGINS[METER]]).records)
        monkeypatch.setattr(SetClock, "ahead_us", 3_600_000_000)
        await until(lambda: "clock_caught_up" in said())
        await until(lambda: len(history.parse_tree(held[ORIGINS[METER]]).records) > before)
        os.kill(os.getpid(), signal.SIGTERM)
        await running
    history.check_slots(history.parse_tree(held[ORIGINS[METER]]), 1_000_000)
    assert said().count("clock_behind") == 1
    steps = [vars(r)["step_s"] for r in caplog.records if r.getMessage() == "clock_set"]
    assert steps == [pytest.approx(-3600, abs=0.2), pytest.approx(3600, abs=0.2)]
    [record] = [r for r in caplog.records if r.getMessage() == "clock_behind"]
    assert "recorded already" in vars(record)["what"]


async def test_a_simulator_that_restarts_is_followed(tmp_path, broker, collector):
    async with small_plant(300) as plant:
        place = enrolled(site(tmp_path, plant, broker.url))
        running = asyncio.create_task(app.run(load_site(place.path)))
        await until(lambda: plant.clock._committed > 100)
        plant.clock._committed = -1  # what a restarted simulator knows: nothing
        plant.drop_control()
        summary = await asyncio.wait_for(running, WAIT_S)
    check_year(collector.ledger, summary, 300)


# ------------------------------------------------------------------- refusals


async def test_without_enrolling_nothing_runs(tmp_path, broker):
    place = site(tmp_path, None, broker.url, modbus_port=5020)
    with pytest.raises(ConfigError, match="agent enroll"):
        await app.run(load_site(place.path))
    assert not place.state.exists()


@pytest.mark.usefixtures("collector")
async def test_a_changed_document_stops_the_start_until_it_is_approved(tmp_path, broker):
    async with small_plant(30) as plant:
        place = enrolled(site(tmp_path, plant, broker.url))
        await app.run(load_site(place.path))
        site(tmp_path, plant, broker.url, factors="dataset_check")
        with pytest.raises(ConfigError, match="has changed: site document, factors document") as e:
            await app.run(load_site(place.path))
        assert "agent enroll" in e.value.do
        enrolled(place)
        plant.clock.slot, plant.clock._committed = 0, -1
        summary = await app.run(load_site(place.path))
    assert summary["heads"][METER]["epoch"] == 2
    assert summary["records"] == 60, "the second epoch reads the recording from its first slot"


@pytest.mark.usefixtures("collector")
async def test_a_state_folder_of_another_recording_is_refused_in_one_message(tmp_path, broker):
    async with small_plant(30) as plant:
        place = enrolled(site(tmp_path, plant, broker.url))
        await app.run(load_site(place.path))
    log = tmp_path / "agent.log"
    async with small_plant(10) as other:
        again = site(tmp_path, other, broker.url)
        with log.open("w") as stderr, again.started("run", stderr=stderr) as process:
            await until(lambda: process.poll() is not None)
    assert process.returncode == 1
    assert log.read_text().splitlines()[-1].startswith("error: The simulator at")
    assert "Traceback" not in log.read_text()


def test_the_software_digest_changes_with_the_code_and_with_nothing_else(tmp_path, monkeypatch):
    for name in ("a.py", "sub/b.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    monkeypatch.setattr(approved, "__file__", str(tmp_path / "app.py"))
    first = approved.software_digest()
    (tmp_path / "notes.txt").write_text("no code")
    os.utime(tmp_path / "a.py", (0, 0))
    assert approved.software_digest() == first
    (tmp_path / "sub/b.py").write_text("x = 2\n")
    assert approved.software_digest() != first


async def until(condition) -> None:
    """Return as soon as the condition holds; it is an error if it never does."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0.005)
