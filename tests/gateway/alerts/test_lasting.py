"""What would silence alerts for good: names that stand twice, clocks set back, years of notices."""

import pytest

from gateway.alerts.test_store import DAY_US, MANY, MINUTE_US, RULE, kinds, silent
from joulemark_gateway.alerts.settings import FloodSettings, RuleSettings
from joulemark_gateway.alerts.store import MOST_LINES, AlertStore

AHEAD_US = 400 * DAY_US  # by which the clock was wrong before it was set


@pytest.fixture
def store(tmp_path):
    with AlertStore(tmp_path / "alerts.sqlite") as opened:
        yield opened


def test_a_receiver_that_stands_twice_is_told_once(store):
    rule = RULE.model_copy(update={"tell": ("ops", "ops"), "escalate": ("chief", "chief")})
    store.apply(rule, [silent()], 0)
    store.apply(rule, [silent()], 31 * MINUTE_US)
    assert kinds(store, "ops", DAY_US) == ["raised"]
    assert kinds(store, "chief", DAY_US) == ["escalated"]


def test_a_notice_of_a_clock_that_was_ahead_is_delivered_after_it_is_set(store):
    store.apply(RULE, [silent()], AHEAD_US)
    assert not store.failed(store.due("ops", MANY, AHEAD_US), "it is down", AHEAD_US)
    notice = store.due("ops", MANY, 0)
    assert notice is not None
    assert not store.failed(notice, "it is down", 0)
    assert store.due("ops", MANY, 0) is None, "it waits as any other does"


def test_what_a_clock_that_was_ahead_sent_is_no_flood_of_now(store):
    few = FloodSettings(notices=1, minutes=10)
    store.apply(RULE, [silent()], AHEAD_US)
    store.done(store.due("ops", few, AHEAD_US).id, AHEAD_US)
    store.apply(RULE, [silent(), silent("edge-2")], 0)
    assert store.due("ops", few, 0).kind == "raised"


def test_a_clock_that_goes_back_neither_holds_up_raising_nor_escalating(store):
    lasting = RuleSettings(rule="backlog", name=RULE.id, tell=("ops",), minutes=5)
    store.apply(lasting, [silent()], AHEAD_US)
    store.apply(lasting, [silent()], 0)
    store.apply(lasting, [silent()], 5 * MINUTE_US)
    assert len(store.alerts(["raised"], 10)) == 1
    store.apply(RULE, [silent("edge-2")], AHEAD_US)
    store.apply(RULE, [silent("edge-2")], 0)
    store.apply(RULE, [silent("edge-2")], 30 * MINUTE_US)
    [alert] = store.alerts(["raised"], 10)
    assert (alert.subject, alert.escalated_us) == ("edge-2", 30 * MINUTE_US)


def test_a_file_that_is_never_reopened_does_not_grow_for_ever(store):
    rule = RULE.model_copy(update={"escalate": ()})
    for k in range(MOST_LINES + 50):
        store.apply(rule, [silent()] if k % 2 == 0 else [], k)
        notice = store.due("ops", MANY, k)
        store.done(notice.id, k)
    assert len(store.lines(1)) == MOST_LINES + 50
    store.tidy(["ops"], 60 * DAY_US)
    lines = store.lines(1)
    assert len(lines) == MOST_LINES
    assert lines[-1].t_us == MOST_LINES + 49, "the newest are kept"
    assert store.notices() == 0


def test_what_waits_for_a_receiver_that_was_removed_is_given_up(store):
    store.apply(RULE, [silent()], 0)
    store.tidy(["chief"], 1)
    assert store.waiting() == []
