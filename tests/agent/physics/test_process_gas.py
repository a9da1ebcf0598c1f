import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.kernels.gas import NORMAL_0C, State
from joulemark_agent.physics.budget import Amount, Part
from joulemark_agent.physics.domain import OutOfDomain
from joulemark_agent.physics.process_gas import (
    HEEL_RATIO,
    emission,
    emitted_kg,
    gas_mass_kg,
    molar_mass_kg_mol,
    uptime,
    warming,
)

shares = st.floats(0.0, 1.0)
states = st.sampled_from([0.0, 1.0, math.nan])


def test_etching_with_cf4_by_hand():
    # 10 kg fed, heel 0.1, 1-U 0.68, half of it led to a burner that destroys 0.9 and worked 0.8 of
    # the time: 0.9 x 10 x 0.68 x (1 - 0.5 x 0.9 x 0.8) = 6.12 x 0.64 = 3.9168 kg
    assert HEEL_RATIO == 0.1
    found = emitted_kg(
        10.0,
        0.68,
        heel_ratio=HEEL_RATIO,
        abated_ratio=0.5,
        destroyed_ratio=0.9,
        uptime_ratio=0.8,
    )
    assert found == pytest.approx(3.9168, rel=1e-12)


@given(st.floats(0, 1e3), st.floats(0, 1), st.floats(0, 0.5), st.tuples(shares, shares, shares))
def test_more_abatement_never_emits_more_and_none_destroys_nothing(fed, factor, heel, credit):
    a, d, up = credit

    def at(a, d, up):
        return emitted_kg(
            fed, factor, heel_ratio=heel, abated_ratio=a, destroyed_ratio=d, uptime_ratio=up
        )

    whole = (1 - heel) * fed * factor
    assert at(0, d, up) == at(a, 0, up) == at(a, d, 0) == pytest.approx(whole)
    assert 0 <= at(1, 1, up) <= at(a, 1, up) <= at(a, d, up) <= whole * (1 + 1e-12)
    assert at(1, 1, 1) == pytest.approx(0.0, abs=1e-9)


def test_without_a_log_there_is_no_credit():
    steps = [60.0, 60.0]
    assert uptime(steps, [1, 1], None, None).ratio == 0.0
    assert uptime(steps, [1, 1], [1, 1], None).unknown_s == 120.0


def test_a_step_counts_where_gas_tool_and_abatement_agree():
    # steps of 60 s: all three; abatement down; tool not routed; abatement unknown; tool unknown;
    # no gas (abatement works, which is no credit); gas unknown
    nan = math.nan
    found = uptime(
        [60.0] * 7, [1, 1, 1, 1, 1, 0, nan], [1, 1, 0, 1, nan, 1, 1], [1, 0, 1, nan, 1, 1, 1]
    )
    assert (found.gas_flow_s, found.abated_s, found.unknown_s) == (300.0, 60.0, 120.0)
    assert found.ratio == pytest.approx(0.2)


def test_steps_of_unequal_length_count_by_their_time():
    found = uptime([10.0, 30.0, 0.0], [1, 1, 1], None, [1, 0, 1])
    assert found.ratio == pytest.approx(0.25)


@given(st.lists(st.tuples(st.floats(0, 1e4), states, states, states), max_size=30))
def test_uptime_lies_from_0_to_1_and_knowing_less_never_raises_it(rows):
    columns = list(zip(*rows, strict=True)) or [(), (), (), ()]
    step, flow, tool, abating = (np.array(column, float) for column in columns)
    whole = uptime(step, flow, tool, abating)
    assert 0.0 <= whole.ratio <= 1.0
    assert whole.abated_s + whole.unknown_s <= whole.gas_flow_s * (1 + 1e-12)
    forgotten = np.where(np.arange(abating.size) % 2, abating, math.nan)
    assert uptime(step, flow, tool, forgotten).ratio <= whole.ratio * (1 + 1e-12)


def test_an_emission_is_as_sure_as_its_parts():
    # fed 10 +- 0.2, factor 0.68 +- 0.068, d 0.9 +- 0.05; E = C F (1 - 0.9 x 0.8) = 6.8 x 0.28
    # = 1.904; parts: 0.02 x 1.904 = 0.03808; 0.1 x 1.904 = 0.1904; 6.8 x 0.8 x 0.05 = 0.272
    found = emission(
        Amount(10.0, {"flow": Part(0.2)}),
        Amount(0.68, {"factor": Part(0.068)}),
        Amount(0.9, {"destruction": Part(0.05)}),
        heel_ratio=0.0,
        abated_ratio=1.0,
        uptime_ratio=0.8,
    )
    assert found.value == pytest.approx(1.904, rel=1e-12)
    expected = math.sqrt(0.03808**2 + 0.1904**2 + 0.272**2)
    assert found.standard_uncertainty == pytest.approx(expected, rel=1e-9)


def test_warming_is_told_by_assessment_and_names_what_has_none():
    emissions = {"CF4": Amount(2.0), "C2F6": Amount(0.5), "C4F6": Amount(0.1), "SF6": Amount(0.0)}
    found = warming(emissions, {"CF4": 6630.0, "C2F6": 11100.0})
    assert found.co2e.value == pytest.approx(2 * 6630 + 0.5 * 11100, rel=1e-12)  # 18,810
    assert found.unrated == ("C4F6",)  # what is not emitted needs none


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=2))
def test_warming_is_linear(masses):
    potentials = {"CF4": 7380.0, "SF6": 25200.0}
    both = warming(dict(zip(potentials, map(Amount, masses), strict=True)), potentials)
    assert both.co2e.value == pytest.approx(7380 * masses[0] + 25200 * masses[1])


def test_a_standard_litre_of_a_gas_has_its_mass():
    # CF4: 12.011 + 4 x 18.9984 = 88.0046 g/mol; a mole at 0 C and 101,325 Pa takes 22.41397 dm3
    assert molar_mass_kg_mol("CF4") == pytest.approx(0.0880046, rel=1e-6)
    assert molar_mass_kg_mol("C4F8O") == pytest.approx(0.2160302, rel=1e-6)
    assert gas_mass_kg(0.02241397, "CF4", NORMAL_0C) == pytest.approx(0.0880046, rel=1e-6)
    assert gas_mass_kg(0.02241397, "SF6", NORMAL_0C) == pytest.approx(0.1460504, rel=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: emitted_kg(
            -1, 0.5, heel_ratio=0, abated_ratio=0, destroyed_ratio=0, uptime_ratio=0
        ),
        lambda: emitted_kg(
            1, 0.5, heel_ratio=10, abated_ratio=0, destroyed_ratio=0, uptime_ratio=0
        ),
        lambda: emitted_kg(
            1, 0.5, heel_ratio=0, abated_ratio=0, destroyed_ratio=95, uptime_ratio=0
        ),
        lambda: emitted_kg(
            1, 0.5, heel_ratio=0, abated_ratio=0, destroyed_ratio=0, uptime_ratio=math.nan
        ),
        lambda: uptime([1.0], [2], None, None),
        lambda: uptime([1.0, 1.0], [1], None, None),
        lambda: uptime([-1.0], [1], None, None),
        lambda: warming({}, {"CF4": -1.0}),
        lambda: molar_mass_kg_mol("Xe"),
        lambda: molar_mass_kg_mol("cf4"),
        lambda: molar_mass_kg_mol(""),
        lambda: gas_mass_kg(1.0, "CF4", State(101.325, 273.15)),  # kilopascals
        lambda: gas_mass_kg(1.0, "CF4", State(101_325.0, 0.0)),  # degrees Celsius
    ],
)
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(OutOfDomain):
        wrong()
