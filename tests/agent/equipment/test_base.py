from dataclasses import replace
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.equipment.base import (
    US_PER_S,
    Samples,
    at_device_time,
    counted,
    drawn,
    held,
    held_steps_us,
)
from joulemark_agent.kernels.counter import Semantics

GAP_US = 30 * US_PER_S
SLOTS = np.arange(1_600_000_000, 1_600_000_060, 10) * US_PER_S


def stamped(stamps, values=None) -> Samples:
    stamp_s = np.array(stamps, np.float64)
    power = np.arange(stamp_s.size, dtype=np.float64) if values is None else np.array(values)
    columns = {"sampled_at_s": stamp_s, "power_w": power}
    return at_device_time(SLOTS[: stamp_s.size], columns, GAP_US)


def test_without_a_stamp_of_the_device_the_slots_are_the_instants():
    samples = at_device_time(SLOTS, {"power_w": np.ones(SLOTS.size)}, GAP_US)
    assert samples.t_us.tolist() == SLOTS.tolist()


def test_the_device_tells_when_it_sampled():
    samples = stamped([1_599_999_999, 1_600_000_008])
    assert samples.t_us.tolist() == [1_599_999_999 * US_PER_S, 1_600_000_008 * US_PER_S]
    assert "sampled_at_s" not in samples.values


def test_a_row_without_a_stamp_has_no_place_in_time():
    samples = stamped([1_600_000_000, np.nan, 1_600_000_019])
    assert samples.values["power_w"].tolist() == [0.0, 2.0]


def test_a_row_that_goes_back_in_time_is_left_out():
    samples = stamped([1_600_000_000, 1_600_000_009, 1_600_000_001, 1_600_000_029])
    assert samples.values["power_w"].tolist() == [0.0, 1.0, 3.0]


def test_one_corrupt_stamp_does_not_put_all_later_rows_into_the_past():
    samples = stamped([1_600_000_000, 4_294_967_295, 1_600_000_019])
    assert samples.values["power_w"].tolist() == [0.0, 2.0]


def test_a_row_read_twice_encloses_no_time():
    samples = stamped([1_600_000_000, 1_600_000_000, 1_600_000_010], [7.0, 7.0, 7.0])
    edges = samples.t_us[[0, -1]]
    assert held(samples, "power_w", edges).amount[0] == pytest.approx(70 / 3600)
    assert samples.distinct().t_us.size == 2


def test_instants_that_decrease_are_refused():
    with pytest.raises(ValueError, match="never decrease"):
        Samples(np.array([5, 4]), {}, GAP_US)


def test_columns_of_another_length_are_refused():
    with pytest.raises(ValueError, match="power_w"):
        Samples(np.array([4, 5]), {"power_w": np.zeros(3)}, GAP_US)


def test_windows_of_a_point_that_is_not_recorded_are_missing_and_not_zero():
    samples = Samples(SLOTS, {}, GAP_US)
    for windows in (held(samples, "power_w", SLOTS), counted(samples, "energy_wh", SLOTS)):
        assert windows.missing_us.tolist() == np.diff(SLOTS).tolist()


@st.composite
def recordings(draw):
    steps = draw(st.lists(st.integers(0, 50), min_size=1, max_size=30))
    t_us = np.append(0, np.cumsum(steps)) * US_PER_S
    bad = st.just(float("nan"))
    power = draw(st.lists(st.floats(-1e5, 1e6) | bad, min_size=t_us.size, max_size=t_us.size))
    rises = draw(st.lists(st.integers(0, 10**9), min_size=t_us.size, max_size=t_us.size))
    count = np.cumsum(rises).astype(np.float64)
    count[draw(st.lists(st.booleans(), min_size=t_us.size, max_size=t_us.size))] = np.nan
    return Samples(t_us, {"power_w": np.array(power), "energy_wh": count}, GAP_US)


@given(recordings(), st.sets(st.integers(0, 1500), min_size=2, max_size=6), st.data())
def test_energy_is_additive_over_any_split_of_half_open_windows(samples, cuts, data):
    extra = data.draw(st.sets(st.integers(min(cuts), max(cuts)), max_size=5))
    coarse = np.array(sorted(cuts)) * US_PER_S
    finer = np.array(sorted(cuts | extra)) * US_PER_S
    for read, point in ((held, "power_w"), (counted, "energy_wh")):
        whole, parts = read(samples, point, coarse), read(samples, point, finer)
        for k, (low, high) in enumerate(pairwise(coarse)):
            inside = (finer[:-1] >= low) & (finer[:-1] < high)
            assert parts.amount[inside].sum() == pytest.approx(whole.amount[k], rel=1e-9, abs=1e-6)
            assert parts.covered_us[inside].sum() == whole.covered_us[k]
            assert parts.missing_us[inside].sum() == whole.missing_us[k]
        divided = whole.covered_us + whole.estimated_us + whole.missing_us
        assert divided.tolist() == np.diff(coarse).tolist()


@given(recordings())
def test_the_steps_a_sample_holds_are_those_of_its_windows(samples):
    edges = np.array([samples.t_us[0], samples.t_us[-1] + 1])
    step_us = held_steps_us(samples.t_us, samples.values["power_w"], GAP_US)
    assert step_us.sum() == held(samples, "power_w", edges).covered_us[0]
    assert step_us.size == samples.t_us.size
    assert step_us[-1] == 0


@given(recordings())
def test_leaving_out_repeated_instants_changes_no_energy(samples):
    edges = np.array([samples.t_us[0], samples.t_us[-1] + 1])
    thin = samples.distinct()
    assert np.all(np.diff(thin.t_us) > 0)
    if not np.isnan(samples.values["power_w"]).any():
        whole, same = held(samples, "power_w", edges), held(thin, "power_w", edges)
        assert same.amount == pytest.approx(whole.amount, abs=1e-9)
        assert same.covered_us.tolist() == whole.covered_us.tolist()


def test_a_counter_s_false_zero_books_nothing():
    count = np.array([108_975.0, 0.0, 108_976.0, 108_980.0])
    samples = Samples(SLOTS[:4], {"energy_wh": count}, GAP_US)
    assert counted(samples, "energy_wh", SLOTS[[0, 3]]).amount.tolist() == [5.0]


@pytest.mark.parametrize(("zone", "amount"), [("Asia/Seoul", 530.0), (None, 500.0)])
def test_a_daily_counter_has_the_days_of_its_site(zone, amount):
    """It begins anew at 0:00, in the middle of a UTC day, for the second time in that UTC day."""
    hour_us = 3600 * US_PER_S
    t_us = np.array([1, 2, 3, 15, 16]) * hour_us  # 10:00 in Seoul ... 1:00 of the next day
    count = np.array([8000.0, 5.0, 505.0, 30.0, 40.0])
    rule = Semantics(hour_us * 20, is_daily=1)
    samples = Samples(t_us, {"energy_wh": count}, GAP_US, {"energy_wh": rule})
    samples = replace(samples, zone=None if zone is None else ZoneInfo(zone))
    windows = counted(samples, "energy_wh", t_us[[0, 4]])
    assert windows.amount[0] == amount + 15


def test_a_counter_that_falls_is_told():
    samples = Samples(SLOTS[:3], {"energy_wh": np.array([50.0, 7.0, 9.0])}, GAP_US)
    windows = counted(samples, "energy_wh", SLOTS[[0, 2]])
    assert (windows.amount[0], windows.falls) == (2.0, 1)
    assert windows.missing_us[0] == 10 * US_PER_S


@given(recordings(), st.data())
def test_blocks_that_share_their_cut_give_the_same_energy_as_all_at_once(samples, data):
    cut = data.draw(st.integers(0, samples.t_us.size - 1))
    edges = np.array([samples.t_us[0], samples.t_us[-1] + 1])

    def part(rows: slice) -> Samples:
        values = {name: column[rows] for name, column in samples.values.items()}
        return Samples(samples.t_us[rows], values, samples.max_gap_us)

    whole = held(samples, "power_w", edges)
    one, other = (
        held(part(rows), "power_w", edges) for rows in (slice(0, cut + 1), slice(cut, None))
    )
    assert one.amount[0] + other.amount[0] == pytest.approx(whole.amount[0], rel=1e-9, abs=1e-6)
    assert one.covered_us[0] + other.covered_us[0] == whole.covered_us[0]


@pytest.mark.parametrize(
    ("power_w", "left"),
    [([0.0, -90.0, -3.0], 3), ([50e3, -900.0, 49e3], 3), ([50e3, -4e3, float("nan")], 1)],
)
def test_negative_power_is_missing_and_noise_around_zero_is_not(power_w, left):
    power = np.array(power_w)
    samples = Samples(np.arange(3) * US_PER_S, {"power_w": power}, US_PER_S)
    kept, findings = drawn(samples, "power_w")
    assert np.sum(~np.isnan(kept.values["power_w"])) == left
    assert [item.code for item in findings] == ["power_negative"] * (left == 1)
    assert drawn(samples, "not_there_w") == (samples, ())
