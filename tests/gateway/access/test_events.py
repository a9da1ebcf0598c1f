"""The security log: only added to, and no flood of refusals fills the disk."""

import sqlite3

import pytest

from joulemark_agent.contract.errors import StoreError
from joulemark_gateway.access import events
from joulemark_gateway.access.chain import START, digest_of_line
from joulemark_gateway.access.database import FILE, Database
from joulemark_gateway.access.events import Events, Repeats, ends_in

SECOND_US = 1_000_000
FREE = "DROP TRIGGER event_stays; DROP TRIGGER event_is_kept;"  # as whoever owns the file can


def test_lines_come_back_the_newest_first_and_page_by_page(database):
    log = Events(database)
    for k in range(7):
        log.add("log_in", k, who=f"user-{k}")
    first = log.listed(limit=4)
    rest = log.listed(first[-1].id, limit=4)
    assert [row.t_us for row in (*first, *rest)] == [6, 5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize(
    "sql",
    ["DELETE FROM event", "UPDATE event SET who = 'somebody else'", "DELETE FROM event WHERE 1"],
)
def test_nothing_is_taken_out_of_it_or_changed(database, sql):
    log = Events(database)
    log.add("user_added", 1, who="anna")
    with pytest.raises(StoreError, match="only added to"):
        database.rows(sql)
    assert [row.who for row in log.listed()] == ["anna"]


def test_of_refusals_the_oldest_are_given_up_and_of_the_rest_nothing(database, monkeypatch):
    monkeypatch.setattr(events, "MOST_REFUSALS", 20)
    log = Events(database)
    for k in range(100):
        log.add("log_in_wrong", k, refused=True)
        if k % 10 == 0:
            log.add("log_in", k)
    rows = log.listed(limit=500)
    assert len([row for row in rows if row.refused]) == 20
    assert len([row for row in rows if not row.refused]) == 10
    assert min(row.t_us for row in rows if row.refused) == 80


@pytest.fixture
def lines(database):
    """Ten lines of what was done and ten refusals in turn: ids 1 to 20."""
    log = Events(database)
    for k in range(10):
        log.add("log_in", k, who=f"user-{k}")
        log.add("log_in_wrong", k, refused=True)
    return log


def test_a_log_as_it_was_written_has_no_break(lines):
    logged = [lines.ends()]
    lines.add("log_out", 20)
    lines.add("bad_token", 20, refused=True)
    assert lines.breaks([*logged, lines.ends()]) == []


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("UPDATE event SET who = 'eve' WHERE id = 7", ["line 7 is not as it was written"]),
        ("UPDATE event SET t_us = 99 WHERE id = 8", ["line 8 is not as it was written"]),
        ("DELETE FROM event WHERE id = 7", ["before line 9 one is missing or was put in"]),
        ("DELETE FROM event WHERE id = 8", ["before line 10 one is missing or was put in"]),
        ("DELETE FROM event WHERE id < 6", ["before line 6 one", "before line 7 one"]),
        ("DELETE FROM event WHERE id = 19", ["line 19 was there and is gone"]),
        ("DELETE FROM event WHERE id > 17", ["line 19 was there", "line 20 was there"]),
        ("DELETE FROM event", ["line 19 was there", "line 20 was there"]),
    ],
)
def test_whoever_owns_the_file_cannot_change_a_line_unnoticed(database, lines, sql, told):
    logged = [lines.ends()]
    with database.transaction() as db:
        for statement in [*FREE.split(";"), sql]:
            db.execute(statement)
    found = lines.breaks(logged)
    assert len(found) == len(told)
    for text, begins in zip(sorted(found), told, strict=True):
        assert text.startswith(begins)


def rewritten(database, skipped):
    """Leave lines out and make the chain anew: what the file alone can never show."""
    ends: dict[bool, bytes] = {}
    with database.transaction() as db:
        for statement in FREE.split(";"):
            db.execute(statement)
        db.execute("DELETE FROM event WHERE id = ?", (skipped,))
        for event in sorted(Events(database).listed(), key=lambda line: line.id):
            before = ends.get(event.refused, START)
            ends[event.refused] = digest_of_line(event, before)
            sql = "UPDATE event SET before = ?, digest = ? WHERE id = ?"
            db.execute(sql, (before, ends[event.refused], event.id))


def test_who_makes_the_chain_anew_is_found_by_what_the_collectors_log_holds(database, lines):
    logged = [lines.ends()]
    rewritten(database, 7)
    [told] = lines.breaks(logged)
    assert told == "line 19 was another when the collector's log was closed"
    assert lines.breaks([]) == [], "the file alone does not show it"


def test_refusals_that_were_given_up_are_no_break_and_others_are(database, monkeypatch):
    monkeypatch.setattr(events, "MOST_REFUSALS", 20)
    log, logged = Events(database), []
    for k in range(50):
        log.add("log_in_wrong", k, refused=True)
        logged.append(log.ends())
    assert log.breaks(logged) == []
    database.rows("DELETE FROM event WHERE refused AND id < 35")
    assert any("line 34 was there" in text for text in log.breaks(logged))


def test_a_log_of_before_there_was_a_chain_is_chained_as_it_is(tmp_path):
    path = tmp_path / FILE
    with Database(path) as made:
        Events(made).add("log_in", 1, who="anna")
        Events(made).add("log_in_wrong", 2, refused=True)
    with sqlite3.connect(path) as db:  # as version 1 had it
        db.executescript(f"{FREE} DROP INDEX event_refused; PRAGMA user_version = 1;"
                         "ALTER TABLE event DROP COLUMN before;"
                         "ALTER TABLE event DROP COLUMN digest;"
                         "ALTER TABLE token DROP COLUMN scopes;")  # fmt: skip
    db.close()
    with Database(path) as again:
        log = Events(again)
        assert [line.who for line in log.listed()] == ["", "anna"]
        assert log.breaks([log.ends()]) == []
        log.add("log_out", 3)
        assert log.listed()[0].id == 3
        with pytest.raises(StoreError, match="only added to"):
            again.rows("UPDATE event SET who = 'eve'")


def test_where_no_log_is_kept_none_is_made(tmp_path):
    assert ends_in(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_flood_of_one_kind_is_a_line_a_minute_that_says_how_many():
    repeats, told = Repeats(), []
    for k in range(601):  # one a second, for ten minutes
        _, times = repeats.counted("bad_token", "", "192.0.2.1", k * SECOND_US)
        told.append(times)
    assert sum(told) == 601
    assert len([times for times in told if times]) == 11


def test_a_flood_from_many_addresses_takes_a_bounded_memory_and_is_still_counted(monkeypatch):
    monkeypatch.setattr(events, "_MOST_GATHERED", 50)
    repeats = Repeats()
    told = [repeats.counted("bad_token", "", f"192.0.2.{k}", k) for k in range(5000)]
    assert len(repeats._seen) <= 51
    lines = [row for row in told if row[1]]
    assert len(lines) == 51
    assert lines[-1][0] == "(others)"
