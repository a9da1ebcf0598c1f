"""Walks through what meters counted, reading by reading, in the time of the readings. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.kernels.demand import LEAST_RATIO
from joulemark_gateway.costs.forecast import (
    Forecast,
    Level,
    Running,
    Standing,
    WarningRule,
    change_of,
    forecast,
    stepped,
)

Integers = NDArray[np.int64]
_US_PER_H = 3_600_000_000
_LEAST_MEAN_US = 60_000_000  # over which power now is the mean, where readings come more often
_CHANGES = 8  # of power, that tell its uncertainty


@dataclass(frozen=True, eq=False)
class Counted:
    """What one meter counted from read to read, as far as it is known, in order; shape (m,)."""

    start_us: Integers
    end_us: Integers
    amount_wh: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Windows:
    """The intervals of demand one after another, shape (w,)."""

    start_us: Integers
    end_us: Integers
    counts: NDArray[np.bool_]


@dataclass(frozen=True)
class Evaluated:
    """What was known of a running interval at one reading, and how the site stands since."""

    running: Running
    forecast: Forecast
    limit_w: float
    standing: Standing


class Limit:
    """The limit as it is known: what is billed anyway grows with every interval that passes it."""

    def __init__(self, floor_w: float, *, grows: bool, ratio: float = 1.0) -> None:
        self._highest_w, self._grows, self._ratio = floor_w, grows, ratio

    @property
    def power_w(self) -> float:
        """At which it is warned. [W]"""
        return self._highest_w * self._ratio

    def ended(self, demand_w: float) -> None:
        """An interval has ended with this demand."""
        if self._grows:
            self._highest_w = max(self._highest_w, demand_w)


def walked(  # noqa: PLR0917 -- one for each thing it knows
    windows: Windows,
    meters: Sequence[Counted],
    after_us: int,
    until_us: int,
    standing: Standing,
    limit: Limit,
    rule: WarningRule,
) -> Iterator[Evaluated]:
    """Every evaluation of (after, until], one for each reading, in the order of time.

    Where a reading ends an interval, the interval is evaluated a last time, and the next one for
    the first time.

    Args:
        windows: in which the readings lie.
        meters: what each counted; the site is their sum.
        after_us: up to here it was evaluated before. [us UTC]
        until_us: up to here every meter is known, or given up. [us UTC]
        standing: how the site stood then.
        limit: what is passed; told of every interval that ends.
        rule: when to warn; its `limit_w` is taken from `limit`.
    """
    known = [one for one in meters if one.start_us.size]
    if not known:
        return
    ends = np.unique(np.concatenate([one.end_us for one in known]))
    ends = ends[(ends > after_us) & (ends <= until_us)]
    sums = _Sums(known, len(meters))
    for at_us in ends.tolist():
        k = int(np.searchsorted(windows.end_us, at_us, side="left"))
        if k >= windows.start_us.size or at_us <= windows.start_us[k]:
            continue
        which = [k] if at_us < windows.end_us[k] else [k, k + 1]
        for w in which:
            if w >= windows.start_us.size:
                continue
            running = sums.running(int(windows.start_us[w]), int(windows.end_us[w]), at_us)
            found = forecast(running)
            one = WarningRule(
                limit.power_w, rule.clear_ratio, rule.coverage_factor, rule.least_known_ratio
            )
            if not windows.counts[w]:  # what was warned of ends with the band
                if standing.level is not Level.QUIET:
                    standing = Standing(Level.QUIET, running.start_us, running.at_us)
            elif limit.power_w > 0:
                standing = stepped(one, standing, running, found)
            yield Evaluated(running, found, limit.power_w, standing)
            has_ended = running.at_us == running.end_us and found.known_ratio >= LEAST_RATIO
            if has_ended and windows.counts[w]:
                limit.ended(found.so_far_w)


class _Sums:
    """Energy and known time up to any instant, of all meters together."""

    def __init__(self, meters: Sequence[Counted], count: int) -> None:
        self._count = count
        self._meters = [_cumulative(one) for one in meters]
        steps = np.concatenate([one.end_us - one.start_us for one in meters])
        self.step_us = int(np.median(steps))
        self._mean_us = max(self.step_us, _LEAST_MEAN_US)

    def running(self, start_us: int, end_us: int, at_us: int) -> Running:
        edges = np.array([start_us, at_us], np.float64)
        energy_wh, known_us = self._between(edges)
        at = at_us - self._mean_us * np.arange(_CHANGES + 1, -1, -1, dtype=np.float64)
        taken, over = self._between(at)
        powers = [
            float(wh) * _US_PER_H / float(us)
            for wh, us in zip(taken, over, strict=True)
            if us >= self._mean_us / 2
        ]
        power_w = powers[-1] if powers else 0.0
        return Running(
            start_us,
            end_us,
            at_us,
            float(energy_wh[0]) if at_us > start_us else 0.0,
            int(known_us[0]) if at_us > start_us else 0,
            power_w,
            change_of(powers),
            self._mean_us,
        )

    def _between(self, edges: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        energy = np.zeros(edges.size - 1)
        known = np.zeros(edges.size - 1)
        for nodes, wh, us in self._meters:
            energy += np.diff(np.interp(edges, nodes, wh))
            known += np.diff(np.interp(edges, nodes, us))
        return energy, known / self._count


def _cumulative(one: Counted) -> tuple[NDArray[np.float64], ...]:
    """Nodes, and what was counted and known up to each; between steps nothing grows."""
    nodes = np.empty(2 * one.start_us.size)
    nodes[0::2], nodes[1::2] = one.start_us, one.end_us
    wh, us = np.zeros(nodes.size), np.zeros(nodes.size)
    wh[1::2], us[1::2] = one.amount_wh, one.end_us - one.start_us
    return nodes, np.cumsum(wh), np.cumsum(us)
