"""The cost of energies under tariffs: summed exactly first, rounded last.

Of what is not known the cost is not known: it stands beside as a share of the time, and a cost of
which nothing is known is none, never zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import numpy as np

from joulemark_gateway.costs.demand import Billing
from joulemark_gateway.costs.steps import Energies, Grid
from joulemark_gateway.costs.tariff import DEMAND, ENERGY, FIXED, Tariff

_MILLIWATT_H_PER_KWH = 1_000_000


@dataclass(frozen=True)
class BandCost:
    """The energy of one band of one season, and its cost."""

    season: str
    band: str
    price_per_kwh: Decimal
    milliwatt_h: int
    known_us: int
    estimated_us: int
    due_us: int

    @property
    def kwh(self) -> Fraction:
        """Exactly."""
        return Fraction(self.milliwatt_h, _MILLIWATT_H_PER_KWH)

    @property
    def cost(self) -> Fraction | None:
        """Exactly; None where nothing of it is known."""
        return self.kwh * Fraction(self.price_per_kwh) if self.known_us else None


@dataclass(frozen=True)
class Line:
    """One line of the bill."""

    name: str
    amount: Fraction | None  # None: not known


@dataclass(frozen=True)
class Cost:
    """What energies cost under one tariff."""

    bands: tuple[BandCost, ...]
    lines: tuple[Line, ...]  # energy, demand, fixed, then the levies
    known_us: int
    estimated_us: int
    due_us: int
    demand: Billing | None

    @property
    def milliwatt_h(self) -> int:
        """Of all bands."""
        return sum(row.milliwatt_h for row in self.bands)

    @property
    def total(self) -> Fraction | None:
        """Of the lines that are known; None where the energy is not."""
        energy = self.line(ENERGY)
        if energy is None:
            return None
        return sum((row.amount for row in self.lines if row.amount is not None), Fraction(0))

    @property
    def unknown_us(self) -> int:
        """Of what has passed, the time of which the energy is not known."""
        return max(self.due_us - self.known_us, 0)

    @property
    def is_lower_bound(self) -> bool:
        """Whether energy, demand or a line is missing in the total."""
        is_demand_low = self.demand is not None and self.demand.is_lower_bound
        is_cut = any(row.amount is None for row in self.lines)
        return self.unknown_us > 0 or is_demand_low or is_cut

    def line(self, name: str) -> Fraction | None:
        """The amount of a line."""
        return next((row.amount for row in self.lines if row.name == name), None)


def cost_of(
    tariff: Tariff,
    grid: Grid,
    energies: Energies,
    *,
    billing: Billing | None = None,
    month_share: Fraction = Fraction(1),
) -> Cost:
    """The cost of what was taken in the steps of the grid.

    Args:
        tariff: in force on all its days.
        grid: the steps.
        energies: of them.
        billing: the demand that is billed; None: no charge for it.
        month_share: of demand charge and fixed charge: the part of the month the tariff held.
    """
    bands = bands_of(tariff, grid, energies)
    known_us = sum(row.known_us for row in bands)
    costs = [row.cost for row in bands if row.cost is not None]
    amounts: dict[str, Fraction | None] = {ENERGY: sum(costs, Fraction(0)) if costs else None}
    if tariff.demand is not None and billing is not None:
        kw = billing.kw
        price = Fraction(tariff.demand.price_per_kw) * month_share
        amounts[DEMAND] = None if kw is None else kw * price
    amounts[FIXED] = Fraction(tariff.fixed_per_month) * month_share
    kwh = sum((row.kwh for row in bands), Fraction(0))
    for levy in tariff.levies:
        if levy.per_kwh is not None:
            amounts[levy.name] = kwh * Fraction(levy.per_kwh) if known_us else None
        else:
            parts = [amounts.get(name, Fraction(0)) for name in levy.of]
            known = [part for part in parts if part is not None]
            share = Fraction(levy.share or 0)
            amounts[levy.name] = None if len(known) < len(parts) else sum(known) * share
    return Cost(
        bands,
        tuple(Line(name, amount) for name, amount in amounts.items()),
        known_us,
        sum(row.estimated_us for row in bands),
        sum(row.due_us for row in bands),
        billing,
    )


def bands_of(tariff: Tariff, grid: Grid, energies: Energies) -> tuple[BandCost, ...]:
    """Energy and time by band, in the order of the tariff; one that no step is in is left out."""
    size = len(tariff.bands)
    known = np.minimum(energies.covered_us + energies.estimated_us, energies.due_us)
    columns = (energies.milliwatt_h, known, energies.estimated_us, energies.due_us)
    sums = []
    for column in columns:
        total = np.zeros(size, np.int64)
        np.add.at(total, grid.band, column)
        sums.append(total.tolist())
    is_met = np.bincount(grid.band, minlength=size) > 0
    return tuple(
        BandCost(season, band, tariff.prices[season, band], *(column[k] for column in sums))
        for k, (season, band) in enumerate(tariff.bands)
        if is_met[k]
    )


def together(parts: Sequence[Cost]) -> Cost:
    """The cost of a month in which tariffs followed one another."""
    names = dict.fromkeys(row.name for part in parts for row in part.lines)
    lines = []
    for name in names:
        given = [row.amount for part in parts for row in part.lines if row.name == name]
        known = [amount for amount in given if amount is not None]
        lines.append(Line(name, sum(known, Fraction(0)) if known else None))
    return Cost(
        tuple(row for part in parts for row in part.bands),
        tuple(lines),
        sum(part.known_us for part in parts),
        sum(part.estimated_us for part in parts),
        sum(part.due_us for part in parts),
        parts[-1].demand,
    )


def printed(amount: Fraction | None, decimals: int) -> str | None:
    """An exact amount as it is printed, half up, away from zero."""
    if amount is None:
        return None
    scaled = abs(amount) * 10**decimals
    whole = (scaled + Fraction(1, 2)).__floor__()
    value = Decimal(whole).scaleb(-decimals).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP)
    return f"{-value if amount < 0 and whole else value:f}"
