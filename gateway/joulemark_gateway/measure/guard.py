"""Data of any origin made fit for the engine, or refused with a code: no other exception follows.

What is infinite counts as missing. Values, stamps and lengths that no meter or calendar can have
are refused here, so that no square of them overflows later.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from joulemark_agent.contract.errors import MeasureError
from joulemark_agent.kernels.jit import compiled
from joulemark_gateway.measure.calendar import US_PER_DAY
from joulemark_gateway.measure.data import Data, Times, check_order
from joulemark_gateway.measure.qr import Array

LARGEST = 1e100  # its square, summed over any number of units, is still finite
SMALLEST = 1e-100  # what is nearer to 0 is 0: its square would vanish
_FIRST_US = -25_567 * US_PER_DAY  # 1900
_LAST_US = 84_006 * US_PER_DAY  # 2200
_LONGEST_US = 3_700 * US_PER_DAY
_FURTHEST = 2**40  # places on a grid


def checked(data: Data) -> Data:
    """The same data with NaN for what is not finite and 0 for what is no number of a meter.

    Raises:
        MeasureError: `ragged_columns`, `bad_stamp`, `bad_length`, `bad_place`, `duplicate_stamp`,
            `stamps_out_of_order`, `shared_place`, `bad_value`, `value_too_large`.
    """
    columns = (data.start_us, data.length_us, data.counted_us, data.position, data.energy_wh)
    shapes = {np.shape(column) for column in (*columns, *data.drivers.values())}
    if len(shapes) > 1 or len(next(iter(shapes))) != 1:
        raise MeasureError(
            f"The columns have the shapes {', '.join(map(str, sorted(shapes)))}.",
            "Give columns of one length.",
            code="ragged_columns",
        )
    start_us = _whole("bad_stamp", "stamps", data.start_us)
    length_us = _whole("bad_length", "lengths", data.length_us)
    position = _whole("bad_place", "places", data.position)
    if not _is_series(start_us, length_us, position):
        _refuse(start_us, length_us, position)
    energy_wh = _numbers("energy", data.energy_wh)
    drivers = {name: _numbers(name, column) for name, column in data.drivers.items()}
    measured_us = data.measured_us
    if measured_us is not None:
        measured_us = _whole("bad_length", "measured times", measured_us)
        _within("bad_length", "The measured time of a unit", measured_us, 0, _LONGEST_US)
    return Data(start_us, length_us, position, energy_wh, drivers, data.zone, measured_us)


def finite(figures: Mapping[str, float]) -> dict[str, float]:
    """The figures, every one of them a number.

    Raises:
        MeasureError: `not_finite`.
    """
    for name, value in figures.items():
        if not math.isfinite(value):
            raise MeasureError(
                f"The arithmetic gives no number for {name}.",
                "Look for values that are too large, or a baseline that says too little.",
                code="not_finite",
            )
    return {name: float(value) for name, value in figures.items()}


def _refuse(start_us: Times, length_us: Times, position: Times) -> None:
    """Say what keeps units from being a series.

    Raises:
        MeasureError: as of `checked`.
    """
    _within("bad_stamp", "A stamp", start_us, _FIRST_US, _LAST_US)
    _within("bad_length", "The length of a unit", length_us, 1, _LONGEST_US)
    _within("bad_place", "The place of a unit", position, -_FURTHEST, _FURTHEST)
    check_order(start_us)
    raise MeasureError(
        "Two units have one place on the grid.",
        "Check the step of the stamps: it is more uneven than half a unit.",
        code="shared_place",
    )


def _whole(code: str, name: str, column: Times) -> Times:
    if column.dtype != np.int64 and (column.dtype.kind not in "iu" or column.dtype == np.uint64):
        raise MeasureError(
            f"The {name} are of the type {column.dtype}.",
            "Give whole numbers of 64 bits with a sign.",
            code=code,
        )
    return column.astype(np.int64)


def _within(code: str, name: str, column: Times, low: int, high: int) -> None:
    outside = _first_outside(column, low, high)
    if outside < column.size:
        raise MeasureError(
            f"{name} is {int(column[outside])}.",
            f"Give one from {low} to {high}.",
            code=code,
        )


def _numbers(name: str, column: Array) -> Array:
    if column.dtype.kind not in "iufb":
        raise MeasureError(
            f"The column {name!r} is of the type {column.dtype}.",
            "Give numbers, NaN where one is missing.",
            code="bad_value",
        )
    numbers = column.astype(np.float64)
    largest = _clean(numbers)
    if largest > LARGEST:
        raise MeasureError(
            f"The column {name!r} holds {largest:g}.",
            f"Give values of at most {LARGEST:g}, or NaN.",
            code="value_too_large",
        )
    return numbers


@compiled
def _is_series(start_us: Times, length_us: Times, position: Times) -> bool:
    """Whether all can be units that follow one another; one look for what is nearly always so."""
    for i in range(start_us.size):
        if not (
            _FIRST_US <= start_us[i] <= _LAST_US
            and 1 <= length_us[i] <= _LONGEST_US
            and -_FURTHEST <= position[i] <= _FURTHEST
        ):
            return False
        if i > 0 and not (start_us[i] > start_us[i - 1] and position[i] > position[i - 1]):
            return False
    return True


@compiled
def _first_outside(column: Times, low: int, high: int) -> int:
    """The index of the first value that is not from low to high; the size, where all are."""
    for i in range(column.size):
        if column[i] < low or column[i] > high:
            return i
    return column.size


@compiled
def _clean(numbers: Array) -> float:
    """Make NaN of what is not finite and 0 of what is next to it; the largest size of the rest."""
    largest = 0.0
    for i in range(numbers.size):
        size = abs(numbers[i])
        if not size < np.inf:
            numbers[i] = np.nan
        elif size < SMALLEST:
            numbers[i] = 0.0
        else:
            largest = max(largest, size)
    return largest
