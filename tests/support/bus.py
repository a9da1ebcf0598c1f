"""Serial lines without hardware, and Modbus frames made without our own code.

Register n holds n, a bit is that of its address.
"""

import asyncio
import os
import pty
import socket
import struct
import tty
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from pymodbus import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.drivers.base import Request
from joulemark_agent.drivers.modbus_rtu import Rtu
from joulemark_agent.lines import Line
from joulemark_agent.modbus_line import ModbusLine
from joulemark_agent.plan import PlannedDevice
from joulemark_agent.serial_port import SerialExchange, settings_of
from support.leaving import crc
from support.tcp import serving

LOOK = "?baud=115200&parity=N&stop_bits=1"
REQUEST_SIZE = 8  # of RTU
TWO_WORDS = Request("holding", 0x10, 2)
RIGHT = bytes.fromhex("00100011")  # as `data_of` says


def rtu(*body: int | bytes) -> bytes:
    """A whole frame."""
    whole = b"".join(part if isinstance(part, bytes) else bytes((part,)) for part in body)
    return whole + crc(whole)


def asked(request: bytes) -> tuple[int, int, int, int]:
    """Unit, function, address and count of an RTU request."""
    assert len(request) == REQUEST_SIZE
    assert crc(request[:6]) == request[6:], "our own question has a wrong check"
    unit, function, address, count = struct.unpack(">BBHH", request[:6])
    return unit, function, address, count


def data_of(request: bytes) -> bytes:
    """What is read there."""
    _, function, address, count = asked(request)
    if function <= 2:
        bits = sum((address + i & 1) << i for i in range(count))
        return bits.to_bytes((count + 7) // 8, "little")
    return struct.pack(f">{count}H", *range(address, address + count))


def reply(request: bytes, data: bytes | None = None, **changed: int) -> bytes:
    """The answer to an RTU request, with any field changed on purpose."""
    unit, function, _, _ = asked(request)
    data = data_of(request) if data is None else data
    fields = {"unit": unit, "function": function, "size": len(data)} | changed
    return rtu(*fields.values(), data)


def refusal(request: bytes, number: int) -> bytes:
    """An exception in answer to an RTU request."""
    return rtu(request[0], request[1] | 0x80, number)


def ascii_of(frame: bytes) -> bytes:
    """The same frame in ASCII."""
    body = frame[:-2]
    check = 256 - sum(body) % 256 & 0xFF
    return b":" + body.hex().upper().encode() + f"{check:02X}\r\n".encode()


def rtu_of(frame: bytes) -> bytes:
    """The same frame in RTU."""
    assert frame[:1] + frame[-2:] == b":\r\n"
    whole = bytes.fromhex(frame[1:-2].decode())
    assert sum(whole) % 256 == 0, "our own question has a wrong check"
    return rtu(whole[:-1])


@contextmanager
def terminal() -> Iterator[tuple[int, str]]:
    """The master's descriptor and the path of a pseudo-terminal."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    try:
        yield master, os.ttyname(slave)
    finally:
        os.close(master)
        os.close(slave)


@asynccontextmanager
async def bus(heard: Callable[[bytes], None]) -> AsyncIterator[tuple[Callable[[bytes], None], str]]:
    """A device at the far end: `heard` gets what is said, the first result says something."""
    loop = asyncio.get_running_loop()
    with terminal() as (master, path):
        loop.add_reader(master, lambda: heard(os.read(master, 4096)))
        try:
            yield lambda data: void(os.write(master, data)), path
        finally:
            loop.remove_reader(master)


def void(_: object) -> None:
    """For a call whose result nobody wants."""


@asynccontextmanager
async def null_modem() -> AsyncIterator[tuple[str, str]]:
    """The paths of two pseudo-terminals whose ends are joined."""
    loop = asyncio.get_running_loop()
    with terminal() as (one, one_path), terminal() as (other, other_path):
        loop.add_reader(one, lambda: void(os.write(other, os.read(one, 4096))))
        loop.add_reader(other, lambda: void(os.write(one, os.read(other, 4096))))
        try:
            yield one_path, other_path
        finally:
            loop.remove_reader(one)
            loop.remove_reader(other)


@asynccontextmanager
async def wire(
    heard: Callable[[bytes], None], *, timeout_s: float = 0.5
) -> AsyncIterator[tuple[Callable[[bytes], None], ModbusLine]]:
    """The serial code on a pair of sockets, for virtual time; `heard` gets whole questions."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setblocking(False)
    settings = settings_of(f"modbus-rtu:///dev/pair{LOOK}")
    port = SerialExchange(os.dup(ours.fileno()), settings)
    driver = ModbusLine(port, Rtu(), timeout_s=timeout_s, byte_s=settings.byte_s)
    loop.add_reader(theirs, lambda: heard(theirs.recv(4096)))
    try:
        yield lambda data: void(theirs.send(data)), driver
    finally:
        await driver.close()
        loop.remove_reader(theirs)
        ours.close()
        theirs.close()


Respond = Callable[[bytes], list[bytes]]  # RTU frames, for an RTU request


@dataclass
class Peer:
    """A device at the end of a line that says what a test wants."""

    url: str = ""
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0


@asynccontextmanager
async def over_tcp(respond: Respond, *, ascii_: bool = False) -> AsyncIterator[Peer]:
    state = Peer()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state.connections += 1
        while True:
            request = (
                rtu_of(await reader.readuntil(b"\r\n"))
                if ascii_
                else await reader.readexactly(REQUEST_SIZE)
            )
            state.requests.append(request)
            writer.writelines(respond(request))

    async with serving(serve) as port:
        state.url = f"modbus-{'ascii' if ascii_ else 'rtu'}-tcp://127.0.0.1:{port}"
        yield state


@asynccontextmanager
async def over_wire(respond: Respond, *, ascii_: bool = False) -> AsyncIterator[Peer]:
    state = Peer(connections=1)
    buffer = bytearray()

    def heard(data: bytes) -> None:
        buffer.extend(data)
        while (end := buffer.find(b"\r\n") + 2 if ascii_ else REQUEST_SIZE) <= len(buffer):
            if end < 2:
                return
            frame = bytes(buffer[:end])
            del buffer[:end]
            request = rtu_of(frame) if ascii_ else frame
            state.requests.append(request)
            for answer in respond(request):
                say(answer)

    async with bus(heard) as (say, path):
        state.url = f"modbus-{'ascii' if ascii_ else 'rtu'}://{path}{LOOK}"
        yield state


LINES = (over_tcp, over_wire)


def truth(request: bytes) -> list[bytes]:
    return [reply(request)]


def sim_devices() -> list[SimDevice]:
    """Units 1 and 7 of a foreign server: a float32 at 0x34, words from 0x100 on."""
    return [
        SimDevice(
            unit,
            [
                SimData(0x34, values=1500.0 * unit, datatype=DataType.FLOAT32),
                SimData(0x100, values=list(range(7000, 7125)), datatype=DataType.REGISTERS),
            ],
        )
        for unit in (1, 7)
    ]


@asynccontextmanager
async def foreign_server(kind: str) -> AsyncIterator[str]:
    """The address of pymodbus's server, `rtu`, `rtu-tcp`, `ascii` or `ascii-tcp`."""
    framer = FramerType.RTU if kind.startswith("rtu") else FramerType.ASCII
    if kind.endswith("-tcp"):
        tcp = ModbusTcpServer(sim_devices(), framer=framer, address=("127.0.0.1", 0))
        await tcp.serve_forever(background=True)
        port = cast(asyncio.Server, tcp.transport).sockets[0].getsockname()[1]
        yield f"modbus-{kind}://127.0.0.1:{port}"
        await cast(Any, tcp).shutdown()
        return
    async with null_modem() as (ours, theirs):
        serial = ModbusSerialServer(sim_devices(), framer=framer, port=theirs, baudrate=115200)
        await serial.serve_forever(background=True)
        yield f"modbus-{kind}://{ours}{LOOK}"
        await cast(Any, serial).shutdown()


async def check_foreign_server(driver: ModbusLine) -> None:
    """Two units of one line, each with its own values; a refusal; the line is still good."""
    try:
        for unit in (1, 7, 1):
            power, block = await driver.read(
                unit, [Request("holding", 0x34, 2), Request("input", 0x100, 125)]
            )
            assert struct.unpack(">f", power.data) == (1500.0 * unit,)
            assert struct.unpack(">125H", block.data) == tuple(range(7000, 7125))
        with pytest.raises(DeviceError, match=r"exception 2 \(illegal data address\)") as caught:
            await driver.read(1, [Request("holding", 0x200, 1)])
        assert caught.value.code == "exception_02"
        assert driver.is_open
        assert (await driver.read(7, [Request("holding", 0x100, 1)]))[0].data == b"\x1b\x58"
    finally:
        await driver.close()


async def check_wrong_then_right(
    line: Any, wrong: Respond, right: Respond, *, ascii_: bool = False
) -> None:
    """The first question of a line is answered wrongly: it is named, and the next one is read."""
    answers = [wrong]

    def respond(request: bytes) -> list[bytes]:
        assert wrong(request) != right(request), "the control is the right answer"
        return (answers.pop() if answers else right)(request)

    async with line(respond, ascii_=ascii_) as served:
        subject = Line(served.url, timeout_s=5.0)
        device = PlannedDevice("meter", served.url, 1, 1_000_000, (TWO_WORDS,), 5.0)
        with pytest.raises(DeviceError) as caught:
            await subject.read(device)
        [response] = await subject.read(device)
        await subject.close()

    assert caught.value.code == "bad_reply", caught.value
    assert response.data == RIGHT
