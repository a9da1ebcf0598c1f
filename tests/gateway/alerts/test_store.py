"""An alert goes its way once: raised, acknowledged, escalated, over, again; nothing is lost."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulemark_gateway.alerts.rules import Condition
from joulemark_gateway.alerts.settings import FloodSettings, RuleSettings
from joulemark_gateway.alerts.store import AlertStore

MINUTE_US = 60_000_000
DAY_US = 86_400_000_000
RULE = RuleSettings(rule="agent_silent", tell=("ops",), escalate=("chief",), escalate_minutes=30)
MANY = FloodSettings(notices=1000)


def silent(subject="edge-1"):
    values = {"minutes": "10"}
    return Condition(f"agent-silent/a/{subject}", RULE.id, "a", subject, "agent_silent", values)


@pytest.fixture
def store(tmp_path):
    with AlertStore(tmp_path / "alerts.sqlite") as opened:
        yield opened


def kinds(store, receiver, now_us):
    """Take all that is due."""
    found = []
    while (notice := store.due(receiver, MANY, now_us)) is not None:
        found.append(notice.kind)
        store.done(notice.id, now_us)
    return found


def test_one_that_lasts_is_told_once(store):
    for k in range(5):
        store.apply(RULE, [silent()], k)
    assert kinds(store, "ops", 10) == ["raised"]
    [alert] = store.alerts(["raised"], 10)
    assert (alert.raised_us, alert.seen_us, alert.times) == (0, 4, 1)


def test_its_way_stands_in_its_log(store):
    store.apply(RULE, [silent()], 0)
    store.apply(RULE, [silent()], 31 * MINUTE_US)
    assert store.acknowledge(1, "anna", "on my way", 32 * MINUTE_US)
    store.apply(RULE, [], 40 * MINUTE_US)
    store.apply(RULE, [silent()], 50 * MINUTE_US)
    assert [(line.what, line.who, line.note) for line in store.lines(1)] == [
        ("raised", "", ""),
        ("escalated", "", "chief"),
        ("acknowledged", "anna", "on my way"),
        ("resolved", "", ""),
        ("again", "", ""),
    ]
    assert kinds(store, "ops", DAY_US) == ["raised", "resolved", "again"]
    assert kinds(store, "chief", DAY_US) == ["escalated", "resolved"]
    again = store.alert(1)
    assert (again.state, again.times, again.by_whom) == ("raised", 2, None)


def test_who_acknowledged_in_time_is_not_passed_over(store):
    store.apply(RULE, [silent()], 0)
    assert store.acknowledge(1, "anna", "", MINUTE_US) is True
    assert store.acknowledge(1, "bo", "", MINUTE_US) is False
    assert store.acknowledge(2, "bo", "", MINUTE_US) is None
    store.apply(RULE, [silent()], 5 * 60 * MINUTE_US)
    assert kinds(store, "chief", DAY_US) == []


def test_a_link_works_once_and_only_the_newest(store):
    store.apply(RULE, [silent()], 0)
    first = store.due("ops", MANY, 0).body["link"]
    store.apply(RULE, [silent()], 31 * MINUTE_US)
    second = store.due("chief", MANY, 31 * MINUTE_US).body["link"]
    assert store.acknowledge(1, "anna", "", 1, "guessed") is False
    assert store.acknowledge(1, "anna", "", 1, first) is False
    assert store.acknowledge(1, "anna", "", 1, second) is True
    store.apply(RULE, [], 40 * MINUTE_US)
    store.apply(RULE, [silent()], 41 * MINUTE_US)
    assert store.acknowledge(1, "anna", "", 1, second) is False


def test_after_a_day_it_is_another_alert(store):
    store.apply(RULE, [silent()], 0)
    store.apply(RULE, [], 1)
    store.apply(RULE, [silent()], 2 + DAY_US)
    assert [alert.id for alert in store.alerts(["raised", "resolved"], 10)] == [2, 1]


def test_what_has_to_last_is_not_told_before(store):
    rule = RuleSettings(rule="backlog", name=RULE.id, tell=("ops",), minutes=5)
    for at_minute, expected in ((0, 0), (4, 0), (5, 1)):
        store.apply(rule, [silent()], at_minute * MINUTE_US)
        assert len(store.alerts(["raised"], 10)) == expected
    store.apply(rule, [], 6 * MINUTE_US)
    store.apply(rule, [silent("edge-2")], 7 * MINUTE_US)
    store.apply(rule, [], 8 * MINUTE_US)
    store.apply(rule, [silent("edge-2")], 12 * MINUTE_US)
    assert store.alerts(["raised"], 10) == [], "it ended between"


def test_a_flood_becomes_a_digest(store):
    flood = FloodSettings(notices=3, minutes=10)
    store.apply(RULE, [silent(f"edge-{k}") for k in range(250)], 0)
    taken = []
    while (notice := store.due("ops", flood, 0)) is not None:
        taken.append(notice)
        store.done(notice.id, 0)
    assert [notice.kind for notice in taken] == ["raised"] * 3
    store.apply(RULE, [silent(f"edge-{k}") for k in range(260)], MINUTE_US)
    assert store.due("ops", flood, MINUTE_US) is None
    digest = store.due("ops", flood, 10 * MINUTE_US)
    assert (digest.kind, digest.body["count"], len(digest.body["notices"])) == ("digest", 257, 100)
    store.done(digest.id, 10 * MINUTE_US)
    assert store.due("ops", flood, 10 * MINUTE_US) is None
    assert store.waiting() == []


def test_a_receiver_that_is_down_is_tried_later_and_later_with_the_same_id(store):
    store.apply(RULE, [silent()], 0)
    now_us, waits, ids = 0, [], set()
    for _ in range(12):
        notice = store.due("ops", MANY, now_us)
        ids.add(notice.id)
        assert store.failed(notice, "it is down", now_us) is False
        begun_us = now_us
        while store.due("ops", MANY, now_us) is None:
            now_us += 10_000_000
        waits.append((now_us - begun_us) // 1_000_000)
    assert len(ids) == 1
    assert waits[:4] == [10, 20, 40, 80]
    assert waits[-1] == 3600
    assert store.waiting() == [("ops", 1, "it is down")]
    assert store.failed(store.due("ops", MANY, 8 * DAY_US), "it is down", 8 * DAY_US) is True
    assert store.due("ops", MANY, 9 * DAY_US) is None


def test_alerts_of_a_rule_that_was_removed_end(store):
    store.apply(RULE, [silent()], 0)
    store.close_unruled(["another"], 1)
    assert store.alert(1).state == "resolved"


steps = st.lists(
    st.tuples(st.sets(st.integers(0, 3)), st.sampled_from(["", "acknowledge"])), max_size=12
)


@settings(max_examples=10)
@given(steps)
def test_each_key_has_one_open_alert_and_every_change_is_told(tmp_path_factory, way):
    with AlertStore(tmp_path_factory.mktemp("law") / "alerts.sqlite") as store:
        for k, (subjects, act) in enumerate(way):
            store.apply(RULE, [silent(f"edge-{n}") for n in subjects], k)
            found = store.alerts(["raised", "acknowledged"], 100)
            assert {alert.subject for alert in found} == {f"edge-{n}" for n in subjects}
            assert len(found) == len(subjects)
            if act and found:
                store.acknowledge(found[0].id, "anna", "", k)
        lines = [
            line.what
            for alert in store.alerts(["raised", "acknowledged", "resolved"], 1000)
            for line in store.lines(alert.id)
        ]
        told = kinds(store, "ops", len(way))
        for what in ("raised", "again", "resolved"):
            assert lines.count(what) == told.count(what)
