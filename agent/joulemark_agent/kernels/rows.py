"""Rows that a kernel fills without knowing how many there will be."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.kernels.jit import compiled

Number = TypeVar("Number", np.int64, np.float64)


@compiled
def grown(rows: NDArray[Number], size: int, more: int) -> NDArray[Number]:
    """The rows, of which the first `size` are filled, with place for more of them."""
    if size + more <= rows.shape[0]:
        return rows
    larger = np.empty((2 * rows.shape[0], rows.shape[1]), rows.dtype)
    for i in range(size):  # an assigned slice takes seconds to compile
        for k in range(rows.shape[1]):
            larger[i, k] = rows[i, k]
    return larger
