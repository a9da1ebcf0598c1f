"""All sites at a glance: today and this month beside the same days before, and what needs a look.

Two spans are compared only where both are known: a week with a gap is not a week of less energy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import numpy as np

from joulemark_gateway.api import energy, models
from joulemark_gateway.api.answers import Open, last_day
from joulemark_gateway.api.live import live
from joulemark_gateway.api.plant import DAY, Device, Site, midnight_us

DAYS_BEFORE = 7
KNOWN = 0.95  # of a span, from which it is compared
MOST_READ = 400_000  # slots of a site that are read to compare months
_LATE = {"late", "silent"}


@dataclass(frozen=True)
class Compared:
    """Energy of a span, and of the same span before; None where too little is known of it."""

    energy_wh: float | None
    covered_ratio: float | None  # of the span that has passed
    before_wh: float | None
    spans: int  # before, that are known; the mean of them is given
    co2e_kg: str | None = None
    factors: tuple[str, ...] = ()

    @property
    def change_ratio(self) -> float | None:
        """How much more than before; None where either is not known well enough."""
        if self.energy_wh is None or not self.before_wh or (self.covered_ratio or 0) < KNOWN:
            return None
        return self.energy_wh / self.before_wh - 1


@dataclass(frozen=True)
class Attention:
    """One thing somebody should look at: a code of the pages' words, and where."""

    code: str
    site: str
    device: str = ""
    what: str = ""  # in the words of whoever says so
    do: str = ""
    percent: str = ""


@dataclass(frozen=True)
class Glance:
    """One site."""

    day: date | None
    today: Compared | None
    month: Compared | None  # None: too much to read for a first page
    month_first: date | None


def glance(read: Open, place: Site) -> Glance:
    """Today until now beside the mean of the days before; the month until now beside the last.

    Raises:
        StoreError: the series cannot be read.
    """
    shown = read.shown(place)
    day = last_day(shown)
    if day is None or shown.now_us is None:
        return Glance(None, None, None, None)
    now_us = shown.now_us
    users = [d for d in place.consumers if energy.basis_of(d)[0] != "none"]
    today = _today(read, place, users, day, now_us)
    first = day.replace(day=1)
    slots = sum((now_us - midnight_us(first, place.zone)) // d.period_us * 2 for d in users)
    month = None if slots > MOST_READ else _month(read, place, users, first, day, now_us)
    return Glance(day, today, month, first)


def _today(read: Open, place: Site, users: Sequence[Device], day: date, now_us: int) -> Compared:
    start_us = midnight_us(day, place.zone)
    passed_us = min(max(now_us - start_us, 1), midnight_us(day + DAY, place.zone) - start_us)
    spans = []
    for k in range(DAYS_BEFORE, -1, -1):
        begin_us = midnight_us(day - DAY * k, place.zone)
        longest_us = midnight_us(day - DAY * (k - 1), place.zone) - begin_us
        spans.append((begin_us, begin_us + min(passed_us, longest_us)))
    return _compared(read, place.id, users, spans, now_us)


def _month(  # noqa: PLR0917 -- where, whose, from, to, and the clock
    read: Open, place: Site, users: Sequence[Device], first: date, day: date, now_us: int
) -> Compared:
    start_us = midnight_us(first, place.zone)
    end_us = min(max(now_us, start_us + 1), midnight_us(day + DAY, place.zone))
    before_us = midnight_us((first - timedelta(days=1)).replace(day=1), place.zone)
    spans = [(before_us, min(before_us + end_us - start_us, start_us)), (start_us, end_us)]
    found = _compared(read, place.id, users, spans, now_us)
    parts = []
    for device in users:
        days = energy.days_of(read.reader, place.id, device, (first, day), now_us)
        if days.total_wh is not None:
            parts.append(days.carbon)
    if not parts or any(part.co2e_kg is None for part in parts):
        return found
    total_kg = sum(Decimal(part.co2e_kg or 0) for part in parts)
    factors = sorted({name for part in parts for name in part.factors})
    return Compared(
        found.energy_wh,
        found.covered_ratio,
        found.before_wh,
        found.spans,
        f"{total_kg:f}",
        tuple(factors),
    )


def _compared(
    read: Open,
    site: str,
    users: Sequence[Device],
    spans: Sequence[tuple[int, int]],
    now_us: int,
) -> Compared:
    """The last span beside the mean of those before that can be compared with it.

    They can where the same devices were due to be read, and each is known of nearly all the time.
    """
    edges_us = np.unique(np.array(spans, np.int64))
    begins = np.searchsorted(edges_us, [start for start, _ in spans])
    shape = (len(users), len(spans))
    amount, known_us, due_us = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for k, device in enumerate(users):
        sums = energy.sums_in(read.reader, site, device, edges_us)
        if sums is None:
            continue
        amount[k] = np.asarray(sums.amount, np.float64)[begins]
        known_us[k] = np.asarray(sums.covered_us + sums.estimated_us, np.float64)[begins]
        first_us, end_us = energy.recorded_in(read.reader, site, device, now_us)
        due_us[k] = [max(min(end, end_us) - max(start, first_us), 0) for start, end in spans]
    is_due = due_us > 0
    ratio = np.where(is_due, known_us / np.where(is_due, due_us, 1.0), 1.0)
    before = [
        k
        for k in range(len(spans) - 1)
        if is_due[:, k].any()
        and np.array_equal(is_due[:, k], is_due[:, -1])
        and ratio[:, k].min() >= KNOWN
        and due_us[is_due[:, k], k].min() >= KNOWN * (spans[k][1] - spans[k][0])
    ]
    is_known = bool(known_us[:, -1].sum() > 0)
    covered = min(float(known_us[:, -1].sum() / max(due_us[:, -1].sum(), 1.0)), 1.0)
    return Compared(
        energy_wh=float(amount[:, -1].sum()) if is_known else None,
        covered_ratio=covered if due_us[:, -1].any() else None,
        before_wh=float(amount[:, before].sum(axis=0).mean()) if before else None,
        spans=len(before),
    )


def attention(read: Open, site: models.SiteNow, now: Glance) -> list[Attention]:
    """What of a site needs a look, the gravest first; nothing where all is well."""
    found = [Attention("broken", site.id, one.id, one.why) for one in site.broken]
    for agent in live(read, site.id).agents:
        found += [
            Attention("trouble", site.id, "", trouble.what, trouble.do)
            for trouble in agent.troubles
        ]
    found += [Attention(one.state, site.id, one.id) for one in site.devices if one.state in _LATE]
    ratio = now.today.covered_ratio if now.today is not None else None
    if ratio is not None and ratio < KNOWN:
        found.append(Attention("uncovered", site.id, percent=f"{100 * ratio:.0f}"))
    return found


def of_projects(found: models.Projects) -> list[Attention]:
    """What of the projects needs a look."""
    rows = []
    for one in found.running:
        if one.trouble is not None:
            trouble: Any = one.trouble
            rows.append(Attention("project", one.site, one.id, trouble.what, trouble.do))
        elif one.state == "refused":
            rows.append(Attention("refused", one.site, one.id, ", ".join(one.refused_because)))
    return rows
