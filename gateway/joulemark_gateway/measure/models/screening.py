"""A stated step before a fit: units that are no plain measurement, and outliers, left out by rule.

It is for histories whose meter cannot be asked any more. Nothing is left out in silence: the step
has a name and a version, and says how many units each of its rules took.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.data import Data, Flags
from joulemark_gateway.measure.models.base import Fitted
from joulemark_gateway.measure.models.production import Predictor, fit_production

_US_PER_HOUR = 3_600_000_000
_MOST_ROUNDS = 100


@dataclass(frozen=True)
class Screen:
    """The limits of one version of one step."""

    id: str
    version: str
    most_power_w: float  # at or above it no unit's mean is a measurement
    active: str  # driver that is above 0 where the machine does its work
    sigmas: float  # of the residuals; what lies beyond is left out, until nothing does


@dataclass(frozen=True)
class LeftOut:
    """One rule of a step, and how many units it took."""

    code: str
    rule: str
    units: int


@dataclass(frozen=True, eq=False)
class Screened:
    """The fit to what is left, and how it came to be."""

    fitted: Fitted
    kept: Flags  # of the units that were given
    left_out: tuple[LeftOut, ...]
    rounds: int  # of trimming
    step: str  # id and version


def plausible(data: Data, screen: Screen) -> tuple[Flags, tuple[LeftOut, ...]]:
    """Which units may be taken as measured, and what each rule took, in the order of the rules.

    A counter that stands still reads 0 and then catches up in one unit: neither is what the
    machine drew then.
    """
    power_w = data.energy_wh / (data.length_us / _US_PER_HOUR)
    work = data.driver(screen.active)
    rules = (
        ("missing", "energy and drivers are known", data.is_whole),
        ("no_energy", "the meter counted something", power_w > 0),
        (
            "power_above_possible",
            f"the mean power is below {screen.most_power_w:g} W",
            power_w < screen.most_power_w,
        ),
        ("not_active", f"{screen.active} is above 0", work > 0),
    )
    kept = np.ones(data.n, np.bool_)
    left_out = []
    for code, rule, holds in rules:
        left_out.append(LeftOut(code, rule, int(np.count_nonzero(kept & ~holds))))
        kept &= holds
    return kept, tuple(left_out)


def fit_screened(data: Data, predictors: Sequence[Predictor], screen: Screen) -> Screened:
    """The production model of what a step leaves.

    Args:
        data: units, holes allowed.
        predictors: of the model.
        screen: the step.

    Raises:
        MeasureError: those of `fit_production`; `trimming_never_ends`.
    """
    kept, left_out = plausible(data, screen)
    first = int(np.count_nonzero(kept))
    for rounds in range(_MOST_ROUNDS):
        places = np.flatnonzero(kept)
        fitted = fit_production(data.where(places), predictors)
        limit = screen.sigmas * math.sqrt(fitted.linear.residual_variance)
        beyond = np.abs(fitted.linear.e) > limit
        if not beyond.any():
            trimmed = LeftOut(
                "outlier",
                f"the residual is at most {screen.sigmas:g} standard deviations",
                first - places.size,
            )
            step = f"{screen.id} {screen.version}"
            return Screened(fitted, kept, (*left_out, trimmed), rounds, step)
        kept[places[beyond]] = False
    raise MeasureError(
        f"Outliers are still found after {_MOST_ROUNDS} rounds.",
        "Look for what splits the units into two kinds: a shift, a product, a machine.",
        code="trimming_never_ends",
    )
