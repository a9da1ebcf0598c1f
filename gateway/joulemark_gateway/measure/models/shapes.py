"""Energy as broken lines of temperature: their columns, their derivatives, and the fit of them.

A shape is a kind and its change points; a part is a shape and the units it is for, so that a model
of one line for the whole year and one of a line for each season are made alike. What is cold or
warm is read by `Degrees`: of a unit's own temperature, or of the days inside a bill.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure import linear as linear_model
from joulemark_gateway.measure.calendar import US_PER_DAY
from joulemark_gateway.measure.data import Data, Flags
from joulemark_gateway.measure.models.base import Fitted, Term, side_by_side
from joulemark_gateway.measure.qr import Array

TEMPERATURE = "temperature_c"
_TERMS = {
    "1p": (),
    "2p": ("temperature",),
    "3ph": ("heating",),
    "3pc": ("cooling",),
    "4p": ("colder", "warmer"),
    "5p": ("heating", "cooling"),
}


class Degrees(Protocol):
    """The temperature of units, NaN where it is missing; arrays of shape (n,)."""

    def mean(self) -> Array:
        """The mean temperature. [deg C]"""

    def beyond(self, point_c: float, sign: int) -> Array:
        """Mean of (point - t)+ for sign -1, of (t - point)+ for sign 1. [K]"""

    def share(self, point_c: float, sign: int) -> Array:
        """Share of the time that is beyond the point. [1]"""


Reader = Callable[[Data], Degrees]


@dataclass(frozen=True, eq=False)
class OwnTemperature:
    """Each unit has one temperature."""

    t_c: Array

    def mean(self) -> Array:
        """The temperature itself. [deg C]"""
        return self.t_c

    def beyond(self, point_c: float, sign: int) -> Array:
        """(point - t)+ for sign -1, (t - point)+ for sign 1. [K]"""
        away_k = self.t_c - point_c
        return np.maximum(away_k if sign > 0 else -away_k, 0.0)

    def share(self, point_c: float, sign: int) -> Array:
        """1 beyond the point, else 0. [1]"""
        is_beyond: Array = np.heaviside(sign * (self.t_c - point_c), 0.0)
        return is_beyond


def own_temperature(data: Data) -> Degrees:
    """The driver `temperature_c` of each unit."""
    return OwnTemperature(data.driver(TEMPERATURE))


@dataclass(frozen=True)
class Shape:
    """A kind of line and its change points; one that has a single one has it as `low_c`.

    Of 3PC the change point is `high_c`.
    """

    kind: str
    low_c: float | None = None
    high_c: float | None = None

    @property
    def points_c(self) -> dict[str, float]:
        """The change points by name."""
        low = "change_point_c" if self.kind == "4p" else "heating_change_point_c"
        named = {low: self.low_c, "cooling_change_point_c": self.high_c}
        return {name: value for name, value in named.items() if value is not None}

    @property
    def terms(self) -> tuple[str, ...]:
        """The names of the terms after the base."""
        return _TERMS[self.kind]

    def columns(self, degrees: Degrees) -> list[Array]:
        """The columns after the base, in the order of `terms`."""
        if self.kind == "2p":
            return [degrees.mean()]
        return [degrees.beyond(point_c, sign) for point_c, sign in self._hinges]

    def derivatives(self, degrees: Degrees, slopes: Sequence[float]) -> list[Array]:
        """What the rate changes by for each kelvin that a change point moves up."""
        if self.kind == "2p":
            return []
        moved = [
            -sign * slope * degrees.share(point_c, sign)
            for (point_c, sign), slope in zip(self._hinges, slopes, strict=True)
        ]
        return [moved[0] + moved[1]] if self.kind == "4p" else moved

    @cached_property
    def _hinges(self) -> list[tuple[float, int]]:
        """Each change point with the side on which the line is not flat."""
        low = [] if self.low_c is None else [(self.low_c, -1)]
        high_c = self.low_c if self.kind == "4p" else self.high_c
        return low + ([] if high_c is None else [(high_c, 1)])


@dataclass(frozen=True)
class Part:
    """A shape and the units it is for; None: for all."""

    name: str
    shape: Shape
    has: Callable[[Data], Flags] | None = None


def fit_parts(id_: str, data: Data, parts: Sequence[Part], read: Reader) -> Fitted:
    """The least-squares fit of shapes whose change points are known.

    A unit's energy is its days times base and slopes. Units of unlike length count by it: a row is
    divided by the square root of its length in nominal (median) units, and 1 for those.

    Raises:
        MeasureError: those of `linear.fit`; `missing_driver`.
    """

    def rows(of: Data) -> Array:
        return side_by_side(_columns(parts, of, read))

    nominal = nominal_us(data)

    def scale(of: Data) -> Array:
        return np.sqrt(of.counted_us / nominal)

    root = scale(data)
    x = rows(data) / root[:, None]
    y = data.energy_wh / root
    linear = linear_model.fit(x[:, 1:], y, data.position, x[:, 0])
    if np.any(root != 1):
        linear = replace(linear, sst=_weighted_spread(data.energy_wh / root**2, root**2))
    coefficients = linear.beta.tolist()
    searched = sum(len(part.shape.points_c) for part in parts)

    def tangent(of: Data) -> Array:
        return side_by_side(_columns(parts, of, read, coefficients))

    facts = {
        f"{part.name}.{name}" if part.name else name: value
        for part in parts
        for name, value in part.shape.points_c.items()
    }
    return Fitted(
        id_, linear, _terms(parts), rows, tangent if searched else rows, searched, facts, scale
    )


def nominal_units(data: Data) -> Array:
    """The length of each unit in units of the median one, shape (n,)."""
    return data.counted_us / nominal_us(data)


def nominal_us(data: Data) -> int:
    """The length of the median unit. [us]

    Raises:
        MeasureError: `too_few_units`, there is none.
    """
    if data.n == 0:
        raise MeasureError(
            "There is no unit to fit a model to.", "Lengthen the baseline.", code="too_few_units"
        )
    return int(np.sort(data.length_us)[data.n // 2])


def _columns(
    parts: Sequence[Part], data: Data, read: Reader, coefficients: Sequence[float] = ()
) -> list[Array]:
    """The columns of all parts and then, where coefficients are known, the derivatives."""
    days = data.counted_us / US_PER_DAY
    degrees = read(data) if any(part.shape.terms for part in parts) else None
    columns: list[Array] = []
    moved: list[Array] = []
    for part in parts:
        at = len(columns) + 1
        rates: list[Array] = []
        found: list[Array] = []
        if degrees is not None:
            rates = part.shape.columns(degrees)
            if coefficients:
                found = part.shape.derivatives(degrees, coefficients[at : at + len(rates)])
        own = [days, *(rate * days for rate in rates)]
        of_points = [rate * days for rate in found]
        if part.has is not None:
            inside = part.has(data)
            own, of_points = (
                [np.where(inside, column, 0.0) for column in some] for some in (own, of_points)
            )
        columns += own
        moved += of_points
    return columns + moved


def _terms(parts: Sequence[Part]) -> tuple[Term, ...]:
    terms: list[Term] = []
    for part in parts:
        before = f"{part.name} " if part.name else ""
        terms.append(Term(f"{before}base", "Wh/d"))
        terms += [Term(f"{before}{name}", "Wh/(K d)") for name in part.shape.terms]
    return tuple(terms)


def _weighted_spread(rate: Array, weight: Array) -> float:
    total = _total(weight)
    mean = _total(weight * rate) / total
    return _total(weight * (rate - mean) ** 2)


def _total(values: Array) -> float:
    return math.fsum(values.tolist())
