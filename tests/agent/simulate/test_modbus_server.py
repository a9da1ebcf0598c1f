"""The Modbus TCP server: an independent peer reads it, and hostile bytes do not hurt it."""

import asyncio
import struct
from collections.abc import AsyncIterator
from functools import partial

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.client import AsyncModbusTcpClient

from joulemark_agent.simulate.modbus_server import ModbusConnection, reply_pdu


class TwoUnits:
    """Unit 1: holding registers 10 to 209, each its own address; unit 7: one input register."""

    def has_unit(self, unit: int) -> bool:
        return unit in {1, 7}

    def read(self, unit: int, table: str, address: int, count: int) -> bytes | None:
        first, last = {(1, "holding"): (10, 209), (7, "input"): (0, 0)}.get((unit, table), (1, 0))
        if address < first or address + count - 1 > last:
            return None
        return b"".join(a.to_bytes(2, "big") for a in range(address, address + count))


@pytest_asyncio.fixture
async def port() -> AsyncIterator[int]:
    clients: set[asyncio.Transport] = set()
    connect = partial(ModbusConnection, TwoUnits(), clients)
    server = await asyncio.get_running_loop().create_server(connect, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for client in list(clients):
        client.abort()
    await asyncio.sleep(0)
    await server.wait_closed()


def request(pdu: bytes, *, unit: int = 1, transaction: int = 1) -> bytes:
    return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu


def read_pdu(function: int, address: int, count: int) -> bytes:
    return struct.pack(">BHH", function, address, count)


async def exchange(port: int, *parts: bytes, size: int = -1) -> bytes:
    """What the server sends back to the parts, written one by one; all of it for size -1."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            return await (reader.read() if size < 0 else reader.readexactly(size))
    finally:
        writer.close()
        await writer.wait_closed()


async def test_pymodbus_reads_the_same_registers_from_two_units(port: int) -> None:
    client = AsyncModbusTcpClient("127.0.0.1", port=port)
    assert await client.connect()
    try:
        holding = await client.read_holding_registers(10, count=125, device_id=1)
        inputs = await client.read_input_registers(0, count=1, device_id=7)
        assert holding.registers == list(range(10, 135))
        assert inputs.registers == [0]
        missing = await client.read_holding_registers(209, count=2, device_id=1)
        assert (missing.isError(), missing.exception_code) == (True, 2)
        nobody = await client.read_holding_registers(10, count=1, device_id=3)
        assert (nobody.isError(), nobody.exception_code) == (True, 0x0B)
        written = await client.write_register(10, 1, device_id=1)
        assert (written.isError(), written.exception_code) == (True, 1)
        coils = await client.read_coils(0, count=1, device_id=1)
        assert (coils.isError(), coils.exception_code) == (True, 2)
    finally:
        client.close()


@pytest.mark.parametrize(
    ("unit", "pdu", "reply"),
    [
        (1, read_pdu(3, 10, 1), b"\x03\x02\x00\x0a"),
        (7, read_pdu(4, 0, 1), b"\x04\x02\x00\x00"),
        (1, read_pdu(3, 9, 1), b"\x83\x02"),
        (1, read_pdu(3, 209, 2), b"\x83\x02"),
        (1, read_pdu(3, 0xFFFF, 125), b"\x83\x02"),
        (1, read_pdu(4, 10, 1), b"\x84\x02"),  # no input table: no such address
        (1, read_pdu(3, 10, 0), b"\x83\x03"),
        (1, read_pdu(3, 10, 126), b"\x83\x03"),
        (1, read_pdu(3, 10, 0xFFFF), b"\x83\x03"),
        (1, read_pdu(3, 10, 1)[:-1], b"\x83\x03"),  # a length that does not fit the function
        (1, read_pdu(3, 10, 1) + b"\x00", b"\x83\x03"),
        (1, b"\x10\x00\x0a\x00\x01\x02\x00\x01", b"\x90\x01"),
        (1, b"\x2b\x0e\x01\x00", b"\xab\x01"),
        (1, b"\x83", b"\x83\x01"),
        (0, read_pdu(3, 10, 1), b"\x83\x0b"),
        (255, b"\x06\x00\x0a\x00\x01", b"\x86\x0b"),
    ],
)
def test_a_request_is_answered_with_words_or_the_right_exception(
    unit: int, pdu: bytes, reply: bytes
) -> None:
    assert reply_pdu(TwoUnits(), unit, pdu) == reply


@given(unit=st.integers(0, 255), pdu=st.binary(min_size=1, max_size=253))
def test_any_request_gets_a_reply_of_legal_size_under_its_own_function(
    unit: int, pdu: bytes
) -> None:
    reply = reply_pdu(TwoUnits(), unit, pdu)

    assert reply[0] in {pdu[0], pdu[0] | 0x80}
    assert 2 <= len(reply) <= 253


async def test_frames_may_come_byte_by_byte_or_many_in_one_segment(port: int) -> None:
    frames = [request(read_pdu(3, 10 + i, 2), transaction=i) for i in range(20)]
    replies = b"".join(
        struct.pack(">HHHBBBHH", i, 0, 7, 1, 3, 4, 10 + i, 11 + i) for i in range(20)
    )
    stream = b"".join(frames)

    assert await exchange(port, stream, size=len(replies)) == replies
    assert await exchange(port, *(bytes([b]) for b in stream), size=len(replies)) == replies
    halves = stream[:17], stream[17:130], stream[130:]
    assert await exchange(port, *halves, size=len(replies)) == replies


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack(">HHHB", 1, 1, 6, 1) + read_pdu(3, 10, 1),  # another protocol
        struct.pack(">HHHB", 1, 0, 1, 1),  # no function code
        struct.pack(">HHHB", 1, 0, 0, 1),
        struct.pack(">HHHB", 1, 0, 255, 1),  # longer than a frame can be
        bytes(range(256)),
    ],
)
async def test_garbage_closes_its_own_connection_after_the_requests_before_it_and_no_other(
    port: int, garbage: bytes
) -> None:
    good = request(read_pdu(3, 10, 1))
    answer = struct.pack(">HHHBBBH", 1, 0, 5, 1, 3, 2, 10)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    assert await exchange(port, good + garbage) == answer

    writer.write(good)
    async with asyncio.timeout(5):
        assert await reader.readexactly(len(answer)) == answer
    writer.close()
    await writer.wait_closed()


async def test_half_a_frame_and_a_hang_up_leave_the_server_answering(port: int) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request(read_pdu(3, 10, 1))[:9])
    writer.close()
    await writer.wait_closed()

    reply = await exchange(port, request(read_pdu(3, 10, 1)), size=11)

    assert reply[-2:] == b"\x00\x0a"


class NeverPaused(ModbusConnection):
    """The control: reads on whatever waits to be sent."""

    def pause_writing(self) -> None:
        pass


async def most_waiting_bytes(connection: type[ModbusConnection]) -> int:
    """The most that waited in the server for a client that asks and takes nothing."""
    clients: set[asyncio.Transport] = set()
    connect = partial(connection, TwoUnits(), clients)
    server = await asyncio.get_running_loop().create_server(connect, "127.0.0.1", 0)
    _, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
    # pausing as soon as anything arrives keeps the replies out of this process's own buffers
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # typed as a write transport
    writer.write(request(read_pdu(3, 10, 125)) * 120_000)
    most, idle = 0, 0
    while idle < 200:
        await asyncio.sleep(0)
        now = sum(client.get_write_buffer_size() for client in clients)
        idle = 0 if now > most else idle + 1
        most = max(most, now)
    for transport in (writer.transport, *clients):
        transport.abort()
    server.close()
    await asyncio.sleep(0)
    await server.wait_closed()
    return most


async def test_a_client_that_takes_no_replies_is_read_no_further() -> None:
    one_read = 256 * 1024 * 259 // 12  # what asyncio reads at once, in replies of the longest kind

    assert await most_waiting_bytes(ModbusConnection) < one_read + 2**20
    assert await most_waiting_bytes(NeverPaused) > 2 * one_read
