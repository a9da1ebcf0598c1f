"""What a report says of a plan that names its model: the field `engine`, and what follows from it.

Plans without a model have none of it and keep the formats of before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from joulemark_gateway.measure.checks import DATA_CHECKS
from joulemark_gateway.measure.finding import PolicyUsed
from joulemark_gateway.measure.intervals import MEAN_UNIT
from joulemark_gateway.measure.models.selection_rules import SELECTION_POLICIES
from joulemark_gateway.measure.models.shapes import TEMPERATURE
from joulemark_gateway.measure.project import Project
from joulemark_gateway.measure.result import (
    Engine,
    Looked,
    Measurement,
    Model,
    Worked,
)
from joulemark_gateway.reports.engine_saving import (
    change_content,
    events_content,
    meter_content,
    totals_content,
    uncertainty_content,
)
from joulemark_gateway.reports.equation import equation_lines, split_name
from joulemark_gateway.reports.figures import kwh, percent, places, significant
from joulemark_gateway.reports.shown import energy_unit, finite, in_kwh, shown, shown_unit
from joulemark_gateway.reports.words import WORDS

_POINT = "change_point_c"
_LEAST = Decimal("0.000001")
METERED = (
    "The evidence says nothing of what a device did not measure, nor whether it measured well. The "
    "interval covers the model, the emission factor and the accuracy that the plan states of the "
    "meter; nobody tested the meter for this report."
)
CHOSEN_BY = {
    "plan": "The plan names this model; no other was looked at.",
    "rules": "Of the sets of drivers that keep the rules of the policy, this one has the largest "
    "adjusted R2.",
    "bic": "It has the lowest BIC: every parameter, change points included, must be worth what it "
    "costs among the effective units.",
    "both": "Of the sets of drivers that keep the rules of the policy, this one has the largest "
    "adjusted R2; of its lines in temperature this one has the lowest BIC.",
}
Json = dict[str, Any]


def with_engine(report: Json, project: Project, measurement: Measurement, format_: str) -> Json:
    """The report with what the engine says; itself where the plan names no model.

    Args:
        report: in the formats of before.
        project: the plan.
        measurement: what it measured.
        format_: of reports that have it.
    """
    engine = measurement.engine
    if engine is None:
        return report
    override = _override(project, engine)
    is_used = override is not None and bool(override["passed_over"])
    changes = [change_content(change, project) for change in engine.changes]
    names = _names(project, measurement)
    return {
        **report,
        "format": format_,
        "banners": _banners(report["banners"], override if is_used else None),
        "findings": [_by_name(finding, names) for finding in report["findings"]],
        "warnings": [*report["warnings"], *_told(changes, project.unit)],
        "limits": [_limit(item, project) for item in report["limits"]],
        "engine": {
            "method": engine.method,
            "override": override,
            "equation": None
            if measurement.model is None
            else _equation(project, measurement, measurement.model, engine, report["model"]),
            "levels": [
                {"name": one.name, "kwh": kwh(one.value_wh), "busy": one.is_busy}
                for one in engine.levels
            ],
            "bic": _or_none(finite(engine.bic)),
            "chosen_by": CHOSEN_BY[_chosen_by(project, engine)],
            "alternatives": [
                _looked(one, engine, measurement.model, names) for one in engine.alternatives
            ],
            "policies": [_policy(policy) for policy in _policies(project, engine)],
            "told": [_by_name(_rule(one), names) for one in engine.warnings],
            "detectable_percent": _percent(engine.detectable_ratio),
            "meter": meter_content(project, measurement.saving),
            "events": events_content(project, measurement.saving),
            "with_and_without_events": totals_content(measurement),
            "uncertainty": uncertainty_content(measurement),
            "changes": changes,
            "worked": _worked(measurement, engine.worked),
        },
    }


def _override(project: Project, engine: Engine) -> Json | None:
    stated = project.override
    if stated is None:
        return None
    return {
        "author": stated.author,
        "reason": stated.reason,
        "codes": list(stated.codes),
        "passed_over": list(engine.overridden),
    }


def _banners(others: Sequence[Json], override: Json | None) -> list[Json]:
    """The banners; that of a replay stays the first."""
    if override is None:
        return list(others)
    codes = ", ".join(override["passed_over"])
    text = (
        f"Overridden: rules that fail ({codes}) were passed over by {override['author']}: "
        f"{override['reason']}"
    )
    first = [one for one in others if one["code"] == "replayed"]
    rest = [one for one in others if one["code"] != "replayed"]
    return [*first, {"code": "overridden", "text": text}, *rest]


def _told(changes: Sequence[Json], unit: str) -> list[Json]:
    return [
        {
            "code": "unexplained_change",
            "text": f"From {one['unit']} on, the saving of each {unit} differs by "
            f"{one['shift_kwh']} kWh, and no event of the plan explains it. It is told, not "
            "corrected.",
        }
        for one in changes
        if one["event"] is None
    ]


def _limit(item: Json, project: Project) -> Json:
    if item["code"] == "not_logged" and project.meter is not None:
        return {**item, "text": METERED}
    return item


def _names(project: Project, measurement: Measurement) -> dict[str, str]:
    """What the engine calls the plan's drivers, and the plan."""
    streams = [stream for stream in measurement.streams if stream.role == "driver"]
    means = [stream.unit == MEAN_UNIT for stream in streams]
    names = {"energy_wh": "energy"}
    for driver, is_mean in zip(project.drivers, means, strict=True):
        names[f"of_{driver.device.replace('-', '_')}_{driver.point}"] = driver.name
        names[TEMPERATURE if is_mean and sum(means) == 1 else driver.point] = driver.name
    return names


def _by_name(finding: Json, names: Mapping[str, str]) -> Json:
    """A finding whose subject is a driver by the name that the plan gives it."""
    subject = finding["subject"]
    for mark in (": ", ", "):
        before, found, after = subject.partition(mark)
        if found and (before in names or after in names):
            subject = f"{names.get(before, before)}{mark}{names.get(after, after)}"
            break
    return {**finding, "subject": names.get(subject, subject), "seen": _seen(finding["seen"])}


def _seen(text: str | None) -> str | None:
    """What was seen; of a p next to 0 that it is below what is printed."""
    return "<0.000001" if text is not None and 0 < Decimal(text) < _LEAST else text


def _rule(finding: Any) -> Json:
    unit = finding.unit
    return {
        "code": finding.code,
        "by": finding.by,
        "subject": finding.subject,
        "rule": finding.rule,
        "seen": shown(unit, finite(finding.seen)),
        "at_least": shown(unit, finite(finding.at_least)),
        "at_most": shown(unit, finite(finding.at_most)),
        "unit": unit,
    }


def _equation(
    project: Project, measurement: Measurement, model: Model, engine: Engine, printed: Json
) -> Json:
    drivers = [driver.name for driver in project.drivers]
    temperatures = [
        stream.name
        for stream in measurement.streams
        if stream.role == "driver" and stream.unit == MEAN_UNIT
    ]
    terms = []
    for term in printed["coefficients"]:
        part, kind = split_name(term["name"], drivers)
        terms.append({**{key: term[key] for key in ("name", "value", "unit")}, "part": part,
                      "kind": kind})  # fmt: skip
    equation: Json = {
        "unit": project.unit,
        "temperature": temperatures[0] if len(temperatures) == 1 else TEMPERATURE,
        "levels": str(len(engine.levels)) if engine.levels else None,
        "terms": terms,
        "change_points": _change_points(model.facts),
        "knots_c": [
            significant(value, 8) for name, value in model.facts.items() if name.startswith("knot_")
        ],
    }
    return {**equation, "text": list(equation_lines(equation, WORDS["en"]))}


def _change_points(facts: Mapping[str, float]) -> list[Json]:
    found = []
    for name, value in facts.items():
        if not name.endswith(_POINT):
            continue
        part, _, own = name.rpartition(".")
        stem = name.removesuffix("_c")
        found.append(
            {
                "part": part,
                "kind": own.removesuffix(_POINT).removesuffix("_"),
                "value_c": significant(value, 8),
                "lowest_c": _or_none(facts.get(f"{stem}_lowest_c")),
                "highest_c": _or_none(facts.get(f"{stem}_highest_c")),
            }
        )
    return found


def _chosen_by(project: Project, engine: Engine) -> str:
    choice = project.model
    assert choice is not None
    is_made = engine.method.startswith("production")
    by_rules = choice.selection_policy is not None or (choice.family == "automatic" and is_made)
    lines = [one for one in engine.alternatives if not _is_set(one)]
    if by_rules:
        return "both" if lines else "rules"
    return "bic" if lines else "plan"


def _is_set(one: Looked) -> bool:
    """Whether it is a set of drivers: a driver's name ends in its unit, a method's has no '_'."""
    return "_" in one.id


def _looked(one: Looked, engine: Engine, model: Model | None, names: Mapping[str, str]) -> Json:
    """A model that was looked at; its BIC against that of the chosen one, both by the same n."""
    chosen = engine.bic
    if _is_set(one) and model is not None:
        chosen = _plain_bic(model)
    shown_id = " + ".join(names.get(part, part) for part in one.id.split(" + "))
    difference = None if chosen is None else finite(one.bic - chosen)
    return {
        "id": shown_id,
        "parameters": str(one.p),
        "cv_rmse_percent": _percent(one.cv_rmse),
        "adjusted_r2": places(one.adjusted_r2, 6),
        "bic_difference": None if difference is None else places(difference, 2),
    }


def _plain_bic(model: Model) -> float | None:
    if model.sse_wh2 <= 0:
        return None
    return model.n * math.log(model.sse_wh2 / model.n) + model.p * math.log(model.n)


def _policies(project: Project, engine: Engine) -> list[PolicyUsed]:
    """The policies that judged besides that of the project."""
    found = [DATA_CHECKS.used()]
    choice = project.model
    assert choice is not None
    name = choice.selection_policy
    if name is None and _chosen_by(project, engine) in {"rules", "both"}:
        name = "iso50006-regression"
    return found if name is None else [*found, SELECTION_POLICIES[name].used()]


def _policy(policy: PolicyUsed) -> Json:
    return {
        "id": policy.id,
        "version": policy.version,
        "text": policy.text,
        "source": policy.source,
    }


def _worked(measurement: Measurement, worked: Worked | None) -> Json | None:
    if worked is None:
        return None
    unit = next(
        one for one in measurement.units if one.period == "reporting" and one.label == worked.label
    )
    streams = [stream for stream in measurement.streams if stream.role == "driver"]
    return {
        "unit": worked.label,
        "drivers": [
            {"name": stream.name, "unit": shown_unit(stream.unit), "value": shown(stream.unit, n)}
            for stream, n in zip(streams, unit.drivers, strict=True)
        ],
        "terms": [
            {
                "name": term.name,
                "value": significant(in_kwh(term.unit, term.coefficient), 8),
                "unit": energy_unit(term.unit),
                "amount": significant(term.amount / (1000 if term.unit == "Wh/kg" else 1), 10),
                "amount_unit": _amount_unit(energy_unit(term.unit)),
                "energy_kwh": kwh(term.energy_wh),
            }
            for term in worked.terms
        ],
        "predicted_kwh": kwh(worked.predicted_wh),
        "measured_kwh": kwh(worked.measured_wh),
        "avoided_kwh": kwh(worked.predicted_wh - worked.measured_wh),
    }


def _amount_unit(unit: str) -> str:
    """Of what a coefficient is multiplied by: t for kWh/t, nothing for kWh."""
    of = unit.partition("/")[2]
    return of.removeprefix("(").removesuffix(")") if " " in of else of


def _percent(ratio: float | None) -> str | None:
    known = finite(ratio)
    return None if known is None else percent(known)


def _or_none(value: float | None) -> str | None:
    return None if value is None else significant(value, 8)
