"""From the samples of several devices to what is said of them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.equipment import Analysis
from joulemark_agent.equipment.systems import Member, analyse, mistakes


@dataclass(frozen=True)
class System:
    """A system as the operator approved it with the documents of each of its members."""

    id: str
    kind: str
    members: Mapping[str, Sequence[str]]  # ids of devices by role
    parameters: Mapping[str, Any]

    @property
    def devices(self) -> tuple[str, ...]:
        """Its members, whatever their role."""
        return tuple(name for role in self.members.values() for name in role)


def systems_of(documents: Mapping[str, Any]) -> dict[str, System]:
    """The systems by id on which the site documents of all their members agree.

    A device that is as it was keeps the document that it was approved with, so not all devices of
    a site name the same one. Of two agents that use one id, the first device's counts.

    Args:
        documents: the site document of each device's latest epoch, by device.
    """
    found: dict[str, System] = {}
    for _, document in sorted(documents.items()):
        for row in _rows(document):
            system = System(row["id"], row["kind"], row["members"], row["parameters"])
            if all(row in _rows(documents.get(name)) for name in system.devices):
                found.setdefault(system.id, system)
    return found


def _rows(document: Any) -> list[Any]:
    """The systems of a site document that are of the form in which agents write them."""
    rows = document.get("systems", []) if isinstance(document, Mapping) else []
    return [row for row in rows if _is_system(row)] if isinstance(rows, list) else []


def _is_system(row: Any) -> bool:
    if not isinstance(row, dict) or set(row) != {"id", "kind", "members", "parameters"}:
        return False
    members = row["members"]
    return (
        isinstance(row["id"], str)
        and isinstance(row["kind"], str)
        and isinstance(row["parameters"], dict)
        and isinstance(members, dict)
        and all(
            isinstance(names, list) and all(isinstance(name, str) for name in names)
            for names in members.values()
        )
    )


def analysis_of(system: System, members: Mapping[str, Member]) -> Analysis:
    """What the devices of a system say together.

    Args:
        system: which.
        members: each of its devices, by id.

    Raises:
        EvidenceError: `bad_document` where its section has mistakes.
    """
    kind_of = {name: member.kind for name, member in members.items()}
    for where, text in mistakes(system.kind, system.members, system.parameters, kind_of):
        place = ".".join(str(part) for part in where)
        raise EvidenceError(
            f"The system {system.id!r} of the site document has mistakes: {place}: {text}.",
            "Correct the site file, have the operator approve it, and open a new epoch.",
            code="bad_document",
        )
    by_role = {role: [members[name] for name in names] for role, names in system.members.items()}
    return analyse(system.kind, system.parameters, by_role)
