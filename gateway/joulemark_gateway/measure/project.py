"""The measurement and verification plan: what is compared with what, by which rules.

It is written and digested before the reporting period starts. Where the evidence lies is wiring and
stands elsewhere.
"""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from joulemark_agent.contract.profile import Exact
from joulemark_agent.contract.topics import is_id
from joulemark_gateway.measure.creditable import CREDITABLE_POLICIES
from joulemark_gateway.measure.ipmvp import Option, Said, StaticFactor, contradiction
from joulemark_gateway.measure.models.selection_rules import SELECTION_POLICIES
from joulemark_gateway.measure.sufficiency import POLICIES, SUFFICIENCY_POLICIES

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
# What machines beside have: their own zone, and a second list that counts leap seconds.
_NO_ZONES = re.compile(r"localtime|posixrules|(posix|right)/.*")
MIN_YEAR, MAX_DAYS = 1970, 3700  # a slip of the pen must not ask for millions of units


def _as_written(value: Any) -> Any:
    """A date, or its text: a number of seconds and a time of a day are dates to others only."""
    if isinstance(value, date) or (isinstance(value, str) and _DAY.fullmatch(value)):
        return value
    raise ValueError("write the day as 2027-01-31")


Day = Annotated[date, BeforeValidator(_as_written)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Measure(_Strict):
    """The energy conservation measure whose effect is looked for."""

    name: str = Field(min_length=1)
    description: str = Field(min_length=1)
    implemented: Day


class PointOf(_Strict):
    """A point of a device."""

    device: str
    point: str


class Driver(PointOf):
    """What the energy follows: a counter or a temperature, named, its origin said openly."""

    name: str = Field(min_length=1)
    synthetic: bool


class Dates(_Strict):
    """Local dates, the end exclusive."""

    first: Day = Field(alias="from")
    end: Day = Field(alias="to")

    @model_validator(mode="after")
    def _is_in_order(self) -> Dates:
        if self.end <= self.first:
            raise ValueError("'to' (exclusive) must be after 'from'")
        if self.first.year < MIN_YEAR or (self.end - self.first).days > MAX_DAYS:
            raise ValueError(f"dates are of {MIN_YEAR} or later, at most {MAX_DAYS} days of them")
        return self


class FactorChoice(_Strict):
    """Which emission factors apply: the set, the rules that the figure serves, the place."""

    set: str
    rule_set: str
    jurisdiction: str


class NonRoutine(_Strict):
    """Days on which something else happened: they are left out of both sums, or it has a value.

    `engineering-estimate` states what is to be added to the saving, with its standard uncertainty;
    `indicator` has it found from the units with and without the event.
    """

    id: str
    dates: Dates
    cause: str = Field(min_length=10)
    evidence_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    author: str = Field(min_length=1)
    approval: str = Field(min_length=1)
    treatment: Literal["exclude", "engineering-estimate", "indicator"]
    value_wh: Exact | None = None
    u_wh: Exact | None = Field(None, gt=Decimal(0))

    @model_validator(mode="after")
    def _has_a_value_where_one_is_stated(self) -> NonRoutine:
        is_stated = self.treatment == "engineering-estimate"
        if is_stated != (self.value_wh is not None) or is_stated != (self.u_wh is not None):
            raise ValueError(
                "an engineering-estimate states value_wh and u_wh, its standard uncertainty; other "
                "treatments state neither"
            )
        return self


class ModelChoice(_Strict):
    """The family of the baseline model, and the policy that chooses drivers where one does."""

    family: Literal[
        "automatic",
        "mean",
        "production",
        "production-temperature",
        "temperature",
        "time-of-week-temperature",
    ]
    selection_policy: str | None = None

    @model_validator(mode="after")
    def _selects_among_products(self) -> ModelChoice:
        name = self.selection_policy
        if name is not None and (self.family != "production" or name not in SELECTION_POLICIES):
            raise ValueError(
                "a selection_policy goes with the family 'production' and is one of: "
                f"{', '.join(sorted(SELECTION_POLICIES))}"
            )
        return self


class MeterAccuracy(_Strict):
    """How wrong the meter may be, as shares of its reading; class 1 is a limit of 0.01."""

    limit_ratio: Exact = Field(gt=Decimal(0), le=Decimal("0.2"))
    random_ratio: Exact = Field(Decimal(0), ge=Decimal(0), le=Decimal("0.2"))
    source: str = Field(min_length=1)  # the certificate, or the class and its standard


class PolicyOverride(_Strict):
    """A person's decision to state a figure although rules of the policy fail."""

    author: str = Field(min_length=1)
    reason: str = Field(min_length=10)
    codes: tuple[str, ...] = Field(min_length=1)


class Project(_Strict):
    """One measure at one site: boundary, drivers, periods, model unit and named policies."""

    id: str
    title: str = Field(min_length=1)
    site: str
    measure: Measure
    time_zone: str
    energy: PointOf
    drivers: tuple[Driver, ...] = ()
    baseline: Dates
    reporting: Dates
    unit: Literal["day", "hour"]
    production_cycle_days: int = Field(ge=1, le=366)
    sufficiency_policy: str
    confidence: Exact = Field(gt=Decimal("0.5"), le=Decimal("0.999"))
    creditable_policy: str
    factors: FactorChoice
    non_routine: tuple[NonRoutine, ...] = ()
    model: ModelChoice | None = None  # None: all drivers, without checks; plans of before
    meter: MeterAccuracy | None = None
    baseline_meter: MeterAccuracy | None = None  # where another one read the baseline
    override: PolicyOverride | None = None
    option: Option | None = None  # of IPMVP
    boundary: Said | None = None
    static_factors: tuple[StaticFactor, ...] = Field((), max_length=100)
    responsible: Said | None = None

    @field_validator("id", "site")
    @classmethod
    def _is_an_id(cls, text: str) -> str:
        if not is_id(text):
            raise ValueError("use 1 to 64 characters of a-z, 0-9 and '-', not at either end")
        return text

    @field_validator("time_zone")
    @classmethod
    def _is_a_time_zone(cls, name: str) -> str:
        wanted = "name a time zone of the IANA list, like Asia/Seoul"
        if _NO_ZONES.fullmatch(name):
            raise ValueError(wanted)
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(wanted) from error
        return name

    @field_validator("sufficiency_policy")
    @classmethod
    def _is_a_sufficiency_policy(cls, name: str) -> str:
        if name not in POLICIES:
            raise ValueError(f"name one of: {', '.join(sorted(POLICIES))}")
        return name

    @field_validator("creditable_policy")
    @classmethod
    def _is_a_creditable_policy(cls, name: str) -> str:
        if name not in CREDITABLE_POLICIES:
            raise ValueError(f"name one of: {', '.join(sorted(CREDITABLE_POLICIES))}")
        return name

    @model_validator(mode="after")
    def _makes_sense(self) -> Project:
        if not self.baseline.end <= self.measure.implemented <= self.reporting.first:
            raise ValueError(
                "the measure is implemented after the baseline ends and before, or on the day, "
                f"the reporting starts; {self.measure.implemented} is not from {self.baseline.end} "
                f"to {self.reporting.first}"
            )
        places = [(point.device, point.point) for point in (self.energy, *self.drivers)]
        if len(set(places)) != len(places):
            raise ValueError("energy and drivers name a point twice")
        names = [driver.name for driver in self.drivers]
        if len(set(names)) != len(names):
            raise ValueError("two drivers share a name")
        if self.model is None and (self.meter or self.baseline_meter or self.override):
            raise ValueError("a plan with a meter or an override names its model too")
        if self.model is None and self.sufficiency_policy not in SUFFICIENCY_POLICIES:
            raise ValueError(f"a plan under {self.sufficiency_policy} names its model too")
        if self.baseline_meter and not self.meter:
            raise ValueError("a baseline_meter stands beside a meter")
        if self.model is None and any(one.treatment != "exclude" for one in self.non_routine):
            raise ValueError("a plan whose events have a value names its model too")
        for item in self.non_routine:
            if against := self._value_of_what_does_not_count(item):
                raise ValueError(f"non-routine event {item.id!r}: {against}")
        ids = [item.id for item in self.non_routine]
        if len(set(ids)) != len(ids):
            raise ValueError("two non-routine events share an id")
        if against := contradiction(self.option, self.boundary, self.static_factors):
            raise ValueError(against)
        return self

    def _value_of_what_does_not_count(self, item: NonRoutine) -> str | None:
        """Why an event has no value in this saving: its value is that of all of its days.

        It may end behind a reporting period that is not over: then it is refused when measured.
        """
        dates = item.dates
        if item.treatment == "exclude":
            return None
        if dates.first < self.reporting.first:
            return "one with a value begins in the reporting period; state what it is worth there"
        for other in self.non_routine:
            is_shared = dates.first < other.dates.end and other.dates.first < dates.end
            if other.treatment == "exclude" and is_shared:
                return f"{other.id!r} leaves days of it out of both sums; an event counts once"
            if item.treatment == "indicator" and is_shared and other is not item:
                return f"an indicator cannot tell it from {other.id!r} on the same days"
        return None
