"""Step 7: measured again from raw words, the report comes out the same, byte by byte."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from joulemark_agent.contract.canonical import is_same, parse_canonical
from joulemark_agent.contract.errors import EvidenceError, JoulemarkError
from joulemark_gateway.evidence.bundle import PAGE, PLAN, REPORT
from joulemark_gateway.reports.issue import issue
from joulemark_gateway.reports.provenance import claims_of, predicate_of
from joulemark_gateway.verify.case import Case, readable
from joulemark_gateway.verify.finding import Finding
from joulemark_gateway.verify.policy import Policy

LAYER = "recompute"
NOT_RECOMPUTED = "not_recomputed"


def check(case: Case, _policy: Policy | None) -> list[Finding]:
    """What the evidence does not give.

    Codes: `report_differs`, `page_differs`, `statement_differs`; `not_recomputed` stands for
    evidence that cannot be measured at all.
    """
    members, trees = case.bundle.members, readable(case.trees)
    if isinstance(case.statement, EvidenceError):
        return [_not_recomputed("there is no statement that says which software measured")]
    if not trees or set(trees) != set(case.files):
        return [_not_recomputed("not every leaf can be read")]
    files = readable(case.files)
    witnessed = [(tree, files[place].checkpoints) for place, tree in trees.items()]
    try:
        claims = claims_of(case.statement.predicate)
        account = case.account
        if isinstance(account, EvidenceError):
            return [_not_recomputed("the collector's log cannot be read")]
        issued = issue(members.get(PLAN, b""), witnessed, case.documents, claims, account)
    except JoulemarkError as error:
        return [_not_recomputed(f"{error.code}: {error.what}")]
    except (KeyError, IndexError, ValueError, TypeError, OverflowError) as error:
        return [_not_recomputed(f"a part that it needs is missing or damaged: {error!r}")]
    findings = []
    printed = members.get(REPORT, b"")
    if printed != issued.report_json:
        findings.append(Finding("report_differs", _difference(printed, issued.report), LAYER))
    if members.get(PAGE, b"") != issued.report_html:
        what = f"{PAGE} does not show what the evidence gives"
        findings.append(Finding("page_differs", what, LAYER))
    predicate = case.statement.predicate
    if case.claimed is None or not is_same(
        predicate, predicate_of(issued.provenance, case.claimed.stated(), issued.report)
    ):
        what = "the statement says something else than the report and who signed"
        findings.append(Finding("statement_differs", what, LAYER))
    return findings


def _not_recomputed(why: str) -> Finding:
    return Finding(NOT_RECOMPUTED, f"the report could not be computed again: {why}", LAYER)


def _difference(printed: bytes, computed: Any) -> str:
    """The first figure that differs, for a reader."""
    try:
        content = parse_canonical(printed)
    except EvidenceError as error:
        return f"{REPORT} cannot be read: {error.what}"
    first = next(_differences(content, computed, ""), "nothing but its form")
    return f"{REPORT} differs from what the evidence gives: {first}"


def _differences(printed: Any, computed: Any, path: str) -> Iterator[str]:
    if isinstance(printed, dict) and isinstance(computed, dict):
        for name in sorted({*printed, *computed}):
            place = f"{path}.{name}" if path else name
            yield from _differences(printed.get(name), computed.get(name), place)
    elif isinstance(printed, list) and isinstance(computed, list) and len(printed) == len(computed):
        for index, (left, right) in enumerate(zip(printed, computed, strict=True)):
            yield from _differences(left, right, f"{path}[{index}]")
    elif printed != computed:
        yield f"{path} says {str(printed)[:60]}, computed {str(computed)[:60]}"
