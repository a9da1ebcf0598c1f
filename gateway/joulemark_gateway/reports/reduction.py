"""The reduction report: every figure as the text that is printed, with its unit in its name.

This is the report. The page only shows it, and a verifier recomputes it byte by byte, so nothing
may stand here that the evidence, the plan and the signed statement do not give.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from joulemark_agent.contract.errors import MeasureError
from joulemark_agent.contract.reading import SIMULATED
from joulemark_gateway.measure.finding import Finding, PolicyUsed
from joulemark_gateway.measure.intervals import MEAN_UNIT
from joulemark_gateway.measure.project import Project
from joulemark_gateway.measure.result import (
    CounterEvent,
    Creditable,
    Measurement,
    Model,
    PeriodSummary,
    RefusedClaim,
    Saving,
    Split,
    Stream,
    Unit,
)
from joulemark_gateway.reports.accounted import account_content, corrections_content
from joulemark_gateway.reports.engine_content import with_engine
from joulemark_gateway.reports.figures import (
    Number,
    hours,
    kwh,
    local_time,
    percent,
    places,
    share,
    significant,
    tonnes,
    with_half_width,
)
from joulemark_gateway.reports.planned import plan_content, plan_warnings
from joulemark_gateway.reports.provenance import Provenance, TreeUsed
from joulemark_gateway.reports.shown import energy_unit, finite, in_kwh, shown, shown_unit

FIRST_FORMAT = "joulemark-report/1"  # without the collector's log; shown for ever
FORMAT = "joulemark-report/2"
ENGINE_FORMAT = "joulemark-report/3"  # of plans that name their model
_MOST_EVENTS = 1000  # of counters, listed
MEASURED, DISQUALIFIED = "measured", "disqualified"
REPLAYED = (
    "Replayed data: slot and sample times are simulated. The chain is real; the plant is not "
    "running. This is no evidence of a plant."
)
LIMITS = {
    "replayed": REPLAYED,
    "plain_modbus": "Plain Modbus has no authentication: whoever can write on the wire between a "
    "device and its agent can change values before they are signed.",
    "not_logged": "The evidence says nothing of what a device did not measure, nor whether it "
    "measured well. The interval covers the model and the emission factor, not the accuracy class "
    "of the meter.",
    "synthetic": "A synthetic driver shows that the arithmetic neither invents nor misses a saving "
    "under noise of declared size. It shows nothing about a plant.",
    "no_conformity": "The policies follow published rules as far as their text was at hand. No "
    "conformity with a standard or a crediting programme is claimed.",
}
WITHHELD = (
    "Raw records stay at the gateway: {percent} % of the readings are known by commitments only. "
    "Energy is that of signed counters at the ends of intervals, and equals the sums that the "
    "agent signed; the commitments bind it to the records, which can be asked for."
)
Json = dict[str, Any]


def reduction_report(
    project: Project,
    measurement: Measurement,
    provenance: Provenance,
    uncorrected: Measurement | MeasureError | None = None,
) -> Json:
    """The report as a value for canonical JSON: text, small integers, lists and objects.

    Args:
        project: the plan.
        measurement: what it measured.
        provenance: on which evidence; of a plan without a model the report has
            the first format without the collector's log, the second with it.
        uncorrected: the same without corrections, or why there is none; None: nothing is corrected.
    """
    report = _logged(project, measurement, provenance, uncorrected)
    return with_engine(report, project, measurement, ENGINE_FORMAT)


def _logged(
    project: Project,
    measurement: Measurement,
    provenance: Provenance,
    uncorrected: Measurement | MeasureError | None,
) -> Json:
    """The report in the second format where there is a log."""
    report = _first(project, measurement, provenance)
    account = provenance.account
    if account is None:
        return report
    energy = measurement.streams[0]
    doubt = energy.unsynchronised_total
    return {
        **report,
        "format": FORMAT,
        "account": account_content(account, ZoneInfo(project.time_zone)),
        "corrections": corrections_content(account, measurement, uncorrected),
        "coverage": [
            {**_stream(stream), "withheld": str(stream.withheld), "lost": str(stream.lost)}
            for stream in measurement.streams
        ],
        "time_quality": {
            **report["time_quality"],
            "energy_kwh": kwh(energy.total),
            "unsynchronised_kwh": kwh(doubt),
            "unsynchronised_energy_percent": share(doubt, energy.total),
        },
    }


def _first(project: Project, measurement: Measurement, provenance: Provenance) -> Json:
    """The report in the first format."""
    zone = ZoneInfo(project.time_zone)
    saving = measurement.saving
    warnings = [*measurement.warnings, *plan_warnings(project, provenance.dated)]
    return {
        "format": FIRST_FORMAT,
        "result": DISQUALIFIED if measurement.disqualified else MEASURED,
        "banners": _banners(measurement, provenance),
        "project": _project(project),
        **plan_content(project, provenance.dated),
        "clock": measurement.clock,
        "headline": None if saving is None else _headline(saving, _id(measurement.policy)),
        "refused_because": list(measurement.codes) if measurement.disqualified else [],
        "periods": {
            "baseline": _period(measurement.baseline, measurement.streams),
            "reporting": _period(measurement.reporting, measurement.streams),
        },
        "saving": None if saving is None else _saving(saving, _id(measurement.policy)),
        "months": [] if saving is None else _months(saving),
        "carbon": None if saving is None else _carbon(saving),
        "creditable": None if saving is None else _creditable(saving.creditable),
        "split": None if measurement.split is None else _split(measurement.split),
        "model": None if measurement.model is None else _model(measurement.model),
        "policy": _policy(measurement.policy),
        "findings": [_finding(finding) for finding in measurement.findings],
        "warnings": [{"code": w.code, "text": w.text} for w in warnings],
        "refused_claims": [_refused(claim) for claim in measurement.refused],
        "factors": [] if saving is None else _factors(saving),
        "coverage": [_stream(stream) for stream in measurement.streams],
        "missing": [
            {
                "device": span.device,
                "point": span.point,
                "start": local_time(span.start_us, zone),
                "end": local_time(span.end_us, zone),
                "intervals": str(span.intervals),
                "hours": hours(span.end_us - span.start_us),
                "known": "sum only" if span.is_estimated else "nothing",
                "reasons": list(span.reasons),
            }
            for span in measurement.missing
        ],
        "counter_events": [_event(row, zone) for row in measurement.events[:_MOST_EVENTS]],
        "counter_events_in_all": str(len(measurement.events)),
        "gaps": _gaps(provenance.trees, zone),
        "exclusions": _exclusions(project),
        "masked": [_part(unit) for unit in measurement.units if unit.masked],
        "partial": [_part(unit) for unit in measurement.units if unit.reasons and not unit.masked],
        "time_quality": _time_quality(measurement.streams, provenance),
        "evidence": [_tree(tree, zone) for tree in provenance.trees],
        "quarantined": {code: str(n) for code, n in sorted(provenance.claims.quarantined.items())},
        "plan_sha256": provenance.plan_digest,
        "issued": provenance.claims.issued,
        "software": {
            "name": "joulemark",
            "version": provenance.claims.software_version,
            "source_sha256": provenance.claims.software_digest,
        },
        "limits": _limits(measurement, provenance),
        "series": _series(measurement),
    }


def _banners(measurement: Measurement, provenance: Provenance) -> list[Json]:
    banners = []
    if measurement.clock == SIMULATED:
        banners.append({"code": "replayed", "text": REPLAYED})
    for tree in provenance.trees:
        if tree.profile.synthetic:
            text = (
                f"Synthetic: {tree.device} is no machine; its values are a formula over other "
                "recorded data."
            )
            banners.append({"code": "synthetic", "text": text})
    if measurement.disqualified:
        text = f"No saving is stated: {', '.join(measurement.codes)}."
        banners.append({"code": "disqualified", "text": text})
    return banners


def _project(project: Project) -> Json:
    return {
        "id": project.id,
        "title": project.title,
        "site": project.site,
        "time_zone": project.time_zone,
        "measure": {
            "name": project.measure.name,
            "description": project.measure.description,
            "implemented": project.measure.implemented.isoformat(),
        },
        "energy": {"device": project.energy.device, "point": project.energy.point},
        "drivers": [
            {
                "name": driver.name,
                "device": driver.device,
                "point": driver.point,
                "synthetic": driver.synthetic,
            }
            for driver in project.drivers
        ],
        "unit": project.unit,
        "production_cycle_days": project.production_cycle_days,
        "sufficiency_policy": project.sufficiency_policy,
        "creditable_policy": project.creditable_policy,
        "confidence_percent": significant(project.confidence * 100, 6),
        "factors": {
            "set": project.factors.set,
            "rule_set": project.factors.rule_set,
            "jurisdiction": project.factors.jurisdiction,
        },
    }


def _headline(saving: Saving, policy: str) -> Json:
    avoided, half = with_half_width(saving.avoided_wh / 1000, saving.half_width_wh / 1000)
    carbon = saving.carbon
    avoided_t, half_t = with_half_width(carbon.avoided_kg / 1000, carbon.half_width_kg / 1000)
    return {
        "avoided_kwh": avoided,
        "half_width_kwh": half,
        "avoided_percent": places(saving.avoided_ratio * 100, 2),
        "avoided_t": avoided_t,
        "half_width_t": half_t,
        "confidence_percent": significant(saving.confidence * 100, 6),
        "distinguishable_from_zero": saving.is_distinguishable_from_zero,
        "creditable_t": places(saving.creditable.creditable_kg / 1000, _places_of(avoided_t)),
        "creditable_policy": _id(saving.creditable.policy),
        "sufficiency_policy": policy,
    }


def _places_of(text: str) -> int:
    return len(text.partition(".")[2])


def _period(period: PeriodSummary, streams: Sequence[Stream]) -> Json:
    drivers = [stream for stream in streams if stream.role == "driver"]
    whole = period.covered_us + period.estimated_us + period.missing_us
    return {
        "from": period.first.isoformat(),
        "last_day": (period.end - timedelta(days=1)).isoformat(),
        "to_exclusive": period.end.isoformat(),
        "units": str(period.units),
        "kept": str(period.kept),
        "masked": str(period.masked),
        "energy_kwh": kwh(period.energy_wh),
        "kept_energy_kwh": kwh(period.kept_energy_wh),
        "kept_drivers": [
            _amount(stream.name, stream.unit, total)
            for stream, total in zip(drivers, period.kept_drivers, strict=True)
        ],
        "covered_percent": share(period.covered_us, whole),
        "estimated_percent": share(period.estimated_us, whole),
        "missing_percent": share(period.missing_us, whole),
    }


def _saving(saving: Saving, policy: str) -> Json:
    return {
        "policy": policy,
        "counterfactual_kwh": kwh(saving.counterfactual_wh),
        "measured_kwh": kwh(saving.measured_wh),
        "avoided_kwh": kwh(saving.avoided_wh),
        "avoided_percent": percent(saving.avoided_ratio),
        "confidence_percent": significant(saving.confidence * 100, 6),
        "half_width_kwh": kwh(saving.half_width_wh),
        "low_kwh": kwh(saving.avoided_wh - saving.half_width_wh),
        "high_kwh": kwh(saving.avoided_wh + saving.half_width_wh),
        "half_width_90_kwh": kwh(saving.half_width_90_wh),
        "half_width_95_kwh": kwh(saving.half_width_95_wh),
        "standard_error_kwh": kwh(saving.standard_error_wh),
        "degrees_of_freedom": places(saving.degrees_of_freedom, 2),
        "distinguishable_from_zero": saving.is_distinguishable_from_zero,
        "without_exclusions_kwh": _or_none(kwh, saving.without_exclusions_wh),
    }


def _months(saving: Saving) -> list[Json]:
    return [
        {
            "month": month.label,
            "kept": str(month.kept),
            "masked": str(month.masked),
            "measured_kwh": kwh(month.measured_wh),
            "counterfactual_kwh": kwh(month.predicted_wh),
            "avoided_kwh": kwh(month.avoided_wh),
            "half_width_kwh": kwh(month.half_width_wh),
        }
        for month in saving.months
    ]


def _carbon(saving: Saving) -> Json:
    carbon = saving.carbon
    return {
        "avoided_t": tonnes(carbon.avoided_kg),
        "half_width_t": tonnes(carbon.half_width_kg),
        "half_width_90_t": tonnes(carbon.half_width_90_kg),
        "half_width_95_t": tonnes(carbon.half_width_95_kg),
        "from_energy_t": tonnes(carbon.from_energy_kg),
        "from_factor_t": tonnes(carbon.from_factor_kg),
        "standard_uncertainty_t": tonnes(carbon.standard_uncertainty_kg),
        "degrees_of_freedom": places(carbon.degrees_of_freedom, 2),
        "unit": "t CO2e",
    }


def _creditable(creditable: Creditable) -> Json:
    return {
        "policy": _policy(creditable.policy),
        "avoided_kwh": kwh(creditable.avoided_wh),
        "half_width_90_kwh": kwh(creditable.half_width_90_wh),
        "creditable_kwh": kwh(creditable.creditable_wh),
        "avoided_t": tonnes(creditable.avoided_kg),
        "half_width_90_t": tonnes(creditable.half_width_90_kg),
        "creditable_t": tonnes(creditable.creditable_kg),
    }


def _split(split: Split) -> Json:
    return {
        "baseline_kwh": kwh(split.baseline_wh),
        "baseline_units": str(split.baseline_units),
        "reporting_kwh": kwh(split.reporting_wh),
        "reporting_units": str(split.reporting_units),
        "change_kwh": kwh(split.change_wh),
        "activity_kwh": kwh(split.activity_wh),
        "efficiency_kwh": kwh(split.efficiency_wh),
    }


def _model(model: Model) -> Json:
    return {
        "kind": model.kind,
        "unit": model.unit,
        "n": str(model.n),
        "p": str(model.p),
        "coefficients": [
            {
                "name": term.name,
                "unit": energy_unit(term.unit),
                "value": significant(in_kwh(term.unit, term.value), 8),
                "standard_error": significant(in_kwh(term.unit, term.standard_error), 6),
                "t_value": _or_none(lambda value: significant(value, 6), term.t_value),
                "p_value": _or_none(_probability, term.p_value),
                "vif": None if term.vif is None else significant(term.vif, 6),
            }
            for term in model.coefficients
        ],
        "drivers": [
            {
                "name": driver.name,
                "unit": shown_unit(driver.unit),
                "baseline_min": shown(driver.unit, driver.baseline_min),
                "baseline_max": shown(driver.unit, driver.baseline_max),
                "baseline_mean": shown(driver.unit, driver.baseline_mean),
                "baseline_sd": shown(driver.unit, driver.baseline_sd),
                "reporting_mean": shown(driver.unit, driver.reporting_mean),
                "outside_percent": _or_none(percent, driver.outside_ratio),
            }
            for driver in model.drivers
        ],
        "residual_sd_kwh": kwh(model.residual_sd_wh),
        "r2": places(model.r2, 6),
        "adjusted_r2": places(model.adjusted_r2, 6),
        "press_r2": _or_none(lambda value: places(value, 6), model.press_r2),
        "cv_rmse_percent": _or_none(percent, model.cv_rmse),
        "nmbe_percent": _or_none(percent, model.nmbe),
        "rho": places(model.rho, 6),
        "rho_used": places(model.rho_used, 6),
        "effective_n": places(model.effective_n, 2),
        "high_leverage_percent": percent(model.high_leverage_ratio),
    }


def _policy(policy: PolicyUsed) -> Json:
    return {
        "id": policy.id,
        "version": policy.version,
        "text": policy.text,
        "source": policy.source,
    }


def _id(policy: PolicyUsed) -> str:
    return f"{policy.id} {policy.version}"


def _finding(finding: Finding) -> Json:
    return {
        "code": finding.code,
        "by": finding.by,
        "subject": finding.subject,
        "rule": finding.rule,
        "seen": shown(finding.unit, finite(finding.seen)),
        "at_least": shown(finding.unit, finite(finding.at_least)),
        "at_most": shown(finding.unit, finite(finding.at_most)),
        "unit": shown_unit(finding.unit),
        "passed": finding.passed,
    }


def _refused(claim: RefusedClaim) -> Json:
    return {
        "model": claim.model,
        "code": claim.code,
        "by": claim.by,
        "version": claim.version,
        "why": claim.why,
        "interval_minutes": significant(claim.interval_us / 60_000_000, 6),
        "cells": str(claim.cells),
        "intervals": str(claim.intervals),
        "predicted_kwh": kwh(claim.predicted_wh),
        "measured_kwh": kwh(claim.measured_wh),
        "would_have_claimed_kwh": kwh(claim.would_have_claimed_wh),
        "would_have_claimed_percent": percent(claim.would_have_claimed_ratio),
    }


def _factors(saving: Saving) -> list[Json]:
    return [
        {
            "id": use.factor.id,
            "factor_kg_per_kwh": str(use.factor.factor_kg_per_kwh),
            "standard_uncertainty_percent": percent(use.factor.standard_uncertainty_ratio),
            "uncertainty_source": use.factor.uncertainty_source,
            "boundary": use.factor.boundary,
            "jurisdiction": use.factor.jurisdiction,
            "rule_sets": list(use.factor.rule_sets),
            "valid_from": use.factor.valid_from.isoformat(),
            "valid_to_exclusive": use.factor.valid_to.isoformat(),
            "published": use.factor.published,
            "source": use.factor.source,
            "first_day": use.first_day.isoformat(),
            "last_day": use.last_day.isoformat(),
            "kept": str(use.kept),
            "avoided_kwh": kwh(use.avoided_wh),
            "avoided_t": tonnes(use.avoided_kg),
        }
        for use in saving.carbon.factors
    ]


def _stream(stream: Stream) -> Json:
    whole = stream.covered_us + stream.estimated_us + stream.missing_us
    return {
        "role": stream.role,
        "device": stream.device,
        "epoch": stream.epoch,
        "point": stream.point,
        "name": stream.name,
        "unit": "°C" if stream.unit == MEAN_UNIT else stream.unit,
        "synthetic": stream.synthetic,
        "readings": str(stream.readings),
        "gap_slots": str(stream.gap_slots),
        "slots": str(stream.readings + stream.gap_slots + stream.withheld + stream.lost),
        "counter_fell": str(stream.fallen),
        "false_zeros": str(stream.false_zeros),
        "covered_hours": hours(stream.covered_us),
        "estimated_hours": hours(stream.estimated_us),
        "missing_hours": hours(stream.missing_us),
        "covered_percent": share(stream.covered_us, whole),
        "estimated_percent": share(stream.estimated_us, whole),
        "missing_percent": share(stream.missing_us, whole),
    }


def _event(row: CounterEvent, zone: ZoneInfo) -> Json:
    return {
        "device": row.device,
        "point": row.point,
        "code": row.event.code,
        "start": local_time(row.event.start_us, zone),
        "at": local_time(row.event.at_us, zone),
        "before": str(row.event.before),
        "after": str(row.event.after),
        "booked": str(row.event.booked),
    }


def _gaps(trees: Iterable[TreeUsed], zone: ZoneInfo) -> list[Json]:
    return [
        {
            "device": gap.device,
            "first_slot": local_time(gap.first_slot_us, zone),
            "last_slot": local_time(gap.last_slot_us, zone),
            "slots": str(gap.slots),
            "cause": gap.cause,
        }
        for tree in trees
        for gap in tree.gaps
    ]


def _exclusions(project: Project) -> list[Json]:
    return [
        {
            "id": item.id,
            "from": item.dates.first.isoformat(),
            "to_exclusive": item.dates.end.isoformat(),
            "cause": item.cause,
            "evidence_sha256": item.evidence_sha256,
            "author": item.author,
            "approval": item.approval,
            "treatment": item.treatment,
        }
        for item in project.non_routine
    ]


def _part(unit: Unit) -> Json:
    """A unit that is left out, or counts with its measured part only."""
    return {
        "period": unit.period,
        "unit": unit.label,
        "reasons": list(unit.reasons),
        "covered_percent": share(unit.covered_us, unit.end_us - unit.start_us),
        "energy_kwh": kwh(unit.energy_wh),
    }


def _time_quality(streams: Sequence[Stream], provenance: Provenance) -> Json:
    readings = sum(stream.readings for stream in streams)
    leaves = sum(tree.size for tree in provenance.trees)
    unattested = leaves - sum(tree.witnessed_size for tree in provenance.trees)
    return {
        "readings": str(readings),
        "unsynchronised": str(sum(stream.unsynchronised for stream in streams)),
        "unsynchronised_percent": share(sum(s.unsynchronised for s in streams), readings),
        "leaves": str(leaves),
        "unattested": str(unattested),
        "unattested_percent": share(unattested, leaves),
    }


def _tree(tree: TreeUsed, zone: ZoneInfo) -> Json:
    gap_slots = sum(gap.slots for gap in tree.gaps)
    return {
        "origin": tree.origin,
        "device": tree.device,
        "epoch": tree.epoch,
        "clock": tree.clock,
        "agent": tree.agent,
        "agent_key": tree.agent_key,
        "size": str(tree.size),
        "root": tree.root,
        "first_leaf": "0",
        "last_leaf": str(tree.size - 1),
        "heads": str(tree.heads),
        "records": str(tree.records),
        "gap_slots": str(gap_slots),
        "slots": str(tree.slots),
        **({"withheld": str(tree.withheld)} if tree.withheld else {}),
        **({"lost": str(tree.lost_slots)} if tree.lost_slots else {}),
        "first_slot": _or_none(lambda us: local_time(int(us), zone), tree.first_slot_us),
        "last_slot": _or_none(lambda us: local_time(int(us), zone), tree.last_slot_us),
        "documents": dict(tree.documents),
        "profile": {
            "model": tree.profile.model,
            "source": tree.profile.source,
            "confidence": tree.profile.confidence,
            "synthetic": tree.profile.synthetic,
        },
    }


def _limits(measurement: Measurement, provenance: Provenance) -> list[Json]:
    limits = dict(LIMITS)
    if measurement.clock != SIMULATED:
        del limits["replayed"]
    if not any(tree.profile.synthetic for tree in provenance.trees):
        del limits["synthetic"]
    withheld = sum(tree.withheld for tree in provenance.trees)
    if withheld:
        whole = withheld + sum(tree.records for tree in provenance.trees)
        limits["withheld"] = WITHHELD.format(percent=share(withheld, whole))
    return [{"code": code, "text": text} for code, text in limits.items()]


def _series(measurement: Measurement) -> Json:
    """The units as columns: what the plots are drawn from."""
    units = measurement.units
    names = [(s.name, s.unit) for s in measurement.streams if s.role == "driver"]
    return {
        "label": [unit.label for unit in units],
        "period": [unit.period for unit in units],
        "state": [_state(unit) for unit in units],
        "kept": [not unit.masked for unit in units],
        "covered_percent": [share(unit.covered_us, unit.end_us - unit.start_us) for unit in units],
        "energy_kwh": [kwh(unit.energy_wh) for unit in units],
        "drivers": [
            {
                "name": name,
                "unit": shown_unit(unit_name),
                "values": [shown(unit_name, unit.drivers[k]) for unit in units],
            }
            for k, (name, unit_name) in enumerate(names)
        ],
        "counterfactual_kwh": [_or_none(kwh, unit.predicted_wh) for unit in units],
        "avoided_kwh": [_or_none(kwh, unit.avoided_wh) for unit in units],
        "cumulative_kwh": [_or_none(kwh, unit.cumulative_wh) for unit in units],
        "cumulative_half_width_kwh": [
            _or_none(kwh, unit.cumulative_half_width_wh) for unit in units
        ],
    }


def _state(unit: Unit) -> str:
    """What the calendar shows: the worst that happened to a part of the unit."""
    if unit.missing_us:
        return "missing"
    return "estimated" if unit.estimated_us else "measured"


def _amount(name: str, unit: str, value: Number) -> Json:
    return {"name": name, "unit": shown_unit(unit), "value": shown(unit, value)}


def _probability(value: float) -> str:
    text = places(value, 6)
    return text if float(text) else "<0.000001"


def _or_none(form: Any, value: Any) -> Any:
    return None if value is None else form(value)
