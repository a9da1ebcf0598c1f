"""Capacity and power of chillers by the curves of their kind, as published."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulemark_agent.physics.chiller import W_PER_TON
from joulemark_agent.physics.chiller_curve import CURVES, Rating, expected
from joulemark_agent.physics.domain import OutOfDomain
from joulemark_agent.physics.us_units import F_AT_0_K, F_PER_K
from support.vectors import require_all_used, require_close, vectors

VECTORS = vectors("chiller")
W_PER_KW = 1000.0
TON_PER_GPM_F = 0.041667  # the source's rounding of 500 Btu/h over 12,000
KINDS = {
    "centrifugal water NoVFD": "centrifugal_water",
    "centrifugal water magnetic bearing": "centrifugal_water_magnetic",
    "screw air NoVFD": "screw_air",
}
# tests/cpp/processCooling/ChillerEfficiency.unit.cpp of ORNL-AMO/MEASUR-Tools-Suite at 01548d08:
# the cases that no vector holds, for the same chiller: kW/ton, ton and kW at 42, then at 43 degF.
OTHERS = {
    "centrifugal_water_vfd": ((0.50594, 1017.8465, 514.97077), (0.477184, 1038.26662, 495.444)),
    "screw_water": ((0.5899, 963.087556, 568.13317), (0.56246, 1000.57839, 562.7885)),
    "centrifugal_air": ((0.442926, 1130.92, 500.91377), (0.4285, 1168.492, 500.7157)),
}


def kelvin(fahrenheit):
    return (fahrenheit - F_AT_0_K) / F_PER_K


def rated(kind, tons=1000.0, kw_per_ton=0.676, most=1.0):
    return Rating(kind, tons * W_PER_TON, kw_per_ton * W_PER_KW / W_PER_TON, most)


def found(rating, tons, supply_f, condenser_f):
    at = expected(rating, tons * W_PER_TON, kelvin(supply_f), kelvin(condenser_f))
    return (
        float(at.input_ratio) * W_PER_TON / W_PER_KW,
        float(at.capacity_w) / W_PER_TON,
        float(at.power_w) / W_PER_KW,
    )


def chiller(vector) -> None:
    given_ = vector["inputs"]
    rating = rated(
        KINDS[given_["type"]],
        given_["ari_capacity_ton"],
        given_["ari_kW_ton"],
        given_["max_capacity_ratio"],
    )
    tons = given_["flow_gpm"] * given_["dT_F"] * TON_PER_GPM_F
    results: dict[str, float] = {}
    for state in ("base", "mod"):
        at = found(rating, tons, given_[f"T_chw_{state}"], given_[f"T_cond_{state}"])
        names = (f"{state}_kW_ton", f"{state}_ton", f"{state}_kW")
        results |= dict(zip(names, at, strict=True))
    require_close(results, vector["expected"], vector["rel_tol"])


ADAPTERS = {"chiller-1": chiller, "chiller-3": chiller, "chiller-5": chiller}


@pytest.mark.parametrize("name", VECTORS)
def test_a_published_chiller_is_found(name):
    ADAPTERS[name](VECTORS[name])


def test_every_vector_of_this_file_is_used():
    require_all_used("chiller", ADAPTERS)


@pytest.mark.parametrize("kind", OTHERS)
def test_the_other_kinds_agree_with_their_published_numbers(kind):
    for supply_f, numbers in zip((42, 43), OTHERS[kind], strict=True):
        at = found(rated(kind), 2000 * 10 * TON_PER_GPM_F, supply_f, 82.12)
        assert at == pytest.approx(numbers, rel=1e-4)


def test_two_chillers_take_less_than_three_for_the_same_load():
    three = 3 * found(rated("centrifugal_water_vfd"), 300, 42, 82.12)[2]
    two = 2 * found(rated("centrifugal_water_vfd"), 450, 42, 82.12)[2]
    assert three == pytest.approx(820.5017, rel=1e-5)
    assert two == pytest.approx(603.9089, rel=1e-5)


@pytest.mark.parametrize("kind", CURVES)
@settings(max_examples=25)
@given(scale=st.floats(0.01, 10.0), load=st.floats(0.05, 0.9))
def test_a_chiller_twice_as_large_takes_twice_the_power_for_twice_the_load(kind, scale, load):
    one = found(rated(kind), 1000 * load, 44, 80)
    other = found(rated(kind, tons=1000 * scale), 1000 * load * scale, 44, 80)
    assert other == pytest.approx((one[0], scale * one[1], scale * one[2]), nan_ok=True)


def test_below_a_tenth_of_the_capacity_the_power_stays_that_at_a_tenth():
    powers = [found(rated("screw_water"), tons, 44, 80)[2] for tons in (20, 50, 90)]
    assert powers == pytest.approx([powers[0]] * 3)
    assert found(rated("screw_water"), 200, 44, 80)[2] > powers[0]


def test_where_the_curves_say_nothing_there_is_no_number():
    loads = np.array([0.0, -5.0, 2000.0, 500.0, 500.0, 500.0, np.nan]) * W_PER_TON
    supply_k = np.array([280.0, 280.0, 280.0, 250.0, 280.0, 280.0, 280.0])
    condenser_k = np.array([300.0, 300.0, 300.0, 300.0, 340.0, 300.0, 300.0])
    power_w = expected(rated("centrifugal_water"), loads, supply_k, condenser_k).power_w
    assert np.isnan(power_w).tolist() == [True, True, True, True, True, False, True]


@pytest.mark.parametrize(
    "wrong",
    [
        Rating("absorption", 1e6, 0.2),  # type: ignore[arg-type] # a kind without curves
        Rating("screw_air", 0.0, 0.2),
        Rating("screw_air", 1e6, 0.676 * 1000),  # kW/ton taken as a ratio in W per ton
        Rating("screw_air", 1e6, 0.2, 0.0),
    ],
)
def test_a_rating_that_cannot_be_is_refused(wrong):
    with pytest.raises(OutOfDomain):
        expected(wrong, 5e5, 280.0, 300.0)
