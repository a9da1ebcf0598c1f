"""Numbers as Prometheus reads them: its text format, version 0.0.4. Pure.

Names are `joulemark_` + what + unit (seconds, bytes, or what is counted); what only grows ends in
`_total`. Source: Prometheus, "Exposition formats" and "Metric and label naming", 2025.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

MEDIA = "text/plain; version=0.0.4; charset=utf-8"


@dataclass
class Family:
    """One metric with all its label values."""

    name: str
    kind: Literal["counter", "gauge"]
    told: str
    samples: list[tuple[Mapping[str, str], float]] = field(default_factory=list)

    def add(self, value: float, **labels: str) -> None:
        """A number, and what tells it from the others of this name."""
        self.samples.append((labels, value))


def text_of(families: Iterable[Family]) -> str:
    """The families that have a number; an order that does not change."""
    lines = []
    for family in families:
        if not family.samples:
            continue
        told = family.told.replace("\\", r"\\").replace("\n", r"\n")
        lines += [f"# HELP {family.name} {told}", f"# TYPE {family.name} {family.kind}"]
        for labels, value in family.samples:
            given = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
            lines.append(
                f"{family.name}{{{given}}} {value!r}" if given else f"{family.name} {value!r}"
            )
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
