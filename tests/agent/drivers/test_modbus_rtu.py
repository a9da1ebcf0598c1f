"""RTU has no transaction number: a late answer is told apart all the same, by wire and over TCP."""

import asyncio
import struct
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent import modbus_line
from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.contract.profile import Table
from joulemark_agent.drivers import modbus_rtu
from joulemark_agent.drivers.base import Request
from joulemark_agent.drivers.modbus_rtu import Rtu
from joulemark_agent.lines import Line
from joulemark_agent.modbus_line import Frame
from joulemark_agent.plan import TABLES, PlannedDevice
from joulemark_agent.serial_port import settings_of
from nightly import late_answers
from support import virtual_time
from support.bus import (
    LINES,
    LOOK,
    RIGHT,
    TWO_WORDS,
    asked,
    check_foreign_server,
    check_wrong_then_right,
    foreign_server,
    null_modem,
    over_tcp,
    over_wire,
    refusal,
    reply,
    rtu,
    truth,
    wire,
)
from support.hostile_modbus import RTU as HOSTILE
from support.leaving import crc
from support.needed import missing, service

TIMEOUT_S = 0.5


@pytest.fixture(autouse=True)
def _nothing_owed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port of an earlier test may come again."""
    monkeypatch.setattr(modbus_line, "_owed", {})


def planned(url: str, *requests: Request, unit: int = 1, timeout_s: float = 5.0) -> PlannedDevice:
    return PlannedDevice(f"unit-{unit}", url, unit, 1_000_000, requests or (TWO_WORDS,), timeout_s)


@pytest.mark.parametrize("kind", ["rtu", "rtu-tcp"])
async def test_a_foreign_server_gives_the_values_it_holds(kind: str) -> None:
    async with foreign_server(kind) as url:
        await check_foreign_server(await modbus_rtu.connect(url, timeout_s=5.0))


@pytest.fixture(scope="module")
def libmodbus_server(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A server of a few lines on the C library most devices' makers test with."""
    compiler = service("gcc", "gcc libmodbus-dev")
    program = tmp_path_factory.mktemp("libmodbus") / "server"
    source = Path(__file__).parents[2] / "data/libmodbus_server.c"
    made = subprocess.run(
        [compiler, source, "-o", program, "-lmodbus"], capture_output=True, text=True, check=False
    )
    if made.returncode:
        missing("libmodbus", f"Debian: apt-get install libmodbus-dev\n{made.stderr}")
    return str(program)


@pytest.mark.service
async def test_the_c_library_and_we_mean_the_same_by_every_table(libmodbus_server: str) -> None:
    async with null_modem() as (ours, theirs):
        child = await asyncio.create_subprocess_exec(
            libmodbus_server, theirs, stdout=asyncio.subprocess.PIPE
        )
        assert child.stdout is not None
        assert await child.stdout.readline() == b"ready\n"
        driver = await modbus_rtu.connect(f"modbus-rtu://{ours}{LOOK}", timeout_s=5.0)
        try:
            for table in TABLES:
                [response] = await driver.read(17, [Request(table, 3, 60)])
                found = struct.unpack(">60H", response.data)
                is_bit, more = table in {"coil", "discrete"}, 1000 if table == "input" else 0
                held = [n % 3 == 0 if is_bit else n + more for n in range(100)]
                assert list(found) == held[3:63]
            with pytest.raises(DeviceError, match="exception 2"):
                await driver.read(17, [Request("holding", 100, 2)])
        finally:
            await driver.close()
            child.terminate()
            await child.wait()


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("name", HOSTILE)
async def test_a_wrong_answer_is_named_and_the_next_question_gets_its_value(
    name: str, line: Any
) -> None:
    await check_wrong_then_right(line, HOSTILE[name], lambda request: [reply(request)])


async def test_a_late_answer_is_skipped_and_its_question_asked_again_without_a_gap() -> None:
    """The wire: the answer for 100 comes while something else is asked; 50 gets its own."""
    late: list[bytes] = []

    def respond(request: bytes) -> list[bytes]:
        if not late:
            late.append(reply(request))
            return []
        return [*late.copy(), reply(request)] if len(served.requests) == 2 else [reply(request)]

    async with over_wire(respond) as served:
        line = Line(served.url, timeout_s=5.0)
        with pytest.raises(DeviceError) as caught:
            await line.read(planned(served.url, Request("holding", 100, 2), timeout_s=0.02))
        [response] = await line.read(planned(served.url, Request("holding", 50, 2)))
        await line.close()

    assert caught.value.code == "timeout"
    assert struct.unpack(">2H", response.data) == (50, 51)
    assert [asked(request)[2:] for request in served.requests] == [(100, 2), (50, 1), (50, 2)]


async def test_a_late_answer_of_one_unit_costs_another_nothing() -> None:
    def respond(request: bytes) -> list[bytes]:
        silent = served.requests[0]
        return [] if request is silent else [reply(silent), reply(request)]

    async with over_wire(respond) as served:
        driver = await modbus_rtu.connect(served.url, timeout_s=5.0)
        with pytest.raises(DeviceError):
            await driver.read(1, [TWO_WORDS], timeout_s=0.02)
        [response] = await driver.read(2, [Request("holding", 50, 2)])
        await driver.close()

    assert struct.unpack(">2H", response.data) == (50, 51)


async def test_late_answers_without_end_are_refused() -> None:
    """Each is one that may come; all together they would fill the memory."""

    def respond(request: bytes) -> list[bytes]:
        silent = served.requests[0]
        return [] if request is silent else [reply(silent) * 1000, reply(request)]

    async with over_tcp(respond) as served:
        line = Line(served.url, timeout_s=5.0)
        causes = []
        for unit, timeout_s in ((1, 0.02), (2, 5.0)):
            with pytest.raises(DeviceError) as caught:
                await line.read(planned(served.url, unit=unit, timeout_s=timeout_s))
            causes.append(caught.value.code)
        await line.close()

    assert causes == ["timeout", "bad_reply"]


async def test_one_register_is_asked_for_in_another_table_after_a_lost_answer() -> None:
    """Nothing smaller can be asked for; an exception of another function settles it as well."""

    def respond(request: bytes) -> list[bytes]:
        if len(served.requests) == 1:
            return []
        is_other = asked(request)[1] != 3
        return [reply(served.requests[0]), refusal(request, 1)] if is_other else [reply(request)]

    async with over_wire(respond) as served:
        driver = await modbus_rtu.connect(served.url, timeout_s=5.0)
        with pytest.raises(DeviceError):
            await driver.read(1, [Request("holding", 100, 1)], timeout_s=0.02)
        [response] = await driver.read(1, [Request("holding", 50, 1)])
        await driver.close()

    assert response.data == b"\x00\x32"
    assert [asked(request)[1] for request in served.requests] == [3, 4, 3]


async def test_an_exception_that_may_be_a_late_one_settles_nothing() -> None:
    """Half the block is refused, as devices do that give no half of a float."""

    def respond(request: bytes) -> list[bytes]:
        n = len(served.requests)
        return [[], [refusal(request, 2)], [reply(request)], [reply(request)]][n - 1]

    async with over_wire(respond) as served:
        driver = await modbus_rtu.connect(served.url, timeout_s=5.0)
        with pytest.raises(DeviceError):
            await driver.read(1, [TWO_WORDS], timeout_s=0.02)
        [response] = await driver.read(1, [TWO_WORDS])
        await driver.close()

    assert response.data == RIGHT
    assert [asked(request)[1:] for request in served.requests] == [
        (3, 16, 2), (3, 16, 1), (4, 16, 1), (3, 16, 2),
    ]  # fmt: skip


async def test_a_gateways_exception_does_not_mean_that_the_device_will_not_answer() -> None:
    """The gateway gave up twice; then it hands the device's first answer on."""

    def respond(request: bytes) -> list[bytes]:
        n = len(served.requests)
        late = [reply(served.requests[0])] if n == 3 else []
        return [refusal(request, 11)] if n <= 2 else [*late, reply(request)]

    async with over_tcp(respond) as served:
        driver = await modbus_rtu.connect(served.url, timeout_s=5.0)
        for _ in range(2):
            with pytest.raises(DeviceError) as caught:
                await driver.read(1, [Request("holding", 100, 2)])
            assert caught.value.code == "exception_11"
        [response] = await driver.read(1, [Request("holding", 50, 2)])
        await driver.close()

    assert struct.unpack(">2H", response.data) == (50, 51)
    assert [asked(request)[1:] for request in served.requests] == [
        (3, 100, 2), (3, 100, 1), (4, 50, 1), (3, 50, 2),
    ]  # fmt: skip


def test_an_answer_that_goes_on_within_the_silence_is_none() -> None:
    async def main() -> str:
        def heard(request: bytes) -> None:
            say(reply(request))
            silence_s = settings_of(f"modbus-rtu:///dev/pair{LOOK}").silence_s
            asyncio.get_running_loop().call_later(0.9 * silence_s, say, b"\0")

        async with wire(heard) as (say, driver):
            with pytest.raises(DeviceError, match="1 bytes too many") as caught:
                await driver.read(1, [TWO_WORDS])
        return caught.value.code

    assert virtual_time.run(main()) == "bad_reply"


def test_a_dead_unit_is_asked_again_when_what_it_owes_is_forgotten() -> None:
    async def main() -> list[str]:
        is_dead, codes = True, []
        async with wire(lambda q: None if is_dead else say(reply(q))) as (say, driver):
            for _ in range(8):
                with pytest.raises(DeviceError) as caught:
                    await driver.read(1, [TWO_WORDS])
                codes.append("owes" if "owes" in str(caught.value) else caught.value.code)
            is_dead = False
            await asyncio.sleep(modbus_line.PATIENCE_S)
            assert (await driver.read(1, [TWO_WORDS]))[0].data == RIGHT
        return codes

    assert virtual_time.run(main()) == ["timeout"] * 5 + ["owes"] * 3


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("number", [5, 6])
async def test_a_busy_device_is_asked_once_more(
    line: Any, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modbus_line, "BUSY_PAUSE_S", 0.001)
    busy = 1

    def respond(request: bytes) -> list[bytes]:
        return [refusal(request, number) if len(served.requests) <= busy else reply(request)]

    async with line(respond) as served:
        module_line = await modbus_rtu.connect(served.url, timeout_s=5.0)
        assert (await module_line.read(1, [TWO_WORDS]))[0].data == RIGHT
        assert len(served.requests) == 2
        busy = 9
        with pytest.raises(DeviceError) as caught:
            await module_line.read(1, [TWO_WORDS])
        await module_line.close()

    assert caught.value.code == f"exception_{number:02d}"
    assert len(served.requests) == 4


async def test_other_exceptions_are_not_asked_again() -> None:
    async with over_tcp(lambda q: [refusal(q, 2)]) as served:
        driver = await modbus_rtu.connect(served.url, timeout_s=5.0)
        with pytest.raises(DeviceError, match="exception 2"):
            await driver.read(1, [TWO_WORDS])
        assert driver.is_open
        await driver.close()

    assert len(served.requests) == 1


@pytest.mark.parametrize("line", LINES)
async def test_a_broadcast_is_never_sent(line: Any) -> None:
    async with line(truth) as served:
        driver = await modbus_rtu.connect(served.url, timeout_s=5.0)
        with pytest.raises(DeviceError, match="every device at once") as caught:
            await driver.read(0, [TWO_WORDS])
        await driver.close()

    assert caught.value.code == "no_unit"
    assert not served.requests


@pytest.mark.parametrize("line", LINES)
async def test_an_answer_in_segments_of_one_byte_is_the_same_answer(line: Any) -> None:
    def respond(request: bytes) -> list[bytes]:
        whole = reply(request)
        return [whole[i : i + 1] for i in range(len(whole))]

    async with line(respond) as served:
        driver = await modbus_rtu.connect(served.url, timeout_s=5.0)
        for _ in range(3):
            assert (await driver.read(1, [TWO_WORDS]))[0].data == RIGHT
        await driver.close()

    assert served.connections == 1


@pytest.mark.parametrize("line", LINES)
async def test_nothing_that_leaves_can_write(line: Any) -> None:
    async with line(truth) as served:
        driver = await modbus_rtu.connect(served.url, timeout_s=5.0)
        for table in TABLES:
            await driver.read(1, [Request(table, 0, 1), Request(table, 7, 125)])
        await driver.close()

    assert sorted({asked(request)[1] for request in served.requests}) == [1, 2, 3, 4]


@pytest.mark.parametrize(("table", "function"), [("coil", 1), ("discrete", 2)])
async def test_a_coil_is_a_word_of_0_or_1(table: Table, function: int) -> None:
    async with over_tcp(truth) as served:
        driver = await modbus_rtu.connect(served.url, timeout_s=5.0)
        [response] = await driver.read(1, [Request(table, 7, 10)])
        await driver.close()

    assert asked(served.requests[0])[1] == function
    assert struct.unpack(">10H", response.data) == (1, 0) * 5


def test_no_late_answer_becomes_a_value() -> None:
    """Virtual time; ten thousand of each are asked every night."""
    figures = late_answers.run(1, full=False)

    assert figures["over TCP: wrong values"] == figures["by wire: wrong values"] == "0 of 1000"


WANTED = (Frame(bytes((1, 3, 4)), 7), Frame(bytes((1, 0x83)), 3))
LATE = (Frame(bytes((1, 3, 8)), 11), Frame(bytes((2, 3, 4)), 7))


@given(st.data())
def test_only_a_whole_checked_frame_is_taken_and_only_beginnings_are_waited_for(
    data: st.DataObject,
) -> None:
    """Law over the check: late frames, then an answer, with bytes changed and cut anywhere."""
    values = data.draw(st.binary(min_size=4, max_size=4))
    lates = [rtu(1, 3, 8, values * 2), rtu(2, 3, 4, values)]
    answers = [rtu(1, 3, 4, values), rtu(1, 0x83, data.draw(st.integers(0, 255)))]
    before = b"".join(data.draw(st.lists(st.sampled_from(lates), max_size=2)))
    answer = data.draw(st.sampled_from(answers))
    whole = before + answer
    received = bytearray(whole)
    for _ in range(data.draw(st.integers(0, 2))):
        received[data.draw(st.integers(0, len(received) - 1))] ^= data.draw(st.integers(0, 255))
    cut = bytes(received[: data.draw(st.integers(0, len(received)))])

    if cut == whole:
        assert Rtu().take("peer", WANTED, LATE, cut) == answer[:-2]
    elif whole.startswith(cut):
        assert Rtu().take("peer", WANTED, LATE, cut) is None
    else:  # a changed head may be that of another frame that is not all there
        with suppress(DeviceError):
            assert Rtu().take("peer", WANTED, LATE, cut) is None


@given(st.binary(max_size=300))
def test_the_check_is_that_of_the_standard(data: bytes) -> None:
    assert modbus_rtu.crc(data) == crc(data)
    assert modbus_rtu.crc(data + crc(data)) == b"\0\0"


def test_the_check_of_the_standards_example() -> None:
    assert modbus_rtu.crc(bytes((2, 7))) == bytes((0x41, 0x12))
