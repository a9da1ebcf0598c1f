import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.kernels.reconcile import (
    BY_INTEGRAL,
    BY_REGISTER,
    UNKNOWN,
    boundary_counts,
    boundary_uncertainty,
    reconciled,
    weighted_mean,
)
from support.streams import FIRST_US, HOUR, QUARTER

NAN = np.nan


def columns(*rows):
    return tuple(np.array(column, np.float64) for column in zip(*rows, strict=True))


def test_a_register_is_believed_and_the_integral_vouches_for_it():
    register, integral, covered = columns(
        (100.0, 99.0, 1.0),  # agree
        (100.0, 90.0, 1.0),  # do not
        (100.0, 60.0, 0.6),  # a gap that the register measured
        (NAN, 60.0, 0.6),  # nobody measured the gap
        (100.0, NAN, 0.0),
        (NAN, NAN, 0.0),
        (0.0, 0.0, 1.0),  # both stand still
        (5.0, 0.0, 1.0),  # the integral does
        (50.0, 60.0, 0.6),  # the integral has more than there was
    )
    found = reconciled(register, integral, covered, np.full(9, 0.3), 0.01)
    expected = [100.0, 100.0, 100.0, 60.0, 100.0, NAN, 0.0, 5.0, 50.0]
    assert found.energy_wh.tolist() == pytest.approx(expected, nan_ok=True)
    assert found.source.tolist() == [
        BY_REGISTER, BY_REGISTER, BY_REGISTER, BY_INTEGRAL, BY_REGISTER, UNKNOWN,
        BY_REGISTER, BY_REGISTER, BY_REGISTER,
    ]  # fmt: skip
    assert found.is_alarm.tolist() == [False, True, *[False] * 5, True, True]
    assert found.kappa_ratio[:2].tolist() == pytest.approx([100 / 99, 100 / 90])
    assert np.isnan(found.kappa_ratio[2:]).all()
    assert found.gap_wh.tolist() == [0, 0, 40, 0, 100, 0, 0, 0, -10]
    assert found.measured_by_register.tolist() == [0, 0, 1, 0, 1, 0, 0, 0, 1]


def test_the_alarm_is_at_twice_the_uncertainty_of_both():
    register, integral = np.array([1019.0, 1021.0]), np.array([1000.0, 1000.0])
    found = reconciled(register, integral, np.ones(2), np.full(2, 6.0), 0.008)
    assert found.is_alarm.tolist() == [False, True]


def test_a_count_at_an_edge_follows_time_or_the_power_between_its_two_reads():
    t_us = FIRST_US + np.array([0, HOUR, 2 * HOUR])
    count = np.array([1000.0, 1600.0, 1600.0])
    edges_us = FIRST_US + np.arange(-1, 10) * QUARTER
    plain = boundary_counts(edges_us, t_us, count)
    known = [1000, 1150, 1300, 1450, 1600, 1600, 1600, 1600, 1600]
    assert plain.tolist() == pytest.approx([NAN, *known, NAN], nan_ok=True)
    at_reads = np.array([0.0, 300.0, 300.0])  # half of what the register says, all of it at first
    at_edges = np.clip((edges_us - FIRST_US) / QUARTER * 300.0, 0, 300)
    shaped = boundary_counts(edges_us, t_us, count, (at_reads, at_edges))
    assert shaped[1:4].tolist() == [1000, 1600, 1600]
    assert boundary_counts(edges_us, t_us[:1], count[:1]).tolist() == pytest.approx(
        [NAN] * 11, nan_ok=True
    )


def test_the_uncertainty_at_an_edge_is_the_step_of_the_register_and_what_may_have_drifted():
    assert boundary_uncertainty(12.0, 0.0, QUARTER) == pytest.approx(12 / np.sqrt(12))
    assert boundary_uncertainty(0.0, 400.0, QUARTER) == pytest.approx(100.0)
    both = boundary_uncertainty(12.0, 400.0, QUARTER)
    assert both == pytest.approx(np.hypot(12 / np.sqrt(12), 100))


@given(
    st.lists(
        st.tuples(st.floats(1e-3, 1e6) | st.just(0.0), st.floats(0.1, 1e3)), min_size=1, max_size=30
    )
)
def test_a_ratio_is_a_sum_over_a_sum_and_lies_between_its_values(pairs):
    value, weight = columns(*pairs)
    mean = weighted_mean(value, weight)
    assert value.min() * (1 - 1e-12) <= mean <= value.max() * (1 + 1e-12)
    with_holes = np.append(value, [NAN, 1.0]), np.append(weight, [1.0, NAN])
    assert weighted_mean(*with_holes) == mean
    assert np.isnan(weighted_mean(value, np.zeros_like(weight)))
