"""From a project's material to the files that are handed out, each signed and checked before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from joulemark_agent.contract.canonical import canonical_bytes
from joulemark_agent.contract.errors import MeasureError
from joulemark_agent.contract.signature import encode64, public_key
from joulemark_gateway.evidence.account import read_account
from joulemark_gateway.evidence.bundle import (
    PAGE,
    PAGE_KO,
    PDF,
    PDF_KO,
    REPORT,
    Contents,
    make_bundle,
)
from joulemark_gateway.evidence.history import parse_tree
from joulemark_gateway.reports.html import page
from joulemark_gateway.reports.issue import Issued, issue
from joulemark_gateway.reports.pdf import pdf
from joulemark_gateway.reports.project_file import Material, Signing
from joulemark_gateway.reports.provenance import Claims, predicate_of
from joulemark_gateway.software import VERSION, source_digest
from joulemark_gateway.verify import recompute
from joulemark_gateway.verify.policy import policy_of
from joulemark_gateway.verify.verdict import STEPS, verify

BUNDLE, POLICY = "bundle.zip", "policy.json"


def issued_of(material: Material, issued: str) -> Issued:
    """The report on this material; `issued` is its time, UTC, ISO 8601."""
    witnessed = [(parse_tree(tree.parts), tree.checkpoints) for tree in material.trees]
    claims = Claims(issued, VERSION, source_digest(), material.quarantined)
    account = read_account(material.log)
    return issue(material.plan, witnessed, material.documents, claims, account)


def files_of(material: Material, issued: Issued, signing: Signing) -> dict[str, bytes]:
    """The files of a report by name: pages, PDFs, report, bundle and policy.

    Raises:
        MeasureError: `not_issued` where the report's own verifier would refute it,
            `not_printable` where there is no PDF of it.
    """
    signers = {**signing.trust, "reporters": [encode64(public_key(signing.report_key))]}
    renderings = {
        PAGE_KO: page(issued.report, "ko").encode(),
        PDF: pdf(issued.report, "en"),
        PDF_KO: pdf(issued.report, "ko"),
    }
    contents = Contents(
        issued.report_json,
        issued.report_html,
        material.plan,
        material.documents,
        material.trees,
        material.log,
        renderings,
    )
    predicate = predicate_of(issued.provenance, signers, issued.report)
    bundle = make_bundle(contents, predicate, signing.report_key)
    policy = {**signers, **_known(signing.beyond, material)}
    _check(bundle, policy)
    return {
        PAGE: issued.report_html,
        **renderings,
        REPORT: issued.report_json,
        BUNDLE: bundle,
        POLICY: canonical_bytes(policy),
    }


def _known(beyond: Mapping[str, Any], material: Material) -> dict[str, Any]:
    """What a policy says besides; of the authorities those that have stamped something yet."""
    stamping = {name for _, name in material.log.tokens}
    listed = [item for item in beyond.get("authorities", []) if item["name"] in stamping]
    others = {name: rows for name, rows in beyond.items() if name != "authorities"}
    return others | ({"authorities": listed} if listed else {})


def _check(bundle: bytes, policy: Mapping[str, Any]) -> None:
    steps = tuple(step for step in STEPS if step is not recompute.check)  # computed just now
    verdict = verify(bundle, policy_of(policy), steps)
    if verdict.findings:
        listed = "\n  ".join(f"{item.code}: {item.what}" for item in verdict.findings)
        raise MeasureError(
            f"No report is issued, because the evidence does not hold:\n  {listed}\n",
            "Look at these places. A new epoch, opened by the operator, starts without them.",
            code="not_issued",
        )
