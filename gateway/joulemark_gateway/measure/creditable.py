"""Named, versioned policies for the amount that may be credited: the saving, made conservative.

Each takes the saving S and the half-widths of its 90 % and 95 % intervals and gives an amount from
0 to S. A negative period credits 0 here and is carried forward by `credited`, or by whoever keeps
the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from joulemark_gateway.measure.finding import NamedPolicy

Rule = Callable[[float, float, float], float]  # saving, 90 % and 95 % half-width -> amount


@dataclass(frozen=True)
class CreditablePolicy(NamedPolicy):
    """One version of one rule."""

    rule: Rule

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


_UNFCCC_TABLE = ((0.10, 0.98), (0.30, 0.94), (0.50, 0.89), (1.00, 0.82))  # up to; factor
_UNFCCC_BEYOND = 0.73


def unfccc_table_factor(half_width_95_ratio: float) -> float:
    """The factor of a saving by the table's bands of its relative 95 % half-width."""
    for most, factor in _UNFCCC_TABLE:
        if half_width_95_ratio <= most:
            return factor
    return _UNFCCC_BEYOND


@dataclass(frozen=True)
class PeriodSaving:
    """The saving of one period with its half-widths, all of one unit."""

    saving: float
    half_width_90: float
    half_width_95: float


@dataclass(frozen=True)
class PeriodCredit:
    """What a period credits after what earlier ones left to make up for.

    `amount` is what the policy gives of the period, or the saving where it is negative;
    `carried` is 0 or less. Over all periods the credits and what is carried are the amounts.
    """

    amount: float
    credit: float
    carried: float


def credited(policy: CreditablePolicy, periods: Sequence[PeriodSaving]) -> tuple[PeriodCredit, ...]:
    """The credits of periods in the order of time: a loss is made up for before the next credit."""
    out: list[PeriodCredit] = []
    carried = 0.0
    for period in periods:
        saving = period.saving
        given = policy.amount(saving, period.half_width_90, period.half_width_95)
        amount = given if saving > 0 else saving
        balance = carried + amount
        carried = min(0.0, balance)
        out.append(PeriodCredit(amount, max(0.0, balance), carried))
    return tuple(out)


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
        CreditablePolicy(
            id="unfccc-adjustment-table",
            version="1",
            text="Multiplies by 0.98, 0.94, 0.89, 0.82 or 0.73 for a relative 95 % half-width up "
            "to 10, 30, 50, 100 % or beyond.",
            source="UNFCCC adjustment table as known from the literature; text not read",
            rule=lambda saving, _, half_width_95: (
                saving * unfccc_table_factor(half_width_95 / saving)
            ),
        ),
    )
}
