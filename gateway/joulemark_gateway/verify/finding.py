"""What a step of the verifier objects to."""

from __future__ import annotations

from dataclasses import dataclass

from joulemark_agent.contract.errors import JoulemarkError


@dataclass(frozen=True)
class Finding:
    """One objection: a stable code, what was seen, and the layer that saw it."""

    code: str
    what: str
    layer: str


def found(error: JoulemarkError, layer: str) -> Finding:
    """The finding that an error stands for."""
    return Finding(error.code, error.what, layer)
