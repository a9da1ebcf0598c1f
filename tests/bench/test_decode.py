"""What decoding costs: by the block, one by one, and against copying the same bytes."""

import random
import sys
import time
from collections.abc import Callable

import numpy as np
import pytest

from joulemark_agent.contract.reading import Response
from joulemark_agent.documents import load_profile
from joulemark_agent.kernels.decode import decode_responses
from joulemark_agent.kernels.decode_block import block_plan, decode_block
from joulemark_agent.plan import plan_requests

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
