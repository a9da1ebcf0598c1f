import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.kernels.energy import Times, _share, counter_energy, power_energy

QUARTER_US = 900_000_000
GAP_US = QUARTER_US * 3 // 2


def quarters(*counts: int) -> tuple[Times, Times]:
    t_us = np.arange(len(counts), dtype=np.int64) * QUARTER_US
    return t_us, np.array(counts, np.int64)


def energies(t_us, counter, edges_us, *, good=None, step_ok=None):
    n = t_us.size
    good = np.ones(n, np.bool_) if good is None else np.array(good)
    step_ok = np.ones(n - 1, np.bool_) if step_ok is None else np.array(step_ok)
    edges = np.array(edges_us, np.int64)
    return counter_energy(t_us, counter, good, step_ok, edges, GAP_US)


def test_a_step_inside_a_window_is_booked_whole():
    energy, covered, estimated, missing, fallen = energies(*quarters(7, 12, 30), [0, 1800_000_000])
    assert (energy.tolist(), covered.tolist()) == ([23], [1800_000_000])
    assert (estimated.tolist(), missing.tolist(), fallen) == ([0], [0], 0)


def test_a_step_across_an_edge_is_split_in_proportion_to_time_and_loses_nothing():
    t_us, counter = quarters(0, 10)
    energy, *_ = energies(t_us, counter, [0, 300_000_000, 600_000_000, 900_000_000])
    assert energy.tolist() == [3, 3, 4]


def test_a_masked_step_is_missing_and_its_neighbours_are_complete():
    t_us, counter = quarters(0, 5, 5, 9)
    energy, covered, estimated, missing, _ = energies(
        t_us, counter, t_us, step_ok=[True, False, True]
    )
    assert energy.tolist() == [5, 0, 4]
    assert covered.tolist() == [QUARTER_US, 0, QUARTER_US]
    assert (estimated.tolist(), missing.tolist()) == ([0, 0, 0], [0, QUARTER_US, 0])


def test_a_jump_after_an_outage_keeps_the_total_but_counts_as_estimated():
    """A recorded counter resumed with 46 MWh in one hour: none of it was measured power."""
    t_us = np.array([0, QUARTER_US, 9 * QUARTER_US, 10 * QUARTER_US])
    counter = np.array([0, 100, 46_210_586, 46_210_700])
    edges = np.arange(11) * QUARTER_US
    energy, covered, estimated, missing, _ = energies(t_us, counter, edges)
    assert energy.sum() == 46_210_700
    assert np.flatnonzero(estimated).tolist() == list(range(1, 9))
    assert covered.tolist() == [QUARTER_US, *[0] * 8, QUARTER_US]
    assert not missing.any()


def test_a_bad_reading_is_bridged_and_the_bridge_is_estimated():
    t_us, counter = quarters(0, 999, 20, 25)
    energy, covered, estimated, *_ = energies(t_us, counter, t_us, good=[True, False, True, True])
    assert energy.tolist() == [10, 10, 5]
    assert covered.tolist() == [0, 0, QUARTER_US]
    assert estimated.tolist() == [QUARTER_US, QUARTER_US, 0]


def test_a_falling_counter_books_nothing_and_is_counted():
    energy, covered, _, missing, fallen = energies(*quarters(50, 60, 3, 10), quarters(*range(4))[0])
    assert (energy.tolist(), fallen) == ([10, 0, 7], 1)
    assert (covered.tolist(), missing.tolist()) == ([QUARTER_US, 0, QUARTER_US], [0, QUARTER_US, 0])


def test_a_repeated_stamp_is_passed_over_and_the_next_step_counts_it():
    t_us = np.array([0, QUARTER_US, QUARTER_US, 2 * QUARTER_US])
    energy, covered, *_ = energies(t_us, np.array([0, 4, 5, 9]), [0, 2 * QUARTER_US])
    assert (energy.tolist(), covered.tolist()) == ([9], [2 * QUARTER_US])


def test_windows_before_the_first_and_after_the_last_reading_are_missing():
    t_us, counter = quarters(3, 8)
    edges = [-QUARTER_US, 0, QUARTER_US, 2 * QUARTER_US]
    energy, covered, _, missing, _ = energies(t_us, counter, edges)
    assert energy.tolist() == [0, 5, 0]
    assert missing.tolist() == [QUARTER_US, 0, QUARTER_US]
    assert covered.tolist() == [0, QUARTER_US, 0]


@pytest.mark.parametrize("counts", [(), (5,)])
def test_without_two_readings_everything_is_missing(counts):
    t_us = np.arange(len(counts), dtype=np.int64)
    counter = np.array(counts, np.int64)
    good, step_ok = np.ones(len(counts), np.bool_), np.zeros(0, np.bool_)
    energy, _, _, missing, _ = counter_energy(t_us, counter, good, step_ok, np.array([0, 9]), 5)
    assert (energy.tolist(), missing.tolist()) == ([0], [9])


def test_a_counter_that_falls_and_rises_again_does_not_overflow():
    t_us, counter = quarters(0, 2**63 - 1, 0, 2**63 - 1, 2**63 - 1)
    energy, covered, _, missing, fallen = energies(t_us, counter, t_us[[0, -1]])

    assert energy.tolist() == [2**63 - 1]
    assert (covered // QUARTER_US).tolist() == [2]
    assert (missing // QUARTER_US).tolist() == [2]
    assert fallen == 1


def test_the_largest_counter_over_the_longest_step_does_not_overflow():
    most, long_us = 2**63 - 1, 2**60
    t_us = np.array([-long_us, long_us])
    edges = [-long_us, -long_us // 3, 0, long_us // 7, long_us]
    energy, *_ = energies(t_us, np.array([0, most]), edges)
    exact = [most * (edge + long_us) // (2 * long_us) for edge in edges]
    assert energy.tolist() == np.diff(exact).tolist()
    assert energy.sum() == most


def test_a_share_is_the_floor_of_the_exact_product():
    assert _share(2**63 - 1, 2**61 - 3, 2**61 - 1) == (2**63 - 1) * (2**61 - 3) // (2**61 - 1)
    assert _share(10, 0, 7) == 0
    assert _share(10, 7, 7) == 10


def test_power_holds_for_the_time_that_ends_at_its_reading():
    t_us, _ = quarters(*range(4))
    energy, covered = power_energy(t_us, np.array([9999.0, 1000.0, 2000.0, 0.0]), t_us, GAP_US)
    assert energy.tolist() == [250.0, 500.0, 0.0]
    assert covered.tolist() == [QUARTER_US] * 3


def test_bad_power_and_long_gaps_are_not_bridged():
    t_us = np.array([0, 1, 2, 6, 7]) * QUARTER_US
    power = np.array([1.0, np.nan, 400.0, 400.0, 400.0])
    energy, covered = power_energy(t_us, power, np.array([0, 7 * QUARTER_US]), GAP_US)
    assert (energy.tolist(), covered.tolist()) == ([200.0], [2 * QUARTER_US])


def test_a_held_value_is_cut_at_the_window_edge():
    edges = np.array([0, 1, 3, 4]) * (QUARTER_US // 2)
    t_us = np.array([0, 2, 4]) * (QUARTER_US // 2)
    energy, covered = power_energy(t_us, np.array([0.0, 800.0, 1600.0]), edges, GAP_US)
    assert energy.tolist() == [100.0, 300.0, 200.0]
    assert covered.tolist() == np.diff(edges).tolist()


def test_assuming_the_declared_period_is_wrong_where_times_are_known():
    """59 s readings taken for minutes gain 1.7 %; the naive sum must differ, ours must not."""
    t_us = np.arange(0, 3600 * 59, 59, dtype=np.int64) * 1_000_000
    power = np.full(t_us.size, 60_000.0)
    energy, covered = power_energy(t_us, power, t_us[[0, -1]], 90_000_000)
    assert energy[0] == pytest.approx(60_000 * covered[0] / 3.6e9, rel=1e-12)
    assert power[1:].sum() / 60 == pytest.approx(energy[0] * 60 / 59, rel=1e-12)


@given(st.integers(0, 2**32 - 1))
def test_readings_booked_as_a_stretch_give_what_they_give_one_by_one(seed: int) -> None:
    """With a bad reading after each of them no stretch is without one, and nothing else changes."""
    draw, n = np.random.default_rng(seed), 800
    odd = draw.random((4, n)) < 0.01
    steps_us = np.where(odd[0], draw.choice([-GAP_US, 0, GAP_US, GAP_US + 1], n), 1_000_000)
    t_us = np.cumsum(steps_us + draw.integers(0, 2, n))
    rises = np.where(odd[1], draw.choice([-(2**63), -9, 2**62], n), draw.integers(0, 9, n)).tolist()
    counts = itertools.accumulate(rises, lambda was, rise: min(max(was + rise, 0), 2**63 - 1))
    counter = np.array(list(counts))
    good, code = ~odd[2], np.where(odd[3], draw.choice([0, 2], n), 1)
    edges = np.unique(draw.choice(t_us, 4) + draw.integers(-9, 9, 4))
    found = counter_energy(t_us, counter, good, code[:-1], edges, GAP_US)

    split = counter_energy(
        np.repeat(t_us, 2),
        np.column_stack([counter, np.full(n, -1)]).ravel(),
        np.column_stack([good, np.zeros(n, np.bool_)]).ravel(),
        np.column_stack([np.ones(n, np.int64), code]).ravel()[:-1],
        edges,
        GAP_US,
    )
    for one, other in zip(found[:4], split[:4], strict=True):
        assert one.tolist() == other.tolist()
    assert found[4] == split[4]
