"""Energy and what drives it, unit by unit: what a model is fitted to and what it predicts for.

A unit is a stretch of time: a quarter-hour, an hour, a day, the days of a bill, or a batch. Missing
is NaN, never 0, and a unit without a value leaves a hole between its neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.qr import Array

Times = NDArray[np.int64]
Flags = NDArray[np.bool_]
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


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

    @cached_property
    def length_range_us(self) -> tuple[int, int]:
        """The shortest and the longest unit, of one at least. [us]"""
        if self.n == 1:
            return (int(self.length_us[0]),) * 2
        return int(self.length_us.min()), int(self.length_us.max())

    @property
    def median_length_us(self) -> float:
        """The length of the median unit, NaN where there is none. [us]"""
        if not self.n:
            return math.nan
        shortest_us, longest_us = self.length_range_us
        if shortest_us == longest_us:  # a median of equals is slow
            return float(shortest_us)
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
            start: column of the starts of units; datetime64 (taken as UTC), times with a zone of
                their own, or microseconds UTC.
            energy: column of energy. [Wh]
            drivers: columns of drivers; their names say their units.
            unit_us: length of a unit, and the step of the grid. [us]
            zone: IANA time zone in which hours and weekdays are counted.
            length: column of lengths, where units differ (bills, days of 23 hours); timedelta64,
                or microseconds. A unit that is absent between two others leaves a hole. [us]

        Raises:
            MeasureError: `missing_column`, `ragged_columns`, `bad_stamp`, `bad_length`,
                `bad_value`, `duplicate_stamp`, `stamps_out_of_order`, `unknown_zone`.
        """
        start_us = _microseconds(_column(columns, start))
        lengths = (
            np.full(start_us.size, unit_us, np.int64)
            if length is None
            else _lengths(_column(columns, length))
        )
        energy_wh = _numbers(columns, energy)
        found = {name: _numbers(columns, name) for name in drivers}
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
            gap_us = start_us[1:] - start_us[:-1] - lengths[:-1]
            absent = np.maximum((gap_us + unit_us // 2) // unit_us, 0)
            position = np.append(0, np.cumsum(1 + absent))[: start_us.size].astype(np.int64)
        return cls(start_us, lengths, position, energy_wh, found, _zone(zone))


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise MeasureError(
            f"There is no time zone {name!r}.",
            "Name one of the IANA list, like Asia/Seoul.",
            code="unknown_zone",
        ) from error


def _column(columns: Any, name: str) -> NDArray[Any]:
    try:
        column = columns[name]
    except Exception as error:  # each kind of dataframe has an error of its own
        raise MeasureError(
            f"The data have no column {name!r}.",
            "Name one that is there.",
            code="missing_column",
        ) from error
    if np.ma.is_masked(column):  # what is masked has a value beneath that nobody means
        return np.ma.filled(column.astype(np.float64), np.nan)
    return np.asarray(column)


def _numbers(columns: Any, name: str) -> Array:
    column = _column(columns, name)
    why = f"it is of the type {column.dtype}"
    if column.dtype.kind not in "Mmc":
        try:
            return column.astype(np.float64)
        except (TypeError, ValueError) as error:
            why = str(error)
    raise MeasureError(
        f"The column {name!r} is not of numbers: {why}.",
        "Give numbers, NaN where one is missing.",
        code="bad_value",
    )


def _lengths(column: NDArray[Any]) -> Times:
    if column.dtype.kind == "m" and not np.isnat(column).any():
        return column.astype("timedelta64[us]").astype(np.int64)
    if column.dtype.kind in "iuf" and np.isfinite(column).all():
        return column.astype(np.int64)
    raise MeasureError(
        f"The lengths are of the type {column.dtype}, or some are missing.",
        "Give the length of every unit, as timedelta64 or in microseconds.",
        code="bad_length",
    )


def _microseconds(stamps: NDArray[Any]) -> Times:
    if stamps.dtype.kind == "O" and all(getattr(one, "tzinfo", None) for one in stamps):
        return np.array([(one - _EPOCH) // _MICROSECOND for one in stamps], np.int64)
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
