"""What a model says of samples, for tests."""

from __future__ import annotations

from typing import Any

from joulemark_agent.equipment import Analysis, Samples, Span, analyse, parameters_of


def analysed(kind: str, samples: Samples, **section: Any) -> Analysis:
    """What the model of that kind makes of the samples."""
    analysis = analyse(kind, parameters_of(kind, section), samples)
    assert analysis is not None
    return analysis


def value(of: Analysis | Span, name: str) -> float:
    """The value of a figure that is given."""
    [figure] = [figure for figure in of.figures if figure.name == name]
    assert figure.value is not None, figure.why
    return figure.value


def unsure(of: Analysis | Span, name: str) -> float:
    """The standard uncertainty of a figure, where it is known."""
    [figure] = [figure for figure in of.figures if figure.name == name]
    assert figure.standard_uncertainty is not None, figure
    return figure.standard_uncertainty
