"""A dead unit on a line, and dead hosts: what they cost those that answer.

Thirty units share one line and are read once a second with a time-out of 3 s; one falls silent and
comes back. Thirty-two hosts are read at the same time, of which eight drop every SYN. The agent is
the whole one, from site file to outbox. Time is virtual but where jitter is measured: there every
socket, the clock and the disk are the machine's own.
"""

import asyncio
import itertools
import logging
import random
import statistics
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from typing import Any, cast

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException

from support import virtual_time
from support.fleet import PERIOD_US, Bus, Readings, VirtualClock, bus_of, deaf_port, watched

UNITS, TIMEOUT_S = 30, 3.0
HOSTS, DEAF = 32, 8
ON_TIME_US = PERIOD_US * 11 // 10  # the period is over, and a tenth of one
JITTER_S = 0.050  # that a period may have, at the 99th percentile


@dataclass(frozen=True)
class Outage:
    """When a unit is silent. [s]"""

    begins_s: float
    ends_s: float
    over_s: float


LONG, SHORT = Outage(60, 360.4, 420), Outage(10, 52.4, 61)
FROM_THE_START = Outage(0, 290.4, 310)


def run(seed: int, *, full: bool) -> dict[str, str]:
    """Figures of both, and of pymodbus with its own settings on the same line."""
    rng = random.Random(seed)
    figures: dict[str, str] = {}
    outages = {"": LONG, " that was never there": FROM_THE_START} if full else {"": SHORT}
    for scheme in ("modbus-tcp", "modbus-rtu-tcp") if full else ("modbus-tcp",):
        for kind, outage in outages.items():
            dead = rng.randrange(1, UNITS + 1)
            found = virtual_time.run(_line(scheme, dead, outage))
            figures |= {f"{scheme}, a unit{kind}: {what}": text for what, text in found.items()}
    figures |= virtual_time.run(_stock(SHORT))
    figures |= virtual_time.run(_hosts(DEAF, 40 if full else 12, is_virtual=True))
    if full:
        for deaf in (DEAF, 0):
            figures |= asyncio.run(_hosts(deaf, 40, is_virtual=False))
    return figures


async def _line(scheme: str, dead: int, outage: Outage) -> dict[str, str]:
    async with bus_of(scheme) as served:
        units = {f"unit-{n}": (served.url, n) for n in range(1, UNITS + 1)}
        loop = asyncio.get_running_loop()
        times_s: list[float] = []

        async def fall_silent() -> None:
            begun_s = loop.time()
            for at_s, now_dead in ((outage.begins_s, {dead}), (outage.ends_s, set[int]())):
                await asyncio.sleep(begun_s + at_s - loop.time())
                served.dead = now_dead
                times_s.append(loop.time())
            await asyncio.sleep(begun_s + outage.over_s - loop.time())
            times_s.append(loop.time())

        readings = await watched(units, fall_silent(), timeout_s=TIMEOUT_S)
    return _judged(served, dead, readings, times_s)


def _judged(served: Bus, dead: int, readings: Readings, times_s: list[float]) -> dict[str, str]:
    silent_s, back_s, _ = times_s
    healthy = [f"unit-{n}" for n in range(1, UNITS + 1) if n != dead]
    due = sorted(readings.of(healthy[0]))
    slots = (due[-1] - due[0]) // PERIOD_US + 1
    delays = [delay for name in healthy for delay in readings.of(name).values()]
    read = [len(readings.of(name)) for name in healthy]
    share = sum(delay <= ON_TIME_US for delay in delays) / (slots * len(healthy))
    held = served.held_s / (back_s - silent_s)
    revived_us = VirtualClock.begun_us + back_s * 1e6
    again = [
        slot_us + delay_us
        for slot_us, delay_us in readings.of(f"unit-{dead}").items()
        if slot_us + delay_us > revived_us
    ]
    came_s = (min(again) - revived_us) / 1e6
    assert share >= 0.95, f"{share:.2%} of the samples of healthy units are on time"
    assert held <= 0.05, f"the dead unit held the line for {held:.2%} of the time"
    assert came_s <= 10, f"the unit came back after {came_s:.1f} s"
    return {
        "samples of the others on time": f"{share:.2%}, of the worst {min(read) / slots:.2%}",
        "99 of 100 read after their slot within": (
            f"{statistics.quantiles(delays, n=100)[98] / 1e6:.2f} s"
        ),
        "line time it took while silent": f"{held:.2%} of {back_s - silent_s:.0f} s",
        "read again after its return": f"{came_s:.1f} s",
    }


async def _stock(outage: Outage) -> dict[str, str]:
    """The control: pymodbus reads the same line in turn, with its own time-out and repeats."""
    loop = asyncio.get_running_loop()
    on_time = turns = 0
    longest_s = 0.0
    logging.disable(logging.CRITICAL)
    async with bus_of("modbus-tcp", dead=[UNITS // 2]) as served:
        client = AsyncModbusTcpClient("127.0.0.1", port=served.port)
        while loop.time() < outage.over_s:
            slot_s = loop.time() // 1 + 1
            await asyncio.sleep(slot_s - loop.time())
            for unit in range(1, UNITS + 1):
                turns += unit != UNITS // 2
                asked_s = loop.time()
                try:
                    await client.connect()
                    await client.read_holding_registers(10, count=1, device_id=unit)
                    on_time += loop.time() - slot_s <= 1.1
                except ModbusException:
                    longest_s = max(longest_s, loop.time() - asked_s)
            turns += (UNITS - 1) * max(0, int(loop.time() - slot_s))  # slots that passed meanwhile
        cast(Any, client).close()
    logging.disable(logging.NOTSET)
    share = on_time / turns
    assert share < 0.95, "the control must fail"
    return {
        "pymodbus: samples of the others on time": f"{share:.2%}",
        "pymodbus: the longest it kept the line": f"{longest_s:.2f} s",
    }


async def _hosts(deaf: int, over_s: float, *, is_virtual: bool) -> dict[str, str]:
    """Hosts with a line each; a SYN to some of them gets no answer."""
    async with AsyncExitStack() as served:
        ports = served.enter_context(ExitStack())
        urls = [
            f"modbus-tcp://127.0.0.1:{ports.enter_context(deaf_port())}"
            if n < deaf
            else (await served.enter_async_context(bus_of("modbus-tcp"))).url
            for n in range(HOSTS - DEAF + deaf)
        ]
        units = {f"host-{n}": (url, 1) for n, url in enumerate(urls)}  # the deaf ones first
        readings = await watched(
            units, asyncio.sleep(over_s), timeout_s=TIMEOUT_S, is_virtual=is_virtual
        )
    present = [readings.of(name) for name in list(units)[deaf:]]
    wanted = set(range(min(present[0]), max(present[0]) + 1, PERIOD_US))
    assert not any(readings.of(name) for name in list(units)[:deaf]), "nobody is there"
    lacking = sum(len(wanted - found.keys()) for found in present)
    times_s = [sorted((slot + delay) / 1e6 for slot, delay in found.items()) for found in present]
    jitter_s = [abs(b - a - 1) for of_one in times_s for a, b in itertools.pairwise(of_one)]
    p99_s = statistics.quantiles(jitter_s, n=100)[98]
    if is_virtual:
        assert lacking == 0, f"{lacking} samples of the hosts that are there are missing"
        assert p99_s < JITTER_S, f"jitter {p99_s * 1000:.1f} ms"
    where = "virtual time" if is_virtual else "the machine's time"
    what = f"{len(urls)} hosts, {deaf} deaf, {where}"
    return {
        f"{what}: samples missing of the others": f"{lacking} of {len(wanted) * len(present)}",
        f"{what}: jitter of a period, p99": f"{p99_s * 1000:.1f} ms",
    }
