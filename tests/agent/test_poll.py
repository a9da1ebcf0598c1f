"""A slot gives a reading or a gap per device, and nothing else can come of it."""

import asyncio
import logging
import struct
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.contract.reading import Gap, Reading, TimeQuality
from joulemark_agent.drivers.base import Request
from joulemark_agent.lines import Lines
from joulemark_agent.plan import PlannedDevice
from joulemark_agent.poll import Poller
from support.modbus import Connection, peer, refusal, reply, truth

SLOT_US = 1_514_732_400_000_000
PERIOD_US = 900_000_000


class FixedClock:
    """Both times stand until a test moves them, but for a millisecond a question."""

    def __init__(self, sync: str = "simulated") -> None:
        self.sync = sync
        self.shows_us = SLOT_US + 41_250
        self.mono_us = 10**6

    def time_quality(self) -> TimeQuality:
        return TimeQuality(self.sync, 0)

    def now_us(self) -> int:
        return self.shows_us

    def mono_ns(self) -> int:
        self.mono_us += 1000
        return self.mono_us * 1000

    async def until(self, slot_us: int, committed_us: int | None) -> bool:
        raise AssertionError(f"a poller waits for no slot: {slot_us} after {committed_us}")

    async def close(self) -> None:
        raise AssertionError("a poller does not own its clock")


def device(name: str, url: str, unit: int = 1, timeout_s: float = 5.0) -> PlannedDevice:
    requests = (Request("holding", 10 * unit, 2), Request("input", 10 * unit, 1))
    return PlannedDevice(name, url, unit, PERIOD_US, requests, timeout_s)


def poller(*devices: PlannedDevice, clock: FixedClock | None = None) -> tuple[Poller, Lines]:
    lines = Lines(devices)
    return Poller(devices, lines, clock or FixedClock()), lines


async def test_a_reading_holds_the_words_of_all_requests_and_both_times() -> None:
    async with peer(truth) as served:
        subject, lines = poller(device("meter", served.url))
        [reading] = await subject.read_slot(SLOT_US, ["meter"])
        await lines.close()

    assert isinstance(reading, Reading)
    assert (reading.device, reading.slot_us) == ("meter", SLOT_US)
    assert reading.t_utc_us == SLOT_US + 41_250
    assert 10**9 < reading.t_mono_ns < 10**9 + 10**8
    assert reading.time_quality == TimeQuality("simulated", 0)
    assert [(r.table, r.address, r.data) for r in reading.responses] == [
        ("holding", 10, struct.pack(">2H", 10, 11)),
        ("input", 10, struct.pack(">H", 10)),
    ]


async def test_only_devices_that_are_due_are_read_and_in_the_order_of_the_site_file() -> None:
    async with peer(truth) as one, peer(truth) as other:
        devices = [
            device("a", one.url, 1),
            device("b", other.url, 2),
            device("c", one.url, 3),
            device("d", other.url, 4),
        ]
        subject, lines = poller(*devices)
        results = await subject.read_slot(SLOT_US, {"d", "c", "a"})
        nothing = await subject.read_slot(SLOT_US, [])
        await lines.close()

    assert [result.device for result in results] == ["a", "c", "d"]
    assert nothing == []
    assert {request[6] for request in one.requests + other.requests} == {1, 3, 4}


async def test_a_device_that_fails_gives_a_gap_with_its_cause_and_the_next_its_reading() -> None:
    async def answer(connection: Connection, request: bytes) -> None:
        match request[6]:
            case 1:
                await connection.say(refusal(request, 2))
            case 2:
                pass
            case 3:
                await connection.say(reply(request, unit=9))
            case 4:
                connection.close()
            case _:
                await connection.say(reply(request))

    async with peer(answer) as served:
        devices = [device(f"unit-{n}", served.url, n, timeout_s=0.05) for n in range(1, 6)]
        subject, lines = poller(*devices)
        *gaps, last = await subject.read_slot(SLOT_US, [d.id for d in devices])
        await lines.close()

    causes = ["exception_02", "timeout", "bad_reply", "closed"]
    assert gaps == [
        Gap(f"unit-{n}", SLOT_US, SLOT_US, 1, cause) for n, cause in enumerate(causes, 1)
    ]
    assert isinstance(last, Reading)


async def test_a_reading_whose_second_request_fails_is_a_gap_and_not_half_a_reading() -> None:
    async def answer(connection: Connection, request: bytes) -> None:
        await connection.say(reply(request) if request[7] == 3 else refusal(request, 2))

    async with peer(answer) as served:
        subject, lines = poller(device("meter", served.url))
        results = await subject.read_slot(SLOT_US, ["meter"])
        await lines.close()

    assert results == [Gap("meter", SLOT_US, SLOT_US, 1, "exception_02")]


@pytest.mark.parametrize(
    ("late_us", "took_us", "cause"),
    [
        (PERIOD_US, PERIOD_US, "overrun"),
        (3 * PERIOD_US, 3 * PERIOD_US, "overrun"),
        (PERIOD_US, 0, "clock_step"),
        (-PERIOD_US, 0, "clock_step"),
    ],
)
async def test_an_answer_that_comes_when_another_slot_is_due_is_no_reading_of_this_one(
    late_us: int, took_us: int, cause: str
) -> None:
    """The device took longer than its period, or the clock was set while it answered."""
    clock = FixedClock()

    async def answer(connection: Connection, request: bytes) -> None:
        clock.shows_us = SLOT_US + late_us
        clock.mono_us = 10**6 + took_us
        await connection.say(reply(request))

    async with peer(answer) as served:
        devices = device("slow", served.url), device("next", served.url, 2)
        subject, lines = poller(*devices, clock=clock)
        results = await subject.read_slot(SLOT_US, ["slow", "next"])
        await lines.close()

    causes = {"slow": cause, "next": "overrun"}  # which was not asked before
    assert results == [Gap(d.id, SLOT_US, SLOT_US, 1, causes[d.id]) for d in devices]
    assert {request[6] for request in served.requests} == {1}, "what is too late is not asked"


@pytest.mark.parametrize("step_us", [-1_000_000, 1_000_000, -PERIOD_US, 3600 * PERIOD_US])
async def test_the_first_reading_after_the_clock_was_set_says_so_and_by_how_much(
    step_us: int,
) -> None:
    clock, found = FixedClock("ntp"), []
    async with peer(truth) as served:
        subject, lines = poller(device("meter", served.url), clock=clock)
        for i in range(4):
            slot_us = SLOT_US + i * PERIOD_US + (step_us if i > 1 else 0)
            clock.shows_us, clock.mono_us = slot_us, clock.mono_us + PERIOD_US
            found += await subject.read_slot(slot_us, ["meter"])
        await lines.close()

    known = [r.time_quality for r in found if isinstance(r, Reading)]
    assert [one.sync for one in known] == ["ntp", "ntp", "unsynchronised", "ntp"]
    assert [one.error_us for one in known] == [0, 0, pytest.approx(abs(step_us), abs=10_000), 0]


async def test_an_answer_within_its_period_is_a_reading_with_its_own_time() -> None:
    clock = FixedClock()
    clock.shows_us = SLOT_US + PERIOD_US - 1
    async with peer(truth) as served:
        subject, lines = poller(device("meter", served.url), clock=clock)
        [reading] = await subject.read_slot(SLOT_US, ["meter"])
        await lines.close()

    assert isinstance(reading, Reading)
    assert (reading.slot_us, reading.t_utc_us) == (SLOT_US, SLOT_US + PERIOD_US - 1)


async def test_a_silent_line_does_not_hold_up_another() -> None:
    """The one line answers only after the other was read."""
    other_was_read = asyncio.Event()

    async def waits(connection: Connection, request: bytes) -> None:
        await other_was_read.wait()
        await connection.say(reply(request))

    async def tells(connection: Connection, request: bytes) -> None:
        await connection.say(reply(request))
        other_was_read.set()

    async with peer(waits) as first, peer(tells) as second:
        a, b = device("a", first.url, timeout_s=0.1), device("b", second.url)
        subject, lines = poller(a, b)
        with pytest.raises(DeviceError):  # the control: in turn, the first never gets its answer
            await lines.of(a).read(a)
        results = await subject.read_slot(SLOT_US, ["a", "b"])
        await lines.close()

    assert all(isinstance(result, Reading) for result in results)


async def test_one_line_needs_no_task_and_two_need_one_each() -> None:
    made: list[str] = []
    loop = asyncio.get_running_loop()

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> "asyncio.Task[Any]":
        made.append(getattr(coro, "__qualname__", ""))
        return asyncio.Task(coro, loop=loop, **options)

    async with peer(truth) as one, peer(truth) as other:
        single, its_lines = poller(device("a", one.url), device("b", one.url, 2))
        double, their_lines = poller(device("a", one.url), device("b", other.url, 2))
        loop.set_task_factory(factory)
        await single.read_slot(SLOT_US, ["a", "b"])
        of_one = made.count("Poller._read_line")
        await double.read_slot(SLOT_US, ["a"])
        await double.read_slot(SLOT_US, ["a", "b"])
        loop.set_task_factory(None)
        await its_lines.close()
        await their_lines.close()

    assert of_one == 0
    assert made.count("Poller._read_line") == 2


async def test_a_device_is_said_to_be_down_once_and_back_once_with_how_long(
    caplog: pytest.LogCaptureFixture,
) -> None:
    is_down = True

    async def answer(connection: Connection, request: bytes) -> None:
        await connection.say(refusal(request, 4) if is_down else reply(request))

    caplog.set_level(logging.INFO, "joulemark_agent.poll")
    async with peer(answer) as served:
        subject, lines = poller(device("meter", served.url))
        for _ in range(3):
            await subject.read_slot(SLOT_US, ["meter"])
        is_down = False
        for _ in range(3):
            await subject.read_slot(SLOT_US, ["meter"])
        await lines.close()

    down, back = caplog.records
    assert (down.getMessage(), back.getMessage()) == ("device_down", "device_back")
    assert vars(down)["cause"] == "exception_04"
    assert vars(back)["slots"] == 3
    assert vars(back)["down_s"] > 0


async def test_a_long_period_keeps_no_device_from_its_turn_on_a_line_that_is_too_busy() -> None:
    """Both slots may be read for 10 s: always the shorter period first, and the other starves."""
    async with peer(truth) as served:
        often, seldom = (
            replace(device(name, served.url, unit), period_us=period_s * 10**6)
            for unit, (name, period_s) in enumerate([("often", 12), ("seldom", 60)], 1)
        )
        lines = Lines([often, seldom], is_shared=True)
        subject = Poller([often, seldom], lines, FixedClock())
        await lines.of(often).read(often)
        assert subject.most_urgent({"often": 0, "seldom": 0}) == "seldom"
        await lines.of(seldom).read(seldom)
        assert subject.most_urgent({"often": 0, "seldom": 0}) == "often"
        await lines.close()


async def test_the_turn_is_whose_slot_ends_first_then_who_answers_then_who_waited_longest() -> None:
    now_dead: set[int] = set()

    async def answer(connection: Connection, request: bytes) -> None:
        if request[6] not in now_dead:
            await connection.say(reply(request))

    async with peer(answer) as served:
        quick, slow, other, dead = (
            replace(device(name, served.url, unit, timeout_s=0.05), period_us=period_us)
            for unit, (name, period_us) in enumerate(
                [("quick", 10**6), ("slow", 60 * 10**6), ("other", 10**6), ("dead", 10**6)], 1
            )
        )
        lines = Lines([slow, dead, quick, other], is_shared=True)
        subject = Poller([slow, dead, quick, other], lines, FixedClock())
        now_dead.add(4)
        for planned in (dead, quick, other):
            with suppress(DeviceError):
                await lines.of(planned).read(planned)
        ready_us = dict.fromkeys(("slow", "dead", "quick", "other"), 0)
        order = []
        while ready_us:
            order.append(subject.most_urgent(ready_us))
            del ready_us[order[-1]]
        assert order == ["quick", "other", "dead", "slow"]
        assert subject.most_urgent({"dead": 0, "quick": 10**6}) == "dead", "it does not starve"
        await lines.close()
