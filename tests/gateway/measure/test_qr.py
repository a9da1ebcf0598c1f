import json
import math
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.qr import least_squares
from support.present import present

SHIPPED = Path(__file__).parents[2] / "data/nist_strd"
DIGITS = {"Norris": 11, "NoInt1": 13, "Longley": 10, "Filip": 7, "Wampler1": 9, "Wampler4": 7}


def certified(path):
    """Data, certified coefficients with standard errors, and residual sd of a NIST StRD file."""
    text = path.read_text("ascii")
    lines = text.splitlines()
    bounds = present(re.search(r"Data\s+\(lines (\d+) to (\d+)\)", text))
    rows = np.array(
        [[float(v) for v in line.split()] for line in lines[int(bounds[1]) - 1 : int(bounds[2])]]
    )
    terms = np.array(
        [
            [float(m[1]), float(m[2])]
            for m in re.finditer(r"^\s*B\d+\s+(\S+)\s+(\S+)\s*$", text, re.MULTILINE)
        ]
    )
    deviation = float(present(re.search(r"Residual\s+Standard Deviation\s+(\S+)", text))[1])
    return rows, terms, deviation


def design(name, rows, terms):
    if name == "NoInt1":
        return rows[:, 1:].copy()
    if name in {"Norris", "Longley"}:
        return np.column_stack([np.ones(len(rows)), rows[:, 1:]])
    return np.column_stack([rows[:, 1] ** k for k in range(len(terms))])


def digits(found, true):
    """Correct significant digits of the worst of the values."""
    errors = np.abs(np.asarray(found) - true) / np.where(np.asarray(true) == 0, 1, np.abs(true))
    return -math.log10(max(float(np.max(errors)), 1e-15))


def fitted(name, path):
    rows, terms, deviation = certified(path)
    x = design(name, rows, terms)
    fit = least_squares(x, rows[:, 0])
    found = math.sqrt(math.fsum((fit.residuals**2).tolist()) / (len(rows) - x.shape[1]))
    return fit, terms, found, deviation


@pytest.mark.parametrize("name", ["Norris", "Longley"])
def test_nist_coefficients_and_errors_have_their_certified_digits(name):
    fit, terms, found, deviation = fitted(name, SHIPPED / f"{name}.dat")
    assert digits(fit.beta, terms[:, 0]) >= DIGITS[name]
    assert digits(found * np.sqrt(np.diag(fit.inverse)), terms[:, 1]) >= 9
    assert digits(found, deviation) >= 9


@pytest.mark.parametrize("name", sorted(DIGITS))
def test_every_nist_set_has_its_certified_digits(plant_data, name):
    fit, terms, found, deviation = fitted(name, plant_data / f"mv/nist_strd/{name}.dat")
    assert digits(fit.beta, terms[:, 0]) >= DIGITS[name]
    assert digits(found, deviation) >= 6


def test_normal_equations_have_no_correct_digit_where_ours_has_seven(plant_data):
    rows, terms, _ = certified(plant_data / "mv/nist_strd/Filip.dat")
    x = design("Filip", rows, terms)
    naive = np.linalg.solve(x.T @ x, x.T @ rows[:, 0])
    assert digits(naive, terms[:, 0]) < 1


CASES = ["monthly_production_cdd", "weekly_collinear", "poly5_ill", "poly7_filip_like",
         "daily_5p_fixed_cp_60_66F", "large_offset"]  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_exact_rational_regressions_are_met(plant_data, name):
    cases = json.loads((plant_data / "mv/exact_ols_shared.json").read_text("utf-8"))["cases"]
    assert {case["name"] for case in cases} == set(CASES)
    case = next(case for case in cases if case["name"] == name)
    x = np.array([[float(Fraction(value)) for value in row] for row in case["X"]])
    y = np.array([float(Fraction(value)) for value in case["y"]])
    true = case["certified"]
    fit = least_squares(x, y)
    variance = math.fsum((fit.residuals**2).tolist()) / (true["n"] - true["p"])
    beta = np.array([float(value) for value in true["beta"]])
    errors = np.array([float(value) for value in true["se"]])
    loose = name.startswith("poly")
    assert fit.beta == pytest.approx(beta, rel=1e-6 if loose else 1e-9)
    found = np.sqrt(variance * np.diag(fit.inverse))
    assert found == pytest.approx(errors, rel=1e-5 if loose else 1e-8)


def test_the_basis_is_orthonormal_and_residuals_are_orthogonal():
    draw = np.random.default_rng(3)
    x = np.column_stack([np.ones(50), draw.normal(1e6, 10, (50, 3))])
    y = draw.normal(size=50)
    fit = least_squares(x, y)
    centred = np.column_stack([x[:, 0], x[:, 1:] - 1e6])
    q = x @ fit.basis
    assert q.T @ q == pytest.approx(np.eye(4), abs=1e-9)
    assert centred.T @ fit.residuals == pytest.approx(np.zeros(4), abs=1e-8)
    hat = centred @ np.linalg.inv(centred.T @ centred) @ centred.T
    assert q @ q.T == pytest.approx(hat, abs=1e-9)
    assert fit.inverse[1:, 1:] == pytest.approx(
        np.linalg.inv(centred.T @ centred)[1:, 1:], rel=1e-6
    )


@pytest.mark.parametrize(
    "column",
    [lambda x: 0 * x, lambda x: 3 * x, lambda x: 7 + 0 * x, lambda x: 1e-9 * x - 5],
    ids=["zero", "multiple", "constant", "straight line"],
)
def test_a_column_that_follows_from_the_others_is_refused(column):
    first = np.arange(20.0)
    x = np.column_stack([np.ones(20), first, column(first)])
    with pytest.raises(MeasureError) as refused:
        least_squares(x, first**2)
    assert refused.value.code == "singular"


def test_columns_of_very_different_size_are_no_reason_to_refuse():
    x = np.column_stack([np.ones(30), 1e-9 * np.arange(30.0), 1e12 * np.arange(30.0) ** 2])
    beta = np.array([5.0, -3e9, 2e-12])
    assert least_squares(x, x @ beta).beta == pytest.approx(beta, rel=1e-10)
