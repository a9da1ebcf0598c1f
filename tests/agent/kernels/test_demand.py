from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.kernels.demand import (
    LEAST_RATIO,
    Peak,
    demand,
    monthly_peaks,
    on_grid,
    peak,
    sliding_demand,
    sliding_peak,
)
from joulemark_agent.kernels.stream import INST, REVISION, Rule, named
from support.streams import DAY, FIRST_US, MINUTE, QUARTER, S, fed, windows

RULE = Rule(INST, 180 * S, QUARTER)
powers = st.lists(st.floats(0, 1e6) | st.just(np.nan), min_size=1, max_size=60)


@pytest.fixture(scope="module", autouse=True)
def _compiled():
    """The first call of a kernel compiles it, which no example should pay for."""
    sliding_demand(np.zeros(2), np.zeros(2), 1, 1, LEAST_RATIO)
    sliding_peak(np.zeros(2), 1)


def test_the_peak_of_quarters_is_that_of_adding_up_every_minute():
    draw = np.random.default_rng(1)
    power = draw.uniform(1e4, 9e5, 3 * 1440 + 1)
    rows = named(windows([RULE], fed(FIRST_US + np.arange(power.size) * MINUTE, power)))
    found = demand(rows["import_wh"], rows["covered_us"], QUARTER)
    trapezoids = (power[1:] + power[:-1]) / 2
    brute = trapezoids.reshape(-1, 15).mean(axis=1)
    assert found == pytest.approx(brute, rel=1e-12)
    best = peak(rows["start_us"].astype(np.int64), found)
    assert best.power_w == pytest.approx(brute.max(), rel=1e-9)
    assert best.start_us == FIRST_US + int(brute.argmax()) * QUARTER
    assert not best.is_lower_bound


def test_a_window_of_which_too_little_is_known_never_raises_the_peak_and_makes_it_a_lower_bound():
    energy = np.array([100.0, 900.0, 200.0])
    covered = np.array([QUARTER, 0.949 * QUARTER, 0.95 * QUARTER])
    found = demand(energy, covered, QUARTER)
    assert found.tolist() == pytest.approx([400.0, np.nan, 800.0], nan_ok=True)
    start_us = FIRST_US + np.arange(3) * QUARTER
    assert peak(start_us, found) == Peak(800.0, start_us[2], is_lower_bound=True)
    assert peak(start_us[1:2], found[1:2]) == Peak(None, None, is_lower_bound=True)


def test_months_are_those_of_the_local_calendar():
    midnight_us = 1_767_193_200_000_000  # in Seoul, and New Year
    start_us, power_w = np.array([midnight_us - QUARTER, midnight_us]), np.array([5.0, 7.0])
    assert list(monthly_peaks(start_us, power_w, ZoneInfo("UTC"))) == ["2025-12"]
    found = monthly_peaks(start_us, power_w, ZoneInfo("Asia/Seoul"))
    assert [(name, one.power_w) for name, one in found.items()] == [("2025-12", 5), ("2026-01", 7)]
    assert monthly_peaks(start_us[:0], power_w[:0], ZoneInfo("UTC")) == {}


def test_a_day_in_which_the_clock_is_put_back_has_its_hundred_quarters():
    zone = ZoneInfo("Europe/Berlin")
    first_us = 1_761_343_200_000_000  # midnight of 25 October 2025 in Berlin, the day before
    count = 4 * (24 + 25)
    every_us = first_us + np.arange(count * 5 + 1) * 3 * MINUTE
    rows = windows([RULE], fed(every_us, np.full(every_us.size, 1e3)))
    start_us, energy_wh, covered_us = on_grid(rows, first_us, first_us + 49 * 4 * QUARTER, QUARTER)
    found = demand(energy_wh, covered_us, QUARTER)
    assert found.tolist() == pytest.approx([1e3] * count)
    assert monthly_peaks(start_us, found, zone)["2025-10"].is_lower_bound is False


def test_windows_stand_on_the_grid_with_their_last_revision_and_gaps_are_empty():
    power = np.full(481, 3e3)
    block = fed(FIRST_US + np.arange(481) * MINUTE, power)
    block.q[100:220] = 2
    rows = windows([RULE], block)
    newer = rows[:1].copy()
    newer[0, 3], newer[0, REVISION] = 1.0, 1
    whole = np.concatenate([newer, rows])
    start_us, energy_wh, covered_us = on_grid(whole, FIRST_US, FIRST_US + 8 * 4 * QUARTER, QUARTER)
    assert start_us.size == 32
    assert energy_wh[0] == 1.0
    assert (energy_wh[8], covered_us[8]) == (0.0, 0.0)
    assert covered_us[20] == QUARTER


@given(powers, st.integers(1, 20))
def test_sliding_sums_are_those_of_adding_up_each(power, count):
    energy = np.nan_to_num(np.array(power))
    covered = np.where(np.isnan(power), 0.0, MINUTE)
    found = sliding_demand(energy, covered, MINUTE, count, LEAST_RATIO)
    for i, one in enumerate(found.tolist()):
        part = slice(max(i - count + 1, 0), i + 1)
        is_known = i >= count - 1 and covered[part].sum() >= LEAST_RATIO * count * MINUTE
        assert np.isnan(one) == (not is_known)
        if is_known:
            assert one == pytest.approx(energy[part].sum() * 60 / count, rel=1e-9, abs=1e-9)


@given(powers, st.integers(1, 20))
def test_the_highest_of_the_last_demands_is_found_without_looking_at_all_of_them(power, count):
    power_w = np.array(power)
    for i, one in enumerate(sliding_peak(power_w, count).tolist()):
        part = power_w[max(i - count + 1, 0) : i + 1]
        known = part[~np.isnan(part)]
        assert (one == known.max()) if known.size else np.isnan(one)


def test_a_sliding_quarter_is_never_below_the_fixed_ones():
    draw = np.random.default_rng(2)
    block = fed(FIRST_US + np.arange(8641) * 10 * S, draw.uniform(0, 1e5, 8641))
    rows = windows([RULE._replace(length_us=MINUTE)], block)
    _, energy_wh, covered_us = on_grid(rows, FIRST_US, FIRST_US + DAY, MINUTE)
    sliding = sliding_demand(energy_wh, covered_us, MINUTE, 15, LEAST_RATIO)
    fixed = energy_wh.reshape(-1, 15).sum(axis=1) * 4
    assert sliding[14::15] == pytest.approx(fixed, rel=1e-12)
    assert np.nanmax(sliding) >= fixed.max()
