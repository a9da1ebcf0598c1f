from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.kernels.energy import US_PER_H, left_hold, power_energy

GAP_US = 60


@pytest.fixture(scope="module", autouse=True)
def _compiled():
    """The first call of a kernel compiles it, which no example should pay for."""
    left_hold(np.arange(3), np.zeros(3), np.arange(3), GAP_US)


@st.composite
def samples(draw):
    """Samples with repeated instants, gaps and bad values."""
    steps = draw(st.lists(st.integers(0, 90), min_size=1, max_size=30))
    t_us = np.append(0, np.cumsum(steps)) + draw(st.integers(-500, 500))
    powers = st.floats(-1e6, 1e6) | st.just(float("nan"))
    value = draw(st.lists(powers, min_size=t_us.size, max_size=t_us.size))
    return t_us, np.array(value)


@given(samples(), st.sets(st.integers(-900, 3500), min_size=2, max_size=9), st.data())
def test_a_window_holds_the_sum_of_its_parts(taken, cuts, data):
    extra = data.draw(st.sets(st.integers(min(cuts), max(cuts)), max_size=6))
    coarse, finer = np.array(sorted(cuts)), np.array(sorted(cuts | extra))
    t_us, value = taken
    amount, covered = left_hold(t_us, value, coarse, GAP_US)
    parts, parts_us = left_hold(t_us, value, finer, GAP_US)
    for k, (low, high) in enumerate(pairwise(coarse)):
        inside = (finer[:-1] >= low) & (finer[:-1] < high)
        assert parts_us[inside].sum() == covered[k]
        assert parts[inside].sum() == pytest.approx(amount[k], abs=1e-9)


@given(samples())
def test_all_samples_give_the_sum_of_value_times_step(taken):
    t_us, value = taken
    step_us = np.diff(t_us)
    held = (step_us > 0) & (step_us <= GAP_US) & ~np.isnan(value[:-1]) & ~np.isnan(value[1:])
    edges = np.array([t_us[0] - 7, t_us[-1] + 7])
    amount, covered = left_hold(t_us, value, edges, GAP_US)
    assert covered.tolist() == [step_us[held].sum()]
    assert amount[0] * US_PER_H == pytest.approx(value[:-1][held] @ step_us[held], rel=1e-12)


def test_the_value_holds_forward_and_not_back():
    t_us, value = np.array([0, 30, 60]), np.array([1.0, 5.0, 100.0])
    edges = np.array([0, 60])
    forward, _ = left_hold(t_us, value, edges, GAP_US)
    back, _ = power_energy(t_us, value, edges, GAP_US)
    assert forward[0] * US_PER_H == 6 * 30
    assert back[0] * US_PER_H == 105 * 30, "the other rule must tell them apart"


def test_an_outage_invents_no_energy():
    """1 kW for an hour, an hour unavailable, then 2 kW: what nobody vouches for is missing.

    Values: home-assistant/core at 01024080, tests/components/integration/test_sensor.py.
    """
    t_us = np.arange(5) * US_PER_H
    value = np.array([1000.0, 1000.0, np.nan, 2000.0, 2000.0])
    amount, covered = left_hold(t_us, value, t_us, US_PER_H)
    assert np.cumsum(amount).tolist() == [1000, 1000, 1000, 3000]
    assert covered.tolist() == [US_PER_H, 0, 0, US_PER_H]


def test_a_longer_step_than_the_gap_gives_nothing():
    amount, covered = left_hold(np.array([0, 61]), np.ones(2), np.array([0, 61]), GAP_US)
    assert (amount[0], covered[0]) == (0.0, 0)


def test_no_window_and_no_sample_give_nothing():
    none = np.zeros(0, np.int64)
    assert left_hold(none, np.zeros(0), np.array([0, 5]), GAP_US)[0].tolist() == [0.0]
    assert left_hold(np.arange(3), np.ones(3), none, GAP_US)[0].size == 0
    assert left_hold(np.arange(3), np.ones(3), np.array([1]), GAP_US)[0].size == 0
