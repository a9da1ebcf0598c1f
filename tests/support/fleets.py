"""Fleets of daily meters, and the Parquet files they lie in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.fleet import Meter
from support.plants import days

BEFORE, AFTER = 365, 365
PLAN = """
time_zone: UTC
unit: day
drivers: [temperature_c]
model: temperature
baseline: {from: 2024-01-01, to: 2024-12-31}
reporting: {from: 2024-12-31, to: 2025-12-31}
sufficiency_policy: caltrack-daily-2.0
creditable_policy: lower-bound-one-sided-95
"""


def building(seed: int) -> Data:
    """Two years of days of a building, a tenth saved in the second; every third has holes."""
    draw = np.random.default_rng(seed)
    day = np.arange(BEFORE + AFTER)
    t_c = 13 - 12 * np.cos(2 * np.pi * day / 365) + draw.normal(0, 4, day.size)
    weekend = np.where(day % 7 >= 5, draw.choice([1.0, 0.5]), 1.0)
    heating, cooling = draw.choice([0.0, 1.5]), draw.choice([0.0, 1.2])
    kwh = weekend * (40 + heating * np.maximum(14 - t_c, 0) + cooling * np.maximum(t_c - 20, 0))
    kwh += draw.normal(0, 3, day.size)
    kwh[BEFORE:] *= 0.9
    if seed % 3 == 0:
        kwh[draw.choice(day.size, 12, replace=False)] = np.nan
    return days(1e3 * kwh, temperature_c=t_c)


def meter_of(name: str, data: Data) -> Meter:
    """The first year of data against what follows."""
    return Meter(name, data.where(data.position < BEFORE), data.where(data.position >= BEFORE))


def fleet(count: int) -> dict[str, Data]:
    """So many buildings by their names, in the order of these."""
    return {f"meter-{seed:05}": building(seed) for seed in range(count)}


def write(
    path: Path, meters: Mapping[str, Data], *, group_rows: int = 1_000, **columns: Any
) -> Path:
    """A Parquet file of the meters, with other columns in place of their own."""
    import pyarrow as pa  # noqa: PLC0415 -- of the extra [fleet]
    import pyarrow.parquet as pq  # noqa: PLC0415 -- as above

    start_us = np.concatenate([data.start_us for data in meters.values()])
    found = {
        "meter": [name for name, data in meters.items() for _ in range(data.n)],
        "start": pa.array(start_us).cast(pa.timestamp("us", "UTC")),
        "length_us": np.concatenate([data.length_us for data in meters.values()]),
        "energy_wh": np.concatenate([data.energy_wh for data in meters.values()]),
        "temperature_c": np.concatenate([data.driver("temperature_c") for data in meters.values()]),
    }
    pq.write_table(pa.table({**found, **columns}), path, row_group_size=group_rows)
    return path
