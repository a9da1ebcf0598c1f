"""Figures over several devices of a site: which systems there are, and what they say of a span."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path

from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.equipment import Analysis
from joulemark_agent.equipment.systems import Member
from joulemark_gateway.access.roles import Role, Scope
from joulemark_gateway.api import machines, models
from joulemark_gateway.api.answers import MOST_SLOTS, Open, require_readable
from joulemark_gateway.api.doors import needs
from joulemark_gateway.api.models import PROBLEMS
from joulemark_gateway.api.plant import Device
from joulemark_gateway.api.problems import unknown
from joulemark_gateway.api.routes import ID, From, Reading, SiteId, To, span_asked
from joulemark_gateway.equipment import checked
from joulemark_gateway.systems import System, analysis_of, require_right, systems_of

SystemId = Annotated[str, Path(pattern=ID, description="id of a system")]

_MOST_TOGETHER = 4 * MOST_SLOTS  # of all members of a system

router = APIRouter(prefix="/api/v1", responses=PROBLEMS)


@router.get("/sites/{site}/systems")
@needs(Role.VIEWER, Scope.SERIES)
def get_systems(read: Reading, site: SiteId) -> models.Systems:
    """The systems of a site: several devices whose figures belong together."""
    return models.Systems(systems=[answer(site, one) for one in systems(read, site).values()])


@router.get("/sites/{site}/systems/{system}")
@needs(Role.VIEWER, Scope.SERIES)
def get_system(
    read: Reading, site: SiteId, system: SystemId, start: From = None, end: To = None
) -> models.SystemAnalysis:
    """Figures, spans and findings of several devices together."""
    which = system_of(read, site, system)
    span_us = span_of(read, site, which, start, end)
    found = analysis(read, site, which, span_us)
    return models.SystemAnalysis(
        system=answer(site, which),
        start_us=span_us[0],
        end_us=span_us[1],
        figures=[machines.figure_of(figure) for figure in found.figures],
        spans=[machines.span_of(span) for span in found.spans[: machines.MOST_SPANS]],
        spans_in_all=len(found.spans),
        findings=[models.Finding(**asdict(item)) for item in found.findings],
    )


def systems(read: Open, site: str) -> dict[str, System]:
    """The systems of a site, by id."""
    held = read.store.documents()
    devices = read.site(site).devices
    named = {name: device.head.grant["documents"]["site"] for name, device in devices.items()}
    parsed = {digest: parse_canonical(held[digest]) for digest in set(named.values())}
    return systems_of({name: parsed[digest] for name, digest in named.items()})


def system_of(read: Open, site: str, name: str) -> System:
    """The system; Problem where there is none."""
    found = systems(read, site)
    if name not in found:
        raise unknown("system", name)
    return found[name]


def span_of(
    read: Open, site: str, system: System, start: datetime | None, end: datetime | None
) -> tuple[int, int]:
    """The span asked for; unasked, the last that all its devices can be read of. [us UTC]

    It ends with the last sample of any: a device that is silent, or gone since, is no reason to
    refuse the others.

    Raises:
        Problem: a time without offset, or the end not after the start.
    """
    extents = {name: read.reader.extent(site, name) for name in system.devices}
    ends = {name: extent for name, extent in extents.items() if extent is not None}
    if not ends:
        return span_asked(read, site, system.devices[0], start, end)
    earliest = min(ends, key=lambda name: ends[name][0])
    latest = max(ends, key=lambda name: ends[name][1])
    which = earliest if start is None else latest
    first_us, last_us = span_asked(read, site, which, start, end)
    if end is None:
        last_us = ends[latest][1] + 1
    if start is None:
        devices = [read.device(site, name) for name in system.devices]
        device, most = most_slots(devices)
        first_us = max(first_us, last_us - most * device.period_us)
    return first_us, last_us


def most_slots(devices: Sequence[Device]) -> tuple[Device, int]:
    """The device of a system that is read most often, and of how many slots of it a span may be."""
    fastest = min(devices, key=lambda device: device.period_us)
    times = sum(fastest.period_us / device.period_us for device in devices)
    return fastest, min(MOST_SLOTS, int(_MOST_TOGETHER / times))


def analysis(read: Open, site: str, system: System, span_us: tuple[int, int]) -> Analysis:
    """What the devices of a system say together.

    Raises:
        Problem: the span has too many slots for one request.
        EvidenceError: a section of the site document has mistakes.
    """
    devices = {name: read.device(site, name) for name in system.devices}
    require_right(system, {name: device.profile.kind for name, device in devices.items()})
    fastest, most = most_slots(list(devices.values()))
    require_readable(fastest, span_us, most)
    members = {}
    for name, device in devices.items():
        parameters = checked(device.profile.kind, device.equipment)
        samples = machines.samples_of(read, site, device, span_us)
        members[name] = Member(name, device.profile.kind, parameters, samples)
    return analysis_of(system, members)


def answer(site: str, system: System) -> models.System:
    """A system as it is answered."""
    members = {role: list(names) for role, names in system.members.items()}
    return models.System(site=site, id=system.id, kind=system.kind, members=members)
