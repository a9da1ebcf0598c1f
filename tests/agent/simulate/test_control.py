"""The lock-step clock: what it serves, what it refuses, and what a killed agent leaves behind."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.simulate.control import MAX_AHEAD, MAX_LINE_BYTES, ControlServer, LockStep
from joulemark_agent.simulate.slots import Slots

FIRST_US, PERIOD_US, SLOTS = 1_514_732_400_000_000, 900_000_000, 100


def us(slot: float) -> int:
    return int(FIRST_US + slot * PERIOD_US)


def clock() -> LockStep:
    return LockStep([Slots(FIRST_US, PERIOD_US, SLOTS)])


def line(committed: float | None, go: float) -> bytes:
    committed_us = None if committed is None else us(committed)
    return json.dumps({"committed_us": committed_us, "go_us": us(go)}).encode()


def test_the_first_ten_slots_are_served_before_any_commit_and_the_eleventh_is_not() -> None:
    subject = clock()
    for slot in range(10):
        assert subject.answer(line(None, slot)) == {"now_us": us(slot)}
        assert subject.slot == slot

    refused = subject.answer(line(None, 10))["error"]
    assert refused.startswith("ahead: ")
    assert "every device of the scenario" in refused
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
            said = -1 if committed is None else max(committed, -1)  # before the first: none
            assert said >= highest
            highest = said
            assert highest < go <= highest + 10
            assert subject.slot == go
        else:
            assert subject.slot == before
            if "end" in reply:
                assert go >= SLOTS
                highest = -1 if committed is None else max(committed, -1)


# Windows of several devices as a hall has them: apart, overlapping, one inside another.
US = 1_000_000
windows = st.lists(
    st.builds(
        Slots,
        first_us=st.integers(0, 40).map(lambda n: n * US),
        period_us=st.sampled_from([2 * US, 3 * US, 7 * US]),
        count=st.integers(1, 12),
    ),
    min_size=1,
    max_size=4,
)


class BruteForce:
    """The rule of decision 0002 over several devices, in the plainest form: lists and counting."""

    def __init__(self, devices: list[Slots]) -> None:
        self.slots: list[int] = []
        for device in devices:
            for n in range(device.count):
                at_us = device.first_us + n * device.period_us
                if at_us not in self.slots:
                    self.slots.append(at_us)
        self.slots.sort()
        self.devices = devices
        self.committed: int | None = None
        self.shown = self.slots[0]

    def is_slot(self, at_us: int) -> bool:
        if self.slots[0] <= at_us <= self.slots[-1]:
            return at_us in self.slots
        return any((at_us - d.first_us) % d.period_us == 0 for d in self.devices)

    def answer(self, committed_us: int | None, go_us: int) -> str:
        if not self.is_slot(go_us) or (committed_us is not None and not self.is_slot(committed_us)):
            return "not_a_slot"
        if committed_us is not None and committed_us < self.slots[0]:
            committed_us = None
        before = [s for s in self.slots if self.committed is not None and s <= self.committed]
        said = [s for s in self.slots if committed_us is not None and s <= committed_us]
        if len(said) < len(before) or (committed_us or 0) > self.slots[-1]:
            return "committed_wrong"
        if go_us < self.slots[0] or (committed_us is not None and go_us <= committed_us):
            return "committed_already"
        between = [s for s in self.slots if s not in said and s <= go_us]
        if len(between) + (go_us > self.slots[-1]) > MAX_AHEAD:
            return "ahead"
        self.committed = committed_us
        if go_us > self.slots[-1]:
            return "end"
        self.shown = go_us
        return "now"


@given(devices=windows, data=st.data())
def test_over_several_devices_every_answer_is_that_of_the_brute_force_model(
    devices: list[Slots], data: st.DataObject
) -> None:
    subject, model = LockStep(devices), BruteForce(devices)
    instants = st.sampled_from(model.slots) | st.integers(-5, 130).map(lambda n: n * US)
    for _ in range(data.draw(st.integers(1, 25))):
        committed_us, go_us = data.draw(st.none() | instants), data.draw(instants)
        request = json.dumps({"committed_us": committed_us, "go_us": go_us}).encode()

        reply = subject.answer(request)

        expected = model.answer(committed_us, go_us)
        if expected == "now":
            assert reply == {"now_us": go_us}
        elif expected == "end":
            assert reply == {"end": True, "last_us": model.slots[-1]}
        else:
            assert reply["error"].startswith(f"{expected}: ")
        assert subject.now_us == model.shown


@given(devices=windows, kills=st.lists(st.integers(0, 60), max_size=4), group=st.integers(1, 10))
def test_a_run_through_all_windows_shows_every_slot_of_every_device_whatever_kills_it(
    devices: list[Slots], kills: list[int], group: int
) -> None:
    subject = LockStep(devices)
    every = sorted({at_us for device in devices for at_us in device.all_us()})
    committed, shown, at = -1, set(), 0
    for step in range(10_000):
        if step in kills:
            at = committed + 1  # a killed agent begins again after its last commit
        if at == len(every):
            break
        committed_us = None if committed < 0 else every[committed]
        request = json.dumps({"committed_us": committed_us, "go_us": every[at]}).encode()
        assert subject.answer(request) == {"now_us": every[at]}
        shown.add(subject.now_us)
        if at - committed >= group or at == len(every) - 1:
            committed = at
        at += 1

    assert sorted(shown) == every


def test_a_slot_of_one_device_while_only_another_has_a_window_is_no_slot() -> None:
    """Between two recordings nothing can be read: a device that goes on there reads a dead one."""
    subject = LockStep([Slots(0, 59 * US, 3), Slots(1000 * US, 9 * US, 3)])

    reply = subject.answer(json.dumps({"committed_us": None, "go_us": 3 * 59 * US}).encode())

    assert reply["error"].startswith("not_a_slot: ")


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
