"""What a site or a device used: by day, week or month, by hour of the day, and its demand.

The demand of a quarter of an hour is its mean power. It is stated where that time is measured
throughout: what is known as a sum over several slots only is spread evenly, and may hide a peak.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from joulemark_gateway.api import energy, plant
from joulemark_gateway.api.answers import Open, require_readable, span_us_of
from joulemark_gateway.api.energy import Carbonised, Day
from joulemark_gateway.api.plant import DAY, Device, midnight_us

By = Literal["day", "week", "month"]
QUARTER_US = 900_000_000
MOST_DEMAND_DAYS = 92  # whose quarters are drawn
_HOUR_US = 3_600_000_000
_WH_PER_W_US = 1 / _HOUR_US
_KNOWN = 0.95  # of a window, from which its mean power is stated
_SATURDAY = 5

Values = NDArray[np.float64]
Times = NDArray[np.int64]


@dataclass(frozen=True)
class Period:
    """One day, week or month of one device, as far as it lies in the span."""

    first: date
    last: date
    start_us: int
    end_us: int
    energy_wh: float | None
    covered_us: int
    estimated_us: int
    missing_us: int
    carbon: Carbonised


@dataclass(frozen=True, eq=False)
class Demand:
    """Mean power by window; NaN where the window is not measured throughout. Shapes (n,)."""

    start_us: Times
    end_us: Times
    power_w: Values

    @property
    def known(self) -> Values:
        """The values that can be stated."""
        return self.power_w[~np.isnan(self.power_w)]

    def peaks(self, count: int) -> list[int]:
        """Rows of the greatest values, the greatest first; of equal ones the first."""
        order = np.argsort(-np.nan_to_num(self.power_w, nan=-np.inf), kind="stable")
        return [int(k) for k in order[:count] if not np.isnan(self.power_w[k])]


@dataclass(frozen=True)
class Hour:
    """An hour of the day: mean power of the days in which it is known. [W]"""

    hour: int
    working_w: float | None  # Monday to Friday
    working_days: int
    weekend_w: float | None
    weekend_days: int


def periods_of(device: Device, days: Sequence[Day], by: By) -> list[Period]:
    """The days together as weeks (from Monday) or months; CO2e is summed first, rounded last."""
    groups: dict[date, list[Day]] = {}
    for day in days:
        groups.setdefault(_begin(day.day, by), []).append(day)
    found = []
    for those in groups.values():
        known = [day.energy_wh for day in those if day.energy_wh is not None]
        found.append(
            Period(
                those[0].day,
                those[-1].day,
                those[0].start_us,
                those[-1].end_us,
                sum(known) if known else None,
                sum(day.covered_us for day in those),
                sum(day.estimated_us for day in those),
                sum(day.missing_us for day in those),
                energy.carbon_of(
                    device, [day.day for day in those], [day.energy_wh for day in those]
                ),
            )
        )
    return found


def _begin(day: date, by: By) -> date:
    if by == "month":
        return day.replace(day=1)
    return day - DAY * day.weekday() if by == "week" else day


def demand_of(
    read: Open, site: str, devices: Sequence[Device], edges_us: Sequence[int]
) -> Demand | None:
    """The mean power of several devices together; None where one of them has no energy.

    Args:
        read: where from.
        site: id of the site.
        devices: whose power is summed.
        edges_us: of the windows, strictly increasing. [us UTC]

    Raises:
        Problem: the span has too many slots for one request.
    """
    edges = np.array(edges_us, np.int64)
    length_us = np.diff(edges)
    power_w = np.zeros(length_us.size)
    for device in devices:
        require_readable(device, (int(edges[0]), int(edges[-1])))
        sums = energy.sums_in(read.reader, site, device, edges)
        if sums is None:
            return None
        covered_us = np.asarray(sums.covered_us, np.float64)
        is_known = (np.abs(covered_us - length_us) <= (1 - _KNOWN) * length_us) & (
            np.asarray(sums.estimated_us) == 0
        )
        hours = np.where(is_known, covered_us, 1.0) * _WH_PER_W_US
        power_w += np.where(is_known, np.asarray(sums.amount, np.float64) / hours, np.nan)
    return Demand(edges[:-1], edges[1:], power_w)


def quarters_us(read: Open, site: str, span: tuple[date, date]) -> list[int]:
    """The edges of the quarters of an hour of the last days of a span. [us UTC]"""
    first = max(span[0], span[1] - DAY * (MOST_DEMAND_DAYS - 1))
    start_us, end_us = span_us_of(read.site(site), (first, span[1]))
    return [*range(start_us, end_us, QUARTER_US), end_us]


def hours_of(
    read: Open, site: str, devices: Sequence[Device], span: tuple[date, date]
) -> list[Hour]:
    """The usual day: each local hour's mean power, of working days and of weekends.

    Raises:
        Problem: the span has too many slots for one request.
    """
    zone = read.site(site).zone
    days = [span[0] + DAY * k for k in range((span[1] - span[0]).days + 1)]
    starts_us, hour_of, is_weekend = [], [], []
    for day in days:
        for at_us in range(midnight_us(day, zone), midnight_us(day + DAY, zone), _HOUR_US):
            starts_us.append(at_us)
            hour_of.append(plant.local(at_us, zone).hour)
            is_weekend.append(day.weekday() >= _SATURDAY)
    found = demand_of(read, site, devices, [*starts_us, midnight_us(days[-1] + DAY, zone)])
    if found is None:
        return []
    hours, weekend = np.array(hour_of), np.array(is_weekend)
    is_known = ~np.isnan(found.power_w)

    def mean(hour: int, *, of_weekend: bool) -> tuple[float | None, int]:
        power_w = found.power_w[(hours == hour) & (weekend == of_weekend) & is_known]
        return (float(power_w.mean()) if power_w.size else None), int(power_w.size)

    return [
        Hour(hour, *mean(hour, of_weekend=False), *mean(hour, of_weekend=True))
        for hour in range(24)
    ]
