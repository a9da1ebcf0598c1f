"""A register against the integral of power beside it: which is believed, and what filled a gap.

A register counts through an outage and never forgets; an integral sees inside a window and stops
where nobody reads. So a window's energy is the register's, the integral vouches for it, and what
the register counted while nobody integrated is the energy of the gap, measured by the register.
Nothing is invented: without a register a gap has none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.kernels.jit import compiled

Times = NDArray[np.int64]
Values = NDArray[np.float64]
Flags = NDArray[np.bool_]

UNKNOWN, BY_REGISTER, BY_INTEGRAL = 0, 1, 2  # where a window's energy is from
WHOLE_RATIO = 1.0 - 1e-6  # from here on a window counts as integrated throughout
_US_PER_H = 3.6e9


@dataclass(frozen=True, eq=False)
class Reconciled:
    """Windows as register and integral agree on them. Shapes (w,)."""

    energy_wh: Values  # NaN: neither says
    source: NDArray[np.int64]  # BY_REGISTER, BY_INTEGRAL (its covered part only) or UNKNOWN
    kappa_ratio: Values  # register over integral, NaN where they do not speak of the same time
    is_alarm: Flags  # they disagree by more than twice the standard uncertainty
    gap_wh: Values  # counted by the register while nothing was integrated; flag of it:
    measured_by_register: Flags


def boundary_counts(
    edges_us: Times,
    t_us: Times,
    count: Values,
    integral_wh: tuple[Values, Values] | None = None,
) -> Values:
    """What a register showed at each edge, between its two reads around it; NaN outside of them.

    Formula: E7.

    Args:
        edges_us: of windows, shape (w + 1,). [us]
        t_us: instants of the register's reads, increasing, shape (n,). [us]
        count: what it counted until then, never falling, shape (n,). [Wh]
        integral_wh: the integral of power until each of `t_us` and until each of `edges_us`, never
            falling, shapes (n,) and (w + 1,): between two reads the count follows it. None, or
            where it stands still: the count follows time. [Wh]

    Error: `boundary_uncertainty`.
    Source: definition: between two reads the count runs as the power does, or evenly.
    """
    found = np.full(edges_us.size, np.nan)
    after = np.clip(np.searchsorted(t_us, edges_us, side="left"), 1, max(t_us.size - 1, 1))
    for k, edge_us in enumerate(edges_us.tolist()):
        if t_us.size < 2 or not t_us[0] <= edge_us <= t_us[-1]:
            continue
        b = int(after[k])
        share = float(edge_us - t_us[b - 1]) / float(t_us[b] - t_us[b - 1])
        if integral_wh is not None:
            at_reads, at_edges = integral_wh
            if at_reads[b] > at_reads[b - 1]:
                rise = at_reads[b] - at_reads[b - 1]
                share = float((at_edges[k] - at_reads[b - 1]) / rise)
        found[k] = count[b - 1] + share * (count[b] - count[b - 1])
    return found


def boundary_uncertainty(resolution_wh: float, power_error_w: float, step_us: float) -> float:
    """Standard uncertainty of a register's count at an edge between two reads. [Wh]

    Formula: E7: u^2 = resolution^2 / 12 + (power error * step)^2.

    Args:
        resolution_wh: of the register. [Wh]
        power_error_w: by how much the mean power before the edge may differ from that of the whole
            step; 0 at a read. [W]
        step_us: between the two reads. [us]

    Source: JCGM 100:2008, F.2.2.1, for the resolution; its equation 10 for the sum.
    """
    drift_wh = power_error_w * step_us / _US_PER_H
    return float(np.sqrt(resolution_wh**2 / 12.0 + drift_wh**2))


def reconciled(
    register_wh: Values,
    integral_wh: Values,
    covered_ratio: Values,
    register_u_wh: Values,
    integral_u_ratio: float,
) -> Reconciled:
    """Windows of one meter by its register and by the integral of its power.

    Formula: E8.

    Args:
        register_wh: what the register counted in each window, NaN where it does not say; the
            windows add up to the register's own difference, shape (w,). [Wh]
        integral_wh: the integral over what is covered of each, NaN where there is none, shape (w,).
            [Wh]
        covered_ratio: how much of each was integrated, from 0 to 1, shape (w,).
        register_u_wh: standard uncertainty of `register_wh`, shape (w,). [Wh]
        integral_u_ratio: relative standard uncertainty of the integral: meter and sampling.

    Source: JCGM 100:2008, equation 10, for the uncertainty of the difference; an alarm beyond twice
        it, as for a coverage factor of 2.
    """
    has_register = ~np.isnan(register_wh)
    has_integral = ~np.isnan(integral_wh) & (covered_ratio > 0.0)
    source = np.where(has_register, BY_REGISTER, np.where(has_integral, BY_INTEGRAL, UNKNOWN))
    energy_wh = np.where(has_register, register_wh, np.where(has_integral, integral_wh, np.nan))
    both = has_register & has_integral
    is_whole = both & (covered_ratio >= WHOLE_RATIO)
    u_wh = np.hypot(register_u_wh, integral_u_ratio * np.abs(integral_wh))
    kappa = np.full(energy_wh.size, np.nan)
    np.divide(register_wh, integral_wh, out=kappa, where=is_whole & (integral_wh != 0.0))
    # |kappa - 1| > 2 u(kappa), written so that an integral of 0 is compared too
    off_wh = np.abs(register_wh - integral_wh)
    is_gap = has_register & (covered_ratio < WHOLE_RATIO)
    gap_wh = np.where(is_gap, register_wh - np.where(has_integral, integral_wh, 0.0), 0.0)
    is_alarm = (is_whole & (off_wh > 2.0 * u_wh)) | (is_gap & both & (gap_wh < -2.0 * u_wh))
    return Reconciled(energy_wh, source, kappa, is_alarm, gap_wh, is_gap)


@compiled
def weighted_mean(value: Values, weight: Values) -> float:
    """A mean of what belongs together: sum of value times weight over the sum of weights.

    Formula: E10: a ratio is a sum over a sum, never the mean of ratios.

    Args:
        value: NaN where there is none, shape (n,).
        weight: not negative, such as time or irradiation; NaN where there is none, shape (n,).

    Returns:
        NaN where no weight is left.
    """
    total, weights = 0.0, 0.0
    for i in range(value.size):
        if not (np.isnan(value[i]) or np.isnan(weight[i])):
            total += value[i] * weight[i]
            weights += weight[i]
    return total / weights if weights > 0.0 else np.nan
