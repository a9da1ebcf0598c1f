"""Ways of the same work in turns: medians, and ratios taken in pairs of the same round.

On a machine that others use too, a rate says little. What ways cost in the same round, one right
after the other, has a ratio that says more, and the median of several rounds more still.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Work = Callable[[], float]  # does it once, and says what it cost


@dataclass(frozen=True)
class Seen:
    """What each way cost, round by round, in one unit."""

    costs: Mapping[str, list[float]]
    load: float  # of the machine, when it was over

    def median(self, way: str) -> float:
        """The middle of what a way cost."""
        return statistics.median(self.costs[way])

    def ratio(self, way: str, to: str) -> float:
        """The middle of its ratios to another way, each of one round."""
        pairs = zip(self.costs[way], self.costs[to], strict=True)
        return statistics.median(cost / other for cost, other in pairs)


def in_turns(ways: Mapping[str, Work], rounds: int = 5) -> Seen:
    """Every way once a round, after one round that does not count."""
    costs: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds + 1):
        for way, work in ways.items():
            cost = work()
            if number:
                costs[way].append(cost)
    return Seen(costs, os.getloadavg()[0])


def cpu_s(work: Callable[[], object]) -> float:
    """CPU time of this process for the work. [s]"""
    begun_s = time.process_time()
    work()
    return time.process_time() - begun_s


def show(what: str, seen: Seen, unit: str, *, to: str, better: str = "") -> None:
    """A line for each way: median, least and most, and its ratio to another."""
    rounds = len(next(iter(seen.costs.values())))
    lines = [f"{what} [{unit}], {rounds} rounds, load {seen.load:.0f}:"]
    for way, costs in seen.costs.items():
        beside = f"   {seen.ratio(way, to):8.2f} x {to}"
        if better and way != better:
            beside += f"   {seen.ratio(way, better):8.2f} x {better}"
        lines.append(
            f"  {way:32} {seen.median(way):12.4g} ({min(costs):.4g}..{max(costs):.4g}){beside}"
        )
    say(*lines)


def say(*lines: str) -> None:
    """Print lines of a result."""
    sys.stdout.write("\n" + "\n".join(lines) + "\n")
