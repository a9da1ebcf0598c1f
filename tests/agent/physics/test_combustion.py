"""Excess air there and back, and what the basis of the probe makes of a reading."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.physics.combustion import (
    burning_excess_air,
    excess_air,
    flue_oxygen,
    oxygen_state,
    stoichiometry,
)
from joulemark_agent.physics.domain import OutOfDomain
from joulemark_agent.physics.fuel_gas import composition

FUELS = {
    "methane": {"CH4": 1.0},
    "LNG": {"CH4": 0.8985, "C2H6": 0.0715, "C3H8": 0.0222, "nC4H10": 0.0050, "iC4H10": 0.0028},
    "coke oven gas": {
        "H2": 0.58, "CH4": 0.25, "CO": 0.07, "C2H4": 0.025, "CO2": 0.02, "N2": 0.05, "O2": 0.005
    },
    "blast furnace gas": {"CO": 0.233, "CO2": 0.20, "H2": 0.024, "N2": 0.543},
    "hydrogen": {"H2": 1.0},
}  # fmt: skip


@pytest.mark.parametrize("fuel", FUELS)
@given(excess=st.floats(0, 3.5), basis=st.sampled_from(["wet", "dry"]))
def test_excess_air_and_oxygen_are_each_other_s_inverse(fuel, excess, basis):
    burned = stoichiometry(composition(FUELS[fuel]))
    oxygen = flue_oxygen(burned, excess, basis)
    if oxygen < 0.20:
        assert excess_air(burned, oxygen, basis) == pytest.approx(excess, rel=1e-12, abs=1e-15)


def test_methane_has_the_moles_of_the_textbook():
    burned = stoichiometry(composition({"CH4": 1.0}))
    assert burned.oxygen == 2
    assert burned.dry_flue == pytest.approx(1 + 2 * 0.79 / 0.21)
    assert burned.wet_flue == pytest.approx(burned.dry_flue + 2)
    assert burned.air == pytest.approx(9.5238, abs=1e-4)


def test_the_same_reading_means_eight_points_more_air_if_the_gas_is_wet():
    burned = stoichiometry(composition({"CH4": 1.0}))
    assert excess_air(burned, 0.06, "dry") == pytest.approx(0.358, abs=1e-4)
    assert excess_air(burned, 0.06, "wet") == pytest.approx(0.442, abs=1e-3)


def test_oxygen_in_the_fuel_needs_no_air_and_inert_gas_only_thins():
    plain = stoichiometry(composition({"CO": 1.0}))
    thinned = stoichiometry(composition({"CO": 0.5, "N2": 0.5}))
    assert plain.oxygen == 0.5
    assert thinned.oxygen == 0.25
    assert thinned.dry_flue == pytest.approx(plain.dry_flue / 2 + 0.5)
    assert stoichiometry(composition({"CO": 0.9, "O2": 0.1})).oxygen == pytest.approx(0.35)
    argon = stoichiometry(composition({"CO": 0.5, "Ar": 0.5}))
    assert argon.dry_flue == pytest.approx(thinned.dry_flue)


def test_what_does_not_burn_has_no_excess_air():
    with pytest.raises(OutOfDomain, match="oxygen that the gas needs"):
        stoichiometry(composition({"N2": 1.0}))


@pytest.mark.parametrize("oxygen", [-0.001, 0.2001, 0.21, 1.0, 6.0])
def test_a_reading_of_no_flue_gas_is_refused(oxygen):
    with pytest.raises(OutOfDomain, match="oxygen_ratio"):
        excess_air(stoichiometry(composition({"CH4": 1.0})), oxygen, "dry")


@pytest.mark.parametrize(
    ("oxygen", "says"),
    [
        (0.0, "burning"), (0.1999, "burning"), (0.20, "burner_off"), (0.208, "burner_off"),
        (0.209, "o2_out_of_range"), (-0.01, "o2_out_of_range"), (float("nan"), "o2_out_of_range"),
    ],
)  # fmt: skip
def test_a_reading_near_air_says_that_the_burner_is_off(oxygen, says):
    assert oxygen_state(oxygen) == says


def test_readings_together_are_as_one_by_one():
    burned = stoichiometry(composition({"CH4": 1.0}))
    oxygen = np.array([0.0, 0.03, 0.1999, 0.20, 0.208, 0.21, -0.01, np.nan])
    together = burning_excess_air(burned, oxygen, "wet")
    for share, excess in zip(oxygen.tolist(), together.tolist(), strict=True):
        if oxygen_state(share) == "burning":
            assert excess == pytest.approx(excess_air(burned, share, "wet"), rel=1e-12)
        else:
            assert np.isnan(excess)
