"""The page of a running project: what it has saved so far, with its band, policies and gaps."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from joulemark_gateway.access.roles import Role
from joulemark_gateway.api import answers
from joulemark_gateway.api.doors import needs
from joulemark_gateway.api.routes import Here, ProjectId
from joulemark_gateway.reports import words as report_words
from joulemark_gateway.web import saving_charts
from joulemark_gateway.web.pages import page, words_of

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@router.get("/projects/{project}/saving")
@needs(Role.VIEWER)
def get_saving(request: Request, here: Here, project: ProjectId) -> Response:
    """One running project, up to its last whole day."""
    found = answers.saving(here, project)
    words, zone = words_of(request), ZoneInfo(found.time_zone)
    days = found.days if found.headline is not None else ()
    span = {"first": found.reporting.first, "last": found.stands_to}
    return page(
        request,
        "saving.html",
        found=found,
        r=report_words.WORDS[words.language],
        sum_chart=saving_charts.cumulative(days, zone, words("saving_chart_sum", **span)),
        day_chart=saving_charts.by_day(days, zone, words("saving_chart_days", **span)),
        out=[day for day in found.days if day.reasons],
        has_report=answers.has_report(here, project),
        banner=None,
    )
