"""The lock-step clock: what it serves, what it refuses, and what a killed agent leaves behind."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.simulate.control import MAX_LINE_BYTES, ControlServer, LockStep

FIRST_US, PERIOD_US, SLOTS = 1_514_732_400_000_000, 900_000_000, 100


def us(slot: float) -> int:
    return int(FIRST_US + slot * PERIOD_US)


def clock() -> LockStep:
    return LockStep(first_us=FIRST_US, interval_us=PERIOD_US, slots=SLOTS)


def line(committed: float | None, go: float) -> bytes:
    committed_us = None if committed is None else us(committed)
    return json.dumps({"committed_us": committed_us, "go_us": us(go)}).encode()


def test_the_first_ten_slots_are_served_before_any_commit_and_the_eleventh_is_not() -> None:
    subject = clock()
    for slot in range(10):
        assert subject.answer(line(None, slot)) == {"now_us": us(slot)}
        assert subject.slot == slot

    assert subject.answer(line(None, 10))["error"].startswith("ahead: ")
    assert subject.slot == 9
    assert subject.answer(line(0, 10)) == {"now_us": us(10)}


def test_a_restarted_agent_goes_back_to_any_slot_after_its_own_last_commit() -> None:
    subject = clock()
    subject.answer(line(None, 9))
    subject.answer(line(9, 17))

    assert subject.answer(line(9, 10)) == {"now_us": us(10)}
    assert subject.slot == 10


def test_a_restarted_agent_may_have_committed_more_than_it_could_say() -> None:
    subject = clock()
    subject.answer(line(None, 9))

    assert subject.answer(line(9, 10)) == {"now_us": us(10)}


def test_after_the_last_slot_the_end_is_told_and_the_registers_stay() -> None:
    subject = clock()
    for group in range(-1, 90, 10):
        subject.answer(line(None if group < 0 else group, group + 10))

    assert subject.answer(line(99, 100)) == {"end": True, "last_us": us(99)}
    assert subject.answer(line(99, 105)) == {"end": True, "last_us": us(99)}
    assert subject.slot == 99


@pytest.mark.parametrize(
    ("committed", "go", "code"),
    [
        (4, 15, "ahead"),
        (4, 4, "committed_already"),
        (4, 3, "committed_already"),
        (3, 5, "committed_wrong"),
        (None, 5, "committed_wrong"),
        (100, 101, "committed_wrong"),
        (4, 5.5, "not_a_slot"),
        (4.5, 6, "not_a_slot"),
    ],
)
def test_a_wrong_request_is_refused_by_its_code_and_moves_nothing(
    committed: float | None, go: float, code: str
) -> None:
    subject = clock()
    subject.answer(line(None, 4))
    subject.answer(line(4, 7))

    reply = subject.answer(line(committed, go))

    assert list(reply) == ["error"]
    assert reply["error"].startswith(f"{code}: ")
    assert subject.slot == 7
    assert subject.answer(line(4, 5)) == {"now_us": us(5)}


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 4000,
        b'{"committed_us": null}',
        b'{"go_us": 1514732400000000}',
        b'{"committed_us": null, "go_us": 1514732400000000.0}',
        b'{"committed_us": null, "go_us": true}',
        b'{"committed_us": "0", "go_us": 1514732400000000}',
        b'{"committed_us": null, "go_us": ' + b"9" * 4200 + b"}",
    ],
)
def test_a_line_that_is_no_request_is_malformed_and_moves_nothing(text: bytes) -> None:
    subject = clock()
    subject.answer(line(None, 3))

    assert subject.answer(text)["error"].split(":")[0] in {"malformed", "not_a_slot"}
    assert subject.slot == 3


@given(
    st.lists(
        st.tuples(st.none() | st.integers(-3, SLOTS + 3), st.integers(-3, SLOTS + 13)), max_size=60
    )
)
def test_no_request_shows_a_slot_more_than_ten_after_a_commit_or_at_one(
    requests: list[tuple[int | None, int]],
) -> None:
    subject, highest = clock(), -1
    for committed, go in requests:
        before = subject.slot
        reply = subject.answer(line(committed, go))
        if "now_us" in reply:
            said = -1 if committed is None else committed
            assert said >= highest
            highest = said
            assert highest < go <= highest + 10
            assert subject.slot == go
        else:
            assert subject.slot == before
            if "end" in reply:
                assert go >= SLOTS
                highest = -1 if committed is None else committed


@pytest_asyncio.fixture
async def server() -> AsyncIterator[tuple[int, ControlServer]]:
    subject = ControlServer(clock())
    listener = await asyncio.get_running_loop().create_server(subject.connect, "127.0.0.1", 0)
    yield listener.sockets[0].getsockname()[1], subject
    listener.close()
    for transport in list(subject.connections):
        transport.abort()
    await asyncio.sleep(0)
    await listener.wait_closed()


class Agent:
    """One control connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, port: int) -> "Agent":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, request: bytes) -> dict[str, Any]:
        self.writer.write(request)
        return await self.reply()

    async def reply(self) -> dict[str, Any]:
        async with asyncio.timeout(5):
            found: dict[str, Any] = json.loads(await self.reader.readline())
        return found

    async def close(self) -> None:
        self.writer.transport.abort()
        await asyncio.sleep(0)


async def test_the_registers_stand_at_the_slot_when_its_answer_arrives(
    server: tuple[int, ControlServer],
) -> None:
    port, subject = server
    agent = await Agent.connect(port)
    for slot in range(5):
        assert await agent.ask(line(None, slot) + b"\n") == {"now_us": us(slot)}
        assert subject.clock.slot == slot
    await agent.close()


async def test_requests_may_come_in_parts_or_together(server: tuple[int, ControlServer]) -> None:
    agent = await Agent.connect(server[0])
    whole = line(None, 0) + b"\n" + line(None, 1) + b"\n" + line(None, 2)
    agent.writer.write(whole[:50])
    await agent.writer.drain()
    agent.writer.write(whole[50:])

    assert [await agent.reply(), await agent.reply()] == [{"now_us": us(0)}, {"now_us": us(1)}]
    assert await agent.ask(b"\n") == {"now_us": us(2)}
    await agent.close()


async def test_a_new_agent_takes_the_clock_and_what_the_dead_one_had_sent_cannot_move_it(
    server: tuple[int, ControlServer],
) -> None:
    port, subject = server
    dead = await Agent.connect(port)
    assert await dead.ask(line(None, 8) + b"\n") == {"now_us": us(8)}

    heir = await Agent.connect(port)
    assert await heir.ask(line(3, 4) + b"\n") == {"now_us": us(4)}
    dead.writer.write(line(8, 12) + b"\n")
    assert await dead.reader.read() == b""  # it was hung up on

    assert await heir.ask(line(3, 5) + b"\n") == {"now_us": us(5)}
    assert subject.clock.slot == 5
    await dead.close()
    await heir.close()


def test_without_the_newest_connection_rule_the_dead_agents_line_moves_the_clock() -> None:
    """The control: the same lines, all given to the clock."""
    subject = clock()
    for request in (line(None, 8), line(3, 4), line(8, 12)):
        subject.answer(request)

    assert subject.slot == 12
    assert subject.answer(line(3, 5))["error"].startswith("committed_wrong")


async def test_an_endless_line_is_answered_and_hung_up_on(
    server: tuple[int, ControlServer],
) -> None:
    agent = await Agent.connect(server[0])

    reply = await agent.ask(b"x" * (MAX_LINE_BYTES + 1))

    assert reply["error"].startswith("malformed: ")
    assert await agent.reader.read() == b""
    await agent.close()
