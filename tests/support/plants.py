"""Days of a plant as data of the engine."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import ArrayLike, NDArray

from joulemark_gateway.measure.data import Data

DAY_US = 86_400_000_000
FIRST_US = 1_704_067_200_000_000  # 2024-01-01


def days(energy_wh: ArrayLike, *, first: int = 0, **drivers: ArrayLike) -> Data:
    """Days in UTC from `first` days after 2024 began, with drivers by name."""
    energy = np.asarray(energy_wh, np.float64)
    position: NDArray[np.int64] = np.arange(first, first + energy.size, dtype=np.int64)
    columns = {name: np.asarray(column, np.float64) for name, column in drivers.items()}
    lengths = np.full(energy.size, DAY_US, np.int64)
    return Data(FIRST_US + position * DAY_US, lengths, position, energy, columns, ZoneInfo("UTC"))
