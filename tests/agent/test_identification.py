"""Device identification: all of what a device says, and nothing of what cannot be an answer."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus import FramerType, ModbusDeviceIdentification
from pymodbus.server import ModbusTcpServer

from joulemark_agent import identification
from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.drivers import modbus, modbus_ascii, modbus_rtu
from joulemark_agent.drivers.base import Request
from joulemark_agent.identification import identify, parse, size
from support.bus import rtu, sim_devices
from support.tcp import serving
from support.units import IDENTIFY, Device, modbus_tcp, rtu_over_tcp

TIMEOUT_S = 5.0
SAID = {0: b"Acme", 1: b"PM-9", 2: b"V1.07", 3: b"http://acme.example", 4: b"Power meter", 5: b"9",
        6: b"Hall 2", 0x80: b"12345678", 0x81: b"\xff\x00"}  # fmt: skip
KINDS = {"": modbus, "rtu": modbus_rtu, "ascii": modbus_ascii}


@asynccontextmanager
async def foreign(kind: str) -> AsyncIterator[str]:
    framer = {"": FramerType.SOCKET, "rtu": FramerType.RTU, "ascii": FramerType.ASCII}[kind]
    identity = ModbusDeviceIdentification(
        info_name={
            "VendorName": "Acme",
            "ProductCode": "PM-9",
            "MajorMinorRevision": "V1.07",
            "ProductName": "Power meter",
            "ModelName": "9",
        }
    )
    server = ModbusTcpServer(
        sim_devices(), framer=framer, identity=identity, address=("127.0.0.1", 0)
    )
    await server.serve_forever(background=True)
    port = cast(asyncio.Server, server.transport).sockets[0].getsockname()[1]
    yield f"modbus-{kind or 'tcp'}{'-tcp' if kind else ''}://127.0.0.1:{port}"
    await cast(Any, server).shutdown()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_foreign_device_says_what_it_is_and_is_read_as_before(kind: str) -> None:
    async with foreign(kind) as url:
        client = await KINDS[kind].connect(url, timeout_s=TIMEOUT_S)
        found = await identify(client, 7, timeout_s=TIMEOUT_S)
        [power] = await client.read(7, [Request("holding", 0x34, 2)])
        await client.close()

    texts = {number: identification.text(value) for number, value in found.items()}
    assert {n: t for n, t in texts.items() if t} == {
        0: "Acme", 1: "PM-9", 2: "V1.07", 4: "Power meter", 5: "9",
    }  # fmt: skip
    assert struct.unpack(">f", power.data) == (10_500.0,)


async def connected(framing: str, port: int) -> Any:
    driver = modbus if framing == "tcp" else modbus_rtu
    kind = "tcp" if framing == "tcp" else "rtu-tcp"
    return await driver.connect(f"modbus-{kind}://127.0.0.1:{port}", timeout_s=TIMEOUT_S)


@pytest.mark.parametrize("most", [250, 30, 2])
@pytest.mark.parametrize("serve", [modbus_tcp, rtu_over_tcp])
async def test_what_comes_in_parts_is_put_together(serve: Any, most: int) -> None:
    async with serve({1: Device(says=SAID, most=most)}) as line:
        client = await connected("tcp" if serve is modbus_tcp else "rtu", line.port)
        found = await identify(client, 1, timeout_s=TIMEOUT_S)
        await client.close()

    assert found == SAID
    assert {request[:2] for _, request in line.requests} == {b"\x2b\x0e"}
    assert {request[2] for _, request in line.requests} == {1, 2, 3}


async def test_a_device_that_has_only_the_basic_level_is_asked_for_no_more() -> None:
    basic = {number: SAID[number] for number in (0, 1, 2)}
    async with modbus_tcp({1: Device(says=basic)}) as line:
        client = await modbus.connect(f"modbus-tcp://127.0.0.1:{line.port}", timeout_s=TIMEOUT_S)
        assert await identify(client, 1, timeout_s=TIMEOUT_S) == basic
        await client.close()

    assert len(line.requests) == 1


@pytest.mark.parametrize("serve", [modbus_tcp, rtu_over_tcp])
async def test_a_device_that_knows_no_such_question_is_told_and_still_read(serve: Any) -> None:
    async with serve({1: Device(holding={0: 7})}) as line:
        client = await connected("tcp" if serve is modbus_tcp else "rtu", line.port)
        with pytest.raises(DeviceError, match="exception 1 to the question what it is") as caught:
            await identify(client, 1, timeout_s=TIMEOUT_S)
        [word] = await client.read(1, [Request("holding", 0, 1)])
        await client.close()

    assert caught.value.code == "exception_01"
    assert word.data == b"\0\x07"


def answer(*parts: int | bytes) -> bytes:
    return b"".join(part if isinstance(part, bytes) else bytes((part,)) for part in parts)


GOOD = answer(IDENTIFY, 14, 1, 1, 0, 0, 1, 0, 4, b"Acme")
BAD = {
    "another type": answer(IDENTIFY, 13, 1, 1, 0, 0, 1, 0, 4, b"Acme"),
    "another level": answer(IDENTIFY, 14, 2, 1, 0, 0, 1, 0, 4, b"Acme"),
    "another function": answer(3, 2, 0, 7),
    "more follows neither yes nor no": answer(IDENTIFY, 14, 1, 1, 7, 0, 1, 0, 4, b"Acme"),
    "the same object follows": answer(IDENTIFY, 14, 1, 1, 0xFF, 0, 1, 0, 4, b"Acme"),
    "an object twice": answer(IDENTIFY, 14, 1, 1, 0, 0, 2, 0, 1, b"A", 0, 1, b"B"),
    "objects out of order": answer(IDENTIFY, 14, 1, 1, 0, 0, 2, 1, 1, b"A", 0, 1, b"B"),
    "nothing, and more follows": answer(IDENTIFY, 14, 1, 1, 0xFF, 9, 0),
    "longer than an answer can be": answer(
        IDENTIFY, 14, 1, 1, 0, 0, 255, 0, 200, b"x" * 200, 1, 99, b"x" * 42
    ),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("framing", ["tcp", "rtu"])
async def test_what_can_be_no_identification_is_refused(name: str, framing: str) -> None:
    said = BAD[name]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            if framing == "tcp":
                head = await reader.readexactly(7)
                await reader.readexactly(int.from_bytes(head[4:6], "big") - 1)
                writer.write(head[:4] + (1 + len(said)).to_bytes(2, "big") + b"\1" + said)
            else:
                await reader.readexactly(7)
                writer.write(rtu(1, said))

    async with serving(serve) as port:
        client = await connected(framing, port)
        with pytest.raises(DeviceError) as caught:
            await identify(client, 1, timeout_s=TIMEOUT_S)
        await client.close()

    assert caught.value.code == "bad_reply"


async def test_a_device_that_says_for_ever_that_more_follows_is_left_alone() -> None:
    """The control, which asks for what is said to follow, would go on for ever."""
    asked: list[int] = []

    class Endless:
        peer = "endless"

        async def identification(
            self, unit: int, level: int, first: int, *, timeout_s: float | None = None
        ) -> bytes:
            del unit, timeout_s
            asked.append(first)
            number = (first + 1) % 250
            return answer(IDENTIFY, 14, level, 0x83, 0xFF, number + 1, 1, number, 1, b"x")

    found = await identify(Endless(), 1, timeout_s=1)

    assert len(asked) <= 3 * identification.MAX_PARTS
    assert len(found) <= 3 * identification.MAX_PARTS
    naive, first = 0, 0
    while naive < 1000:
        first = parse(await Endless().identification(1, 1, first)).following or 0
        naive += 1
    assert first, "the control had an end"


@given(st.binary(max_size=300))
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    try:
        whole = size(data)
        part = parse(data)
    except ValueError:
        return
    except IndexError:
        raise AssertionError(data) from None
    assert whole == len(data) <= identification.MAX_PDU
    assert sum(2 + len(value) for value in part.objects.values()) == len(data) - 7


@given(st.integers(0, len(GOOD)))
def test_the_length_shows_when_enough_has_arrived_and_never_changes(cut: int) -> None:
    assert size(GOOD[:cut]) in {None, len(GOOD)}
    assert size(GOOD) == len(GOOD)


def test_bytes_that_are_no_text_are_no_control_characters_either() -> None:
    assert identification.text(b"Acme\x1b[31m\xff \0secret") == "Acme?[31m?"


@pytest.mark.parametrize("level", [1, 2, 3])
def test_what_is_sent_is_the_function_that_reads_and_none_of_its_other_types(level: int) -> None:
    """Function 43 with type 13 is CANopen, which can write."""
    assert identification.question(level, 0) == bytes((0x2B, 0x0E, level, 0))


async def test_a_late_identification_is_never_the_answer_to_a_read() -> None:
    """It comes after its time-out, when the unit is asked for words."""
    waiting: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readexactly(2)
            rest = await reader.readexactly(5 if head[1] == IDENTIFY else 6)
            if head[1] == IDENTIFY:
                waiting.append(rtu(1, GOOD))
                continue
            function, count = head[1], int.from_bytes(rest[2:4], "big")
            while waiting:
                writer.write(waiting.pop())
            writer.write(rtu(1, function, 2 * count, b"\0\x07" * count))

    async with serving(serve) as port:
        url = f"modbus-rtu-tcp://127.0.0.1:{port}"
        client = await modbus_rtu.connect(url, timeout_s=TIMEOUT_S)
        with pytest.raises(DeviceError, match="no bytes of an answer"):
            await client.identification(1, 1, 0, timeout_s=0.02)
        await client.close()
        client = await modbus_rtu.connect(url, timeout_s=TIMEOUT_S)
        [word] = await client.read(1, [Request("holding", 0, 1)])
        await client.close()

    assert word.data == b"\0\x07"
