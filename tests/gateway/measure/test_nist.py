"""Certified values: the reference sets of NIST, and regressions in exact rational arithmetic."""

import json
import math
import re
from fractions import Fraction
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import pytest

from joulemark_gateway.measure import linear
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


@pytest.mark.parametrize(("name", "least"), [("Mavro", 9), ("NumAcc4", 7)])
def test_mean_and_deviation_of_a_baseline_without_drivers_are_certified(plant_data, name, least):
    values, mean, deviation = univariate(plant_data / f"mv/nist_strd/{name}.dat")
    model = linear.fit(np.empty((values.size, 0)), values, np.arange(values.size))
    assert digits(model.beta[0], mean) >= 13
    assert digits(math.sqrt(model.residual_variance), deviation) >= least
    assert digits(math.sqrt(model.sst / (model.n - 1)), deviation) >= least


@pytest.mark.parametrize(("name", "least"), [("Mavro", 9), ("NumAcc4", 7)])
def test_the_sufficiency_rules_use_a_mean_and_a_deviation_that_are_certified(
    plant_data, name, least
):
    values, mean, deviation = univariate(plant_data / f"mv/nist_strd/{name}.dat")
    assert digits(fmean(values.tolist()), mean) >= 15
    assert digits(stdev(values.tolist()), deviation) >= least


def test_squares_less_the_square_of_the_sum_have_no_correct_digit(plant_data):
    values, _, deviation = univariate(plant_data / "mv/nist_strd/NumAcc4.dat")
    naive = (np.sum(values**2) - values.sum() ** 2 / values.size) / (values.size - 1)
    assert digits(math.sqrt(abs(naive)), deviation) < 2


def univariate(path):
    """Values, certified mean and certified standard deviation of a NIST StRD file."""
    text = path.read_text("ascii")
    mean = float(present(re.search(r"ybar:\s+(\S+)", text))[1])
    deviation = float(present(re.search(r"\ss:\s+(\S+)", text))[1])
    size = int(present(re.search(r"Number of Observations:\s+(\d+)", text))[1])
    return np.array(text.split()[-size:], np.float64), mean, deviation


CASES = ["monthly_production_cdd", "weekly_collinear", "poly5_ill", "poly7_filip_like",
         "daily_5p_fixed_cp_60_66F", "large_offset"]  # fmt: skip


def exact(plant_data, name):
    """Design, response and certified values of a regression made of rationals."""
    cases = json.loads((plant_data / "mv/exact_ols_shared.json").read_text("utf-8"))["cases"]
    assert {case["name"] for case in cases} == set(CASES)
    case = next(case for case in cases if case["name"] == name)
    x = np.array([[float(Fraction(value)) for value in row] for row in case["X"]])
    y = np.array([float(Fraction(value)) for value in case["y"]])
    return x, y, case["certified"]


@pytest.mark.parametrize("name", CASES)
def test_exact_rational_regressions_are_met(plant_data, name):
    x, y, true = exact(plant_data, name)
    fitted = least_squares(x, y)
    variance = math.fsum((fitted.residuals**2).tolist()) / (true["n"] - true["p"])
    beta = np.array([float(value) for value in true["beta"]])
    errors = np.array([float(value) for value in true["se"]])
    loose = name.startswith("poly")
    assert fitted.beta == pytest.approx(beta, rel=1e-6 if loose else 1e-9)
    found = np.sqrt(variance * np.diag(fitted.inverse))
    assert found == pytest.approx(errors, rel=1e-5 if loose else 1e-8)


@pytest.mark.parametrize("name", CASES)
def test_the_baseline_gives_the_exact_figures_of_fit(plant_data, name):
    x, y, true = exact(plant_data, name)
    model = linear.fit(x[:, 1:], y, np.arange(y.size))
    assert (model.n, model.p) == (true["n"], true["p"])
    assert model.sse == pytest.approx(float(true["sse"]), rel=1e-9)
    assert math.sqrt(model.residual_variance) == pytest.approx(float(true["residual_sd"]), rel=1e-9)
    assert model.r2 == pytest.approx(float(true["r2"]), rel=1e-8)
    lag_one = math.fsum((model.e[1:] * model.e[:-1]).tolist()) / model.sse
    assert lag_one == pytest.approx(float(true["lag1"]), rel=1e-6)
