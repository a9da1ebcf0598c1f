"""What every kind of system takes: its members by role, each with its samples and its section."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from joulemark_agent.equipment.base import Samples


@dataclass(frozen=True)
class Role:
    """Who may be what in a system, and how many of them."""

    kinds: frozenset[str] = frozenset()  # of profiles; none named: any
    least: int = 0
    most: int | None = None


@dataclass(frozen=True, eq=False)
class Member:
    """One device of a system."""

    id: str
    kind: str  # of its profile
    parameters: BaseModel | None  # of its own `equipment` section; None: its kind has no model
    samples: Samples


Members = Mapping[str, Sequence[Member]]  # by role
