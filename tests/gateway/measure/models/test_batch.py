from dataclasses import replace
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from joulemark_agent.contract.errors import MeasureError
from joulemark_agent.kernels.gas import combustion_energy
from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.models.batch import (
    HEAT,
    HOURS,
    IDLE,
    MASS,
    Carrier,
    by_product,
    fit_batches,
    fuel_switch,
    rate_findings,
)
from joulemark_gateway.measure.uncertainty import noise_of

HOUR_US = 3_600_000_000
RATES = np.array([40_000.0, 25.0, 0.19, 22_000.0])  # Wh/h, Wh/kg, Wh/(kg K), Wh/h


def batches(n=120, seed=6, *, mix=0.5, factor=1.0, rho=0.4, noise=15_000.0):
    """Heat treatment of two products, of which the second is soaked hotter and longer."""
    draw = np.random.default_rng(seed)
    product = 1 + (draw.uniform(0, 1, n) < mix)
    hours = draw.normal(4, 0.4, n) + 2 * (product == 2)
    mass = draw.uniform(1500, 4500, n)
    soak = np.where(product == 2, 930.0, 860.0) + draw.normal(0, 8, n)
    charged = draw.uniform(15, 160, n)
    idle = draw.exponential(1.0, n)
    error = np.zeros(n)
    for k in range(n):
        error[k] = rho * error[k - 1] + draw.normal(0, noise * np.sqrt(1 - rho**2))
    x = np.column_stack([hours, mass, (soak - charged) * mass, idle])
    length_us = ((hours + idle) * HOUR_US).astype(np.int64)
    columns = {
        "start": np.cumsum(length_us) - length_us,
        "length": length_us,
        "energy_wh": factor * (x * RATES).sum(axis=1) + error,
        "batch_h": hours,
        "mass_kg": mass,
        "soak_c": soak,
        "charged_c": charged,
        "idle_h": idle,
        "product": product,
    }
    drivers = ["batch_h", "mass_kg", "soak_c", "charged_c", "idle_h", "product"]
    return Data.of(columns, drivers=drivers, unit_us=HOUR_US, zone="UTC", length="length")


def refusal(call):
    with pytest.raises(MeasureError) as refused:
        call()
    return refused.value.code


def half_width(fitted, data, *, forgets=False):
    noise = noise_of(fitted.linear)
    if forgets:
        linear = fitted.linear
        noise = replace(noise, rho_used=0.0, variance=linear.residual_variance)
        noise = replace(noise, coefficients=np.eye(linear.p))
    ones = np.ones((1, data.n))
    variance = float(noise.covariance(fitted.rows(data), data.position, ones)[0, 0])
    return noise.half_width(variance, 0.90)


def test_the_rates_of_a_furnace_without_noise_are_found():
    fitted = fit_batches(batches(noise=0.0))
    assert fitted.linear.beta == pytest.approx(RATES, rel=1e-9)
    assert [term.name for term in fitted.terms] == [HOURS, MASS, HEAT, IDLE]
    assert [term.unit for term in fitted.terms] == ["Wh/h", "Wh/kg", "Wh/(kg K)", "Wh/h"]


def test_noise_moves_them_within_their_errors():
    fitted = fit_batches(batches(n=400))
    errors = np.sqrt(np.diag(fitted.linear.inverse) * fitted.linear.residual_variance)
    assert (np.abs(fitted.linear.beta - RATES) < 4 * errors).all()
    assert noise_of(fitted.linear).rho == pytest.approx(0.4, abs=0.15)


def test_a_batch_that_is_left_out_leaves_a_hole_in_their_order():
    data = batches()
    some = data.where(np.arange(120) % 2 == 0)
    assert noise_of(fit_batches(some).linear).rho == 0  # none follows another
    assert noise_of(fit_batches(data).linear).rho > 0.2


def test_a_known_saving_is_found_under_another_mix_of_products():
    fitted = fit_batches(batches(n=200, mix=0.3))
    after = batches(n=100, seed=7, mix=0.8, factor=0.9)
    lines = by_product(fitted, after)
    truth = (1 / 0.9 - 1) * (after.energy_wh.sum())
    saved = sum(line.avoided_wh for line in lines)
    assert [line.product for line in lines] == [1, 2]
    assert sum(line.batches for line in lines) == 100
    assert sum(line.mass_kg for line in lines) == pytest.approx(after.drivers["mass_kg"].sum())
    assert sum(line.predicted_wh for line in lines) == pytest.approx(
        fitted.predict_wh(after).sum(), rel=1e-12
    )
    assert saved == pytest.approx(truth, abs=1.5 * half_width(fitted, after))


def test_the_interval_counts_what_one_batch_leaves_to_the_next():
    """The control takes each batch for news of its own: a hot lining is not."""
    inside = {False: 0, True: 0}
    for seed in range(100):
        fitted = fit_batches(batches(n=150, seed=seed, rho=0.7))
        after = batches(n=60, seed=1000 + seed, mix=0.7, factor=0.95, rho=0.7)
        truth = batches(n=60, seed=1000 + seed, mix=0.7, noise=0.0).energy_wh.sum() * 0.05
        saved = fitted.predict_wh(after).sum() - after.energy_wh.sum()
        for forgets in inside:
            inside[forgets] += abs(saved - truth) <= half_width(fitted, after, forgets=forgets)
    assert 0.84 <= inside[False] / 100 <= 0.98
    assert inside[True] / 100 < 0.7


def test_energy_per_tonne_takes_another_mix_for_a_loss():
    """The control: nothing was changed but what was ordered."""
    before, after = batches(n=200, mix=0.1), batches(n=200, seed=7, mix=0.9)
    fitted = fit_batches(before)
    specific = [one.energy_wh.sum() / one.drivers["mass_kg"].sum() for one in (before, after)]
    saved = fitted.predict_wh(after).sum() - after.energy_wh.sum()
    assert specific[1] / specific[0] - 1 > 0.05
    assert abs(saved) < 1.5 * half_width(fitted, after)
    assert abs(saved) < 0.01 * after.energy_wh.sum()


def test_a_batch_with_a_hole_is_in_neither_sum():
    fitted = fit_batches(batches(noise=0.0))
    after = batches(n=10, noise=0.0)
    after.energy_wh[3] = np.nan
    after.drivers["soak_c"][5] = np.nan
    lines = by_product(fitted, after)
    assert sum(line.batches for line in lines) == 8
    assert sum(line.avoided_wh for line in lines) == pytest.approx(0, abs=1)


def test_a_furnace_of_one_soak_temperature_needs_fewer_terms():
    data = batches()
    same = {**data.drivers, "soak_c": np.full(120, 900.0), "charged_c": np.full(120, 20.0)}
    one = replace(data, drivers=same)
    assert refusal(lambda: fit_batches(one)) == "collinear_drivers"
    assert fit_batches(one, (HOURS, MASS, IDLE)).parameters == 3


def test_what_is_no_term_of_a_furnace_is_refused():
    data = batches()
    assert refusal(lambda: fit_batches(data, (HOURS, "colour"))) == "unknown_term"
    assert refusal(lambda: fit_batches(data, (MASS, HEAT))) == "no_batch_hours"
    assert refusal(lambda: fit_batches(data, ())) == "no_batch_hours"
    del data.drivers["idle_h"]
    assert refusal(lambda: fit_batches(data)) == "missing_driver"
    assert refusal(lambda: fit_batches(batches(n=4))) == "too_few_units"


def test_a_rate_below_zero_is_told():
    fitted = fit_batches(batches(noise=0.0))
    assert all(found.passed for found in rate_findings(fitted, "plan"))
    data = batches(noise=0.0)
    wrong = replace(data, energy_wh=data.energy_wh - 30.0 * data.drivers["mass_kg"])
    [found] = [one for one in rate_findings(fit_batches(wrong), "plan") if not one.passed]
    assert (found.code, found.subject) == ("unphysical_sign", MASS)
    assert found.seen == pytest.approx(-5, rel=1e-6)


def test_a_change_of_fuel_saves_energy_and_carbon_apart():
    """Electricity instead of gas, on a clean grid and on a dirty one."""
    gas_wh = combustion_energy(900.0, 36.0)
    assert gas_wh == pytest.approx(9_000_000)
    for grid, sign in ((0.1, 1), (0.5, -1)):
        carriers = [
            Carrier("gas", gas_wh, 0.0, 0.202),
            Carrier("electricity", 0.0, 5_000_000.0, grid),
        ]
        found = fuel_switch(carriers)
        assert found.total_wh == pytest.approx(4_000_000)
        assert found.avoided_wh["electricity"] == -5_000_000
        assert found.total_kg == pytest.approx(9_000 * 0.202 - 5_000 * grid)
        assert np.sign(found.total_kg) == sign


def test_batches_carry_the_zone_they_were_given():
    assert batches(n=5).zone == ZoneInfo("UTC")
