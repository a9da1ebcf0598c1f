"""The report as one self-contained page: no script, nothing fetched, printable, fit for a phone.

A pure function of the report's content. Every figure is the report's own text; only its digits are
set in groups of three, by style and not by characters.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any

from joulemark_gateway.reports import plots

Report = Mapping[str, Any]
_STYLE = resources.files("joulemark_gateway.reports").joinpath("report.css").read_text("utf-8")
_STYLE_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_DIGEST}'; base-uri 'none'; form-action 'none'"
)
_LISTED = 6  # missing intervals shown under the calendar
_NARROW = 3  # columns of a table that would look lost over the whole width
_DATE = re.compile(r'<span class="n">[0-9]{4}-')
_NUMBER = re.compile(r"(-?)([0-9]+)(\.[0-9]+)?")


def page(report: Report) -> str:
    """The page of a report."""
    project = report["project"]
    parts = [
        *(_banner(banner) for banner in report["banners"]),
        "<main>",
        _header(report),
        _headline(report) if report["headline"] else _no_headline(report),
        _facts(report),
        _plots(report),
        _saving(report),
        _refused_claims(report),
        _model(report),
        _rules(report),
        _periods(report),
        _coverage(report),
        _holes(report),
        _factors(report),
        _evidence(report),
        _limits(report),
        _check(report),
        "</main>",
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{escape(project['title'])} — reduction report</title>\n"
        f"<style>{_STYLE}</style>\n</head>\n<body>\n" + "\n".join(filter(None, parts)) + "\n"
        "</body>\n</html>\n"
    )


def _banner(banner: Report) -> str:
    name, _, rest = banner["text"].partition(":")
    return (
        f'<div class="banner {escape(banner["code"])}" role="note">'
        f"<strong>{escape(name)}</strong>{escape(':' + rest)}</div>"
    )


def _header(report: Report) -> str:
    project = report["project"]
    return (
        f'<header><p class="brand">Joulemark <span>reduction report</span></p>'
        f"<h1>{escape(project['title'])}</h1>"
        f"<p>{escape(project['measure']['name'])}. {escape(project['measure']['description'])}</p>"
        f'<p class="meta">Site {escape(project["site"])} · project {escape(project["id"])} · '
        f"measure in place {escape(project['measure']['implemented'])} · "
        f"report issued {escape(report['issued'])}</p></header>"
    )


def _headline(report: Report) -> str:
    head, reporting = report["headline"], report["periods"]["reporting"]
    sure = f"{_n(head['confidence_percent'])} % interval"
    doubt = (
        ""
        if head["distinguishable_from_zero"]
        else '<p class="doubt">The interval contains zero: these data show no saving.</p>'
    )
    return (
        '<section class="headline">'
        '<div class="card main"><h2>Avoided energy</h2>'
        f'<p class="figure">{_n(head["avoided_kwh"])} <small>± {_n(head["half_width_kwh"])} kWh'
        f"</small></p><p>{_n(head['avoided_percent'])} % of the baseline's prediction, {sure}, "
        f"{_n(reporting['from'])} to {_n(reporting['last_day'])}</p>"
        f'<p class="policy">policy {escape(head["sufficiency_policy"])}</p>{doubt}</div>'
        '<div class="card"><h2>Avoided CO2e</h2>'
        f'<p class="figure">{_n(head["avoided_t"])} <small>± {_n(head["half_width_t"])} t</small>'
        f"</p><p>{sure}, factor included</p>"
        f'<p class="policy">policy {escape(head["sufficiency_policy"])}</p></div>'
        '<div class="card"><h2>Creditable</h2>'
        f'<p class="figure">{_n(head["creditable_t"])} <small>t CO2e</small></p>'
        f"<p>{escape(report['creditable']['policy']['text'])}</p>"
        f'<p class="policy">policy {escape(head["creditable_policy"])}</p></div></section>'
    )


def _no_headline(report: Report) -> str:
    failed = [finding for finding in report["findings"] if not finding["passed"]]
    rows = "".join(f"<li>{_rule_text(finding)}</li>" for finding in failed)
    policy = report["policy"]
    return (
        '<section class="headline"><div class="card refused"><h2>No saving is stated</h2>'
        '<p class="figure">refused</p>'
        f'<p class="policy">policy {escape(policy["id"])} {escape(policy["version"])}</p>'
        f"<ul>{rows}</ul></div></section>"
    )


def _rule_text(finding: Report) -> str:
    limits = []
    if finding["at_least"] is not None:
        limits.append(f"at least {_n(finding['at_least'])}")
    if finding["at_most"] is not None:
        limits.append(f"at most {_n(finding['at_most'])}")
    wanted = f", wanted {' and '.join(limits)}" if limits else ""
    return (
        f"<code>{escape(finding['code'])}</code> {escape(finding['subject'])}: "
        f"{escape(finding['rule'])}; seen {_n(finding['seen'])} {escape(_unit(finding))}{wanted}"
    )


def _unit(finding: Report) -> str:
    return "" if finding["unit"] == "1" else str(finding["unit"])


def _facts(report: Report) -> str:
    energy, time = report["coverage"][0], report["time_quality"]
    facts = [
        ("measured", energy["covered_percent"], "%"),
        ("estimated", energy["estimated_percent"], "%"),
        ("missing", energy["missing_percent"], "%"),
        ("readings without a set clock", time["unsynchronised_percent"], "%"),
        ("leaves no witness has seen", time["unattested_percent"], "%"),
        ("batches refused", _refused_batches(report), ""),
    ]
    cells = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{_n(value)}{f' {unit}' if unit else ''}</dd></div>"
        for name, value, unit in facts
    )
    return f'<dl class="facts">{cells}</dl>'


def _refused_batches(report: Report) -> str:
    listed = ", ".join(f"{code} {n}" for code, n in report["quarantined"].items())
    return listed or "none"


def _plots(report: Report) -> str:
    baseline_key = '<i class="key baseline"></i>baseline <i class="key reporting"></i>reporting'
    figures = [
        (
            "Energy against activity",
            plots.energy_on_driver(report),
            f'{baseline_key} <i class="key model"></i>baseline model',
        ),
        (
            "Measured and predicted",
            plots.energy_over_time(report),
            f'{baseline_key} <i class="key predicted"></i>baseline\'s prediction',
        ),
        (
            "Avoided energy since the measure",
            plots.cumulative(report),
            '<i class="key total"></i>sum <i class="key band"></i>interval',
        ),
        (
            "Coverage, a cell a day",
            plots.calendar(report),
            (
                '<i class="key measured"></i>measured <i class="key estimated"></i>estimated '
                '<i class="key missing"></i>missing <i class="key out"></i>left out'
            ),
        ),
    ]
    drawn = [
        f"<figure><figcaption><b>{title}</b><span>{key}</span></figcaption>{svg}"
        for title, svg, key in figures
        if svg
    ]
    closed = "</figure>".join(drawn)
    return (
        f'<section class="plots">{closed}{_listed_holes(report)}</figure></section>'
        if drawn
        else ""
    )


def _listed_holes(report: Report) -> str:
    """The first missing intervals, under the calendar."""
    rows = "".join(
        f"<li>{escape(span['point'])} {_n(span['start'])} to {_n(span['end'])}, "
        f"{escape(', '.join(span['reasons']))}</li>"
        for span in report["missing"][:_LISTED]
    )
    more = "<li>and more, see below</li>" if len(report["missing"]) > _LISTED else ""
    return f'<ul class="holes">{rows}{more}</ul>' if rows else ""


def _saving(report: Report) -> str:
    saving = report["saving"]
    if saving is None:
        return ""
    carbon, creditable, split = report["carbon"], report["creditable"], report["split"]
    unit = report["project"]["unit"]
    credit_policy = f"{creditable['policy']['id']} {creditable['policy']['version']}"
    sums = _table(
        ("", "energy, kWh", "CO2e, t"),
        [
            ("Baseline's prediction", _n(saving["counterfactual_kwh"]), ""),
            ("Measured", _n(saving["measured_kwh"]), ""),
            ("<b>Avoided</b>", _n(saving["avoided_kwh"]), _n(carbon["avoided_t"])),
            (
                f"Half-width, {_n(saving['confidence_percent'])} %",
                _n(saving["half_width_kwh"]),
                _n(carbon["half_width_t"]),
            ),
            ("Interval", f"{_n(saving['low_kwh'])} to {_n(saving['high_kwh'])}", ""),
            ("Standard uncertainty, energy model", "", _n(carbon["from_energy_t"])),
            ("Standard uncertainty, emission factor", "", _n(carbon["from_factor_t"])),
            (
                f"<b>Creditable</b> <small>{escape(credit_policy)}</small>",
                _n(creditable["creditable_kwh"]),
                _n(creditable["creditable_t"]),
            ),
            *(
                [("Avoided, had nothing been excluded", _n(saving["without_exclusions_kwh"]), "")]
                if saving["without_exclusions_kwh"] is not None
                else []
            ),
        ],
    )
    why = _table(
        ("", "kWh"),
        [
            (
                f"Baseline, {_n(split['baseline_units'])} {escape(unit)}s kept",
                _n(split["baseline_kwh"]),
            ),
            (
                f"Reporting, {_n(split['reporting_units'])} {escape(unit)}s kept",
                _n(split["reporting_kwh"]),
            ),
            ("Change", _n(split["change_kwh"])),
            ("Part of activity", _n(split["activity_kwh"])),
            ("Part of efficiency (avoided)", _n(split["efficiency_kwh"])),
        ],
    )
    months = _table(
        ("month", "kept", "masked", "predicted, kWh", "measured, kWh", "avoided, kWh", "±"),
        [
            (
                _n(month["month"]),
                _n(month["kept"]),
                _n(month["masked"]),
                _n(month["counterfactual_kwh"]),
                _n(month["measured_kwh"]),
                _n(month["avoided_kwh"]),
                _n(month["half_width_kwh"]),
            )
            for month in report["months"]
        ],
    )
    return (
        '<div class="pair"><section><h2>Saving '
        f'<small class="policy">policy {escape(saving["policy"])}</small></h2>'
        f"{sums}</section>"
        f"<section><h2>Why the energy changed</h2>{why}"
        "<p>Activity holds all that the driver and the number of units explain. Only the part of "
        "efficiency is claimed.</p></section></div>"
        f"<section><h2>Month by month</h2>{months}"
        "<p>The half-widths of months do not add up to that of the whole: the days are "
        "correlated.</p></section>"
    )


def _refused_claims(report: Report) -> str:
    claims = report["refused_claims"]
    if not claims:
        return ""
    rows = [
        (
            escape(claim["model"]),
            f"<code>{escape(claim['code'])}</code>",
            _n(claim["predicted_kwh"]),
            _n(claim["measured_kwh"]),
            f"<s>{_n(claim['would_have_claimed_kwh'])}</s>",
            f"<s>{_n(claim['would_have_claimed_percent'])}</s>",
        )
        for claim in claims
    ]
    head = (
        "model",
        "refused",
        "predicted, kWh",
        "measured, kWh",
        "would claim, kWh",
        "would claim, %",
    )
    whys = "".join(
        f"<p>{escape(claim['why'])} Refused by {escape(claim['by'])} "
        f"{escape(claim['version'])}.</p>"
        for claim in claims
    )
    return (
        '<section class="refused"><h2>Models that prove nothing</h2>'
        f"{_table(head, rows)}{whys}</section>"
    )


def _model(report: Report) -> str:
    model = report["model"]
    if model is None:
        return ""
    terms = _table(
        ("term", "value", "unit", "standard error", "t", "p", "VIF"),
        [
            (
                escape(term["name"]),
                _n(term["value"]),
                escape(term["unit"]),
                _n(term["standard_error"]),
                _n(term["t_value"]),
                _n(term["p_value"]),
                _n(term["vif"]),
            )
            for term in model["coefficients"]
        ],
    )
    ranges = _table(
        ("driver", "baseline from", "to", "mean", "sd", "reporting mean", "unit", "outside, %"),
        [
            (
                escape(driver["name"]),
                _n(driver["baseline_min"]),
                _n(driver["baseline_max"]),
                _n(driver["baseline_mean"]),
                _n(driver["baseline_sd"]),
                _n(driver["reporting_mean"]),
                escape(driver["unit"]),
                _n(driver["outside_percent"]),
            )
            for driver in model["drivers"]
        ],
    )
    fit = _pairs(
        [
            ("units, terms", f"{_n(model['n'])}, {_n(model['p'])}"),
            ("R2 adjusted", _n(model["adjusted_r2"])),
            ("R2 predicted (PRESS)", _n(model["press_r2"])),
            ("CV(RMSE)", f"{_n(model['cv_rmse_percent'])} %"),
            ("NMBE", f"{_n(model['nmbe_percent'])} %"),
            ("residual sd", f"{_n(model['residual_sd_kwh'])} kWh"),
            ("lag correlation", f"{_n(model['rho'])}, used {_n(model['rho_used'])}"),
            ("effective units", _n(model["effective_n"])),
            ("high leverage", f"{_n(model['high_leverage_percent'])} %"),
        ]
    )
    return (
        f"<section><h2>Baseline model</h2><p>{escape(model['kind'])}, by {escape(model['unit'])}. "
        "CV(RMSE) and NMBE divide by units less terms; the interval is computed at the sum and "
        f"corrected for the correlation of neighbouring units.</p>{terms}{fit}{ranges}</section>"
    )


def _rules(report: Report) -> str:
    policy = report["policy"]
    rows = [
        (
            (
                f'<span class="verdict {"ok" if finding["passed"] else "bad"}">'
                f"{'holds' if finding['passed'] else 'fails'}</span>"
            ),
            f"<code>{escape(finding['code'])}</code>",
            f"{escape(finding['subject'])}: {escape(finding['rule'])}",
            f"{_n(finding['seen'])} {escape(_unit(finding))}",
            _n(finding["at_least"]),
            _n(finding["at_most"]),
        )
        for finding in report["findings"]
    ]
    table = _table(("", "code", "rule", "seen", "at least", "at most"), rows)
    return (
        f'<section><h2>Rules <small class="policy">{escape(policy["id"])} '
        f"{escape(policy['version'])}</small></h2>"
        f"<p>{escape(policy['text'])} Source: {escape(policy['source'])}.</p>{table}</section>"
    )


def _periods(report: Report) -> str:
    unit = report["project"]["unit"]
    rows = []
    for name, period in report["periods"].items():
        made = ", ".join(
            f"{escape(item['name'])} {_n(item['value'])} {escape(item['unit'])}"
            for item in period["kept_drivers"]
        )
        rows.append(
            (
                escape(name),
                f"{_n(period['from'])} to {_n(period['last_day'])}",
                f"{_n(period['kept'])} of {_n(period['units'])}",
                _n(period["energy_kwh"]),
                _n(period["kept_energy_kwh"]),
                made or "none",
                _n(period["covered_percent"]),
                _n(period["missing_percent"]),
            )
        )
    head = (
        "period",
        "local days",
        f"{unit}s kept",
        "metered, kWh",
        "kept, kWh",
        "kept drivers",
        "measured, %",
        "missing, %",
    )
    return f"<section><h2>Periods</h2>{_table(head, rows)}</section>"


def _coverage(report: Report) -> str:
    rows = [
        (
            f"{escape(stream['name'])}{' <em>synthetic</em>' if stream['synthetic'] else ''}",
            f"{escape(stream['device'])} {escape(stream['point'])}",
            f"{_n(stream['slots'])} = {_n(stream['readings'])} + {_n(stream['gap_slots'])}",
            _n(stream["covered_percent"]),
            _n(stream["estimated_percent"]),
            _n(stream["missing_percent"]),
            _n(stream["counter_fell"]),
            _n(stream["false_zeros"]),
        )
        for stream in report["coverage"]
    ]
    head = (
        "stream",
        "point",
        "slots = readings + gaps",
        "measured, %",
        "estimated, %",
        "missing, %",
        "fell",
        "false zeros",
    )
    return f"<section><h2>Coverage</h2>{_table(head, rows)}</section>"


def _holes(report: Report) -> str:
    missing = _table(
        ("point", "from", "to", "hours", "known of it", "reason"),
        [
            (
                f"{escape(span['device'])} {escape(span['point'])}",
                _n(span["start"]),
                _n(span["end"]),
                _n(span["hours"]),
                escape(span["known"]),
                escape(", ".join(span["reasons"])),
            )
            for span in report["missing"]
        ],
        "Nothing is missing.",
    )
    gaps = _table(
        ("device", "first slot", "last slot", "slots", "cause"),
        [
            (
                escape(gap["device"]),
                _n(gap["first_slot"]),
                _n(gap["last_slot"]),
                _n(gap["slots"]),
                escape(gap["cause"]),
            )
            for gap in report["gaps"]
        ],
        "Every slot has a reading.",
    )
    head = ("period", report["project"]["unit"], "measured, %", "metered, kWh", "reason")
    masked = _table(head, _parts(report["masked"]), "Nothing is left out.")
    partial = _table(head, _parts(report["partial"]), "Every other unit was measured wholly.")
    excluded = _table(
        ("id", "from", "before", "cause", "author", "approved", "evidence"),
        [
            (
                escape(item["id"]),
                _n(item["from"]),
                _n(item["to_exclusive"]),
                escape(item["cause"]),
                escape(item["author"]),
                escape(item["approval"]),
                _digest(item["evidence_sha256"]),
            )
            for item in report["exclusions"]
        ],
        "Nothing is excluded.",
    )
    return (
        "<section><h2>Missing intervals</h2><p>Time that was not measured; it is never filled in."
        f"</p>{missing}"
        "</section><section><h2>Gaps</h2><p>Signed statements that slots have no reading.</p>"
        f"{gaps}"
        "</section><section><h2>Units left out</h2><p>Masked: too little of them was measured, or "
        f"they are excluded. They are in none of the sums.</p>{masked}</section>"
        "<section><h2>Units measured in part</h2><p>They count with the time that every stream "
        f"measured, in the prediction and in the meter alike.</p>{partial}</section>"
        f"<section><h2>Exclusions</h2>{excluded}</section>"
    )


def _parts(rows: Sequence[Report]) -> list[tuple[str, ...]]:
    return [
        (
            escape(row["period"]),
            _n(row["unit"]),
            _n(row["covered_percent"]),
            _n(row["energy_kwh"]),
            escape(", ".join(row["reasons"])),
        )
        for row in rows
    ]


def _factors(report: Report) -> str:
    parts = [
        f"<h3>{escape(factor['id'])}</h3>"
        + _pairs(
            [
                ("factor", f"{_n(factor['factor_kg_per_kwh'])} kg CO2e/kWh"),
                ("standard uncertainty", f"{_n(factor['standard_uncertainty_percent'])} %"),
                ("uncertainty from", escape(factor["uncertainty_source"])),
                ("boundary", escape(factor["boundary"])),
                ("rule sets", escape(", ".join(factor["rule_sets"]))),
                (
                    "valid",
                    (
                        f"{escape(factor['valid_from'])} to before "
                        f"{escape(factor['valid_to_exclusive'])}"
                    ),
                ),
                ("published", escape(factor["published"])),
                ("source", escape(factor["source"])),
                (
                    "applied to",
                    (
                        f"{_n(factor['avoided_kwh'])} kWh, {escape(factor['first_day'])} to "
                        f"{escape(factor['last_day'])}: {_n(factor['avoided_t'])} t"
                    ),
                ),
            ]
        )
        for factor in report["factors"]
    ]
    return f"<section><h2>Emission factors</h2>{''.join(parts)}</section>" if parts else ""


def _evidence(report: Report) -> str:
    parts = [
        f"<h3>{escape(tree['origin'])}</h3>"
        + _pairs(
            [
                ("leaves", f"{_n(tree['first_leaf'])} to {_n(tree['last_leaf'])}"),
                ("size", _n(tree["size"])),
                ("root", _digest(tree["root"])),
                ("signed heads", _n(tree["heads"])),
                (
                    "slots = readings + gaps",
                    f"{_n(tree['slots'])} = {_n(tree['records'])} + {_n(tree['gap_slots'])}",
                ),
                ("from", escape(tree["first_slot"] or "none")),
                ("to", escape(tree["last_slot"] or "none")),
                ("clock", escape(tree["clock"])),
                ("agent", escape(tree["agent"])),
                ("agent's key", f"<code>{escape(tree['agent_key'])}</code>"),
                (
                    "profile",
                    (
                        f"{escape(tree['profile']['model'])}, known by "
                        f"{escape(tree['profile']['confidence'])}: "
                        f"{escape(tree['profile']['source'])}"
                    ),
                ),
                *(
                    (f"{name} document", _digest(digest))
                    for name, digest in sorted(tree["documents"].items())
                ),
            ]
        )
        for tree in report["evidence"]
    ]
    software = report["software"]
    more = _pairs(
        [
            ("plan", _digest(report["plan_sha256"])),
            ("software", f"{escape(software['name'])} {escape(software['version'])}"),
            ("its source", _digest(software["source_sha256"])),
        ]
    )
    return f"<section><h2>Evidence</h2>{''.join(parts)}<h3>Plan and software</h3>{more}</section>"


def _limits(report: Report) -> str:
    warnings = "".join(
        f"<li><code>{escape(item['code'])}</code> {escape(item['text'])}</li>"
        for item in report["warnings"]
    )
    limits = "".join(f"<li>{escape(item['text'])}</li>" for item in report["limits"])
    warned = f"<section><h2>Warnings</h2><ul>{warnings}</ul></section>" if warnings else ""
    return f"{warned}<section><h2>What this report does not show</h2><ul>{limits}</ul></section>"


def _check(report: Report) -> str:
    return (
        '<section class="check"><h2>Check it yourself</h2>'
        "<p>The bundle beside this page holds the raw words of every reading. Offline, with keys "
        "that you got from somewhere else than the bundle:</p>"
        "<pre>joulemark verify bundle.zip --policy policy.json</pre>"
        f"<p>Plan {_digest(report['plan_sha256'])}</p></section>"
    )


def _n(text: str | None) -> str:
    """A figure: the text itself, its whole part set in groups of three."""
    if text is None:
        return '<span class="none">none</span>'
    match = _NUMBER.fullmatch(text)
    if match is None or len(match[2]) <= 4:
        return f'<span class="n">{escape(text)}</span>'
    sign, whole, fraction = match[1], match[2], match[3] or ""
    first = len(whole) % 3 or 3
    groups = [whole[i : i + 3] for i in range(first, len(whole), 3)]
    spans = "".join(f"<span>{group}</span>" for group in groups)
    return f'<span class="n">{sign}{whole[:first]}{spans}{fraction}</span>'


def _digest(text: str) -> str:
    return f'<code class="digest">{escape(text)}</code>'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], empty: str = "") -> str:
    """A table; cells are markup, heads are text. Without rows the sentence `empty`."""
    listed = [list(row) for row in rows]
    if not listed and empty:
        return f'<p class="none">{escape(empty)}</p>'
    right = [all(_is_figure(row[k]) for row in listed) for k in range(len(head))]
    kinds = [' class="num"' if is_right else "" for is_right in right]
    heads = "".join(
        f"<th{kind}>{escape(name)}</th>" for name, kind in zip(head, kinds, strict=True)
    )
    cells = [
        "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(row, kinds, strict=True))
        for row in listed
    ]
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    narrow = " narrow" if len(head) <= _NARROW else ""
    return (
        f'<div class="scroll{narrow}"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _is_figure(cell: str) -> bool:
    """Whether a cell of markup holds figures or nothing; dates are no figures."""
    return not cell or (cell.startswith(('<span class="n', "<s>")) and not _DATE.match(cell))


def _pairs(rows: Iterable[tuple[str, str]]) -> str:
    """Names and values; values are markup."""
    cells = "".join(f"<div><dt>{escape(name)}</dt><dd>{value}</dd></div>" for name, value in rows)
    return f'<dl class="pairs">{cells}</dl>'
