"""Amounts that know where their errors come from: a shared source is one error, not two.

A meter's gain error is the same in the baseline and in the reporting period: in a ratio of the two
it cancels, in a sum it adds up whole. Its noise is another in each. So every part of an uncertainty
is kept under the name of its source, signed, until the end; sources are independent of each other,
and correlation is nothing but having a source in common.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from joulemark_agent.physics.domain import OutOfDomain
from joulemark_agent.physics.uncertainty import effective_degrees_of_freedom


@dataclass(frozen=True)
class Part:
    """What one source contributes: sensitivity times standard uncertainty, signed."""

    amount: float  # in the unit of the whole
    degrees_of_freedom: float = math.inf  # infinite: the uncertainty is known exactly


@dataclass(frozen=True)
class Amount:
    """A value with the parts of its uncertainty by source; no parts: it is exact."""

    value: float
    parts: Mapping[str, Part] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def standard_uncertainty(self) -> float:
        """The combined standard uncertainty. [the value's unit]"""
        return math.hypot(*(part.amount for part in self.parts.values()))

    @property
    def degrees_of_freedom(self) -> float:
        """The effective degrees of freedom; infinite where every part is known exactly."""
        parts = self.parts.values()
        return effective_degrees_of_freedom(
            [part.amount for part in parts], [part.degrees_of_freedom for part in parts]
        )


def linear(value: float, terms: Iterable[tuple[float, Amount]]) -> Amount:
    """A result with the uncertainty that its inputs give it; a shared source adds up signed.

    Args:
        value: of the result. [any unit]
        terms: per input its sensitivity (the derivative of the result) and the input.

    Formula: M5.
    Source: JCGM 100:2008 (GUM), 5.2.2 with the inputs' errors written as sums of independent ones,
        as F.1.2.3 advises.
    """
    sums: dict[str, float] = {}
    degrees: dict[str, float] = {}
    for sensitivity, term in terms:
        for source, part in term.parts.items():
            sums[source] = sums.get(source, 0.0) + sensitivity * part.amount
            known = degrees.setdefault(source, part.degrees_of_freedom)
            degrees[source] = min(known, part.degrees_of_freedom)
    return Amount(value, {source: Part(sums[source], degrees[source]) for source in sums})


def total(*terms: Amount) -> Amount:
    """The sum.

    Args:
        terms: to be added. [one unit]

    Formula: M5.
    Source: JCGM 100:2008 (GUM), 5.1.6.
    """
    return linear(math.fsum(term.value for term in terms), [(1.0, term) for term in terms])


def difference(first: Amount, second: Amount) -> Amount:
    """The first without the second.

    Args:
        first: taken from. [any unit]
        second: taken away. [the same unit]

    Formula: M5.
    Source: JCGM 100:2008 (GUM), 5.1.6.
    """
    return linear(first.value - second.value, [(1.0, first), (-1.0, second)])


def product(first: Amount, second: Amount) -> Amount:
    """The product.

    Args:
        first: a factor. [any unit]
        second: the other. [any unit]

    Formula: M5.
    Error: of second order in the relative uncertainties.
    Source: JCGM 100:2008 (GUM), 5.1.6.
    """
    return linear(first.value * second.value, [(second.value, first), (first.value, second)])


def ratio(above: Amount, below: Amount) -> Amount:
    """The quotient; what both have in common as a gain cancels.

    Args:
        above: the numerator. [any unit]
        below: the denominator, not 0. [any unit]

    Formula: M5.
    Error: of second order in the denominator's relative uncertainty.
    Source: JCGM 100:2008 (GUM), 5.1.6.
    """
    if below.value == 0.0:
        raise OutOfDomain("The denominator is 0; a ratio needs another one.")
    value = above.value / below.value
    return linear(value, [(1.0 / below.value, above), (-value / below.value, below)])
