"""The forecast of a running interval, and a warning that does not flutter."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_gateway.costs.forecast import (
    Forecast,
    Level,
    Running,
    Standing,
    WarningRule,
    change_of,
    forecast,
    stepped,
)
from joulemark_gateway.costs.walk import Counted, Limit, Windows
from joulemark_gateway.costs.walk import walked as evaluated

MINUTE_US = 60_000_000


def running(minute, energy_wh, power_w, *, u_w=0.0, covered=None, start_us=0):
    at_us = start_us + minute * MINUTE_US
    known = minute if covered is None else covered
    return Running(
        start_us, start_us + 15 * MINUTE_US, at_us, energy_wh, known * MINUTE_US, power_w, u_w,
        MINUTE_US,
    )  # fmt: skip


@given(st.integers(0, 15), st.floats(0, 1e6))
def test_a_steady_load_is_forecast_as_itself(minute, power_w):
    found = forecast(running(minute, power_w * minute / 60, power_w))
    assert found.demand_w == pytest.approx(power_w)


def test_a_forecast_is_energy_so_far_and_power_now_for_the_rest():
    found = forecast(running(5, 10_000, 60_000, u_w=3_000))
    assert found.demand_w == pytest.approx((10_000 + 60_000 * 10 / 60) * 4)
    assert found.so_far_w == 40_000
    assert found.standard_uncertainty_w == pytest.approx(3_000 / 60 * 10**0.5 * 4)
    assert forecast(running(15, 10_000, 60_000, u_w=3_000)).standard_uncertainty_w == 0


def test_what_is_unknown_of_the_interval_counts_as_the_power_now():
    found = forecast(running(10, 5_000, 60_000, covered=5))
    assert found.demand_w == pytest.approx((5_000 + 60_000 * 5 / 60 + 60_000 * 5 / 60) * 4)
    assert found.known_ratio == 0.5


def walked(rule, rows):
    standing, levels = Standing(), []
    for row in rows:
        standing = stepped(rule, standing, row, forecast(row))
        levels.append(standing.level)
    return levels


def test_a_load_at_the_limit_warns_once():
    rule = WarningRule(100_000, clear_ratio=0.9)
    loads = [90_000, 101_000, 99_000, 101_000, 95_000, 89_000, 99_000]
    rows = [running(0, 0, load, start_us=k * 15 * MINUTE_US) for k, load in enumerate(loads)]
    assert walked(rule, rows) == ["quiet", *["warned"] * 4, "quiet", "quiet"]
    no_hysteresis = WarningRule(100_000, clear_ratio=1.0)
    assert walked(no_hysteresis, rows).count(Level.QUIET) > 3


def test_what_has_passed_stays_passed_to_the_end_of_its_interval():
    rule = WarningRule(100_000)
    rows = [running(m, e, p) for m, e, p in ((5, 20_000, 1e5), (12, 26_000, 0), (14, 26_000, 0))]
    rows.append(running(0, 0, 10_000, start_us=15 * MINUTE_US))
    assert walked(rule, rows) == ["warned", "passed", "passed", "quiet"]


def test_an_interval_of_which_too_little_is_known_changes_nothing():
    row = running(10, 0, 1e9, covered=1)
    before = Standing(Level.WARNED, 0, 5)
    assert stepped(WarningRule(1.0), before, row, forecast(row)) is before


def test_uncertainty_warns_sooner():
    found = Forecast(90_000, 6_000, 0, 1.0)
    row = running(5, 0, 0)
    quiet = stepped(WarningRule(100_000), Standing(), row, found)
    warned = stepped(WarningRule(100_000, coverage_factor=2), Standing(), row, found)
    assert (quiet.level, warned.level) == (Level.QUIET, Level.WARNED)


def test_the_change_from_step_to_step():
    assert change_of([1.0]) == 0
    assert change_of([0.0, 3.0, 3.0, 0.0]) == pytest.approx(6**0.5)


QUARTER_US = 15 * MINUTE_US


def windows(counts):
    start = np.arange(len(counts), dtype=np.int64) * QUARTER_US
    return Windows(start, start + QUARTER_US, np.array(counts))


def minutes(first, last, power_w):
    start = np.arange(first, last, dtype=np.int64) * MINUTE_US
    return Counted(start, start + MINUTE_US, np.full(start.size, power_w / 60))


def run(counts, meters, until, cut=None, limit=None):
    """The evaluations, at once or cut into two turns."""
    limit = limit or Limit(100_000, grows=False)
    rule, standing, found, after = WarningRule(0.0), Standing(), [], -1
    for end in [until] if cut is None else [cut, until]:
        part = list(
            evaluated(windows(counts), meters, after, end * MINUTE_US, standing, limit, rule)
        )
        found += part
        standing, after = part[-1].standing if part else standing, end * MINUTE_US
    return found


@given(st.integers(1, 59))
def test_a_walk_in_two_turns_is_the_walk_in_one(cut):
    meters = [minutes(0, 60, 60_000), minutes(0, 60, 50_000)]
    whole, parts = (run([True] * 4, meters, 60, c) for c in (None, cut))
    assert [one.standing for one in parts] == [one.standing for one in whole]
    assert [one.forecast.demand_w for one in parts] == pytest.approx(
        [one.forecast.demand_w for one in whole]
    )


def test_meters_are_added_up_and_a_reading_ends_one_interval_and_begins_the_next():
    found = run([True] * 3, [minutes(0, 30, 60_000), minutes(0, 30, 50_000)], 30)
    assert found[-1].running.start_us == 30 * MINUTE_US
    assert found[-2].running.end_us == 30 * MINUTE_US
    assert found[-2].forecast.so_far_w == pytest.approx(110_000)
    assert found[-2].standing.level is Level.PASSED


def test_a_warning_ends_where_demand_no_longer_counts():
    levels = {
        one.running.start_us // QUARTER_US: one.standing.level
        for one in run([True, False], [minutes(0, 30, 120_000)], 29)
    }
    assert levels == {0: Level.PASSED, 1: Level.QUIET}


def test_what_is_billed_anyway_grows_with_what_has_passed():
    limit = Limit(50_000, grows=True)
    meters = [minutes(0, 60, 80_000)]
    found = run([True] * 4, meters, 60, limit=limit)
    assert found[0].limit_w == 50_000
    assert limit.power_w == pytest.approx(80_000)
    assert found[-1].standing.level is not Level.QUIET, "between the limit and 95 % of it"


def test_a_meter_that_is_silent_leaves_the_interval_partly_known():
    found = run([True] * 2, [minutes(0, 30, 60_000), minutes(0, 15, 60_000)], 30)
    assert found[-2].forecast.known_ratio == pytest.approx(0.5)
