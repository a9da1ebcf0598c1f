import numpy as np
import pytest

from joulemark_agent.kernels.carbon import co2e

MWH = 1_000_000


@pytest.mark.parametrize(
    ("energy_mwh", "factor", "co2e_kg"),
    [(400, 0.4, 160_000), (1000, 0.4173, 417_300), (1000, 0.4541, 454_100)],
)
def test_energy_times_factor_gives_the_worked_examples(energy_mwh, factor, co2e_kg):
    kg, _ = co2e(np.array([energy_mwh * MWH]), factor, 0.0)
    assert kg == pytest.approx(co2e_kg, rel=1e-15)


def test_the_windows_are_summed_before_anything_is_rounded():
    """Rounded to 0.01 t per window, a recorded year loses 8.2 % of its CO2e."""
    energy_wh = np.full(35_040, 27_387, np.int64)
    kg, _ = co2e(energy_wh, 0.4585, 0.0)
    assert kg == pytest.approx(35_040 * 27.387 * 0.4585, rel=1e-14)
    assert np.round(energy_wh * 0.4585e-6, 2).sum() * 1000 != pytest.approx(kg, rel=0.05)


def test_the_factor_error_is_common_and_adds_linearly():
    energy_wh = np.array([100 * MWH, 80 * MWH, -30 * MWH])
    parts = [co2e(energy_wh[k : k + 1], 0.4173, 0.05) for k in range(3)]
    kg, uncertainty_kg = co2e(energy_wh, 0.4173, 0.05)
    assert kg == pytest.approx(sum(part[0] for part in parts), rel=1e-15)
    assert uncertainty_kg == pytest.approx(0.05 * kg, rel=1e-15)
    assert uncertainty_kg < sum(part[1] for part in parts)


def test_one_factor_over_baseline_and_project_counts_its_error_once():
    """100 ± 1 and 80 ± 1 MWh at 0.4173 ± 5 %: 8.346 t, 0.590 and 0.417 t, together 0.723 t."""
    kg, from_factor_kg = co2e(np.array([100 * MWH, -80 * MWH]), 0.4173, 0.05)
    from_energy_kg = np.hypot(1, 1) * 1000 * 0.4173
    assert round(kg) == 8346
    assert round(from_energy_kg) == 590
    assert round(from_factor_kg) == 417
    assert round(np.hypot(from_energy_kg, from_factor_kg)) == 723


def test_no_energy_is_no_co2e():
    assert co2e(np.zeros(0, np.int64), 0.4, 0.1) == (0.0, 0.0)
