"""Day 2, the air station of a car plant: a week of it, and an outage that a counter catches up.

The recording has no licence, so nothing of it is here but sums.
"""

from decimal import Decimal

import numpy as np
import pytest

from support.recorded import HOUR_US, number, rows, us
from support.table_factory import Table

pytestmark = [pytest.mark.timeout(420), pytest.mark.endurance]

MOST_KWH_PER_H = 1400
CATCH_UP_WH = 46_210_586
OPENING_KWH, OPENING_M3 = Decimal(41_235_000), Decimal(1_874_000)
# The variables are named as OPC 40250-1 does; their units are this server's own: kWh and m3.
# No more than 1,400 kW can be drawn, and some always is.
STATION = """\
model: air_station
kind: air_compressor
protocol: opcua
source: "made for a test; the names are those of OPC 40250-1"
confidence: bench
points:
  - name: energy_wh
    node: "nsu=http://opcfoundation.org/UA/CAS/;s=PLACE/ElectricalCircuit/Input/Energy"
    type: float64
    scale: 1000
    counter: true
    minimum: 0
    maximum_rate: 389
    stuck_s: 1800
  - name: air_dm3
    node: "nsu=http://opcfoundation.org/UA/CAS/;s=PLACE/ProcessFluidCircuit/Outlet/AccumulatedVolume"
    type: float64
    scale: 1000
    counter: true
    minimum: 0
"""
WEEK = ("2018-06-04 01:00:00", "2018-06-11 00:00:00")
OUTAGE = ("2018-12-07 01:00:00", "2018-12-13 00:00:00")


def counters(name, published, span):
    """Both counters at every full hour, from the start of the first hour on."""
    inside = [row for row in published if span[0] <= row["hour_ending"] <= span[1]]
    energy_kwh, air_m3 = OPENING_KWH, OPENING_M3
    found = [{"energy_wh": 1000 * energy_kwh, "air_dm3": 1000 * air_m3}]
    for row in inside:
        # The file has binary noise behind the third decimal.
        energy_kwh += round(number(row["energy_kwh"]), 3)
        air_m3 += number(row["air_m3"])
        found.append({"energy_wh": 1000 * energy_kwh, "air_dm3": 1000 * air_m3})
    text = STATION.replace("PLACE", name)
    return Table(name, text, us(span[0]) - HOUR_US, 3600, found)


@pytest.fixture(scope="module")
def published(plant_data):
    return rows(plant_data / "carplant_compressed_air_2018/carplant_air_energy_2018_hourly.csv.gz")


@pytest.fixture(scope="module")
def station(run, published):
    return run([counters("week", published, WEEK), counters("outage", published, OUTAGE)])


def whole(span):
    return np.array([us(span[0]) - HOUR_US, us(span[1])])


def hours(span):
    return np.arange(us(span[0]) - HOUR_US, us(span[1]) + 1, HOUR_US)


def test_the_week_has_its_published_energy_air_and_specific_energy(station, told):
    week = station["week"]
    energy = week.counter("energy_wh").totals(whole(WEEK))
    air = week.counter("air_dm3").totals(whole(WEEK))
    specific = energy.total[0] / air.total[0]  # Wh/dm3 is kWh/m3

    assert energy.total[0] == 84_728_278
    assert air.total[0] == 595_275_500
    assert specific == pytest.approx(0.142335, abs=5e-7)
    assert energy.missing_us[0] == energy.estimated_us[0] == 0
    told("day 2: air station, week [kWh]", energy.total[0] / 1000, "84,728.278")
    told("day 2: air station, week [m3]", air.total[0] / 1000, "595,275.5")
    told("day 2: specific energy [kWh/m3]", round(specific, 6), "0.142335")


def test_what_the_counter_caught_up_after_the_outage_is_in_the_total_and_no_hour_is_measured_so(
    station, told
):
    counter = station["outage"].counter("energy_wh")
    found = counter.totals(hours(OUTAGE))
    is_measured = found.covered_us == HOUR_US
    naive_wh = np.diff(station["outage"].history.counters["energy_wh"])
    [span] = counter.spans_in(*whole(OUTAGE))

    assert {event.code for event in counter.events} == {"stuck", "catch_up"}
    assert [e.booked for e in counter.events if e.code == "catch_up"] == [CATCH_UP_WH]
    assert span.is_estimated
    assert set(span.reasons) >= {"stuck", "catch_up"}
    assert (span.end_us - span.start_us) // HOUR_US == 117
    assert found.total.sum() == naive_wh.sum()
    assert found.total[~is_measured].sum() == CATCH_UP_WH
    assert found.total[is_measured].max() <= 1000 * MOST_KWH_PER_H
    assert (found.total <= 1000 * MOST_KWH_PER_H).all()
    assert not found.missing_us.any()
    # Control: differences of the register are one hour of 46 MW and 116 of nothing.
    assert naive_wh.max() == CATCH_UP_WH
    assert (naive_wh == 0).sum() == 116
    told("day 2: caught up, as a sum over 117 h [kWh]", CATCH_UP_WH / 1000, "46,210.586")
    told("day 2: most in a measured hour [kWh]", found.total[is_measured].max() / 1000, "<= 1,400")


def test_a_straight_line_through_its_clean_hours_is_the_published_one(published, told):
    pairs = [
        (float(row["air_m3"]), float(row["energy_kwh"]))
        for row in published
        if row["air_m3"] and row["energy_kwh"] and row["hour_ending"] < "2019"
    ]
    air, energy = np.array([p for p in pairs if p[0] > 0 and 0 < p[1] < MOST_KWH_PER_H]).T
    kept = np.ones(air.size, np.bool_)
    while True:
        slope, intercept = np.polyfit(air[kept], energy[kept], 1)
        off = energy - intercept - slope * air
        inside = np.abs(off) <= 3 * off[kept].std()
        if (inside == kept).all():
            break
        kept = inside

    assert intercept == pytest.approx(53.9, abs=1)
    assert slope == pytest.approx(0.1315, abs=5e-4)
    told("day 2: line through clean hours", f"{intercept:.2f} kWh + {slope:.5f} kWh/m3",
         "53.9 +-1, 0.1315 +-0.0005")  # fmt: skip
