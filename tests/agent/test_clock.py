"""Slots, the kernel's word about its clock, and the lock step with a simulator."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent import clock
from joulemark_agent.clock import (
    UNKNOWN_ERROR_US,
    ReplayClock,
    SystemClock,
    kernel_time_quality,
    next_slot_us,
)
from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.contract.reading import TimeQuality
from joulemark_agent.simulate.control import ControlServer, LockStep
from joulemark_agent.simulate.slots import Slots
from support.tcp import serving, turns

FIRST_US = 1_514_732_400_000_000
PERIOD_US = 900_000_000


@given(st.integers(-(2**60), 2**60), st.integers(1, 86_400_000_000))
def test_the_next_slot_is_the_first_multiple_of_the_period_that_is_later(
    after_us: int, period_us: int
) -> None:
    slot_us = next_slot_us(after_us, period_us)

    assert slot_us % period_us == 0
    assert 0 < slot_us - after_us <= period_us


def test_the_slot_after_a_slot_is_one_period_later() -> None:
    assert next_slot_us(FIRST_US, PERIOD_US) == FIRST_US + PERIOD_US
    assert next_slot_us(FIRST_US - 1, PERIOD_US) == FIRST_US


async def test_the_system_clock_never_returns_before_the_slot() -> None:
    subject = SystemClock()
    for ahead_us in (-10_000_000, 0, 1, 5_000, 20_000):
        slot_us = subject.now_us() + ahead_us
        assert await subject.until(slot_us, None)
        assert subject.now_us() >= slot_us


async def test_the_system_clock_follows_a_clock_that_is_set_while_it_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An hour early until it is put right: the slot is there without an hour's sleep."""
    monkeypatch.setattr(clock, "_LONGEST_SLEEP_S", 0.01)
    subject = SystemClock()
    slot_us = subject.now_us()
    times_us = [slot_us - 3_600_000_000] * 3 + [slot_us + 1]
    monkeypatch.setattr(SystemClock, "now_us", lambda _: times_us.pop(0))

    async with asyncio.timeout(5.0):
        assert await subject.until(slot_us, None)
    assert not times_us


def test_the_system_clock_is_utc_and_its_monotonic_clock_is_the_boots() -> None:
    subject = SystemClock()

    before_us, before_ns = time.time_ns() // 1000, time.monotonic_ns()
    now_us, mono_ns = subject.now_us(), subject.mono_ns()
    assert before_us <= now_us <= time.time_ns() // 1000
    assert before_ns <= mono_ns <= time.monotonic_ns()


def test_the_kernel_is_asked_without_harm() -> None:
    quality = SystemClock().time_quality()

    assert quality.sync in {"ntp", "unsynchronised"}
    assert 0 <= quality.error_us <= 2**40


@pytest.mark.parametrize(
    ("state", "status", "errors_us", "quality"),
    [
        (0, 0x2001, (300, 1500), TimeQuality("ntp", 1500)),
        (0, 0x2001, (300, 0), TimeQuality("ntp", 300)),
        (5, 0x0040, (16_000_000, 16_000_000), TimeQuality("unsynchronised", 16_000_000)),
        (0, 0x0040, (300, 1500), TimeQuality("unsynchronised", 1500)),
        (5, 0x0000, (300, 1500), TimeQuality("unsynchronised", 1500)),
        (-1, 0, (0, 0), TimeQuality("unsynchronised", UNKNOWN_ERROR_US)),
    ],
)
def test_only_a_kernel_that_says_so_is_synchronised(
    monkeypatch: pytest.MonkeyPatch,
    state: int,
    status: int,
    errors_us: tuple[int, int],
    quality: TimeQuality,
) -> None:
    """The kernel's answers are given by hand: no test may set this machine's clock."""

    def answer(reference: Any) -> int:
        found = reference._obj
        assert found.modes == 0, "asking must not change the clock"
        found.status = status
        found.esterror, found.maxerror = errors_us
        return state

    monkeypatch.setattr(clock, "_ntp_adjtime", answer)

    assert kernel_time_quality() == quality


def test_a_system_that_cannot_say_is_unsynchronised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_ntp_adjtime", None)

    assert kernel_time_quality() == TimeQuality("unsynchronised", UNKNOWN_ERROR_US)


@asynccontextmanager
async def control(answer: Callable[[Any], bytes]) -> AsyncIterator[tuple[str, list[Any]]]:
    """A control server that says what `answer` gives for each line; and the lines it got."""
    asked: list[Any] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            asked.append(json.loads(line))
            writer.write(answer(asked[-1]))

    async with serving(serve) as port:
        yield f"tcp://127.0.0.1:{port}", asked


async def test_the_replay_clock_shows_the_slot_it_asked_for() -> None:
    async with control(lambda q: b'{"now_us": %d}\n' % q["go_us"]) as (url, asked):
        subject = ReplayClock(url)
        assert await subject.until(FIRST_US, None)
        assert subject.now_us() == FIRST_US
        assert await subject.until(FIRST_US + PERIOD_US, FIRST_US)
        assert subject.now_us() == FIRST_US + PERIOD_US
        await subject.close()

    assert asked == [
        {"committed_us": None, "go_us": FIRST_US},
        {"committed_us": FIRST_US, "go_us": FIRST_US + PERIOD_US},
    ]
    assert subject.time_quality() == TimeQuality("simulated", 0)


async def test_the_replay_ends_when_the_simulator_says_so() -> None:
    async with control(lambda _: b'{"end": true, "last_us": 1}\n') as (url, _):
        subject = ReplayClock(url)
        assert await subject.until(FIRST_US, None) is False
        await subject.close()


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b'{"error": "ahead: 10 are the most"}\n', "replay_refused"),
        (b'{"now_us": 1}\n', "replay_refused"),
        (b'{"now_us": 1514732400000000, "error": "both"}\n', "replay_refused"),
        (b'{"end": "true"}\n', "replay_refused"),
        (b"[]\n", "replay_refused"),
        (b"null\n", "replay_refused"),
        (b"no JSON\n", "replay_refused"),
        (b"\n", "replay_refused"),
        (b'{"now_us": 1514732400000000}\n{"now_us": 1514732400000000}\n', "bad_reply"),
        (b"\xff" * 5000, "bad_reply"),
    ],
)
async def test_any_other_answer_stops_the_replay_in_words(answer: bytes, code: str) -> None:
    async with control(lambda _: answer) as (url, _):
        subject = ReplayClock(url)
        with pytest.raises(DeviceError, match="simulator") as caught:
            await subject.until(FIRST_US, None)
        await subject.close()

    assert caught.value.code == code
    assert subject.now_us() != FIRST_US


async def test_an_answer_in_two_segments_is_one_answer() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b'{"now_us": 15147')
        await turns()
        writer.write(b"32400000000}\n")
        await reader.read()

    async with serving(serve) as port:
        subject = ReplayClock(f"tcp://127.0.0.1:{port}")
        assert await subject.until(FIRST_US, None)
        await subject.close()


async def test_without_a_simulator_the_message_says_how_to_start_one() -> None:
    async with control(lambda _: b"") as (url, _):
        pass
    with pytest.raises(DeviceError, match="joulemark agent simulate") as caught:
        await ReplayClock(url).until(FIRST_US, None)

    assert caught.value.code == "refused"


async def test_a_clock_whose_simulator_went_away_connects_again_when_asked_again() -> None:
    lives = 2

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal lives
        lives -= 1
        question = json.loads(await reader.readline())
        if not lives:
            writer.write(b'{"now_us": %d}\n' % question["go_us"])
            await reader.read()

    async with serving(serve) as port:
        subject = ReplayClock(f"tcp://127.0.0.1:{port}")
        with pytest.raises(DeviceError) as caught:
            await subject.until(FIRST_US, None)
        assert await subject.until(FIRST_US, None)
        await subject.close()

    assert caught.value.code == "closed"


async def test_a_simulator_that_was_lost_between_two_slots_is_said_before_it_is_asked_again() -> (
    None
):
    """What a restarted simulator showed in between is not known, so the slot is read again."""
    writers = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        while line := await reader.readline():
            writer.write(b'{"now_us": %d}\n' % json.loads(line)["go_us"])

    async with serving(serve) as port:
        subject = ReplayClock(f"tcp://127.0.0.1:{port}")
        assert await subject.until(FIRST_US, None)
        writers[0].close()
        await writers[0].wait_closed()
        with pytest.raises(DeviceError) as caught:
            await subject.until(FIRST_US, None)
        assert await subject.until(FIRST_US, None)
        await subject.close()

    assert caught.value.code == "closed"
    assert len(writers) == 2


async def test_the_clock_and_the_shipped_simulator_agree_on_a_whole_recording() -> None:
    steps = LockStep([Slots(FIRST_US, PERIOD_US, 50)])
    server = await asyncio.get_running_loop().create_server(
        ControlServer(steps).connect, "127.0.0.1", 0
    )
    subject = ReplayClock(f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    slot_us, committed_us, served = FIRST_US, None, []
    while await subject.until(slot_us, committed_us):
        served.append(subject.now_us())
        assert steps.slot == len(served) - 1
        if len(served) % 10 == 0:
            committed_us = slot_us
        slot_us += PERIOD_US
    with pytest.raises(DeviceError, match="committed_already"):
        await subject.until(FIRST_US, committed_us)
    await subject.close()
    server.close()
    await turns()

    assert served == [FIRST_US + n * PERIOD_US for n in range(50)]
