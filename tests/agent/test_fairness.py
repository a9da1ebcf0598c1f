"""A device is waited for as long as it needs, and one that fails costs the others little."""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.fairness import (
    FIRST_S,
    LEAST_S,
    LONGEST_REST_S,
    PATIENT_SHARE,
    SHARE,
    Fairness,
    Standing,
)
from nightly import dead_unit

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


def test_a_dead_unit_and_dead_hosts_cost_the_others_next_to_nothing() -> None:
    """The whole agent in virtual time; more of it is run every night."""
    figures = dead_unit.run(1, full=False)

    assert figures["pymodbus: the longest it kept the line"].startswith("12.0")
