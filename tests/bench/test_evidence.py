"""What evidence costs beside reading: CPU at the agent, and disk at the collector when compacted.

Devices are read once a second; a record holds 1, 10 or 50 point values, of which one is a counter.
Batches close as the site file says unless it says otherwise (5 s), or every 96 s. CPU is that of
one core at 1,000 point values a second: decode, leaves, hashes, batches, signatures, commits, and
what of it remains without the decoding that values need anyway. Disk is the file of the evidence
store, with receipts, proofs and everything.
"""

import random
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from joulemark_agent.contract.reading import Reading, Response, TimeQuality
from joulemark_agent.contract.topics import batch_topic
from joulemark_agent.envelope import warm
from joulemark_agent.kernels.decode import decode_responses
from joulemark_agent.outbox import Outbox
from joulemark_gateway.evidence.compactor import Compactor
from joulemark_gateway.evidence.store import FILE, SqliteStore
from support import evidence
from support.book import registry
from support.evidence import AGENT
from support.intakes import new_intake
from support.recording import StoppedWall, batches_of, recorded, recorder, state

pytestmark = [pytest.mark.bench, pytest.mark.timeout(300)]

CPU_LIMIT, DISK_LIMIT = 0.05, 20.0
US_PER_S, VALUES_PER_S = 1_000_000, 1000
BEGUN_US = 1_800_000_000 * US_PER_S
USUAL_S, LONG_S = 5.0, 96.0


class Load(NamedTuple):
    """So many devices of so many points for so long."""

    points: int
    batch_s: float
    devices: int
    seconds: int

    @property
    def values(self) -> int:
        return self.points * self.devices * self.seconds


CPU_LOADS = [
    Load(1, USUAL_S, 100, 60),
    Load(1, LONG_S, 100, 96),
    *(Load(points, USUAL_S, 100 // points, 60) for points in (2, 5, 10, 50)),
]
DISK_LOADS = [
    Load(1, USUAL_S, 1, 2400),
    Load(1, LONG_S, 1, 7200),
    *(Load(points, USUAL_S, 1, 2400) for points in (2, 5, 10)),
    Load(50, USUAL_S, 1, 1200),
]
HELD = {DISK_LOADS[1], *DISK_LOADS[3:]}  # those that keep within the limit


def profile_of(points: int) -> dict[str, object]:
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
    return [f"meter-{number:03}" for number in range(load.devices)]


def site_of(load: Load) -> evidence.Documents:
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


def decoding_s(load: Load, site: evidence.Documents) -> float:
    profile = site.profile(names_of(load)[0])
    readings = [one for second in seconds_of(load) for one in second]
    begun_s = time.process_time()
    for one in readings:
        decode_responses(profile, one.responses)
    return time.process_time() - begun_s


def test_cpu_share_of_evidence_at_a_thousand_values_a_second(tmp_path: Path) -> None:
    lines = [f"of one core at {VALUES_PER_S:,} point values/s; the limit is {CPU_LIMIT:.0%}:"]
    for number, load in enumerate(CPU_LOADS):
        site = site_of(load)
        with closing(Outbox(state(tmp_path / str(number)))) as box:
            all_s = written(load, box, site)
        share = (all_s - decoding_s(load, site)) / load.values * VALUES_PER_S
        records = VALUES_PER_S // load.points
        lines.append(
            f"  {load.points:2} points a record, {records:5,} records/s, batches of"
            f" {load.batch_s:2.0f} s: evidence {share:6.2%} ({share / CPU_LIMIT:4.1f} of the"
            f" limit), with decoding {all_s / load.values * VALUES_PER_S:.2%}"
        )
    sys.stdout.write("\n" + "\n".join(lines) + "\n")


def test_bytes_a_value_at_the_collector_before_and_after_compaction(tmp_path: Path) -> None:
    lines = [f"B per point value in the evidence store; the limit is {DISK_LIMIT:.0f}:"]
    for number, load in enumerate(DISK_LOADS):
        path = tmp_path / str(number) / FILE
        before, after, took_s = compacted(load, path)
        lines.append(
            f"  {load.points:2} points a record, {load.values:7,} values in"
            f" {load.values // load.points:5,} records, batches of {load.batch_s:2.0f} s:"
            f" {before / load.values:6.1f} before, {after / load.values:5.1f} after"
            f" ({after / load.values / DISK_LIMIT:.2f} of the limit);"
            f" {took_s / load.values * VALUES_PER_S:.1%} of a core at {VALUES_PER_S:,} values/s"
        )
        if load in HELD:
            assert after / load.values <= DISK_LIMIT, lines[-1]
    sys.stdout.write("\n" + "\n".join(lines) + "\n")


def compacted(load: Load, path: Path) -> tuple[int, int, float]:
    """Bytes before and after that batches have added, and the CPU time of compaction. [s]"""
    site, names, once = site_of(load), names_of(load), 0
    with closing(Outbox(state(path.parent))) as box:
        written(load, box, site)
        with closing(new_intake(path, registry(devices=names), step_us=0)) as intake:
            for name in names:
                for number, batch in enumerate(batches_of(box, name)):
                    if number == 1:  # the approved documents and empty tables are there once
                        with Compactor(path) as compactor:
                            once = compactor.bytes_used()
                    answer = intake.take(batch_topic(AGENT, name), batch.payload)
                    assert answer is not None
                    assert answer.topic.endswith("/receipt"), answer.payload
    with Compactor(path) as compactor:
        before = compactor.bytes_used() - once
        begun_s = time.process_time()
        assert list(compactor.moves(2**60, all_of_it=True))
        took_s = time.process_time() - begun_s
        after = compactor.bytes_used() - once
    with SqliteStore(path, create=False) as store:
        for head in store.heads():
            store.scrub(head.origin)
    return before, after, took_s
