"""Units: what counts of a day that was not wholly measured."""

from datetime import date
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from joulemark_gateway.measure.calendar import US_PER_DAY, grid
from joulemark_gateway.measure.intervals import counted
from joulemark_gateway.measure.periods import units_of
from support.histories import HOUR_US, history

UTC = ZoneInfo("UTC")
HOURS = 3 * 24


def units(*, energy_lost=(), production_lost=(), zone=UTC, least=0.9, first=date(1970, 1, 1)):
    cut = grid(first, date.fromordinal(first.toordinal() + 3), "day", zone)
    start_us = int(cut.edges_us[0])
    hours = (int(cut.edges_us[-1]) - start_us) // HOUR_US + 1
    counters = []
    for device, point, lost, rate in (
        ("meter", "energy_wh", energy_lost, 1000),
        ("line", "production_kg", production_lost, 7),
    ):
        read = history(
            device,
            point,
            rate * np.arange(hours),
            first_us=start_us,
            period_us=HOUR_US,
            lost=lost,
        )
        counters.append(counted(read, read.profile.points[0]))
    return units_of(cut, counters, (), nominal_us=US_PER_DAY, least_measured=least)


def test_whole_days_count_whole():
    found = units()

    assert found.kept.all()
    assert found.exposure.tolist() == [1.0, 1.0, 1.0]
    assert [total.tolist() for total in found.measured] == [[24_000] * 3, [168] * 3]


def test_a_hole_in_one_stream_leaves_its_time_out_of_all():
    """A lost reading at 30:00 leaves the two hours around it without a measured step."""
    found = units(energy_lost=[30])

    assert found.kept.all()
    assert found.exposure.tolist() == [1.0, 22 / 24, 1.0]
    assert found.measured[0].tolist() == [24_000, 22_000, 24_000]
    assert found.measured[1].tolist() == [168, 154, 168]
    assert found.streams[0].total.tolist() == [24_000] * 3, "the register difference stays booked"
    assert found.reasons == ((), ("meter/energy_wh: gap:timeout",), ())


def test_holes_of_two_streams_that_overlap_count_once():
    found = units(energy_lost=[30], production_lost=[31], least=0.8)

    assert found.exposure.tolist() == [1.0, 21 / 24, 1.0]
    assert [int(total[1]) for total in found.measured] == [21_000, 147]


@pytest.mark.parametrize(("least", "kept"), [(22 / 24, True), (22.01 / 24, False)])
def test_a_day_below_the_limit_is_masked(least, kept):
    found = units(energy_lost=[30], least=least)

    assert found.kept.tolist() == [True, kept, True]
    assert found.position.size == found.energy_wh.size == found.kept_exposure.size


def test_a_day_of_23_hours_is_23_24ths_of_one():
    found = units(zone=ZoneInfo("Europe/Berlin"), first=date(2018, 3, 24))

    assert found.kept.all()
    assert found.exposure.tolist() == [1.0, 23 / 24, 1.0]
    assert found.measured[0].tolist() == [24_000, 23_000, 24_000]


def test_measured_time_and_holes_make_up_the_register_difference():
    """What is left out is exactly what the register counted over the hole."""
    found = units(energy_lost=[5, 6, 50])
    left_out = found.streams[0].total - found.measured[0]

    assert left_out.tolist() == [3_000, 0, 2_000]
