"""What decoding costs: by the block, one by one, and against copying the same bytes."""

import random
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from pymodbus.client import AsyncModbusTcpClient

from joulemark_agent.contract.profile import Profile
from joulemark_agent.contract.reading import Response
from joulemark_agent.documents import load_profile
from joulemark_agent.kernels.decode import decode_responses
from joulemark_agent.kernels.decode_block import block_plan, decode_block
from joulemark_agent.plan import plan_requests
from support.rounds import Work, in_turns, show

pytestmark = pytest.mark.bench

GOAL = 5e6  # values a second
READINGS = 20_000


@pytest.mark.parametrize("name", ["eastron_sdm630", "schneider_iem3000", "sungrow_sg"])
def test_values_a_second_against_the_goal(name: str) -> None:
    """Floats, integers of 16 to 64 bits, and words in another order."""
    profile, _ = load_profile(name)
    layout = tuple((r.table, r.address, 2 * r.count) for r in plan_requests(profile))
    size = sum(row[2] for row in layout)
    draw = random.Random(5)
    row = bytearray(size)
    for golden in profile.golden:
        if golden.value is not None:
            place_golden(row, layout, profile.point(golden.point), golden.raw)
    data = np.frombuffer(bytes(row) * READINGS, np.uint8).reshape(READINGS, size).copy()
    others = draw.sample(range(READINGS), READINGS // 2)
    data[others, 1::2] ^= np.uint8(1)  # the low byte of every word
    plan = block_plan(profile, layout)
    decode_block(plan, data[:2])

    by_block = READINGS * len(profile.points) / cpu_s(lambda: decode_block(plan, data))
    some = [responses(layout, data[i].tobytes()) for i in range(2000)]
    one_by_one = len(some) * len(profile.points) / cpu_s(
        lambda: [decode_responses(profile, each) for each in some]
    )  # fmt: skip
    copying = READINGS * len(profile.points) / cpu_s(data.copy)
    sys.stdout.write(
        f"\n{name}: {by_block / 1e6:.1f} M values/s by the block, {by_block / GOAL:.1f} times the"
        f" goal of 5 M; {by_block / one_by_one:.0f} times one by one ({one_by_one / 1e6:.2f} M/s);"
        f" copying the bytes is {copying / by_block:.0f} times as fast\n"
    )


def place_golden(row: bytearray, layout, point, raw: bytes) -> None:
    """Put the point's own words where they stand."""
    at = 0
    for table, address, size in layout:
        if table == point.table and address <= point.address < address + size // 2:
            start = at + 2 * (point.address - address)
            row[start : start + 2 * point.words] = raw[: 2 * point.words]
        at += size


def responses(layout, data: bytes) -> list[Response]:
    """The reading as the exact decoder takes it."""
    found, at = [], 0
    for table, address, size in layout:
        found.append(Response(table, address, data[at : at + size]))
        at += size
    return found


def cpu_s(work: Callable[[], object]) -> float:
    """The least of five runs. [s]"""
    took = []
    for _ in range(5):
        begun = time.process_time()
        work()
        took.append(time.process_time() - begun)
    return min(took)


KINDS = ("uint16", "int16", "uint32", "float32", "uint32 swapped")


def test_fifty_mixed_points_against_pymodbus() -> None:
    """N7: 1.2 us compiled, 6 us interpreted, 60 times as fast as pymodbus's helper."""
    points: list[dict[str, Any]] = []
    at = 0
    for i in range(50):
        kind, _, swapped = KINDS[i % 5].partition(" ")
        row: dict[str, Any] = {"name": f"p{i}_w", "table": "holding", "address": at, "type": kind}
        row["scale"] = Decimal("0.1")
        points.append(row | ({"word_order": "little"} if swapped else {}))
        at += 1 if kind.endswith("16") else 2
    layout = (("holding", 0, 2 * at),)
    profile = Profile.model_validate({
        "model": "mixed", "kind": "power_meter", "protocol": "modbus", "points": points,
        "source": "made up for a test", "confidence": "bench",
        "golden": [{"point": "p0_w", "words": [7], "value": Decimal("0.7")}],
    })  # fmt: skip
    words = [i * 331 % 65536 for i in range(at)]
    for row in points:
        if row["type"] == "float32":  # some 230, as a voltage; an odd exponent takes longer
            words[row["address"]] = 0x4366
    data = b"".join(word.to_bytes(2) for word in words)
    block = np.frombuffer(data * 1000, np.uint8).reshape(1000, 2 * at)
    plan = block_plan(profile, layout)
    decode_block(plan, block)
    convert: Any = AsyncModbusTcpClient.convert_from_registers
    types = AsyncModbusTcpClient.DATATYPE
    rows = [
        (row["address"], getattr(types, str(row["type"]).upper()), "word_order" in row)
        for row in points
    ]

    def theirs() -> list[float]:
        return [
            0.1 * convert(
                words[at : at + kind.value[1]], kind, "little" if swapped else "big"
            )
            for at, kind, swapped in rows
        ]  # fmt: skip

    responses_of = responses(layout, data)
    ways: dict[str, Work] = {
        "one reading a call": lambda: in_us(lambda: decode_block(plan, block[:1]), 1000),
        "of 1,000 readings a call": lambda: in_us(lambda: decode_block(plan, block), 10) / 1000,
        "exact, for records": lambda: in_us(lambda: decode_responses(profile, responses_of), 200),
        "pymodbus": lambda: in_us(theirs, 200),
    }
    show("N7 50 mixed points", in_turns(ways), "us", to="pymodbus")


def in_us(work: Callable[[], object], times: int) -> float:
    """CPU time of one call. [us]"""
    begun = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - begun) / times * 1e6
