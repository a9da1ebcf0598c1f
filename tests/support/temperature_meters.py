"""Daily meters that answer to temperature: made, simulated with a known truth, and of peers."""

from __future__ import annotations

import csv
import gzip
import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.models.shapes import TEMPERATURE

DAY_US = 86_400_000_000
F_PER_K = 1.8
WH_PER_KWH = 1000.0


def daily(temperature_c, energy_wh, day=None) -> Data:
    """Days of UTC; `day` numbers them where some are missing."""
    day = np.arange(len(energy_wh)) if day is None else np.asarray(day)
    columns = {"start": day * DAY_US, "energy_wh": energy_wh, TEMPERATURE: temperature_c}
    return Data.of(columns, drivers=[TEMPERATURE], unit_us=DAY_US, zone="UTC")


def made(draw, *, low_c=14.0, high_c=20.0, heating=1.5, cooling=1.2, noise=4.0, n=365) -> Data:
    """A year in kWh and K of a building that heats below one point and cools above another."""
    season = 13 - 12 * np.cos(2 * np.pi * np.arange(n) / 365)
    temperature_c = season + draw.normal(0, 4, n)
    kwh = 40 + heating * np.maximum(low_c - temperature_c, 0)
    kwh += cooling * np.maximum(temperature_c - high_c, 0) + draw.normal(0, noise, n)
    return daily(temperature_c, WH_PER_KWH * kwh)


def celsius(fahrenheit) -> np.ndarray:
    return (np.asarray(fahrenheit, np.float64) - 32) / F_PER_K


def simulated(folder: Path) -> Iterator[tuple[dict[str, Any], Data]]:
    """The truth and the baseline of each simulated meter."""
    truth = json.loads((folder / "sim/sim_shared_truth.json").read_text("utf-8"))
    cases = defaultdict(list)
    for row in rows(folder / "sim/sim_shared.csv.gz"):
        if row["baseline_period"] == "1":
            cases[row["case"]].append(row)
    for case, found in cases.items():
        observed = WH_PER_KWH * np.array([float(row["observed"]) for row in found])
        fahrenheit = [float(row["temp_f"]) for row in found]
        days = [int(row["day"]) for row in found]
        yield truth[case], daily(celsius(fahrenheit), observed, days)


def nmecr(folder: Path, name: str) -> Data:
    """`base` or `perf`: its unit of energy is taken for Wh, so that sums of squares compare."""
    path = folder / f"nmecr/nm_{name}_daily.csv"
    with path.open(encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    first = np.datetime64(found[0]["time"])
    days = [(np.datetime64(row["time"]) - first).astype(int) for row in found]
    energy = np.array([float(row["eload"]) for row in found])
    return daily(celsius([float(row["temp"]) for row in found]), energy, days)


def opendsm(folder: Path, name: str, *, utc_days: bool) -> tuple[Data, Data]:
    """The 365 days before and after the works at a sample meter.

    `utc_days` pairs a local day with the temperature of the day of UTC that has its date, as the
    peer does when it is given stamps in UTC; otherwise with that of its own hours.
    """
    hours = defaultdict(list)
    for row in rows(folder / "opendsm_samples/il-tempF.csv.gz"):
        moment = datetime.fromisoformat(row["dt"])
        day = (moment.astimezone(UTC) if utc_days else moment).date()
        hours[day].append(float(row["tempF"]))
    found = rows(folder / f"opendsm_samples/{name}.csv.gz")
    starts = [datetime.fromisoformat(row["start"]) for row in found]
    temperature_c = celsius([np.mean(hours[start.date()]) for start in starts])
    start_us = np.array([int(start.timestamp()) * 1_000_000 for start in starts])
    energy_wh = WH_PER_KWH * np.array([float(row["value"] or "nan") for row in found])
    whole = Data(
        start_us,
        np.full(start_us.size, DAY_US),
        (start_us - start_us[0] + DAY_US // 2) // DAY_US,
        energy_wh,
        {TEMPERATURE: temperature_c},
        ZoneInfo("America/Chicago"),
    )
    dates = np.array([start.date() for start in starts], "datetime64[D]")
    before = (dates < np.datetime64("2016-12-26")) & (dates >= np.datetime64("2015-12-27"))
    after = (dates >= np.datetime64("2017-01-04")) & (dates < np.datetime64("2018-01-04"))
    return whole.where(before & whole.is_whole), whole.where(after & whole.is_whole)


def rows(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return list(csv.DictReader(file))
