"""A tariff as data: seasons, kinds of days, bands of time, prices, demand charge, levies.

Prices are exact decimals and stay so until the last line. What a file leaves out is a mistake of
the file, never a price of zero: every minute of the year has one band, and every band that a
season has is priced.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import date
from decimal import Decimal
from functools import cached_property
from itertools import pairwise
from math import gcd
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from joulemark_agent.contract.document import Document, validate
from joulemark_agent.contract.errors import ConfigError

DayKind = Literal["weekday", "saturday", "sunday", "holiday"]
DAY_KINDS: tuple[DayKind, ...] = ("weekday", "saturday", "sunday", "holiday")
MINUTES_A_DAY = 1440
ENERGY, DEMAND, FIXED = "energy", "demand", "fixed"  # what levies may be a share of
_CHARGES = (ENERGY, DEMAND, FIXED)
_NAME = r"^[a-z][a-z0-9_]{0,40}$"
_CLOCK = re.compile(r"([01]\d|2[0-4]):([0-5]\d)", re.ASCII)
_MONTHS = 12
_MOST_HOLIDAYS = 2000


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _check_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("not a time zone; write it as Asia/Seoul") from error
    return name


def _exact(value: object) -> object:
    """A price as it was written; a binary fraction is none."""
    if isinstance(value, bool | float):
        raise ValueError("write the number as it stands in the tariff, such as 95.7")
    return value


Name = Annotated[str, Field(pattern=_NAME)]
Price = Annotated[Decimal, Field(ge=-1_000_000, le=1_000_000_000, max_digits=24, decimal_places=12)]
Share = Annotated[Decimal, Field(ge=0, le=10, max_digits=14, decimal_places=12)]
Month = Annotated[int, Field(ge=1, le=_MONTHS)]


def minute_of(clock: str) -> int:
    """Minutes since midnight of `HH:MM`; ValueError where it is none."""
    match = _CLOCK.fullmatch(clock)
    minute = int(match[1]) * 60 + int(match[2]) if match else MINUTES_A_DAY + 1
    if minute > MINUTES_A_DAY:
        raise ValueError("write the time as 09:00, and the end of the day as 24:00")
    return minute


class Season(_Strict):
    """Months that have the same prices."""

    name: Name
    months: tuple[Month, ...] = Field(min_length=1, max_length=_MONTHS)


class Hours(_Strict):
    """A part of a day; what begins at `to` belongs to the next."""

    start: str = Field(alias="from")
    end: str = Field(alias="to")
    band: Name

    @field_validator("start", "end")
    @classmethod
    def _is_clock(cls, text: str) -> str:
        minute_of(text)
        return text

    @property
    def minutes(self) -> tuple[int, int]:
        """From and to, in minutes since midnight."""
        return minute_of(self.start), minute_of(self.end)


class Schedule(_Strict):
    """The bands of a day, for some seasons and kinds of days."""

    seasons: tuple[Name, ...] = Field(min_length=1)
    days: tuple[DayKind, ...] = Field(min_length=1)
    hours: tuple[Hours, ...] = Field(min_length=1, max_length=96)

    @model_validator(mode="after")
    def _is_whole_day(self) -> Self:
        edges = [hours.minutes for hours in self.hours]
        is_joined = all(first[1] == second[0] for first, second in pairwise(edges))
        if edges[0][0] != 0 or edges[-1][1] != MINUTES_A_DAY or not is_joined:
            raise ValueError(
                "the hours go from 00:00 to 24:00, each from where the one before ends"
            )
        if any(start >= end for start, end in edges):
            raise ValueError("every part of a day ends after it begins")
        return self

    def band_at(self, minute: int) -> str:
        """The band of a minute since midnight."""
        return next(row.band for row in self.hours if minute < row.minutes[1])


class EnergyPrice(_Strict):
    """What a kilowatt-hour costs in one band of one season."""

    season: Name
    band: Name
    price_per_kwh: Price

    _exact = field_validator("price_per_kwh", mode="before")(_exact)


class DemandCharge(_Strict):
    """What a kilowatt of billing demand costs a month, and which demand is billed."""

    price_per_kw: Price
    interval_minutes: Literal[5, 10, 15, 20, 30, 60] = 15
    bands: tuple[Name, ...] = ()  # in which demand counts; none: in all
    months_back: int = Field(default=0, ge=0, le=36)  # months before this one that count too
    of_months: tuple[Month, ...] = ()  # of those before, only these; none: all of them
    share_of_before: Share = Decimal(1)  # of the peak of a month before that counts
    least_share_of_contract: Share = Decimal(0)
    step_kw: Decimal | None = Field(default=None, gt=0, max_digits=10)  # rounded half up to this

    _exact = field_validator("price_per_kw", "share_of_before", "least_share_of_contract",
                             "step_kw", mode="before")(_exact)  # fmt: skip


class Levy(_Strict):
    """A tax or levy: per kilowatt-hour, or a share of charges and of levies before it."""

    name: Name
    per_kwh: Price | None = None
    share: Share | None = None
    of: tuple[Name, ...] = ()

    _exact = field_validator("per_kwh", "share", mode="before")(_exact)

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.per_kwh is None) == (self.share is None):
            raise ValueError("give either 'per_kwh', or 'share' and what it is 'of'")
        if (self.share is not None) != bool(self.of):
            raise ValueError("'of' goes with 'share' and names what it is a share of")
        return self


class Tariff(_Strict):
    """A tariff without mistakes."""

    tariff: str = Field(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$")
    title: str = Field(max_length=200)
    basis: Literal["published", "contract", "example"]  # an example is marked wherever it is shown
    source: str = Field(min_length=10, max_length=500)  # document, table and date
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    decimals: int = Field(ge=0, le=4)  # of a printed amount
    valid_from: date
    valid_to: date | None = None  # the last day; none: until another begins
    time_zone: Annotated[str, AfterValidator(_check_zone)]
    seasons: tuple[Season, ...] = Field(min_length=1, max_length=_MONTHS)
    holidays: tuple[date, ...] = Field(default=(), max_length=_MOST_HOLIDAYS)
    holidays_until: date | None = None  # the last day the list speaks of
    schedules: tuple[Schedule, ...] = Field(min_length=1, max_length=48)
    energy: tuple[EnergyPrice, ...] = Field(min_length=1, max_length=200)
    demand: DemandCharge | None = None
    fixed_per_month: Price = Decimal(0)
    levies: tuple[Levy, ...] = Field(default=(), max_length=20)

    _exact = field_validator("fixed_per_month", mode="before")(_exact)

    @model_validator(mode="after")
    def _check(self) -> Self:
        found = [*_season_mistakes(self), *_band_mistakes(self), *_levy_mistakes(self)]
        if self.valid_to is not None and self.valid_to < self.valid_from:
            found.append("valid_to is before valid_from")
        if found:
            raise ValueError("; ".join(found))
        return self

    @property
    def zone(self) -> ZoneInfo:
        """Of its clock."""
        return ZoneInfo(self.time_zone)

    @cached_property
    def bands(self) -> tuple[tuple[str, str], ...]:
        """Season and band of every price, in the order of the file."""
        return tuple((row.season, row.band) for row in self.energy)

    @cached_property
    def prices(self) -> dict[tuple[str, str], Decimal]:
        """The price of each. [currency/kWh]"""
        return {(row.season, row.band): row.price_per_kwh for row in self.energy}

    @property
    def interval_minutes(self) -> int:
        """Over which demand is the mean."""
        return 15 if self.demand is None else self.demand.interval_minutes

    @cached_property
    def step_minutes(self) -> int:
        """The longest step on whose edges every band and every interval of demand begins."""
        step = gcd(self.interval_minutes, 60)
        for schedule in self.schedules:
            for hours in schedule.hours:
                step = gcd(step, *hours.minutes)
        return step

    def holds_on(self, day: date) -> bool:
        """Whether the tariff is in force."""
        return self.valid_from <= day and (self.valid_to is None or day <= self.valid_to)

    def season_of(self, day: date) -> str:
        """The season of a day."""
        return self._season_of_month[day.month]

    def kind_of(self, day: date) -> DayKind:
        """The kind of a day; a holiday is one whichever day of the week it is."""
        if day in self._holidays:
            return "holiday"
        return ("saturday", "sunday")[day.weekday() - 5] if day.weekday() >= 5 else "weekday"

    def band_at(self, day: date, minute: int) -> tuple[str, str]:
        """Season and band of a minute of a day, by the clock on the wall."""
        season = self.season_of(day)
        return season, self._schedules[season, self.kind_of(day)].band_at(minute)

    @cached_property
    def _season_of_month(self) -> dict[int, str]:
        return {month: season.name for season in self.seasons for month in season.months}

    @cached_property
    def _holidays(self) -> frozenset[date]:
        return frozenset(self.holidays)

    @cached_property
    def _schedules(self) -> dict[tuple[str, DayKind], Schedule]:
        return {place: schedule for schedule in self.schedules for place in _places(schedule)}


def tariff_of(document: Document) -> Tariff:
    """The tariff of a document that a person wrote.

    Raises:
        ConfigError: every mistake with its line.
    """
    return validate(Tariff, document)


def in_force(tariffs: Iterable[Tariff], day: date) -> Tariff | None:
    """The tariff of a day: of those that hold, the one that began last."""
    return max(
        (row for row in tariffs if row.holds_on(day)), key=lambda row: row.valid_from, default=None
    )


def require_together(tariffs: Iterable[Tariff], where: str) -> None:
    """Refuse tariffs of one site that cannot follow one another.

    Raises:
        ConfigError: they differ in currency, decimals or clock, or two begin on one day.
    """
    rows = list(tariffs)
    if len({(row.currency, row.decimals, row.time_zone) for row in rows}) > 1:
        raise ConfigError(
            f"{where}: its tariffs differ in currency, decimals or time_zone.",
            "One site has one of each; put what differs into tariffs of another site.",
        )
    if len({row.valid_from for row in rows}) < len(rows):
        raise ConfigError(
            f"{where}: two of its tariffs begin on the same day.", "Keep one of them."
        )


def _places(schedule: Schedule) -> Iterator[tuple[str, DayKind]]:
    return ((season, kind) for season in schedule.seasons for kind in schedule.days)


def _season_mistakes(tariff: Tariff) -> Iterator[str]:
    months = sorted(month for season in tariff.seasons for month in season.months)
    if months != list(range(1, _MONTHS + 1)):
        yield f"the seasons have the months {months}; each of 1 to 12 belongs to one season"
    names = [season.name for season in tariff.seasons]
    if len(set(names)) < len(names):
        yield "two seasons have the same name"
    given = [place for schedule in tariff.schedules for place in _places(schedule)]
    for name in sorted({season for season, _ in given} - set(names)):
        yield f"a schedule names the season {name!r}, which is none"
    for name in names:
        for kind in DAY_KINDS:
            if (count := given.count((name, kind))) != 1:
                yield f"{count} schedules are of {name}, {kind}; there must be one"


def _band_mistakes(tariff: Tariff) -> Iterator[str]:
    priced = [(row.season, row.band) for row in tariff.energy]
    used = {
        (season, hours.band)
        for schedule in tariff.schedules
        for season in schedule.seasons
        for hours in schedule.hours
    }
    for season, band in sorted(used - set(priced)):
        yield f"no price for the band {band} in {season}"
    for season, band in sorted(set(priced) - used):
        yield f"the price of {band} in {season} belongs to no schedule"
    if len(set(priced)) < len(priced):
        yield "a band of a season has two prices"
    counting = () if tariff.demand is None else tariff.demand.bands
    for band in sorted(set(counting) - {band for _, band in used}):
        yield f"demand counts in the band {band}, which is none"


def _levy_mistakes(tariff: Tariff) -> Iterator[str]:
    known = list(_CHARGES)
    for levy in tariff.levies:
        for name in levy.of:
            if name not in known:
                yield f"{levy.name} is a share of {name}, which does not stand before it"
        if levy.name in known:
            yield f"the name {levy.name} is taken"
        known.append(levy.name)
