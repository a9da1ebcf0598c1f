import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.physics.available_heat import available_heat, enriched_available_heat
from joulemark_agent.physics.charges import gas_charge_heat, liquid_charge_heat, solid_charge_heat
from joulemark_agent.physics.domain import OutOfDomain
from joulemark_agent.physics.electric_arc import off_gas_heat
from joulemark_agent.physics.furnace_losses import (
    auxiliary_power,
    carried_heat,
    furnace_efficiency,
    leakage_loss,
    radiation,
    wall_loss,
    water_cooling_loss,
    water_density,
)
from joulemark_agent.physics.us_units import (
    F_AT_0_K,
    F_PER_K,
    KG_PER_LB,
    M2_PER_FT2,
    M3_PER_GAL,
    PA_PER_INH2O,
    W_PER_BTU_H,
)

SIGMA = 5.670374419e-8  # CODATA 2018


def kelvin(fahrenheit: float) -> float:
    return (fahrenheit - F_AT_0_K) / F_PER_K


# Walls


def test_radiation_is_that_of_stefan_and_boltzmann_within_two_thousandths():
    assert radiation(1.0, 1200.0, 300.0) == pytest.approx(SIGMA * (1200.0**4 - 300.0**4), rel=2e-3)


@given(st.floats(0.1, 1e4), st.floats(0, 100), st.floats(0, 20))
def test_a_wall_loses_in_proportion_to_its_area_and_more_in_wind(area_m2, above_k, wind_m_s):
    loss_w = wall_loss(area_m2, 300 + above_k, 300.0)
    assert loss_w == pytest.approx(area_m2 * wall_loss(1.0, 300 + above_k, 300.0))
    assert wall_loss(area_m2, 300 + above_k, 300.0, wind_m_s=wind_m_s) >= loss_w >= 0


def test_a_wall_as_warm_as_the_hall_loses_nothing():
    assert wall_loss(10.0, 300.0, 300.0) == 0


def test_a_wall_colder_than_the_hall_is_refused():
    with pytest.raises(OutOfDomain, match="surface_k is 290 K"):
        wall_loss(10.0, 290.0, 300.0)


# Leaks: the formula of its source, evaluated here in its own units


def test_a_leak_in_si_is_the_leak_in_us_units():
    draft_inh2o, area_ft2, gas_f, ambient_f = 0.1, 3.0, 1600.0, 80.0
    flow = 1655 * 0.6 * area_ft2 * 144 * math.sqrt(draft_inh2o / 1.02)
    flow *= math.sqrt(520 / (460 + gas_f))
    mean = (gas_f + ambient_f) / 2
    heat = 0.0793 * (0.2371 - 9e-6 * mean + 7e-8 * mean**2 - 3e-11 * mean**3)
    found_w = leakage_loss(
        area_ft2 * M2_PER_FT2,
        draft_inh2o * PA_PER_INH2O,
        kelvin(gas_f),
        kelvin(ambient_f),
        specific_gravity=1.02,
        discharge=0.6,
    )
    assert found_w / W_PER_BTU_H == pytest.approx(flow * heat * (gas_f - ambient_f), rel=1e-9)


def test_four_times_the_draft_leaks_twice_as_much():
    one, four = (leakage_loss(0.1, draft, 1200.0, 300.0) for draft in (10.0, 40.0))
    assert four == pytest.approx(2 * one, rel=1e-12)
    assert leakage_loss(0.1, 0.0, 1200.0, 300.0) == 0


# What streams take along


@given(st.floats(0, 10), st.floats(100, 5000), st.floats(250, 2000), st.floats(250, 2000))
def test_a_stream_takes_along_mass_times_capacity_times_difference(flow, capacity, in_k, out_k):
    heat_w = carried_heat(flow, capacity, in_k, out_k)
    assert heat_w == pytest.approx(flow * capacity * (out_k - in_k))
    assert carried_heat(flow, capacity, out_k, in_k) == -heat_w


def test_water_weighs_what_tables_say():
    for celsius, kg_m3 in ((3.98, 999.97), (20, 998.20), (60, 983.2), (95, 961.9)):
        assert water_density(celsius + 273.15) == pytest.approx(kg_m3, rel=3e-4)


def test_water_cooling_in_si_is_that_in_gallons_and_degrees_fahrenheit():
    gallons_min, in_f, out_f = 100.0, 80.0, 120.0
    celsius = ((in_f + out_f) / 2 - 32) / 1.8
    kg_m3 = 1000 * (
        1 - (celsius + 288.9414) / (508929.2 * (celsius + 68.12963)) * (celsius - 3.9863) ** 2
    )
    pounds_per_gallon = kg_m3 * 0.0083454  # as rounded in the source
    btu_h = gallons_min * 60 * pounds_per_gallon * (out_f - in_f)
    found_w = water_cooling_loss(gallons_min * M3_PER_GAL / 60, kelvin(in_f), kelvin(out_f))
    assert found_w / W_PER_BTU_H == pytest.approx(btu_h, rel=1e-6)
    assert pounds_per_gallon * KG_PER_LB / M3_PER_GAL == pytest.approx(kg_m3, rel=1e-6)


def test_auxiliary_power_of_three_phases():
    assert auxiliary_power(3, 400.0, 10.0, 0.9) == pytest.approx(math.sqrt(3) * 3600)
    assert auxiliary_power(1, 400.0, 10.0, 0.9, 0.5) == 1800
    with pytest.raises(OutOfDomain, match="power_factor is 90"):
        auxiliary_power(3, 400.0, 10.0, 90.0)


def test_efficiency_counts_atmosphere_and_auxiliaries():
    assert furnace_efficiency(40.0, 80.0, other_j=20.0) == 0.4
    with pytest.raises(OutOfDomain):
        furnace_efficiency(40.0, 0.0)


# Charges


@given(st.floats(0, 1), st.floats(300, 400), st.floats(400, 2000))
def test_a_gas_charge_is_the_mean_of_gas_and_vapour(vapour_ratio, in_k, out_k):
    heat_j = gas_charge_heat(
        2.0, in_k, out_k, gas_j_kg_k=1000.0, vapour_ratio=vapour_ratio, vapour_j_kg_k=2000.0
    )
    assert heat_j == pytest.approx(2.0 * (1000 + 1000 * vapour_ratio) * (out_k - in_k))
    reacting = gas_charge_heat(
        2.0, in_k, out_k, gas_j_kg_k=1000.0, reacted_ratio=0.5, reaction_j_kg=100.0
    )
    assert reacting == pytest.approx(2000 * (out_k - in_k) + 100)


def test_melting_adds_the_heat_of_fusion_once():
    common = {"solid_j_kg_k": 900.0, "melting_k": 933.0, "liquid_j_kg_k": 1100.0}
    solid, molten = (
        solid_charge_heat(1.0, 300.0, 933.0, fusion_j_kg=4e5, melted_ratio=share, **common)
        for share in (0.0, 1.0)
    )
    assert molten - solid == pytest.approx(4e5)
    assert solid == pytest.approx(900 * 633)


def test_drying_takes_the_heat_of_evaporation():
    wet = solid_charge_heat(1.0, 293.15, 393.15, solid_j_kg_k=0.0, moisture_in_ratio=0.1)
    assert wet == pytest.approx(0.1 * (4186.8 * 80 + 970 * 2326))
    damp = solid_charge_heat(
        1.0, 293.15, 393.15, solid_j_kg_k=0.0, moisture_in_ratio=0.1, vapour_k=353.15
    )
    assert damp == pytest.approx(0.1 * 4186.8 * 60), "nothing evaporates below 100 degrees"


def test_a_charge_cannot_leave_wetter_than_it_came():
    with pytest.raises(OutOfDomain, match="moisture_out_ratio"):
        solid_charge_heat(1.0, 293.15, 393.15, solid_j_kg_k=500.0, moisture_out_ratio=0.1)


def test_a_liquid_below_its_boiling_point_only_warms():
    assert liquid_charge_heat(
        1.0, 300.0, 350.0, liquid_j_kg_k=2000.0, boiling_k=373.15, evaporation_j_kg=1e6,
        vaporised_ratio=1.0,
    ) == pytest.approx(1e5)  # fmt: skip


# Available heat


@given(st.floats(0, 2), st.floats(600, 1700), st.floats(280, 700))
def test_more_air_and_hotter_flue_leave_less_heat_and_hotter_air_more(excess, flue_k, air_k):
    share = available_heat(excess, flue_k, air_k)
    assert (
        available_heat(excess, flue_k + 10, air_k)
        < share
        < available_heat(excess, flue_k, air_k + 10)
    )
    if flue_k > air_k:
        assert available_heat(excess + 0.1, flue_k, air_k) < share


@given(st.floats(0.21, 1), st.floats(0, 1))
def test_oxygen_in_the_air_leaves_more_heat_and_none_added_changes_nothing(oxygen, excess):
    plain = available_heat(excess, 1300.0, 300.0)
    assert enriched_available_heat(excess, 1300.0, 300.0, 0.21) == plain
    assert enriched_available_heat(excess, 1300.0, 300.0, oxygen) >= plain


def test_clean_off_gas_as_cold_as_the_standard_carries_nothing():
    assert off_gas_heat(
        1.0, kelvin(60.0), co_ratio=0.0, hydrogen_ratio=0.0, combustible_ratio=0.0
    ) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0])
def test_a_number_that_is_none_is_refused_everywhere(bad):
    calls = [
        lambda: wall_loss(bad, 350.0, 300.0),
        lambda: leakage_loss(0.1, bad, 1200.0, 300.0),
        lambda: carried_heat(bad, 1000.0, 300.0, 400.0),
        lambda: water_cooling_loss(bad, 300.0, 310.0),
        lambda: solid_charge_heat(bad, 300.0, 400.0, solid_j_kg_k=500.0),
        lambda: available_heat(bad, 1200.0, 300.0),
    ]
    for call in calls:
        with pytest.raises(OutOfDomain):
            call()
