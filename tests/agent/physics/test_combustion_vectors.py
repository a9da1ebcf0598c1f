"""Published numbers of fuel gases and their combustion, in their own units, through SI."""

import pytest

from joulemark_agent.physics.combustion import excess_air, stoichiometry
from joulemark_agent.physics.flue_gas import (
    SolidFuel,
    flue_oxygen_by_mass,
    fuel_value,
    gas_available_heat,
    solid_available_heat,
)
from joulemark_agent.physics.fuel_gas import (
    calorific_value,
    composition,
    compression_factor,
    molar_mass,
    relative_density,
    wobbe_index,
)
from joulemark_agent.physics.us_units import (
    F_AT_0_K,
    F_PER_K,
    J_KG_PER_BTU_LB,
    J_M3_PER_BTU_FT3,
    KG_PER_LB,
    M3_PER_FT3,
)
from support.vectors import require_all_used, require_close, vectors

VECTORS = vectors("combustion_gas")
METHANE = stoichiometry(composition({"CH4": 1.0}))
NAMES = {
    "C4H10_CnH2n": "nC4H10", "methane": "CH4", "ethane": "C2H6", "propane": "C3H8",
    "n-butane": "nC4H10", "i-butane": "iC4H10", "n-pentane": "nC5H12", "nitrogen": "N2",
}  # fmt: skip
STOPS_AT = 0.02  # relative difference of oxygen at which the source ends its search
WITHIN = 0.03  # of its result, where the exact one lies then


def kelvin(fahrenheit: float) -> float:
    return (fahrenheit - F_AT_0_K) / F_PER_K


def gas_of(shares, whole=100.0):
    return composition({NAMES.get(name, name): share / whole for name, share in shares.items()})


def fuel(given):
    value = fuel_value(gas_of(given))
    return {
        "btu_lb": value.mass_j_kg / J_KG_PER_BTU_LB,
        "btu_scf": value.volume_j_m3 / J_M3_PER_BTU_FT3,
        "specific_gravity": value.specific_gravity,
    }


def searched(gas, oxygen: float) -> float:
    """The source's way: from the dry methane case in steps of 1 %, until oxygen is near enough."""
    excess = excess_air(METHANE, oxygen, "dry")
    for _ in range(100):
        found = flue_oxygen_by_mass(gas, excess)
        if abs(oxygen - found) / oxygen < STOPS_AT:
            break
        excess *= 0.99 if found > oxygen else 1.01
    return excess


def exact(gas, oxygen: float) -> float:
    """Where the oxygen by mass is exactly that: it is e/(a + b e), so two points tell it."""
    one, two = (1 / flue_oxygen_by_mass(gas, e) for e in (1.0, 0.5))
    slope = two - one  # 1/oxygen = a/e + b
    return slope / (1 / oxygen - (one - slope))


def excess(given):
    gas, oxygen = gas_of(given["gas"]), given["flue_O2"]
    found = searched(gas, oxygen)
    assert exact(gas, oxygen) == pytest.approx(found, rel=WITHIN)
    assert flue_oxygen_by_mass(gas, exact(gas, oxygen)) == pytest.approx(oxygen, rel=1e-12)
    return {"excess_air": found}


def available(given):
    gas = gas_of(given["gas"])
    share = gas_available_heat(
        gas,
        searched(gas, given["flue_O2"]),
        kelvin(given["T_flue"]),
        kelvin(given["T_air"]),
        fuel_k=kelvin(given["T_fuel"]),
        ambient_k=kelvin(given["T_amb"]),
        fuel_kg_m3=KG_PER_LB / M3_PER_FT3,  # as the source takes it, for any gas
    )
    return {"available_heat": share}


def coal(given):
    of = given["fuel"]
    analysis = [of[name] / 100 for name in ("C", "H", "S", "ash", "O2", "moisture", "N")]
    share = solid_available_heat(
        SolidFuel(*analysis),
        given["excess_air_pct"] / 100,
        kelvin(given["T_flue"]),
        kelvin(given["T_air"]),
        fuel_k=kelvin(given["T_fuel"]),
        ash_k=given["T_ash"] + 273.15,  # the source takes this one in degrees Celsius
        air_moisture_ratio=given["moisture_air"] / 100,
        unburned_carbon_ratio=given["unburned_C_pct"] / 100,
    )
    return {"available_heat": share}


def standard(given):
    gas = gas_of(given, whole=1.0)
    return {
        "GCV": calorific_value(gas, "gross") / 1000,
        "superior_Wobbe": wobbe_index(gas, "gross") / 1000,
        "relative_density": relative_density(gas),
        "Z": compression_factor(gas, 288.15),
        "M": molar_mass(gas) * 1000,
    }


ADAPTERS = {
    **dict.fromkeys([f"phast-gas-{n}" for n in (1, 3, 5, 7, 9)], fuel),
    **dict.fromkeys([f"excess-air-{n}" for n in (1, 3)], excess),
    "phast-available-2": available,
    **dict.fromkeys([f"coal-available-{n}" for n in (1, 3)], coal),
    "iso6976-2016-15-15": standard,
}


@pytest.mark.parametrize("name", VECTORS)
def test_a_published_number_of_fuels_is_found(name):
    vector = VECTORS[name]
    require_close(ADAPTERS[name](vector["inputs"]), vector["expected"], vector["rel_tol"])


def test_every_vector_of_this_file_is_used():
    require_all_used("combustion_gas", ADAPTERS)
