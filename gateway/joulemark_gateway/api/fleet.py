"""The agents of all sites: version, last seen, backlog, clock, certificate; by pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from joulemark_gateway.access.roles import Role, Scope
from joulemark_gateway.agents_now import NOT_SYNCHRONISED, AgentNow
from joulemark_gateway.alerts.facts import fleet_of
from joulemark_gateway.api.doors import needs
from joulemark_gateway.api.models import PROBLEMS
from joulemark_gateway.api.routes import ID, Here
from joulemark_gateway.api.sources import Sources

router = APIRouter(prefix="/api/v1", responses=PROBLEMS)

MOST_ROWS = 500
Sort = Literal["agent", "site", "state", "seen", "version", "backlog", "clock", "certificate"]
Show = Literal["all", "current", "silent", "never", "troubled"]

SiteFilter = Annotated[str | None, Query(pattern=ID, description="only this site")]
Search = Annotated[str, Query(max_length=64, description="part of the name of agent or device")]
ShowFilter = Annotated[Show, Query(description="troubled: with troubles, or a clock not in time")]
SortBy = Annotated[Sort, Query(description="what is worst or first stands above")]
Descending = Annotated[bool, Query(description="the other way round")]
PageNumber = Annotated[int, Query(ge=1, le=100_000)]
PageSize = Annotated[int, Query(ge=1, le=MOST_ROWS)]


class FleetAgent(BaseModel):
    """One agent; null is not known. Times in us, UTC since 1970."""

    model_config = ConfigDict(frozen=True)

    agent: str
    site: str
    devices: list[str]
    state: Literal["current", "silent", "never"]
    seen_us: int | None = Field(description="heard of last, by health, batch or live message")
    received_us: int | None = Field(description="its last batch")
    version: str | None
    key: str = Field(description="fingerprint of its evidence key")
    epoch: int | None
    level: str | None
    backlog_batches: int | None
    backlog_bytes: int | None
    capacity_bytes: int | None
    backlog_records: int
    backlog_us: int
    clock_sync: str | None
    clock_error_us: int | None
    clock_offset_us: int | None = Field(description="to ours, the way of the message included")
    certificate_until_us: int | None
    troubles: list[str]
    lines_stuck: list[str]
    alerts: int = Field(description="open ones about it")


class Fleet(BaseModel):
    """A page of agents, and how many there are of each state."""

    now_us: int
    all: int = Field(description="of the sites that whoever asks sees")
    found: int = Field(description="that fit what was asked for")
    page: int
    pages: int
    states: dict[str, int]
    sites: list[str]
    agents: list[FleetAgent]


@router.get("/fleet")
@needs(Role.VIEWER, Scope.METRICS)
def get_fleet(
    *,
    here: Here,
    site: SiteFilter = None,
    search: Search = "",
    show: ShowFilter = "all",
    sort: SortBy = "agent",
    descending: Descending = False,
    page: PageNumber = 1,
    size: PageSize = 100,
) -> Fleet:
    """The agents of the sites that whoever asks sees."""
    return fleet(
        here, site=site, search=search, show=show, sort=sort, descending=descending, page=page,
        size=size,
    )  # fmt: skip


def fleet(
    here: Sources,
    *,
    site: str | None = None,
    search: str = "",
    show: Show = "all",
    sort: Sort = "agent",
    descending: bool = False,
    page: int = 1,
    size: int = 100,
) -> Fleet:
    """A page of the agents."""
    rows = [row for row in fleet_of(here) if here.who.sees(row.site)]
    states = {"current": 0, "silent": 0, "never": 0, "troubled": 0}
    for row in rows:
        states[row.state] += 1
        states["troubled"] += is_troubled(row)
    wanted = search.casefold().strip()
    found = [
        row
        for row in rows
        if (site is None or row.site == site)
        and (show in {"all", row.state} or (show == "troubled" and is_troubled(row)))
        and (not wanted or any(wanted in name for name in (row.agent, *row.devices)))
    ]
    found.sort(key=lambda row: row.agent)
    found.sort(key=_KEYS[sort], reverse=descending)
    pages = max(-(-len(found) // size), 1)
    page = min(page, pages)
    counted = here.alerts.open_by_subject()
    return Fleet(
        now_us=here.now_us(),
        all=len(rows),
        found=len(found),
        page=page,
        pages=pages,
        states=states,
        sites=sorted({row.site for row in rows}),
        agents=[
            FleetAgent(**asdict(row), alerts=counted.get((row.site, row.agent), 0))
            for row in found[(page - 1) * size : page * size]
        ],
    )


def is_troubled(row: AgentNow) -> bool:
    """Whether something is wrong with it that it said itself."""
    is_full = row.level not in {None, "nothing"}
    return bool(row.troubles or row.lines_stuck) or is_full or row.clock_sync == NOT_SYNCHRONISED


_LAST = 2**62
_STATES = {"never": 0, "silent": 1, "current": 2}
_KEYS: Mapping[Sort, Callable[[AgentNow], Any]] = {
    "agent": lambda row: row.agent,
    "site": lambda row: row.site,
    "state": lambda row: _STATES[row.state],
    "seen": lambda row: row.seen_us or 0,
    "version": lambda row: row.version or "",
    "backlog": lambda row: -max(row.backlog_records, row.backlog_batches or 0),
    "clock": lambda row: (row.clock_sync == "ntp", -(row.clock_error_us or 0)),
    "certificate": lambda row: row.certificate_until_us or _LAST,
}
