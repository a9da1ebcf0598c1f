"""The verdict: every step, all findings, one word.

| status | exit | meaning |
|---|---|---|
| verified | 0 | no layer objects |
| refuted | 1 | at least one layer objects |
| undecidable | 2 | not a bundle, or made by a software whose figures this one does not repeat |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.reading import SIMULATED
from joulemark_gateway.evidence.bundle import REPORT, open_bundle
from joulemark_gateway.software import VERSION
from joulemark_gateway.verify import (
    decode,
    documents,
    heads,
    manifest,
    recompute,
    records,
    signers,
    times,
)
from joulemark_gateway.verify.case import Case, readable
from joulemark_gateway.verify.finding import Finding, found
from joulemark_gateway.verify.policy import Policy

Step = Callable[[Case, Policy | None], list[Finding]]
STEPS: tuple[Step, ...] = (
    manifest.check,
    signers.check,
    heads.check,
    records.check,
    documents.check,
    decode.check,
    recompute.check,
    times.check,
)
EXIT = {"verified": 0, "refuted": 1, "undecidable": 2}


@dataclass(frozen=True)
class Verdict:
    """What the verifier says of a bundle."""

    status: Literal["verified", "refuted", "undecidable"]
    findings: tuple[Finding, ...]
    signers: Literal["checked", "unchecked"]
    keys: tuple[tuple[str, str], ...] = ()  # role and fingerprint of those accepted or claimed
    simulated: bool = False
    counts: Mapping[str, int] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)  # as printed; {} unless verified

    @property
    def exit_code(self) -> int:
        """0 verified, 1 refuted, 2 undecidable."""
        return EXIT[self.status]


def verify(data: bytes, policy: Policy | None, steps: tuple[Step, ...] = STEPS) -> Verdict:
    """The verdict on the bytes of a bundle; without a policy it speaks of consistency alone."""
    checked: Literal["checked", "unchecked"] = "checked" if policy else "unchecked"
    try:
        case = Case(open_bundle(data))
    except EvidenceError as error:
        return Verdict("undecidable", (found(error, "container"),), checked)
    findings = tuple(finding for step in steps for finding in step(case, policy))
    shown = policy or case.claimed
    trees = readable(case.trees).values()
    status: Literal["verified", "refuted", "undecidable"] = "verified"
    if findings:
        status = "undecidable" if _is_other_software(case, findings) else "refuted"
    return Verdict(
        status=status,
        findings=findings,
        signers=checked,
        keys=tuple(shown.fingerprints()) if shown else (),
        simulated=any(tree.clock == SIMULATED for tree in trees),
        counts={
            "trees": len(trees),
            "leaves": sum(len(files.leaves) for files in readable(case.files).values()),
            "records": sum(len(tree.records) for tree in trees),
            "values": sum(len(record.values) for tree in trees for record in tree.records),
            "gap_slots": sum(gap.slots for tree in trees for _, gap in tree.gaps),
            "heads": sum(len(files.checkpoints) for files in readable(case.files).values()),
        },
        report=parse_canonical(case.bundle.members[REPORT]) if status == "verified" else {},
    )


def _is_other_software(case: Case, findings: tuple[Finding, ...]) -> bool:
    """Whether all that is wrong may come from measuring with another version."""
    if isinstance(case.statement, EvidenceError):
        return False
    software = case.statement.predicate.get("software")
    version = software.get("version") if isinstance(software, dict) else None
    return version != VERSION and all(finding.layer == recompute.LAYER for finding in findings)
