"""Non-routine events: what happened, who says so, by which evidence, and what it is worth.

An event is quantified by one of four methods. `exclude` leaves its units out of both sums and has
no value of its own; the others give a value with its uncertainty, which is added to the saving:

    S' = S + sum A_k,  u^2 = u^2(S) + sum u^2(A_k).

Totals are always given with and without. For an `indicator` on independent units the quadrature is
exact, though both come from the same units: their errors have no covariance.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.data import Data, Flags, Times
from joulemark_gateway.measure.linear import fit
from joulemark_gateway.measure.meter_error import (
    ENDLESS_DEGREES,
    MeterClass,
    Uncertain,
    combined,
    of_energy,
)
from joulemark_gateway.measure.qr import Array
from joulemark_gateway.measure.uncertainty import noise_of

Method = Literal["exclude", "indicator", "sub-meter", "engineering-estimate"]
METHODS = get_args(Method)
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LEAST_CAUSE = 10  # characters


@dataclass(frozen=True)
class Adjustment:
    """One event and what it is worth: `sign` says whether the saving grows or shrinks by it.

    Raises:
        MeasureError: `bad_adjustment`, it does not say enough, or contradicts itself.
    """

    id: str
    start_us: int  # UTC
    end_us: int  # exclusive
    cause: str
    evidence_sha256: str
    author: str
    approval: str
    method: Method
    value_wh: float = 0.0
    u_wh: float = 0.0
    degrees_of_freedom: float = ENDLESS_DEGREES
    sign: Literal[-1, 1] = 1

    def __post_init__(self) -> None:
        for wrong, what in (
            (not (self.id and self.author and self.approval), "name id, author and approval"),
            (len(self.cause) < _LEAST_CAUSE, "say in a few words what the cause was"),
            (not _DIGEST.fullmatch(self.evidence_sha256), "give the evidence's SHA-256 in hex"),
            (self.method not in METHODS, f"name one of the methods {', '.join(METHODS)}"),
            (self.sign not in {-1, 1}, "the sign is 1 or -1"),
            (self.end_us <= self.start_us, "the event ends after it starts"),
            (not (0 <= self.value_wh < math.inf), "the value is a number from 0 on"),
            (not (0 <= self.u_wh < math.inf), "the uncertainty is a number from 0 on"),
            (not self.degrees_of_freedom >= 1, "there is at least one degree of freedom"),
            (
                self.method == "exclude" and bool(self.value_wh or self.u_wh),
                "an event that is left out of both sums has no value of its own",
            ),
            (
                self.method != "exclude" and not self.u_wh,
                f"say how uncertain the {self.method} is: u_wh above 0",
            ),
        ):
            if wrong:
                raise MeasureError(
                    f"The adjustment {self.id!r} cannot be used.",
                    f"{what[0].upper()}{what[1:]}.",
                    code="bad_adjustment",
                )

    @property
    def uncertain(self) -> Uncertain:
        """What is added to the saving. [Wh]"""
        return Uncertain(self.sign * self.value_wh, self.u_wh, self.degrees_of_freedom)

    def touches(self, data: Data) -> Flags:
        """The units that the event lies in, if only in part, shape (n,)."""
        touched: Flags = (data.start_us < self.end_us) & (
            data.start_us + data.length_us > self.start_us
        )
        return touched


@dataclass(frozen=True)
class Adjusted:
    """The saving without and with its adjustments. [Wh]

    `unmasked_wh` is the saving had no unit been left out, where any was.
    """

    without: Uncertain
    with_adjustments: Uncertain
    unmasked_wh: float | None
    adjustments: tuple[Adjustment, ...]


def excluded_units(adjustments: Sequence[Adjustment], data: Data) -> Flags:
    """The units that are left out of both sums, shape (n,)."""
    out = np.zeros(data.n, np.bool_)
    for one in adjustments:
        if one.method == "exclude":
            out |= one.touches(data)
    return out


def without_excluded(adjustments: Sequence[Adjustment], data: Data) -> Data:
    """The data without the values of units that are left out of both sums."""
    out = excluded_units(adjustments, data)
    if not out.any():
        return data
    drivers = {name: np.where(out, np.nan, column) for name, column in data.drivers.items()}
    return replace(data, energy_wh=np.where(out, np.nan, data.energy_wh), drivers=drivers)


def check_counted(events: Sequence[Adjustment], units: Data, counted: Data) -> None:
    """Let pass only values that belong to the sums: a value is that of its whole event.

    Args:
        events: those that touch the period.
        units: of the period, at least one.
        counted: those of them that are in both sums.

    Raises:
        MeasureError: `event_partly_outside`; `event_not_counted`.
    """
    start_us, end_us = int(units.start_us[0]), int(units.start_us[-1] + units.length_us[-1])
    for one in events:
        if one.method == "exclude":
            continue
        if one.start_us < start_us or one.end_us > end_us:
            raise MeasureError(
                f"Adjustment {one.id!r} reaches beyond the reporting period.",
                "State what it is worth inside the period, from its start to its end there.",
                code="event_partly_outside",
            )
        if not one.touches(counted).any():
            raise MeasureError(
                f"Adjustment {one.id!r} has a value, and no unit of it counts in the saving.",
                "Leave it out, or its value would stand for what neither sum holds.",
                code="event_not_counted",
            )


def adjusted(
    saving_wh: Uncertain,
    adjustments: Sequence[Adjustment],
    unmasked_wh: float | None = None,
) -> Adjusted:
    """The saving with its adjustments beside the saving without.

    Args:
        saving_wh: over the units that are not left out.
        adjustments: all of them.
        unmasked_wh: the saving over all units, where some are left out.

    Raises:
        MeasureError: `adjustment_twice`, an id stands twice; `adjustment_of_excluded`, a value for
            a time that is left out of both sums as well; `unmasked_missing`, units are left out and
            the saving without that is not given.
    """
    _check(adjustments)
    valued = [one for one in adjustments if one.method != "exclude"]
    if len(valued) < len(adjustments) and unmasked_wh is None:
        raise MeasureError(
            "Units are left out, and what the saving is with them is not said.",
            "Give the saving over all units beside.",
            code="unmasked_missing",
        )
    total_wh = math.fsum([saving_wh.value, *(one.uncertain.value for one in valued)])
    parts = [saving_wh, *(one.uncertain for one in valued)]
    return Adjusted(saving_wh, combined(total_wh, parts), unmasked_wh, tuple(adjustments))


def by_indicator(saved_wh: Array, position: Times, inside: Flags, *, least: int = 7) -> Uncertain:
    """The value of an event from the units with and without it: what to add to the saving. [Wh]

    The savings are regressed on an indicator of the event; its coefficient, times the units of the
    event, is what the event took from the saving. The interval counts the correlation between
    neighbours.

    Args:
        saved_wh: predicted minus measured of each unit, shape (m,). [Wh]
        position: their places on the grid, increasing, shape (m,).
        inside: whether the event lies in the unit, shape (m,).
        least: units that are asked for on either side.

    Raises:
        MeasureError: `indicator_one_sided`, too few units with or without the event; those of a fit
            and of its noise.
    """
    units = int(np.count_nonzero(inside))
    if min(units, inside.size - units) < least:
        raise MeasureError(
            f"The event has {units} units with it and {inside.size - units} without.",
            f"An indicator needs {least} of both; use a sub-meter, an estimate, or exclude it.",
            code="indicator_one_sided",
        )
    model = fit(inside.astype(np.float64)[:, None], saved_wh, position)
    noise = noise_of(model)
    row = model.coordinates(np.array([[0.0, float(units)]]))[0].tolist()
    inner = noise.coefficients.tolist()
    quadratic = math.fsum(a * inner[j][k] * b for j, a in enumerate(row) for k, b in enumerate(row))
    value_wh = -units * float(model.beta[1])
    return Uncertain(value_wh, math.sqrt(noise.variance * quadratic), noise.degrees_of_freedom)


def by_sub_meter(energy_wh: Array, meter: MeterClass) -> Uncertain:
    """What a sub-meter counted of the event: added to the saving where it is load put on. [Wh]"""
    return Uncertain(math.fsum(energy_wh.tolist()), of_energy(energy_wh, meter).u_wh)


def _check(adjustments: Sequence[Adjustment]) -> None:
    ids = [one.id for one in adjustments]
    if len(set(ids)) < len(ids):
        raise MeasureError(
            "Two adjustments have one id.", "Give each its own.", code="adjustment_twice"
        )
    gaps = [one for one in adjustments if one.method == "exclude"]
    for one in adjustments:
        for gap in gaps:
            if one is not gap and one.method != "exclude" and _overlap(one, gap):
                raise MeasureError(
                    f"Adjustment {one.id!r} has a value for a time that {gap.id!r} leaves out.",
                    "End the one where the other starts: an event counts once.",
                    code="adjustment_of_excluded",
                )


def _overlap(one: Adjustment, other: Adjustment) -> bool:
    return one.start_us < other.end_us and other.start_us < one.end_us
