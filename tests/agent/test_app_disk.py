"""The agent as a whole on a disk that is full, or that has lost what was on it."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from agent.test_app import ORIGINS, check_year, ended, enrolled, until
from joulemark_agent import __version__, app
from joulemark_agent.contract.health import parse_health
from joulemark_agent.keys import AGENT_KEY, load_key
from joulemark_agent.settings import load_site
from joulemark_gateway.evidence import history
from support.collecting import Ledger, SmallCollector
from support.disk import mounted
from support.evidence import METER, SITE
from support.running import Site, site, small_plant


@pytest.fixture
def collector(broker) -> Iterator[SmallCollector]:
    with closing(SmallCollector(broker.port, Ledger())) as running:
        yield running


def fill(disk: Path) -> Path:
    """Take all that is left of a disk; the file to delete for room."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    return ballast


@pytest.mark.endurance
async def test_an_agent_starts_on_a_full_disk_waits_and_goes_on_by_itself(
    tmp_path, broker, collector
):
    disk, log = tmp_path / "state", tmp_path / "agent.log"
    disk.mkdir(mode=0o700)
    with mounted(disk, "4m"):
        async with small_plant(60) as plant:
            place = enrolled(site(tmp_path, plant, broker.url))
            ballast = fill(disk)
            with log.open("w") as stderr, place.started("run", stderr=stderr) as process:
                await until(lambda: "outbox_full" in log.read_text())
                assert process.poll() is None
                ballast.unlink()
                summary = await ended(process)
        check_year(collector.ledger, summary, 60)
    assert log.read_text().count("outbox_full") == 1
    assert "outbox_back" in log.read_text()


@pytest.mark.endurance
async def test_an_agent_that_fills_its_disk_itself_starts_in_the_room_it_has_kept(
    tmp_path, broker, collector
):
    disk, log = tmp_path / "state", tmp_path / "agent.log"
    disk.mkdir(mode=0o700)
    with mounted(disk, "4m"):
        async with small_plant(30) as plant:
            place = enrolled(site(tmp_path, plant, broker.url))
            (disk / "reserve").write_bytes(bytes(1024 * 1024))
            fill(disk)
            with log.open("w") as stderr, place.started("run", stderr=stderr) as process:
                summary = await ended(process)
        check_year(collector.ledger, summary, 30)


async def test_how_the_agent_is_reaches_the_collector_signed(tmp_path, broker, collector):
    async with small_plant(1) as plant:
        port = plant.modbus_port
        place = enrolled(site(tmp_path, None, broker.url, period_s=1, modbus_port=port, slots=1))
        with place.started("run") as process:
            await until(lambda: collector.health)
            process.send_signal(signal.SIGTERM)
            await ended(process)
    key = load_key(place.state / AGENT_KEY)
    content = parse_health(collector.health[0], (key.public,))
    assert (content["site"], content["level"]) == (SITE, "nothing")
    assert int(content["outbox"]["capacity_bytes"]) > 1_000_000
    assert content["about"]["version"] == __version__
    assert content["about"]["clock_sync"] in {"ntp", "unsynchronised"}


def destroy(place: Site) -> None:
    """What of the outbox is on the disk is gone: nothing tells what was signed last."""
    for name in ("outbox.db", "outbox-covers.db"):
        path = place.state / name
        data = path.read_bytes()
        path.write_bytes(data[:100] + bytes(len(data) - 100))


async def test_where_nothing_is_left_reading_goes_on_in_the_epoch_of_the_reserve(
    tmp_path, broker, collector
):
    async with small_plant(30) as plant:
        place = enrolled(site(tmp_path, plant, broker.url))
        await app.run(load_site(place.path))
        destroy(place)
        plant.clock.slot, plant.clock._committed = 0, -1
        summary = await app.run(load_site(place.path))
    assert summary["heads"][METER]["epoch"] == 2
    leaves = [json.loads(leaf) for leaf in collector.ledger.leaves[f"joulemark/{SITE}/{METER}/2"]]
    assert [leaf.get("type") for leaf in leaves[:3]] == ["epoch_start", "boot", "discontinuity"]
    assert leaves[2]["old_epoch"] == 1
    assert any("outbox.db" in path.name for path in (place.state / "set-aside").iterdir())
    assert len(history.parse_tree(collector.ledger.leaves[ORIGINS[METER]]).records) == 30
