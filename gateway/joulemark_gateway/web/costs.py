"""The pages of cost and of demand of a site."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from joulemark_gateway.access.roles import Role
from joulemark_gateway.api import answers
from joulemark_gateway.api import costs as api
from joulemark_gateway.api.doors import needs
from joulemark_gateway.api.problems import Problem
from joulemark_gateway.api.routes import Reading, SiteId
from joulemark_gateway.web import charts, figures
from joulemark_gateway.web.pages import banner_of, page, words_of
from joulemark_gateway.web.words import Words

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

_MONTHS = 6


@router.get("/sites/{site}/costs")
@needs(Role.VIEWER)
def get_costs(
    request: Request, read: Reading, site: SiteId, month: api.MonthName = None
) -> Response:
    """What the energy of a month cost: bill, bands, days, machines; and the months before."""
    words, place = words_of(request), read.site(site)
    values: dict[str, Any] = {"found": None, "problem": None, "chart": "", "shown": None}
    try:
        found = api.costs(read, site, month, _MONTHS)
    except Problem as problem:
        values["problem"] = problem
    else:
        values["found"] = found
        if found.months:
            values["shown"] = found.months[0]
            values["chart"] = _chart(words, site, found.months[0], found.currency)
    return page(
        request,
        "costs.html",
        status=200 if values["problem"] is None else values["problem"].status,
        site=site,
        zone=place.zone,
        banner=banner_of([answers.site_now(read, place)], {site: place.zone}),
        **values,
    )


@router.get("/sites/{site}/demand")
@needs(Role.VIEWER)
def get_demand(request: Request, read: Reading, site: SiteId) -> Response:
    """The running interval, where it goes, and the warnings there were."""
    place = read.site(site)
    values: dict[str, Any] = {"found": None, "problem": None}
    try:
        values["found"] = api.demand(read, site)
    except Problem as problem:
        values["problem"] = problem
    return page(
        request,
        "demand.html",
        status=200 if values["problem"] is None else values["problem"].status,
        site=site,
        zone=place.zone,
        banner=banner_of([answers.site_now(read, place)], {site: place.zone}),
        **values,
    )


def _chart(words: Words, site: str, month: api.MonthAnswer, currency: str) -> str:
    """The energy charge of each day that has begun."""
    bars = []
    length_us = max((day.due_us for day in month.days), default=0) or 1
    for day in month.days:
        told = words(
            "bar_told",
            day=day.day,
            value=f"{figures.grouped(day.cost) if day.cost else figures.NONE} {currency}",
            measured=figures.percent(day.known_us, day.due_us),
        )
        bars.append(
            charts.Bar(
                day.day,
                None if day.cost is None else float(day.cost),
                (day.known_us - day.estimated_us) / length_us,
                day.estimated_us / length_us,
                (day.due_us - day.known_us) / length_us,
                f"/sites/{site}?from={day.day}&to={day.day}",
                told,
            )
        )
    if all(bar.value is None for bar in bars):
        return ""
    return charts.day_bars(bars, words("cost_chart", month=month.month), currency)
