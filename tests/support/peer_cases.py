"""The meters that are compared with a peer, as both sides take them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from joulemark_gateway.measure.data import Data
from support.hourly_meters import building, house_periods
from support.temperature_meters import F_PER_K, WH_PER_KWH, celsius, daily, opendsm, rows

TEMPERATURE = "temperature_c"


@dataclass(frozen=True, eq=False)
class Case:
    """A meter before and after; `true_kwh` is its avoided energy where that is known exactly."""

    name: str
    before: Data
    after: Data
    true_kwh: float | None = None

    def written(self, folder: Path) -> Path:
        """A file of arrays, for a process that has nothing of ours."""
        arrays: dict[str, Any] = {"zone": np.array(str(self.before.zone))}
        for period, data in (("before", self.before), ("after", self.after)):
            arrays[f"{period}_us"] = data.start_us
            arrays[f"{period}_kwh"] = data.energy_wh / WH_PER_KWH
            arrays[f"{period}_f"] = data.driver(TEMPERATURE) * F_PER_K + 32
        path = folder / f"{self.name.replace(' ', '_')}.npz"
        np.savez(path, **arrays)
        return path


def electricity(plant_data: Path) -> Case:
    """The sample meter that heats and cools, by the day."""
    name = "il-electricity-cdd-hdd-daily"
    return Case("electricity by the day", *opendsm(plant_data / "mv", name, utc_days=False))


def gas(plant_data: Path) -> Case:
    """The sample meter that heats, by the day; therms are taken for kWh."""
    name = "il-gas-hdd-only-daily"
    return Case("gas by the day", *opendsm(plant_data / "mv", name, utc_days=False))


def house(plant_data: Path) -> Case:
    """The sample meter that heats and cools, by the hour."""
    return Case("electricity by the hour", *house_periods(plant_data))


def buildings(plant_data: Path) -> list[Case]:
    """A simulated building by the hour without and with a measure; kWh is what its unit is called.

    Its years have one weather, so what was avoided is known exactly.
    """
    text = (plant_data / "mv/lbnl_rmv20/expected.json").read_text("utf-8")
    truth = json.loads(text)["true_avoided"]
    before = building(plant_data, "Data_pre_1_2.csv.gz")
    names = {"1": "building untouched", "2": "building improved"}
    return [
        Case(
            name,
            _as_kwh(before),
            _as_kwh(building(plant_data, f"Data_post_{number}_2.csv.gz")),
            float(truth[number]),
        )
        for number, name in names.items()
    ]


def simulated_meters(plant_data: Path) -> Iterator[Case]:
    """Simulated daily meters that follow the weather or nothing, with their true savings."""
    folder = plant_data / "mv/sim"
    truth = json.loads((folder / "sim_shared_truth.json").read_text("utf-8"))
    units = defaultdict(list)
    for row in rows(folder / "sim_shared.csv.gz"):
        units[row["case"], row["baseline_period"]].append(row)
    for name, of in truth.items():
        if of["kind"] not in {"PROD", "PROD_T"}:
            before, after = (_simulated(units[name, period]) for period in ("1", "0"))
            yield Case(f"simulated {name}", before, after, of["true_avoided"])


def _simulated(found: list[dict[str, str]]) -> Data:
    fahrenheit = [float(row["temp_f"]) for row in found]
    observed = WH_PER_KWH * np.array([float(row["observed"]) for row in found])
    return daily(celsius(fahrenheit), observed, [int(row["day"]) for row in found])


def by_day(data: Data) -> Data:
    """Hours of UTC summed up to days, the temperature being their mean; part days are left out."""
    day_us = 86_400_000_000
    day = data.start_us // day_us
    first, count = np.unique(day, return_index=True)[1], np.unique(day, return_counts=True)[1]
    energy_wh = np.add.reduceat(data.energy_wh, first)
    mean_c = np.add.reduceat(data.driver(TEMPERATURE), first) / count
    whole = count == 24
    columns = {
        "start": day[first][whole] * day_us,
        "energy_wh": energy_wh[whole],
        TEMPERATURE: mean_c[whole],
    }
    return Data.of(columns, drivers=[TEMPERATURE], unit_us=day_us, zone=str(data.zone))


def _as_kwh(data: Data) -> Data:
    columns = {
        "start": data.start_us,
        "energy_wh": data.energy_wh * WH_PER_KWH,
        TEMPERATURE: data.driver(TEMPERATURE),
    }
    unit_us = int(data.length_us[0])
    return Data.of(columns, drivers=[TEMPERATURE], unit_us=unit_us, zone=str(data.zone))
