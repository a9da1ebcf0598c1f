"""The plan of a fleet: one file in YAML, the same for all its meters."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator

from joulemark_agent.contract.document import parse_yaml, validate
from joulemark_agent.contract.errors import ConfigError, MeasureError
from joulemark_agent.contract.profile import Exact
from joulemark_gateway.measure.calendar import US_PER_DAY, US_PER_HOUR, midnight_us
from joulemark_gateway.measure.families import Automatic, Family, Mean, Temperature, TimeOfWeek
from joulemark_gateway.measure.fleet import Span
from joulemark_gateway.measure.plan import Plan
from joulemark_gateway.measure.project import Dates
from joulemark_gateway.measure.sufficiency import Carrier

_UNITS_US = {"day": US_PER_DAY, "hour": US_PER_HOUR, "quarter-hour": US_PER_HOUR // 4}
_MODELS: dict[str, Family] = {
    "automatic": Automatic(),
    "mean": Mean(),
    "temperature": Temperature(),
    "time-of-week": TimeOfWeek(),
}


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    time_zone: str
    unit: Literal["day", "hour", "quarter-hour"]
    drivers: tuple[str, ...] = ()
    model: Literal["automatic", "mean", "temperature", "time-of-week"] = "automatic"
    baseline: Dates
    reporting: Dates
    sufficiency_policy: str
    creditable_policy: str
    confidence: Exact = Field(default=Decimal("0.9"), gt=Decimal("0.5"), le=Decimal("0.999"))
    carrier: Carrier = "electricity"
    production_cycle_days: int | None = Field(default=None, ge=1, le=366)

    @field_validator("time_zone")
    @classmethod
    def _is_a_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError("name a time zone like Asia/Seoul or UTC") from error
        return name

    @field_validator("drivers")
    @classmethod
    def _are_different(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ValueError("name each driver once")
        return names


@dataclass(frozen=True)
class FleetPlan:
    """What is asked of every meter."""

    plan: Plan
    baseline: Span
    reporting: Span
    drivers: tuple[str, ...]
    unit_us: int
    zone: ZoneInfo


def load_plan(path: Path) -> FleetPlan:
    """The plan of a file.

    Raises:
        ConfigError: the file cannot be read, or every mistake in it with its line.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"The plan {path} cannot be read: {error}.", "Name a file of YAML in UTF-8."
        ) from error
    found = validate(_File, parse_yaml(text, str(path)))
    try:
        plan = Plan(
            found.sufficiency_policy,
            found.creditable_policy,
            model=_MODELS[found.model],
            confidence=float(found.confidence),
            carrier=found.carrier,
            production_cycle_days=found.production_cycle_days,
        )
    except MeasureError as error:
        raise ConfigError(f"{path}: {error.what}", error.do) from error
    zone = ZoneInfo(found.time_zone)
    return FleetPlan(
        plan,
        _span(found.baseline, zone),
        _span(found.reporting, zone),
        found.drivers,
        _UNITS_US[found.unit],
        zone,
    )


def _span(dates: Dates, zone: ZoneInfo) -> Span:
    return Span(midnight_us(dates.first, zone), midnight_us(dates.end, zone))
