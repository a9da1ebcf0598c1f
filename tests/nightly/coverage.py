"""What intervals cover: meters that heat and cool, residuals that remember, change points searched.

A year of daily baseline, no saving, the sum of the next 30, 90 and 365 days. The engine's interval
shall hold the truth in nine of ten meters, whatever the memory of the residuals, and the smallest
saving it calls detectable shall be the one that noise alone exceeds in one of ten. What others
print for the same meters stands beside it; those that forget the memory must fail.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from joulemark_gateway.measure.compatibility import INTERVAL_METHODS, case_of
from joulemark_gateway.measure.detectable import detectable
from joulemark_gateway.measure.estimate import estimate_of
from joulemark_gateway.measure.student import quantile
from support.five_parameters import YEAR, Meter, five_parameters, meter

CONFIDENCE = 0.9
RHOS, SPANS = (0.0, 0.4, 0.7, 0.9), (30, 90, 365)
REPLICATES = 1500
LEAST, MOST = 0.87, 0.93  # of the meters
MOST_OFF = 0.15  # of the smallest detectable saving
OURS, FORGETFUL = "joulemark", "points in quadrature"
PEERS = ("g14-2014-annex-b", "g14-effective-n", "sun-baltazar-2013", "caltrack-fsu-2.0")
SHOWN = (OURS, *PEERS, "ols-independent", FORGETFUL)


@dataclass
class Cell:
    """The meters of one memory, summed over one span."""

    inside: dict[str, list[bool]] = field(default_factory=lambda: defaultdict(list))
    foreseen: list[float] = field(default_factory=list)  # F_min, before the span began
    seen: list[float] = field(default_factory=list)  # what noise made of no saving, as a share

    def coverage(self, method: str) -> float:
        """Share of the meters whose interval of this method holds the truth."""
        return float(np.mean(self.inside[method]))

    @property
    def foresight(self) -> float:
        """The foreseen smallest saving over the one that noise exceeds in one of ten."""
        return float(np.median(self.foreseen) / np.quantile(self.seen, CONFIDENCE))


def run(seed: int, *, full: bool) -> dict[str, str]:
    """Fifteen hundred meters of each memory, or a hundred and fifty of two."""
    replicates = REPLICATES if full else REPLICATES // 10
    rhos = RHOS if full else (0.0, 0.7)
    # A tenth of the meters tells less: four standard errors instead of the limits.
    slack = 0.0 if full else 4 * math.sqrt(CONFIDENCE * (1 - CONFIDENCE) / replicates)
    figures, wrong = {}, []
    for rho in rhos:
        cells = simulated(seed, rho, replicates)
        for m, cell in cells.items():
            where = f"rho {rho:g}, {m} days"
            ours = cell.coverage(OURS)
            if not LEAST - slack <= ours <= MOST + slack:
                wrong.append(f"{where}: {ours:.1%}")
            if abs(cell.foresight - 1) > MOST_OFF + slack:
                wrong.append(f"{where}: detectable saving off by {cell.foresight - 1:.0%}")
            if rho >= 0.7:
                for forgetful in ("ols-independent", FORGETFUL):
                    assert cell.coverage(forgetful) < 0.7, f"{forgetful} must fail: {where}"
            shares = ", ".join(f"{name} {cell.coverage(name):.1%}" for name in SHOWN)
            figures[where] = f"{shares}; smallest saving foreseen / seen {cell.foresight:.2f}"
    assert not wrong, f"{wrong} of {figures}"
    return {"meters of each memory": f"{replicates}", **figures}


def simulated(seed: int, rho: float, replicates: int) -> dict[int, Cell]:
    """The cells of one memory, by span; the spans share their meters."""
    draw = np.random.default_rng([seed, round(1000 * rho)])
    cells = {m: Cell() for m in SPANS}
    for _ in range(replicates):
        _look(meter(draw, rho, max(SPANS)), cells)
    return cells


def _look(one: Meter, cells: dict[int, Cell]) -> None:
    fitted = five_parameters(one.before)
    estimate = estimate_of(fitted, one.before)
    smallest = detectable(estimate, one.after, CONFIDENCE)
    error_wh = np.cumsum(fitted.predict_wh(one.after) - one.after.energy_wh)
    for m, cell in cells.items():
        error = abs(float(error_wh[m - 1]))
        span = one.after.where(np.arange(m))
        variance = float(estimate.covariance(span, np.ones((1, m)))[0, 0])
        cell.inside[OURS].append(error <= estimate.process.half_width(variance, CONFIDENCE))
        cell.foreseen.append(float(smallest.ratio[m - 1]))
        cell.seen.append(error / float(smallest.predicted_wh[m - 1]))
        case = case_of(fitted, one.before, span, step="day", months=12 * m / YEAR)
        for name in (*PEERS, "ols-independent"):
            half_width = INTERVAL_METHODS[name].half_width_wh(case, CONFIDENCE)
            cell.inside[name].append(error <= half_width)
        degrees = max(case.effective_n - case.p, 1.0)
        point = quantile((1 + CONFIDENCE) / 2, degrees) * (1 + 1 / math.sqrt(case.n))
        summed = point * math.sqrt(case.sse_wh2 / case.n * m)
        cell.inside[FORGETFUL].append(error <= summed)
