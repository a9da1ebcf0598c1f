"""Watches the demand of each site as its records arrive, in the time of their slots.

A turn goes on from the last evaluated reading up to the last one that every meter has; a meter
that is silent for longer than two intervals is not waited for. After a start the last day is
walked through, so that the standing is as it would have been without the stop. What is older than
a day is not warned of any more; late records raise the limit when the month is read anew, which is
done every quarter of an hour.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np

from joulemark_agent.contract.profile import own_period_us
from joulemark_agent.equipment.readings import longest_step_us
from joulemark_gateway.api.energy import basis_of
from joulemark_gateway.api.plant import Device, Site, day_of
from joulemark_gateway.costs.demand import billing_demand
from joulemark_gateway.costs.files import SiteTariffs
from joulemark_gateway.costs.forecast import Level, Standing, WarningRule
from joulemark_gateway.costs.months import CostBook, demands_in, last_day
from joulemark_gateway.costs.settings import PeakWarning
from joulemark_gateway.costs.steps import grid_of
from joulemark_gateway.costs.tariff import Tariff, in_force
from joulemark_gateway.costs.walk import Counted, Evaluated, Limit, Windows, walked
from joulemark_gateway.series.base import QUALITY, SeriesReader

_AGAIN_US = 900 * 1_000_000  # the month is read anew
_MOST_KEPT = 200  # warnings that are shown
_DAY = timedelta(days=1)
_SILENT_INTERVALS = 2

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Warned:
    """One warning: when, of which interval, and what was said."""

    site: str
    at_us: int  # the reading that raised it
    interval_us: int
    level: Level
    forecast_w: float
    uncertainty_w: float
    limit_w: float
    told_us: int  # when it was found: later than the interval where records were late


@dataclass(frozen=True)
class DemandNow:
    """How the demand of a site stands."""

    site: str
    tariff: str
    interval_minutes: int
    newest: Evaluated | None
    limit_kind: str
    warnings: tuple[Warned, ...]  # newest first
    counts: bool  # whether demand counts in the running interval


class DemandBoard:
    """How the demand of each site stands; any thread may look."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now: dict[str, DemandNow] = {}

    def put(self, now: DemandNow) -> None:
        """Show it."""
        with self._lock:
            self._now[now.site] = now

    def clear(self, site: str) -> None:
        """Show nothing: no tariff is in force there."""
        with self._lock:
            self._now.pop(site, None)

    def get(self, site: str) -> DemandNow | None:
        """The demand of a site; None where none is watched."""
        with self._lock:
            return self._now.get(site)

    def all(self) -> Mapping[str, DemandNow]:
        """By site."""
        with self._lock:
            return dict(self._now)


@dataclass
class _Watched:
    evaluated_us: int = -1
    read_us: int = -1
    standing: Standing = field(default_factory=Standing)
    month: tuple[int, int] | None = None
    limit: Limit | None = None
    newest: Evaluated | None = None
    warnings: tuple[Warned, ...] = ()


class DemandWatch:
    """One turn after the other, by whoever calls `turn`."""

    def __init__(self, book: CostBook, board: DemandBoard) -> None:
        self._book, self._board = book, board
        self._sites: dict[str, _Watched] = {}

    def turn(self, reader: SeriesReader, site: Site, site_us: int, now_us: int) -> list[Warned]:
        """Evaluate what is new of a site.

        Args:
            reader: the series.
            site: whose meters.
            site_us: its clock. [us UTC]
            now_us: wall time. [us UTC]

        Returns:
            the warnings that were raised since the last turn and are not of the past.

        Raises:
            StoreError: the series cannot be read.
        """
        own = self._book.sites[site.id]
        users = [device for device in site.consumers if basis_of(device)[0] != "none"]
        ends = {d.id: reader.extent(site.id, d.id) for d in users}
        known_us = [extent[1] for extent in ends.values() if extent is not None]
        if not known_us:
            return []
        newest_us = min(max(known_us), site_us)
        today = day_of(newest_us - 1, own.tariffs[-1].zone)
        tariff = in_force(own.tariffs, today)
        if tariff is None:
            self._board.clear(site.id)
            return []
        interval_us = tariff.interval_minutes * 60_000_000
        waited = [us for us in known_us if newest_us - us <= _SILENT_INTERVALS * interval_us]
        until_us = min([*waited, site_us])
        one = self._sites.setdefault(site.id, _Watched())
        self._begin(one, own, tariff, reader, site, today, site_us)
        assert one.limit is not None
        windows = _windows(tariff, today)
        start_us = max(min(one.evaluated_us, until_us), 0)
        from_us = start_us - 12 * interval_us
        meters = [counted_of(reader, site.id, d, from_us, until_us) for d in users]
        raised = []
        warning = own.warning or PeakWarning()
        rule = WarningRule(0.0, warning.clear_ratio, warning.uncertainties)
        for found in walked(
            windows, meters, one.evaluated_us, until_us, one.standing, one.limit, rule
        ):
            if found.standing != one.standing and found.standing.level is not Level.QUIET:
                raised.append(_warned(site.id, found, now_us))
            one.standing, one.newest = found.standing, found
            one.evaluated_us = found.running.at_us
        one.evaluated_us = max(one.evaluated_us, until_us)
        one.warnings = (*reversed(raised), *one.warnings)[:_MOST_KEPT]
        counts = bool(windows.counts[_index(windows, newest_us)])
        self._board.put(
            DemandNow(
                site.id,
                tariff.tariff,
                tariff.interval_minutes,
                one.newest,
                warning.limit,
                one.warnings if own.warning else (),
                counts,
            )
        )
        for row in raised if own.warning else ():
            fields = {"site": site.id, "level": row.level, "at_us": row.at_us}
            figures = {"forecast_w": round(row.forecast_w), "limit_w": round(row.limit_w)}
            log.warning("peak_demand", extra={**fields, **figures})
        fresh_us = site_us - _SILENT_INTERVALS * interval_us
        return [row for row in raised if row.at_us >= fresh_us] if own.warning else []

    def _begin(  # noqa: PLR0917 -- one for each thing it knows
        self,
        one: _Watched,
        own: SiteTariffs,
        tariff: Tariff,
        reader: SeriesReader,
        site: Site,
        today: date,
        site_us: int,
    ) -> None:
        """Take the limit of the month, where it is another one or may have changed."""
        month = (today.year, today.month)
        if one.month == month and 0 <= site_us - one.read_us < _AGAIN_US:
            return
        warning = own.warning or PeakWarning()
        floor_w = self._floor_w(own, tariff, reader, site, month, site_us)
        one.limit = Limit(floor_w, grows=warning.limit == "billing", ratio=warning.limit_ratio)
        if one.evaluated_us < 0:
            first = max(date(*month, 1), today - _DAY)
            one.evaluated_us = int(grid_of(tariff, first, first).start_us[0])
        demands = demands_in(reader, site, tariff, (date(*month, 1), today), site_us)
        has_ended = demands.counts & (demands.end_us <= one.evaluated_us)
        for power_w in demands.power_w[has_ended & ~np.isnan(demands.power_w)].tolist():
            one.limit.ended(power_w)
        one.month, one.read_us = month, site_us

    def _floor_w(  # noqa: PLR0917 -- one for each thing it knows
        self,
        own: SiteTariffs,
        tariff: Tariff,
        reader: SeriesReader,
        site: Site,
        month: tuple[int, int],
        site_us: int,
    ) -> float:
        warning = own.warning or PeakWarning()
        if warning.limit == "fixed":
            return float(warning.limit_kw or 0) * 1000
        if warning.limit == "contract":
            return float(own.contract_kw or 0) * 1000
        if tariff.demand is None:
            return 0.0
        peaks = self._book.peaks(
            site.id,
            tariff.demand,
            month,
            site_us,
            lambda one: (
                demands_in(reader, site, tariff, (date(*one, 1), last_day(one)), site_us).peak
            ),
        )
        kw = billing_demand(tariff.demand, peaks, month, own.contract_kw).kw
        return 0.0 if kw is None else float(kw) * 1000


def counted_of(
    reader: SeriesReader, site: str, device: Device, start_us: int, end_us: int
) -> Counted:
    """What a device counted from read to read; of one without a counter, its power times time."""
    basis, point = basis_of(device)
    if basis == "counter":
        steps = reader.amounts(site, device.id, point, start_us, end_us)
        known = (steps.covered_us + steps.estimated_us > 0) & (steps.end_us > steps.start_us)
        return Counted(steps.start_us[known], steps.end_us[known], steps.amount[known])
    rows = reader.samples(site, device.id, point, start_us, end_us)
    good = (rows.quality == QUALITY["good"]) & ~np.isnan(rows.value)
    t_us, power_w = rows.t_utc_us, rows.value
    longest_us = longest_step_us(own_period_us(device.profile.point(point), device.period_us))
    length = np.diff(t_us)
    held = good[:-1] & good[1:] & (length > 0) & (length <= longest_us)
    return Counted(t_us[:-1][held], t_us[1:][held], (power_w[:-1] * length / 3_600_000_000)[held])


def _windows(tariff: Tariff, first: date) -> Windows:
    """The intervals of a day, the one before and those after, as far as a turn may reach."""
    days = [first - _DAY, first + 2 * _DAY]
    grid = grid_of(tariff, *days)
    start = np.flatnonzero(np.diff(grid.window, prepend=-1))
    counting = set(tariff.demand.bands) if tariff.demand is not None else set()
    is_counting = np.array([not counting or band in counting for _, band in tariff.bands])
    end = np.append(grid.start_us[start][1:], grid.end_us[-1])
    return Windows(grid.start_us[start], end, is_counting[grid.band[start]])


def _index(windows: Windows, at_us: int) -> int:
    k = int(np.searchsorted(windows.end_us, at_us, side="right"))
    return min(k, windows.start_us.size - 1)


def _warned(site: str, found: Evaluated, now_us: int) -> Warned:
    return Warned(
        site,
        found.running.at_us,
        found.standing.interval_us,
        found.standing.level,
        found.forecast.demand_w,
        found.forecast.standard_uncertainty_w,
        found.limit_w,
        now_us,
    )
