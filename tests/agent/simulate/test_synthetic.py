"""The synthetic production counter: the figures of decision 0001, and its laws."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from joulemark_agent.simulate.exact import half_even
from joulemark_agent.simulate.run import load_recording
from joulemark_agent.simulate.scenario import Noise, Production, load_scenario
from joulemark_agent.simulate.synthetic import _noise_10wh, production_kg

JULY = 181 * 96  # slot of 1 July, 00:00

SHIPPED = load_scenario("unchanged").production
ENERGY_10WH = load_recording("steel_gwangyang_2018").energy_10wh


def with_noise(seed: int, sd_share: str = "0.064", base: str = "9") -> Production:
    noise = Noise(rho=Decimal("0.4"), sd_share=Decimal(sd_share), seed=seed)
    return SHIPPED.model_copy(update={"noise": noise, "base_kwh_per_h": Decimal(base)})


def test_the_shipped_seed_makes_the_decided_kilograms() -> None:
    kg = production_kg(ENERGY_10WH, SHIPPED)

    assert kg.size == 35_041
    assert kg[0] == 0
    assert kg[-1] == 88_120_149
    assert kg[JULY] == 48_206_625
    assert kg[-1] - kg[JULY] == 39_913_524


def test_the_first_hours_of_noise_are_the_decided_ones() -> None:
    hours = ENERGY_10WH.reshape(-1, 4).sum(axis=1)
    mean_10wh = float(np.delete(hours, 310 * 24 + 23).mean())  # the hour with the hole is left out

    noise = _noise_10wh(SHIPPED.noise, mean_10wh, hours.size)

    assert noise[:6].tolist() == [-775, 349, 601, -183, -80, -114]


def test_the_counter_stands_still_in_the_hole() -> None:
    hole = 310 * 96 + 95
    steps = np.diff(production_kg(ENERGY_10WH, SHIPPED))

    assert steps[hole] == 0
    assert steps[hole - 1] > 0
    assert steps[hole + 1] > 0


def test_an_hour_below_zero_holds_the_counter_and_the_debt_is_repaid() -> None:
    """Hours of 10 kWh and base 12.5 kWh, then of 20: the counter moves when the sum is positive."""
    energy_10wh = np.repeat([250, 250, 500, 500], 4)

    kg = production_kg(energy_10wh, with_noise(1, sd_share="0", base="12.5"))

    assert kg[::4].tolist() == [0, 0, 0, 250, 1000]
    assert production_kg(energy_10wh, with_noise(1, sd_share="0", base="0"))[-1] == 6000


def test_inside_an_hour_the_tonnes_follow_the_energy_to_the_rounded_kilogram() -> None:
    energy_10wh = np.array([100, 0, 300, 600, 100, 100, 100, 100])

    kg = production_kg(energy_10wh, with_noise(1, sd_share="0", base="0.02"))

    # 1000 less three quarters of 2, as one quarter-hour has nothing: 998.5, shared 10 : 0 : 30 : 60
    assert kg[:5].tolist() == [0, 100, 100, 399, 998]


@given(seed=st.integers(0, 2**32 - 1), sd_share=st.sampled_from(["0.064", "0.3", "1"]))
@settings(max_examples=25, deadline=None)
def test_production_never_runs_backwards_and_needs_energy(seed: int, sd_share: str) -> None:
    steps = np.diff(production_kg(ENERGY_10WH, with_noise(seed, sd_share)))

    assert steps.min() >= 0
    assert steps[ENERGY_10WH == 0].max() == 0


def test_without_the_rule_the_sum_would_run_backwards() -> None:
    """The control: 14 % of the hours are negative when formed one by one."""
    hours = ENERGY_10WH.reshape(-1, 4).sum(axis=1)
    noise = _noise_10wh(SHIPPED.noise, float(hours.mean()), hours.size)

    assert np.mean(hours - 900 - noise < 0) == pytest.approx(0.14, abs=0.005)


@given(
    numerators=arrays(np.int64, st.integers(0, 30), elements=st.integers(-(10**15), 10**15)),
    denominator=st.integers(1, 1000),
)
def test_half_even_is_the_rounding_of_exact_fractions(
    numerators: np.ndarray[tuple[int], np.dtype[np.int64]], denominator: int
) -> None:
    expected = [round(Fraction(int(n), denominator)) for n in numerators]

    assert half_even(numerators, denominator).tolist() == expected
