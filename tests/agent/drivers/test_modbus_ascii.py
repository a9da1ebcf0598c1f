"""ASCII framing, by wire and over TCP: digits, an LRC, and nothing else between the answers."""

import struct
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent import modbus_line
from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.drivers import modbus_ascii
from joulemark_agent.drivers.base import Request
from joulemark_agent.drivers.modbus_ascii import Ascii
from joulemark_agent.modbus_line import Frame
from joulemark_agent.plan import TABLES
from support.bus import (
    LINES,
    RIGHT,
    TWO_WORDS,
    Peer,
    ascii_of,
    asked,
    check_foreign_server,
    check_wrong_then_right,
    foreign_server,
    over_wire,
    reply,
    rtu,
    rtu_of,
)
from support.hostile_modbus import ASCII as HOSTILE


@pytest.fixture(autouse=True)
def _nothing_owed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port of an earlier test may come again."""
    monkeypatch.setattr(modbus_line, "_owed", {})


def right(request: bytes) -> bytes:
    return ascii_of(reply(request))


@pytest.mark.parametrize("kind", ["ascii", "ascii-tcp"])
async def test_a_foreign_server_gives_the_values_it_holds(kind: str) -> None:
    async with foreign_server(kind) as url:
        await check_foreign_server(await modbus_ascii.connect(url, timeout_s=5.0))


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("name", HOSTILE)
async def test_a_wrong_answer_is_named_and_the_next_question_gets_its_value(
    name: str, line: Any
) -> None:
    await check_wrong_then_right(line, HOSTILE[name], lambda request: [right(request)], ascii_=True)


@pytest.mark.parametrize("line", LINES)
async def test_segments_of_one_byte_and_small_letters_are_the_same_answer(line: Any) -> None:
    def respond(request: bytes) -> list[bytes]:
        whole = right(request).lower()
        return [whole[i : i + 1] for i in range(len(whole))]

    async with line(respond, ascii_=True) as served:
        driver = await modbus_ascii.connect(served.url, timeout_s=5.0)
        for _ in range(3):
            assert (await driver.read(1, [TWO_WORDS]))[0].data == RIGHT
        await driver.close()


async def test_a_late_answer_is_skipped_and_its_question_asked_again() -> None:
    state: list[Peer] = []

    def respond(request: bytes) -> list[bytes]:
        n = len(state[0].requests)
        late = [right(state[0].requests[0])] if n == 2 else []
        return [] if n == 1 else [*late, right(request)]

    async with over_wire(respond, ascii_=True) as served:
        state.append(served)
        driver = await modbus_ascii.connect(served.url, timeout_s=5.0)
        with pytest.raises(DeviceError) as caught:
            await driver.read(1, [Request("holding", 100, 2)], timeout_s=0.02)
        [response] = await driver.read(1, [Request("holding", 50, 2)])
        await driver.close()

    assert caught.value.code == "timeout"
    assert struct.unpack(">2H", response.data) == (50, 51)


async def test_nothing_that_leaves_can_write() -> None:
    async with over_wire(lambda q: [right(q)], ascii_=True) as served:
        driver = await modbus_ascii.connect(served.url, timeout_s=5.0)
        for table in TABLES:
            await driver.read(1, [Request(table, 0, 1), Request(table, 7, 125)])
        await driver.close()

    assert sorted({asked(request)[1] for request in served.requests}) == [1, 2, 3, 4]


WANTED = (Frame(bytes((1, 3, 4)), 7), Frame(bytes((1, 0x83)), 3))
LATE = (Frame(bytes((2, 3, 4)), 7),)


@given(st.data())
def test_only_a_whole_checked_frame_is_taken_and_only_beginnings_are_waited_for(
    data: st.DataObject,
) -> None:
    values = data.draw(st.binary(min_size=4, max_size=4))
    late = ascii_of(rtu(2, 3, 4, values)) * data.draw(st.integers(0, 2))
    answer = data.draw(st.sampled_from([rtu(1, 3, 4, values), rtu(1, 0x83, 2)]))
    whole = late + ascii_of(answer)
    received = bytearray(whole)
    for _ in range(data.draw(st.integers(0, 2))):
        received[data.draw(st.integers(0, len(received) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(received[: data.draw(st.integers(0, len(received)))])

    if cut == whole:
        assert Ascii().take("peer", WANTED, LATE, cut) == answer[:-2]
    elif whole.startswith(cut):
        assert Ascii().take("peer", WANTED, LATE, cut) is None
    else:
        with suppress(DeviceError):  # two changes may keep the sum, or change a letter's case
            taken = Ascii().take("peer", WANTED, LATE, cut)
            assert taken is None or sum(taken) % 256 == sum(answer[:-2]) % 256


@given(st.binary(min_size=2, max_size=250))
def test_what_is_said_is_what_the_standard_says(body: bytes) -> None:
    assert rtu_of(Ascii().wrap(body))[:-2] == body
    assert len(Ascii().wrap(body)) == Ascii().characters(len(body))
