import numpy as np
import pytest

from joulemark_agent.kernels.carbon import co2e_in_total, co2e_of_windows
from support.streams import DAY, FIRST_US, HOUR, QUARTER

START = FIRST_US + np.arange(96) * QUARTER
HOURS = FIRST_US + np.arange(25) * HOUR
FACTORS = np.linspace(0.4, 0.63, 24)
RATIOS = np.full(24, 0.05)


def test_each_window_is_multiplied_with_the_factor_of_its_hour():
    energy = np.linspace(-500, 2000, 96)
    kg, u_kg = co2e_of_windows(START, START + QUARTER, energy, HOURS, FACTORS, RATIOS)
    assert kg.tolist() == pytest.approx((energy / 1000 * np.repeat(FACTORS, 4)).tolist(), rel=1e-14)
    assert u_kg.tolist() == pytest.approx(np.abs(kg * 0.05).tolist(), rel=1e-14)


def test_the_errors_of_energy_and_factor_add_in_quadrature():
    kg, u_kg = co2e_of_windows(
        START[:1], START[:1] + QUARTER, np.array([1000.0]), HOURS, FACTORS, RATIOS, np.array([30.0])
    )
    assert u_kg[0] == pytest.approx(kg[0] * np.hypot(0.05, 0.03), rel=1e-14)


@pytest.mark.parametrize(
    ("start_us", "end_us"),
    [
        (FIRST_US - QUARTER, FIRST_US),  # before the first factor
        (FIRST_US + DAY, FIRST_US + DAY + QUARTER),  # after the last
        (FIRST_US + HOUR - QUARTER, FIRST_US + HOUR + QUARTER),  # of two factors
        (FIRST_US + 5 * HOUR, FIRST_US + 5 * HOUR + QUARTER),  # of one that is not known
    ],
)
def test_a_window_without_one_factor_has_no_co2e(start_us, end_us):
    factors = FACTORS.copy()
    factors[5] = np.nan
    window = np.array([start_us]), np.array([end_us]), np.array([100.0])
    kg, u_kg = co2e_of_windows(*window, HOURS, factors, RATIOS)
    assert np.isnan([kg[0], u_kg[0]]).all()
    assert np.isnan(co2e_of_windows(*window, HOURS[:1], factors[:0], RATIOS[:0])[0]).all()


def test_one_error_of_all_factors_adds_linearly_and_cancels_in_both_signs():
    kg, u_kg = np.array([3.0, 4.0]), np.array([0.3, 0.4])
    assert co2e_in_total(kg, u_kg, 1.0) == pytest.approx((7.0, 0.7))
    assert co2e_in_total(kg, u_kg, 0.0) == pytest.approx((7.0, 0.5))
    assert co2e_in_total(np.array([3.0, -3.0]), np.array([0.3, 0.3]), 1.0) == pytest.approx((0, 0))


def test_co2e_does_not_depend_on_how_finely_energy_is_given():
    energy = np.random.default_rng(1).uniform(0, 5000, 96)
    fine = co2e_of_windows(START, START + QUARTER, energy, HOURS, FACTORS, RATIOS)
    hourly = energy.reshape(24, 4).sum(axis=1)
    coarse = co2e_of_windows(HOURS[:-1], HOURS[1:], hourly, HOURS, FACTORS, RATIOS)
    for correlation in (0.0, 0.5, 1.0):
        total, u_total = co2e_in_total(*fine, correlation)
        assert total == pytest.approx(co2e_in_total(*coarse, correlation)[0], rel=1e-13)
        assert u_total <= co2e_in_total(*fine, 1.0)[1] * (1 + 1e-12)
