"""Days, hours and bills for measurement, made of a local calendar."""

from datetime import date, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from joulemark_gateway.measure.calendar import grid, midnight_us
from joulemark_gateway.measure.data import Data

FIRST = date(2021, 1, 1)


def of_edges(edges_us, energy_wh, drivers=None, zone="UTC"):
    """Units one after the other."""
    edges_us = np.asarray(edges_us, np.int64)
    return Data(
        edges_us[:-1],
        np.diff(edges_us),
        np.arange(edges_us.size - 1),
        np.asarray(energy_wh, np.float64),
        {name: np.asarray(column, np.float64) for name, column in (drivers or {}).items()},
        ZoneInfo(zone),
    )


def days(n, *, first=FIRST, zone="UTC", seed=1):
    """Local days of a building: energy follows temperature, both with noise."""
    draw = np.random.default_rng(seed)
    edges_us = grid(first, first + timedelta(days=n), "day", ZoneInfo(zone)).edges_us
    season = -np.cos(2 * np.pi * np.arange(n) / 365)
    temperature_c = 12 + 12 * season + draw.normal(0, 2, n)
    energy_wh = 30e3 + 1e3 * np.maximum(18 - temperature_c, 0) + draw.normal(0, 500, n)
    return of_edges(edges_us, energy_wh, {"temperature_c": temperature_c}, zone)


def plant_days(n, *, first=FIRST, zone="UTC", seed=1):
    """Days of a plant: energy follows production."""
    draw = np.random.default_rng(seed)
    edges_us = grid(first, first + timedelta(days=n), "day", ZoneInfo(zone)).edges_us
    production_kg = 5000 + 1500 * draw.random(n) - 2500 * (np.arange(n) % 7 >= 5)
    energy_wh = 1e5 + 100 * production_kg + draw.normal(0, 5e3, n)
    return of_edges(edges_us, energy_wh, {"production_kg": production_kg}, zone)


def hours(n_days, *, first=FIRST, zone="UTC", seed=1):
    """Hours of local days."""
    draw = np.random.default_rng(seed)
    edges_us = grid(first, first + timedelta(days=n_days), "hour", ZoneInfo(zone)).edges_us
    n = edges_us.size - 1
    drivers = {"temperature_c": draw.normal(10, 5, n), "production_kg": draw.random(n)}
    return of_edges(edges_us, 1000 + 100 * draw.random(n), drivers, zone)


def bills(lengths, *, first=FIRST, zone="UTC", seed=1):
    """Bills of so many local days each."""
    draw = np.random.default_rng(seed)
    edges = [first + timedelta(days=int(d)) for d in np.concatenate([[0], np.cumsum(lengths)])]
    edges_us = [midnight_us(day, ZoneInfo(zone)) for day in edges]
    temperature_c = draw.normal(12, 8, len(lengths))
    energy_wh = 1e6 + 1e4 * draw.random(len(lengths))
    return of_edges(edges_us, energy_wh, {"temperature_c": temperature_c}, zone)


def changed(data, name="energy_wh", **at):
    """The data with other values: `changed(data, at=[3], to=nan)`; energy or a driver."""
    columns = {"energy_wh": data.energy_wh.copy()}
    columns |= {driver: column.copy() for driver, column in data.drivers.items()}
    columns[name][at["at"]] = at["to"]
    energy_wh = columns.pop("energy_wh")
    return Data(data.start_us, data.length_us, data.position, energy_wh, columns, data.zone)
