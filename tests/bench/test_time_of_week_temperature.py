"""What a year of hours costs: the fit of many meters, their savings, and the memory of 1,000.

Figures are printed and nothing is asserted about time. A busy 2-core x86 machine, 2026-11, CPU
time: fit 1.2 ms a meter and year, saving with interval 0.5 ms; alone with all rows 12 ms, twelve
months 17 ms. 1,000 meters add 84 MB, of which 70 MB are their data.
"""

import resource
import sys
import time

import numpy as np
import pytest

from joulemark_gateway.measure.models.time_of_week_batch import avoided, fit_batch
from joulemark_gateway.measure.models.time_of_week_blend import fit_by_month
from joulemark_gateway.measure.models.time_of_week_temperature import fit_time_of_week_temperature
from support.hourly_meters import meters, office

pytestmark = pytest.mark.bench

WEEK, YEAR_H = 168, 8_760
YEAR = office(1, YEAR_H)


def year_of(count):
    """That many meters in one weather."""
    one, draw = meters(YEAR), np.random.default_rng(1)
    energy_wh = np.empty((count, YEAR_H))
    for row in energy_wh:
        row[:] = one.energy_wh[0] + draw.normal(0, 4_000, YEAR_H)
    return one._replace(energy_wh=energy_wh)


def best_ms(function, *arguments, rounds=5):
    """The quickest of some CPU times. [ms]"""
    function(*arguments)
    times = []
    for _ in range(rounds):
        begun = time.process_time_ns()
        function(*arguments)
        times.append(time.process_time_ns() - begun)
    return min(times) / 1e6


def fitted(year):
    return fit_batch(year, WEEK, unit_h=1.0)


def test_a_meter_and_year_in_a_batch_of_200():
    year = year_of(200)
    fit_ms = best_ms(fitted, year) / 200
    batch = fitted(year)
    saving_ms = best_ms(avoided, batch, year, year, 0.9) / 200
    sys.stdout.write(
        f"a meter and year of hours: fit {fit_ms:.2f} ms, saving and interval {saving_ms:.2f} ms\n"
    )


def test_one_meter_with_its_dense_design_and_by_month():
    one_ms = best_ms(fit_time_of_week_temperature, YEAR)
    months_ms = best_ms(fit_by_month, YEAR)
    sys.stdout.write(f"alone, with all rows: {one_ms:.0f} ms; twelve months: {months_ms:.0f} ms\n")


def test_the_memory_of_1000_meters():
    fitted(year_of(1))
    before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    year = year_of(1_000)
    avoided(fitted(year), year, year, 0.9)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(
        f"1,000 meters, one weather: {before_mb:.0f} MB before, {peak_mb:.0f} MB peak\n"
    )
