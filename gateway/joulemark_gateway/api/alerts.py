"""What was told: alerts with their log, and who took note of them."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from joulemark_gateway.access.gate import Access, Visit
from joulemark_gateway.access.roles import Role, Scope, Who
from joulemark_gateway.alerts.store import Alert, AlertStore, State
from joulemark_gateway.alerts.texts import what_of
from joulemark_gateway.api.admin import Asker, Form, Gate
from joulemark_gateway.api.doors import needs
from joulemark_gateway.api.models import PROBLEMS
from joulemark_gateway.api.problems import Problem, unknown
from joulemark_gateway.api.routes import ID, Here
from joulemark_gateway.api.sources import Sources

router = APIRouter(prefix="/api/v1", responses=PROBLEMS)

MOST_ALERTS = 200
_MOST_READ = 5_000
MOST_NOTE = 500
_STATES: dict[str, tuple[State, ...]] = {
    "open": ("raised", "acknowledged"),
    "raised": ("raised",),
    "acknowledged": ("acknowledged",),
    "resolved": ("resolved",),
    "all": ("raised", "acknowledged", "resolved"),
}

AlertNumber = Annotated[int, Path(ge=1, lt=2**53, description="of an alert")]
StateFilter = Annotated[
    Literal["open", "raised", "acknowledged", "resolved", "all"],
    Query(description="open: raised or acknowledged"),
]
SiteFilter = Annotated[str | None, Query(pattern=ID, description="only this site")]
SubjectFilter = Annotated[str | None, Query(max_length=200, description="only this subject")]
Before = Annotated[
    int | None, Query(ge=1, lt=2**53, description="only older ones; `next_before` goes on")
]
Link = Annotated[str | None, Query(max_length=100, description="of the notice; works once")]


class AlertLine(BaseModel):
    """What became of an alert."""

    model_config = ConfigDict(frozen=True)

    t_us: int
    what: str = Field(description="raised, again, acknowledged, escalated, resolved")
    who: str
    note: str


class AlertAnswer(BaseModel):
    """One alert. Times in us, UTC since 1970."""

    model_config = ConfigDict(frozen=True)

    id: int
    rule: str
    site: str = Field(description="'': of the collector itself")
    subject: str
    code: str
    values: dict[str, str]
    text: dict[str, str] = Field(description="by language")
    state: Literal["raised", "acknowledged", "resolved"]
    raised_us: int
    seen_us: int = Field(description="it held last")
    times: int = Field(description="it was raised, again included")
    by_whom: str | None
    note: str | None
    acknowledged_us: int | None
    resolved_us: int | None
    escalated_us: int | None
    log: list[AlertLine]


class WaitingFor(BaseModel):
    """A receiver that has not taken everything."""

    receiver: str
    notices: int
    error: str = Field(description="of the last attempt")


class AlertsAnswer(BaseModel):
    """Alerts, newest first; `waiting` is for those who see all sites."""

    alerts: list[AlertAnswer]
    next_before: int | None
    waiting: list[WaitingFor]


class Acknowledgement(Form):
    """That somebody looks after it."""

    note: str = Field(default="", max_length=MOST_NOTE)
    link: str | None = Field(default=None, max_length=100)


@router.get("/alerts")
@needs(Role.VIEWER, Scope.METRICS)
def get_alerts(
    *,
    here: Here,
    state: StateFilter = "open",
    site: SiteFilter = None,
    subject: SubjectFilter = None,
    before: Before = None,
    limit: Annotated[int, Query(ge=1, le=MOST_ALERTS)] = 100,
) -> AlertsAnswer:
    """The alerts of the sites that whoever asks sees."""
    return alerts(here, state=state, site=site, subject=subject, before=before, limit=limit)


@router.get("/alerts/{number}")
@needs(Role.VIEWER, Scope.METRICS)
def get_alert(here: Here, number: AlertNumber) -> AlertAnswer:
    """One alert and what became of it."""
    return alert(here, number)


@router.post("/alerts/{number}/acknowledge")
@needs(Role.OPERATOR, Scope.OPERATE)
def post_acknowledgement(
    here: Here, gate: Gate, visit: Asker, number: AlertNumber, sent: Acknowledgement
) -> AlertAnswer:
    """Take note of an alert: it is not escalated, and nobody else has to look."""
    return acknowledge(here, gate, visit, number, sent)


def alerts(
    here: Sources,
    *,
    state: str = "open",
    site: str | None = None,
    subject: str | None = None,
    before: int | None = None,
    limit: int = 100,
) -> AlertsAnswer:
    """A page of the alerts."""
    read = here.alerts.read
    rows = read(lambda store: store.alerts(_STATES[state], _MOST_READ, before), [])
    found = [
        row
        for row in rows
        if _sees(here.who, row)
        and (site is None or row.site == site)
        and (subject is None or row.subject == subject)
    ]
    shown = found[:limit]
    more = len(found) > limit or len(rows) == _MOST_READ
    last = shown[-1].id if len(found) > limit else (rows[-1].id if rows else None)
    waiting = read(AlertStore.waiting, []) if here.who.sites is None else []
    return AlertsAnswer(
        alerts=[_answer(row, []) for row in shown],
        next_before=last if more else None,
        waiting=[WaitingFor(receiver=r, notices=n, error=e) for r, n, e in waiting],
    )


def alert(here: Sources, number: int) -> AlertAnswer:
    """One alert; Problem where there is none that whoever asks may see."""
    row = here.alerts.read(lambda store: store.alert(number), None)
    if row is None or not _sees(here.who, row):
        raise unknown("alert", str(number))
    lines = here.alerts.read(lambda store: store.lines(number), [])
    return _answer(
        row, [AlertLine(t_us=o.t_us, what=o.what, who=o.who, note=o.note) for o in lines]
    )


def acknowledge(
    here: Sources, gate: Access, visit: Visit, number: int, sent: Acknowledgement
) -> AlertAnswer:
    """Take note of an alert; Problem where that is not to be done."""
    alert(here, number)
    name, note, now_us = visit.who.name, sent.note.strip(), here.now_us()
    done = here.alerts.read(
        lambda store: store.acknowledge(number, name, note, now_us, sent.link), None
    )
    if not done:
        raise Problem(
            409,
            "not_open",
            f"The alert {number} is acknowledged already, or over, or the link was used.",
            "Look at its log; without the link it can be acknowledged on its page.",
        )
    gate.changed("alert_acknowledged", visit, str(number))
    return alert(here, number)


def _sees(who: Who, row: Alert) -> bool:
    return who.sees(row.site) if row.site else who.sites is None


def _answer(row: Alert, lines: list[AlertLine]) -> AlertAnswer:
    values = dict(row.values)
    told = {**values, "subject": row.subject}
    return AlertAnswer(
        id=row.id,
        rule=row.rule,
        site=row.site,
        subject=row.subject,
        code=row.code,
        values=values,
        text={"en": what_of(row.code, told, "en"), "ko": what_of(row.code, told, "ko")},
        state=row.state,
        raised_us=row.raised_us,
        seen_us=row.seen_us,
        times=row.times,
        by_whom=row.by_whom,
        note=row.note,
        acknowledged_us=row.acknowledged_us,
        resolved_us=row.resolved_us,
        escalated_us=row.escalated_us,
        log=lines,
    )
