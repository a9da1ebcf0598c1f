"""Figures of decision 0011: CPU and time per read over a pseudo-terminal.

Run with agent, configs and tests on PYTHONPATH.
"""

import asyncio
import time

from pymodbus.client import AsyncModbusSerialClient

from joulemark_agent.drivers import modbus_rtu
from joulemark_agent.drivers.base import Request
from support.bus import over_wire, truth

READS = 300


async def main() -> None:
    """Print both."""
    async with over_wire(truth) as served:
        path = served.url.partition("://")[2].partition("?")[0]
        for _ in range(3):
            driver = await modbus_rtu.connect(served.url, timeout_s=1.0)
            started_s, cpu_s = time.perf_counter(), time.process_time()
            for _ in range(READS):
                await driver.read(1, [Request("holding", 0, 15)])
            ours_s, ours_cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_s
            await driver.close()
            client = AsyncModbusSerialClient(path, baudrate=115200, retries=0, timeout=1)
            await client.connect()
            started_s, cpu_s = time.perf_counter(), time.process_time()
            for _ in range(READS):
                await client.read_holding_registers(0, count=15)
            theirs_s, theirs_cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_s
            client.close()
            await asyncio.sleep(0.01)
            for name, spent_s, took_s in (
                ("ours", ours_cpu_s, ours_s),
                ("pymodbus", theirs_cpu_s, theirs_s),
            ):
                print(f"{name}: {1e3 * spent_s / READS:.3f} ms CPU, {1e3 * took_s / READS:.2f} ms")


asyncio.run(main())
