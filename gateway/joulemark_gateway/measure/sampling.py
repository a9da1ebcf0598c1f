"""How many of many like machines must be measured so that their mean is known well enough.

n = (CV t / r)^2 (1 - n / N) with Student's t of n - 1 degrees, for a confidence and a relative
precision r. The smallest whole n is sought, since t depends on it.

Source: after the CDM standard on sampling (90/10 at small, 95/10 at large scale); its text was not
at hand, so that both are named policies.
"""

from __future__ import annotations

from dataclasses import dataclass

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.finding import PolicyUsed
from joulemark_gateway.measure.student import quantile

_SOURCE = "after the CDM standard on sampling; its text was not at hand"


@dataclass(frozen=True)
class SamplingPolicy:
    """How sure, and how near, one version of one policy asks for."""

    id: str
    version: str
    text: str
    confidence: float
    precision_ratio: float

    def used(self) -> PolicyUsed:
        """The policy as it stands beside a figure."""
        return PolicyUsed(self.id, self.version, self.text, _SOURCE)


SAMPLING_POLICIES = {
    policy.id: policy
    for policy in (
        SamplingPolicy("sampling-90-10", "1", "90 % confidence of 10 % either way.", 0.90, 0.10),
        SamplingPolicy("sampling-95-10", "1", "95 % confidence of 10 % either way.", 0.95, 0.10),
    )
}


def precision_ratio(n: int, population: int, cv: float, confidence: float) -> float:
    """Half of the interval of the mean over the mean, when n of the population are measured.

    Args:
        n: measured, at least 2 unless it is the whole population.
        population: all of them.
        cv: standard deviation over mean of what is measured. [1]
        confidence: of the two-sided interval.
    """
    if n == population:
        return 0.0
    t = quantile((1 + confidence) / 2, n - 1)
    return float(t * cv * ((1 / n) * (1 - n / population)) ** 0.5)


def sample_size(population: int, cv: float, policy: SamplingPolicy) -> int:
    """The fewest that must be measured; all of them where fewer do not do.

    Args:
        population: how many there are, at least 1.
        cv: standard deviation over mean, from a pilot or from before; above 0. [1]
        policy: how sure and how near.

    Raises:
        MeasureError: `no_population`.
    """
    if population < 1 or not cv > 0:
        raise MeasureError(
            f"There are {population} machines with a spread of {cv:g}.",
            "Give how many there are and how much they differ, as a share of their mean.",
            code="no_population",
        )
    low, high = 1, population  # low does not do, high does: precision falls with n
    while high - low > 1:
        middle = (low + high) // 2
        if precision_ratio(middle, population, cv, policy.confidence) <= policy.precision_ratio:
            high = middle
        else:
            low = middle
    return high
