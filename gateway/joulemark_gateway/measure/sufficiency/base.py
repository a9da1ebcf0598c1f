"""What a sufficiency policy is asked, and what it answers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.calendar import US_PER_DAY
from joulemark_gateway.measure.data import Data, Flags, Times
from joulemark_gateway.measure.finding import PolicyUsed
from joulemark_gateway.measure.guard import checked
from joulemark_gateway.measure.qr import Array
from joulemark_gateway.measure.rules import Judged

Carrier = Literal["electricity", "gas"]
BillCycle = Literal["monthly", "bimonthly"]


@dataclass(frozen=True, eq=False)
class Billing:
    """What is known of bills besides their energy; arrays of shape (n,), one row a bill."""

    cycle: BillCycle
    is_merged: Flags  # an estimated read was joined with the next
    estimated_us: Times  # of the bill's time


@dataclass(frozen=True, eq=False)
class Case:
    """A baseline and what it shall prove.

    Units that are missing are NaN or absent. `covered_ratio` is how much of each baseline unit was
    measured where it was rolled up, shape (n,).
    """

    baseline: Data
    reporting: Data | None = None
    carrier: Carrier = "electricity"
    production_cycle_days: int | None = None
    adjusted_r2: float | None = None  # None: no model to judge
    billing: Billing | None = None  # None: units are days or shorter
    covered_ratio: Array | None = None


class Policy(Protocol):
    """One version of one policy. Less of a unit measured than `min_measured_ratio` masks it."""

    @property
    def id(self) -> str:
        """Its name, the same for all versions."""

    @property
    def version(self) -> str:
        """Another for every change of a rule."""

    @property
    def min_measured_ratio(self) -> float:
        """How much of a unit must be measured for the unit to count."""

    @property
    def fills_units(self) -> bool:
        """Whether the rest of a unit that counts is taken to be like what was measured."""

    def used(self) -> PolicyUsed:
        """The policy as it stands beside a saving."""

    def masked(self, data: Data, carrier: Carrier) -> Data:
        """The data with NaN where the policy calls a value missing: these are to be fitted."""

    def judge_data(self, case: Case) -> Judged:
        """Every rule that can be judged, with what was seen and the limit."""


def checked_case(case: Case) -> Case:
    """The case with its data fit for arithmetic.

    Raises:
        MeasureError: `other_drivers`, `ragged_columns`, `not_finite`, `bad_length` and those of
            `guard.checked`.
    """
    baseline = checked(case.baseline)
    reporting = None if case.reporting is None else checked(case.reporting)
    if reporting is not None and set(reporting.drivers) != set(baseline.drivers):
        raise MeasureError(
            f"The reporting period has the drivers {', '.join(sorted(reporting.drivers))}, the "
            f"baseline {', '.join(sorted(baseline.drivers))}.",
            "Give both periods the same.",
            code="other_drivers",
        )
    shapes = set() if case.covered_ratio is None else {np.shape(case.covered_ratio)}
    if case.billing is not None:
        shapes |= {np.shape(case.billing.is_merged), np.shape(case.billing.estimated_us)}
    if not shapes <= {(baseline.n,)}:
        raise MeasureError(
            f"What is said of the units is not said of {baseline.n} of them.",
            "Give one row a unit.",
            code="ragged_columns",
        )
    if case.adjusted_r2 is not None and not math.isfinite(case.adjusted_r2):
        raise MeasureError(
            "The adjusted R2 of the model is no number.",
            "Look for a load that never changes, or values that are too large.",
            code="not_finite",
        )
    if case.billing is not None:
        estimated_us = case.billing.estimated_us
        if ((estimated_us < 0) | (estimated_us > baseline.length_us + US_PER_DAY)).any():
            raise MeasureError(
                "More of a bill is estimated than it is long.",
                "Give the time of its estimated reads in microseconds.",
                code="bad_length",
            )
    return replace(case, baseline=baseline, reporting=reporting)
