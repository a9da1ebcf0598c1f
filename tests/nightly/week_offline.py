"""The broker was away for a week: what waits, how the agent starts with it, and how it drains.

Fifty points a second of five devices fill an outbox through the product's recorder. Then a broker
and a collector are there, and an agent's process opens it, reads on every second and sends. Short:
some hours. Also 200 points a second of four devices, as a plant of some size has. The control is
paho's own queue, which most agents trust: what it holds is in memory, and it ends at 65,535.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from joulemark_agent.recorded import Recorded
from joulemark_gateway.broker import start_broker
from joulemark_gateway.evidence.store import SqliteStore
from support import offline
from support.evidence import SITE
from support.forks import Forks, until

WEEK_S, SHORT_S, DAY_S = 7 * 86_400, 900, 86_400
DRAIN_S, FULL_DRAIN_S = 6.0, 300.0  # of draining that is measured
MOST_BYTES_PER_VALUE, MOST_RSS_MB, MOST_START_S, LEAST_SPEED, MOST_LAG_S = 33.0, 20.0, 5.0, 20, 10.0


@dataclass(frozen=True)
class Case:
    """Which devices, and for how long nobody listened."""

    devices: int
    points: int
    seconds: int

    @property
    def values(self) -> int:
        """Point values that wait."""
        return self.devices * self.points * self.seconds


def run(seed: int, *, full: bool) -> dict[str, str]:
    """A week and a day in the full form."""
    del seed
    cases = {
        "50 points/s": Case(5, 10, WEEK_S if full else SHORT_S),
        "200 points/s": Case(4, 50, DAY_S if full else SHORT_S // 3),
    }
    figures: dict[str, str] = {}
    for name, case in cases.items():
        with tempfile.TemporaryDirectory() as folder:
            for what, figure in _measured(Path(folder), case, full=full).items():
                figures[f"{name}: {what}"] = figure
    refused, grown_mb = _control()
    assert refused > 0
    return figures | {
        "control (paho's queue)": f"{refused} of 70,000 messages refused, {grown_mb:.0f} MB for"
        " the rest, none of it on disk"
    }


def _measured(folder: Path, case: Case, *, full: bool) -> dict[str, str]:
    devices = offline.devices_of(case.devices, case.points)
    first_us = (int(time.time()) - case.seconds - 60) * offline.SECOND_US
    fill(folder, devices, first_us, case.seconds)
    disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    bare = folder / "bare"
    bare.mkdir()
    words = [str(case.devices), str(case.points)]
    with ExitStack() as stack:
        broker = stack.enter_context(start_broker("mosquitto"))
        forks = stack.enter_context(Forks("support.offline:prepare"))
        # The same agent with nothing to send, to a collector of its own: what it has in memory.
        rested, _ = _watched(forks, bare, broker.port, words, 6.0)
        begun_s = time.monotonic()
        within_s = FULL_DRAIN_S if full else DRAIN_S
        drained, heard = _watched(forks, folder, broker.port, words, within_s)
        took_s = time.monotonic() - begun_s
    ages = [said["live_s"] for said in heard if "live_s" in said]
    sent = _held(folder)
    speed = _speed(drained, case)
    rss_mb = max(said["rss"] for said in drained) - max(said["rss"] for said in rested)
    start_s = next(said["start_s"] for said in drained if "start_s" in said)
    per_value = disk / case.values
    lag_s = max(ages, default=0.0)
    if full:
        assert per_value <= MOST_BYTES_PER_VALUE, f"{per_value:.1f} B"
    assert rss_mb <= MOST_RSS_MB, f"{rss_mb:.1f} MB"
    assert start_s <= MOST_START_S, f"{start_s:.1f} s"
    assert speed >= LEAST_SPEED, f"{speed:.0f} times real time"
    assert lag_s <= MOST_LAG_S, f"{lag_s:.1f} s"
    assert sent > 0
    return {
        "waiting": f"{case.values:,} values in {case.devices * case.seconds:,} records",
        "disk": f"{disk / 1e6:.0f} MB, {per_value:.1f} B/value",
        "start": f"{start_s:.2f} s",
        "memory more than with nothing waiting": f"{rss_mb:.1f} MB",
        "drained": f"{speed:.0f} times real time for {took_s:.0f} s, {sent:,} leaves in order",
        "age of the live reading": f"median {statistics.median(ages or [0]):.2f} s,"
        f" at most {lag_s:.2f} s, {len(ages)} seen",
    }


def fill(folder: Path, devices: Sequence[Recorded], first_us: int, seconds: int) -> None:
    """Have so many seconds wait, made in memory where there is room: a week is many flushes."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        for _ in offline.prefill(Path(name), devices, first_us, seconds):
            pass
        shutil.copytree(name, folder, dirs_exist_ok=True)


def _watched(
    forks: Forks, folder: Path, port: int, words: Sequence[str], within_s: float
) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """Let an agent send for a while, or until nothing waits; what it said and what the collector.

    Args:
        forks: what starts them.
        folder: of both.
        port: of the broker.
        words: how many devices, and points of each.
        within_s: for how long.
    """
    log = folder / "agent.log"
    taken = [str(folder), str(port), words[0]]
    collector = forks.start("support.offline:collect", taken, folder / "collector.log")
    agent = forks.start("support.offline:drain", [str(folder), str(port), *words], log)
    until(lambda: "unconfirmed" in agent.said() or agent.poll() is not None, "an agent")
    begun_s = time.monotonic()
    while time.monotonic() - begun_s < within_s:
        assert agent.poll() is None, log.read_text()[-3000:]
        last = offline.said(agent.said())[-1]
        if time.monotonic() - begun_s > 6.0 and last.get("unconfirmed", 1) == 0:
            break
        time.sleep(0.2)
    for process in (agent, collector):
        process.kill()
        process.wait()
    return offline.said(agent.said()), offline.said(collector.said())


def _speed(said: Sequence[Mapping[str, Any]], case: Case) -> float:
    """How many seconds of readings arrive in a second, those that are new not counted."""
    rows = [(one["t"], one["unconfirmed"]) for one in said if "unconfirmed" in one]
    first, *rest = rows
    last = next((row for row in rest if row[1] == 0), rows[-1])
    batches = int(first[1] - last[1])  # five seconds of one device each
    return batches * offline.GROUP_S / case.devices / float(last[0] - first[0])


def _held(folder: Path) -> int:
    """How many leaves the collector has."""
    path = folder / "evidence.sqlite"
    if not path.exists():
        return 0
    with SqliteStore(path, create=False) as store:
        return sum(head.size for head in store.heads() if head.origin.split("/")[1] == SITE)


# ------------------------------------------------------------------- the control


def _control() -> tuple[int, float]:
    """Messages that paho refuses while no broker is there, and what it takes for the others."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    before_mb = offline.rss_mb()
    refused = 0
    for _ in range(70_000):
        try:
            told = client.publish("joulemark/v1/up/a/b/batch", os.urandom(300), qos=1)
        except (ValueError, RuntimeError):
            refused += 1
            continue
        refused += told.rc not in {mqtt.MQTT_ERR_SUCCESS, mqtt.MQTT_ERR_NO_CONN}
    return refused, offline.rss_mb() - before_mb
