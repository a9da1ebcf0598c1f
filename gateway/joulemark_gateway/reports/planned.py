"""What a report says of its plan: what the plan states besides, and since when it can be shown."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

from joulemark_agent.contract.signature import fingerprint
from joulemark_gateway.evidence.plans import Dated
from joulemark_gateway.measure.calendar import midnight_us
from joulemark_gateway.measure.project import Project
from joulemark_gateway.measure.result import Warned
from joulemark_gateway.reports.figures import local_time, significant

_US_PER_S = 1_000_000
_DIGITS = 10
BY_COLLECTOR = Warned(
    "plan_dated_by_collector",
    "Only the collector itself says that this plan was there before the reporting period started; "
    "nobody else saw its log by then.",
)
Json = dict[str, Any]


def plan_content(project: Project, dated: Dated | None) -> Json:
    """The field `plan`, by its name; nothing where there is nothing to say.

    Args:
        project: the plan.
        dated: its registration; None: the log holds none.
    """
    said = (project.option, project.boundary, project.responsible)
    if dated is None and not project.static_factors and said == (None, None, None):
        return {}
    content = {
        "option": project.option,
        "boundary": project.boundary,
        "responsible": project.responsible,
        "static_factors": [
            {
                "name": item.name,
                "value": significant(item.value, _DIGITS),
                "unit": item.unit,
                "source": item.source,
                "if_changed": item.if_changed,
                "estimated": item.estimated,
            }
            for item in project.static_factors
        ],
        "registered": None if dated is None else _registered(project, dated),
    }
    return {"plan": content}


def plan_warnings(project: Project, dated: Dated | None) -> list[Warned]:
    """The warning that the collector's word is all there is; that of no word stands already."""
    alone = dated is not None and dated.shown_by(starts_us(project)) == "collector"
    return [BY_COLLECTOR] if alone else []


def _registered(project: Project, dated: Dated) -> Json:
    zone, registered = ZoneInfo(project.time_zone), dated.registered
    cosigned = None
    if dated.cosigned is not None:
        name, time_s = dated.cosigned
        cosigned = {"name": name, "time": local_time(time_s * _US_PER_S, zone)}
    return {
        "author": registered.statement.author,
        "role": registered.statement.role,
        "operator": fingerprint(registered.operator_key),
        "sha256": registered.statement.plan_sha256,
        "log_leaf": str(registered.position),
        "logged": local_time(registered.time_us, zone),
        "cosigned_by": cosigned,
        "before_reporting": dated.shown_by(starts_us(project)),
        "versions": str(dated.versions),
    }


def starts_us(project: Project) -> int:
    """When the reporting period starts, at local midnight. [us]"""
    return midnight_us(project.reporting.first, ZoneInfo(project.time_zone))
