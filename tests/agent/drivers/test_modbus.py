"""The Modbus client believes nothing: what a naive client takes for a value is refused here."""

import asyncio
import itertools
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from pymodbus import FramerType
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.contract.profile import Table
from joulemark_agent.drivers import modbus
from joulemark_agent.drivers.base import Request
from joulemark_agent.exchange import Exchange
from joulemark_agent.lines import LONGEST_WAIT_S, Line
from joulemark_agent.plan import TABLES, PlannedDevice
from support.hostile_modbus import TCP as HOSTILE
from support.modbus import REQUEST, Answer, Connection, peer, refusal, reply, truth, words
from support.tcp import serving

TWO_WORDS = Request("holding", 0x10, 2)
RIGHT = bytes.fromhex("00100011")


def planned(url: str, *requests: Request, timeout_s: float = 5.0) -> PlannedDevice:
    return PlannedDevice("meter", url, 1, 1_000_000, requests or (TWO_WORDS,), timeout_s)


@pytest_asyncio.fixture
async def pymodbus_url() -> AsyncIterator[str]:
    """A real, foreign server: unit 1, a float32 at 0x34, words from 0x100 on."""
    device = SimDevice(
        1,
        [
            SimData(0x34, values=1500.0, datatype=DataType.FLOAT32),
            SimData(0x100, values=list(range(7000, 7125)), datatype=DataType.REGISTERS),
        ],
    )
    server = ModbusTcpServer(device, address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    listener = cast(asyncio.Server, server.transport)
    yield f"modbus-tcp://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    await cast(Any, server).shutdown()


@pytest.mark.parametrize("table", ["holding", "input"])
async def test_a_foreign_server_gives_the_values_it_holds(pymodbus_url: str, table: Table) -> None:
    driver = await modbus.connect(pymodbus_url, timeout_s=5.0)

    power, block = await driver.read(1, [Request(table, 0x34, 2), Request(table, 0x100, 125)])

    assert struct.unpack(">f", power.data) == (1500.0,)
    assert struct.unpack(">125H", block.data) == tuple(range(7000, 7125))
    assert (block.table, block.address) == (table, 0x100)
    await driver.close()


@pytest.mark.parametrize(("table", "function"), [("coil", 1), ("discrete", 2)])
async def test_a_coil_is_a_word_of_0_or_1(table: Table, function: int) -> None:
    async def answer(connection: Connection, request: bytes) -> None:
        assert request[7] == function
        await connection.say(reply(request, bytes([0b0000_0101, 0b1111_1110])))

    async with peer(answer) as served:
        driver = await modbus.connect(served.url, timeout_s=5.0)
        [response] = await driver.read(1, [Request(table, 0, 10)])
        await driver.close()

    assert struct.unpack(">10H", response.data) == (1, 0, 1, 0, 0, 0, 0, 0, 0, 1)


async def test_a_refused_address_is_told_and_the_connection_stays(pymodbus_url: str) -> None:
    driver = await modbus.connect(pymodbus_url, timeout_s=5.0)

    with pytest.raises(
        DeviceError, match=r"exception 2 \(illegal data address\).*0x0200"
    ) as caught:
        await driver.read(1, [Request("holding", 0x200, 1)])

    assert caught.value.code == "exception_02"
    assert driver.is_open
    assert (await driver.read(1, [Request("holding", 0x100, 1)]))[0].data == struct.pack(">H", 7000)
    await driver.close()


@pytest.fixture
def _known_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction number could make a hostile answer right by chance: never test that."""
    monkeypatch.setattr(modbus, "_transactions", itertools.count(0x1234))


@pytest.mark.usefixtures("_known_transactions")
@pytest.mark.parametrize("name", HOSTILE)
async def test_a_wrong_answer_is_named_and_the_next_question_gets_its_value(name: str) -> None:
    is_hostile = True

    async def answer(connection: Connection, request: bytes) -> None:
        nonlocal is_hostile
        segments = HOSTILE[name](request) if is_hostile else [reply(request)]
        assert not is_hostile or segments != [reply(request)]
        is_hostile = False
        await connection.say(*segments)

    async with peer(answer) as served:
        line = Line(served.url, timeout_s=5.0)
        device = planned(served.url)
        with pytest.raises(DeviceError) as caught:
            await line.read(device)
        [response] = await line.read(device)
        await line.close()

    assert caught.value.code == "bad_reply", caught.value
    assert response.data == RIGHT
    assert served.connections == 2


@pytest.mark.parametrize("name", ["good", "exception"])
async def test_an_answer_in_segments_of_one_byte_is_the_same_answer(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    received = Exchange.data_received

    def spy(self: Exchange, data: bytes) -> None:
        sizes.append(len(data))
        received(self, data)

    monkeypatch.setattr(Exchange, "data_received", spy)

    async def answer(connection: Connection, request: bytes) -> None:
        whole = reply(request) if name == "good" else refusal(request, 2)
        await connection.say(*(whole[i : i + 1] for i in range(len(whole))))

    async with peer(answer) as served:
        driver = await modbus.connect(served.url, timeout_s=5.0)
        try:
            for _ in range(3):
                if name == "good":
                    assert (await driver.read(1, [TWO_WORDS]))[0].data == RIGHT
                else:
                    with pytest.raises(DeviceError, match="exception 2"):
                        await driver.read(1, [TWO_WORDS])
        finally:
            await driver.close()

    assert served.connections == 1
    assert set(sizes) == {1}, "the segments must arrive apart to test something"


@pytest.mark.parametrize("cut", [0, 1, 6, 9, 12])
async def test_silence_after_a_part_of_the_answer_is_a_timeout(cut: int) -> None:
    async def answer(connection: Connection, request: bytes) -> None:
        await connection.say(reply(request)[:cut])

    async with peer(answer) as served:
        driver = await modbus.connect(served.url, timeout_s=5.0)
        with pytest.raises(DeviceError, match=f"sent {cut or 'no'} bytes") as caught:
            await driver.read(1, [TWO_WORDS], timeout_s=0.05)

    assert caught.value.code == "timeout"
    assert not driver.is_open


@pytest.mark.parametrize("cut", [0, 1, 6, 9, 12])
async def test_a_connection_closed_within_the_answer_gives_no_value(cut: int) -> None:
    async def answer(connection: Connection, request: bytes) -> None:
        await connection.say(reply(request)[:cut])
        connection.close()

    async with peer(answer) as served:
        driver = await modbus.connect(served.url, timeout_s=5.0)
        with pytest.raises(DeviceError) as caught:
            await driver.read(1, [TWO_WORDS])

    assert caught.value.code == "closed"
    assert not driver.is_open


async def test_an_answer_nobody_waits_for_ends_the_connection() -> None:
    is_read = asyncio.Event()

    async def answer(connection: Connection, request: bytes) -> None:
        await connection.say(reply(request))
        await is_read.wait()
        await connection.say(reply(request))

    async with peer(answer) as served:
        driver = await modbus.connect(served.url, timeout_s=5.0)
        await driver.read(1, [TWO_WORDS])
        is_read.set()
        async with asyncio.timeout(5.0):
            await driver._exchange._lost
        with pytest.raises(DeviceError, match="closed"):
            await driver.read(1, [TWO_WORDS])


async def test_an_answer_that_comes_after_the_timeout_never_answers_the_next_question() -> None:
    """The first answer is held back until the second question is there, on any connection."""
    late: list[bytes] = []

    async def answer(connection: Connection, request: bytes) -> None:
        late.append(reply(request))
        if len(late) > 1:
            await connection.say(late[0], late[-1])

    async with peer(answer) as served:
        line = Line(served.url, timeout_s=5.0)
        with pytest.raises(DeviceError) as first:
            await line.read(planned(served.url, Request("holding", 100, 2), timeout_s=0.05))
        with pytest.raises(DeviceError) as second:
            await line.read(planned(served.url, Request("holding", 50, 2)))
        await line.close()

    assert first.value.code == "timeout"
    assert second.value.code == "bad_reply"
    assert "transaction id" in str(second.value)


async def test_giving_up_a_question_ends_the_connection() -> None:
    asked = asyncio.Event()

    async def answer(*_: object) -> None:
        asked.set()

    async with peer(answer) as served:
        driver = await modbus.connect(served.url, timeout_s=5.0)
        reading = asyncio.create_task(driver.read(1, [TWO_WORDS]))
        await asked.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

        assert not driver.is_open


async def test_a_second_question_while_one_waits_is_a_mistake_of_ours() -> None:
    asked = asyncio.Event()

    async def answer(*_: object) -> None:
        asked.set()

    async with peer(answer) as served:
        driver = await modbus.connect(served.url, timeout_s=5.0)
        reading = asyncio.create_task(driver.read(1, [TWO_WORDS]))
        await asked.wait()
        with pytest.raises(RuntimeError, match="another waits"):
            await driver.read(1, [TWO_WORDS])
        await driver.close()
        with pytest.raises(DeviceError, match="closed"):
            await reading


BEHAVIOURS: dict[str, Callable[[bytes], list[bytes]]] = {
    "truth": lambda q: [reply(q)],
    "silence": lambda _: [],
    "exception": lambda q: [refusal(q, 6)],
    "cut": lambda q: [reply(q)[:7]],
    "other register": lambda q: [reply(q, struct.pack(">2H", 9, 9), transaction=0)],
    "two": lambda q: [reply(q), reply(q)],
}


def hostile_answer(seed: int) -> Answer:
    """Tells the truth often; holds answers back and lets them go together with later ones."""
    rng = random.Random(seed)
    held: list[bytes] = []

    async def answer(connection: Connection, request: bytes) -> None:
        segments = BEHAVIOURS[rng.choice([*BEHAVIOURS, "truth", "truth"])](request)
        if rng.random() < 0.2:
            held.extend(segments)
        else:
            let_go = [held.pop(0)] if held and rng.random() < 0.3 else []
            await connection.say(*let_go, *segments)

    return answer


async def test_of_many_questions_to_a_hostile_peer_none_gets_a_wrong_value() -> None:
    rng = random.Random(20261122)
    right = failed = 0
    now_s = 0.0
    async with peer(hostile_answer(1)) as served:
        line = Line(served.url, timeout_s=5.0, now_s=lambda: now_s)
        for _ in range(300):
            now_s += LONGEST_WAIT_S  # a silent unit would be left alone
            address = rng.randrange(1000)
            device = planned(served.url, Request("holding", address, 2), timeout_s=0.01)
            try:
                [response] = await line.read(device)
            except DeviceError:
                failed += 1
            else:
                assert response.data == struct.pack(">2H", address, address + 1)
                right += 1
        await line.close()

    assert right > 50, "the peer must tell the truth often enough to test something"
    assert failed > 50, "and lie often enough"


async def test_the_obvious_client_takes_wrong_values_from_the_same_peer() -> None:
    """The control: it checks the length only, and goes on after a timeout."""
    rng = random.Random(20261122)
    wrong = 0
    async with peer(hostile_answer(1)) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        for n in range(100):
            address = rng.randrange(1000)
            writer.write(REQUEST.pack(n, 0, 6, 1, 3, address, 2))
            try:
                async with asyncio.timeout(0.01):
                    data = (await reader.readexactly(13))[9:]
            except TimeoutError:
                continue
            wrong += data != struct.pack(">2H", address, address + 1)
        writer.close()
        await writer.wait_closed()

    assert wrong > 0


async def test_transaction_numbers_count_on_from_one_connection_to_the_next() -> None:
    async with peer(truth) as served:
        for _ in range(8):
            driver = await modbus.connect(served.url, timeout_s=5.0)
            await driver.read(1, [TWO_WORDS] * 20)
            await driver.close()

    numbers = [REQUEST.unpack(request)[0] for request in served.requests]
    assert numbers == [(numbers[0] + i) % 0x10000 for i in range(160)]


async def test_transaction_numbers_come_round_after_65535(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modbus, "_transactions", itertools.count(0xFFFF))
    async with peer(truth) as served:
        driver = await modbus.connect(served.url, timeout_s=5.0)
        await driver.read(1, [TWO_WORDS] * 2)
        await driver.close()

    assert [request[:2] for request in served.requests] == [b"\xff\xff", b"\0\0"]


async def test_segments_leave_at_once() -> None:
    async with peer(truth) as served:
        driver = await modbus.connect(served.url, timeout_s=5.0)
        transport = driver._exchange._transport
        assert transport is not None
        sock = transport.get_extra_info("socket")

        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        await driver.close()


def written(requests: list[bytes]) -> list[int]:
    """The function codes of a capture that could change something in a device."""
    return [request[7] for request in requests if request[7] not in {1, 2, 3, 4}]


async def test_nothing_that_leaves_the_socket_can_write() -> None:
    async def answer(connection: Connection, request: bytes) -> None:
        *_, count = REQUEST.unpack(request)
        is_bits = request[7] <= 2
        data = bytes((count + 7) // 8 if is_bits else 2 * count)
        await connection.say(reply(request, data))

    async with peer(answer) as served:
        driver = await modbus.connect(served.url, timeout_s=5.0)
        for table in TABLES:
            await driver.read(1, [Request(table, 0, 1), Request(table, 7, 125)])
        await driver.close()
        assert sorted({request[7] for request in served.requests}) == [1, 2, 3, 4]
        assert not written(served.requests)

        # The control: one planted write must fail the same check.
        client = AsyncModbusTcpClient("127.0.0.1", port=served.port, retries=0, timeout=0.05)
        await client.connect()
        await client.write_register(1, 2)
        cast(Any, client).close()
        assert written(served.requests) == [6]


async def test_a_port_nobody_listens_on_is_refused() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"modbus-tcp://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(DeviceError, match="refuses connections") as caught:
            await modbus.connect(url, timeout_s=5.0)

    assert caught.value.code == "refused"


async def test_a_host_that_cannot_be_reached_is_said_to_be_so() -> None:
    with pytest.raises(DeviceError, match="cannot be reached") as caught:
        await modbus.connect("modbus-tcp://255.255.255.255:502", timeout_s=5.0)

    assert caught.value.code == "unreachable"


async def test_a_host_that_takes_no_connection_is_a_timeout() -> None:
    """Its queue of connections is full, so the kernel drops ours, as an absent host would."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(address)
        with pytest.raises(DeviceError, match="did not take a connection") as caught:
            await modbus.connect(f"modbus-tcp://127.0.0.1:{address[1]}", timeout_s=0.1)
        for sock in waiting:
            sock.close()

    assert caught.value.code == "timeout"


@pytest.mark.parametrize(("address", "count"), [(0, 0), (0, 126), (-1, 1), (0xFFFF, 2)])
def test_a_block_that_no_request_can_ask_for_is_not_made(address: int, count: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        Request("holding", address, count)


@given(st.data())
def test_only_the_exact_answer_or_exception_is_taken_and_only_their_beginnings_are_waited_for(
    data: st.DataObject,
) -> None:
    """Law over the frame check: any bytes near a right answer, cut anywhere."""
    count = data.draw(st.integers(1, 125))
    request = REQUEST.pack(
        data.draw(st.integers(0, 0xFFFF)), 0, 6, data.draw(st.integers(0, 255)), 3, 0, count
    )
    good, no = reply(request), refusal(request, data.draw(st.integers(0, 255)))
    received = bytearray(data.draw(st.sampled_from([good, no, good + no, no + good])))
    for _ in range(data.draw(st.integers(0, 2))):
        received[data.draw(st.integers(0, len(received) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(received[: data.draw(st.integers(1, len(received)))])

    is_refusal = len(cut) == 9 and cut[:8] == no[:8]
    is_good = len(cut) == len(good) and cut[:9] == good[:9]
    is_begun = good[:9].startswith(cut[:9]) and len(cut) < len(good)
    if is_refusal or is_good:
        assert modbus._checked("peer", good[:9], 2 * count, cut) == cut
    elif is_begun or (no.startswith(cut)):
        assert modbus._checked("peer", good[:9], 2 * count, cut) is None
    else:
        with pytest.raises(DeviceError) as caught:
            modbus._checked("peer", good[:9], 2 * count, cut)
        assert caught.value.code == "bad_reply"


class TestNaive:
    """The control: the stock client, at the same peers, hands wrong values over as good ones."""

    async def read(self, port: int) -> list[int]:
        client = AsyncModbusTcpClient("127.0.0.1", port=port, retries=0, timeout=0.2)
        await client.connect()
        try:
            return list((await client.read_holding_registers(0x10, count=2)).registers)
        finally:
            cast(Any, client).close()

    @pytest.mark.parametrize(
        ("name", "wrong"),
        [
            ("short: one word of two", [7]),
            ("long: three words of two", [7, 7, 7]),
            ("other function: input for holding", [0x10, 0x11]),
            ("transaction 0", [0x10, 0x11]),
        ],
    )
    async def test_the_stock_client_takes_a_wrong_answer(self, name: str, wrong: list[int]) -> None:
        async def answer(connection: Connection, request: bytes) -> None:
            await connection.say(*HOSTILE[name](request))

        async with peer(answer) as served:
            assert await self.read(served.port) == wrong

    async def test_the_stock_client_takes_a_late_answer_for_the_next_one(self) -> None:
        """RTU framing has no transaction number: the answer for 100 arrives as that for 50."""
        questions: list[bytes] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while request := await reader.read(8):
                questions.append(request)
                if len(questions) == 2:
                    writer.write(rtu_answer(questions[0]))

        async with serving(serve) as port:
            client = AsyncModbusTcpClient(
                "127.0.0.1", port=port, framer=FramerType.RTU, retries=0, timeout=0.1
            )
            await client.connect()
            with pytest.raises(Exception, match="No response"):
                await client.read_holding_registers(100, count=2)
            got = (await client.read_holding_registers(50, count=2)).registers
            cast(Any, client).close()

        assert got == [100, 101]


def rtu_answer(request: bytes) -> bytes:
    unit, function, address, count = struct.unpack(">BBHH", request[:6])
    body = struct.pack(f">BBB{count}H", unit, function, 2 * count, *range(address, address + count))
    crc = 0xFFFF
    for byte in body:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return body + struct.pack("<H", crc)


@pytest.mark.parametrize("host", ["a..b", "a" * 64, "a\0b"])
async def test_a_name_that_no_resolver_can_be_asked_for_is_a_device_out_of_reach(host: str) -> None:
    with pytest.raises(DeviceError) as caught:
        await modbus.connect(f"modbus-tcp://{host}:502", timeout_s=5.0)
    assert caught.value.code == "unreachable"


@pytest.mark.parametrize(("number", "asked"), [(5, 2), (6, 2), (2, 1), (4, 1), (10, 1), (11, 1)])
async def test_only_a_busy_device_is_asked_once_more(
    number: int, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modbus, "BUSY_PAUSE_S", 0.001)

    async def answer(connection: Connection, request: bytes) -> None:
        is_first = len(served.requests) == 1
        await connection.say(refusal(request, number) if is_first else reply(request))

    async with peer(answer) as served:
        driver = await modbus.connect(served.url, timeout_s=5.0)
        if asked == 1:
            with pytest.raises(DeviceError, match=f"exception {number} "):
                await driver.read(1, [TWO_WORDS])
        else:
            assert (await driver.read(1, [TWO_WORDS]))[0].data == words(served.requests[0])
        await driver.close()

    assert len(served.requests) == asked
    assert served.connections == 1
