"""A project's plan and its units in the engine's own words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from joulemark_agent.contract.quantities import unit_of
from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.families import (
    Automatic,
    Family,
    Mean,
    Production,
    ProductionTemperature,
    Temperature,
    TimeOfWeek,
)
from joulemark_gateway.measure.inputs import NOMINAL_US, Prepared
from joulemark_gateway.measure.meter_error import MeterClass
from joulemark_gateway.measure.models.production import Predictor, activity, weather
from joulemark_gateway.measure.models.shapes import TEMPERATURE
from joulemark_gateway.measure.periods import Units
from joulemark_gateway.measure.plan import Plan
from joulemark_gateway.measure.project import MeterAccuracy, Project
from joulemark_gateway.measure.roll_up import is_amount
from joulemark_gateway.measure.verdict import Override


def columns_of(prepared: Prepared) -> tuple[str, ...]:
    """The name of each driver in the engine's data: that of its point, which tells the unit.

    A temperature alone is `temperature_c`; points of one name get their device before it.
    """
    points = [driver.point for driver in prepared.project.drivers]
    means = [counter.is_mean for counter in prepared.counters[1:]]
    names = []
    for driver, is_mean in zip(prepared.project.drivers, means, strict=True):
        name = driver.point
        if is_mean and sum(means) == 1:
            name = TEMPERATURE
        elif points.count(name) > 1:
            name = f"of_{driver.device.replace('-', '_')}_{name}"
        names.append(name)
    return tuple(names)


def data_of(prepared: Prepared, units: Units) -> Data:
    """The units of a period; NaN where one is masked.

    Energy and drivers are of the time that all streams measured, which is what a unit counts with.
    """
    starts_us = units.grid.edges_us[:-1]

    def column(stream: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.where(units.kept, units.driver(stream), np.nan)

    return Data(
        start_us=starts_us,
        length_us=np.diff(units.grid.edges_us),
        position=np.arange(starts_us.size, dtype=np.int64),
        energy_wh=column(0),
        drivers={name: column(k) for k, name in enumerate(columns_of(prepared), 1)},
        zone=prepared.zone,
        measured_us=units.joint_us,
    )


def plan_of(prepared: Prepared) -> Plan:
    """The project's choices.

    Events that have a value are not among the adjustments: what they are worth is found with the
    saving. The days that they leave out are masked before.
    """
    project = prepared.project
    override = project.override
    return Plan(
        project.sufficiency_policy,
        project.creditable_policy,
        model=_family(project, columns_of(prepared)),
        confidence=float(project.confidence),
        production_cycle_days=project.production_cycle_days,
        meter=_meter(project.meter),
        baseline_meter=_meter(project.baseline_meter),
        override=None
        if override is None
        else Override(override.author, override.reason, frozenset(override.codes)),
    )


def _family(project: Project, columns: Sequence[str]) -> Family:
    choice = project.model
    if choice is None:
        return Production(_predictors(columns), nominal_us=NOMINAL_US[project.unit])
    if choice.family == "production":
        nominal_us = NOMINAL_US[project.unit]
        return Production(_predictors(columns), choice.selection_policy, nominal_us)
    if choice.family == "production-temperature":
        return ProductionTemperature(_predictors([one for one in columns if one != TEMPERATURE]))
    if choice.family == "time-of-week-temperature":
        made = tuple(one for one in columns if is_amount(one))
        temperature = TEMPERATURE if TEMPERATURE in columns else None
        return TimeOfWeek(temperature=temperature, production=made)
    families: dict[str, Family] = {
        "automatic": Automatic(),
        "mean": Mean(),
        "temperature": Temperature(),
    }
    return families[choice.family]


def _predictors(columns: Sequence[str]) -> tuple[Predictor, ...]:
    return tuple(
        (activity if is_amount(name) else weather)(name, unit_of(name) or "K") for name in columns
    )


def _meter(accuracy: MeterAccuracy | None) -> MeterClass | None:
    if accuracy is None:
        return None
    return MeterClass(float(accuracy.limit_ratio), float(accuracy.random_ratio))
