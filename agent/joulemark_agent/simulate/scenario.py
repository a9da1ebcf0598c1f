"""A scenario: what is replayed, what is changed in it, and what is synthetic beside it.

`kind: equipment_hall` is the hall with four machines, `kind: devices` any devices that a profile is
shipped for, with faults; a file without `kind` is the steel works.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from joulemark_agent.contract.document import MAX_BYTES, Document, parse_yaml, validate
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.profile import Exact
from joulemark_agent.simulate.faults import Faults
from joulemark_agent.simulate.slots import Slots

EQUIPMENT_HALL, DEVICES = "equipment_hall", "devices"
_FOLDER = "scenarios"
_GRID_MIN = 15
_FURNACE_PERIOD_S = 30


def _minute_of_day(value: Any) -> int:
    found = (
        re.fullmatch(r"([01][0-9]|2[0-4]):([0-5][0-9])", value) if isinstance(value, str) else None
    )
    minute = int(found[1]) * 60 + int(found[2]) if found else None
    if minute is None or minute > 24 * 60 or minute % _GRID_MIN:
        raise ValueError('write a local quarter-hour in quotes, such as "08:00" or "24:00"')
    return minute


MinuteOfDay = Annotated[int, BeforeValidator(_minute_of_day)]
Total = Annotated[int, Field(ge=0, le=10**13)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Opening(_Strict):
    """What the counters show at the first slot: a meter is never new when it is first read."""

    energy_wh: Total
    reactive_lagging_varh: Total
    reactive_leading_varh: Total
    production_kg: Total


class Noise(_Strict):
    """AR(1) noise of an hour's energy that does not follow the tonnes."""

    rho: Exact = Field(ge=0, lt=1)
    sd_share: Exact = Field(ge=0, le=1)  # of the mean energy of an hour
    seed: int = Field(ge=0, lt=2**32)


class Production(_Strict):
    """The synthetic counter: tonnes of an hour = (energy - base - noise) / energy per tonne."""

    synthetic: Literal[True]
    base_kwh_per_h: Exact = Field(ge=0, le=1000, decimal_places=2)
    energy_kwh_per_t: Exact = Field(gt=0, le=10_000, decimal_places=3)
    noise: Noise


class Reduction(_Strict):
    """A share of the energy that is no longer used, by the local start of the interval."""

    first_day: date = Field(alias="from")
    share: Exact = Field(gt=0, le=1, decimal_places=4)
    start_local: MinuteOfDay
    end_local: MinuteOfDay  # an interval that starts here is outside

    @model_validator(mode="after")
    def _makes_sense(self) -> Reduction:
        if self.start_local >= self.end_local:
            raise ValueError(
                "start_local must be before end_local; write a night as two reductions"
            )
        return self


class Scenario(_Strict):
    """One scenario file of the steel works."""

    scenario: str = Field(pattern=r"^[a-z0-9][a-z0-9_]{0,62}$")
    about: str = Field(min_length=10)
    recording: Literal["steel_gwangyang_2018"]
    opening: Opening
    production: Production
    reductions: tuple[Reduction, ...] = ()


class InverterOpening(_Strict):
    """What the inverter's counter shows at its first slot; 0 would mean that it counts nothing."""

    opening_wh: int = Field(ge=1, le=4 * 10**9)


class FurnaceOpening(_Strict):
    """What the furnace's counters show at its first slot."""

    gas_dm3: Total
    energy_wh: Total


class FurnaceRun(_Strict):
    """The synthetic furnace: when it runs, and the seed of what varies from batch to batch."""

    synthetic: Literal[True]
    seed: int = Field(ge=0, lt=2**32)
    first_slot: AwareDatetime
    opening: FurnaceOpening

    @field_validator("first_slot")
    @classmethod
    def _is_a_slot(cls, first_slot: datetime) -> datetime:
        if first_slot.microsecond or int(first_slot.timestamp()) % _FURNACE_PERIOD_S:
            raise ValueError(f"the first slot is a multiple of {_FURNACE_PERIOD_S} s since 1970")
        return first_slot

    @property
    def first_slot_us(self) -> int:
        """The first slot. [us UTC]"""
        return int(self.first_slot.timestamp()) * 1_000_000


class HallScenario(_Strict):
    """One scenario file of the equipment hall."""

    scenario: str = Field(pattern=r"^[a-z0-9][a-z0-9_]{0,62}$")
    kind: Literal["equipment_hall"]
    about: str = Field(min_length=10)
    inverter: InverterOpening
    furnace: FurnaceRun


class VirtualDevice(_Strict):
    """One unit that shows plausible values of its profile; SYNTHETIC."""

    unit: int = Field(ge=1, le=247)
    profile: str  # the name of a shipped one
    seed: int = Field(default=1, ge=0, lt=2**32)


class DevicesScenario(_Strict):
    """One scenario file of any devices; all of them, and the furnace, have the same slots."""

    scenario: str = Field(pattern=r"^[a-z0-9][a-z0-9_]{0,62}$")
    kind: Literal["devices"]
    about: str = Field(min_length=10)
    synthetic: Literal[True]
    first_slot: AwareDatetime
    period_s: int = Field(ge=1, le=86_400)
    count: int = Field(ge=1, le=10**7)  # of slots
    devices: tuple[VirtualDevice, ...] = Field(min_length=1)
    furnace: FurnaceRun | None = None
    faults: Faults = Faults(seed=0)

    @property
    def slots(self) -> Slots:
        """Those of every device."""
        first_us = int(self.first_slot.timestamp()) * 1_000_000
        return Slots(first_us, self.period_s * 1_000_000, self.count)

    @model_validator(mode="after")
    def _makes_sense(self) -> DevicesScenario:
        if int(self.first_slot.timestamp()) % self.period_s or self.first_slot.microsecond:
            raise ValueError("the first slot is a multiple of period_s since 1970")
        units = [device.unit for device in self.devices]
        if len(set(units)) != len(units):
            raise ValueError("two devices have one unit number")
        named = {fault.unit for fault in self.faults.plan}
        if strangers := [unit for unit in named if unit is not None and unit not in units]:
            raise ValueError(f"a fault names units that are not there: {sorted(strangers)}")
        if None in named and self.furnace is None:
            raise ValueError("a fault of OPC UA needs a 'furnace'")
        return self


AnyScenario = Scenario | HallScenario | DevicesScenario


def shipped() -> list[str]:
    """The names of the scenarios that come with the package, sorted."""
    entries = resources.files(__package__).joinpath(_FOLDER).iterdir()
    return sorted(entry.name[:-5] for entry in entries if entry.name.endswith(".yaml"))


def load_scenario(name_or_path: str) -> Scenario:
    """The shipped scenario of the steel works of that name, or the one in that file.

    Raises:
        ConfigError: as `load_any_scenario`, or it is one of the equipment hall.
    """
    found = load_any_scenario(name_or_path)
    if not isinstance(found, Scenario):
        raise ConfigError(
            f"The scenario {found.scenario!r} is of kind {found.kind!r}, not of the works.",
            "Name one of the works: unchanged, retrofit.",
        )
    return found


def load_any_scenario(name_or_path: str) -> AnyScenario:
    """The shipped scenario of that name, or the one in that file.

    Raises:
        ConfigError: neither, or mistakes in the file, each with its line.
    """
    if name_or_path in shipped():
        entry = resources.files(__package__).joinpath(_FOLDER, f"{name_or_path}.yaml")
        return _validated(parse_yaml(entry.read_text("utf-8"), entry.name, is_shipped=True))
    try:
        with Path(name_or_path).open("rb") as file:
            text = file.read(MAX_BYTES + 1).decode()
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"The scenario {name_or_path!r} cannot be read: {error}.",
            f"Name a YAML file, or one of: {', '.join(shipped())}.",
        ) from error
    return _validated(parse_yaml(text, name_or_path))


def _validated(document: Document) -> AnyScenario:
    if document.mapping.get("kind") == EQUIPMENT_HALL:
        return validate(HallScenario, document)
    if document.mapping.get("kind") == DEVICES:
        return validate(DevicesScenario, document)
    return validate(Scenario, document)
