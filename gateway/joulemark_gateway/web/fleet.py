"""The page of the fleet: every agent on one line."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from joulemark_gateway.access.roles import Role
from joulemark_gateway.api import fleet as api
from joulemark_gateway.api.doors import needs
from joulemark_gateway.api.routes import Here
from joulemark_gateway.web.pages import page as answered

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

_SIZE = 50
_SOON_US = 30 * 86_400_000_000  # of a certificate's end
_OFF_US = 2_000_000  # of a clock, that stands out
_SORTS = ("agent", "site", "seen", "version", "backlog", "clock", "certificate")


@router.get("/fleet")
@needs(Role.VIEWER)
def get_fleet(
    *,
    request: Request,
    here: Here,
    site: str = "",
    search: api.Search = "",
    show: api.ShowFilter = "all",
    sort: api.SortBy = "agent",
    descending: api.Descending = False,
    page: api.PageNumber = 1,
) -> Response:
    """Agents with version, last seen, backlog, clock and certificate."""
    asked: dict[str, Any] = {"site": site, "search": search, "show": show, "sort": sort}
    found = api.fleet(
        here,
        site=site or None,
        search=search,
        show=show,
        sort=sort,
        descending=descending,
        page=page,
        size=_SIZE,
    )

    def url(**changes: Any) -> str:
        kept = {**asked, "descending": str(descending).lower(), **changes}
        return f"?{urlencode({name: value for name, value in kept.items() if value})}"

    sorts = {
        name: url(sort=name, descending=str(sort == name and not descending).lower())
        for name in _SORTS
    }
    return answered(
        request,
        "fleet.html",
        found=found,
        asked=asked,
        descending=descending,
        sorts=sorts,
        shows={name: url(show=name) for name in ("all", *found.states)},
        earlier=url(page=found.page - 1) if found.page > 1 else None,
        later=url(page=found.page + 1) if found.page < found.pages else None,
        soon_us=_SOON_US,
        off_us=_OFF_US,
        banner=None,
    )
