import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.kernels.gas import (
    COMPRESSOR_INLET,
    NORMAL_0C,
    STANDARD_15C,
    State,
    combustion_co2e,
    combustion_energy,
    volume_at,
)

states = st.builds(State, st.floats(5e4, 2e6), st.floats(230, 1500))


def test_a_normal_cubic_metre_is_1_0549_standard_ones():
    assert volume_at(1.0, NORMAL_0C, STANDARD_15C) == pytest.approx(1.054915, rel=1e-6)


def test_a_normal_cubic_metre_is_1_0874_of_free_air():
    """At 1 bar, 20 C, dry: (293.15 / 273.15) * (101.325 / 100)."""
    assert volume_at(1.0, NORMAL_0C, COMPRESSOR_INLET) == pytest.approx(1.087440, rel=1e-6)


@given(st.floats(1e-3, 1e6), states, states)
def test_a_volume_taken_to_another_state_and_back_is_the_same(volume_m3, one, other):
    there = volume_at(volume_m3, one, other)
    assert volume_at(there, other, one) == pytest.approx(volume_m3, rel=1e-12)


def test_a_thousand_cubic_metres_of_city_gas_by_hand():
    """38.9 MJ/Nm3 net and 56,100 kg CO2/TJ: Korean ETS guideline, annex 12, read second hand."""
    assert combustion_energy(1000.0, 38.9) == pytest.approx(10_805_555.555555556)
    assert combustion_co2e(1000.0, 38.9, 56_100.0) == pytest.approx(2182.29)
