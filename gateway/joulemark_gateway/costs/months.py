"""The cost of a site's months from its series, and the demand of its intervals."""

from __future__ import annotations

import threading
from calendar import monthrange
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction

import numpy as np

from joulemark_agent.kernels.demand import Peak
from joulemark_gateway.api.energy import basis_of, held_by, recorded_in
from joulemark_gateway.api.plant import METER_KIND, Device, Site
from joulemark_gateway.costs.cost import Cost, bands_of, cost_of, together
from joulemark_gateway.costs.demand import (
    Demands,
    Month,
    billing_demand,
    demands_of,
    months_that_count,
)
from joulemark_gateway.costs.files import SiteTariffs
from joulemark_gateway.costs.steps import Energies, Grid, grid_of, on_grid
from joulemark_gateway.costs.tariff import DemandCharge, Tariff, in_force
from joulemark_gateway.series.base import SeriesReader

_DAY = timedelta(days=1)
_DAY_US = 86_400_000_000
_KEPT_US = 900 * 1_000_000  # peaks of months that are over are looked at anew after this


@dataclass(frozen=True)
class Share:
    """What a device took of a site's energy charge."""

    device: str
    milliwatt_h: int
    cost: Fraction | None


@dataclass(frozen=True)
class DayCost:
    """The energy and its charge of one day."""

    day: date
    milliwatt_h: int
    cost: Fraction | None  # energy charge only
    known_us: int
    estimated_us: int
    due_us: int


@dataclass(frozen=True)
class MonthCost:
    """What a month cost so far."""

    month: Month
    first: date
    last: date
    tariffs: tuple[Tariff, ...]
    cost: Cost | None  # None: no tariff is in force on any of its days
    peak: Peak
    days: tuple[DayCost, ...]
    days_without_tariff: int
    devices: tuple[str, ...]  # whose energy it is
    is_metered: bool  # by the site's meters; else its machines were added up
    shares: tuple[Share, ...]
    has_ended: bool


class CostBook:
    """The tariffs of every site, and the peaks of months; any thread may ask."""

    def __init__(self, tariffs: Mapping[str, SiteTariffs] | None = None) -> None:
        self.sites: Mapping[str, SiteTariffs] = tariffs or {}
        self._peaks: dict[tuple[str, Month], tuple[int, Peak]] = {}
        self._lock = threading.Lock()

    def peaks(
        self,
        site: str,
        rule: DemandCharge,
        month: Month,
        now_us: int,
        find: Callable[[Month], Peak],
    ) -> Mapping[Month, Peak]:
        """The peaks of the months before that may count for this one."""
        found = {}
        for one in months_that_count(rule, month):
            with self._lock:
                made_us, peak = self._peaks.get((site, one), (None, None))
            if peak is None or made_us is None or not 0 <= now_us - made_us < _KEPT_US:
                peak = find(one)
                with self._lock:
                    self._peaks[site, one] = (now_us, peak)
            found[one] = peak
        return found


def last_day(month: Month) -> date:
    """Of a month."""
    return date(*month, monthrange(*month)[1])


def energies_of(
    reader: SeriesReader, site: str, device: Device, grid: Grid, now_us: int
) -> Energies:
    """What a device took in each step.

    Raises:
        StoreError: the series cannot be read.
    """
    basis, point = basis_of(device)
    start_us, end_us = grid.span_us
    begin, end = recorded_in(reader, site, device, now_us)
    due = [(begin, min(end, now_us))]
    if basis == "counter":  # a step over more than a day stands as one for each day
        steps = reader.amounts(site, device.id, point, start_us - _DAY_US, end_us)
        known = steps.covered_us + steps.estimated_us > 0
        return on_grid(
            grid,
            steps.start_us[known],
            steps.end_us[known],
            steps.amount[known],
            steps.covered_us[known],
            steps.estimated_us[known],
            due,
        )
    none = np.zeros(0, np.int64)
    empty = on_grid(grid, none, none, none.astype(np.float64), none, none, due)
    if basis == "none":
        return empty
    edges = np.append(grid.start_us, end_us)
    amount, covered, estimated = held_by(reader, site, device, point, edges)
    milli = np.rint(np.asarray(amount, np.float64) * 1000).astype(np.int64)
    return Energies(milli, covered, estimated, empty.due_us)


def site_energies(
    reader: SeriesReader, site: Site, grid: Grid, now_us: int
) -> tuple[Energies, tuple[Device, ...]]:
    """What a site took in each step, and whose energy that is; no devices: nothing is known."""
    users = tuple(device for device in site.consumers if basis_of(device)[0] != "none")
    zero = np.zeros(grid.start_us.size, np.int64)
    total = Energies(zero, zero, zero, zero)
    for device in users:
        total = total + energies_of(reader, site.id, device, grid, now_us)
    return total, users


def month_cost(
    book: CostBook, reader: SeriesReader, site: Site, month: Month, now_us: int
) -> MonthCost:
    """The cost of one month up to now.

    Args:
        book: has tariffs of the site.
        reader: the series.
        site: whose.
        month: which; days of the clock of the tariff.
        now_us: the site's clock: what lies after it has not passed. [us UTC]

    Raises:
        StoreError: the series cannot be read.
    """
    own = book.sites[site.id]
    first, last = date(*month, 1), last_day(month)
    count = (last - first).days + 1
    spans = _spans(own.tariffs, first, last)
    peak, has_ended = Peak(None, None, is_lower_bound=True), False
    rule = _rule_of([tariff for tariff, _, _ in spans])
    billing = None
    if rule is not None:
        demands = demands_in(reader, site, rule, (first, last), now_us)
        peak, has_ended = demands.peak, bool(demands.end_us[-1] <= now_us)
        if rule.demand is not None:
            before = book.peaks(
                site.id,
                rule.demand,
                month,
                now_us,
                lambda one: _peak_of(reader, site, rule, one, now_us),
            )
            billing = billing_demand(rule.demand, {**before, month: peak}, month, own.contract_kw)
    parts: list[Cost] = []
    days: list[DayCost] = []
    shares: dict[str, list[tuple[int, Fraction | None]]] = {}
    users: tuple[Device, ...] = ()
    for tariff, start, end in spans:
        grid = grid_of(tariff, start, end)
        energies, users = site_energies(reader, site, grid, now_us)
        part = Fraction((end - start).days + 1, count)
        parts.append(cost_of(tariff, grid, energies, billing=billing, month_share=part))
        days += _days(tariff, grid, energies, start, end)
        for device in _sharing(site, users):
            taken = energies_of(reader, site.id, device, grid, now_us)
            rows = bands_of(tariff, grid, taken)
            costs = [row.cost for row in rows if row.cost is not None]
            amount = sum(costs, Fraction(0)) if costs else None
            shares.setdefault(device.id, []).append((sum(r.milliwatt_h for r in rows), amount))
    return MonthCost(
        month,
        first,
        last,
        tuple(tariff for tariff, _, _ in spans),
        together(parts) if parts else None,
        peak,
        tuple(days),
        count - sum((end - start).days + 1 for _, start, end in spans),
        tuple(device.id for device in users),
        any(device.profile.kind == METER_KIND for device in users),
        tuple(_share(name, rows) for name, rows in shares.items()),
        has_ended,
    )


def demands_in(
    reader: SeriesReader, site: Site, tariff: Tariff, days: tuple[date, date], now_us: int
) -> Demands:
    """The demand of the intervals of some days."""
    grid = grid_of(tariff, *days)
    energies, _ = site_energies(reader, site, grid, now_us)
    return demands_of(tariff, grid, energies, now_us)


def _rule_of(tariffs: Sequence[Tariff]) -> Tariff | None:
    """By which the demand of a month is billed: the last of its tariffs that charges for it."""
    found = [tariff for tariff in tariffs if tariff.demand is not None] or tariffs
    return found[-1] if found else None


def _peak_of(reader: SeriesReader, site: Site, tariff: Tariff, month: Month, now_us: int) -> Peak:
    return demands_in(reader, site, tariff, (date(*month, 1), last_day(month)), now_us).peak


def _spans(tariffs: tuple[Tariff, ...], first: date, last: date) -> list[tuple[Tariff, date, date]]:
    """The tariffs of the days, each from its first to its last."""
    found: list[tuple[Tariff, date, date]] = []
    day = first
    while day <= last:
        tariff = in_force(tariffs, day)
        if tariff is not None:
            if found and found[-1][0] is tariff and found[-1][2] == day - _DAY:
                found[-1] = (tariff, found[-1][1], day)
            else:
                found.append((tariff, day, day))
        day += _DAY
    return found


def _days(tariff: Tariff, grid: Grid, energies: Energies, first: date, last: date) -> list[DayCost]:
    rows = []
    ends = [grid.start_us.size]
    starts = []
    for k in range((last - first).days + 1):
        part = grid_of(tariff, first + _DAY * k, first + _DAY * k)
        starts.append(int(np.searchsorted(grid.start_us, part.span_us[0])))
    ends = [*starts[1:], *ends]
    for k, (a, b) in enumerate(zip(starts, ends, strict=True)):
        cut = Grid(grid.start_us[a:b], grid.end_us[a:b], grid.band[a:b], grid.window[a:b])
        bands = bands_of(tariff, cut, energies.between(a, b))
        costs = [row.cost for row in bands if row.cost is not None]
        rows.append(
            DayCost(
                first + _DAY * k,
                sum(row.milliwatt_h for row in bands),
                sum(costs, Fraction(0)) if costs else None,
                sum(row.known_us for row in bands),
                sum(row.estimated_us for row in bands),
                sum(row.due_us for row in bands),
            )
        )
    return rows


def _sharing(site: Site, users: tuple[Device, ...]) -> list[Device]:
    """The machines among which the energy is shared out: those behind the meters, or all."""
    is_metered = any(device.profile.kind == METER_KIND for device in users)
    found = [d for d in site.devices.values() if not d.is_generator and basis_of(d)[0] != "none"]
    return [d for d in found if d.profile.kind != METER_KIND] if is_metered else found


def _share(name: str, rows: list[tuple[int, Fraction | None]]) -> Share:
    known = [cost for _, cost in rows if cost is not None]
    return Share(name, sum(wh for wh, _ in rows), sum(known, Fraction(0)) if known else None)
