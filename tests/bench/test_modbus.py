"""N6: what a Modbus read costs, against libmodbus in C and pymodbus, on 1 to 8 connections.

Our own client with all its checks, as the lines use it; with and without uvloop, which is no
dependency of ours: where it is not installed those rows are not run. Machines are those of
`data/limits/factory.c`, 102 registers a read. CPU is of the client's process alone.
"""

import asyncio
import importlib.util
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymodbus.client import AsyncModbusTcpClient

import joulemark_profiles
from joulemark_agent.documents import load_profile
from joulemark_agent.drivers.base import Request
from joulemark_agent.drivers.modbus import connect
from joulemark_agent.plan import TABLES, fields_of, plan_requests
from support import limits
from support.apart import apart
from support.end_to_end import machines
from support.rounds import Work, in_turns, say, show

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

DEVICES = Path(joulemark_profiles.__file__).parent / "devices"
REGISTERS, READS = 102, 4000
WHOLE = (Request("holding", 0, REGISTERS),)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with machines(1) as [found]:
        yield found


async def ours(port: int, reads: int) -> None:
    client = await connect(f"modbus-tcp://127.0.0.1:{port}", timeout_s=5.0)
    for _ in range(reads):
        [response] = await client.read(1, WHOLE)
        assert len(response.data) == 2 * REGISTERS
    await client.close()


async def theirs(port: int, reads: int) -> None:
    client = AsyncModbusTcpClient("127.0.0.1", port=port)
    assert await client.connect()
    for _ in range(reads):
        answer = await client.read_holding_registers(0, count=REGISTERS, device_id=1)
        assert len(answer.registers) == REGISTERS
    client.close()


CLIENTS = {"joulemark": ours, "pymodbus": theirs}


def timed(client: str, port: int, connections: int, loop: str) -> tuple[float, float]:
    """The seconds that all reads took, and the CPU seconds; half as many before do not count."""
    factory = None if loop == "asyncio" else importlib.import_module(loop).new_event_loop

    async def all_of_them(reads: int) -> None:
        each = (CLIENTS[client](port, reads // connections) for _ in range(connections))
        await asyncio.gather(*each)

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(all_of_them(READS // 2))
        begun_s, wall_s = time.process_time(), time.monotonic()
        runner.run(all_of_them(READS))
        return time.monotonic() - wall_s, time.process_time() - begun_s


@pytest.mark.parametrize("connections", [1, 8])
def test_cpu_and_rate_of_a_read(port: int, connections: int) -> None:
    rates: dict[str, list[float]] = {}

    def kept(name: str, took_s: float, cpu_s: float) -> float:
        rates.setdefault(name, []).append(READS / took_s)
        return cpu_s / READS * 1e6

    def way(name: str, client: str, loop: str) -> Work:
        call = f"timed({client!r}, {port}, {connections}, {loop!r})"
        return lambda: kept(name, *map(float, apart("bench.test_modbus", call)))

    ways: dict[str, Work] = {
        "libmodbus C": lambda: kept(
            "libmodbus C", *limits.ran("reader", port, READS, REGISTERS, connections)
        ),
        "joulemark": way("joulemark", "joulemark", "asyncio"),
        "pymodbus": way("pymodbus", "pymodbus", "asyncio"),
    }
    if importlib.util.find_spec("uvloop"):
        ways["joulemark, uvloop"] = way("joulemark, uvloop", "joulemark", "uvloop")
    seen = in_turns(ways)
    show(f"N6 a read of {REGISTERS} registers, {connections} connections: CPU", seen, "us",
         to="libmodbus C")  # fmt: skip
    for name, found in rates.items():
        shares = [a / b for a, b in zip(found, rates["libmodbus C"], strict=True)]
        say(
            f"  {name}: {statistics.median(found):.0f} reads/s,"
            f" {statistics.median(shares):.2f} of libmodbus's rate"
        )


def test_requests_of_every_profile_against_the_fewest_that_cover_its_points() -> None:
    asked = fewest = 0
    worst = ("", 1.0)
    for name in sorted(path.stem for path in DEVICES.glob("*.yaml")):
        profile, _ = load_profile(name)
        if profile.protocol != "modbus":
            continue
        ours, least = len(plan_requests(profile)), least_requests(profile)
        asked, fewest = asked + ours, fewest + least
        worst = max(worst, (name, ours / least), key=lambda one: one[1])
    say(
        f"N6 requests of all Modbus profiles: {asked}, the fewest there can be {fewest}"
        f" ({asked / fewest:.3f} times); worst {worst[0] or 'none'} ({worst[1]:.2f})"
    )
    assert asked <= 1.1 * fewest


def least_requests(profile: Any) -> int:
    """From the left: each request begins at a point that is not read yet, and reaches as far as one
    may.
    """
    count = 0
    for table in TABLES:
        reach = -1
        spans = [f.span for f in fields_of(profile) if f.span.table == table]
        for span in sorted(spans, key=lambda span: (span.first, -span.end)):
            if span.end > reach:
                count, reach = count + 1, span.first + profile.max_words
    return count
