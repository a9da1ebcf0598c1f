"""From the samples of several devices to what is said of them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.topics import is_id
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
        documents: the site document of each device's latest epoch, by device; one that several
            devices share is looked through once where it is one object.
    """
    distinct = {id(document): document for _, document in sorted(documents.items())}
    rows = {key: _rows(document) for key, document in distinct.items()}
    told = {name: rows[id(document)] for name, document in documents.items()}
    found: dict[str, System] = {}
    for each in rows.values():  # by the first device that has them
        for row in each.values():
            system = System(row["id"], row["kind"], row["members"], row["parameters"])
            members = set(system.devices)
            if members and all(told.get(name, {}).get(system.id) == row for name in members):
                found.setdefault(system.id, system)
    return found


def _rows(document: Any) -> dict[str, Any]:
    """By id, the systems of a site document that are of the form in which agents write them."""
    rows = document.get("systems", []) if isinstance(document, Mapping) else []
    return {row["id"]: row for row in rows if _is_system(row)} if isinstance(rows, list) else {}


def _is_system(row: Any) -> bool:
    if not isinstance(row, dict) or set(row) != {"id", "kind", "members", "parameters"}:
        return False
    members = row["members"]
    return (
        _is_name(row["id"])
        and isinstance(row["kind"], str)
        and isinstance(row["parameters"], dict)
        and isinstance(members, dict)
        and all(
            isinstance(names, list) and all(_is_name(name) for name in names)
            for names in members.values()
        )
    )


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and is_id(value)


def require_right(system: System, kind_of: Mapping[str, str]) -> None:
    """Refuse a system whose section has mistakes.

    Args:
        system: which.
        kind_of: the kind of each of its devices, by id.

    Raises:
        EvidenceError: `bad_document`.
    """
    for where, text in mistakes(system.kind, system.members, system.parameters, kind_of):
        place = ".".join(str(part) for part in where)
        raise EvidenceError(
            f"The system {system.id!r} of the site document has mistakes: {place}: {text}.",
            "Correct the site file, have the operator approve it, and open a new epoch.",
            code="bad_document",
        )


def analysis_of(system: System, members: Mapping[str, Member]) -> Analysis:
    """What the devices of a system say together.

    Args:
        system: which.
        members: each of its devices, by id.

    Raises:
        EvidenceError: `bad_document` where its section has mistakes.
    """
    require_right(system, {name: member.kind for name, member in members.items()})
    by_role = {role: [members[name] for name in names] for role, names in system.members.items()}
    return analyse(system.kind, system.parameters, by_role)
