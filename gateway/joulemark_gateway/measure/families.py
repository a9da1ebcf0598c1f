"""The families of models that a plan may name, each with what it needs to be fitted.

A family looks at units without holes and gives the fit with what else was looked at. `Automatic`
looks at the length of a unit and at the drivers, and takes the family that is made for them.
What not every plan names (times of the week, degree days, choices of drivers, compressors) is
loaded when it is fitted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from joulemark_agent.contract.errors import MeasureError
from joulemark_agent.contract.quantities import unit_of
from joulemark_gateway.measure.calendar import US_PER_DAY
from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.finding import Finding, named
from joulemark_gateway.measure.models import temperature_choice
from joulemark_gateway.measure.models.base import Fitted
from joulemark_gateway.measure.models.batch import (
    HEAT,
    HOURS,
    IDLE,
    MASS,
    fit_batches,
    rate_findings,
)
from joulemark_gateway.measure.models.cells import Shifts
from joulemark_gateway.measure.models.change_point import GRID, Grid
from joulemark_gateway.measure.models.mean import fit_mean
from joulemark_gateway.measure.models.metrics import Metrics, bic, blend_metrics, metrics_of
from joulemark_gateway.measure.models.production import Predictor, activity, fit_production, weather
from joulemark_gateway.measure.models.production_temperature import (
    PLANT_KINDS,
    PlantChoice,
    choose_plant,
)
from joulemark_gateway.measure.models.shapes import TEMPERATURE
from joulemark_gateway.measure.models.splits import NORTH
from joulemark_gateway.measure.models.temperature_choice import CALTRACK, Alternative, Choice, Rule
from joulemark_gateway.measure.roll_up import is_amount

if TYPE_CHECKING:
    from joulemark_gateway.measure.models.compressor_steps import Machine
    from joulemark_gateway.measure.models.selection import Candidate, Selection
    from joulemark_gateway.measure.models.time_of_week_blend import Blend

BILL_DAYS = 20  # units of so many days and more are bills


def _as_they_are(data: Data) -> Data:
    return data


def _wholly_measured(data: Data) -> Data:
    """Data without the energy of units that were measured in part."""
    if data.measured_us is None:
        return data
    is_part = data.counted_us < data.length_us
    return replace(data, energy_wh=np.where(is_part, np.nan, data.energy_wh))


@dataclass(frozen=True, eq=False)
class Chosen:
    """A fit, what it was fitted to, and what else was looked at."""

    model: Fitted | Blend
    data: Data
    metrics: Metrics
    others: tuple[Alternative, ...] = ()
    findings: tuple[Finding, ...] = ()  # a named policy's, of the model itself
    units: Callable[[Data], Data] = _as_they_are  # of the model, from data of other periods
    looked: Callable[[], tuple[Alternative, ...]] | None = None  # makes `others` when asked for

    @property
    def alternatives(self) -> tuple[Alternative, ...]:
        """What else was looked at."""
        return self.others if self.looked is None else self.looked()


class Family(Protocol):
    """What a plan names."""

    @property
    def drivers(self) -> tuple[str, ...] | None:
        """The drivers that it reads; None: all that the data have."""

    def fit(self, data: Data) -> Chosen:
        """The model of units without holes.

        Raises:
            MeasureError: the data do not carry one.
        """


@dataclass(frozen=True)
class Mean:
    """The same rate all the time; the energy is not asked to follow anything."""

    drivers: tuple[str, ...] = ()

    def fit(self, data: Data) -> Chosen:
        """The mean."""
        return _chosen(fit_mean(data), data)


@dataclass(frozen=True)
class Temperature:
    """Broken lines of the outdoor temperature, by season and weekday where that is worth it."""

    rule: Rule = "bic"
    kinds: tuple[str, ...] = CALTRACK
    divided: bool = True
    grid: Grid = GRID
    seasons: tuple[int, ...] = NORTH
    drivers: tuple[str, ...] = (TEMPERATURE,)

    def fit(self, data: Data) -> Chosen:
        """The kind and division of the year that the rule likes best."""
        (chosen,) = self.fit_many([data])
        if isinstance(chosen, MeasureError):
            raise chosen
        return chosen

    def fit_many(self, many: Sequence[Data]) -> list[Chosen | MeasureError]:
        """The same for each of many meters, or what it is refused with; one search for all."""
        found = temperature_choice.choose_each(
            many,
            rule=self.rule,
            kinds=self.kinds,
            divided=self.divided,
            grid=self.grid,
            seasons=self.seasons,
        )
        return [
            one
            if isinstance(one, MeasureError)
            else Chosen(one.fitted, data, one.metrics, looked=partial(_others_of, one))
            for one, data in zip(found, many, strict=True)
        ]


@dataclass(frozen=True, eq=False)
class DegreeDays:
    """Bills by the degree days inside them.

    `daily` holds the driver `temperature_c` of days: of the bills of the baseline, and of those
    that are to be predicted.
    """

    daily: Data
    kind: str | None = None  # like 3ph; None: the largest adjusted R2, as CalTRACK has it
    grid: Grid = GRID
    drivers: tuple[str, ...] = ()

    def fit(self, data: Data) -> Chosen:
        """The model of bills."""
        from joulemark_gateway.measure.models.degree_day import (  # noqa: PLC0415 -- as above
            fit_best_degree_days,
            fit_degree_days,
        )

        if self.kind is None:
            fitted = fit_best_degree_days(data, self.daily, grid=self.grid)
        else:
            fitted = fit_degree_days(data, self.daily, self.kind, grid=self.grid)
        return _chosen(fitted, data)


@dataclass(frozen=True)
class TimeOfWeek:
    """A level for each time of the week or shift, slopes in temperature, and what was made.

    The level is that of a whole unit: one that was measured in part does not count.
    """

    temperature: str | None = TEMPERATURE
    shifts: Shifts | None = None
    production: tuple[str, ...] = ()
    blend: Literal["none", "by-month", "by-distance"] = "none"
    scale_d: float = 90.0  # of the blend by distance

    @property
    def drivers(self) -> tuple[str, ...]:
        """The temperature and what was made."""
        return (*(() if self.temperature is None else (self.temperature,)), *self.production)

    def fit(self, data: Data) -> Chosen:
        """One model, or several blended."""
        from joulemark_gateway.measure.models.time_of_week_blend import (  # noqa: PLC0415 -- as above
            fit_by_distance,
            fit_by_month,
        )
        from joulemark_gateway.measure.models.time_of_week_temperature import (  # noqa: PLC0415
            fit_time_of_week_temperature,
        )

        if data.measured_us is not None:
            data = data.where(data.counted_us >= data.length_us)
        if self.blend == "none":
            fitted = fit_time_of_week_temperature(
                data,
                temperature=self.temperature,
                cells=self.shifts,
                production=self.production,
            )
            return Chosen(fitted, data, metrics_of(fitted), units=_wholly_measured)
        if self.temperature is None or self.shifts is not None or self.production:
            raise MeasureError(
                "A blend follows times of the week and temperature only.",
                "Ask for no blend, or leave shifts and production out.",
                code="no_such_blend",
            )
        made = (
            fit_by_month(data, temperature=self.temperature)
            if self.blend == "by-month"
            else fit_by_distance(data, scale_d=self.scale_d, temperature=self.temperature)
        )
        return Chosen(made, data, blend_metrics(made), units=_wholly_measured)


@dataclass(frozen=True)
class Production:
    """What a plant makes, with the weather and choices of shift or product.

    With a `policy` the set of predictors is chosen by its rules, which the chosen one keeps;
    without, all of them are taken.
    """

    predictors: tuple[Predictor, ...]
    policy: str | None = None
    nominal_us: int | None = None  # length of a unit of the base; None: the median one's

    @property
    def drivers(self) -> tuple[str, ...]:
        """The columns of all predictors."""
        return tuple(column for one in self.predictors for column in one.columns)

    def fit(self, data: Data) -> Chosen:
        """The stated set of predictors, or the best one."""
        if self.policy is None:
            fitted = fit_production(data, self.predictors, nominal=self.nominal_us)
            return _chosen(fitted, data)
        found = _selected(self.policy, data, self.predictors, fit_production)
        others = tuple(_alternative(one, data) for one in found.alternatives[1:])
        return Chosen(
            found.fitted, data, metrics_of(found.fitted), others, tuple(found.chosen.findings)
        )


@dataclass(frozen=True)
class ProductionTemperature:
    """What a plant makes, beside a broken line of the outdoor temperature where that is worth it.

    With a `policy` the set of predictors is chosen by its rules, each set with its own line;
    without, all of them are taken.
    """

    predictors: tuple[Predictor, ...]
    policy: str | None = None
    kinds: tuple[str, ...] = PLANT_KINDS
    grid: Grid = GRID

    @property
    def drivers(self) -> tuple[str, ...]:
        """The columns of all predictors, and the temperature."""
        return (*(column for one in self.predictors for column in one.columns), TEMPERATURE)

    def fit(self, data: Data) -> Chosen:
        """The stated set of predictors, or the best one, with the line that BIC likes best."""
        if self.policy is None:
            choice = self._choice(data, self.predictors)
            return Chosen(choice.fitted, data, choice.metrics, choice.others)
        found = _selected(
            self.policy, data, self.predictors, lambda of, some: self._choice(of, some).fitted
        )
        kept = tuple(one for one in self.predictors if one.name in found.chosen.predictors)
        choice = self._choice(data, kept)
        sets = tuple(_alternative(one, data) for one in found.alternatives if one != found.chosen)
        findings = tuple(found.chosen.findings)
        return Chosen(choice.fitted, data, choice.metrics, (*choice.others, *sets), findings)

    def _choice(self, data: Data, predictors: Sequence[Predictor]) -> PlantChoice:
        return choose_plant(data, predictors, kinds=self.kinds, grid=self.grid)


@dataclass(frozen=True)
class Batches:
    """A furnace: hours, mass, heat and idling of each batch."""

    terms: tuple[str, ...] = (HOURS, MASS, HEAT, IDLE)
    drivers: tuple[str, ...] = ("batch_h", "mass_kg", "soak_c", "charged_c", "idle_h")

    def fit(self, data: Data) -> Chosen:
        """The rates; one below 0 is a finding."""
        fitted = fit_batches(data, self.terms)
        return Chosen(
            fitted, data, metrics_of(fitted), findings=rate_findings(fitted, "furnace-batches")
        )


@dataclass(frozen=True)
class CompressorMap:
    """A compressor's power at each delivery, from steps of a minute, with its interval by hours."""

    machine: Machine
    policy: str = "compressor-map"
    at_own_pressure: bool = False
    drivers: tuple[str, ...] = ("flow_m3_s",)

    def fit(self, data: Data) -> Chosen:
        """The map; what it must rest on is a finding."""
        from joulemark_gateway.measure.models.performance_map import (  # noqa: PLC0415 -- as above
            MAP_POLICIES,
            fit_map,
        )

        policy = named(MAP_POLICIES, self.policy, "unknown_map_policy")
        of = fit_map(data, self.machine, policy)

        def units(steps: Data) -> Data:
            return of.units(of.steps(steps, at_own_pressure=self.at_own_pressure))

        own = of.units(of.steps(data, at_own_pressure=False))
        return Chosen(of.fitted, own, metrics_of(of.fitted), findings=of.findings, units=units)


@dataclass(frozen=True)
class Automatic:
    """The family that is made for the units and drivers there are.

    What was made is the first driver looked for, with the temperature where there is one; then
    temperature alone, by time of the week where units are shorter than half a day; with neither the
    mean is left, which no plant's policy takes for proof.
    """

    drivers: tuple[str, ...] | None = None

    def fit(self, data: Data) -> Chosen:
        """The model of that family.

        Raises:
            MeasureError: `no_degree_days`, bills whose temperature is a mean.
        """
        return self.family(data).fit(data)

    def family(self, data: Data) -> Family:
        """The family for these data."""
        names = tuple(data.drivers)
        made = tuple(name for name in names if is_amount(name))
        days = float(np.median(data.length_us)) / US_PER_DAY if data.n else 1.0
        if days < 1 / 2 and TEMPERATURE in names:
            return TimeOfWeek(production=made)
        if made:
            is_line = TEMPERATURE in names and days < BILL_DAYS
            others = (
                name for name in names if name not in made and not (is_line and name == TEMPERATURE)
            )
            predictors = [activity(name, unit_of(name) or "1") for name in made]
            predictors += [weather(name, unit_of(name) or "1") for name in others]
            family = ProductionTemperature if is_line else Production
            return family(tuple(predictors), policy="iso50006-regression")
        if TEMPERATURE not in names:
            return Mean()
        if days >= BILL_DAYS:
            raise MeasureError(
                "Degree days of a bill do not follow from its mean temperature.",
                "Name the family of degree days, with the temperatures of the days.",
                code="no_degree_days",
            )
        return Temperature()


def _others_of(choice: Choice) -> tuple[Alternative, ...]:
    return choice.others


def _chosen(fitted: Fitted, data: Data) -> Chosen:
    return Chosen(fitted, data, metrics_of(fitted))


def _selected(
    policy: str,
    data: Data,
    predictors: Sequence[Predictor],
    fit: Callable[[Data, Sequence[Predictor]], Fitted],
) -> Selection:
    """The set of predictors that a policy of that name chooses."""
    from joulemark_gateway.measure.models.selection import select_production  # noqa: PLC0415
    from joulemark_gateway.measure.models.selection_rules import (  # noqa: PLC0415 -- as above
        SELECTION_POLICIES,
    )

    rules = named(SELECTION_POLICIES, policy, "unknown_selection_policy")
    return select_production(data, predictors, rules, {"baseline": data}, fit=fit)


def _alternative(one: Candidate, data: Data) -> Alternative:
    """A set of predictors as it stands in a table beside models of other families."""
    n, p = data.n, len(one.terms)
    y = data.energy_wh
    mean = math.fsum(y.tolist()) / n
    sst = math.fsum(((y - mean) ** 2).tolist())
    sse = (1 - one.r2) * sst
    root = math.sqrt(sse / (n - p))
    return Alternative(
        " + ".join(one.predictors),
        p,
        sse,
        root / mean if mean else None,
        one.adjusted_r2,
        bic(sse, n, p, n),
    )
