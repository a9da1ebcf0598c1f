"""The security log: only added to, and no flood of refusals fills the disk."""

import pytest

from joulemark_agent.contract.errors import StoreError
from joulemark_gateway.access import events
from joulemark_gateway.access.events import Events, Repeats

SECOND_US = 1_000_000


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
