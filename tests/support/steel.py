"""The recorded year of a steel works as units: quarter-hours of its main meter and nothing else."""

import csv
import gzip
from zoneinfo import ZoneInfo

import numpy as np

from joulemark_gateway.measure.data import Data

QUARTER_US = 900_000_000
FIRST_US = int(np.datetime64("2017-12-31T15:00", "us").astype(np.int64))  # local midnight


def steel_works(plant_data):
    """The year 2018; the one row that holds nothing but zeros is missing, not zero load."""
    path = plant_data / "steel_gwangyang_2018/Steel_industry_data.csv.gz"
    with gzip.open(path, "rt", encoding="utf-8-sig") as file:
        energy_wh = [1000 * float(row["Usage_kWh"]) for row in csv.DictReader(file)]
    n = len(energy_wh)
    energy = np.array(energy_wh)
    energy[energy == 0] = np.nan
    return Data(
        FIRST_US + QUARTER_US * np.arange(n),
        np.full(n, QUARTER_US),
        np.arange(n),
        energy,
        {},
        ZoneInfo("Asia/Seoul"),
    )
