import itertools

import numpy as np
import pytest

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.models.change_point import fit_change_point
from joulemark_gateway.measure.models.degree_day import fit_best_degree_days, fit_degree_days
from support.temperature_meters import DAY_US, made
from support.unit_data import changed, of_edges

LENGTHS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 33, 26, 31, 30, 31, 29, 31, 31, 30]


def billed(daily, lengths):
    """The bills of days one after the other."""
    edges = np.concatenate([[0], np.cumsum(lengths)])
    energy_wh = [daily.energy_wh[a:b].sum() for a, b in itertools.pairwise(edges)]
    return of_edges(edges * DAY_US, energy_wh)


def test_bills_of_a_building_give_its_base_and_slopes():
    days = made(np.random.default_rng(1), n=sum(LENGTHS), noise=0.01)
    fitted = fit_degree_days(billed(days, LENGTHS), days, "5p")
    assert fitted.linear.beta == pytest.approx([40_000, 1_500, 1_200], rel=0.01)
    assert fitted.facts["heating_change_point_c"] == pytest.approx(14)
    assert fitted.facts["cooling_change_point_c"] == pytest.approx(20)
    assert fitted.linear.n == len(LENGTHS)


def test_a_bill_of_half_the_days_counts_half():
    days = made(np.random.default_rng(2), n=sum(LENGTHS))
    halves = [part for length in LENGTHS for part in (length // 2, length - length // 2)]
    bills = billed(days, halves)
    fitted = fit_degree_days(bills, days, "3ph")
    x, days_each = fitted.rows(bills), np.array(halves, np.float64)
    weighted = np.sqrt(days_each)[:, None]
    y = bills.energy_wh / days_each
    expected = np.linalg.lstsq(x / days_each[:, None] * weighted, y * weighted[:, 0])[0]
    assert fitted.linear.beta == pytest.approx(expected, rel=1e-9)
    mean = np.average(y, weights=days_each)
    sst = np.sum(days_each * (y - mean) ** 2)
    e = bills.energy_wh / days_each - (x @ fitted.linear.beta) / days_each
    assert fitted.linear.r2 == pytest.approx(1 - np.sum(days_each * e**2) / sst, rel=1e-9)


def test_bills_of_one_day_are_days():
    days = made(np.random.default_rng(3), n=200)
    bills = billed(days, [1] * 200)
    by_day = fit_change_point(days, "5p")
    by_bill = fit_degree_days(bills, days, "5p")
    assert by_bill.linear.sse == pytest.approx(by_day.linear.sse, rel=2e-3)
    assert by_bill.linear.sse >= by_day.linear.sse


def test_the_tangent_is_the_derivative_of_the_energy_of_bills():
    days = made(np.random.default_rng(4), n=sum(LENGTHS))
    bills = billed(days, LENGTHS)
    fitted = fit_degree_days(bills, days, "5p")
    above = fitted.facts["cooling_change_point_c"]
    t_c = days.driver("temperature_c")
    edges = np.concatenate([[0], np.cumsum(LENGTHS)])
    warmer = [np.sum(t_c[a:b] > above) for a, b in itertools.pairwise(edges)]
    assert fitted.tangent(bills)[:, 4] == pytest.approx(-fitted.linear.beta[2] * np.array(warmer))


def test_degree_days_of_the_mean_temperature_would_miss_the_mild_months():
    days = made(np.random.default_rng(5), n=sum(LENGTHS), noise=1.0)
    bills = billed(days, LENGTHS)
    fitted = fit_degree_days(bills, days, "5p")
    edges = np.concatenate([[0], np.cumsum(LENGTHS)])
    t_c = days.driver("temperature_c")
    means = np.array([t_c[a:b].mean() for a, b in itertools.pairwise(edges)])
    x = np.column_stack([np.ones(means.size), np.maximum(14 - means, 0), np.maximum(means - 20, 0)])
    y = bills.energy_wh / np.array(LENGTHS)
    naive = np.sum((x @ np.linalg.lstsq(x, y)[0] - y) ** 2)
    rates = fitted.predict_wh(bills) / np.array(LENGTHS)
    assert np.sum((rates - y) ** 2) < 0.3 * naive


def test_the_best_kind_is_chosen_by_adjusted_r2():
    days = made(np.random.default_rng(6), n=sum(LENGTHS), cooling=0.0, noise=1.0)
    assert fit_best_degree_days(billed(days, LENGTHS), days).id == "degree-days-3ph"


def test_a_bill_without_any_temperature_is_not_predicted():
    days = made(np.random.default_rng(7), n=sum(LENGTHS))
    bills = billed(days, LENGTHS)
    fitted = fit_degree_days(bills, days, "3ph")
    half = changed(days, "temperature_c", at=slice(5, 10), to=np.nan)
    none = changed(days, "temperature_c", at=slice(0, 31), to=np.nan)
    assert np.isfinite(fit_degree_days(bills, half, "3ph").predict_wh(bills)).all()
    again = fit_degree_days(bills.where(np.arange(bills.n) > 0), none, "3ph")
    assert np.isnan(again.predict_wh(bills)).nonzero()[0].tolist() == [0]
    assert again.linear.n == fitted.linear.n - 1


def test_too_few_bills_for_the_parameters_have_a_code():
    days = made(np.random.default_rng(8), n=150)
    with pytest.raises(MeasureError) as refused:
        fit_degree_days(billed(days, [30] * 5), days, "5p")
    assert refused.value.code == "no_change_point"
