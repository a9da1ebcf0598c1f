from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_gateway.measure.calendar import US_PER_HOUR, grid, minute_of_week

BERLIN, SEOUL = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Seoul")


def hours_of_days(first, end, zone):
    return (np.diff(grid(first, end, "day", zone).edges_us) / US_PER_HOUR).tolist()


def test_days_of_a_change_of_clocks_have_23_and_25_hours():
    assert hours_of_days(date(2026, 3, 28), date(2026, 3, 31), BERLIN) == [24, 23, 24]
    assert hours_of_days(date(2026, 10, 24), date(2026, 10, 27), BERLIN) == [24, 25, 24]


def test_a_day_starts_at_local_midnight():
    days = grid(date(2018, 1, 1), date(2018, 1, 3), "day", SEOUL)
    assert days.edges_us[0] == 1_514_732_400_000_000
    assert days.labels == ("2018-01-01", "2018-01-02")
    assert days.days == (date(2018, 1, 1), date(2018, 1, 2))


@pytest.mark.parametrize(("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25)])
def test_hours_are_elapsed_ones_and_each_has_its_own_label(day, hours):
    cut = grid(day, day + timedelta(days=1), "hour", BERLIN)
    assert np.diff(cut.edges_us).tolist() == [US_PER_HOUR] * hours
    assert len(set(cut.labels)) == hours
    assert set(cut.days) == {day}


def test_a_day_of_23_and_a_half_hours_ends_with_half_an_hour():
    cut = grid(date(2026, 10, 4), date(2026, 10, 5), "hour", ZoneInfo("Australia/Lord_Howe"))
    assert np.diff(cut.edges_us).tolist() == [US_PER_HOUR] * 23 + [US_PER_HOUR // 2]


def test_a_midnight_that_does_not_exist_is_the_instant_at_which_the_day_starts():
    cut = grid(date(2018, 11, 3), date(2018, 11, 5), "day", ZoneInfo("America/Sao_Paulo"))
    assert (np.diff(cut.edges_us) // US_PER_HOUR).tolist() == [24, 23]


@given(
    st.lists(
        st.datetimes(datetime(2017, 1, 1), datetime(2027, 1, 1)),  # noqa: DTZ001
        min_size=1,
        max_size=20,
    ),
    st.sampled_from(["Europe/Berlin", "Asia/Seoul", "Asia/Kathmandu", "America/St_Johns"]),
)
def test_the_minute_of_the_week_is_the_one_on_the_wall(moments, name):
    zone = ZoneInfo(name)
    instants = [int(m.replace(tzinfo=UTC).timestamp()) for m in moments]
    local = [datetime.fromtimestamp(instant, zone) for instant in instants]
    expected = [m.weekday() * 1440 + m.hour * 60 + m.minute for m in local]
    found = minute_of_week(np.array(instants, np.int64) * 1_000_000, zone)
    assert found.tolist() == expected
