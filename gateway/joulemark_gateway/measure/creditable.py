"""Named, versioned policies for the amount that may be credited: the saving, made conservative.

Each takes the saving S and the half-widths of its 90 % and 95 % intervals and gives an amount from
0 to S. A negative period is for whoever keeps the ledger to carry forward; here it credits 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from joulemark_gateway.measure.finding import PolicyUsed

Rule = Callable[[float, float, float], float]  # saving, 90 % and 95 % half-width -> amount


@dataclass(frozen=True)
class CreditablePolicy:
    """One version of one rule."""

    id: str
    version: str
    text: str
    source: str
    rule: Rule

    def used(self) -> PolicyUsed:
        """The policy as it stands beside an amount."""
        return PolicyUsed(self.id, self.version, self.text, self.source)

    def amount(self, saving: float, half_width_90: float, half_width_95: float) -> float:
        """The creditable part of the saving, in the saving's unit, at least 0."""
        if saving <= 0:
            return 0.0
        return max(0.0, self.rule(saving, half_width_90, half_width_95))


def trees_deduction_ratio(half_width_90_ratio: float) -> float:
    """The share of a saving that ART TREES equation 11 deducts, from its relative half-width."""
    return 0.524417 * half_width_90_ratio / 1.645006


def conservativeness_factor(half_width_95_ratio: float) -> float:
    """The factor of a saving whose 95 % range is ± this ratio: (1 + U)^(-0.6745 / 1.96)."""
    return float((1.0 + half_width_95_ratio) ** (-0.6745 / 1.96))


CREDITABLE_POLICIES = {
    policy.id: policy
    for policy in (
        CreditablePolicy(
            id="lower-bound-one-sided-95",
            version="1",
            text="The lower end of the 90 % interval: a one-sided bound at 95 %.",
            source="GUM; IPCC good practice, volume 1 chapter 3",
            rule=lambda saving, half_width_90, _: saving - half_width_90,
        ),
        CreditablePolicy(
            id="art-trees-eq11",
            version="1",
            text="Deducts 0.524417 / 1.645006 of the 90 % half-width: a one-sided bound at 70 %.",
            source="ART TREES equation 11 as quoted in public code",
            rule=lambda saving, half_width_90, _: (
                saving * (1 - trees_deduction_ratio(half_width_90 / saving))
            ),
        ),
        CreditablePolicy(
            id="vcs-one-sided-66.7",
            version="1",
            text="Deducts 0.4307 / 1.645 of the 90 % half-width: a one-sided bound at 66.7 %.",
            source="VCS rule as known from the literature; its text was not at hand",
            rule=lambda saving, half_width_90, _: saving - 0.4307 / 1.645 * half_width_90,
        ),
        CreditablePolicy(
            id="unfccc-conservativeness",
            version="1",
            text="Multiplies by (1 + U)^(-0.6745 / 1.96), U the relative 95 % half-width.",
            source="closed form that reproduces the published UNFCCC adjustment table",
            rule=lambda saving, _, half_width_95: (
                saving * conservativeness_factor(half_width_95 / saving)
            ),
        ),
    )
}
