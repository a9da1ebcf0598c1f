"""The demand of a meter: the mean power of each window, its peaks, and the profile of the load.

Only windows that lie in the time entirely count. One of which less than 95 % is known raises no
peak; as it might have been higher, the peak is then a lower bound. A register tells the demand of
windows near whose ends it is read: what it counted from one read to the next has no peak inside.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

import numpy as np

from joulemark_agent.equipment.base import US_PER_H, US_PER_S, Figure, Flags, Span, Values, absent
from joulemark_agent.equipment.meter_energy import Meter, unread_us
from joulemark_agent.equipment.metering import stated
from joulemark_agent.kernels.demand import Peak, demand, monthly_peaks, peak

PEAK, MEAN, BASE = "peak_demand_w", "mean_demand_w", "base_load_w"
LOAD_FACTOR = "load_factor_ratio"

_FINE_RATIO = 0.01  # a register's step over its largest window, up to which it tells demand
_BASE_QUANTILE = 0.05
_UNREAD_RATIO = 0.1  # of a window, between its end and the nearest read of the register
_LEAST_WINDOWS = 20  # for that quantile: of fewer it would be the lowest one


@dataclass(frozen=True, eq=False)
class Loads:
    """The demand of every window, NaN where it does not count, and whether a register told it."""

    power_w: Values
    is_counted: Flags


def loads_of(meter: Meter, point: str) -> Loads:
    """The demand of the windows, by the register where it is fine enough, else by the integral.

    Formula: E9.

    Args:
        meter: which.
        point: its register of what is drawn.

    Error: between two reads the register is cut at the windows' edges as if it counted evenly.
    """
    grid, register, integral = meter.grid, meter.drawn.register, meter.integral
    integrated = counted = np.full(grid.start_us.size, np.nan)
    if integral is not None:
        integrated = demand(integral.import_wh, integral.covered_us, grid.length_us)
    if register is not None:
        finest_wh = _FINE_RATIO * float(register.amount.max(initial=0.0))
        if integral is None or meter.drawn.step_wh <= finest_wh:
            covered_us = register.covered_us.astype(np.float64)
            near = unread_us(meter.samples, point, grid) <= _UNREAD_RATIO * grid.length_us
            is_read = near[:-1] & near[1:]
            counted = np.where(is_read, demand(register.amount, covered_us, grid.length_us), np.nan)
    is_counted = ~np.isnan(counted)
    power_w = np.where(is_counted, counted, integrated)
    return Loads(np.where(grid.is_whole, power_w, np.nan), is_counted)


def demand_figures(meter: Meter, loads: Loads) -> Iterator[Figure]:
    """The peak and the profile of the load."""
    is_whole = meter.grid.is_whole
    known = ~np.isnan(loads.power_w)
    highest = _peak(meter, loads)
    if highest.power_w is None or highest.start_us is None:
        minutes = meter.grid.length_us // (60 * US_PER_S)
        why = (
            f"No window of {minutes} minutes on the local clock lies in this time entirely and is"
            " known to 95 %."
        )
        yield from (absent(name, why) for name in (PEAK, MEAN, BASE, LOAD_FACTOR))
        return
    covered = float(known.sum() / is_whole.sum())
    flags = ("lower_bound",) if highest.is_lower_bound else ()
    figure = Figure(PEAK, highest.power_w, covered, flags=flags)
    yield _with_uncertainty(meter, loads, figure, highest.start_us)
    mean_w = float(loads.power_w[known].mean())
    yield Figure(MEAN, mean_w, covered)
    if known.sum() < _LEAST_WINDOWS:
        yield absent(BASE, f"A base load takes {_LEAST_WINDOWS} windows of demand or more.")
    else:
        base_w = float(np.quantile(loads.power_w[known], _BASE_QUANTILE))
        yield Figure(BASE, base_w, covered)
    if highest.power_w <= 0:
        yield absent(LOAD_FACTOR, "Nothing was drawn.")
    elif known.sum() < 2:  # of one it is 1, whatever was drawn
        yield absent(LOAD_FACTOR, "A load factor takes several windows of demand.")
    else:
        yield Figure(LOAD_FACTOR, mean_w / highest.power_w, covered)


def peak_spans(meter: Meter, loads: Loads) -> Iterator[Span]:
    """When the peak was, and where the time has several months, when that of each month was."""
    yield from _span("demand_peak", meter, _peak(meter, loads))
    is_whole = meter.grid.is_whole
    zone = meter.samples.zone or ZoneInfo("UTC")
    months = monthly_peaks(meter.grid.start_us[is_whole], loads.power_w[is_whole], zone)
    if len(months) > 1:
        for month in months.values():
            yield from _span("month_peak", meter, month)


def _peak(meter: Meter, loads: Loads) -> Peak:
    is_whole = meter.grid.is_whole
    return peak(meter.grid.start_us[is_whole], loads.power_w[is_whole])


def _span(kind: str, meter: Meter, highest: Peak) -> Iterator[Span]:
    if highest.start_us is None:
        return
    flags = ("lower_bound",) if highest.is_lower_bound else ()
    figure = Figure(PEAK, highest.power_w, 1.0, flags=flags)
    yield Span(kind, highest.start_us, highest.start_us + meter.grid.length_us, (figure,))


def _with_uncertainty(meter: Meter, loads: Loads, figure: Figure, start_us: int) -> Figure:
    """The demand with the uncertainty of its window's energy."""
    k = int(np.searchsorted(meter.grid.start_us, start_us))
    window = slice(k, k + 1)
    is_counted = loads.is_counted[k]
    amount = meter.counted(meter.drawn, window) if is_counted else meter.integrated(1.0, window)
    if amount is None:
        return figure
    of_energy_wh = amount.standard_uncertainty
    per_h = US_PER_H / meter.grid.length_us
    return replace(stated(figure, amount), standard_uncertainty=of_energy_wh * per_h)
