from dataclasses import replace

import numpy as np
import pytest

from joulemark_gateway.measure.run import measure
from support.histories import (
    DAY_US,
    METER,
    QUARTER_US,
    factors,
    history,
    plan,
    total,
)

WEEK = 7 * 96


def quiet_second_half():
    """A works with a weekly rhythm that makes a fifth less later. Nothing was changed."""
    draw = np.random.default_rng(3)
    rhythm = draw.integers(500, 5000, WEEK)
    steps = np.tile(rhythm, 20)
    steps[10 * WEEK :] = steps[10 * WEEK :] * 4 // 5
    return rhythm, steps


def claimed(steps, **changes):
    devices = {METER: history(METER, "energy_wh", total(steps), period_us=QUARTER_US, **changes)}
    return measure(plan(drivers=[]), devices, factors())


def test_the_calendar_calls_less_work_a_saving_and_is_refused():
    rhythm, steps = quiet_second_half()
    found = claimed(steps)
    (claim,) = found.refused
    assert (claim.code, claim.by) == ("no_activity_driver", "iso50006-production")
    assert claim.predicted_wh == pytest.approx(10 * rhythm.sum())
    assert claim.would_have_claimed_ratio == pytest.approx(0.2, abs=1e-3)
    assert (claim.cells, claim.intervals) == (WEEK, 10 * WEEK)
    assert found.disqualified
    assert found.saving is None


def test_an_interval_that_was_not_measured_is_left_out_of_both_sums():
    rhythm, steps = quiet_second_half()
    (whole,), (less,) = claimed(steps).refused, claimed(steps, bad=[10 * WEEK + 5]).refused
    assert whole.intervals - less.intervals == 2
    assert whole.predicted_wh - less.predicted_wh == pytest.approx(rhythm[4] + rhythm[5])
    assert whole.measured_wh - less.measured_wh == steps[10 * WEEK + 4 : 10 * WEEK + 6].sum()


def test_without_readings_nothing_is_claimed():
    _, steps = quiet_second_half()
    assert claimed(steps, bad=range(steps.size + 1)).refused == ()


def test_readings_by_the_day_give_a_week_of_seven_cells():
    devices = {METER: history(METER, "energy_wh", total(np.arange(140) % 7 + 1))}
    (claim,) = measure(plan(drivers=[]), devices, factors()).refused
    assert (claim.cells, claim.interval_us) == (7, DAY_US)
    assert claim.would_have_claimed_wh == 0


def test_local_days_that_are_not_whole_intervals_are_not_cut():
    devices = {METER: history(METER, "energy_wh", total(np.arange(140) % 7 + 1))}
    assert measure(plan(drivers=[], time_zone="Asia/Seoul"), devices, factors()).refused == ()
    shifted = {METER: replace(devices[METER], slot_us=devices[METER].slot_us - 9 * DAY_US // 24)}
    assert measure(plan(drivers=[], time_zone="Asia/Seoul"), shifted, factors()).refused == ()
