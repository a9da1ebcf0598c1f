"""Short steps added up to longer units: residuals of one minute say next to nothing of the next.

Only what adds up may be given: energy, volumes, hours. A mean flow or temperature does not.
"""

from __future__ import annotations

import numpy as np

from joulemark_gateway.measure.data import Data, Flags
from joulemark_gateway.measure.qr import Array


def in_whole_units(data: Data, unit_us: int, least_ratio: float) -> Flags:
    """Which steps are known and lie in a unit of which enough is known, shape (n,)."""
    known = data.is_whole
    if not data.n:
        return known
    unit = data.start_us // unit_us
    unit -= unit[0]
    covered_us = np.bincount(unit, np.where(known, data.length_us, 0))
    kept: Flags = known & (covered_us >= least_ratio * unit_us)[unit]
    return kept


def summed(data: Data, unit_us: int, least_ratio: float) -> Data:
    """Units on the grid of UTC, with what was known of each; those known too little are absent.

    Args:
        data: steps in the order of time, none longer than a unit; energy and drivers add up.
        unit_us: length of a unit. [us]
        least_ratio: share of a unit that must be known. [1]
    """
    steps = data.where(in_whole_units(data, unit_us, least_ratio))
    if not steps.n:
        return steps
    unit = steps.start_us // unit_us
    first = int(unit[0])
    places, inverse = np.unique(unit - first, return_inverse=True)

    def total(values: Array) -> Array:
        sums: Array = np.bincount(inverse, values).astype(np.float64)
        return sums

    return Data(
        start_us=(places + first) * unit_us,
        length_us=np.full(places.size, unit_us, np.int64),
        position=places.astype(np.int64),
        energy_wh=total(steps.energy_wh),
        drivers={name: total(column) for name, column in steps.drivers.items()},
        zone=data.zone,
    )
