"""Step 5: every digest resolves to the document that was approved, and the documents agree."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from joulemark_agent.contract.canonical import digest_hex, parse_canonical
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.factor import FactorSet
from joulemark_gateway.evidence.bundle import PLAN
from joulemark_gateway.evidence.claims import carbon_of, is_repeated, subject_of
from joulemark_gateway.evidence.history import Tree, check_documents, profile_of
from joulemark_gateway.verify.case import Case, readable
from joulemark_gateway.verify.finding import Finding, found
from joulemark_gateway.verify.policy import Policy

LAYER = "documents"


def check(case: Case, _policy: Policy | None) -> list[Finding]:
    """What the documents, the grants and the statement say differently.

    Codes: `document_missing`, `document_changed`, `bad_document`, `document_unused`,
    `site_differs`, `plan_differs`, `documents_differ`.
    """
    findings = []
    trees = readable(case.trees)
    for tree in trees.values():
        try:
            check_documents(tree, case.documents)
            _check_content(tree, case)
        except EvidenceError as error:
            findings.append(found(error, LAYER))
    named = {digest for tree in trees.values() for digest in tree.grant["documents"].values()}
    findings += [
        Finding("document_unused", f"no grant names the document {digest[:16]}", LAYER)
        for digest in sorted(set(case.documents) - named)
    ]
    return findings + _statement(case, named)


def _check_content(tree: Tree, case: Case) -> None:
    """The site document, the profile and the grant tell the same; the factors are factors."""
    digests = tree.grant["documents"]
    profile = profile_of(tree, case.documents)
    site: Any = parse_canonical(case.documents[digests["site"]])
    try:
        FactorSet.model_validate(parse_canonical(case.documents[digests["factors"]]))
        models = {row["id"]: row["profile"] for row in site["devices"]}
        periods_s = [row["period_s"] for row in site["devices"]]
        told = {name: site[name] for name in ("site", "agent", "clock", "first_slot")}
    except (ValidationError, KeyError, TypeError) as error:
        raise _bad("bad_document", f"a document of {tree.origin} is damaged: {error}") from error
    if len(models) != len(site["devices"]):
        raise _bad("bad_document", f"the site document of {tree.origin} has a device twice")
    if not all(type(period_s) is int and period_s > 0 for period_s in periods_s):
        raise _bad("bad_document", f"a period in the site document of {tree.origin} is no number")
    granted = {name: tree.grant[name] for name in told}
    named = str(models.get(tree.device))  # the path of a file says nothing of the model in it
    is_its_model = named.endswith(".yaml") or named == profile.model
    if told != granted or not is_its_model:
        raise _bad("site_differs", f"the site document and the grant of {tree.origin} differ")
    carbon_of(tree, case.documents)  # else no envelope's energy would be computed again
    if any(is_repeated(tree, event) for event in tree.figures):
        subject_of(tree, case.documents)


def _statement(case: Case, named: set[str]) -> list[Finding]:
    if isinstance(case.statement, EvidenceError):
        return []
    findings, predicate = [], case.statement.predicate
    plan = case.bundle.members.get(PLAN, b"")
    if predicate.get("plan") != digest_hex(plan):
        findings.append(Finding("plan_differs", "the statement names another plan", LAYER))
    if predicate.get("documents") != sorted(named):
        findings.append(
            Finding(
                "documents_differ", "the statement names other documents than the grants", LAYER
            )
        )
    return findings


def _bad(code: str, what: str) -> EvidenceError:
    return EvidenceError(what, "Take the documents from the operator.", code=code)
