"""The page of a system: what several devices of a site say together."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.equipment import Span
from joulemark_gateway.access.roles import Role
from joulemark_gateway.api import answers, machines, models, plant, systems
from joulemark_gateway.api.answers import Open
from joulemark_gateway.api.doors import needs
from joulemark_gateway.api.problems import Problem
from joulemark_gateway.api.routes import FirstDay, LastDay, Reading, SiteId
from joulemark_gateway.systems import System
from joulemark_gateway.web import charts, figures
from joulemark_gateway.web.drawing import Frame
from joulemark_gateway.web.machine import by_reason, tables_of
from joulemark_gateway.web.pages import banner_of, page, words_of
from joulemark_gateway.web.words import Words

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

_USUAL_DAYS = 7
_SHADES = {"base": "s-load", "trim": "s-running", "cycling": "s-unload", "idle": "s-alarm"}


@router.get("/sites/{site}/systems/{system}")
@needs(Role.VIEWER)
def get_system(
    request: Request,
    *,
    read: Reading,
    site: SiteId,
    system: systems.SystemId,
    first: FirstDay = None,
    last: LastDay = None,
) -> Response:
    """Several devices together: figures, who did what, episodes, and what is refused."""
    place, which = read.site(site), systems.system_of(read, site, system)
    span = _days(read, place, which, first, last)
    found = {} if span is None else _found(words_of(request), read, place, which, span)
    return page(
        request,
        "system.html",
        site=site,
        system=which,
        zone=place.zone,
        span=span,
        found=found,
        banner=banner_of([answers.site_now(read, place)], {site: place.zone}),
    )


def _days(
    read: Open, place: plant.Site, which: System, first: date | None, last: date | None
) -> tuple[date, date] | None:
    """The local days asked for; unasked the last ones, so few that they can be analysed."""
    devices = [place.devices[name] for name in dict.fromkeys(which.devices)]
    span = answers.span_of_days(
        read.shown(place),
        first,
        last,
        devices=devices,
        usual=_USUAL_DAYS,
        extents=[read.reader.extent(place.id, device.id) for device in devices],
    )
    if span is None or first is not None:
        return span
    fastest, most = systems.most_slots(devices)
    return answers.shortened(fastest, span, most)


def _found(
    words: Words, read: Open, place: plant.Site, which: System, span: tuple[date, date]
) -> dict[str, Any]:
    """What the devices say together of some days, or why they say nothing."""
    span_us = answers.span_us_of(place, span)
    try:
        made = systems.analysis(read, place.id, which, span_us)
    except (Problem, EvidenceError) as error:  # the page itself is still given
        return {"refused": error.what, "do": error.do}
    answered = [machines.figure_of(figure) for figure in made.figures]
    own, given = _parted(which, answered)
    frame = Frame(span_us, place.zone, words("chart_states", device=which.id))
    return {
        "findings": made.findings,
        "given": [figure for figure in given if figure.value is not None],
        "own": own,
        "own_names": list(dict.fromkeys(name for _, each in own for name in each)),
        "absent": by_reason(given),
        "timeline": charts.timeline(_lanes(words, made.spans, span_us), frame),
        "tables": tables_of(made.spans),
    }


def _parted(
    which: System, given: Sequence[models.Figure]
) -> tuple[list[tuple[str, dict[str, models.Figure]]], list[models.Figure]]:
    """Per device the figures that begin with its id, by the rest of their name; and all others."""
    begins = {device: f"{device.replace('-', '_')}_" for device in which.devices}
    own: dict[str, dict[str, models.Figure]] = {}
    others = []
    for figure in given:
        of = [device for device, begin in begins.items() if figure.name.startswith(begin)]
        if of:
            device = max(of, key=len)
            rest = figure.name.removeprefix(begins[device])
            own.setdefault(device, {})[rest] = figure
        else:
            others.append(figure)
    return list(own.items()), others


def _lanes(words: Words, found: Sequence[Span], span_us: tuple[int, int]) -> list[charts.Lane]:
    """A lane for each machine and role, `NAME:ROLE`, with its share of the time."""
    lanes = []
    for kind in sorted({span.kind for span in found if ":" in span.kind}):
        name, _, role = kind.partition(":")
        times = [(span.start_us, span.end_us) for span in found if span.kind == kind]
        share = figures.percent(sum(end - start for start, end in times), span_us[1] - span_us[0])
        told = f"{name} {words.known(f'role_{role}', role)}"
        css = _SHADES.get(role, "s-off")
        lanes.append(charts.Lane(told, f"{share.partition('.')[0]} %", css, times))
    return lanes
