"""Windows on the grid of UTC; local days and hours need a time zone and belong to measurement."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def aligned_edges_us(first_us: int, last_us: int, width_us: int) -> NDArray[np.int64]:
    """Edges of the fewest windows on the grid that hold [first_us, last_us].

    Args:
        first_us: start of the time to hold, UTC. [us]
        last_us: its end, not before the start. [us]
        width_us: width of a window; edges are whole multiples of it. [us]

    Returns:
        edges, shape (w + 1,); w is 0 where first and last are one point of the grid. [us]
    """
    if width_us <= 0 or last_us < first_us:
        raise ValueError(f"no windows of {width_us} us between {first_us} and {last_us}")
    start_us = first_us // width_us * width_us
    end_us = -(-last_us // width_us) * width_us
    return np.arange(start_us, end_us + 1, width_us, dtype=np.int64)
