"""The forecast of a running interval, and a warning that does not flutter."""

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
