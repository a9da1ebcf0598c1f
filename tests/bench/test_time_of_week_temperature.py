"""What a year of hours costs: the fit of many meters, their savings, and the memory of 1,000.

Figures are printed and nothing is asserted about time. A busy 2-core x86 machine, 2026-11, CPU
time: fit 1.2 ms a meter and year, saving with interval 0.5 ms; alone with all rows 12 ms, twelve
months 17 ms. 1,000 meters add 84 MB, of which 70 MB are their data.
"""

import resource
import sys

import numpy as np
import pytest

from joulemark_gateway.measure.models.time_of_week_batch import avoided, fit_batch
from joulemark_gateway.measure.models.time_of_week_blend import fit_by_month
from joulemark_gateway.measure.models.time_of_week_temperature import fit_time_of_week_temperature
from support.hourly_meters import meters, office
from support.timing import best_ns

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


def fitted(year):
    return fit_batch(year, WEEK, unit_h=1.0)


def test_a_meter_and_year_in_a_batch_of_200():
    year = year_of(200)
    fit_ms = best_ns(fitted, year) / 1e6 / 200
    batch = fitted(year)
    saving_ms = best_ns(avoided, batch, year, year, 0.9) / 1e6 / 200
    sys.stdout.write(
        f"a meter and year of hours: fit {fit_ms:.2f} ms, saving and interval {saving_ms:.2f} ms\n"
    )


def test_one_meter_with_its_dense_design_and_by_month():
    one_ms = best_ns(fit_time_of_week_temperature, YEAR) / 1e6
    months_ms = best_ns(fit_by_month, YEAR) / 1e6
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
