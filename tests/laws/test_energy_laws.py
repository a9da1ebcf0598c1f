from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from joulemark_agent.kernels.carbon import co2e
from joulemark_agent.kernels.energy import Times, counter_energy, power_energy
from joulemark_agent.kernels.window import aligned_edges_us

GAP_US = 60
Flags: TypeAlias = NDArray[np.bool_]
Read: TypeAlias = tuple[Times, NDArray[np.int64], Flags, Flags]


@pytest.fixture(scope="module", autouse=True)
def _compiled():
    """The first call of a kernel compiles it, which no example should pay for."""
    t_us, flags = np.arange(3), np.ones(3, np.bool_)
    counter_energy(t_us, t_us, flags, flags[1:], t_us, GAP_US)
    power_energy(t_us, np.zeros(3), t_us, GAP_US)
    co2e(t_us, 0.4, 0.0)


@st.composite
def readings(draw):
    """Irregular readings of a counter that only rises, with bad readings and masked steps."""
    steps = draw(st.lists(st.integers(1, 120), min_size=1, max_size=25))
    rises = draw(st.lists(st.integers(0, 10**12), min_size=len(steps), max_size=len(steps)))
    t_us = np.append(0, np.cumsum(steps)) + draw(st.integers(-500, 500))
    counter = np.append(0, np.cumsum(rises)) + draw(st.integers(0, 10**15))
    n = t_us.size
    flags = st.lists(st.booleans(), min_size=n, max_size=n)
    good = np.array(draw(flags | st.just([True] * n)))
    step_ok = np.array(draw(flags | st.just([True] * n))[1:], np.bool_)
    return t_us, counter, good, step_ok


@st.composite
def edges(draw, low=-900, high=4000):
    cuts = draw(st.sets(st.integers(low, high), min_size=2, max_size=12))
    return np.array(sorted(cuts), np.int64)


@given(readings(), edges())
def test_covered_and_estimated_and_missing_are_the_length_of_every_window(read: Read, cuts):
    _, covered, estimated, missing, _ = counter_energy(*read, cuts, GAP_US)
    assert np.all((covered >= 0) & (estimated >= 0) & (missing >= 0))
    assert (covered + estimated + missing).tolist() == np.diff(cuts).tolist()


@given(readings(), edges(), st.data())
def test_the_energy_of_a_window_is_the_sum_of_its_parts_to_the_last_unit(read: Read, cuts, data):
    extra = data.draw(st.sets(st.integers(int(cuts[0]), int(cuts[-1])), max_size=8))
    finer = np.array(sorted({*cuts.tolist(), *extra}), np.int64)
    coarse_parts = counter_energy(*read, cuts, GAP_US)[:4]
    finer_parts = counter_energy(*read, finer, GAP_US)[:4]
    group = np.searchsorted(cuts, finer[:-1], side="right") - 1
    for whole, parts in zip(coarse_parts, finer_parts, strict=True):
        summed = np.zeros_like(whole)
        np.add.at(summed, group, parts)
        assert summed.tolist() == whole.tolist()


@given(readings(), edges())
def test_windows_over_all_readings_add_up_to_the_register_difference(read: Read, cuts):
    t_us, counter, good, _ = read
    all_edges = np.unique(np.concatenate([cuts, t_us[[0, -1]]]))
    step_ok = np.ones(t_us.size - 1, np.bool_)
    energy, *_, fallen = counter_energy(t_us, counter, good, step_ok, all_edges, GAP_US)
    seen = np.flatnonzero(good)
    difference = counter[seen[-1]] - counter[seen[0]] if seen.size else 0
    assert (energy.sum(), fallen) == (difference, 0)


@given(readings(), edges())
def test_no_window_has_energy_without_time(read: Read, cuts):
    energy, covered, estimated, _, _ = counter_energy(*read, cuts, GAP_US)
    assert not np.any(energy[(covered == 0) & (estimated == 0)])
    assert np.all(energy >= 0)


@given(readings(), edges())
def test_what_a_masked_step_loses_is_missing_and_nothing_else_changes(read: Read, cuts):
    t_us, counter, _, _ = read
    good, all_ok = np.ones(t_us.size, np.bool_), np.ones(t_us.size - 1, np.bool_)
    one_less = all_ok.copy()
    one_less[0] = False
    whole = counter_energy(t_us, counter, good, all_ok, cuts, GAP_US)
    less = counter_energy(t_us, counter, good, one_less, cuts, GAP_US)
    first = counter_energy(t_us[:2], counter[:2], good[:2], all_ok[:1], cuts, GAP_US)
    assert (less[0] + first[0]).tolist() == whole[0].tolist()
    assert (less[1] + first[1]).tolist() == whole[1].tolist()


powers = st.lists(
    st.floats(0, 1e6, allow_subnormal=False) | st.just(np.nan), min_size=2, max_size=25
)


@given(powers, edges(0, 25 * 50), st.data())
def test_held_power_is_additive_over_splits_in_energy_and_exactly_in_time(power, cuts, data):
    t_us = np.arange(len(power)) * data.draw(st.integers(1, 80))
    extra = data.draw(st.sets(st.integers(int(cuts[0]), int(cuts[-1])), max_size=8))
    finer = np.array(sorted({*cuts.tolist(), *extra}), np.int64)
    power_w = np.array(power)
    energy, covered = power_energy(t_us, power_w, cuts, GAP_US)
    parts, times = power_energy(t_us, power_w, finer, GAP_US)
    group = np.searchsorted(cuts, finer[:-1], side="right") - 1
    summed, summed_us = np.zeros_like(energy), np.zeros_like(covered)
    np.add.at(summed, group, parts)
    np.add.at(summed_us, group, times)
    assert summed_us.tolist() == covered.tolist()
    assert summed == pytest.approx(energy, rel=1e-12, abs=1e-15)
    assert np.all(covered <= np.diff(cuts))


@given(
    st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=50),
    st.floats(0.01, 2),
    st.floats(0, 0.5),
    st.integers(-50, 50),
)
def test_co2e_is_linear_in_energy(energy, factor, ratio, times):
    energy_wh = np.array(energy, np.int64)
    kg, uncertainty_kg = co2e(energy_wh, factor, ratio)
    scaled_kg, scaled_uncertainty_kg = co2e(energy_wh * times, factor, ratio)
    assert scaled_kg == pytest.approx(times * kg, rel=1e-12)
    assert scaled_uncertainty_kg == pytest.approx(abs(times) * uncertainty_kg, rel=1e-12)
    assert kg == pytest.approx(sum(energy) / 1000 * factor, rel=1e-12)


@given(st.integers(-(10**9), 10**9), st.integers(0, 10**6), st.integers(1, 10**4))
def test_aligned_edges_hold_the_span_and_no_window_too_many(first, length, width):
    cuts = aligned_edges_us(first, first + length, width)
    assert cuts[0] <= first < cuts[0] + width
    assert cuts[-1] - width < first + length <= cuts[-1] or (length == 0 and cuts.size == 1)
    assert np.all(np.diff(cuts) == width)
    assert np.all(cuts % width == 0)
