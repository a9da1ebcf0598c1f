"""Cost beside kWh: what the energy of a site cost by month, band and machine; and its demand."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from joulemark_gateway.access.roles import Role, Scope
from joulemark_gateway.api import answers, plant
from joulemark_gateway.api.answers import Open
from joulemark_gateway.api.doors import needs
from joulemark_gateway.api.models import PROBLEMS
from joulemark_gateway.api.problems import Problem
from joulemark_gateway.api.routes import Reading, SiteId
from joulemark_gateway.costs import months
from joulemark_gateway.costs.cost import printed
from joulemark_gateway.costs.demand import Billing
from joulemark_gateway.costs.forecast import Level
from joulemark_gateway.costs.months import MonthCost
from joulemark_gateway.costs.watch import DemandNow

router = APIRouter(prefix="/api/v1", responses=PROBLEMS)

MONTH = r"^(19[7-9]\d|2\d{3})-(0[1-9]|1[0-2])$"
MOST_MONTHS = 13
_FIRST = re.compile(MONTH, re.ASCII)
_US_A_DAY = 86_400_000_000
_KW_PLACES = 3

MonthName = Annotated[str | None, Query(pattern=MONTH, description="as 2018-05; else the newest")]
MonthCount = Annotated[int, Query(ge=1, le=MOST_MONTHS, description="so many, newest first")]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class TariffNamed(_Answer):
    """Which tariff, and what stands behind it."""

    tariff: str
    title: str
    basis: Literal["published", "contract", "example"] = Field(
        description="example: invented, for trying; no amount of it is a cost of yours"
    )
    source: str
    valid_from: date
    holidays_until: date | None = Field(description="the last day that its list speaks of")


class BandAnswer(_Answer):
    """The energy of one band of one season and its charge."""

    season: str
    band: str
    price_per_kwh: str
    energy_wh: float
    cost: str | None = Field(description="null: nothing of it is known; never 0")
    known_us: int
    missing_us: int


class LineAnswer(_Answer):
    """A line of the bill; energy, demand, fixed, then the levies of the tariff."""

    name: str
    amount: str | None


class BilledDemand(_Answer):
    """The demand that is billed."""

    kw: str | None
    peak_of: str | None = Field(description="month whose peak it is; null: least of the contract")
    is_lower_bound: bool
    unknown_months: list[str]


class PeakAnswer(_Answer):
    """The highest demand of the month so far, of intervals that count and have passed."""

    power_w: float | None
    start_us: int | None
    is_lower_bound: bool


class ShareAnswer(_Answer):
    """A machine's part of the energy charge."""

    device: str
    energy_wh: float
    cost: str | None


class DayAnswer(_Answer):
    """The energy charge of a day."""

    day: date
    energy_wh: float
    cost: str | None
    known_us: int
    estimated_us: int
    due_us: int


class MonthAnswer(_Answer):
    """What a month cost so far. Amounts are exact sums, each rounded last."""

    month: str
    has_ended: bool
    tariffs: list[TariffNamed]
    energy_wh: float
    total: str | None = Field(description="of what is known; null: no energy of it is")
    is_lower_bound: bool = Field(description="energy, demand or a line of it is not known")
    unknown_ratio: float | None = Field(
        description="of the time that has passed, the part whose energy is not known"
    )
    known_us: int
    due_us: int
    days_without_tariff: int
    bands: list[BandAnswer]
    lines: list[LineAnswer]
    demand: BilledDemand | None
    peak: PeakAnswer
    days: list[DayAnswer]
    devices: list[str] = Field(description="whose energy is billed")
    is_metered: bool = Field(description="false: there is no meter; the machines were added up")
    shares: list[ShareAnswer]


class Costs(_Answer):
    """The cost of a site by month, newest first."""

    site: str
    currency: str
    time_zone: str
    months: list[MonthAnswer]


class RunningInterval(_Answer):
    """The interval of demand that runs."""

    start_us: int
    end_us: int
    at_us: int = Field(description="up to here the meters are known")
    so_far_w: float = Field(description="the demand if nothing more were taken")
    power_w: float
    forecast_w: float
    uncertainty_w: float = Field(description="standard uncertainty of the forecast")
    known_ratio: float


class WarningAnswer(_Answer):
    """A warning before, or when, the demand passed the limit."""

    at_us: int
    interval_us: int
    level: str
    forecast_w: float
    uncertainty_w: float
    limit_w: float
    told_us: int


class DemandAnswer(_Answer):
    """The demand of a site now."""

    site: str
    interval_minutes: int
    limit: str
    limit_w: float | None
    level: str
    counts: bool = Field(description="whether demand counts at this time")
    running: RunningInterval | None
    warnings: list[WarningAnswer]


@router.get("/sites/{site}/costs")
@needs(Role.VIEWER, Scope.SERIES)
def get_costs(
    read: Reading, site: SiteId, month: MonthName = None, months: MonthCount = 1
) -> Costs:
    """Cost by month, band, day and machine; what is not known of it is told."""
    return costs(read, site, month, months)


@router.get("/sites/{site}/demand")
@needs(Role.VIEWER, Scope.SERIES)
def get_demand(read: Reading, site: SiteId) -> DemandAnswer:
    """The demand of the running interval, its forecast, and the warnings."""
    return demand(read, site)


def costs(read: Open, site: str, month: str | None, count: int) -> Costs:
    """The cost of some months; Problem where the site has no tariff."""
    place = read.site(site)
    book = read.sources.costs
    if site not in book.sites:
        raise no_tariff(site)
    newest = book.sites[site].tariffs[-1]
    now_us = read.shown(place).now_us
    found: list[MonthCost] = []
    if now_us is not None:
        last = plant.day_of(max(now_us - 1, 0), newest.zone)
        year, number = _month_of(month) or (last.year, last.month)
        for _ in range(_readable(place, count)):
            found.append(months.month_cost(book, read.reader, place, (year, number), now_us))
            year, number = (year, number - 1) if number > 1 else (year - 1, 12)
            if year < plant.FIRST_DAY.year + 1:
                break
    return Costs(
        site=site,
        currency=newest.currency,
        time_zone=newest.time_zone,
        months=[_month(row, newest.decimals) for row in found],
    )


def demand(read: Open, site: str) -> DemandAnswer:
    """The demand now; Problem where none is watched."""
    read.site(site)
    found = read.sources.demands.get(site)
    if found is None:
        if site not in read.sources.costs.sites:
            raise no_tariff(site)
        raise Problem(
            404,
            "no_demand",
            f"The demand of {site} is not watched yet.",
            "Wait for its first records; its tariff has to be in force.",
        )
    return _demand(found)


def no_tariff(site: str) -> Problem:
    """The refusal where nobody has named a tariff."""
    return Problem(
        404,
        "no_tariff",
        f"{site} has no tariff.",
        "Name one under 'costs' in the collector's file; docs/costs.md says how.",
    )


def _readable(site: plant.Site, count: int) -> int:
    """How many months are read at most, so that no request takes too long.

    Raises:
        Problem: not even one.
    """
    slots = sum(31 * _US_A_DAY // device.period_us for device in site.consumers)
    most = answers.MOST_READ // max(slots, 1)
    if not most:
        raise Problem(
            422,
            "too_much",
            f"A month of {site.id} has {slots} slots.",
            f"At most {answers.MOST_READ} are read for one answer; read its meters less often.",
        )
    return min(count, most)


def _month_of(name: str | None) -> tuple[int, int] | None:
    match = _FIRST.fullmatch(name or "")
    return None if match is None else (int(match[1]), int(match[2]))


def month_name(month: tuple[int, int]) -> str:
    """As it is written."""
    return f"{month[0]:04d}-{month[1]:02d}"


def _wh(milliwatt_h: int) -> float:
    return milliwatt_h / 1000


def _month(row: MonthCost, decimals: int) -> MonthAnswer:
    cost = row.cost
    return MonthAnswer(
        month=month_name(row.month),
        has_ended=row.has_ended,
        tariffs=[
            TariffNamed(
                tariff=one.tariff,
                title=one.title,
                basis=one.basis,
                source=one.source,
                valid_from=one.valid_from,
                holidays_until=one.holidays_until,
            )
            for one in row.tariffs
        ],
        energy_wh=0.0 if cost is None else _wh(cost.milliwatt_h),
        total=None if cost is None else printed(cost.total, decimals),
        is_lower_bound=cost is None or cost.is_lower_bound or row.days_without_tariff > 0,
        unknown_ratio=None if cost is None or not cost.due_us else cost.unknown_us / cost.due_us,
        known_us=0 if cost is None else cost.known_us,
        due_us=0 if cost is None else cost.due_us,
        days_without_tariff=row.days_without_tariff,
        bands=[
            BandAnswer(
                season=band.season,
                band=band.band,
                price_per_kwh=_plain(band.price_per_kwh),
                energy_wh=_wh(band.milliwatt_h),
                cost=printed(band.cost, decimals),
                known_us=band.known_us,
                missing_us=max(band.due_us - band.known_us, 0),
            )
            for band in (() if cost is None else cost.bands)
        ],
        lines=[
            LineAnswer(name=line.name, amount=printed(line.amount, decimals))
            for line in (() if cost is None else cost.lines)
        ],
        demand=None if cost is None or cost.demand is None else _billed(cost.demand),
        peak=PeakAnswer(
            power_w=row.peak.power_w,
            start_us=row.peak.start_us,
            is_lower_bound=row.peak.is_lower_bound,
        ),
        days=[
            DayAnswer(
                day=day.day,
                energy_wh=_wh(day.milliwatt_h),
                cost=printed(day.cost, decimals),
                known_us=day.known_us,
                estimated_us=day.estimated_us,
                due_us=day.due_us,
            )
            for day in row.days
        ],
        devices=list(row.devices),
        is_metered=row.is_metered,
        shares=[
            ShareAnswer(
                device=one.device,
                energy_wh=_wh(one.milliwatt_h),
                cost=printed(one.cost, decimals),
            )
            for one in row.shares
        ],
    )


def _billed(found: Billing) -> BilledDemand:
    return BilledDemand(
        kw=_kw(found.kw),
        peak_of=None if found.month is None else month_name(found.month),
        is_lower_bound=found.is_lower_bound,
        unknown_months=[month_name(month) for month in found.unknown_months],
    )


def _kw(kw: Fraction | None) -> str | None:
    return printed(kw, _KW_PLACES)


def _plain(price: Decimal) -> str:
    return f"{price:f}"


def _demand(now: DemandNow) -> DemandAnswer:
    newest = now.newest
    running = None
    if newest is not None:
        running = RunningInterval(
            start_us=newest.running.start_us,
            end_us=newest.running.end_us,
            at_us=newest.running.at_us,
            so_far_w=newest.forecast.so_far_w,
            power_w=newest.running.power_w,
            forecast_w=newest.forecast.demand_w,
            uncertainty_w=newest.forecast.standard_uncertainty_w,
            known_ratio=newest.forecast.known_ratio,
        )
    return DemandAnswer(
        site=now.site,
        interval_minutes=now.interval_minutes,
        limit=now.limit_kind,
        limit_w=newest.limit_w if newest is not None and newest.limit_w > 0 else None,
        level=_level(now),
        counts=now.counts,
        running=running,
        warnings=[
            WarningAnswer(
                at_us=row.at_us,
                interval_us=row.interval_us,
                level=row.level.value,
                forecast_w=row.forecast_w,
                uncertainty_w=row.uncertainty_w,
                limit_w=row.limit_w,
                told_us=row.told_us,
            )
            for row in now.warnings
        ],
    )


def _level(now: DemandNow) -> str:
    """Of the running interval: one after another that passed the limit is warned of."""
    if now.newest is None:
        return Level.QUIET.value
    standing = now.newest.standing
    is_before = standing.interval_us != now.newest.running.start_us
    is_passed = standing.level is Level.PASSED
    return (Level.WARNED if is_passed and is_before else standing.level).value
