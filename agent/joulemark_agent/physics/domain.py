"""The range of a formula: what lies outside is refused with what was given and what is wanted."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray


class OutOfDomain(ValueError):  # noqa: N818 -- it names a finding that callers turn into a reason
    """An input for which the formula says nothing."""


def within(name: str, value: float, low: float, high: float, unit: str) -> float:
    """The value, where low <= value <= high; NaN and infinity lie outside every range.

    Args:
        name: of the input, as the caller wrote it.
        value: of the input. [unit]
        low: smallest value the formula is stated for. [unit]
        high: largest. [unit]
        unit: of all three.

    Raises:
        OutOfDomain: it lies outside.
    """
    if low <= value <= high and math.isfinite(value):
        return value
    shown = f" {unit}" if unit not in {"", "1"} else ""
    raise OutOfDomain(f"{name} is {value:g}{shown}; it must lie from {low:g} to {high:g}{shown}.")


def inside(values: ArrayLike, low: float, high: float) -> NDArray[np.float64]:
    """The values, NaN where they do not lie from low to high: what arrays do instead of refusing.

    Args:
        values: any shape. [any unit]
        low: smallest value the formula is stated for. [the same]
        high: largest. [the same]
    """
    array = np.asarray(values, np.float64)
    return np.where((array >= low) & (array <= high), array, np.nan)
