import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.physics.domain import OutOfDomain
from joulemark_agent.physics.flue_gas import fuel_value, gas_available_heat
from joulemark_agent.physics.fuel_gas import (
    NORMALISED,
    calorific_value,
    co2_factor,
    co2_per_normal_volume,
    composition,
    compression_factor,
    molar_calorific_value,
    molar_mass,
    normal_volume,
    wobbe_index,
)
from joulemark_agent.physics.gas_components import COMPONENTS

LNG = {"CH4": 0.8985, "C2H6": 0.0715, "C3H8": 0.0222, "nC4H10": 0.0050, "iC4H10": 0.0028}
TEMPERATURES_K = (273.15, 288.15, 293.15, 298.15)
WATER_KJ_MOL = (45.064, 44.431, 44.222, 44.013)
ATOMS_G = (12.011, 1.00794, 15.9994, 14.0067, 32.065)

mixtures = st.dictionaries(
    st.sampled_from(sorted(COMPONENTS)), st.floats(0.01, 1), min_size=1, max_size=6
).map(lambda parts: {name: part / sum(parts.values()) for name, part in parts.items()})


@pytest.mark.parametrize("name", COMPONENTS)
def test_the_constants_of_a_gas_agree_with_its_atoms(name):
    gas = COMPONENTS[name]
    if any(gas.atoms):
        counted = sum(n * g for n, g in zip(gas.atoms, ATOMS_G, strict=True))
        assert gas.molar_mass_g == pytest.approx(counted, rel=1e-3)
    for gross, net, water in zip(gas.gross_kj_mol, gas.net_kj_mol, WATER_KJ_MOL, strict=True):
        assert net == pytest.approx(gross - gas.atoms[1] / 2 * water, rel=2e-4, abs=1e-9)
    assert list(gas.summation) == sorted(gas.summation, reverse=True)


def test_a_composition_that_does_not_add_up_is_scaled_and_says_so():
    scaled = composition({name: share * 0.99 for name, share in LNG.items()})
    assert sum(scaled.shares.values()) == pytest.approx(1.0, rel=1e-12)
    assert scaled.flags == (NORMALISED,)
    assert composition(LNG).flags == ()


@pytest.mark.parametrize("off", [0.9799, 1.0201, 0.0, 100.0])
def test_a_composition_that_is_far_off_is_refused(off):
    with pytest.raises(OutOfDomain, match=r"share|sum"):
        composition({name: share * off for name, share in LNG.items()})


@pytest.mark.parametrize("off", [0.98, 1.02])
def test_the_ends_of_the_allowed_sum_are_taken(off):
    assert composition({"CH4": 0.5 * off, "C2H6": 0.5 * off}).flags == (NORMALISED,)


def test_a_gas_that_is_not_known_is_refused_with_those_that_are():
    with pytest.raises(OutOfDomain, match=r"'methane' is no gas .* CH4"):
        composition({"methane": 1.0})


@given(mixtures, st.sampled_from(["net", "gross"]), st.sampled_from(TEMPERATURES_K))
def test_the_heat_of_a_mixture_is_the_sum_of_its_parts(shares, basis, at_k):
    parts = sum(
        share * molar_calorific_value(composition({name: 1.0}), basis, at_k)
        for name, share in shares.items()
    )
    found = molar_calorific_value(composition(shares), basis, at_k)
    assert found == pytest.approx(parts, rel=1e-12, abs=1e-9)
    assert molar_calorific_value(composition(shares), "net", at_k) <= (
        molar_calorific_value(composition(shares), "gross", at_k) + 250  # rounding of the table
    )


def test_natural_gas_has_the_calorific_value_of_a_bill():
    """Korean city gas of LNG: about 43 MJ/Nm3 gross and 38.9 net."""
    gas = composition(LNG)
    reference = {"combustion_k": 288.15, "metering_k": 273.15}
    assert calorific_value(gas, "gross", **reference) == pytest.approx(43.9e6, rel=0.01)
    assert calorific_value(gas, "net", **reference) == pytest.approx(39.7e6, rel=0.01)
    assert wobbe_index(gas, "gross") > wobbe_index(gas, "net")


def test_a_cubic_metre_at_15_degrees_holds_less_than_one_at_0():
    gas = composition({"CH4": 1.0})
    warm, cold = (calorific_value(gas, "net", metering_k=at_k) for at_k in (288.15, 273.15))
    real = compression_factor(gas, 288.15) / compression_factor(gas, 273.15)
    assert cold / warm == pytest.approx(288.15 / 273.15 * real, rel=1e-12)


def test_a_reference_that_is_not_in_the_table_is_refused():
    with pytest.raises(OutOfDomain, match=r"metering_k is 288\.7 K; the table holds 273\.15"):
        calorific_value(composition(LNG), "net", metering_k=288.7)


# Carbon dioxide


def test_the_carbon_dioxide_of_methane_is_that_of_the_hand():
    gas = composition({"CH4": 1.0})
    assert co2_per_normal_volume(gas, is_ideal=True) == pytest.approx(44.0095 / 22.414, rel=1e-9)
    assert co2_per_normal_volume(gas, is_ideal=True) == pytest.approx(1.963, abs=1e-3)
    assert co2_factor(gas) == pytest.approx(44.0095e-3 / 802.60e3 * 1e12, rel=1e-9)


@pytest.mark.parametrize(
    ("shares", "carbon"),
    [
        (LNG, 0.8985 + 2 * 0.0715 + 3 * 0.0222 + 4 * 0.0078),
        ({"CO": 0.233, "CO2": 0.20, "H2": 0.024, "N2": 0.543}, 0.433),
        ({"H2": 0.58, "CH4": 0.25, "CO": 0.07, "C2H4": 0.025, "CO2": 0.02, "N2": 0.055}, 0.39),
    ],
)
def test_the_carbon_dioxide_of_a_gas_is_that_of_its_carbon(shares, carbon):
    gas = composition(shares)
    total = sum(shares.values())
    compression = compression_factor(gas, 273.15)
    assert co2_per_normal_volume(gas) == pytest.approx(
        carbon / total * 44.0095 / (22.414 * compression), rel=1e-6
    )
    net_mj = molar_calorific_value(gas, "net", 298.15) / 1e6
    assert co2_factor(gas) == pytest.approx(carbon / total * 44.0095e-3 / net_mj * 1e6, rel=1e-6)


def test_natural_gas_has_about_the_factor_of_the_guidelines():
    assert co2_factor(composition(LNG)) == pytest.approx(56_100, rel=0.01)


def test_what_does_not_burn_has_no_factor():
    with pytest.raises(OutOfDomain, match="net calorific value"):
        co2_factor(composition({"CO2": 1.0}))


# Volumes


@given(st.floats(0.1, 1e6), st.floats(8e4, 2e6), st.floats(250, 330))
def test_a_normal_volume_is_proportional_to_pressure_and_to_one_over_temperature(v, p, t):
    found = normal_volume(v, p, t)
    assert found == pytest.approx(v * p / 101_325 * 273.15 / t, rel=1e-12)
    assert normal_volume(v, p, t, compression=0.98, normal_compression=0.997) == pytest.approx(
        found * 0.997 / 0.98, rel=1e-12
    )


def test_what_a_meter_without_correction_misses():
    at = normal_volume(1.0, 101_325, 288.15)
    assert at / normal_volume(1.0, 101_325, 289.15) - 1 == pytest.approx(0.0035, abs=1e-4)
    assert normal_volume(1.0, 102_325, 288.15) / at - 1 == pytest.approx(0.0099, abs=1e-4)
    assert 1 / at == pytest.approx(1.054915, abs=1e-6)


def test_gauge_pressure_is_refused_where_it_cannot_be_absolute():
    with pytest.raises(OutOfDomain, match="pressure_pa is 0"):
        normal_volume(1.0, 0.0, 288.15)


# By the table of PHAST


def test_the_table_of_phast_is_near_the_standard_s():
    gas = composition({"CH4": 1.0})
    assert fuel_value(gas).mass_j_kg == pytest.approx(
        molar_calorific_value(gas, "gross") / molar_mass(gas), rel=2e-3
    )


def test_a_gas_that_phast_does_not_know_is_refused():
    with pytest.raises(OutOfDomain, match="C6H6"):
        fuel_value(composition({"CH4": 0.9, "C6H6": 0.1}))


@given(st.floats(0, 2), st.floats(500, 1700), st.floats(290, 490))
def test_more_air_leaves_less_heat_and_hotter_air_more(excess, flue_k, air_k):
    gas = composition({"CH4": 0.9, "C2H6": 0.05, "N2": 0.03, "CO2": 0.02})
    share = gas_available_heat(gas, excess, flue_k, air_k)
    assert gas_available_heat(gas, excess + 0.05, flue_k, air_k) < share + 1e-9
    assert gas_available_heat(gas, excess, flue_k + 10, air_k) < share
