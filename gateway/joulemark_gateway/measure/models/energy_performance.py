"""Indicators of energy performance, and why specific energy is never one alone.

SEnPI = E / E_model: 0.95 is 5 % less than the model's plant would have used. Where neither period
is the one the model was fitted to, the two are chained: (E_r / Ehat_r) (Ehat_b / E_b).

With a base load b0 > 0 the specific energy E / P falls when a plant makes more and rises when it
makes less, with nothing saved or lost. It is therefore told only beside what the model says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.data import Data, Times
from joulemark_gateway.measure.models.base import Fitted
from joulemark_gateway.measure.qr import Array
from joulemark_gateway.measure.result import Split
from joulemark_gateway.measure.savings import Reported, split_of


@dataclass(frozen=True)
class Performance:
    """A period's energy against the model's, over the units where both are known."""

    units: int
    measured_wh: float
    predicted_wh: float

    @property
    def senpi(self) -> float:
        """E / E_model; below 1 is better than the model's plant."""
        return self.measured_wh / self.predicted_wh


@dataclass(frozen=True)
class Chained:
    """Two periods by a model that was fitted to either, or to a third."""

    baseline: Performance
    reporting: Performance

    @property
    def senpi(self) -> float:
        """(E_r / Ehat_r) (Ehat_b / E_b)."""
        return self.reporting.senpi / self.baseline.senpi

    @property
    def improvement_ratio(self) -> float:
        """The share of energy that the reporting period saves against the baseline's plant."""
        return 1 - self.senpi


@dataclass(frozen=True)
class SpecificEnergy:
    """Energy per made unit in both periods, beside what the model says of the same change.

    `by_activity_ratio` is the part of the change that the model expects from activity alone: what
    a reader of the specific energy would take for a saving or a loss.
    """

    driver: str
    baseline_wh_per_unit: float
    reporting_wh_per_unit: float
    expected_wh_per_unit: float  # by the model, for the reporting period
    chained: Chained

    @property
    def change_ratio(self) -> float:
        """How much the specific energy fell; no saving."""
        return 1 - self.reporting_wh_per_unit / self.baseline_wh_per_unit

    @property
    def by_activity_ratio(self) -> float:
        """How much of that the model expects with nothing saved."""
        return 1 - self.expected_wh_per_unit / self.baseline_wh_per_unit


def performance(fitted: Fitted, data: Data) -> Performance:
    """A period against the model.

    Raises:
        MeasureError: `no_whole_unit`, `model_predicts_no_energy`.
    """
    energy_wh, predicted_wh, _ = _known(fitted, data)
    predicted = math.fsum(predicted_wh.tolist())
    if predicted <= 0:
        raise MeasureError(
            f"The model predicts {predicted:g} Wh for the period.",
            "A ratio to it says nothing: look at the range of the drivers.",
            code="model_predicts_no_energy",
        )
    return Performance(energy_wh.size, math.fsum(energy_wh.tolist()), predicted)


def chain(fitted: Fitted, baseline: Data, reporting: Data) -> Chained:
    """Both periods against one model, of whichever time."""
    return Chained(performance(fitted, baseline), performance(fitted, reporting))


def specific_energy(fitted: Fitted, baseline: Data, reporting: Data, driver: str) -> SpecificEnergy:
    """Energy per unit made, never without the model beside it.

    Args:
        fitted: the model of the energy.
        baseline: units of the time before; those with a hole are left out of every sum.
        reporting: and after.
        driver: what was made.

    Raises:
        MeasureError: `nothing_made`, those of `performance`.
    """
    chained = chain(fitted, baseline, reporting)
    made = []
    for data in (baseline, reporting):
        _, _, places = _known(fitted, data)
        made.append(math.fsum(data.driver(driver)[places].tolist()))
        if made[-1] <= 0:
            raise MeasureError(
                f"{driver} adds up to {made[-1]:g} in a period.",
                "Energy per unit needs units: choose another driver or period.",
                code="nothing_made",
            )
    return SpecificEnergy(
        driver,
        chained.baseline.measured_wh / made[0],
        chained.reporting.measured_wh / made[1],
        chained.reporting.predicted_wh * chained.baseline.senpi / made[1],
        chained,
    )


def activity_and_efficiency(fitted: Fitted, baseline: Data, reporting: Data) -> Split:
    """E_b - E_r as what the plant did differently and what it needed less for the same.

    [E_b - Ehat_b(x_r)] + [Ehat_b(x_r) - E_r]; periods of unlike length put the difference into
    activity. A unit with a hole is left out of every sum.
    """
    before_wh, _, _ = _known(fitted, baseline)
    _, _, places = _known(fitted, reporting)
    kept = reporting.where(places)
    return split_of(before_wh, Reported(kept, (), fitted.predict_wh(kept)))


def _known(fitted: Fitted, data: Data) -> tuple[Array, Array, Times]:
    """Energy and prediction of the units where both are known, and their places."""
    predicted_wh = fitted.predict_wh(data)
    places = np.flatnonzero(np.isfinite(data.energy_wh) & np.isfinite(predicted_wh))
    if not places.size:
        raise MeasureError(
            "No unit of the period has energy and every driver.",
            "Look at its coverage.",
            code="no_whole_unit",
        )
    return data.energy_wh[places], predicted_wh[places], places
