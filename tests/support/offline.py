"""An agent whose broker was away for long: what waits, and how it drains while reading goes on.

Made by the product's recorder and outbox; only the devices are made up: so many points each, every
second, with the noise of real ones. Drained by the product's uplink over a real broker into the
product's intake, in processes of their own.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import struct
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from joulemark_agent.contract.reading import SYSTEM, Reading, Response, TimeQuality
from joulemark_agent.contract.signature import public_key
from joulemark_agent.envelope import warm
from joulemark_agent.keeper import Keeper
from joulemark_agent.mqtt import Login
from joulemark_agent.outbox import Outbox
from joulemark_agent.recorded import Recorded
from joulemark_agent.recorder import Recorder
from joulemark_agent.store_thread import StoreThread
from joulemark_agent.uplink import Collector, Uplink
from joulemark_gateway.evidence.store import SqliteStore
from joulemark_gateway.ingest.intake import Intake, Witness
from joulemark_gateway.ingest.live import LiveBoard
from joulemark_gateway.ingest.mqtt import Subscriber
from joulemark_gateway.ingest.registered import Agent, Registry
from joulemark_gateway.settings import BrokerSettings
from support import evidence
from support.evidence import AGENT, KEYS, SITE, WITNESS
from support.recording import StoppedWall, recorded, recorder, state

SECOND_US = 1_000_000
GROUP_S = 5  # of what is committed at once while nothing has to be fast


def profile(points: int) -> dict[str, Any]:
    """A meter with so many points: every tenth a counter, the others gauges."""
    rows = [
        {"name": f"energy_{i}_wh" if i else "energy_wh", "table": "holding", "address": 2 * i,
         "type": "uint32", "counter": True}
        if i % 10 == 0
        else {"name": f"power_{i}_w", "table": "holding", "address": 2 * i, "type": "float32"}
        for i in range(points)
    ]  # fmt: skip
    return {
        "model": f"made_up_{points}",
        "kind": "power_meter",
        "protocol": "modbus",
        "source": "made up by a test",
        "confidence": "bench",
        "synthetic": True,
        "points": rows,
        "golden": [
            {"point": row["name"], "words": [0, 0], "value": 0}
            for row in rows
        ],
    }  # fmt: skip


def devices_of(count: int, points: int) -> list[Recorded]:
    """The devices, each read every second."""
    names = [f"meter-{index}" for index in range(count)]
    site = evidence.documents(
        period_s=1,
        clock=SYSTEM,
        first_slot_us=None,
        profiles={name: profile(points) for name in names},
    )
    return [recorded(site, name) for name in names]


class Noise:
    """What the devices show: counters that count, gauges that walk; read times that vary."""

    def __init__(self, devices: Sequence[Recorded], seed: int) -> None:
        self._rng = random.Random(seed)
        self._points = len(devices[0].profile.points)
        self._counts = {d.device: self._rng.randrange(10**6) for d in devices}
        self._levels = {
            d.device: [self._rng.uniform(10, 500) for _ in range(self._points)] for d in devices
        }

    def reading(self, device: str, slot_us: int, t_utc_us: int | None = None) -> Reading:
        """What one device answers at a slot; some milliseconds after it, unless that is given."""
        rng, levels = self._rng, self._levels[device]
        self._counts[device] += rng.randrange(3, 9)
        words = bytearray()
        for index in range(self._points):
            if index % 10 == 0:
                words += struct.pack(">I", self._counts[device] + index)
            else:
                levels[index] *= 1 + rng.gauss(0, 0.002)
                words += struct.pack(">f", round(levels[index], 1))
        delay_us = int(rng.lognormvariate(2.9, 0.4) * 1000)
        t_us = slot_us + delay_us if t_utc_us is None else t_utc_us
        mono_ns = 1000 * t_us - 1_700_000_000_000_000_000 + rng.randrange(4000)
        quality = TimeQuality("ntp", rng.choice((1500, 1512, 1530)))
        return Reading(
            device, slot_us, t_us, mono_ns, quality, (Response("holding", 0, bytes(words)),)
        )


def prefill(
    folder: Path, devices: Sequence[Recorded], first_us: int, seconds: int
) -> Iterator[tuple[int, Outbox]]:
    """Record so many seconds in batches of five; the seconds done, and the outbox."""
    wall = StoppedWall(now_us=first_us)
    warm(devices[0].profile, devices[0].carbon)
    noise = Noise(devices, 1)
    with closing(Outbox(state(folder))) as box:
        writer = recorder(box, *devices, slots=96, seconds=0.0, wall=wall)  # with each commit
        for start in range(0, seconds, GROUP_S):
            slots = range(first_us + start * SECOND_US, first_us + (start + GROUP_S) * SECOND_US,
                          SECOND_US)  # fmt: skip
            wall.now_us, wall.mono_s = slots[-1] + 50_000, wall.mono_s + GROUP_S
            writer.commit([noise.reading(d.device, slot) for d in devices for slot in slots])
            if start % (GROUP_S * 64) == 0:
                while box.upkeep():
                    pass
            yield start + GROUP_S, box
        writer.seal_all()
        while box.upkeep():
            pass


# --------------------------------------------------------- in processes of their own


def prepare() -> None:
    """Whatever takes long."""
    devices = devices_of(1, 10)
    warm(devices[0].profile, devices[0].carbon)


def drain(words: Sequence[str]) -> None:
    """Send what waits, and read on every second; say how that goes every half second."""
    name, port, count, points = words
    asyncio.run(_drain(Path(name), int(port), devices_of(int(count), int(points))))


async def _drain(folder: Path, port: int, devices: Sequence[Recorded]) -> None:
    warm(devices[0].profile, devices[0].carbon)
    _say(rss=rss_mb())
    begun_s, store = time.monotonic(), StoreThread()
    box = Outbox(state(folder))
    writer = recorder(box, *devices, slots=96, seconds=1.0)
    _say(start_s=time.monotonic() - begun_s, rss=rss_mb())
    collector = Collector(SITE, AGENT, WITNESS, public_key(KEYS.witness))
    uplink = Uplink(Login(f"mqtt://127.0.0.1:{port}", AGENT), collector, box, store=store)
    keeper = Keeper(
        writer,
        box,
        uplink,
        store,
        folder=state(folder).parent,
        quota_bytes=4_000_000_000,
        now_us=lambda: time.time_ns() // 1000,
        is_replay=False,
    )
    uplink.start()
    caring = asyncio.create_task(keeper.care())
    reading = asyncio.create_task(_read(writer, keeper, devices))
    try:
        while True:
            await asyncio.sleep(0.5)
            _say(t=time.time(), rss=rss_mb(), unconfirmed=uplink.unconfirmed)
            for task in (caring, reading):
                assert not task.done(), task.result()
    finally:
        await uplink.close()


async def _read(writer: Recorder, keeper: Keeper, devices: Sequence[Recorded]) -> None:
    """A reading of every device at every second; the batch closes with it."""
    noise = Noise(devices, 2)
    while True:
        now_us = time.time_ns() // 1000
        slot_us = (now_us // SECOND_US + 1) * SECOND_US
        await asyncio.sleep((slot_us - now_us) / 1e6)
        t_us = time.time_ns() // 1000
        await keeper.commit([noise.reading(d.device, slot_us, t_us) for d in devices])
        await keeper.change(writer.seal_all)


class _Heard(LiveBoard):
    """Says how old a live reading is when it can be seen."""

    def take(self, kind: str, device: str, payload: bytes, **given: Any) -> None:
        super().take(kind, device, payload, **given)
        shown = self.reading(SITE, device)
        if kind == "live" and shown is not None:
            _say(live_s=time.time() - shown.t_utc_us / 1e6)


def collect(words: Sequence[str]) -> None:
    """Take what comes, as a collector does, until killed; say how old what is live is."""
    name, port, count = words
    path = Path(name) / "evidence.sqlite"
    names = frozenset(f"meter-{index}" for index in range(int(count)))
    agent = Agent(AGENT, SITE, public_key(KEYS.agent), names)
    registry = Registry({AGENT: agent}, frozenset({public_key(KEYS.operator)}))
    intake = Intake(
        lambda: SqliteStore(path),
        lambda: registry,
        Witness(WITNESS, KEYS.witness),
        lambda: time.time_ns() // 1000,
        board=_Heard(),
    )
    broker = BrokerSettings(url=f"mqtt://127.0.0.1:{port}")
    Subscriber(broker, intake, agents={AGENT}, waiting_batches=256).run(threading.Event())


def rss_mb() -> float:
    """What this process has in memory."""
    rows = Path("/proc/self/status").read_text().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith("VmRSS")) / 1024


def said(output: str) -> list[Mapping[str, Any]]:
    """What such a process has said so far."""
    return [json.loads(line) for line in output.splitlines() if line.endswith("}")]


def _say(**what: float) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")
