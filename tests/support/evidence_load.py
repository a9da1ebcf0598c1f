"""Devices that are read once a second, and a recorder that keeps what they answer: for costs."""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Iterator
from typing import NamedTuple

from joulemark_agent.contract.reading import Reading, Response, TimeQuality
from joulemark_agent.envelope import warm
from joulemark_agent.outbox import Outbox
from support import evidence
from support.recording import StoppedWall, recorded, recorder

US_PER_S = 1_000_000
BEGUN_US = 1_800_000_000 * US_PER_S


class Load(NamedTuple):
    """So many devices of so many points for so long."""

    points: int
    batch_s: float
    devices: int
    seconds: int

    @property
    def values(self) -> int:
        """How many point values there are."""
        return self.points * self.devices * self.seconds


def profile_of(points: int) -> dict[str, object]:
    """A device of so many points, the first a counter."""
    rows: list[dict[str, object]] = [
        {"name": "energy_wh", "table": "holding", "address": 0, "type": "uint32", "counter": True}
    ]
    rows += [
        {"name": f"p{k}_w", "table": "holding", "address": 2 + 2 * k, "type": "float32"}
        for k in range(points - 1)
    ]
    golden = [{"point": "energy_wh", "words": [0, 1], "value": 1}]
    return {
        "model": f"of_{points}", "kind": "power_meter", "protocol": "modbus", "points": rows,
        "source": "made up for a test", "confidence": "bench", "golden": golden,
    }  # fmt: skip


def names_of(load: Load) -> list[str]:
    """The devices."""
    return [f"meter-{number:03}" for number in range(load.devices)]


def site_of(load: Load) -> evidence.Documents:
    """Their site."""
    profiles = dict.fromkeys(names_of(load), profile_of(load.points))
    return evidence.documents(period_s=1, clock="system", first_slot_us=None, profiles=profiles)


def seconds_of(load: Load) -> Iterator[list[Reading]]:
    """What the devices answer second after second: counters that count, loads that waver."""
    draw = random.Random(1)
    energy_wh = [draw.randrange(10**6) for _ in range(load.devices)]
    watts = [[draw.uniform(200, 900)] * (load.points - 1) for _ in range(load.devices)]
    for second in range(1, load.seconds + 1):
        slot_us, found = BEGUN_US + second * US_PER_S, []
        quality = TimeQuality("ntp", 1500 + second % 64 * 500)
        for device, name in enumerate(names_of(load)):
            energy_wh[device] += draw.randrange(50, 80)
            watts[device] = [round(value + draw.gauss(0, 0.5), 1) for value in watts[device]]
            data = struct.pack(f">I{load.points - 1}f", energy_wh[device], *watts[device])
            t_us = slot_us + int(draw.lognormvariate(9.8, 0.3))  # some 18 ms after its slot
            mono_ns = (t_us - BEGUN_US + 8_123_456_789) * 1000 + draw.randrange(1000)
            found.append(
                Reading(name, slot_us, t_us, mono_ns, quality, (Response("holding", 0, data),))
            )
        yield found


def written(load: Load, box: Outbox, site: evidence.Documents) -> float:
    """Record it all; the CPU time that took. [s]"""
    devices, wall = [recorded(site, name) for name in names_of(load)], StoppedWall(BEGUN_US)
    warm(devices[0].profile, devices[0].carbon)
    writer = recorder(box, *devices, seconds=load.batch_s, wall=wall)
    took_s = 0.0
    for readings in seconds_of(load):
        wall.mono_s += 1
        wall.now_us += US_PER_S
        begun_s = time.process_time()
        writer.commit(readings)
        took_s += time.process_time() - begun_s
    writer.seal_all()
    return took_s
