"""What the windows of a photovoltaic inverter hold: energies, sun, warmth, over shared samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from joulemark_agent.equipment.base import Samples, Times, Values, Windows, counted, held
from joulemark_agent.equipment.metering import (
    Metering,
    metered,
    primary_windows,
    register_step_wh,
    registered,
)
from joulemark_agent.physics.budget import Amount

# Below it sensors and inverters tell little (not read in the standard; configuration).
LEAST_LIGHT_W_M2 = 20.0
AC, DC, VOLTAGE, CURRENT = "ac_power_w", "dc_power_w", "dc_voltage_v", "dc_current_a"
COUNTER, STATE = "generated_wh", "operating_state"

_LEAST_LIGHT_V = 10.0  # no module in the light gives less; a night alone has a largest voltage, too


@dataclass(frozen=True, eq=False)
class Amounts:
    """What each window holds.

    `both_*` is over the time that has AC power and irradiance; `warm_*` over that which has the
    temperature of the cells too; `*_u` are the energies with their uncertainty.
    """

    edges_us: Times
    generated: Windows | None
    net: Windows
    drawn: Windows
    dc: Windows  # over the time with DC power, AC known too
    ac_of_dc: Windows
    sun: Windows | None
    both_sun: Windows | None
    both_net: Windows | None
    bright_sun: Windows | None  # of `both_sun` that of samples with light worth a ratio
    warm_sun: Windows | None
    warm_net: Windows | None
    warmth: Windows | None  # irradiance times the temperature of the cells
    light: Windows | None  # time in which the DC voltage shows light, AC known too
    generated_u: tuple[Amount | None, ...]
    net_u: tuple[Amount | None, ...]
    both_net_u: tuple[Amount | None, ...]
    warm_net_u: tuple[Amount | None, ...]


@dataclass(frozen=True, eq=False)
class Columns:
    """What an inverter and its sensors told, at the instants of the samples; NaN where nothing."""

    samples: Samples
    ac: Values  # on the primary side of its meter
    dc: Values
    sun: Values | None  # never below 0
    cell_k: Values | None


def amounts(columns: Columns, metering: Metering | None, edges_us: Times) -> Amounts:
    """What windows hold.

    Args:
        columns: of one inverter.
        metering: of its AC side.
        edges_us: of the windows, as in `held`. [us]
    """
    samples, ac, sun = columns.samples, columns.ac, columns.sun
    dc = np.where(np.isnan(ac), np.nan, columns.dc)
    voltage = samples.column(VOLTAGE)
    cell_k = None if sun is None else columns.cell_k

    def over(value: Values) -> Windows:
        return held(samples, value, edges_us)

    def sure(value: Values) -> tuple[Amount | None, ...]:
        return metered(metering, "ac meter", samples, value, edges_us)

    both = None if sun is None else ac + sun * 0
    bright = None if sun is None else np.where(sun < LEAST_LIGHT_W_M2, 0.0, sun)
    warm = None if both is None or cell_k is None else both + cell_k * 0
    generated = _counter(samples, metering, edges_us)
    step_wh = register_step_wh(metering, samples, COUNTER)
    unknown = (None,) * (edges_us.size - 1)
    return Amounts(
        edges_us,
        generated=generated,
        net=over(ac),
        drawn=over(np.minimum(ac, 0.0)),
        dc=over(np.where(dc > 0, dc, dc * 0.0)),
        ac_of_dc=over(np.where(dc > 0, ac, dc * 0.0)),
        sun=None if sun is None else over(sun),
        both_sun=_of(over, sun, both),
        both_net=None if both is None else over(both),
        bright_sun=_of(over, bright, both),
        warm_sun=_of(over, sun, warm),
        warm_net=None if warm is None else over(warm),
        warmth=None if sun is None or cell_k is None else _of(over, sun * cell_k, warm),
        light=None
        if voltage is None
        else over((voltage > light_v(voltage)) + voltage * 0 + ac * 0),
        generated_u=unknown
        if generated is None
        else registered(metering, "ac meter", generated, edges_us, step_wh=step_wh),
        net_u=sure(ac),
        both_net_u=unknown if both is None else sure(both),
        warm_net_u=unknown if warm is None else sure(warm),
    )


def light_v(voltage: Values) -> float:
    """The DC voltage from which on there is light. [V]"""
    return max(float(np.nanmax(voltage)) / 2, _LEAST_LIGHT_V)


def _of(
    over: Callable[[Values], Windows], of: Values | None, where: Values | None
) -> Windows | None:
    """The integral of one column over the time in which another is known."""
    return None if of is None or where is None else over(of + where * 0)


def _counter(samples: Samples, metering: Metering | None, edges_us: Times) -> Windows | None:
    if samples.column(COUNTER) is None:
        return None
    return primary_windows(metering, counted(samples, COUNTER, edges_us))
