"""Power that an inverter could not take: where its AC side stood at its limit under more sun.

Evidence: the state of SunSpec that says so; or AC power at 99 % of the limit or more for at least
two samples, in which the sun lets one expect more than 102 % of it. The expectation is that of the
modules at their rating, times the share that this plant really gave while it was not limited. Of
the samples at the limit only those count that stand on its plateau, not those that pass by it.

Lost is what was expected less what was given, over the clipped samples, over those with irradiance
and the temperature of the cells.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.equipment.base import (
    US_PER_H,
    US_PER_S,
    Figure,
    Span,
    Times,
    Values,
    absent,
    held_steps_us,
)
from joulemark_agent.equipment.pv_amounts import STATE, Amounts, Columns
from joulemark_agent.equipment.pv_checks import THROTTLED
from joulemark_agent.equipment.segments import UNKNOWN, on_steps, runs, spans
from joulemark_agent.physics.photovoltaics import (
    INVERTER_EFFICIENCY,
    expected_dc_w,
    unlimited_ac_w,
)

_AT_LIMIT, _OVER_LIMIT = 0.99, 1.02  # of the limit
_LEAST_RUN = 2
_LEAST_NOISE, _MOST_NOISE = 0.0002, 0.0033  # of the plateau's level
_WIDTH = 3.0  # of the plateau downward, in its noise
_MAD_TO_SIGMA = 1.4826
_SUN_W_M2 = (200.0, 1200.0)
_CELL_K = (223.15, 383.15)
_FREE = (0.3, 0.95)  # of the limit: power that is neither clipped nor next to nothing
_LEAST_FREE = 20  # samples
_ROUNDS = 3  # the inverter's curve is nearly straight
_TOO_FEW = (
    "What this plant gives of its rating is not known: fewer than"
    f" {_LEAST_FREE} samples stand clearly below the limit. Look at a longer time."
)


@dataclass(frozen=True, eq=False)
class Clipping:
    """Which samples are clipped, and what was lost in each."""

    is_clipped: NDArray[np.bool_]
    is_judged: NDArray[np.bool_]  # samples that could be told
    lost_w: Values | None  # expected less given where clipped, 0 elsewhere; NaN where not known
    is_calibrated: bool = True  # whether what the plant gives of its rating is known


def rated_dc_w(
    columns: Columns, dc_peak_w: float | None, gamma_per_k: float | None
) -> Values | None:
    """The DC power that the sun lets one expect of modules at their rating; None: not known. [W]"""
    if columns.sun is None or columns.cell_k is None or dc_peak_w is None or gamma_per_k is None:
        return None
    return expected_dc_w(columns.sun, columns.cell_k, dc_peak_w, gamma_per_k)


def clipping(columns: Columns, rated_w: Values | None, limit_w: float | None) -> Clipping | None:
    """The clipped samples; None where nothing tells them.

    Args:
        columns: of one inverter.
        rated_w: see `rated_dc_w`.
        limit_w: the largest AC power that the inverter gives; None: not declared. [W]
    """
    ac = columns.ac
    state = columns.samples.column(STATE)
    reported = np.zeros(ac.size, np.bool_) if state is None else state == THROTTLED
    sun, cell_k = columns.sun, columns.cell_k
    if limit_w is None or rated_w is None or sun is None or cell_k is None:
        if not reported.any():
            return None
        judged = ~np.isnan(ac) & ~np.isnan(ac if state is None else state)
        return Clipping(reported, judged, None)
    usable = (rated_w > 0) & _between(sun, _SUN_W_M2) & _between(cell_k, _CELL_K)
    free = usable & (ac >= _FREE[0] * limit_w) & (ac <= _FREE[1] * limit_w) & ~reported
    is_calibrated = bool(free.sum() >= _LEAST_FREE)
    share = _share(ac[free], rated_w[free], limit_w) if is_calibrated else 1.0
    expected = unlimited_ac_w(share * rated_w, limit_w / INVERTER_EFFICIENCY)
    is_clipped = reported | _plateau(ac, expected, limit_w)
    is_judged = ~np.isnan(ac) & (reported | ~np.isnan(rated_w))
    is_told = is_calibrated or not is_clipped.any()
    lost = np.where(is_clipped, expected - ac, 0.0 * ac) if is_told else None
    return Clipping(is_clipped, is_judged, lost, is_calibrated)


def clipping_figures(
    found: Clipping | None, columns: Columns, of: Amounts, k: int, why: str
) -> Iterator[Figure]:
    """For how long an inverter was limited in window `k`, and what that cost."""
    start_us, end_us = int(of.edges_us[k]), int(of.edges_us[k + 1])
    if found is None:
        yield from (absent(name, why) for name in ("clipped_s", "clipping_lost_wh"))
        return
    step_us = _inside_us(columns, start_us, end_us)
    judged_us = int(step_us[found.is_judged].sum())
    if judged_us == 0:
        nothing = "There is no time with all that is needed to tell."
        yield from (absent(name, nothing) for name in ("clipped_s", "clipping_lost_wh"))
        return
    covered = judged_us / (end_us - start_us)
    clipped_us = step_us[found.is_clipped & found.is_judged].sum()
    flags = () if found.is_calibrated else ("estimated",)
    yield Figure("clipped_s", float(clipped_us) / US_PER_S, covered, flags=flags)
    if found.lost_w is None:
        yield absent("clipping_lost_wh", why if found.is_calibrated else _TOO_FEW)
        return
    is_known = ~np.isnan(found.lost_w)
    lost_wh = float((found.lost_w * step_us)[is_known].sum()) / US_PER_H
    covered = int(step_us[is_known].sum()) / (end_us - start_us)
    is_more = bool(step_us[found.is_clipped & found.is_judged & ~is_known].any())
    flags = ("lower_bound",) if is_more else ()
    yield Figure("clipping_lost_wh", lost_wh, covered, flags=flags)


def clipping_spans(found: Clipping | None, columns: Columns) -> Iterator[Span]:
    """The times in which an inverter was limited."""
    if found is not None:
        samples = columns.samples
        step_us = held_steps_us(samples.t_us, columns.ac, samples.max_gap_us)
        is_clipped = found.is_clipped & found.is_judged
        labels = on_steps(np.where(is_clipped, np.int8(0), UNKNOWN), step_us)
        yield from spans(labels, samples.t_us, ("clipped",))


def _share(ac: Values, rated_w: Values, limit_w: float) -> float:
    """What the plant gives of its rating, from samples in which it was free."""
    share = 1.0
    for _ in range(_ROUNDS):
        expected = unlimited_ac_w(share * rated_w, limit_w / INVERTER_EFFICIENCY)
        share *= float(np.median(ac / np.maximum(expected, 1e-9)))
    return share


def _plateau(ac: Values, expected: Values, limit_w: float) -> NDArray[np.bool_]:
    """The samples of runs at the limit that stand at its level, with more sun than it takes."""
    sure = np.zeros(ac.size, np.bool_)
    for inside in _runs(ac >= _AT_LIMIT * limit_w):
        sure[inside] = expected[inside] > _OVER_LIMIT * limit_w
    chosen = np.zeros(ac.size, np.bool_)
    if not sure.any():
        return chosen
    level = float(np.median(ac[sure]))
    noise = _MAD_TO_SIGMA * float(np.median(np.abs(ac[sure] - level)))
    noise = float(np.clip(noise, _LEAST_NOISE * level, _MOST_NOISE * level))
    for inside in _runs(sure | (ac >= level - _WIDTH * noise)):
        if sure[inside].any() or np.nansum(expected[inside] - level) > 0:
            stands = np.flatnonzero(sure[inside] | (ac[inside] >= level - noise))
            if stands.size:  # before and after it the power only passes by
                chosen[inside.start + stands[0] : inside.start + stands[-1] + 1] = True
    return chosen


def _runs(is_high: NDArray[np.bool_]) -> Iterator[slice]:
    """The runs of at least two samples."""
    for run in runs(is_high.astype(np.int8)):
        if run.label == 1 and run.size >= _LEAST_RUN:
            yield slice(run.first, run.stop)


def _between(values: Values, ends: tuple[float, float]) -> NDArray[np.bool_]:
    return (values >= ends[0]) & (values <= ends[1])


def _inside_us(columns: Columns, start_us: int, end_us: int) -> Times:
    """How long each sample holds inside a window. [us]"""
    t_us = columns.samples.t_us
    step_us = held_steps_us(t_us, columns.ac, columns.samples.max_gap_us)
    inside: Times = np.minimum(t_us + step_us, end_us) - np.maximum(t_us, start_us)
    return np.where(inside > 0, inside, 0)
