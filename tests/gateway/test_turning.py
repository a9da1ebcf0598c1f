"""A thread that turns goes on whatever happens in a turn, says it once, and is watched."""

import threading

import pytest

from joulemark_agent.contract.errors import StoreError
from joulemark_gateway.alive import Beat
from joulemark_gateway.turning import TurningThread


class Turns:
    """What happens in each turn, and then nothing more."""

    def __init__(self, *happenings):
        self.left, self.done = list(happenings), threading.Event()

    def turn(self, _stop):
        if not self.left:
            self.done.set()
        elif (found := self.left.pop(0)) is not None:
            raise found


def away(code="store_away"):
    return StoreError("The store is away.", "Wait.", code=code)


@pytest.fixture
def turned(caplog):
    """The events in the log after these happenings."""

    def turn(*happenings, **options):
        turns = Turns(*happenings)
        caplog.set_level("INFO")
        thread = TurningThread("daily", turns.turn, every_s=0.001, **options)
        thread.start()
        try:
            assert turns.done.wait(20), "it goes on"
        finally:
            thread.stop()
        return [row.getMessage() for row in caplog.records]

    return turn


def test_what_is_wrong_is_said_once_and_the_way_back_too(turned):
    assert turned(away(), away(), None, away()) == [
        "daily_down", "daily_back", "daily_down", "daily_back",
    ]  # fmt: skip


def test_a_mistake_of_ours_is_said_with_its_trace_and_the_thread_goes_on(turned, caplog):
    assert turned(ValueError("ours"), ValueError("ours"), None) == ["daily_failed", "daily_back"]
    assert "ValueError: ours" in caplog.text


def test_what_passes_by_itself_is_not_said(turned):
    assert turned(away("series_closed"), untold=frozenset({"series_closed"})) == []


def test_every_turn_is_a_promise_that_is_taken_back_at_its_end(turned):
    told = []
    beat = Beat(lambda: told.append("on"), lambda: told.append("off"))
    turned(away(), ValueError("ours"), None, beat=beat)
    assert told[:8] == ["on", "off"] * 4


def test_a_turn_that_hangs_is_missed(caplog):
    """The beat stays on for as long as the turn takes: nobody takes the promise back."""
    told, goes_on, has_begun = [], threading.Event(), threading.Event()

    def hang(_stop):
        has_begun.set()
        goes_on.wait(20)

    beat = Beat(lambda: told.append("on"), lambda: told.append("off"))
    thread = TurningThread("daily", hang, every_s=60, beat=beat)
    thread.start()
    try:
        assert has_begun.wait(20)
        assert told == ["on"]
    finally:
        goes_on.set()
        thread.stop()
    assert told == ["on", "off"]
    assert caplog.records == []


def test_one_that_rests_first_ends_at_once_when_it_is_told_to():
    turns = Turns()
    thread = TurningThread("compaction", turns.turn, every_s=3600, rests_first=True)
    thread.start()
    thread.stop()
    assert not turns.done.is_set()
