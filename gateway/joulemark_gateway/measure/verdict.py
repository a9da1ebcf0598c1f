"""What may be said of a saving: never a number without its policy, never one that it refuses.

A person may override a policy. Then the figures are stated, and whose decision that was and which
rules it passed over stands beside them wherever they go. What the arithmetic cannot carry, nobody
can override.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import numpy as np

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.finding import ENGINE, Finding, PolicyUsed
from joulemark_gateway.measure.guard import finite
from joulemark_gateway.measure.rules import Judged, codes_of
from joulemark_gateway.measure.sufficiency.base import Case, Policy

Figures = Mapping[str, float]
Made = TypeVar("Made")


@dataclass(frozen=True)
class Override:
    """A person's decision to state a figure although rules fail, and why."""

    author: str
    reason: str
    codes: frozenset[str]  # the rules it passes over; a failure that it does not name still refuses


@dataclass(frozen=True)
class Verdict:
    """A baseline under its policy."""

    policy: PolicyUsed
    judged: Judged
    override: Override | None = None

    @property
    def is_disqualified(self) -> bool:
        """Whether a rule of the policy fails, overridden or not."""
        return bool(self.judged.failed)

    @property
    def refusing(self) -> tuple[Finding, ...]:
        """The findings that stand in the way: failed, and not overridden or not to be."""
        passed_over = frozenset[str]() if self.override is None else self.override.codes
        return tuple(
            finding
            for finding in self.judged.findings
            if not finding.passed and (finding.by == ENGINE or finding.code not in passed_over)
        )

    def require(self) -> None:
        """Let a saving be stated.

        Raises:
            MeasureError: with the code of the first rule that refuses.
        """
        for finding in self.refusing:
            raise MeasureError(
                f"{finding.by}, {finding.subject}: {finding.rule}; here it is {finding.seen:.6g} "
                f"{finding.unit}.",
                f"Mend {', '.join(codes_of(self.refusing))}, or state no saving.",
                code=finding.code,
            )


@dataclass(frozen=True)
class Stated:
    """What goes into every text, table and export: the figures, or why there are none."""

    verdict: Verdict
    figures: Figures | None
    refused_by: tuple[Finding, ...] = field(default=())

    def document(self) -> dict[str, Any]:
        """All of it as plain values; no number in it is NaN or infinite."""
        verdict = self.verdict
        override = verdict.override
        return {
            "policy": asdict(verdict.policy),
            "disqualified": verdict.is_disqualified or self.figures is None,
            "findings": [dict(vars(finding)) for finding in verdict.judged.findings],
            "warnings": [dict(vars(finding)) for finding in verdict.judged.warnings],
            "refused_by": list(codes_of(self.refused_by)),
            "override": None
            if override is None
            else {
                "author": override.author,
                "reason": override.reason,
                "codes": sorted(override.codes & set(verdict.judged.failed)),
            },
            "figures": None if self.figures is None else dict(self.figures),
        }


def verdict_of(policy: Policy, case: Case, override: Override | None = None) -> Verdict:
    """The verdict on a baseline; data that cannot be judged are a finding too.

    Raises:
        MeasureError: `empty_override`.
    """
    if override is not None and not (override.author.strip() and override.reason.strip()):
        raise MeasureError(
            "An override without an author or a reason is none.",
            "Say who decides and why.",
            code="empty_override",
        )
    try:
        judged = policy.judge_data(case)
        if case.reporting is not None and not case.reporting.is_whole.any():
            judged += Judged((NO_REPORTING,))
    except MeasureError as error:
        judged = Judged((refusal(error),))
    return Verdict(policy.used(), judged, override)


def stated(verdict: Verdict, figures: Callable[[], Figures]) -> Stated:
    """The figures, computed only if nothing refuses; what the arithmetic refuses is a finding."""
    found, refused_by = attempted(verdict, lambda: finite(figures()))
    return Stated(verdict, found, refused_by)


def attempted(
    verdict: Verdict, make: Callable[[], Made]
) -> tuple[Made | None, tuple[Finding, ...]]:
    """What may be computed under the verdict, or None and what refuses it."""
    if verdict.refusing:
        return None, verdict.refusing
    try:
        with np.errstate(all="ignore"):  # whoever makes figures looks at what becomes of it
            return make(), ()
    except MeasureError as error:
        return None, (refusal(error),)
    except (ArithmeticError, ValueError) as error:  # sums that overflow, roots of less than 0
        told = MeasureError(
            f"The arithmetic ends in {error}.",
            "Look for values that are too large, or a baseline that says too little.",
            code="not_finite",
        )
        return None, (refusal(told),)


NO_REPORTING = Finding(
    "no_reporting_units",
    ENGINE,
    "reporting",
    "at least one unit of the reporting period has all values",
    0.0,
    1.0,
    None,
    "units",
    passed=False,
)


def refusal(error: MeasureError, subject: str = "arithmetic") -> Finding:
    """What the arithmetic cannot carry, as a finding that nobody can override."""
    return Finding(error.code, ENGINE, subject, error.what, 0.0, None, None, "", passed=False)
