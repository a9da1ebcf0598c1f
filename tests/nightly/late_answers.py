"""Answers that come after their time-out: none may become the value of another register.

A device answers in turn, after 0 to 4 times the time-out; 10,000 questions over TCP, through a
gateway that hands every answer to the newest connection, and 10,000 by wire. Frames of RTU carry no
number, so the late answer for one register is, byte for byte, a right one for another.
"""

import asyncio
import logging
import random
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast
from unittest import mock

from pymodbus import FramerType
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException

from joulemark_agent import modbus_line
from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.drivers import modbus_rtu
from joulemark_agent.drivers.base import Request
from joulemark_agent.modbus_line import ModbusLine
from support import virtual_time
from support.bus import REQUEST_SIZE, reply, wire
from support.tcp import serving

QUESTIONS, FEW, BY_STOCK = 10_000, 1000, 500
TIMEOUT_S = 0.5


def run(seed: int, *, full: bool) -> dict[str, str]:
    """Wrong, right and lost values of our client, and of pymodbus without repeats."""
    questions = QUESTIONS if full else FEW
    figures: dict[str, str] = {}
    for name, ask in (("over TCP", _over_tcp), ("by wire", _by_wire)):
        with mock.patch.object(modbus_line, "_owed", {}):  # a port of an earlier run may come again
            right, failed, late = virtual_time.run(ask(seed, questions))
        assert right + failed == questions
        assert min(right, failed, late) > questions / 10, "it must be late often, and not always"
        figures |= {
            f"{name}: wrong values": f"0 of {questions}",
            f"{name}: right, none": f"{right}, {failed}; the device was late {late} times",
        }
    logging.disable(logging.CRITICAL)  # pymodbus says much of what it does not get
    right, wrong = virtual_time.run(_stock(seed, BY_STOCK))
    logging.disable(logging.NOTSET)
    assert wrong > right, "the control must fail"
    figures["pymodbus over TCP: wrong values"] = f"{wrong} of {BY_STOCK}, right {right}"
    return figures


@dataclass
class SlowDevice:
    """Answers in turn, each after a delay around the client's time-out."""

    rng: random.Random
    say: Callable[[bytes], None] = lambda _: None
    queue: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    late: int = 0

    async def work(self) -> None:
        while True:
            request = await self.queue.get()
            around = self.rng.choice((0.1, 0.1, 0.3, 1.0, 1.4, 2.0))
            delay_s = TIMEOUT_S * around * 2 * self.rng.random()
            self.late += delay_s > TIMEOUT_S
            await asyncio.sleep(delay_s)
            self.say(reply(request))


@asynccontextmanager
async def slow_gateway(seed: int) -> AsyncIterator[tuple[SlowDevice, int]]:
    """A transparent one: what comes from the wire goes to the newest connection, whoever asked."""
    device = SlowDevice(random.Random(seed))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        device.say = writer.write
        while True:
            device.queue.put_nowait(await reader.readexactly(REQUEST_SIZE))

    worker = asyncio.create_task(device.work())
    async with serving(serve) as port:
        yield device, port
    worker.cancel()


@asynccontextmanager
async def slow_wire(seed: int) -> AsyncIterator[tuple[SlowDevice, ModbusLine]]:
    device = SlowDevice(random.Random(seed))
    async with wire(device.queue.put_nowait, timeout_s=TIMEOUT_S) as (device.say, driver):
        worker = asyncio.create_task(device.work())
        yield device, driver
        worker.cancel()


async def ask_slow(open_: Callable[[], Awaitable[ModbusLine]], questions: int) -> tuple[int, int]:
    """Right values and failures of so many questions; a wrong value ends the test."""
    rng = random.Random(7)
    right = failed = 0
    driver = await open_()
    for _ in range(questions):
        if not driver.is_open:
            driver = await open_()
        unit, address, count = rng.choice((1, 1, 2)), rng.randrange(1000), rng.choice((1, 2, 2, 4))
        try:
            [response] = await driver.read(unit, [Request("holding", address, count)])
        except DeviceError as error:
            failed += 1
            if "owes" in error.what:  # nothing was asked
                await asyncio.sleep(modbus_line.PATIENCE_S)
        else:
            assert struct.unpack(f">{count}H", response.data) == tuple(
                range(address, address + count)
            )
            right += 1
    await driver.close()
    return right, failed


async def _over_tcp(seed: int, questions: int) -> tuple[int, int, int]:
    async with slow_gateway(seed) as (device, port):
        url = f"modbus-rtu-tcp://127.0.0.1:{port}"
        open_ = partial(modbus_rtu.connect, url, timeout_s=TIMEOUT_S)
        right, failed = await ask_slow(open_, questions)
        return right, failed, device.late


async def _by_wire(seed: int, questions: int) -> tuple[int, int, int]:
    async with slow_wire(seed) as (device, driver):

        async def same() -> ModbusLine:
            return driver

        right, failed = await ask_slow(same, questions)
        return right, failed, device.late


async def _stock(seed: int, questions: int) -> tuple[int, int]:
    """The control: pymodbus with RTU framing, without repeats."""
    rng = random.Random(7)
    right = wrong = 0
    async with slow_gateway(seed) as (_, port):
        client = AsyncModbusTcpClient(
            "127.0.0.1", port=port, framer=FramerType.RTU, retries=0, timeout=TIMEOUT_S
        )
        for _ in range(questions):
            await client.connect()
            address = rng.randrange(1000)
            with suppress(ModbusException):
                found = await client.read_holding_registers(address, count=2)
                is_right = found.registers == [address, address + 1]
                right, wrong = right + is_right, wrong + (not is_right)
        cast(Any, client).close()
    return right, wrong
