"""N10: bytes a value on the wire with seal and raw words, and what packing them costs.

Batches as the agent makes them: canonical records with every raw word once, checkpoint and
signature, as columns where there are records enough. Loads waver with little noise, as machines do;
recordings are what machines did, each value a float32 of two registers, each bit a register.
"""

import csv
import gc
import gzip
import os
import random
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from joulemark_agent.contract import canonical
from joulemark_agent.contract.batch import (
    Batch,
    batch_bytes,
    columns_bytes,
    parse_batch,
    sealed_bytes,
)
from joulemark_agent.contract.reading import Reading, Response, TimeQuality
from joulemark_agent.outbox import Outbox
from support import evidence
from support.evidence_load import BEGUN_US, US_PER_S, Load, names_of, site_of, written
from support.recording import StoppedWall, batches_of, recorded, recorder, state
from support.rounds import cpu_s, say

pytestmark = [pytest.mark.bench, pytest.mark.timeout(300)]

GOAL_B = 3.0
LOADS = [Load(50, 5.0, 1, 600), Load(50, 10.0, 1, 600), Load(50, 96.0, 1, 960),
         Load(20, 60.0, 1, 960), Load(5, 96.0, 1, 960)]  # fmt: skip
HOUSE = "compressor_house_8x_1min/data-explorer-example_0501-0508.csv.gz"
HEAD = "metropt3_compressor_head/MetroPT3_first1000.csv.gz"


def test_bytes_a_value_and_the_cost_of_packing(tmp_path: Path) -> None:
    lines = [f"N10 the goal is {GOAL_B:.0f} B, 40 ns to pack, 20 ns to unpack a value:"]
    for number, load in enumerate(LOADS):
        with closing(Outbox(state(tmp_path / str(number)))) as box:
            written(load, box, site_of(load))
            batches = whole(box, *names_of(load))
        lines.append(f"  {load.points:2} points a record, batches of {load.batch_s:2.0f} s:")
        lines += measured(batches)
    say(*lines, f"  load {os.getloadavg()[0]:.0f}")


def test_bytes_a_value_of_recorded_plants(tmp_path: Path) -> None:
    data = os.environ.get("JOULEMARK_DATA")
    if data is None:
        pytest.skip("JOULEMARK_DATA does not name the folder of the recordings")
    lines = ["N10 of recorded plants, batches of 96 records:"]
    for name, rows, period_s in (
        ("8 compressors in W and their pressure, each minute", house(Path(data) / HOUSE), 60),
        ("a compressor's 7 analogue and 8 digital points, each 10 s", head(Path(data) / HEAD), 10),
    ):
        with closing(Outbox(state(tmp_path / str(period_s)))) as box:
            keep(box, rows, period_s)
            lines += [f"  {name}:", *measured(whole(box, "meter"))]
    say(*lines, f"  load {os.getloadavg()[0]:.0f}")


def whole(box: Outbox, *names: str) -> list[Batch]:
    """The batches of devices but the first, which holds the documents, and the last."""
    return [parse_batch(one.payload) for name in names for one in batches_of(box, name)[1:-1]]


def measured(batches: Sequence[Batch]) -> Iterator[str]:
    """What they take in each form, and what that costs."""
    leaves = [canonical.parse_canonical(leaf) for batch in batches for leaf in batch.leaves]
    values = sum(len(leaf["val"]) for leaf in leaves if "val" in leaf)
    kept = "columns" if sealed_bytes(batches[0]) == columns_bytes(batches[0]) else "text"
    gc.collect()
    for name, pack in (("text", batch_bytes), ("columns", columns_bytes)):
        packed = list(map(pack, batches))
        assert list(map(parse_batch, packed)) == list(batches)
        size = sum(map(len, packed)) / values
        pack_ns = cpu_s(partial(all_of, pack, batches)) / values * 1e9
        unpack_ns = cpu_s(partial(all_of, parse_batch, packed)) / values * 1e9
        mark = " (sent so)" if name == kept else ""
        yield (
            f"    {name:7} {size:5.2f} B ({size / GOAL_B:.1f} of the goal),"
            f" {pack_ns:.0f} ns to pack, {unpack_ns:.0f} ns to unpack{mark}"
        )
    canon_us = cpu_s(partial(all_of, canonical.canonical_bytes, leaves)) * 1e6
    yield f"    {canon_us / len(leaves):.1f} us a record in canonical form, once"


Row = tuple[list[float], list[int]]  # what stands in pairs of registers, and in single ones


def house(path: Path) -> list[Row]:
    """Powers in W and the pressure in psi."""
    return [
        ([*(1000 * number(cell) for cell in row[1:9]), number(row[9])], [])
        for row in table(path)[:1440]
    ]


def head(path: Path) -> list[Row]:
    """Pressures, temperature and current, and what is on."""
    rows = table(path)
    return [([*map(number, row[2:9])], [int(number(cell)) for cell in row[9:17]]) for row in rows]


def table(path: Path) -> list[list[str]]:
    with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))[1:]


def number(cell: str) -> float:
    return float(cell) if cell else 0.0


def keep(box: Outbox, rows: Sequence[Row], period_s: int) -> None:
    """Record them as the answers of a device called meter."""
    floats, bits = len(rows[0][0]), len(rows[0][1])
    points: list[dict[str, object]] = [
        {"name": f"p{k}_w", "table": "holding", "address": 2 * k, "type": "float32"}
        for k in range(floats)
    ]
    points += [
        {"name": f"on{k}_state", "table": "holding", "address": 2 * floats + k, "type": "uint16"}
        for k in range(bits)
    ]
    golden = [{"point": "p0_w", "words": [0x3F80, 0], "value": 1}]
    profile: dict[str, object] = {
        "model": "recorded", "kind": "power_meter", "protocol": "modbus", "points": points,
        "source": "made up for a test", "confidence": "bench", "golden": golden,
    }  # fmt: skip
    site = evidence.documents(
        period_s=period_s, clock="system", first_slot_us=None, profiles={"meter": profile}
    )
    wall, draw = StoppedWall(BEGUN_US), random.Random(1)
    writer = recorder(box, recorded(site, "meter"), seconds=1e9, wall=wall)
    for at, (analogue, digital) in enumerate(rows, start=1):
        slot_us = BEGUN_US + at * period_s * US_PER_S
        t_us = slot_us + int(draw.lognormvariate(9.8, 0.3))
        mono_ns = (t_us - BEGUN_US + 8_123_456_789) * 1000 + draw.randrange(1000)
        data = struct.pack(f">{floats}f{bits}H", *analogue, *digital)
        wall.mono_s += period_s
        wall.now_us += period_s * US_PER_S
        quality = TimeQuality("ntp", 1500 + at % 64 * 500)
        answer = (Response("holding", 0, data),)
        writer.commit([Reading("meter", slot_us, t_us, mono_ns, quality, answer)])
    writer.seal_all()


def all_of(work: Callable[[Any], object], those: Iterable[Any]) -> None:
    """Do it to each."""
    for one in those:
        work(one)
