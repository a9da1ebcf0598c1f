"""Units that arrive one after another: what comes twice or too late, and what counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from joulemark_agent.contract.errors import MeasureError
from joulemark_agent.kernels.jit import compiled
from joulemark_gateway.measure.adjustments import excluded_units
from joulemark_gateway.measure.baseline import Baseline, check_alike, given_of
from joulemark_gateway.measure.data import Data, Flags, Times
from joulemark_gateway.measure.estimate import LineEstimate
from joulemark_gateway.measure.qr import Array


@dataclass(frozen=True)
class Seen:
    """How far a series of units has come."""

    start_us: int  # of the last unit
    position: int  # its place
    counted_at: int  # place of the last unit that counted; of the first of all, where none did
    missing: int = 0  # units that were there and did not count

    @classmethod
    def before(cls, units: Data) -> Seen:
        """Where nothing was seen before these units."""
        first = int(units.position[0])
        return cls(int(units.start_us[0]) - 1, first - 1, first)

    def check(self, units: Data) -> None:
        """Let pass only units that come after those seen; what lies between is a hole.

        Raises:
            MeasureError: `duplicate_stamp`, `stamps_out_of_order`, `shared_place`.
        """
        start_us, position = int(units.start_us[0]), int(units.position[0])
        if start_us == self.start_us:
            raise MeasureError(
                f"The unit at {start_us} us was there before.",
                "Leave it out; where its values were mended, begin again with all units.",
                code="duplicate_stamp",
            )
        if start_us < self.start_us:
            raise MeasureError(
                f"A unit at {start_us} us comes after one at {self.start_us} us.",
                "Give units in the order of time; where one was forgotten, begin again.",
                code="stamps_out_of_order",
            )
        if position <= self.position:
            raise MeasureError(
                f"A later unit has the place {position}, and {self.position} is taken.",
                "Number all units on one grid: a block goes on where the last one ended.",
                code="shared_place",
            )

    def after(self, units: Data, counted: Times) -> Seen:
        """The same after these units, of which the counted ones have these places."""
        return Seen(
            int(units.start_us[-1]),
            int(units.position[-1]),
            int(counted[-1]) if counted.size else self.counted_at,
            self.missing + units.n - counted.size,
        )


class Arrived(NamedTuple):
    """Units that count, with the rows of the model's tangent, and how far the series has come."""

    units: Data
    design: Array  # shape (m, p)
    seen: Seen


def arrived(baseline: Baseline, seen: Seen | None, data: Data) -> Arrived | None:
    """What counts of some more units; None where there is none at all.

    Args:
        baseline: with the model of one line whose units they are.
        seen: what came before; None: nothing.
        data: units in the zone of the baseline, with places on one grid. One without a value, or
            excluded by the plan, does not count and leaves a hole.

    Raises:
        MeasureError: `other_zone`, `duplicate_stamp`, `stamps_out_of_order`, `shared_place`,
            `missing_driver`, `other_units`, and those of `guard.checked`.
    """
    plan, zone = baseline.plan, baseline.given.zone
    if data.zone.key != zone.key:
        raise MeasureError(
            f"The units are of the zone {data.zone.key}, the baseline of {zone.key}.",
            "Count hours and months of both in one zone.",
            code="other_zone",
        )
    assert baseline.chosen is not None
    units = baseline.chosen.units(given_of(data, plan))
    if not units.n:
        return None
    check_alike(baseline.chosen.data, units)
    if seen is None:
        seen = Seen.before(units)
    else:
        seen.check(units)
    with np.errstate(all="ignore"):
        design = line_of(baseline).fitted.tangent(units)
    counts = units.is_whole & _finite(design)
    if plan.adjustments:
        counts &= ~excluded_units(plan.adjustments, units)
    if counts.all():
        return Arrived(units, design, seen.after(units, units.position))
    counted = units.where(counts)
    return Arrived(counted, design[counts], seen.after(units, counted.position))


def line_of(baseline: Baseline) -> LineEstimate:
    """The model of one line with its noise.

    Raises:
        MeasureError: `no_model`; `not_one_line`, the model is a blend of several.
    """
    estimate = baseline.required()
    if not isinstance(estimate, LineEstimate):
        raise MeasureError(
            "A blend of models asks for all its units again.",
            "Fit or sum up all units, or take a model without a blend.",
            code="not_one_line",
        )
    return estimate


@compiled
def _finite(rows: Array) -> Flags:
    """Where a row has no value that is missing, shape (m,)."""
    out = np.ones(rows.shape[0], np.bool_)
    for i in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            out[i] &= np.isfinite(rows[i, j])
    return out
