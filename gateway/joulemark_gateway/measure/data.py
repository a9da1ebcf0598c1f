"""Energy and what drives it, unit by unit: what a model is fitted to and what it predicts for.

A unit is a stretch of time: a quarter-hour, an hour, a day, the days of a bill, or a batch. Missing
is NaN, never 0, and a unit without a value leaves a hole between its neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.qr import Array

Times = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Data:
    """Units in the order of time; arrays of shape (n,).

    `position` numbers units on their grid, so that units which are absent altogether leave a hole
    too. `zone` is where hours and weekdays are counted. `measured_us` is how much of each unit its
    values are of; None: all of it.
    """

    start_us: Times  # UTC
    length_us: Times
    position: Times
    energy_wh: Array  # NaN where missing
    drivers: Mapping[str, Array]  # by name with unit (temperature_c, production_kg), NaN: missing
    zone: ZoneInfo
    measured_us: Times | None = None

    @property
    def counted_us(self) -> Times:
        """The time that the values of each unit are of, shape (n,). [us]"""
        return self.length_us if self.measured_us is None else self.measured_us

    @property
    def median_length_us(self) -> float:
        """The length of the median unit, NaN where there is none. [us]"""
        if not self.n:
            return math.nan
        if (self.length_us == self.length_us[0]).all():  # a median of equals is slow
            return float(self.length_us[0])
        return float(np.median(self.length_us))

    @property
    def n(self) -> int:
        """Number of units."""
        return int(self.start_us.size)

    @property
    def is_whole(self) -> Flags:
        """Where energy and every driver are known."""
        whole = np.isfinite(self.energy_wh)
        for column in self.drivers.values():
            whole &= np.isfinite(column)
        return whole

    def driver(self, name: str) -> Array:
        """The values of a driver.

        Raises:
            MeasureError: `missing_driver`.
        """
        if name not in self.drivers:
            raise MeasureError(
                f"There is no driver {name!r}.",
                f"The data have: {', '.join(sorted(self.drivers)) or 'none'}.",
                code="missing_driver",
            )
        return self.drivers[name]

    def where(self, chosen: Flags | Times) -> Data:
        """Some of the units; their places on the grid stay."""
        return Data(
            self.start_us[chosen],
            self.length_us[chosen],
            self.position[chosen],
            self.energy_wh[chosen],
            {name: column[chosen] for name, column in self.drivers.items()},
            self.zone,
            None if self.measured_us is None else self.measured_us[chosen],
        )

    @classmethod
    def of(
        cls,
        columns: Any,
        *,
        start: str = "start",
        energy: str = "energy_wh",
        drivers: Sequence[str] = (),
        unit_us: int,
        zone: str,
        length: str | None = None,
    ) -> Data:
        """Data of numpy arrays by name, or of any dataframe: whatever gives a column for its name.

        Args:
            columns: a mapping or dataframe.
            start: column of the starts of units; datetime64 (taken as UTC) or microseconds UTC.
            energy: column of energy. [Wh]
            drivers: columns of drivers; their names say their units.
            unit_us: length of a unit, and the step of the grid. [us]
            zone: IANA time zone in which hours and weekdays are counted.
            length: column of lengths, where units differ (bills). [us]

        Raises:
            MeasureError: `missing_column`, `ragged_columns`, `bad_stamp`, `duplicate_stamp`,
                `stamps_out_of_order`.
        """
        start_us = _microseconds(_column(columns, start))
        lengths = (
            np.full(start_us.size, unit_us, np.int64)
            if length is None
            else _column(columns, length).astype(np.int64)
        )
        energy_wh = _column(columns, energy).astype(np.float64)
        found = {name: _column(columns, name).astype(np.float64) for name in drivers}
        sizes = {array.size for array in (start_us, lengths, energy_wh, *found.values())}
        if len(sizes) > 1:
            raise MeasureError(
                f"The columns have {', '.join(map(str, sorted(sizes)))} rows.",
                "Give columns of one length.",
                code="ragged_columns",
            )
        check_order(start_us)
        first_us = int(start_us[0]) if start_us.size else 0
        if length is None:
            position = (start_us - first_us + unit_us // 2) // unit_us
        else:
            position = np.arange(start_us.size, dtype=np.int64)
        return cls(start_us, lengths, position, energy_wh, found, ZoneInfo(zone))


def _column(columns: Any, name: str) -> NDArray[Any]:
    try:
        return np.asarray(columns[name])
    except (KeyError, IndexError) as error:
        raise MeasureError(
            f"The data have no column {name!r}.",
            "Name one that is there.",
            code="missing_column",
        ) from error


def _microseconds(stamps: NDArray[Any]) -> Times:
    if stamps.dtype.kind == "M":
        if np.isnat(stamps).any():
            raise MeasureError(
                f"{int(np.isnat(stamps).sum())} stamps are not a time.",
                "Leave those rows out, or mend them.",
                code="bad_stamp",
            )
        return stamps.astype("datetime64[us]").astype(np.int64)
    if stamps.dtype.kind not in "iu":
        raise MeasureError(
            f"The stamps are of the type {stamps.dtype}.",
            "Give datetime64 in UTC, or whole microseconds since 1970 in UTC.",
            code="bad_stamp",
        )
    return stamps.astype(np.int64)


def check_order(start_us: Times) -> None:
    """Let pass only stamps that increase.

    Raises:
        MeasureError: `duplicate_stamp`, `stamps_out_of_order`.
    """
    steps = start_us[1:] - start_us[:-1]
    if (steps > 0).all():
        return
    if (steps == 0).any():
        raise MeasureError(
            f"{int((steps == 0).sum())} stamps are there twice.",
            "Keep one row of each: which of two is true cannot be known here.",
            code="duplicate_stamp",
        )
    raise MeasureError(
        "The stamps do not increase.",
        "Sort the rows by time.",
        code="stamps_out_of_order",
    )
