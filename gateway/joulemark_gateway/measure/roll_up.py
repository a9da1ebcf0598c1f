"""Quarter-hours and hours as hours and local days: sums first, and each unit keeps its coverage.

What is missing is not 0: it lowers the share of the unit that was measured. Whether such a unit
counts, and whether the rest of it is taken to be like what was measured, is the policy's to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from joulemark_agent.contract.errors import MeasureError
from joulemark_agent.contract.quantities import unit_of
from joulemark_agent.kernels.jit import compiled
from joulemark_gateway.measure.calendar import US_PER_DAY, US_PER_HOUR, local_us, midnight_us
from joulemark_gateway.measure.data import Data, Times
from joulemark_gateway.measure.guard import checked
from joulemark_gateway.measure.qr import Array
from joulemark_gateway.measure.span import date_of

_AMOUNTS = frozenset({"Wh", "varh", "kg", "m3", "dm3"})


@dataclass(frozen=True, eq=False)
class RolledUp:
    """Units with what was measured in them: amounts are sums of that, other drivers its mean.

    `covered_ratio` is the share of a unit's time with energy, `driver_covered_ratio` with each
    driver, shapes (n,). A unit of which nothing was measured is NaN.
    """

    measured: Data
    covered_ratio: Array
    driver_covered_ratio: Mapping[str, Array]

    def data(self, *, min_measured_ratio: float, fills_units: bool) -> Data:
        """The units with NaN where less was measured than is asked for.

        Args:
            min_measured_ratio: least share of a unit, for energy and for each driver by itself.
            fills_units: take the rest of a unit to be like what was measured of it.
        """

        def kept(column: Array, covered: Array, *, scaled: bool) -> Array:
            enough = (covered >= min_measured_ratio) & (covered > 0)
            whole = np.where(enough, covered, 1.0) if scaled else 1.0
            return np.where(enough, column / whole, np.nan)

        return replace(
            self.measured,
            energy_wh=kept(self.measured.energy_wh, self.covered_ratio, scaled=fills_units),
            drivers={
                name: kept(
                    column,
                    self.driver_covered_ratio[name],
                    scaled=fills_units and is_amount(name),
                )
                for name, column in self.measured.drivers.items()
            },
        )


def is_amount(driver: str) -> bool:
    """Whether a driver adds up over time; temperatures, pressures and ratios are averaged."""
    return unit_of(driver) in _AMOUNTS or driver.endswith("_count")


def roll_up(data: Data, unit: Literal["hour", "day"]) -> RolledUp:
    """Hours of the clock in UTC, or local days, of shorter units.

    The grid runs from the first to the last unit without a hole. Days of 23 and 25 hours are what
    they are.

    Raises:
        MeasureError: `unit_across_edge` where a unit lies in two of the longer ones, and those of
            `guard.checked`.
    """
    data = checked(data)
    edges_us = _hours(data) if unit == "hour" else _days(data)
    owner = np.searchsorted(edges_us, data.start_us, side="right") - 1
    if data.n and (data.start_us + data.length_us > edges_us[owner + 1]).any():
        raise MeasureError(
            f"A unit lies in two {unit}s.",
            "Give units that divide it, or check the time zone.",
            code="unit_across_edge",
        )
    n = max(edges_us.size - 1, 0)
    length_us = np.diff(edges_us)
    energy_wh, covered_us = _sums(owner, data.energy_wh, data.length_us, n)
    drivers: dict[str, Array] = {}
    driver_covered: dict[str, Array] = {}
    for name, column in data.drivers.items():
        weighted = column if is_amount(name) else column * data.length_us
        total, known_us = _sums(owner, weighted, data.length_us, n)
        drivers[name] = total if is_amount(name) else total / np.where(known_us > 0, known_us, 1)
        driver_covered[name] = known_us / length_us
    measured = Data(
        edges_us[:-1], length_us, np.arange(n, dtype=np.int64), energy_wh, drivers, data.zone
    )
    return RolledUp(measured, covered_us / length_us, driver_covered)


def _hours(data: Data) -> Times:
    if not data.n:
        return np.zeros(0, np.int64)
    first = int(data.start_us[0]) // US_PER_HOUR
    last = -(-int(data.start_us[-1] + data.length_us[-1]) // US_PER_HOUR)
    return np.arange(first, last + 1, dtype=np.int64) * US_PER_HOUR


def _days(data: Data) -> Times:
    if not data.n:
        return np.zeros(0, np.int64)
    ends = np.array([data.start_us[0], data.start_us[-1] + data.length_us[-1] - 1])
    first, last = (local_us(ends, data.zone) // US_PER_DAY).tolist()
    edges = [midnight_us(date_of(day), data.zone) for day in range(first, last + 2)]
    return np.unique(np.array(edges, np.int64))  # a day that a zone leaves out has no time


@compiled
def _sums(owner: Times, column: Array, length_us: Times, n: int) -> tuple[Array, Times]:
    """Sum of the known values of each unit, NaN where there is none, and the time of them."""
    total = np.zeros(n)
    known_us = np.zeros(n, np.int64)
    for i in range(column.size):
        if np.isfinite(column[i]):
            total[owner[i]] += column[i]
            known_us[owner[i]] += length_us[i]
    for k in range(n):
        if known_us[k] == 0:
            total[k] = np.nan
    return total, known_us
