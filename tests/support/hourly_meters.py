"""Meters that follow the clock and the weather: simulated ones, and those of published files."""

from __future__ import annotations

import csv
import gzip
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.models.cells import TimesOfWeek
from joulemark_gateway.measure.models.time_of_week_batch import Meters
from support.five_parameters import ar1

HOUR_US, DAY_US = 3_600_000_000, 86_400_000_000
MONDAY_US = 1_704_067_200_000_000  # 2024-01-01
NIGHT_WH, DAY_WH, HEATING_WH, COOLING_WH = 20_000.0, 60_000.0, 900.0, 1_500.0

Array = NDArray[np.float64]


def office(seed: int, hours: int, *, noise_wh: float = 4_000.0, step_h: int = 1) -> Data:
    """Busy on working days from 8 to 18 h, with other slopes then; its year is as long as `hours`.

    Without noise it lies inside the family: its change points are two of the knots, 55 and 65 F.
    """
    draw = np.random.default_rng(seed)
    hour = np.arange(0, hours, step_h)
    busy = (hour // 24 % 7 < 5) & (hour % 24 >= 8) & (hour % 24 < 18)
    season = -14.0 * np.cos(2 * np.pi * hour / hours) - 4.0 * np.cos(2 * np.pi * hour / 24)
    temperature_c = 14.0 + season + 3.0 * ar1(draw, hour.size, 0.95)
    energy_wh = (
        np.where(busy, DAY_WH, NIGHT_WH)
        + np.where(busy, 1.0, 0.5) * HEATING_WH * np.maximum(23 / 1.8 - temperature_c, 0)
        + np.where(busy, 1.0, 0.3) * COOLING_WH * np.maximum(temperature_c - 33 / 1.8, 0)
        + noise_wh * ar1(draw, hour.size, 0.5)
    )
    start_us = MONDAY_US + hour * HOUR_US
    return of_units(start_us, energy_wh, temperature_c, unit_us=step_h * HOUR_US)


def of_units(
    start_us: NDArray[np.int64],
    energy_wh: Array,
    temperature_c: Array,
    *,
    unit_us: int = HOUR_US,
    zone: str = "UTC",
    **more: Array,
) -> Data:
    """Data of one temperature, and other drivers by name."""
    columns = {"start": start_us, "energy_wh": energy_wh, "temperature_c": temperature_c, **more}
    return Data.of(columns, drivers=["temperature_c", *more], unit_us=unit_us, zone=zone)


def meters(*units: Data) -> Meters:
    """Meters over the same hours as a batch takes them."""
    return Meters(
        np.array([data.energy_wh for data in units]),
        np.array([data.driver("temperature_c") for data in units]),
        TimesOfWeek(60).of(units[0]),
        units[0].position,
    )


def building(plant_data: Path, name: str) -> Data:
    """A simulated building by the hour, as published; one row has no stamp and is left out."""
    rows = [row for row in _rows(plant_data / "mv/lbnl_rmv20" / name) if row["time"] != "NA"]
    stamps = [datetime.strptime(row["time"], "%m/%d/%y %H:%M") for row in rows]  # noqa: DTZ007
    return of_units(_micros(stamps), _column(rows, "eload"), _column(rows, "Temp"))


def daily_building(plant_data: Path, name: str) -> Data:
    """A building by the day."""
    rows = _rows(plant_data / "mv/nmecr" / name)
    stamps = [datetime.fromisoformat(row["time"]) for row in rows]
    temperature_c = (_column(rows, "temp") - 32) / 1.8
    return of_units(_micros(stamps), _column(rows, "eload"), temperature_c, unit_us=DAY_US)


def house(plant_data: Path) -> Data:
    """A house by the hour for the 365 days before its blackout; kWh and F."""
    return house_periods(plant_data)[0]


def house_periods(plant_data: Path) -> tuple[Data, Data]:
    """The house for the 365 days before and after its blackout."""
    folder = plant_data / "mv/opendsm_samples"
    rows = _rows(folder / "il-electricity-cdd-hdd-hourly.csv.gz")
    stamps = [datetime.fromisoformat(row["start"]).astimezone(UTC) for row in rows]
    temperature_c = (_column(_rows(folder / "il-tempF.csv.gz"), "tempF") - 32) / 1.8
    data = of_units(
        _micros([stamp.replace(tzinfo=None) for stamp in stamps]),
        _column(rows, "value") * 1e3,
        temperature_c,
        zone="America/Chicago",
    )
    last, first = _micros([datetime(2016, 12, 26), datetime(2017, 1, 4)])  # noqa: DTZ001
    year_us = 365 * DAY_US
    before = (data.start_us < last) & (data.start_us >= last - year_us)
    after = (data.start_us >= first) & (data.start_us < first + year_us)
    return data.where(before & data.is_whole), data.where(after & data.is_whole)


def _rows(path: Path) -> list[dict[str, str]]:
    packed = path.read_bytes()
    text = gzip.decompress(packed) if path.suffix == ".gz" else packed
    return list(csv.DictReader(io.StringIO(text.decode())))


def _column(rows: list[dict[str, str]], name: str) -> Array:
    return np.array([float(row[name]) for row in rows])


def _micros(stamps: list[datetime]) -> NDArray[np.int64]:
    begin = datetime(1970, 1, 1)  # noqa: DTZ001
    return np.array([(stamp - begin) // timedelta(microseconds=1) for stamp in stamps], np.int64)
