"""Sums over chosen steps between samples: the two sums of a ratio share their steps.

Every array here has one row per sample and speaks of the step from it to the next; a step of 0 us
is one for which nobody vouches.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Field

from joulemark_agent.contract.quantities import unit_of
from joulemark_agent.equipment.base import (
    US_PER_S,
    Figure,
    Flags,
    Number,
    Samples,
    Section,
    Times,
    Values,
    absent,
    counted,
    extent,
    held_steps_us,
    measured,
    of_unit,
)
from joulemark_agent.physics.budget import Amount, linear
from joulemark_agent.physics.fab_energy import S_PER_H

USES = ("W", "Wh", "m3/s", "m3", "dm3")  # of points of what is used: rates or counters
_PER_COUNT = {"dm3": 1e-3}  # of the result's unit; a counter counts whole units


class Signal(Section):
    """A point that tells a state, and which of its numbers mean yes; every other means no."""

    point: Annotated[str, of_unit("", "1")]
    values: Annotated[tuple[Number, ...], Field(min_length=1)]

    def told(self, samples: Samples) -> Values:
        """1 for yes, 0 for no, NaN where the step is not vouched for; shape (n,)."""
        column = samples.column(self.point)
        if column is None:
            return np.full(samples.t_us.size, np.nan)
        is_known = held_steps_us(samples.t_us, column, samples.max_gap_us) > 0
        return np.where(is_known, np.isin(column, self.values), np.nan)


class Used(NamedTuple):
    """What was used in each step."""

    amount: Values  # [Wh or m3], 0 where the step is 0
    step_us: Times

    def over(self, chosen: Flags | bool = True) -> tuple[float, int]:
        """The sum over the steps chosen, and their time. [Wh or m3, us]"""
        return float(self.amount[self.is_in(chosen)].sum()), int(
            self.step_us[self.is_in(chosen)].sum()
        )

    def is_in(self, chosen: Flags | bool = True) -> Flags:
        """Which of the steps chosen are known."""
        return (self.step_us > 0) & chosen


def used(samples: Samples, point: str) -> Used | None:
    """What a point of power, flow or a counter of one says was used; None: it is not recorded."""
    column = samples.column(point)
    if column is None or samples.t_us.size < 2:
        return None
    if point in samples.counters or unit_of(point) in {"Wh", "m3", "dm3"}:
        windows = counted(samples, point, samples.t_us)
        per_count = _PER_COUNT.get(unit_of(point) or "", 1.0)
        step_us = np.where(windows.missing_us == 0, np.diff(samples.t_us), 0)
        amount = np.where(step_us > 0, windows.amount * per_count, 0.0)
        return Used(np.append(amount, 0.0), np.append(step_us, 0))
    step_us = held_steps_us(samples.t_us, column, samples.max_gap_us)
    per_s = 1.0 / S_PER_H if unit_of(point) == "W" else 1.0
    return Used(np.where(step_us > 0, column, 0.0) * step_us / US_PER_S * per_s, step_us)


def used_figure(name: str, samples: Samples, point: str, of: Used | None) -> Figure:
    """The whole of it as a figure."""
    if of is None:
        return absent(name, f"{point!r} is not recorded.")
    start_us, end_us = extent(samples)
    amount, covered_us = of.over()
    return measured(name, amount, covered_us, end_us - start_us)


def common_steps_us(samples: Samples, *columns: Values) -> Times:
    """How long each sample holds where all columns are good at both of its ends. [us]"""
    whole = np.sum(np.stack(columns), axis=0)  # NaN where one is
    return held_steps_us(samples.t_us, whole, samples.max_gap_us)


def integral(column: Values, step_us: Times) -> float:
    """The column times time over the steps. [unit x s]"""
    return float(np.where(step_us > 0, column, 0.0) @ step_us) / US_PER_S


def seconds(step_us: Times) -> float:
    """The time of the steps. [s]"""
    return float(step_us.sum()) / US_PER_S


def in_proportion(amount: Amount | None, value: float) -> Amount | None:
    """A part of an amount, as unsure in proportion as the whole; None where that is unknown.

    The gain of a meter errs alike in all of its energy, which is what this assumes of every part.
    """
    if amount is None or amount.value == 0:
        return None
    return linear(value, [(value / amount.value, amount)])
