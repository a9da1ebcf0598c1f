"""The days of a running project as rows of a series on a server."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np

from joulemark_gateway.following.so_far import SavingDay, SoFar
from joulemark_gateway.measure.calendar import midnight_us
from joulemark_gateway.series.influx import InfluxSeries
from joulemark_gateway.series.savings import FIELDS, SavingDays


class SavingRows:
    """Keeps them; the series is used for nothing else."""

    def __init__(self, series: InfluxSeries) -> None:
        """Nothing is sent yet."""
        self._series = series

    def keep(self, found: SoFar) -> None:
        """Keep them; days that are there as they are now are not written again.

        Raises:
            StoreError: they are not kept.
        """
        self._series.keep_saving(found.site, found.id, days_of(found))

    def close(self) -> None:
        """Release the connections."""
        self._series.close()


def days_of(found: SoFar) -> SavingDays:
    """The days that are in the saving, in Wh and kg."""
    zone = ZoneInfo(found.time_zone)
    counted = [day for day in found.days if day.cumulative_kwh is not None]
    starts = [midnight_us(day.day, zone) for day in counted]
    values = [_values(day) for day in counted]
    return SavingDays(
        np.array(starts, np.int64), np.array(values, np.float64).reshape(-1, len(FIELDS))
    )


def _values(day: SavingDay) -> Sequence[float]:
    texts = (
        day.measured_kwh, day.predicted_kwh, day.cumulative_kwh, day.half_width_kwh,
        day.cumulative_t,
    )  # fmt: skip
    return [float(Decimal(text or "NaN").scaleb(3)) for text in texts]
