"""The whole application: pages, API and static files, behind the guard that admits by role."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from joulemark_gateway.access.gate import Access
from joulemark_gateway.access.roles import Role, Scope
from joulemark_gateway.api import admin as admin_routes
from joulemark_gateway.api import agents, files, health, metrics, operator, routes, series
from joulemark_gateway.api import alerts as alert_routes
from joulemark_gateway.api import costs as cost_routes
from joulemark_gateway.api import fleet as fleet_routes
from joulemark_gateway.api import systems as system_routes
from joulemark_gateway.api.doors import needs, only_admitted
from joulemark_gateway.api.openapi import described
from joulemark_gateway.api.problems import Problem
from joulemark_gateway.api.sources import Sources
from joulemark_gateway.software import VERSION
from joulemark_gateway.web import account, admin, explorer, pages, quality, savings, systems, usage
from joulemark_gateway.web import agents as agent_pages
from joulemark_gateway.web import alerts as alert_pages
from joulemark_gateway.web import costs as cost_pages
from joulemark_gateway.web import fleet as fleet_pages
from joulemark_gateway.web.errors import add_handlers
from joulemark_gateway.web.guard import Guard

STATIC: Mapping[str, str] = {
    "style.css": "text/css; charset=utf-8",
    "live.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_API = (
    routes,
    series,
    files,
    health,
    metrics,
    system_routes,
    cost_routes,
    fleet_routes,
    alert_routes,
    operator,
    admin_routes,
    agents,
)
_PAGES = (
    pages,
    usage,
    quality,
    explorer,
    savings,
    systems,
    cost_pages,
    fleet_pages,
    alert_pages,
    account,
    admin,
    agent_pages,
)


@cache
def _routes() -> list[BaseRoute]:
    """Every address. What each takes is found out once a process: it takes a tenth of a second."""
    router = APIRouter(dependencies=[Depends(only_admitted)])
    for part in (*_API, *_PAGES):
        router.include_router(part.router)
    router.add_api_route("/static/{name}", _static, include_in_schema=False)
    router.add_api_route("/openapi.json", _openapi, include_in_schema=False)
    return router.routes


def application(sources: Sources, access: Access) -> Guard:
    """The application over these sources, behind its guard."""
    app = FastAPI(
        title="Joulemark collector",
        version=VERSION,
        description="Energy, CO2e and the evidence behind them. Times are UTC in microseconds "
        "since 1970; units stand at the end of each name.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        routes=_routes(),
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.sources, app.state.access = sources, access
    add_handlers(app)
    return Guard(app, access)


@needs(Role.ANYBODY)
def _static(name: str) -> Response:
    if name not in STATIC:
        raise Problem(404, "no_file", f"There is no file {name!r:.80}.", "Go back to the pages.")
    data = resources.files("joulemark_gateway.web").joinpath("static", name).read_bytes()
    return Response(data, media_type=STATIC[name], headers={"Cache-Control": "max-age=300"})


@needs(Role.VIEWER, Scope.ANY)
def _openapi(request: Request) -> Response:
    app: Any = request.app
    return JSONResponse(described(app, app.state.access.wanted))
