"""The addresses of the API; each reads, none writes, and every answer is bounded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BeforeValidator

from joulemark_gateway.access.roles import Role, Scope
from joulemark_gateway.api import answers, live, machines, models, projects, statements
from joulemark_gateway.api.answers import MOST_LEAVES, MOST_ROWS, Open
from joulemark_gateway.api.cursors import MOST_LENGTH, page_of
from joulemark_gateway.api.doors import needs, visit_of
from joulemark_gateway.api.models import PROBLEMS
from joulemark_gateway.api.problems import Problem
from joulemark_gateway.api.sources import Sources
from joulemark_gateway.api.statements import MOST_WINDOWS
from joulemark_gateway.following.so_far import SoFar

ID = r"^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$"
POINT = r"^[a-z][a-z0-9_]{0,62}$"
_BEGINS_WITH_A_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_UTC_0 = datetime(1970, 1, 1, tzinfo=UTC)

router = APIRouter(prefix="/api/v1", responses=PROBLEMS)


def sources_of(request: Request) -> Sources:
    """Where this server reads, for whoever asks."""
    found: Sources = request.app.state.sources
    return found.seen_by(visit_of(request).who)


def read_of(sources: Annotated[Sources, Depends(sources_of)]) -> Iterator[Open]:
    """Evidence and sites, open for the length of the request."""
    with answers.opened(sources) as read:
        yield read


def _written(value: object) -> object:
    """A day or time as people write it; a bare number would be taken as seconds since 1970."""
    is_number = isinstance(value, int | float)
    if is_number or (isinstance(value, str) and not _BEGINS_WITH_A_DAY.match(value)):
        raise ValueError("write it as 2018-07-01, and a time as 2018-07-01T00:00:00Z")
    return value


Written = BeforeValidator(_written)
SiteId = Annotated[str, Path(pattern=ID, description="id of a site")]
DeviceId = Annotated[str, Path(pattern=ID, description="id of a device")]
ProjectId = Annotated[str, Path(pattern=ID, description="id of a project")]
PointName = Annotated[str, Query(pattern=POINT, description="name of a point")]
From = Annotated[
    datetime | None,
    Written,
    Query(alias="from", description="ISO 8601 with offset or Z; from here on"),
]
To = Annotated[
    datetime | None,
    Written,
    Query(alias="to", description="ISO 8601 with offset or Z; before this"),
]
FirstDay = Annotated[date | None, Written, Query(alias="from", description="first local day")]
LastDay = Annotated[date | None, Written, Query(alias="to", description="last local day")]
Limit = Annotated[int, Query(ge=1, le=MOST_ROWS)]
WindowLimit = Annotated[int, Query(ge=1, le=MOST_WINDOWS)]
FigureName = Annotated[
    str | None, Query(pattern=POINT, description="only this figure of each window")
]
ListLimit = Annotated[int, Query(ge=1, le=1000, description="rows of a page")]
Cursor = Annotated[
    str | None,
    Query(max_length=MOST_LENGTH, description="'next_cursor' of the page before, as it was"),
]
LeafLimit = Annotated[int, Query(ge=1, le=MOST_LEAVES)]
Seq = Annotated[int, Query(ge=0, lt=2**53, description="index of a leaf")]
Epoch = Annotated[
    int | None, Query(ge=0, lt=2**53, description="of the tree; unasked, the latest of the span")
]
Here = Annotated[Sources, Depends(sources_of)]
Reading = Annotated[Open, Depends(read_of)]


@router.get("/sites")
@needs(Role.VIEWER, Scope.SERIES)
def get_sites(read: Reading, limit: ListLimit = 1000, cursor: Cursor = None) -> models.Sites:
    """Every site as it is now, by id."""
    chosen, following = page_of({name: name for name in read.sites}, "sites", cursor, limit)
    some = replace(read, sites={name: read.sites[name] for name in chosen})
    return answers.sites(some).model_copy(update={"next_cursor": following})


@router.get("/sites/{site}")
@needs(Role.VIEWER, Scope.SERIES)
def get_site(read: Reading, site: SiteId) -> models.SiteNow:
    """One site as it is now."""
    return answers.site_now(read, read.site(site))


@router.get("/sites/{site}/latest")
@needs(Role.VIEWER, Scope.SERIES)
def get_latest(read: Reading, site: SiteId) -> models.LatestValues:
    """The newest sample of every point of the site."""
    return answers.latest(read, site)


@router.get("/sites/{site}/live")
@needs(Role.VIEWER, Scope.SERIES)
def get_live(read: Reading, site: SiteId) -> live.Live:
    """What is live of the site and not yet evidence, and how its agents are; nothing is counted."""
    return live.live(read, site)


@router.get("/sites/{site}/days")
@needs(Role.VIEWER, Scope.SERIES)
def get_site_days(
    read: Reading, site: SiteId, first: FirstDay = None, last: LastDay = None
) -> models.Days:
    """Energy and CO2e by local day of the devices that make up the site's."""
    return _or_nothing(answers.days(read, site, None, first, last), site)


@router.get("/sites/{site}/devices")
@needs(Role.VIEWER, Scope.SERIES)
def get_devices(
    read: Reading, site: SiteId, limit: ListLimit = 1000, cursor: Cursor = None
) -> models.Devices:
    """The devices of a site, by id."""
    found = answers.devices(read, site)
    rows, following = page_of({row.id: row for row in found.devices}, "devices", cursor, limit)
    return found.model_copy(update={"devices": rows, "next_cursor": following})


@router.get("/sites/{site}/devices/{device}")
@needs(Role.VIEWER, Scope.SERIES)
def get_device(read: Reading, site: SiteId, device: DeviceId) -> models.Device:
    """One device as it is now."""
    return answers.device_now(read, site, device)


@router.get("/sites/{site}/devices/{device}/points")
@needs(Role.VIEWER, Scope.SERIES)
def get_points(read: Reading, site: SiteId, device: DeviceId) -> models.Points:
    """The points of a device with their newest samples."""
    return answers.points(read, site, device)


@router.get("/sites/{site}/devices/{device}/days")
@needs(Role.VIEWER, Scope.SERIES)
def get_days(
    read: Reading, site: SiteId, device: DeviceId, first: FirstDay = None, last: LastDay = None
) -> models.Days:
    """Energy and CO2e of a device by local day."""
    return _or_nothing(answers.days(read, site, [device], first, last), device)


@router.get("/sites/{site}/devices/{device}/quality")
@needs(Role.VIEWER, Scope.SERIES)
def get_quality(
    read: Reading, site: SiteId, device: DeviceId, first: FirstDay = None, last: LastDay = None
) -> models.Quality:
    """Shares of good, uncertain, bad and missing values, and the gaps with their causes."""
    span = days_asked(read, site, device, first, last)
    return answers.quality(read, site, device, span)


@router.get("/sites/{site}/devices/{device}/slots")
@needs(Role.VIEWER, Scope.SERIES)
def get_slots(
    *,
    read: Reading,
    site: SiteId,
    device: DeviceId,
    start: From = None,
    end: To = None,
    step_s: Annotated[int, Query(ge=60, le=2**31, description="length of a window")] = 3600,
) -> models.Slots:
    """Slots expected, received, and missing with their cause, by window; the sums reconcile."""
    return answers.slots(read, site, device, span_asked(read, site, device, start, end), step_s)


@router.get("/sites/{site}/devices/{device}/counters")
@needs(Role.VIEWER, Scope.SERIES)
def get_counters(
    read: Reading, site: SiteId, device: DeviceId, first: FirstDay = None, last: LastDay = None
) -> models.Counters:
    """How the counters count, and their event log: rollovers, resets, false zeros, leaps."""
    span = days_asked(read, site, device, first, last)
    return answers.counters(read, site, device, span)


@router.get("/sites/{site}/devices/{device}/clocks")
@needs(Role.VIEWER, Scope.SERIES)
def get_clocks(
    read: Reading, site: SiteId, device: DeviceId, first: FirstDay = None, last: LastDay = None
) -> models.Clocks:
    """Where the times that the device states itself stood still or went back."""
    span = days_asked(read, site, device, first, last)
    return answers.clocks(read, site, device, span)


@router.get("/sites/{site}/devices/{device}/checks")
@needs(Role.VIEWER, Scope.SERIES)
def get_checks(read: Reading, site: SiteId, device: DeviceId) -> models.Checks:
    """What the device's last readings say that cannot be true, and what to look at."""
    return answers.checks(read, site, device)


@router.get("/sites/{site}/devices/{device}/samples")
@needs(Role.VIEWER, Scope.SERIES)
def get_samples(
    *,
    read: Reading,
    site: SiteId,
    device: DeviceId,
    point: PointName,
    start: From = None,
    end: To = None,
    limit: Limit = 1000,
) -> models.Samples:
    """Samples of a point in the order of time; `next_us` goes on where they were cut."""
    span_us = span_asked(read, site, device, start, end)
    return answers.samples(read, site, device, point, span_us=span_us, limit=limit)


@router.get("/sites/{site}/devices/{device}/amounts")
@needs(Role.VIEWER, Scope.SERIES)
def get_amounts(
    *,
    read: Reading,
    site: SiteId,
    device: DeviceId,
    point: PointName,
    start: From = None,
    end: To = None,
    limit: Limit = 1000,
) -> models.Amounts:
    """What a counter counted, step by step."""
    span_us = span_asked(read, site, device, start, end)
    return answers.amounts(read, site, device, point, span_us=span_us, limit=limit)


@router.get("/sites/{site}/devices/{device}/analysis")
@needs(Role.VIEWER, Scope.SERIES)
def get_analysis(
    read: Reading, site: SiteId, device: DeviceId, start: From = None, end: To = None
) -> models.Analysis:
    """Key figures, states, episodes and findings of the device's equipment model."""
    return machines.analysis(read, site, device, span_asked(read, site, device, start, end))


@router.get("/sites/{site}/devices/{device}/figures")
@needs(Role.VIEWER, Scope.SERIES)
def get_figures(
    *,
    read: Reading,
    site: SiteId,
    device: DeviceId,
    figure: FigureName = None,
    start: From = None,
    end: To = None,
    limit: WindowLimit = 100,
) -> models.StatedWindows:
    """What the agent stated of the machine, window by window, from its evidence; `next_us` goes on.

    A window is given where it begins in the span. As points of the series they are `kpi_` and
    `kpi_u_` (standard uncertainty) with the figure's name, at the window's end.
    """
    first_us, last_us = span_asked(read, site, device, start, end)
    if start is None:  # the first window began before its first reading
        first_us -= first_us % (read.device(site, device).figures_every_us or 1)
    return statements.windows(read, site, device, (first_us, last_us), figure=figure, limit=limit)


@router.get("/sites/{site}/devices/{device}/records")
@needs(Role.VERIFIER, Scope.EVIDENCE)
def get_records(
    *,
    read: Reading,
    site: SiteId,
    device: DeviceId,
    start: From = None,
    end: To = None,
    seq: Annotated[int | None, Query(ge=0, lt=2**53, description="list from this leaf on")] = None,
    epoch: Epoch = None,
    limit: LeafLimit = 100,
) -> models.Records:
    """The leaves behind a figure: raw words, values, hashes, and the checkpoints over them."""
    span_us = span_asked(read, site, device, start, end)
    return answers.records_of(read, site, device, span_us, epoch=epoch, after_seq=seq, limit=limit)


@router.get("/sites/{site}/devices/{device}/proof")
@needs(Role.VERIFIER, Scope.EVIDENCE)
def get_proof(
    read: Reading, site: SiteId, device: DeviceId, seq: Seq, epoch: Epoch = None
) -> models.Proof:
    """The inclusion proof of one leaf under its cosigned checkpoint, to be checked by anybody."""
    return answers.proof(read, site, device, seq, epoch)


@router.get("/projects")
@needs(Role.VIEWER, Scope.REPORTS)
def get_projects(here: Here, limit: ListLimit = 1000, cursor: Cursor = None) -> models.Projects:
    """The projects whose reports are shown, by id; with every page those that run."""
    found = answers.project_list(here)
    rows, following = page_of({row.id: row for row in found.projects}, "projects", cursor, limit)
    return found.model_copy(update={"projects": rows, "next_cursor": following})


@router.get("/projects/{project}")
@needs(Role.VIEWER, Scope.REPORTS)
def get_project(here: Here, project: ProjectId) -> projects.Report:
    """What is shown of one project's report."""
    return answers.project(here, project).report


@router.get("/projects/{project}/saving")
@needs(Role.VIEWER, Scope.REPORTS)
def get_saving(here: Here, project: ProjectId) -> SoFar:
    """What a running project has saved up to its last whole day, with its band and policies.

    Energy in kWh, CO2e in t, as text: the figures that a report on the same days prints.
    """
    return answers.saving(here, project)


def span_asked(
    read: Open, site: str, device: str, start: datetime | None, end: datetime | None
) -> tuple[int, int]:
    """The span asked for; unasked, all that the device has samples of. [us UTC]

    Raises:
        Problem: a time without offset, or the end not after the start.
    """
    for name, value in (("from", start), ("to", end)):
        if value is not None and value.tzinfo is None:
            raise Problem(
                422,
                "no_offset",
                f"{name!r} is {value.isoformat()}, without an offset from UTC.",
                "Write it as 2018-07-01T00:00:00+09:00 or with Z; in an address '+' is '%2B'.",
            )
    extent = read.reader.extent(site, read.device(site, device).id) or (0, 0)
    first_us = extent[0] if start is None else _us(start)
    last_us = extent[1] + 1 if end is None else _us(end)
    if not 0 <= first_us < last_us:
        raise Problem(
            422,
            "bad_span",
            f"The span goes from {first_us} us to {last_us} us since 1970.",
            "Let 'to' be after 'from', and both after 1970.",
        )
    return first_us, last_us


def days_asked(
    read: Open, site: str, device: str, first: date | None, last: date | None
) -> tuple[date, date]:
    """The local days asked for; unasked, the last week that the device has samples of."""
    found = read.device(site, device)
    extents = [read.reader.extent(site, device)]
    shown = read.shown(read.site(site))
    span = answers.span_of_days(shown, first, last, devices=[found], usual=7, extents=extents)
    if span is None:
        raise _nothing(device)
    return span


def _or_nothing(days: models.Days | None, name: str) -> models.Days:
    if days is None:
        raise _nothing(name)
    return days


def _nothing(name: str) -> Problem:
    return Problem(
        404,
        "no_samples",
        f"{name} has no samples yet.",
        "Wait for its first batch; 'joulemark collector status' says what has arrived.",
    )


def _us(moment: datetime) -> int:
    return (moment - _UTC_0) // timedelta(microseconds=1)
