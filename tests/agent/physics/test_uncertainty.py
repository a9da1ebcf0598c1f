import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulemark_agent.physics.budget import Amount, Part, product, ratio, total
from joulemark_agent.physics.domain import OutOfDomain
from joulemark_agent.physics.uncertainty import (
    combined,
    correlation_of,
    covariance,
    effective_degrees_of_freedom,
    expanded,
    judged_degrees_of_freedom,
    rectangular,
    resolution,
    sensitivities,
    triangular,
)
from support.vectors import require_all_used, require_close, vectors

FEW = settings(max_examples=30)
VECTORS = vectors("uncertainty")
parts = st.floats(1e-3, 1e3)
signed = st.floats(-1e3, 1e3).filter(lambda x: abs(x) > 1e-3)


def impedance(vector) -> None:
    """Published to two digits: an uncertainty may differ by half of its last one, 0.005."""
    given_, expected = vector["inputs"], vector["expected"]
    names = ("V", "I", "phi")
    r = [[1, given_["rVI"], given_["rVphi"]], [0, 1, given_["rIphi"]], [0, 0, 1]]
    correlations = np.array(r) + np.triu(r, 1).T
    results = (
        lambda v, i, phi: v * math.cos(phi) / i,
        lambda v, i, phi: v * math.sin(phi) / i,
        lambda v, i, _: v / i,
    )
    values = [given_[name] for name in names]
    spread = [given_[f"u{name}"] for name in names]
    slopes = [sensitivities(result, values, spread) for result in results]
    matrix = covariance(slopes, spread, correlations)
    related = correlation_of(matrix)
    tolerance = vector["rel_tol"]
    for k, name in enumerate("RXZ"):
        require_close(results[k](*values), expected[name], tolerance)
        found = combined(slopes[k], spread, correlations)
        assert found == pytest.approx(math.sqrt(matrix[k, k]), rel=1e-12)
        assert found == pytest.approx(expected[f"u{name}"], rel=tolerance, abs=0.005)
    three = {"rRX": related[0, 1], "rRZ": related[0, 2], "rXZ": related[1, 2]}
    require_close(three, {name: expected[name] for name in three}, tolerance)


def standard_solution(vector) -> None:
    at = vector["inputs"]
    mass = Amount(at["m"], {"m": Part(at["u_m"])})
    purity = Amount(at["P"], {"P": Part(rectangular(at["P_half"]))})
    volume = total(
        Amount(at["V"], {"V_flask": Part(triangular(at["V_tri"]))}),
        Amount(0.0, {"V_rep": Part(at["V_rep"])}),
        Amount(0.0, {"V_T": Part(rectangular(at["V_T_half"]))}),
    )
    found = ratio(product(Amount(1000.0), product(mass, purity)), volume)
    expected, tolerance = vector["expected"], vector["rel_tol"]
    require_close(found.value, expected["c"], tolerance)
    require_close(found.standard_uncertainty, expected["u"], tolerance)
    amounts = {source: abs(part.amount) for source, part in found.parts.items()}
    require_close(amounts, expected["components"], tolerance)


ADAPTERS = {"gum-h2": impedance, "citac-a1": standard_solution}


@pytest.mark.parametrize("name", VECTORS)
def test_a_published_uncertainty_is_found(name):
    ADAPTERS[name](VECTORS[name])


def test_every_vector_of_this_file_is_used():
    require_all_used("uncertainty", ADAPTERS)


@FEW
@given(st.lists(st.tuples(signed, parts), min_size=1, max_size=6))
def test_independent_inputs_add_in_squares(inputs):
    slopes, spread = zip(*inputs, strict=True)
    expected = math.sqrt(sum((c * u) ** 2 for c, u in inputs))
    assert combined(slopes, spread) == pytest.approx(expected, rel=1e-9)


@FEW
@given(signed, signed, parts, parts)
def test_fully_correlated_inputs_add_with_their_signs(c1, c2, u1, u2):
    ones = np.ones((2, 2))
    expected = abs(c1 * u1 + c2 * u2)
    largest = abs(c1 * u1) + abs(c2 * u2)
    assert combined([c1, c2], [u1, u2], ones) == pytest.approx(expected, abs=1e-7 * largest)


@FEW
@given(parts, parts, st.floats(-1, 1))
def test_the_correlation_of_two_inputs_themselves_is_the_one_given(u1, u2, r):
    matrix = covariance(np.eye(2), [u1, u2], [[1, r], [r, 1]])
    assert correlation_of(matrix)[0, 1] == pytest.approx(r, abs=1e-12)


@FEW
@given(st.lists(st.tuples(parts, st.floats(1, 1e6)), min_size=1, max_size=6))
def test_effective_degrees_lie_between_the_least_and_the_sum(inputs):
    amounts, degrees = zip(*inputs, strict=True)
    found = effective_degrees_of_freedom(amounts, degrees)
    assert min(degrees) * (1 - 1e-9) <= found <= sum(degrees) * (1 + 1e-9)


def test_effective_degrees_of_the_gauge_block_of_the_guide():
    """GUM H.1.6 prints 16.7."""
    amounts = [25.0, 9.7, 2.9, 16.6]
    found = effective_degrees_of_freedom(amounts, [18.0, 25.6, 50.0, 2.0])
    assert found == pytest.approx(16.7, abs=0.1)


def test_effective_degrees_of_correlated_inputs_are_refused():
    with pytest.raises(OutOfDomain, match="not defined for correlated inputs"):
        effective_degrees_of_freedom([1.0, 1.0], [5.0, 5.0], [[1, 0.5], [0.5, 1]])
    independent = effective_degrees_of_freedom([1.0, 1.0], [5.0, 5.0], np.eye(2))
    assert independent == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("correlations", "says"),
    [
        ([[1, 0.9, -0.9], [0.9, 1, 0.9], [-0.9, 0.9, 1]], "No errors"),
        ([[1, 2, 0], [2, 1, 0], [0, 0, 1]], "No errors"),
        ([[1, 0.5, 0], [0.4, 1, 0], [0, 0, 1]], "symmetric"),
        ([[1, 0], [0, 1]], "shape"),
        (np.full((3, 3), np.nan), "finite"),
    ],
)
def test_correlations_that_cannot_be_are_refused(correlations, says):
    with pytest.raises(OutOfDomain, match=says):
        combined([1, 1, 1], [1, 1, 1], correlations)


def test_spreads_of_known_shapes():
    assert rectangular(3.0) == pytest.approx(math.sqrt(3.0))
    assert triangular(6.0) == pytest.approx(math.sqrt(6.0))
    assert resolution(1.0) == pytest.approx(1 / math.sqrt(12))
    assert expanded(2.5) == 5.0
    assert expanded(2.5, 3.0) == 7.5
    assert judged_degrees_of_freedom(0.1) == pytest.approx(50)


@pytest.mark.parametrize("shape", [rectangular, triangular, resolution, expanded])
@pytest.mark.parametrize("width", [-1.0, math.nan])
def test_a_negative_width_is_refused(shape, width):
    with pytest.raises(OutOfDomain):
        shape(width)


@pytest.mark.parametrize("unknown", [math.inf, math.nan, -1.0])
def test_what_is_not_known_has_no_uncertainty_of_its_own(unknown):
    for of in (rectangular, triangular, resolution, expanded):
        with pytest.raises(OutOfDomain):
            of(unknown)
