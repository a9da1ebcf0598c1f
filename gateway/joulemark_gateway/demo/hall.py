"""What the machines of the equipment hall showed, computed from the ledger, for a terminal.

The figures are those of the pages: the same models over the same records.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.quantities import unit_of
from joulemark_agent.equipment import Analysis, Figure
from joulemark_agent.equipment.readings import of_readings
from joulemark_gateway.equipment import analysis_of
from joulemark_gateway.evidence import history
from joulemark_gateway.evidence.base import EvidenceStore
from joulemark_gateway.evidence.store import SqliteStore

_WHOLE = 1000.0  # from here on figures are shown without decimals


def shown(store_file: Path, site: str) -> str:
    """A few lines for each machine of the site.

    Raises:
        JoulemarkError: the ledger cannot be read.
    """
    lines = []
    with SqliteStore(store_file, create=False) as store:
        for name, synthetic, analysis in analyses(store, site):
            lines.append(f"{name}{' (SYNTHETIC)' if synthetic else ''}")
            lines += [f"  {line}" for line in _lines(analysis)]
    return "\n".join(lines)


def analyses(store: EvidenceStore, site: str) -> Iterator[tuple[str, bool, Analysis]]:
    """Id, whether synthetic, and what it showed: of each device with an equipment model."""
    documents = store.documents()
    for head in store.heads():
        tree = history.parse_tree(store.leaves(head.origin))
        if tree.site != site:
            continue
        profile = history.profile_of(tree, documents)
        place = parse_canonical(documents[tree.grant["documents"]["site"]])
        sections = {row["id"]: row.get("equipment") for row in place["devices"]}
        period_us = history.period_us_of(tree, documents)
        zone = history.time_zone_of(tree, documents)
        samples = of_readings(profile, tree.records, period_us, zone)
        analysis = analysis_of(profile.kind, sections[tree.device], samples)
        if analysis is not None:
            yield tree.device, profile.synthetic, analysis


def _lines(analysis: Analysis) -> Iterator[str]:
    known = [figure for figure in analysis.figures if figure.value is not None]
    yield ", ".join(_text(figure) for figure in known)
    kinds = sorted({span.kind for span in analysis.spans})
    yield "spans: " + ", ".join(f"{kind} {len(analysis.spans_of(kind))}" for kind in kinds)
    refused: dict[str, list[str]] = {}
    for figure in analysis.figures:
        if figure.value is None:
            refused.setdefault(figure.why, []).append(figure.name)
    for why, names in refused.items():
        yield f"no {', '.join(names)}: {why}"
    for finding in analysis.findings:
        yield f"! {finding.code}: {finding.what}"


def _text(figure: Figure) -> str:
    value, unit = figure.value or 0.0, unit_of(figure.name)
    text = f"{value:,.0f}" if abs(value) >= _WHOLE else f"{value:.4g}"
    return f"{figure.name} {text} {'' if unit == '1' else unit}".rstrip()
