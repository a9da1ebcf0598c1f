"""The range of a formula: what lies outside is refused with what was given and what is wanted."""

from __future__ import annotations


class OutOfDomain(ValueError):  # noqa: N818 -- it names a finding that callers turn into a reason
    """An input for which the formula says nothing."""


def within(name: str, value: float, low: float, high: float, unit: str) -> float:
    """The value, where low <= value <= high; NaN and infinity lie outside every range.

    Args:
        name: of the input, as the caller wrote it.
        value: of the input. [unit]
        low: smallest value the formula is stated for. [unit]
        high: largest. [unit]
        unit: of all three.

    Raises:
        OutOfDomain: it lies outside.
    """
    if low <= value <= high:
        return value
    shown = f" {unit}" if unit not in {"", "1"} else ""
    raise OutOfDomain(f"{name} is {value:g}{shown}; it must lie from {low:g} to {high:g}{shown}.")
