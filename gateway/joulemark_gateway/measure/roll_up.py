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

ENERGY = ""  # beside the names of drivers
_AMOUNTS = frozenset({"Wh", "varh", "kg", "m3", "dm3"})


@dataclass(frozen=True, eq=False)
class RolledUp:
    """Units with what was measured in them: amounts are sums of that, other drivers its mean.

    `covered_ratio` is the share of a unit's time with energy, `driver_covered_ratio` with each
    driver, shapes (n,). A unit of which nothing was measured is NaN. `joint` is the same of the
    time alone in which energy and all drivers were measured.
    """

    measured: Data
    joint: Data
    covered_ratio: Array
    driver_covered_ratio: Mapping[str, Array]

    def data(self, *, min_measured_ratio: float, fills_units: bool) -> Data:
        """The units with NaN where less was measured than is asked for.

        Args:
            min_measured_ratio: least share of a unit, for energy and for each driver by itself.
            fills_units: take the rest of a unit to be like what was measured of it; otherwise a
                unit counts with the time that all of them measured, which must be enough as well.
        """

        def kept(column: Array, covered: Array, *, scaled: bool) -> Array:
            enough = (covered >= min_measured_ratio) & (covered > 0)
            whole = np.where(enough, covered, 1.0) if scaled else 1.0
            return np.where(enough, column / whole, np.nan)

        found = replace(
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
        return found if fills_units else self._together(found, min_measured_ratio)

    def _together(self, each: Data, min_measured_ratio: float) -> Data:
        """The units of which every stream knows enough, cut to the time that all of them know."""
        joint_us, whole = self.joint.counted_us, each.is_whole
        counts = whole & (joint_us > 0) & (joint_us >= min_measured_ratio * each.length_us)

        def cut(own: Array, joint: Array) -> Array:
            together: Array = np.where(counts, joint, np.where(whole, np.nan, own))
            return together

        return replace(
            each,
            energy_wh=cut(each.energy_wh, self.joint.energy_wh),
            drivers={
                name: cut(own, self.joint.drivers[name]) for name, own in each.drivers.items()
            },
            measured_us=np.where(counts, joint_us, each.length_us),
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
    measured, covered_us = _summed(data, owner, edges_us)
    nothing = np.where(data.is_whole, 0.0, np.nan)
    whole = {name: column + nothing for name, column in data.drivers.items()}
    joint, joint_us = _summed(
        replace(data, energy_wh=data.energy_wh + nothing, drivers=whole), owner, edges_us
    )
    length_us = measured.length_us
    return RolledUp(
        measured,
        replace(joint, measured_us=joint_us[ENERGY]),
        covered_us[ENERGY] / length_us,
        {name: covered_us[name] / length_us for name in data.drivers},
    )


def _summed(data: Data, owner: Times, edges_us: Times) -> tuple[Data, dict[str, Times]]:
    """The longer units, and how much of each every stream knows, energy under its own name."""
    n = max(edges_us.size - 1, 0)
    energy_wh, known_us = _sums(owner, data.energy_wh, data.length_us, n)
    covered_us = {ENERGY: known_us}
    drivers: dict[str, Array] = {}
    for name, column in data.drivers.items():
        weighted = column if is_amount(name) else column * data.length_us
        total, known_us = _sums(owner, weighted, data.length_us, n)
        drivers[name] = total if is_amount(name) else total / np.where(known_us > 0, known_us, 1)
        covered_us[name] = known_us
    places = np.arange(n, dtype=np.int64)
    units = Data(edges_us[:-1], np.diff(edges_us), places, energy_wh, drivers, data.zone)
    return units, covered_us


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
