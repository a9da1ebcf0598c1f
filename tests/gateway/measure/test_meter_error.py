import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from joulemark_gateway.measure.meter_error import (
    MeterClass,
    Uncertain,
    co2e_of,
    combined,
    of_energy,
    of_saving,
    with_meter,
)

CLASS_1 = MeterClass(0.01)
amounts = st.floats(-1e7, 1e7).filter(lambda value: abs(value) > 1)
ratios = st.floats(0.001, 0.5)


@given(amounts, st.floats(1, 1e5), st.floats(5, 500), st.floats(0.01, 2), ratios)
def test_the_factor_s_error_is_the_closed_form(saved_wh, u_wh, degrees, factor, ratio):
    for u_factor in (factor * ratio, 2 * factor * ratio):
        found = co2e_of(Uncertain(saved_wh, u_wh, degrees), factor, u_factor)
        from_energy, from_factor = factor * u_wh / 1000, abs(saved_wh) / 1000 * u_factor
        u = math.sqrt(from_energy**2 + from_factor**2)
        nu = min(degrees * (u / from_energy) ** 4, 1e9)
        assert found.total.u == pytest.approx(u, rel=1e-12)
        closed = float(student.ppf(0.95, nu)) * u
        assert found.total.half_width(0.9) == pytest.approx(closed, rel=1e-9)
        assert found.total.value == pytest.approx(saved_wh / 1000 * factor, rel=1e-12)


@given(st.lists(amounts, min_size=1, max_size=20), ratios)
def test_one_factor_s_error_adds_linearly_over_sites(savings_wh, ratio):
    parts = [co2e_of(Uncertain(one, 5.0), 0.4, 0.4 * ratio).from_factor_kg for one in savings_wh]
    together = co2e_of(Uncertain(math.fsum(savings_wh), 5.0), 0.4, 0.4 * ratio)
    scale = math.fsum(abs(one) for one in savings_wh) / 1000 * 0.4 * ratio
    assert math.fsum(parts) == pytest.approx(together.from_factor_kg, abs=1e-9 * scale)


def test_a_bias_common_to_both_periods_is_worth_its_share_of_the_saving():
    predicted, measured = np.full(100, 1000.0), np.full(100, 900.0)
    same = of_saving(predicted, measured, CLASS_1)
    assert same.bias_limit_wh == pytest.approx(0.01 * 10_000, rel=1e-12)
    assert same.bias_u_wh == pytest.approx(0.01 / math.sqrt(3) * 10_000, rel=1e-12)
    other = of_saving(predicted, measured, CLASS_1, MeterClass(0.005))
    assert other.bias_limit_wh == pytest.approx(0.005 * 100_000 + 0.01 * 90_000, rel=1e-12)
    hypotenuse = math.hypot(0.005 * 100_000, 0.01 * 90_000) / math.sqrt(3)
    assert other.bias_u_wh == pytest.approx(hypotenuse, rel=1e-12)


@given(st.floats(-0.02, 0.02))
def test_a_meter_that_reads_both_periods_wrong_changes_the_saving_by_that_share(bias):
    draw = np.random.default_rng(7)
    kg = draw.uniform(1, 9, 60)
    energy = 500 + 100 * kg + draw.normal(0, 5, 60)
    slope, base = np.polyfit(kg[:30], energy[:30], 1)
    slope_seen, base_seen = np.polyfit(kg[:30], (1 + bias) * energy[:30], 1)
    true = (base + slope * kg[30:] - energy[30:]).sum()
    seen = (base_seen + slope_seen * kg[30:] - (1 + bias) * energy[30:]).sum()
    assert abs(seen - true) == pytest.approx(abs(bias * true), rel=1e-6, abs=1e-8)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), ratios, ratios)
def test_the_bias_adds_linearly_over_units_and_the_rest_in_quadrature(values, limit, random):
    energy = np.array(values)
    found = of_energy(energy, MeterClass(limit, random))
    assert found.bias_u_wh == pytest.approx(limit / math.sqrt(3) * energy.sum(), rel=1e-9)
    assert found.random_u_wh == pytest.approx(random * np.sqrt((energy**2).sum()), rel=1e-9)
    total = with_meter(Uncertain(10.0, 3.0, 40.0), found)
    assert total.value == 10.0
    assert total.u == pytest.approx(math.hypot(3, found.bias_u_wh, found.random_u_wh), rel=1e-12)


def test_no_error_at_all_is_an_interval_of_width_zero():
    assert combined(5.0, ()).half_width(0.9) == 0.0
    assert combined(5.0, (Uncertain(0.0, 0.0, 3.0),)).half_width(0.9) == 0.0


@given(st.floats(0.1, 10), st.floats(2, 100), st.floats(0, 10))
def test_degrees_of_freedom_never_fall_below_the_worst_part(u, degrees, other):
    found = combined(0.0, (Uncertain(0.0, u, degrees), Uncertain(0.0, other)))
    assert found.degrees_of_freedom >= degrees * (1 - 1e-12)
    assert found.u >= u
