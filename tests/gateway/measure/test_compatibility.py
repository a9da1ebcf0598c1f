import csv
import dataclasses
import json
import math

import numpy as np
import pytest
from scipy import stats

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.compatibility import (
    INTERVAL_METHODS,
    Case,
    Step,
    case_of,
    sun_baltazar_factor,
)
from joulemark_gateway.measure.linear import fit
from joulemark_gateway.measure.uncertainty import lag_one_correlation
from support.five_parameters import five_parameters, meter

CASE = Case(
    step="day", n=365, terms=3, searched=2, sse_wh2=4e10, mean_wh=60e3, rho=0.45, m=90, months=3.0,
    predicted_wh=6e6, saving_wh=5e5, leverage=40.0,
)  # fmt: skip


def random_case(draw):
    step: Step = ("hour", "day", "month")[draw.integers(3)]
    n, terms = int(draw.integers(60, 72 if step == "month" else 400)), int(draw.integers(2, 5))
    m = int(draw.integers(1, 400))
    mean_wh = draw.uniform(1e3, 1e6)
    predicted_wh = m * mean_wh * draw.uniform(0.5, 2)
    return Case(
        step=step,
        n=n,
        terms=terms,
        searched=int(draw.integers(0, 3)),
        sse_wh2=n * (mean_wh * draw.uniform(0.01, 0.5)) ** 2,
        mean_wh=mean_wh,
        rho=draw.uniform(-0.3, 0.7),
        m=m,
        months=draw.uniform(0.5, 36),
        predicted_wh=predicted_wh,
        saving_wh=predicted_wh * draw.uniform(0.01, 0.4),
        leverage=draw.uniform(0, 3) * m * m / n,
    )


CASES = [random_case(draw) for draw in [np.random.default_rng(7)] for _ in range(50)]


def student(confidence, degrees):
    return stats.t.ppf((1 + confidence) / 2, degrees)


def polynomial(case, months):
    if case.step == "hour":
        return 1.26
    if case.step == "day":
        return -0.00024 * months * months + 0.03535 * months + 1.00286
    return -0.00022 * months * months + 0.03306 * months + 0.94054


def fractional(case, t, factor, degrees, n_prime):
    """FSU = t factor CV sqrt(P/P' (1 + 2/P') / Q) / F, as CalTRACK writes it; times the saving."""
    cv = math.sqrt(case.sse_wh2 / degrees) / case.mean_wh
    fraction = case.saving_wh / case.predicted_wh
    root = math.sqrt(case.n / n_prime * (1 + 2 / n_prime) / case.m)
    return t * factor * cv * root / fraction * case.saving_wh


def everywhere(case, t, factor, degrees, n_prime):
    root = math.sqrt(case.sse_wh2 / degrees * (1 + 2 / n_prime) * case.m)
    return t * factor * root * case.predicted_wh / case.m / case.mean_wh


def closed_form(name, case, confidence):
    n, p = case.n, case.terms + case.searched
    rho = case.rho if case.rho > 0 else 0.0
    n_prime = n * (1 - rho) / (1 + rho)
    if name == "g14-2014-annex-b":
        return fractional(case, student(confidence, n - p), 1.26, n - p, n_prime)
    if name == "sun-baltazar-2013":
        factor = polynomial(case, case.months)
        return fractional(case, student(confidence, n - p), factor, n - p, n_prime)
    if name == "caltrack-fsu-2.0":
        c = case.terms - 1
        factor = polynomial(case, case.months)
        return fractional(case, student(confidence, n - c), factor, n - c, n_prime)
    if name == "g14-effective-n":
        return everywhere(case, student(confidence, n_prime - p), 1.26, n_prime - p, n_prime)
    if name == "ols-independent":
        s2 = case.sse_wh2 / (n - p)
        return student(confidence, n - p) * math.sqrt(s2 * (case.m + case.leverage))
    used = n if case.step == "month" or case.rho < 0.5 else n_prime
    degrees = used - case.terms
    factor = polynomial(case, n / 30 if case.step == "day" else n)
    root = math.sqrt(case.sse_wh2 / degrees * (1 + 2 / used) * case.m)
    fraction = round(case.saving_wh / case.predicted_wh, 2)
    t = student(confidence, degrees)
    return t * factor / (case.m * case.mean_wh * fraction) * root * case.saving_wh


@pytest.mark.parametrize("name", sorted(INTERVAL_METHODS))
def test_every_method_is_its_closed_form(name):
    for k, case in enumerate(CASES):
        confidence = (0.68, 0.8, 0.9, 0.95)[k % 4]
        found = INTERVAL_METHODS[name].half_width_wh(case, confidence)
        assert found == pytest.approx(closed_form(name, case, confidence), rel=1e-10)


@pytest.mark.parametrize("name", sorted(INTERVAL_METHODS))
def test_more_confidence_is_wider_in_every_method(name):
    method = INTERVAL_METHODS[name]
    for case in CASES:
        widths = [method.half_width_wh(case, c) for c in (0.5, 0.8, 0.9, 0.95, 0.99)]
        assert all(np.diff(widths) > 0)


def test_a_significance_level_taken_for_confidence_would_be_narrower():
    method = INTERVAL_METHODS["g14-2014-annex-b"]
    asked = [1 - c for c in (0.80, 0.90, 0.95)]  # the peer's mistake, which the law must find
    assert not all(np.diff([method.half_width_wh(CASE, c) for c in asked]) > 0)


def test_a_mean_is_predicted_with_the_factor_that_no_constant_follows():
    for m in (30, 365, 1000):
        case = dataclasses.replace(CASE, terms=1, searched=0, m=m, leverage=m * m / CASE.n)
        s = math.sqrt(case.sse_wh2 / (case.n - 1))
        expected = student(0.9, case.n - 1) * s * math.sqrt(m * (1 + m / case.n))
        found = INTERVAL_METHODS["ols-independent"].half_width_wh(case, 0.9)
        assert found == pytest.approx(expected, rel=1e-12)


def test_a_negative_correlation_counts_as_none():
    for name in sorted(set(INTERVAL_METHODS) - {"nmecr-1.0.17"}):
        half_width_wh = INTERVAL_METHODS[name].half_width_wh
        assert half_width_wh(dataclasses.replace(CASE, rho=-0.4), 0.9) == half_width_wh(
            dataclasses.replace(CASE, rho=0.0), 0.9
        )


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"m": 0}, "no_reporting_units"),
        ({"mean_wh": 0.0}, "no_load"),
        ({"n": 5}, "too_few_units"),
    ],
)
@pytest.mark.parametrize("name", sorted(INTERVAL_METHODS))
def test_what_carries_no_interval_has_a_code(name, change, code):
    with pytest.raises(MeasureError) as refused:
        INTERVAL_METHODS[name].half_width_wh(dataclasses.replace(CASE, **change), 0.9)
    assert refused.value.code == code


@pytest.mark.parametrize("confidence", [0, 1, -0.9, 90, math.nan])
def test_a_confidence_outside_0_to_1_is_refused(confidence):
    with pytest.raises(MeasureError) as refused:
        INTERVAL_METHODS["ols-independent"].half_width_wh(CASE, confidence)
    assert refused.value.code == "bad_confidence"


def test_methods_without_a_figure_say_so():
    with pytest.raises(MeasureError) as refused:
        INTERVAL_METHODS["g14-effective-n"].half_width_wh(dataclasses.replace(CASE, rho=0.99), 0.9)
    assert refused.value.code == "residuals_too_correlated"
    with pytest.raises(MeasureError) as refused:
        INTERVAL_METHODS["caltrack-fsu-2.0"].half_width_wh(
            dataclasses.replace(CASE, months=80.0), 0.9
        )
    assert refused.value.code == "too_many_months"
    with pytest.raises(MeasureError) as refused:
        INTERVAL_METHODS["nmecr-1.0.17"].half_width_wh(
            dataclasses.replace(CASE, saving_wh=1.0), 0.9
        )
    assert refused.value.code == "saving_rounds_to_zero"


def test_a_method_names_its_version_and_source():
    for name, method in INTERVAL_METHODS.items():
        used = method.used()
        assert (used.id, used.version) == (name, method.version)
        assert used.text
        assert used.source


def test_the_facts_are_those_of_the_fit_and_count_change_points():
    one = meter(np.random.default_rng(1), 0.4, 60)
    fitted = five_parameters(one.before)
    case = case_of(fitted, one.before, one.after, step="day", months=2.0)
    assert (case.n, case.m, case.terms, case.searched, case.p) == (365, 60, 3, 2, 5)
    x = fitted.tangent(one.before)
    v = fitted.tangent(one.after).sum(axis=0)
    assert case.leverage == pytest.approx(v @ np.linalg.inv(x.T @ x) @ v, rel=1e-8)
    assert case.sse_wh2 == fitted.linear.sse
    assert case.rho == lag_one_correlation(fitted.linear.e, one.before.position)
    assert case.mean_wh == pytest.approx(one.before.energy_wh.mean(), rel=1e-12)
    predicted_wh = fitted.predict_wh(one.after)
    assert case.predicted_wh == pytest.approx(predicted_wh.sum(), rel=1e-12)
    assert case.saving_wh == pytest.approx((predicted_wh - one.after.energy_wh).sum(), rel=1e-9)


def test_the_factor_grows_with_the_months_and_keeps_126_for_hours():
    assert sun_baltazar_factor("day", 12) == pytest.approx(1.3925, abs=1e-4)
    assert sun_baltazar_factor("month", 12) == pytest.approx(1.3056, abs=1e-4)
    assert sun_baltazar_factor("hour", 12) == 1.26


NMECR = {
    "daily_SLR": 2, "daily_3PC": 2, "daily_3PH": 2, "daily_4P": 3, "daily_TOWT": 19,
    "daily_HDD-CDD Multivariate Regression": 3,
}  # fmt: skip


@pytest.fixture(scope="module")
def nmecr(plant_data):
    """What nmecr printed, and its baseline and performance period by column."""
    folder = plant_data / "mv/nmecr"
    tables = {}
    for name in ("base", "perf"):
        with (folder / f"nm_{name}_daily.csv").open() as file:
            rows = list(csv.DictReader(file))
        tables[name] = {
            key: np.array([float(row[key]) for row in rows]) for key in rows[0] if key != "time"
        }
    return json.loads((folder / "expected.json").read_text("utf-8")), tables


@pytest.mark.parametrize("name", sorted(NMECR))
def test_nmecr_is_met_from_its_own_sums(nmecr, name):
    expected, tables = nmecr
    peer = expected[name]
    assert peer["#Parameters"] == NMECR[name]
    case = dataclasses.replace(
        CASE, n=peer["n"], terms=peer["#Parameters"], searched=0, sse_wh2=peer["sse"],
        mean_wh=float(tables["base"]["eload"].mean()), rho=peer["rho1"], m=peer["m"],
        predicted_wh=peer["adjusted_baseline_use"], saving_wh=peer["savings"],
    )  # fmt: skip
    found = INTERVAL_METHODS["nmecr-1.0.17"].half_width_wh(case, 0.9) / peer["savings"]
    assert found == pytest.approx(peer["savings_uncertainty"], rel=1e-3)


@pytest.mark.parametrize(
    ("name", "drivers"),
    [("daily_SLR", ["temp"]), ("daily_HDD-CDD Multivariate Regression", ["HDD", "CDD"])],
)
def test_nmecr_is_met_from_the_data_where_nothing_is_searched(nmecr, name, drivers):
    expected, tables = nmecr
    peer, before, after = expected[name], tables["base"], tables["perf"]
    n, m = before["eload"].size, after["eload"].size
    model = fit(np.column_stack([before[d] for d in drivers]), before["eload"], np.arange(n))
    predicted = model.predict(np.column_stack([np.ones(m), *(after[d] for d in drivers)])).sum()
    saving = predicted - after["eload"].sum()
    assert model.sse == pytest.approx(peer["sse"], rel=1e-8)
    assert saving == pytest.approx(peer["savings"], rel=1e-6)
    case = dataclasses.replace(
        CASE, n=n, terms=model.p, searched=0, sse_wh2=model.sse,
        mean_wh=float(before["eload"].mean()), rho=lag_one_correlation(model.e, model.position),
        m=m, predicted_wh=float(predicted), saving_wh=float(saving),
    )  # fmt: skip
    found = INTERVAL_METHODS["nmecr-1.0.17"].half_width_wh(case, 0.9) / saving
    assert found == pytest.approx(peer["savings_uncertainty"], rel=1e-3)
