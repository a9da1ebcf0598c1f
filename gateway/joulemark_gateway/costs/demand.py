"""Demand: the mean power of each interval, the peaks of months, and what of them is billed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.kernels.demand import Peak, demand, peak
from joulemark_gateway.costs.steps import Energies, Grid
from joulemark_gateway.costs.tariff import DemandCharge, Tariff

Month = tuple[int, int]  # year and month
_W_PER_KW = 1000


@dataclass(frozen=True, eq=False)
class Demands:
    """The demand of each interval, shape (w,)."""

    start_us: NDArray[np.int64]
    end_us: NDArray[np.int64]
    power_w: NDArray[np.float64]  # NaN where too little is known
    counts: NDArray[np.bool_]  # by its bands
    has_passed: NDArray[np.bool_]  # entirely

    @property
    def peak(self) -> Peak:
        """The highest of those that count and have passed."""
        which = self.counts & self.has_passed
        return peak(self.start_us[which], self.power_w[which])


@dataclass(frozen=True)
class Billing:
    """The demand that is billed for a month."""

    kw: Fraction | None  # None: no interval is known, and there is no least
    month: Month | None  # whose peak it is; None: the least of the contract
    is_lower_bound: bool  # intervals or months that may have been higher are not known
    unknown_months: tuple[Month, ...] = ()


def demands_of(tariff: Tariff, grid: Grid, energies: Energies, now_us: int) -> Demands:
    """The demand of each interval of the grid.

    Args:
        tariff: its interval, and the bands in which demand counts.
        grid: the steps.
        energies: of the site; each of its devices that was due has to be known.
        now_us: what lies after it has not passed. [us UTC]
    """
    count = int(grid.window[-1]) + 1
    sums = []
    for column in (energies.milliwatt_h, energies.most_missing_us, energies.due_us):
        total = np.zeros(count, np.int64)
        np.add.at(total, grid.window, column)
        sums.append(total)
    first = np.searchsorted(grid.window, np.arange(count))
    last = np.searchsorted(grid.window, np.arange(count), side="right") - 1
    start_us, end_us = grid.start_us[first], grid.end_us[last]
    length_us = tariff.interval_minutes * 60_000_000
    known_us = (np.minimum(sums[2], length_us) - sums[1]).astype(np.float64)
    power_w = demand(sums[0] / 1000, known_us, length_us)
    has_passed = (end_us <= now_us) & (sums[2] >= end_us - start_us)
    counting = None if tariff.demand is None else set(tariff.demand.bands)
    counts = np.ones(count, np.bool_)
    if counting:
        is_counting = np.array([band in counting for _, band in tariff.bands])
        counts = is_counting[grid.band[first]]
    return Demands(start_us, end_us, power_w, counts, has_passed)


def months_that_count(rule: DemandCharge, month: Month) -> list[Month]:
    """The months before that may set the billing demand of this one, newest first."""
    found, (year, number) = [], month
    for _ in range(rule.months_back):
        year, number = (year, number - 1) if number > 1 else (year - 1, 12)
        if not rule.of_months or number in rule.of_months:
            found.append((year, number))
    return found


def billing_demand(
    rule: DemandCharge, peaks: Mapping[Month, Peak], month: Month, contract_kw: Decimal | None
) -> Billing:
    """What is billed for a month: its own peak, those before that still count, and the least.

    Args:
        rule: of the tariff.
        peaks: by month, as far as they are known.
        month: which.
        contract_kw: what the site is contracted for; None: not told.
    """
    best: tuple[Fraction, Month | None] | None = None
    if contract_kw is not None and rule.least_share_of_contract:
        best = Fraction(contract_kw) * Fraction(rule.least_share_of_contract), None
    unknown, is_lower = [], False
    for one in (month, *months_that_count(rule, month)):
        found = peaks.get(one)
        if found is None or found.power_w is None:
            unknown.append(one)
            continue
        is_lower |= found.is_lower_bound
        kw = Fraction(found.power_w) / _W_PER_KW
        if one != month:
            kw *= Fraction(rule.share_of_before)
        kw = rounded_kw(rule, kw)
        if best is None or kw > best[0]:
            best = kw, one
    is_lower |= bool(unknown)
    if best is None:
        return Billing(None, None, is_lower_bound=True, unknown_months=tuple(unknown))
    return Billing(best[0], best[1], is_lower, tuple(unknown))


def rounded_kw(rule: DemandCharge, kw: Fraction) -> Fraction:
    """The demand in the steps in which it is billed, half up."""
    if rule.step_kw is None:
        return kw
    step = Fraction(rule.step_kw)
    return (kw / step + Fraction(1, 2)).__floor__() * step


def month_of(day: date) -> Month:
    """Of a day."""
    return day.year, day.month
