"""The saving so far: the plan cut after the last whole day, measured as a report measures it.

So every figure is that of `joulemark measure` on a plan whose reporting period ends there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import BaseModel

from joulemark_agent.contract.canonical import canonical_bytes, digest_hex, parse_canonical
from joulemark_agent.contract.reading import SIMULATED
from joulemark_agent.kernels.carbon import WH_PER_KWH
from joulemark_gateway.evidence.account import read_account
from joulemark_gateway.evidence.history import parse_tree
from joulemark_gateway.following.so_far import (
    FORMAT,
    Policy,
    SavingHeadline,
    SavingRule,
    SavingWarning,
)
from joulemark_gateway.measure.project import Dates, Project
from joulemark_gateway.measure.result import FactorUse, Measurement, Unit
from joulemark_gateway.reports.figures import kwh, tonnes
from joulemark_gateway.reports.issue import measured
from joulemark_gateway.reports.project_file import Material
from joulemark_gateway.reports.provenance import Claims, Provenance, provenance_of
from joulemark_gateway.reports.reduction import reduction_report
from joulemark_gateway.software import VERSION, source_digest

LATE_US = 1800 * 1_000_000  # after midnight: what agents still send of the day that ended
_US_PER_S = 1_000_000
_DAY = timedelta(days=1)
_END = {"to", "end"}  # how a plan may write it
_STATES = ("missing", "estimated", "measured")  # the worst first
Json = dict[str, Any]


def calculated(material: Material, now_us: int) -> Json:
    """A running project as a value for canonical JSON, in the form of `so_far.SoFar`.

    Args:
        material: plan and evidence.
        now_us: wall time, UTC; with a simulated clock it is as late as all devices were read. [us]

    Raises:
        EvidenceError: see `reports.issue.measured`.
        MeasureError: likewise.
    """
    project = Project.model_validate(parse_canonical(material.plan))
    witnessed = [(parse_tree(tree.parts), tree.checkpoints) for tree in material.trees]
    account = read_account(material.log)
    claims = Claims(utc(now_us), VERSION, source_digest(), material.quarantined)
    provenance = provenance_of(witnessed, material.documents, material.plan, claims, account)
    today, is_simulated = _today(project, provenance, now_us)
    end = min(project.reporting.end, today)
    told = {
        **plan_told(project, material.plan, today),
        "computed": utc(now_us),
        "simulated": is_simulated,
    }
    if end <= project.reporting.first:
        state = "baseline" if today < project.baseline.end else "waiting"
        return {**told, **NOTHING, "state": state}
    cut = plan_until(material.plan, end)
    corrections = provenance.account.in_force if provenance.account else []
    registered_us = provenance.dated.registered.time_us if provenance.dated else None
    found = measured(cut, witnessed, material.documents, corrections, registered_us)
    report = reduction_report(found.project, found, provenance)
    return {
        **told,
        **_figures(report),
        "stands_to": (end - _DAY).isoformat(),
        "is_final": end == project.reporting.end,
        "days": _days(found),
    }


def plan_until(plan: bytes, end: date) -> bytes:
    """The plan whose reporting period ends before this day."""
    content = parse_canonical(plan)
    dates = {name: day for name, day in content["reporting"].items() if name not in _END}
    return canonical_bytes({**content, "reporting": {**dates, "to": str(end)}})


def plan_told(project: Project, plan: bytes, today: date) -> Json:
    """What the plan alone says, on a local day that is not over."""
    whole = (project.baseline.end - project.baseline.first).days
    return {
        "format": FORMAT,
        "id": project.id,
        "title": project.title,
        "site": project.site,
        "time_zone": project.time_zone,
        "measure": project.measure.name,
        "implemented": project.measure.implemented.isoformat(),
        "baseline": _dates(project.baseline),
        "reporting": _dates(project.reporting),
        "unit": project.unit,
        "policy_id": project.sufficiency_policy,
        "plan_sha256": digest_hex(plan),
        "baseline_days": min(max((today - project.baseline.first).days, 0), whole),
        "baseline_days_in_all": whole,
        "trouble": None,
    }


NOTHING: Mapping[str, Any] = {  # is said of a saving before there is one
    "stands_to": None,
    "is_final": False,
    "policy": None,
    "refused_because": [],
    "headline": None,
    "months": [],
    "findings": [],
    "warnings": [],
    "days": [],
}


def local_day(instant_us: int, zone: ZoneInfo) -> date:
    """The local day of an instant."""
    return datetime.fromtimestamp(instant_us // _US_PER_S, zone).date()


def _today(project: Project, provenance: Provenance, now_us: int) -> tuple[date, bool]:
    """The local day that is not over yet, and whether its clock is simulated.

    A reading belongs to the time that it closes: the one at midnight ends the day before.
    """
    zone = ZoneInfo(project.time_zone)
    if any(tree.clock == SIMULATED for tree in provenance.trees):
        return local_day(min(tree.last_slot_us or 0 for tree in provenance.trees), zone), True
    return local_day(now_us - LATE_US, zone), False


def _dates(dates: Dates) -> Json:
    return {"first": dates.first.isoformat(), "last_day": (dates.end - _DAY).isoformat()}


def _figures(report: Mapping[str, Any]) -> Json:
    """The saving as the report prints it; what else it says of these things stands there only."""
    head = report["headline"]
    if head is not None:
        creditable = report["creditable"]["creditable_kwh"]
        head = _known(SavingHeadline, {**head, "creditable_kwh": creditable})
    return {
        "state": "refused" if head is None else "measured",
        "policy": _known(Policy, report["policy"]),
        "refused_because": report["refused_because"],
        "headline": head,
        "months": [
            {
                "month": row["month"],
                "kept": row["kept"],
                "masked": row["masked"],
                "measured_kwh": row["measured_kwh"],
                "predicted_kwh": row["counterfactual_kwh"],
                "avoided_kwh": row["avoided_kwh"],
                "half_width_kwh": row["half_width_kwh"],
            }
            for row in report["months"]
        ],
        "findings": [_known(SavingRule, row) for row in report["findings"]],
        "warnings": [_known(SavingWarning, row) for row in report["warnings"]],
    }


def _known(part: type[BaseModel], row: Mapping[str, Any]) -> Json:
    return {name: row[name] for name in part.model_fields}


def _days(measurement: Measurement) -> list[Json]:
    """The local days of the reporting period, hours of one together."""
    uses = () if measurement.saving is None else measurement.saving.carbon.factors
    units = [unit for unit in measurement.units if unit.period == "reporting"]
    rows, avoided_kg = [], 0.0
    for day, group in groupby(units, lambda unit: unit.label[:10]):
        inside = list(group)
        counted = [unit for unit in inside if unit.avoided_wh is not None]
        avoided_kg += _kilograms(date.fromisoformat(day), counted, uses)
        last = counted[-1] if counted else None
        told = dict.fromkeys(reason for unit in inside for reason in unit.reasons)
        rows.append(
            {
                "day": day,
                "state": min((_state(unit) for unit in inside), key=_STATES.index),
                "reasons": list(told),
                "measured_kwh": kwh(sum(unit.energy_wh for unit in counted or inside)),
                "predicted_kwh": kwh(math.fsum(u.predicted_wh or 0.0 for u in counted))
                if last
                else None,
                "cumulative_kwh": kwh(last.cumulative_wh or 0.0) if last else None,
                "half_width_kwh": kwh(last.cumulative_half_width_wh or 0.0) if last else None,
                "cumulative_t": tonnes(avoided_kg) if last else None,
            }
        )
    return rows


def _kilograms(day: date, counted: Sequence[Unit], uses: Sequence[FactorUse]) -> float:
    """What the units of a day avoided in CO2e, by the factor of that day. [kg]"""
    if not counted:
        return 0.0
    factor = next(use.factor for use in uses if use.first_day <= day <= use.last_day)
    avoided_wh = math.fsum(unit.avoided_wh or 0.0 for unit in counted)
    return avoided_wh / WH_PER_KWH * float(factor.factor_kg_per_kwh)


def _state(unit: Unit) -> str:
    if unit.missing_us:
        return "missing"
    return "estimated" if unit.estimated_us else "measured"


def utc(now_us: int) -> str:
    """A time as a report writes it."""
    return datetime.fromtimestamp(now_us // _US_PER_S, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
