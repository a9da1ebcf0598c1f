import numpy as np
import pytest

from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.models.aggregation import in_whole_units, summed

MINUTE_US, HOUR_US = 60_000_000, 3_600_000_000


def minutes(n, first=0, lost=()):
    energy = np.ones(n)
    energy[list(lost)] = np.nan
    columns = {
        "start": (first + np.arange(n)) * MINUTE_US,
        "energy_wh": energy,
        "volume_m3": np.arange(n) + 1.0,
    }
    return Data.of(columns, drivers=["volume_m3"], unit_us=MINUTE_US, zone="UTC")


def test_energy_and_volume_add_up_to_hours():
    found = summed(minutes(180), HOUR_US, 0.9)
    assert found.energy_wh.tolist() == [60, 60, 60]
    assert found.drivers["volume_m3"].sum() == pytest.approx(180 * 181 / 2)
    assert found.start_us.tolist() == [0, HOUR_US, 2 * HOUR_US]
    assert found.length_us.tolist() == [HOUR_US] * 3


def test_an_hour_that_is_known_too_little_is_absent_and_leaves_a_hole():
    found = summed(minutes(180, lost=range(60, 67)), HOUR_US, 0.9)
    assert found.position.tolist() == [0, 2]
    assert summed(minutes(180, lost=range(60, 66)), HOUR_US, 0.9).energy_wh.tolist() == [60, 54, 60]


def test_hours_begin_where_the_clock_says():
    found = summed(minutes(90, first=30), HOUR_US, 0.9)
    assert found.start_us.tolist() == [HOUR_US]
    assert in_whole_units(minutes(90, first=30), HOUR_US, 0.9).sum() == 60


def test_nothing_known_is_nothing():
    assert summed(minutes(60, lost=range(60)), HOUR_US, 0.9).n == 0
    assert summed(minutes(0), HOUR_US, 0.9).n == 0
