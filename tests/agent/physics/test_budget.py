import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulemark_agent.physics.budget import Amount, Part, difference, linear, product, ratio, total
from joulemark_agent.physics.domain import OutOfDomain

FEW = settings(max_examples=30)
energies = st.floats(1.0, 1e6)
shares = st.floats(1e-4, 0.05)


def metered(energy, gain, noise, period) -> Amount:
    return Amount(energy, {"meter gain": Part(gain * energy, 50), f"noise {period}": Part(noise)})


@FEW
@given(energies, energies, shares)
def test_the_gain_of_one_meter_cancels_in_the_ratio_of_two_periods(before, after, gain):
    found = ratio(metered(after, gain, 0.0, "after"), metered(before, gain, 0.0, "before"))
    assert found.standard_uncertainty <= 1e-12 * found.value


@FEW
@given(energies, energies, shares)
def test_the_gain_of_one_meter_adds_up_whole_in_a_sum(first, second, gain):
    found = total(metered(first, gain, 0.0, "1"), metered(second, gain, 0.0, "2"))
    assert found.standard_uncertainty == pytest.approx(gain * (first + second), rel=1e-9)


@FEW
@given(energies, energies, shares, shares)
def test_the_gains_of_two_meters_do_not_cancel(first, second, gain, other):
    found = ratio(
        Amount(first, {"a": Part(gain * first)}), Amount(second, {"b": Part(other * second)})
    )
    expected = found.value * math.hypot(gain, other)
    assert found.standard_uncertainty == pytest.approx(expected, rel=1e-9)


@FEW
@given(energies, energies, shares, st.floats(0.1, 10))
def test_noise_stays_when_the_gain_cancels(before, after, gain, noise):
    found = ratio(metered(after, gain, noise, "after"), metered(before, gain, noise, "before"))
    expected = found.value * math.hypot(noise / after, noise / before)
    assert found.standard_uncertainty == pytest.approx(expected, rel=1e-6, abs=1e-12)


@FEW
@given(energies, shares)
def test_an_amount_less_itself_is_exactly_nothing(energy, gain):
    amount = metered(energy, gain, 1.0, "1")
    assert difference(amount, amount).value == 0.0
    assert difference(amount, amount).standard_uncertainty == 0.0


@FEW
@given(energies, energies, shares)
def test_dividing_undoes_multiplying(first, second, gain):
    a, b = metered(first, gain, 1.0, "1"), Amount(second, {"b": Part(gain * second)})
    again = ratio(product(a, b), b)
    assert again.value == pytest.approx(a.value)
    assert again.standard_uncertainty == pytest.approx(a.standard_uncertainty, rel=1e-6)


def test_the_degrees_of_freedom_are_those_of_the_sources():
    a, b = Amount(10.0, {"a": Part(1.0, 10.0)}), Amount(10.0, {"b": Part(1.0, 10.0)})
    assert total(a, b).degrees_of_freedom == pytest.approx(20.0)
    assert total(a, a).degrees_of_freedom == pytest.approx(10.0), "one source, one judgement"
    assert Amount(3.0).degrees_of_freedom == math.inf


def test_a_sensitivity_scales_its_parts():
    found = linear(5.0, [(-2.0, Amount(1.0, {"a": Part(0.5)}))])
    assert found.parts["a"].amount == -1.0
    assert found.standard_uncertainty == 1.0


def test_nothing_is_divided_by_zero():
    with pytest.raises(OutOfDomain, match="denominator"):
        ratio(Amount(1.0), Amount(0.0))


def test_a_part_beyond_all_reason_is_no_crash():
    amount = Amount(1e300, {"gain": Part(1e298, 50.0), "step": Part(1e297)})
    assert amount.standard_uncertainty == pytest.approx(1.00498756e298)
    assert amount.degrees_of_freedom == pytest.approx(50.0 * 1.01**2)
