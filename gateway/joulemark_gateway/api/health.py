"""Whether the collector lives, and whether it is ready: for what watches over it.

Alive says nothing but that. Ready says 200 or 503 to anybody, and why to whoever verifies all
sites, by a limited token where it has the scope of metrics: a cause names files and servers.
"""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from joulemark_agent.contract.errors import JoulemarkError
from joulemark_gateway.access.roles import Role, Scope
from joulemark_gateway.api import models
from joulemark_gateway.api.doors import needs
from joulemark_gateway.api.models import Responses
from joulemark_gateway.api.routes import Here
from joulemark_gateway.api.sources import Sources

_NOT_READY: Responses = {503: {"model": models.Ready, "description": "It is not ready."}}

router = APIRouter()


@router.get("/health/live")
@needs(Role.ANYBODY)
def get_live() -> models.Alive:
    """That the collector answers, and nothing else."""
    return models.Alive(status="ok")


@router.get("/health/ready", response_model=models.Ready, responses=_NOT_READY)
@needs(Role.ANYBODY)
def get_ready(here: Here) -> Response:
    """Whether evidence and series can be read; the causes for who verifies all sites."""
    found = causes(here)
    who = here.who
    may_know = who.may(Role.VERIFIER) and who.sites is None and who.reaches(Scope.METRICS)
    answer = models.Ready(status="degraded" if found else "ok", causes=found if may_know else None)
    return JSONResponse(answer.model_dump(), 503 if found else 200)


def causes(here: Sources) -> list[models.Cause]:
    """Why it is not ready; none where it is."""
    found = []
    try:
        with here.store() as store:
            store.heads()
    except JoulemarkError as error:
        found.append(_cause("evidence", error))
    try:
        here.series.reader.extent("", "")
    except JoulemarkError as error:
        found.append(_cause("series", error))
    return found


def _cause(part: str, error: JoulemarkError) -> models.Cause:
    return models.Cause(part=part, code=error.code, what=error.what, do=error.do)
