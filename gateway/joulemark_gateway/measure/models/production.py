"""Energy that follows what a plant makes, the weather, and which shift or product ran.

E = b0 + sum b_j P_j + bh HDD + bc CDD + indicators, per unit. Which of the drivers belong in it is
decided in `selection`; here is what a driver is, and the fit of a stated set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from joulemark_agent.contract.errors import MeasureError
from joulemark_agent.contract.quantities import unit_of
from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.linear import fit
from joulemark_gateway.measure.models.base import Fitted, Term, side_by_side
from joulemark_gateway.measure.models.shapes import nominal_us
from joulemark_gateway.measure.qr import Array

HEATING = "hdd_k_d"
COOLING = "cdd_k_d"

_US_PER_DAY = 86_400_000_000
_LONGEST_DAY_US = 25 * 3_600_000_000  # the night on which clocks go back


@dataclass(frozen=True)
class Predictor:
    """What enters a model or stays out as a whole: a driver, or the indicators of one choice."""

    name: str
    unit: str
    kind: Literal["activity", "weather", "choice"]
    columns: tuple[str, ...]  # drivers of the data

    @property
    def is_never_negative(self) -> bool:
        """Whether more of it cannot lower the energy; one product may need less than another."""
        return self.kind != "choice"


def activity(name: str, unit: str) -> Predictor:
    """What the plant made, moved or counted."""
    return Predictor(name, unit, "activity", (name,))


def weather(name: str, unit: str = "K d") -> Predictor:
    """Degree days, or another driver from outside."""
    return Predictor(name, unit, "weather", (name,))


def choice(name: str, levels: Sequence[int]) -> Predictor:
    """Which of several shifts or products ran, against the first of them."""
    return Predictor(name, "1", "choice", tuple(_indicator(name, level) for level in levels[1:]))


def with_indicators(data: Data, name: str, levels: Sequence[int]) -> Data:
    """Data with a driver of 0 and 1 for each level but the first.

    Args:
        data: has a driver of this name that holds the number of the level.
        name: of the choice, like shift or product.
        levels: those of the baseline. A unit with another one gets NaN: nothing is known of it.
    """
    codes = data.driver(name)
    is_known = np.isin(codes, np.array(levels, np.float64))
    made = {
        _indicator(name, level): np.where(is_known, (codes == level).astype(np.float64), np.nan)
        for level in levels[1:]
    }
    return _with(data, made)


def with_degree_days(
    data: Data, *, heating_c: float | None = None, cooling_c: float | None = None
) -> Data:
    """Data with the degree days of each unit, below one temperature and above another.

    Args:
        data: units of a day or less with their mean `temperature_c`.
        heating_c: temperature below which the plant is heated; None: it is not. [degC]
        cooling_c: temperature above which it is cooled; None: it is not. [degC]

    Raises:
        MeasureError: `unit_too_long_for_degree_days`; those of a month are the sum of its days'.
    """
    if data.n and int(data.length_us.max()) > _LONGEST_DAY_US:
        raise MeasureError(
            "Degree days cannot be taken from the mean temperature of more than a day.",
            "Add up the degree days of the days, and give them as a driver.",
            code="unit_too_long_for_degree_days",
        )
    temperature_c = data.driver("temperature_c")
    days = data.counted_us / _US_PER_DAY
    made = {}
    if heating_c is not None:
        made[HEATING] = np.maximum(heating_c - temperature_c, 0.0) * days
    if cooling_c is not None:
        made[COOLING] = np.maximum(temperature_c - cooling_c, 0.0) * days
    return _with(data, made)


def fit_production(
    data: Data, predictors: Sequence[Predictor], *, nominal: int | None = None
) -> Fitted:
    """The least-squares model of a stated set of drivers.

    Of hours and days the base lasts as long as they were measured, in nominal units; a month or a
    bill has one base, as in peers, for as much of it as was measured. A temperature works for as
    long as the base does; amounts and degree days are those of the measured time as they are.

    Args:
        data: units without holes.
        predictors: at least one.
        nominal: length of a nominal unit; None: of the median one. [us]

    Raises:
        MeasureError: those of `linear.fit`, `missing_driver`.
    """
    names = tuple(column for predictor in predictors for column in predictor.columns)
    of_unit = nominal_us(data) if nominal is None else nominal
    temperatures = {name for name in names if _is_temperature(name)}

    def rows(of: Data) -> Array:
        whole_us = of_unit if of_unit <= _LONGEST_DAY_US else of.length_us
        exposure = of.counted_us / whole_us
        columns = (
            of.driver(name) * exposure if name in temperatures else of.driver(name)
            for name in names
        )
        return side_by_side([exposure, *columns])

    x = rows(data)
    linear = fit(x[:, 1:], data.energy_wh, data.position, x[:, 0])
    slopes = (
        Term(column, "Wh" if predictor.kind == "choice" else _per(predictor.unit))
        for predictor in predictors
        for column in predictor.columns
    )
    return Fitted("production", linear, (Term("base", "Wh"), *slopes), rows, rows)


def _is_temperature(name: str) -> bool:
    return name.endswith("_c") or unit_of(name) == "K"


def _per(unit: str) -> str:
    return f"Wh/({unit})" if " " in unit else f"Wh/{unit}"


def _indicator(name: str, level: int) -> str:
    return f"{name}={level}"


def _with(data: Data, made: Mapping[str, Array]) -> Data:
    return replace(data, drivers={**data.drivers, **made})
