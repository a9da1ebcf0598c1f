"""Rules against their limits: the findings that refuse, and those that only tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from joulemark_gateway.measure.finding import Finding


@dataclass(frozen=True)
class Judged:
    """What was looked at: findings that refuse where they fail, and warnings that never do."""

    findings: tuple[Finding, ...]
    warnings: tuple[Finding, ...] = ()

    def __add__(self, other: Judged) -> Judged:
        """Both, in order."""
        return Judged(self.findings + other.findings, self.warnings + other.warnings)

    @property
    def failed(self) -> tuple[str, ...]:
        """The codes of the rules that refuse, in order and each once."""
        return codes_of(self.findings)

    @property
    def warned(self) -> tuple[str, ...]:
        """The codes of what is told all the same, in order and each once."""
        return codes_of(self.warnings)


def codes_of(findings: tuple[Finding, ...]) -> tuple[str, ...]:
    """The codes of the findings that did not pass, in order and each once."""
    return tuple(dict.fromkeys(finding.code for finding in findings if not finding.passed))


def at_least(
    code: str, *, by: str, subject: str, rule: str, seen: float, limit: float, unit: str
) -> Finding:
    """The finding of a rule that asks for a value of the limit or more."""
    passed = bool(seen >= limit)
    return Finding(code, by, subject, rule, float(seen), limit, None, unit, passed)


def at_most(
    code: str, *, by: str, subject: str, rule: str, seen: float, limit: float, unit: str
) -> Finding:
    """The finding of a rule that asks for a value of the limit or less."""
    passed = bool(seen <= limit)
    return Finding(code, by, subject, rule, float(seen), None, limit, unit, passed)


def between(
    code: str,
    *,
    by: str,
    subject: str,
    rule: str,
    seen: float,
    low: float,
    high: float,
    unit: str,
) -> Finding:
    """The finding of a rule that asks for a value from low to high."""
    passed = bool(low <= seen <= high)
    return Finding(code, by, subject, rule, float(seen), low, high, unit, passed)


def range_seen(values: Sequence[float], sd: float) -> tuple[float, float]:
    """From min to max or mean ± so many sd, whichever reaches further; of at least two values.

    Inside either range is enough for a mean; both hold the mean, so together they are one range.
    """
    mean, spread = fmean(values), sd * stdev(values)
    return min(*values, mean - spread), max(*values, mean + spread)
