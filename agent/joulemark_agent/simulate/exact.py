"""Exact fractions over whole arrays: integers over one integer, rounded once and half to even."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Fractions(NamedTuple):
    """numerators / denominator, in the SI unit of the point that they are served as."""

    numerators: NDArray[np.int64]
    denominator: int = 1


def half_even(
    numerator: NDArray[np.int64], denominator: NDArray[np.int64] | int
) -> NDArray[np.int64]:
    """The nearest integers to numerator / denominator (above 0), ties to the even one."""
    quotient, rest = np.divmod(numerator, denominator)
    is_tie = 2 * rest == denominator
    is_up = (2 * rest > denominator) | (is_tie & (quotient % 2 == 1))
    rounded: NDArray[np.int64] = quotient + is_up
    return rounded
