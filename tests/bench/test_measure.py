"""What the kernels and a measurement cost, against the limit of reading their arrays once.

Ratios are printed and nothing is asserted about time. A shared 2-core x86 machine, 2026-11:
power 3.0 ns/sample (2.1 times the read limit), counter 3.2 ns (2.2 times; two arrays more), fit
and interval of a year of days 0.2 ms, measurement of the recorded year 16 ms.
"""

import sys

import numpy as np
import pytest

from joulemark_agent.kernels.energy import counter_energy, power_energy
from joulemark_agent.simulate.scenario import load_scenario
from joulemark_gateway.measure.linear import fit
from joulemark_gateway.measure.run import measure
from joulemark_gateway.measure.uncertainty import noise_of
from support.histories import factor_set, factory_histories, recorded_year, steel_plan
from support.timing import best_ns

pytestmark = pytest.mark.bench

SAMPLES, QUARTER_US = 10_000_000, 900_000_000


@pytest.fixture(scope="module")
def samples():
    """1 s ± 0.2 s, 0.1 % without a value, a silence of 600 s every 100,000 samples."""
    draw = np.random.default_rng(5)
    steps = draw.integers(800_000, 1_200_000, SAMPLES)
    steps[::100_000] = 600_000_000
    t_us = np.cumsum(steps)
    power_w = draw.uniform(0.0, 1e5, SAMPLES)
    power_w[draw.random(SAMPLES) < 0.001] = np.nan
    edges_us = np.arange(t_us[0], t_us[-1], QUARTER_US)
    return t_us, power_w, edges_us


def show(name, spent_ns, limit_ns):
    per_sample, limit = spent_ns / SAMPLES, limit_ns / SAMPLES
    sys.stdout.write(
        f"{name}: {per_sample:.2f} ns/sample, {per_sample / limit:.1f} times the read limit "
        f"({limit:.2f} ns: numpy dot of two arrays)\n"
    )


def test_energy_kernels_against_the_read_limit(samples):
    t_us, power_w, edges_us = samples
    finite = np.nan_to_num(power_w)
    limit_ns = best_ns(np.dot, finite, t_us.astype(np.float64))
    show("power", best_ns(power_energy, t_us, power_w, edges_us, 5_000_000), limit_ns)
    counter = np.cumsum(np.random.default_rng(6).integers(0, 9, SAMPLES))
    good, step_ok = np.isfinite(power_w), np.ones(SAMPLES - 1, np.bool_)
    spent_ns = best_ns(counter_energy, t_us, counter, good, step_ok, edges_us, 5_000_000)
    show("counter", spent_ns, limit_ns)


def test_a_fit_with_its_interval_and_a_whole_measurement():
    draw = np.random.default_rng(1)
    x = draw.uniform(5, 30, (365, 1))
    y = 50 + 4 * x[:, 0] + draw.normal(0, 1, 365)
    fit_ns = best_ns(lambda: noise_of(fit(x, y, np.arange(365))))
    devices = factory_histories(load_scenario("retrofit"), recorded_year())
    year_ns = best_ns(measure, steel_plan(), devices, factor_set())
    sys.stdout.write(f"fit and interval of 365 days: {fit_ns / 1e6:.2f} ms\n")
    sys.stdout.write(f"measurement of 2 x 35,041 readings: {year_ns / 1e6:.1f} ms\n")
