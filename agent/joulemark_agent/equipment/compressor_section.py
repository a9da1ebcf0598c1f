"""The section of a compressor: what only the site knows of it, and the machine that makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import StringConstraints, model_validator

from joulemark_agent.equipment.base import (
    Positive,
    Samples,
    Section,
    Values,
    of_unit,
)
from joulemark_agent.equipment.compressor_air import Delivery, Flow, UsRule, delivery, free_flow
from joulemark_agent.equipment.compressor_control import Control, Curve
from joulemark_agent.equipment.compressor_demand import LoadHours, Quiet
from joulemark_agent.equipment.compressor_savings import Drop, Heat, LessPressure
from joulemark_agent.equipment.compressor_states import Driver, Speed, States, Status, states_of
from joulemark_agent.equipment.metering import Metering

_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,30}$")]

_GRADED = ("speed", "modulation", "blow_off")
_UNLOADING = ("load_unload", "centrifugal_unload", "vanes")
_ALL_OR_NOTHING = ("start_stop", "centrifugal_unload")


class CompressorSection(Section):
    """What only the site knows of a compressor; every part is optional."""

    power: Annotated[str, of_unit("W")] = "power_w"
    current: Annotated[str, of_unit("A")] = "motor_current_a"
    pressure: Annotated[str, of_unit("Pa")] | None = None
    pressure_is: Literal["gauge", "absolute"] | None = None  # else as its name says
    only_source: bool = False  # nothing else feeds what `pressure` measures
    flow: Flow | None = None
    rated_power_w: Positive | None = None
    rated_current_a: Positive | None = None
    loaded_w: Positive | None = None  # the levels, where they are known
    unloaded_w: Positive | None = None
    loaded_a: Positive | None = None
    unloaded_a: Positive | None = None
    status: Status | None = None  # the controller's own
    speed: Speed | None = None  # of a variable drive
    load_hours: LoadHours | None = None  # the controller's own counters
    capacity_m3_s: Positive | None = None  # free air delivered at full load
    atmosphere_pa: Positive = 101_325.0
    control: Control | None = None
    quiet: tuple[Quiet, ...] = ()  # hours without production
    less_pressure: LessPressure | None = None  # what would have been saved
    drops: Mapping[_Name, Drop] = {}  # across dryers and filters
    heat: Heat | None = None  # recovered
    us_rule: UsRule | None = None
    metering: Metering | None = None

    @model_validator(mode="after")
    def _has_both_levels(self) -> Self:
        for unit in ("w", "a"):
            low, high = self.levels(unit) or (None, None)
            if (low is None) != (high is None):
                raise ValueError(f"loaded_{unit} and unloaded_{unit} belong together: give both")
            if low is not None and high is not None and low >= high:
                raise ValueError(
                    f"unloaded_{unit} is {low} and must be below loaded_{unit}, {high}"
                )
        if self.only_source and self.pressure is None:
            raise ValueError("only_source is said of a pressure: name the point in 'pressure'")
        return self

    @model_validator(mode="after")
    def _knows_its_capacity(self) -> Self:
        needing = [
            name
            for name, given in (
                ("control", self.control),
                ("load_hours", self.load_hours),
                ("quiet", self.quiet),
                ("us_rule", self.us_rule),
            )
            if given
        ]
        if needing and self.capacity_m3_s is None:
            raise ValueError(f"{' and '.join(needing)}: give capacity_m3_s, free air at full load")
        if (curve := self.curve()) is not None:
            curve(0.5)  # refuses a machine that cannot be
        return self

    def levels(self, unit: str) -> tuple[float | None, float | None]:
        """The unloaded and the loaded level declared, in W or A."""
        if unit == "w":
            return self.unloaded_w, self.loaded_w
        return self.unloaded_a, self.loaded_a

    def curve(self) -> Curve | None:
        """The part-load curve of the declared control."""
        if self.control is None or self.capacity_m3_s is None:
            return None
        return self.control.curve(self.capacity_m3_s, self.atmosphere_pa)

    @property
    def is_graded(self) -> bool:
        """Whether its power follows its flow, and never tells that it is unloaded."""
        kind = self.control.type if self.control is not None else ""
        return self.speed is not None or kind in _GRADED

    @property
    def unloads(self) -> bool | None:
        """Whether it runs on without delivering; None where nothing says it."""
        if self.control is None:
            return None if self.speed is None else False
        return self.control.type in _UNLOADING

    @property
    def delivers_all(self) -> bool | None:
        """Whether it delivers its capacity while it is loaded; None where nothing says it."""
        if self.speed is not None:
            return False
        if self.control is None:
            return None
        if self.control.type == "load_unload":
            return self.control.unload_ratio == 1
        return self.control.type in _ALL_OR_NOTHING

    def is_gauge(self, point: str) -> bool | None:
        """Whether a pressure is above the atmosphere; None where nothing says it."""
        if self.pressure_is is not None:
            return self.pressure_is == "gauge"
        return True if "gauge" in point else None


@dataclass(frozen=True)
class Machine:
    """One machine and what is known of it."""

    section: CompressorSection
    samples: Samples
    states: States
    driver: Driver
    power: Values | None
    free_m3_s: Values | str  # by the flow meter, or why not
    found: Delivery | str  # while it delivers, or why not

    @property
    def pressure(self) -> Values | None:
        """Of what it feeds, as it is read, shape (n,). [Pa]"""
        point = self.section.pressure
        return None if point is None else self.samples.column(point)

    @property
    def gauge_pa(self) -> Values | None:
        """The same above the atmosphere; None where nothing says that it is."""
        point, pressure = self.section.pressure, self.pressure
        if point is None or pressure is None:
            return None
        is_gauge = self.section.is_gauge(point)
        if is_gauge is None:
            return None
        return pressure if is_gauge else pressure - self.section.atmosphere_pa


def machine_of(section: CompressorSection, samples: Samples) -> Machine:
    """One machine over the time of its samples."""
    driver = _driver(section, samples)
    states = states_of(samples, driver, section.status, section.speed)
    power = samples.column(section.power)
    free_m3_s = free_flow(section.flow, samples)
    found: Delivery | str
    if isinstance(free_m3_s, str):
        found = free_m3_s
    elif power is None:
        found = f"{section.power!r} is not recorded."
    else:
        rated_m3_s = section.flow.rated_m3_s if section.flow else None
        found = delivery(samples, states, power, free_m3_s, rated_m3_s or section.capacity_m3_s)
    return Machine(section, samples, states, driver, power, free_m3_s, found)


def _driver(section: CompressorSection, samples: Samples) -> Driver:
    """What tells the states, and its unit: the power, else the motor current."""
    power = samples.column(section.power)
    missing = f"Neither {section.power!r} nor {section.current!r} is recorded."
    if power is not None:
        return Driver(
            section.power, "w", power, section.rated_power_w, section.levels("w"),
            section.is_graded,
        )  # fmt: skip
    current = samples.column(section.current)
    return Driver(
        section.current, "a", current, section.rated_current_a, section.levels("a"),
        section.is_graded, missing,
    )  # fmt: skip
