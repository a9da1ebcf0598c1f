"""The report for a terminal: the same figures, a line each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Report = Mapping[str, Any]


def lines(report: Report) -> Iterator[str]:
    """The report in some thirty aligned lines, printable whatever the plan holds."""
    for line in _lines(report):
        yield "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in line)


def _lines(report: Report) -> Iterator[str]:
    yield report["project"]["title"]
    for banner in report["banners"]:
        yield f"! {banner['text']}"
    rows = [*_result(report), *_engine(report), *_behind(report), *_doubts(report)]
    width = max(len(name) for name, _ in rows)
    yield from (f"{name:<{width}}  {value}".rstrip() for name, value in rows)


def _result(report: Report) -> Iterator[tuple[str, str]]:
    saving = report["saving"]
    policy = f"{report['policy']['id']} {report['policy']['version']}"
    if saving is None:
        yield "avoided energy", f"none stated: {', '.join(report['refused_because'])} ({policy})"
        return
    carbon, credit, split = report["carbon"], report["creditable"], report["split"]
    sure = f"{report['headline']['confidence_percent']} %"
    yield "predicted", f"{saving['counterfactual_kwh']} kWh"
    yield "measured", f"{saving['measured_kwh']} kWh"
    yield (
        "avoided energy",
        f"{saving['avoided_kwh']} ± {saving['half_width_kwh']} kWh ({sure}, {policy})",
    )
    yield "", f"{saving['avoided_percent']} % of the prediction"
    yield "avoided CO2e", f"{carbon['avoided_t']} ± {carbon['half_width_t']} t ({sure}, {policy})"
    used = f"{credit['policy']['id']} {credit['policy']['version']}"
    yield "creditable", f"{credit['creditable_t']} t, {credit['creditable_kwh']} kWh ({used})"
    yield (
        "change of energy",
        (
            f"{split['change_kwh']} kWh = activity {split['activity_kwh']} + efficiency "
            f"{split['efficiency_kwh']}"
        ),
    )


def _engine(report: Report) -> Iterator[tuple[str, str]]:
    """What the engine says of a plan that names its model."""
    engine = report.get("engine")
    if engine is None:
        return
    override = engine["override"]
    if override is not None and override["passed_over"]:
        codes = ", ".join(override["passed_over"])
        yield "overridden", f"{codes} by {override['author']}: {override['reason']}"
    if (totals := engine["with_and_without_events"]) is not None:
        own, policy = totals["without"], totals["policy"]
        yield (
            "without events",
            f"{own['avoided_kwh']} ± {own['half_width_kwh']} kWh, {own['avoided_t']} t ({policy})",
        )
    for event in engine["events"]:
        if event["value_kwh"] is not None:
            yield (
                f"event {event['id']}",
                (
                    f"{event['sign']}{event['value_kwh']} kWh, standard uncertainty "
                    f"{event['u_kwh']} kWh; {event['author']}, approved by {event['approval']}"
                ),
            )
    if (parts := engine["uncertainty"]) is not None:
        known = [name for name in ("model", "meter", "events", "factor") if parts[name] is not None]
        told = ", ".join(f"{name} {parts[name]['t']}" for name in known)
        yield "standard uncertainty", f"{told} t CO2e"
    if engine["detectable_percent"] is not None:
        yield "smallest saving seen", f"{engine['detectable_percent']} % of the prediction"
    if engine["equation"] is not None:
        for k, line in enumerate(engine["equation"]["text"]):
            yield "" if k else "equation", line


def _behind(report: Report) -> Iterator[tuple[str, str]]:
    model = report["model"]
    if model is not None:
        terms = ", ".join(f"{t['name']} {t['value']} {t['unit']}" for t in model["coefficients"])
        yield "baseline model", terms
        yield (
            "",
            (
                f"{model['n']} {model['unit']}s, adjusted R2 {model['adjusted_r2']}, "
                f"rho {model['rho']}"
            ),
        )
    for name, period in report["periods"].items():
        yield (
            f"{name} period",
            (
                f"{period['from']} to {period['last_day']}, {period['kept']} of {period['units']} "
                f"{report['project']['unit']}s kept, {period['energy_kwh']} kWh metered"
            ),
        )
    for stream in report["coverage"]:
        yield (
            f"coverage, {stream['name']}",
            (
                f"{stream['covered_percent']} % measured, "
                f"{stream['estimated_percent']} % estimated, "
                f"{stream['missing_percent']} % missing; {stream['readings']} readings, "
                f"{stream['gap_slots']} gap slots"
            ),
        )
    for span in report["missing"]:
        yield (
            "missing",
            (
                f"{span['device']} {span['point']} from {span['start']} to {span['end']}: "
                f"{', '.join(span['reasons'])}"
            ),
        )
    registered = report.get("plan", {}).get("registered")
    if registered is not None:
        seen = registered["cosigned_by"]
        by = f"cosigned by {seen['name']}, {seen['time']}" if seen else "cosigned by nobody"
        yield "plan signed by", f"{registered['author']} ({registered['role']})"
        yield "", f"logged {registered['logged']}, {by}"
    for factor in report["factors"]:
        yield "emission factor", f"{factor['id']}: {factor['factor_kg_per_kwh']} kg CO2e/kWh"


def _doubts(report: Report) -> Iterator[tuple[str, str]]:
    for claim in report["refused_claims"]:
        yield (
            f"refused: {claim['model']}",
            (
                f"{claim['code']}; it would have claimed {claim['would_have_claimed_kwh']} kWh, "
                f"{claim['would_have_claimed_percent']} %"
            ),
        )
    for finding in report["findings"]:
        if not finding["passed"]:
            seen = f"seen {finding['seen']} {finding['unit']}".removesuffix(" 1")
            yield "rule fails", f"{finding['code']}: {finding['rule']}; {seen}"
    for warning in report["warnings"]:
        yield "warning", f"{warning['code']}: {warning['text']}"
