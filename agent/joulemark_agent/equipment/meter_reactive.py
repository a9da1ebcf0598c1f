"""Reactive and apparent energy of a meter, from powers that are known at the same samples.

The quadrants are those of a load: active power above 0 is drawn, reactive power above 0 lags
(inductive).

| quadrant | active | reactive |
|---|---|---|
| 1 | drawn | lagging |
| 2 | fed back | lagging |
| 3 | fed back | leading |
| 4 | drawn | leading |
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from joulemark_agent.equipment.base import US_PER_H, Samples, Values
from joulemark_agent.kernels.stream import HOLD, MEAN_RIGHT


@dataclass(frozen=True)
class Quadrants:
    """Reactive energy by quadrant from 1 on, each without its sign, and the time it is of."""

    reactive_varh: tuple[float, ...]
    covered_us: int


@dataclass(frozen=True)
class Shares:
    """Active and apparent energy of the time in which power is drawn and both are known."""

    drawn_wh: float
    apparent_vah: float
    covered_us: int


@dataclass(frozen=True, eq=False)
class _Steps:
    """The steps in which all columns are known, each column going straight from first to last."""

    hours: Values
    first: tuple[Values, ...]
    last: tuple[Values, ...]
    covered_us: int


def quadrants(samples: Samples, power_w: Values, reactive_var: Values, kind: int) -> Quadrants:
    """The reactive energy of the time in which both powers are known, cut where either turns.

    Formula: E1, E2, E4, E5.

    Args:
        samples: of one device.
        power_w: at their instants, shape (n,). [W]
        reactive_var: at their instants, above 0 lagging, shape (n,). [var]
        kind: what a sample says: INST, MEAN_RIGHT or HOLD of `kernels.stream`.

    Error: as `kernels.stream.step_many`.
    """
    steps = _steps(samples, kind, power_w, reactive_var)
    (p0, q0), (p1, q1) = steps.first, steps.last
    turns = p0 * p1 < 0.0
    at = np.ones_like(p0)  # where in a step the active power turns; at its end where it does not
    np.divide(p0, p0 - p1, out=at, where=turns)
    q_turn = q0 + (q1 - q0) * at
    sums = np.zeros(4)
    before = (np.where(turns, p0, p0 + p1) >= 0.0, q0, q_turn, at)
    after = (p1 >= 0.0, q_turn, q1, 1.0 - at)
    for is_drawn, first, last, share in (before, after):
        lagging = _above_0(first, last) * share * steps.hours
        leading = _above_0(-first, -last) * share * steps.hours
        sums += [
            lagging[is_drawn].sum(),
            lagging[~is_drawn].sum(),
            leading[~is_drawn].sum(),
            leading[is_drawn].sum(),
        ]
    return Quadrants(tuple(sums.tolist()), steps.covered_us)


def shares(samples: Samples, power_w: Values, apparent_va: Values, kind: int) -> Shares:
    """What a power factor is made of: sums over the same samples, never a mean of ratios.

    Formula: E10.

    Args:
        samples: of one device.
        power_w: at their instants, shape (n,). [W]
        apparent_va: at their instants, shape (n,). [VA]
        kind: as in `quadrants`.

    Error: a step in which the power turns has no part in it.
    """
    drawn_w = np.where(power_w >= 0.0, power_w, np.nan)
    steps = _steps(samples, kind, drawn_w, np.abs(apparent_va))
    drawn_wh, apparent_vah = (
        float((first + last) @ steps.hours) / 2.0
        for first, last in zip(steps.first, steps.last, strict=True)
    )
    return Shares(drawn_wh, apparent_vah, steps.covered_us)


def _steps(samples: Samples, kind: int, *columns: Values) -> _Steps:
    step_us = np.diff(samples.t_us)
    known = np.all([~np.isnan(column) for column in columns], axis=0)
    used = known[:-1] & known[1:] & (step_us > 0) & (step_us <= samples.max_gap_us)
    begins = tuple(column[:-1][used] for column in columns)
    ends = tuple(column[1:][used] for column in columns)
    return _Steps(
        step_us[used] / US_PER_H,
        ends if kind == MEAN_RIGHT else begins,
        begins if kind == HOLD else ends,
        int(step_us[used].sum()),
    )


def _above_0(first: Values, last: Values) -> Values:
    """The mean of what lies above 0 on the straight ways from first to last."""
    high, low = np.maximum(first, last), np.minimum(first, last)
    above = np.where(low >= 0.0, (first + last) / 2.0, 0.0)
    crosses = (low < 0.0) & (high > 0.0)
    np.divide(high * high, 2.0 * (high - low), out=above, where=crosses)
    return above
