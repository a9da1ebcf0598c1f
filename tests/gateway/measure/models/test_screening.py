import csv
import gzip
from datetime import datetime

import numpy as np
import pytest

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.models.production import activity, fit_production
from joulemark_gateway.measure.models.screening import Screen, fit_screened, plausible

HOUR_US = 3_600_000_000
STATION = Screen("station-hours", "1", most_power_w=1.4e6, active="air_m3", sigmas=3.0)
AIR = activity("air_m3", "m3")


@pytest.fixture(scope="module")
def hours(plant_data):
    path = plant_data / "carplant_compressed_air_2018/carplant_air_energy_2018_hourly.csv.gz"
    with gzip.open(path, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    ends = np.array([datetime.fromisoformat(row["hour_ending"]) for row in rows], "datetime64[us]")

    def column(name):
        return np.array([float(row[name] or "nan") for row in rows])

    columns = {
        "start": ends - np.timedelta64(HOUR_US, "us"),
        "energy_wh": 1000 * column("energy_kwh"),
        "air_m3": column("air_m3"),
    }
    return Data.of(columns, drivers=["air_m3"], unit_us=HOUR_US, zone="UTC")


def between(data, first, last):
    ends = (data.start_us + HOUR_US).astype("datetime64[us]")
    return data.where((ends >= np.datetime64(first)) & (ends <= np.datetime64(last)))


def test_the_clean_hours_of_a_plants_year_give_its_published_line(hours):
    found = fit_screened(hours, [AIR], STATION)
    intercept, slope = found.fitted.linear.beta / 1000
    assert intercept == pytest.approx(53.9, abs=1)
    assert slope == pytest.approx(0.1315, abs=0.0005)
    assert found.fitted.linear.r2 == pytest.approx(0.985, abs=0.002)
    assert found.fitted.linear.cv_rmse == pytest.approx(0.063, abs=0.0015)
    assert found.step == "station-hours 1"
    took = {rule.code: rule.units for rule in found.left_out}
    assert took["outlier"] > 0
    assert hours.n - sum(took.values()) == found.fitted.linear.n == found.kept.sum()


def test_all_hours_with_air_and_energy_give_another_line(hours):
    """The control: nothing is screened but what is missing."""
    plain = fit_production(hours.where(hours.is_whole), [AIR])
    intercept, _ = plain.linear.beta / 1000
    assert abs(intercept - 53.9) > 1


def test_a_week_of_the_station_has_its_energy_and_air(hours):
    week = between(hours, "2018-06-04T01", "2018-06-11T00")
    energy_kwh, air_m3 = week.energy_wh.sum() / 1000, week.drivers["air_m3"].sum()
    assert energy_kwh == pytest.approx(84_728.278, abs=1e-3)
    assert air_m3 == pytest.approx(595_275.5, abs=1e-3)
    assert energy_kwh / air_m3 == pytest.approx(0.142335, abs=5e-7)
    kept, left_out = plausible(week, STATION)
    assert kept.sum() == week.n - sum(rule.units for rule in left_out)


def test_no_hour_of_an_outage_is_taken_as_measured_power(hours):
    outage = between(hours, "2018-12-07T20", "2018-12-12T16")
    kept, left_out = plausible(outage, STATION)
    took = {rule.code: rule.units for rule in left_out}
    assert outage.n == 117
    assert outage.energy_wh.max() == pytest.approx(46_210_586)
    assert not kept.any()
    assert took["no_energy"] == 116
    assert took["power_above_possible"] == 1


def made(n=400, seed=4):
    draw = np.random.default_rng(seed)
    air = draw.uniform(0, 6000, n)
    energy = 5e4 + 130 * air + draw.normal(0, 2e4, n)
    return air, energy


def data_of(air, energy):
    columns = {"start": np.arange(air.size) * HOUR_US, "energy_wh": energy, "air_m3": air}
    return Data.of(columns, drivers=["air_m3"], unit_us=HOUR_US, zone="UTC")


def test_hours_that_were_spoilt_are_found_and_the_true_line_is_left():
    air, energy = made()
    energy[:20] += 5e5  # less than the most it can draw, and no line's
    energy[20], energy[21], air[22], air[23] = 0.0, 2e6, 0.0, np.nan
    found = fit_screened(data_of(air, energy), [AIR], STATION)
    took = {rule.code: rule.units for rule in found.left_out}
    assert not found.kept[:24].any()
    assert [took[code] for code in ("missing", "no_energy", "power_above_possible")] == [1, 1, 1]
    assert took["not_active"] == 1
    assert 20 <= took["outlier"] <= 26
    assert found.fitted.linear.beta == pytest.approx([5e4, 130], rel=0.12)
    raw = data_of(air, energy)
    plain = fit_production(raw.where(raw.is_whole), [AIR]).linear
    assert abs(plain.beta[0] - 5e4) > 1e4


def test_clean_hours_lose_next_to_nothing():
    found = fit_screened(data_of(*made()), [AIR], STATION)
    assert found.kept.sum() >= 394


def test_a_step_that_takes_everything_leaves_no_model():
    air, energy = made(n=10)
    with pytest.raises(MeasureError) as refused:
        fit_screened(data_of(air, energy * 100), [AIR], STATION)
    assert refused.value.code == "too_few_units"
