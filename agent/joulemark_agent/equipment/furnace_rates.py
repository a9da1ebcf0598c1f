"""Heat that leaves a furnace all the time: from what was declared and read to watts at each sample.

A loss whose formula does not reach to what was read, or that lacks a reading, is unknown there;
over a span its gaps are taken to be as the rest, and too many of them leave it without a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import nan
from typing import NamedTuple

import numpy as np

from joulemark_agent.equipment.base import US_PER_S, Samples, Times, Values, Windows, held
from joulemark_agent.equipment.furnace_air import ESTIMATED, Air
from joulemark_agent.equipment.furnace_declared import Furnace, Leak, Losses, Opening, Stored, Wall
from joulemark_agent.physics.budget import Amount, Part
from joulemark_agent.physics.domain import OutOfDomain, inside
from joulemark_agent.physics.flue_gas import flue_heat_ratio
from joulemark_agent.physics.furnace_losses import leakage_loss, wall_loss, water_cooling_loss
from joulemark_agent.physics.openings import (
    ViewFactor,
    opening_loss,
    rectangular_view_factor,
    round_area,
    round_view_factor,
)

EXTRAPOLATED, DECLARED = "extrapolated", "declared"

_LEAST_COVERED = 0.9  # of a span, for a loss to stand for the rest of it
_MOST_W = 1e12  # of any loss; more is a reading gone wrong
_STEP_K = 0.1  # to which temperatures are told, for formulas that are evaluated one by one
_MOST_K, _MOST_STEPS = 1e4, 1_000_000  # beyond any formula; its steps, and more


class Term(NamedTuple):
    """Heat that went somewhere in a span; `why` where that cannot be told."""

    name: str
    amount: Amount | None
    flags: tuple[str, ...] = ()
    why: str = ""


class _Watts(NamedTuple):
    """A loss at each sample."""

    name: str
    source: str  # of its uncertainty
    uncertainty_ratio: float
    watts: Values
    flags: tuple[str, ...] = ()  # declared: no measurement at this time stands behind it


@dataclass(frozen=True, eq=False)
class Rate:
    """A loss between neighbouring edges."""

    of: _Watts
    windows: Windows  # [Wh]

    def term(self, first: int, stop: int, length_us: int) -> Term:
        """What left in a span of some windows; its gaps are taken to be as the rest."""
        name, source = self.of.name, self.of.source
        covered_ratio = int(self.windows.covered_us[first:stop].sum()) / length_us
        if covered_ratio < _LEAST_COVERED:
            why = f"What {source} needs was read in {covered_ratio:.0%} of the time only."
            return Term(name, None, why=why)
        heat_wh = float(self.windows.amount[first:stop].sum()) / covered_ratio
        flags = self.of.flags if covered_ratio > 1 - 1e-9 else (*self.of.flags, ESTIMATED)
        return Term(name, relative(heat_wh, source, self.of.uncertainty_ratio), flags)


def rates(
    parameters: Furnace, losses: Losses, samples: Samples, edges_us: Times
) -> tuple[Rate, ...]:
    """Every declared loss that goes on all the time."""
    return tuple(
        Rate(of, held(samples, inside(of.watts, -_MOST_W, _MOST_W), edges_us))
        for of in _watts(parameters, losses, samples)
    )


def relative(value: float, source: str, uncertainty_ratio: float) -> Amount:
    """A value whose only uncertainty is relative to it."""
    return Amount(value, {source: Part(value * uncertainty_ratio)})


def follows(parameters: Furnace, losses: Losses, samples: Samples, body: Stored) -> Values:
    """The temperature of a body that follows the furnace, in equilibrium at first. [K]"""
    furnace_k = _filled(samples.t_us, _column(samples, parameters.temperature, None))
    hall_k = _filled(samples.t_us, _column(samples, losses.ambient, losses.ambient_k))
    wanted_k = hall_k + body.share * (furnace_k - hall_k)
    if body.time_constant_s == 0:
        return wanted_k
    kept = np.exp(-np.diff(samples.t_us) / US_PER_S / body.time_constant_s)
    between_k = (wanted_k[:-1] + wanted_k[1:]) / 2
    kelvin = np.empty_like(wanted_k)
    kelvin[0] = wanted_k[0]
    for k, (share, goal_k) in enumerate(zip(kept, between_k, strict=True)):
        kelvin[k + 1] = goal_k + (kelvin[k] - goal_k) * share
    return kelvin


def flue_ratio(parameters: Furnace, losses: Losses, samples: Samples, found: Air | None) -> Values:
    """The share of the gas's heat that leaves with the flue gas, at each sample."""
    flue = parameters.flue
    if flue is None or found is None or found.fuel is None:
        return np.full(samples.t_us.size, np.nan)
    hall_k = _column(samples, losses.ambient, losses.ambient_k)
    is_told = flue.air is not None or flue.air_k is not None
    air_k = _column(samples, flue.air, flue.air_k) if is_told else hall_k
    flue_k = _column(samples, flue.temperature or parameters.temperature, None)
    return flue_heat_ratio(found.fuel, found.excess_ratio, flue_k, air_k, losses.ambient_k)


def _watts(parameters: Furnace, losses: Losses, samples: Samples) -> Iterator[_Watts]:
    furnace_k = _column(samples, parameters.temperature, None)
    hall_k = _column(samples, losses.ambient, losses.ambient_k)
    for number, wall in enumerate(losses.walls):
        surface_k = np.maximum(_column(samples, wall.surface, wall.surface_k), hall_k)
        watts = _each(_passes(wall), surface_k, hall_k)
        flags = () if wall.surface_k is None else (DECLARED,)
        yield _Watts("wall_loss_wh", f"wall {number}", wall.uncertainty_ratio, watts, flags)
    for number, opening in enumerate(losses.openings):
        area_m2, view = _seen(opening)
        watts = _each(_radiates(opening, area_m2, view), furnace_k, hall_k)
        if opening.open_ratio is None:
            door = _column(samples, parameters.door, None)
            watts = np.where(np.isnan(door), np.nan, watts * (door == parameters.door_open))
        flags = () if opening.open_ratio is None else (DECLARED,)
        flags = (*flags, EXTRAPOLATED) if view.is_extrapolated else flags
        source, ratio = f"opening {number}", opening.uncertainty_ratio
        yield _Watts("opening_loss_wh", source, ratio, watts, flags)
    for number, leak in enumerate(losses.leaks):
        watts = _each(_leaks(leak), furnace_k, hall_k)
        source, ratio = f"leak {number}", leak.uncertainty_ratio
        yield _Watts("leakage_loss_wh", source, ratio, watts, (DECLARED,))
    for number, gas in enumerate(losses.atmosphere):
        out_k = furnace_k if gas.out_k is None else gas.out_k
        flow = _column(samples, gas.flow, gas.flow_m3_s)
        watts = flow * gas.heat_capacity_j_m3_k * (out_k - gas.in_k)
        flags = () if gas.flow_m3_s is None else (DECLARED,)
        source, ratio = f"atmosphere {number}", gas.uncertainty_ratio
        yield _Watts("atmosphere_loss_wh", source, ratio, watts, flags)
    for number, water in enumerate(losses.cooling):
        flow, inlet_k, outlet_k = (
            _column(samples, point, None) for point in (water.flow, water.inlet, water.outlet)
        )
        per_m3 = _each(partial(water_cooling_loss, 1.0), inlet_k, outlet_k)
        source, ratio = f"cooling {number}", water.uncertainty_ratio
        yield _Watts("cooling_loss_wh", source, ratio, flow * per_m3)
    for number, device in enumerate(losses.auxiliary):
        watts = np.full(samples.t_us.size, device.power_w)
        source, ratio = f"auxiliary {number}", device.uncertainty_ratio
        yield _Watts("auxiliary_wh", source, ratio, watts, (DECLARED,))


def _passes(wall: Wall) -> Callable[[float, float], float]:
    """The power that passes a wall, of its surface and the hall."""
    return partial(
        wall_loss,
        wall.area_m2,
        wind_m_s=wall.wind_m_s,
        emissivity=wall.emissivity,
        shape_factor=wall.shape_factor,
    )


def _leaks(leak: Leak) -> Callable[[float, float], float]:
    """The power that leaks, of furnace and hall."""
    return partial(leakage_loss, leak.area_m2, leak.draft_pa, discharge=leak.discharge)


def _seen(opening: Opening) -> tuple[float, ViewFactor]:
    """The area of an opening [m2], and how much of the furnace it shows."""
    if opening.diameter_m is not None:
        view = round_view_factor(opening.diameter_m, opening.thickness_m)
        return round_area(opening.diameter_m), view
    sides_m = opening.width_m or 0.0, opening.height_m or 0.0
    return sides_m[0] * sides_m[1], rectangular_view_factor(*sides_m, opening.thickness_m)


def _radiates(
    opening: Opening, area_m2: float, view: ViewFactor
) -> Callable[[float, float], float]:
    """The power that an opening radiates, of furnace and hall."""
    share = 1.0 if opening.open_ratio is None else opening.open_ratio
    return partial(
        opening_loss, area_m2, view.value, emissivity=opening.emissivity, open_ratio=share
    )


def _column(samples: Samples, point: str | None, constant: float | None) -> Values:
    """The values of a point, else the constant; NaN where neither is there."""
    column = None if point is None else samples.column(point)
    if column is not None:
        return column
    value = constant if point is None and constant is not None else nan
    return np.full(samples.t_us.size, value)


def _filled(t_us: Times, values: Values) -> Values:
    """The values, straight between those that are known; NaN where none is."""
    known = ~np.isnan(values)
    return np.interp(t_us, t_us[known], values[known]) if known.any() else values


def _each(function: Callable[[float, float], float], first: Values, second: Values) -> Values:
    """The function of two temperatures at each sample, to a tenth of a kelvin; NaN out of range."""
    steps = [np.rint(inside(values, 0.0, _MOST_K) / _STEP_K) for values in (first, second)]
    known = ~np.isnan(steps[0] + steps[1])
    result = np.full(first.size, np.nan)
    pairs = steps[0][known].astype(np.int64) * _MOST_STEPS + steps[1][known].astype(np.int64)
    distinct, place = np.unique(pairs, return_inverse=True)
    found = [
        _or_nan(function, pair // _MOST_STEPS * _STEP_K, pair % _MOST_STEPS * _STEP_K)
        for pair in distinct.tolist()
    ]
    result[known] = np.array(found, np.float64)[place]
    return result


def _or_nan(function: Callable[[float, float], float], first: float, second: float) -> float:
    try:
        return function(first, second)
    except OutOfDomain:
        return nan
