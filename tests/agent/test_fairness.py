"""A device is waited for as long as it needs, and one that fails costs the others little."""

import asyncio
import random
import traceback
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.fairness import (
    FIRST_S,
    LEAST_S,
    LONGEST_REST_S,
    MANY,
    PATIENT_SHARE,
    SHARE,
    Fairness,
    Standing,
)
from nightly import dead_unit
from support import fleet, virtual_time

SILENT = DeviceError("It said nothing.", "Look.", code="timeout")


def answered(
    line: Fairness, name: str = "other", *, took_s: float = 0.01, times: int = 1
) -> Standing:
    standing = line.of(name, 3.0)
    for _ in range(times):
        standing.note_answer(took_s)
        standing.note_success()
    return standing


def silent(standing: Standing, now_s: float) -> float:
    """A turn in which it says nothing; when that was over."""
    standing.check(now_s)
    waited_s = standing.timeout_s(now_s)
    standing.note_failure(SILENT, now_s + waited_s, waited_s, waited_s)
    return now_s + waited_s


@pytest.mark.parametrize(
    ("took_s", "learned_s"), [(0.01, LEAST_S), (0.2, 0.8), (0.5, 2.0), (1.0, 3.0)]
)
def test_four_times_what_it_needs_is_waited_between_a_least_time_and_what_the_site_says(
    took_s: float, learned_s: float
) -> None:
    line = Fairness(is_shared=True)
    standing = answered(line, took_s=took_s, times=9)
    assert standing.timeout_s(0.0) >= FIRST_S, "nine answers tell little"
    answered(line, took_s=took_s)

    assert standing.timeout_s(0.0) == pytest.approx(learned_s)


def test_one_slow_answer_of_a_hundred_changes_nothing_and_two_do() -> None:
    line = Fairness(is_shared=True)
    standing = answered(line, times=99)
    for slow_s in (0.2, 0.2):
        assert standing.timeout_s(0.0) == LEAST_S
        standing.note_answer(slow_s)
    answered(line, times=9)  # it is learned every ten answers

    assert standing.timeout_s(0.0) == pytest.approx(0.8)


def test_a_line_of_one_and_a_replay_wait_as_long_as_the_site_says() -> None:
    line = Fairness(is_shared=False)
    standing = answered(line, times=50)

    assert standing.timeout_s(0.0) == 3.0
    assert line.of("new", 3.0).timeout_s(0.0) == 3.0


def test_a_device_that_has_never_answered_is_waited_for_a_second_and_then_suspect() -> None:
    line = Fairness(is_shared=True)
    answered(line, times=10)
    standing = line.of("new", 3.0)
    assert standing.timeout_s(0.0) == FIRST_S
    silent(standing, 0.0)

    assert standing.is_suspect


def test_where_nobody_answers_everybody_is_waited_for_and_asked_again_soon() -> None:
    line = Fairness(is_shared=True)
    one, other = line.of("one", 3.0), line.of("other", 3.0)
    silent(one, 0.0)
    silent(other, 1.0)
    assert one.timeout_s(10.0) == other.timeout_s(10.0) == 3.0
    silent(one, 10.0)
    one.check(10.0 + LONGEST_REST_S)
    with pytest.raises(DeviceError, match="nothing"):
        other.check(2.0)
    answered(line, "one")
    other.check(2.0)  # it was the line that was away


def test_one_good_answer_ends_the_suspicion() -> None:
    line = Fairness(is_shared=True)
    answered(line)
    standing = answered(line, "dead", times=20)
    silent(standing, 1.0)
    assert not standing.is_suspect, "one lost answer is not yet a dead device"
    silent(standing, 2.0)
    assert standing.is_suspect
    answered_at_s = 20.0
    standing.check(answered_at_s)
    standing.note_answer(0.01)
    standing.note_success()

    assert not standing.is_suspect
    standing.check(answered_at_s)


@pytest.mark.parametrize("answers", range(10, 125))
def test_a_device_that_dies_is_asked_again_soon_however_often_it_had_answered(answers: int) -> None:
    """Its own silence has taught the line no longer time-out."""
    line = Fairness(is_shared=True)
    answered(line, times=20)
    standing = answered(line, "dead", times=answers)
    now_s = silent(standing, silent(standing, 1.0))

    standing.check(now_s + LEAST_S / SHARE)


def test_an_answer_that_was_late_once_is_waited_for_longer() -> None:
    """One in twenty is slow: without that each of them would be lost for ever."""
    line = Fairness(is_shared=True)
    standing = answered(line, times=100)
    for now_s in (20.0, 40.0):
        silent(standing, now_s)
        answered(line, times=19)

    assert standing.timeout_s(50.0) == pytest.approx(4 * LEAST_S)


def test_a_device_that_loses_every_second_answer_is_waited_for_no_longer() -> None:
    """It is never suspect, so waiting for it would take half of the line's time."""
    line = Fairness(is_shared=True)
    standing = answered(line, times=100)
    for slot in range(0, 400, 2):
        silent(standing, float(slot))
        answered(line)
        assert standing.timeout_s(slot + 1.0) == LEAST_S


def test_many_dead_devices_together_leave_the_line_to_those_that_answer() -> None:
    """Thirty inverters at night beside a meter."""
    line = Fairness(is_shared=True)
    answered(line, times=20)
    dead = [line.of(f"inverter-{n}", 3.0) for n in range(30)]
    held_s = longest_s = 0.0
    now_s = 0.0
    while now_s < 7200:
        begun_s = now_s
        for standing in dead:
            try:
                ended_s = silent(standing, now_s)
            except DeviceError:
                continue
            held_s += (ended_s - now_s) if begun_s > 60 else 0.0
            longest_s += (ended_s - now_s) if begun_s > 60 and ended_s - now_s > 1 else 0.0
            now_s = ended_s
        now_s = max(now_s, begun_s + 1.0)

    assert longest_s <= (PATIENT_SHARE + 0.005) * now_s, "what costs others a slot"
    assert held_s <= (MANY * SHARE + PATIENT_SHARE + 0.005) * now_s


def test_a_cause_that_is_told_again_and_again_does_not_grow() -> None:
    line = Fairness(is_shared=True)
    answered(line)
    standing = line.of("dead", 3.0)
    now_s = silent(standing, 0.0)
    lengths: set[int] = set()
    for _ in range(5):
        with pytest.raises(DeviceError) as caught:
            standing.check(now_s)
        lengths.add(len(traceback.extract_tb(caught.value.__traceback__)))

    assert len(lengths) == 1


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.sampled_from([0.02, 0.5, 1.0, 3.0]))
def test_silence_never_takes_more_than_its_share_of_the_line(seed: int, timeout_s: float) -> None:
    """A dead device that is due again and again, at any instants, for ten minutes."""
    rng = random.Random(seed)
    line = Fairness(is_shared=True)
    answered(line, times=20)
    standing = line.of("dead", timeout_s)
    for _ in range(20):
        standing.note_answer(0.01)
        standing.note_success()
    now_s = held_s = 0.0
    asked_s: list[float] = []
    while now_s < 600:
        now_s += rng.uniform(0.1, 1.5)
        try:
            ended_s = silent(standing, now_s)
        except DeviceError:
            continue
        asked_s.append(now_s)
        held_s += ended_s - now_s
        now_s = ended_s

    whole_s = min(timeout_s, LEAST_S) + timeout_s  # of the first failure, and one begun at the end
    assert held_s <= (SHARE + PATIENT_SHARE) * now_s + whole_s
    rests = [later - sooner for sooner, later in pairwise(asked_s[1:])]
    assert max(rests) <= max(LEAST_S / SHARE + 1.5, 3.0 + 1.5), "it is found soon when it is back"


def test_a_busy_line_loses_no_slot_and_what_it_reads_is_kept_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Thirty units that take 0.84 s of each second."""
    monkeypatch.setattr(fleet, "ANSWER_S", 0.014)

    async def read() -> fleet.Readings:
        async with fleet.bus_of("modbus-tcp") as served:
            units = {f"unit-{n}": (served.url, n) for n in range(1, 31)}
            return await fleet.watched(units, asyncio.sleep(6), timeout_s=3.0)

    readings = virtual_time.run(read())

    assert [len(readings.of(f"unit-{n}")) >= 5 for n in range(1, 31)] == [True] * 30


@pytest.mark.endurance
def test_a_dead_unit_and_dead_hosts_cost_the_others_next_to_nothing() -> None:
    """The whole agent in virtual time; more of it is run every night."""
    figures = dead_unit.run(1, full=False)

    assert figures["pymodbus: the longest it kept the line"].startswith("12.0")
