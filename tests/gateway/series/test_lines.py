"""Lines: what is written is what is read, and what cannot be is refused before it is sent."""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.contract.errors import StoreError
from joulemark_gateway.series.base import Carry, Intervals, Part, Points
from joulemark_gateway.series.lines import (
    by_day,
    check_all,
    checked,
    lines_of,
    number,
    tag,
    tree_line,
)

ORIGIN = "joulemark/gwangyang/main-meter/1"
NO_TIMES = np.empty(0, np.int64)


def part_of(values, quality, *, point="power_w", intervals=()):
    """One point a millisecond, and intervals of start, end, amount, covered, estimated, missing."""
    n, rows = len(values), list(intervals)
    columns = (
        [np.array([row[i] for row in rows], np.int64) for i in range(6)]
        if rows
        else ([NO_TIMES] * 6)
    )
    return Part(
        ORIGIN,
        9,
        Carry(),
        Points(
            np.full(n, point, object),
            1_514_732_400_000_000 + 1000 * np.arange(n, dtype=np.int64),
            np.array(values, np.float64),
            np.array(quality, np.uint8),
        ),
        Intervals(np.full(len(rows), "energy_wh", object), *columns),
    )


def test_lines_are_those_of_the_protocol():
    row = (1_514_732_400_000_000, 1_514_733_300_000_000, 250, 900_000_000, 0, 0)
    found = lines_of(
        part_of([1.5, math.nan], [0, 3], intervals=[row]), tick_us=1000, until_us=2**60
    )
    head = ",site=gwangyang,device=main-meter"
    assert found.lines == [
        f"joulemark_point{head},point=power_w value=1.5,quality=0 1514732400000",
        f"joulemark_point{head},point=power_w quality=3 1514732400001",
        (
            f"joulemark_interval{head},point=energy_wh amount=250,covered_us=900000000,"
            "estimated_us=0,missing_us=0 1514732400001"
        ),
    ]
    assert (found.newest_us, found.left_out, found.rounded) == (1_514_732_400_001_000, 0, 0)
    assert tree_line(ORIGIN, 9, 5_000_000, tick_us=1) == (
        f"joulemark_tree{head},epoch=1 size=9 5000000"
    )


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63))
def test_a_number_reads_as_the_same_double(value):
    text = number(value)
    assert float(text) == float(value)
    assert re.fullmatch(r"-?[0-9.]+(e[+-]?[0-9]+)?", text)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400])
def test_a_number_that_is_not_finite_is_refused(value):
    with pytest.raises(StoreError) as caught:
        number(value)
    assert caught.value.code == "series_line"


@given(st.text(max_size=12))
def test_a_tag_is_escaped_so_that_it_reads_as_itself_or_refused(text):
    try:
        escaped = tag(text)
    except StoreError:
        assert not text or not text.isprintable() or set(text) & set('\\"')
        return
    assert re.sub(r"\\([ ,=])", r"\1", escaped) == text
    assert not re.search(r"(?<!\\)[ ,=]", escaped)
    checked(f"joulemark_point,site={escaped} value=1 1")


@pytest.mark.parametrize(
    "line",
    [
        "joulemark_point,site=a value=1",
        "joulemark_point,site=a value=nan 1",
        "joulemark_point,site=a value=inf 1",
        "joulemark_point,site=a value=1,5 1",
        "joulemark_point,site=a value=1i 1",
        'joulemark_point,site=a value="good" 1',
        "joulemark_point,site=a value=true 1",
        "joulemark_point,site=a  value=1 1",
        "joulemark_point,site= value=1 1",
        "joulemark_point,site=a b value=1 1",
        "joulemark_point,site=a value=1 -1",
        "joulemark_point,site=a value=1 1.5",
        "joulemark_point,site=a value=1 1\njoulemark_point,site=b value=2 1",
        "joulemark_point value=1 1",
        "other,site=a value=1 1",
        "",
    ],
)
def test_a_malformed_line_is_refused(line):
    with pytest.raises(StoreError) as caught:
        checked(line)
    assert caught.value.code == "series_line"


def test_an_interval_that_does_not_add_up_is_refused():
    """Its end would not be read as it was written."""
    row = (1_514_732_400_000_000, 1_514_733_300_000_000, 250, 900_000_000, 5, 0)
    with pytest.raises(StoreError, match="does not add up"):
        lines_of(part_of([], [], intervals=[row]), tick_us=1, until_us=2**60)


def test_rows_after_the_servers_horizon_and_values_beyond_any_double_are_counted():
    found = lines_of(
        part_of([1.0, math.inf, 2.0**54, 4.0], [0] * 4),
        tick_us=1,
        until_us=1_514_732_400_002_000,
    )
    assert len(found.lines) == 2
    assert (found.left_out, found.rounded) == (2, 1)
    assert found.newest_us == 1_514_732_400_002_000


@given(st.lists(st.integers(0, 10**6), max_size=40), st.sampled_from([1, 1000]))
def test_a_day_is_sent_before_the_next_and_nothing_is_lost(minutes, tick_us):
    lines = [f"m,a=b v=1 {minute * 60_000_000 // tick_us}" for minute in minutes]
    days = by_day(lines, tick_us)
    spans = [[int(line.split()[-1]) * tick_us // 86_400_000_000 for line in day] for day in days]
    assert all(len(set(span)) == 1 for span in spans)
    assert [span[0] for span in spans] == sorted({span[0] for span in spans})
    assert sorted(line for day in days for line in day) == sorted(lines)
    for day in days:
        assert day == [line for line in lines if line in day]


GOOD = [f"joulemark_point,site=a\\ b,point=power_w value=-1.5e-07,quality=0 {t}" for t in range(4)]


def is_refused(check, what):
    try:
        check(what)
    except StoreError:
        return True
    return False


@given(
    at=st.integers(0, 3),
    place=st.integers(0, 70),
    cut=st.integers(0, 2),
    more=st.sampled_from(
        ["", "\n", " ", ",", "=", "\\", '"', "1", "e", "-", "a", GOOD[0], f"\n{GOOD[0]}"]
    ),
)
def test_lines_that_are_checked_all_at_once_are_refused_as_one_by_one(at, place, cut, more):
    lines = list(GOOD)
    lines[at] = lines[at][:place] + more + lines[at][place + cut :]
    assert is_refused(check_all, lines) == any(is_refused(checked, line) for line in lines)


def test_no_lines_are_good_lines():
    check_all([])
