"""How well devices were read: values by day, and slots with the causes of those missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from joulemark_gateway.api import energy, records
from joulemark_gateway.api.answers import Open, shortened, span_us_of
from joulemark_gateway.api.energy import Quality
from joulemark_gateway.api.plant import DAY, Device, midnight_us
from joulemark_gateway.api.slots import slots_of
from joulemark_gateway.evidence.slots import Account, total

MOST_VALUES = 2_000_000  # of a device that are counted by day for one request
MOST_FOLLOWED = 8_000  # slots of a device whose leaves are counted for one page: some 1 s


@dataclass(frozen=True)
class DayQuality:
    """The values that were due on one local day, and what became of them."""

    day: date
    values: Quality


def by_day(
    read: Open, site: str, device: Device, span: tuple[date, date], now_us: int
) -> list[DayQuality]:
    """The days of a span; of a device with very many values the last ones."""
    points = max(len(device.profile.points), 1)
    first, last = shortened(device, span, MOST_VALUES // points)
    days = [first + DAY * k for k in range((last - first).days + 1)]
    edges_us = np.array([midnight_us(day, device.zone) for day in (*days, last + DAY)], np.int64)
    found = energy.qualities_of(read.reader, site, device, edges_us, now_us)
    return [DayQuality(day, values) for day, values in zip(days, found, strict=True)]


def together(parts: Sequence[DayQuality]) -> Quality:
    """The values of all these days."""
    names = ("due", "good", "uncertain", "bad", "missing")
    return Quality(*(sum(getattr(part.values, name) for part in parts) for name in names))


def causes_of(read: Open, site: str, device: Device, span: tuple[date, date]) -> dict[str, int]:
    """The slots of a span that agents said are missing, by cause, the most frequent first."""
    start_us, end_us = span_us_of(read.site(site), span)
    found: Counter[str] = Counter()
    for one in device.epochs:
        leaves = records.span_of(read.store, one.head, start_us, end_us)
        gaps, _ = records.gaps_in(read.store, one.head, leaves)
        for _, gap in gaps:
            found[gap.cause] += gap.slots
    return dict(found.most_common())


@dataclass(frozen=True)
class DayAccount:
    """What became of the slots of one local day."""

    day: date
    slots: Account


def accounts_of(
    read: Open, site: str, device: Device, span: tuple[date, date]
) -> tuple[list[DayAccount], Account]:
    """The slots of each day of a span, from the leaves themselves, and of all of them together.

    Of a device that is read very often, the last days.
    """
    period_us = device.slot_period_us
    days_in_all = max(MOST_FOLLOWED * period_us // 86_400_000_000, 1)
    first = max(span[0], span[1] - DAY * (days_in_all - 1))
    zone, now_us = read.site(site).zone, read.sources.now_us()
    found = []
    for k in range((span[1] - first).days + 1):
        day = first + DAY * k
        window_us = midnight_us(day, zone), midnight_us(day + DAY, zone)
        found.append(DayAccount(day, slots_of(read.store, device, window_us, now_us)))
    return found, total([one.slots for one in found])
