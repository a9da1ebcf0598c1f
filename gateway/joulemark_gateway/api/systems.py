"""Figures over several devices of a site: which systems there are, and what they say of a span."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path

from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.equipment import Analysis
from joulemark_agent.equipment.systems import Member
from joulemark_gateway.api import machines, models
from joulemark_gateway.api.answers import MOST_SLOTS, Open
from joulemark_gateway.api.models import PROBLEMS
from joulemark_gateway.api.problems import unknown
from joulemark_gateway.api.routes import ID, From, Reading, SiteId, To, span_asked
from joulemark_gateway.equipment import checked
from joulemark_gateway.systems import System, analysis_of, systems_of

SystemId = Annotated[str, Path(pattern=ID, description="id of a system")]

router = APIRouter(prefix="/api/v1", responses=PROBLEMS)


@router.get("/sites/{site}/systems")
def get_systems(read: Reading, site: SiteId) -> models.Systems:
    """The systems of a site: several devices whose figures belong together."""
    return models.Systems(systems=[answer(site, one) for one in systems(read, site).values()])


@router.get("/sites/{site}/systems/{system}")
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
    return systems_of(
        {
            name: parse_canonical(held[device.head.grant["documents"]["site"]])
            for name, device in devices.items()
        }
    )


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

    Raises:
        Problem: a time without offset, or the end not after the start.
    """
    spans = [span_asked(read, site, name, start, end) for name in system.devices]
    first_us, last_us = min(span[0] for span in spans), max(span[1] for span in spans)
    if start is None:
        periods_us = [read.device(site, name).period_us for name in system.devices]
        first_us = max(first_us, last_us - MOST_SLOTS * min(periods_us))
    return first_us, last_us


def analysis(read: Open, site: str, system: System, span_us: tuple[int, int]) -> Analysis:
    """What the devices of a system say together.

    Raises:
        Problem: the span has too many slots for one request.
        EvidenceError: a section of the site document has mistakes.
    """
    members = {}
    for name in system.devices:
        device = read.device(site, name)
        parameters = checked(device.profile.kind, device.equipment)
        samples = machines.samples_of(read, site, device, span_us)
        members[name] = Member(name, device.profile.kind, parameters, samples)
    return analysis_of(system, members)


def answer(site: str, system: System) -> models.System:
    """A system as it is answered."""
    members = {role: list(names) for role, names in system.members.items()}
    return models.System(site=site, id=system.id, kind=system.kind, members=members)
