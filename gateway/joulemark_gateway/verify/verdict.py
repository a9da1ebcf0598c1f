"""The verdict: every step, all findings, one word.

| status | exit | meaning |
|---|---|---|
| verified | 0 | no layer objects |
| refuted | 1 | at least one layer objects |
| undecidable | 2 | not a bundle, or made by a software whose figures this one does not repeat, |
|  |  | or time stamps that the policy asks for cannot be checked here |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.reading import SIMULATED
from joulemark_agent.contract.signature import encode64
from joulemark_gateway.evidence.bundle import REPORT, open_bundle
from joulemark_gateway.evidence.claims import is_repeated
from joulemark_gateway.evidence.history import Tree
from joulemark_gateway.evidence.withheld import lost_runs
from joulemark_gateway.software import VERSION
from joulemark_gateway.verify import (
    anchors,
    beside,
    corrections,
    decode,
    documents,
    heads,
    log,
    manifest,
    plans,
    recompute,
    records,
    signers,
    times,
)
from joulemark_gateway.verify import raw as raw_records
from joulemark_gateway.verify.case import Case, readable
from joulemark_gateway.verify.finding import Finding, found
from joulemark_gateway.verify.policy import KnownHead, Policy
from joulemark_gateway.verify.seen import log_seen

Status = Literal["verified", "refuted", "undecidable"]
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
    log.check,
    corrections.check,
    plans.check,
    anchors.check,
)
UNFORESEEN = "unforeseen"
EXIT = {"verified": 0, "refuted": 1, "undecidable": 2}


@dataclass(frozen=True)
class Verdict:
    """What the verifier says of a bundle."""

    status: Status
    findings: tuple[Finding, ...]
    policy: Policy | None
    case: Case | None = field(default=None, repr=False)  # None where it is no bundle
    files: tuple[str, ...] = ()  # what lay beside the bundle and was compared
    raw_leaves: int = 0  # that came beside it, in place of covers

    @property
    def exit_code(self) -> int:
        """0 verified, 1 refuted, 2 undecidable."""
        return EXIT[self.status]

    @property
    def signers(self) -> Literal["checked", "unchecked"]:
        """Whether keys were compared with a policy."""
        return "checked" if self.policy else "unchecked"

    @property
    def keys(self) -> list[tuple[str, str]]:
        """Role and fingerprint of the keys that are trusted or, without a policy, claimed."""
        shown = self.policy or (self.case.claimed if self.case else None)
        return shown.fingerprints() if shown else []

    @property
    def simulated(self) -> bool:
        """Whether any of the evidence is a replay."""
        return any(tree.clock == SIMULATED for tree in self._trees())

    @property
    def heads(self) -> list[KnownHead]:
        """The newest heads of a verified bundle, of every tree and of the log; none of another."""
        if self.case is None or self.status != "verified":
            return []
        statement, account = self.case.statement, self.case.account
        assert not isinstance(statement, EvidenceError), "a verified one was opened"
        found = [
            KnownHead(origin=head["origin"], size=int(head["size"]), root=head["root"])
            for head in statement.predicate["heads"]
        ]
        if account is not None and not isinstance(account, EvidenceError):
            log, root = account.newest, encode64(account.newest.root)
            found.append(KnownHead(origin=log.origin, size=log.size, root=root))
        return found

    @property
    def log(self) -> dict[str, Any] | None:
        """Who saw the collector's log; None where it is not verified or has none."""
        return log_seen(self.case, self.policy) if self.case and self.status == "verified" else None

    @property
    def counts(self) -> dict[str, int]:
        """How much was looked at; empty where it is no bundle."""
        if self.case is None:
            return {}
        files, trees = readable(self.case.files).values(), self._trees()
        windows = [event for tree in trees for event in tree.figures]
        others = [e for tree in trees for e in tree.figures if not is_repeated(tree, e)]
        away = [run.count for tree in trees for run in tree.withheld]
        lost = [run.count for tree in trees for run in lost_runs(tree)]
        kept_back = {"withheld": sum(away) - sum(lost), "lost": sum(lost)}
        stated = {"stated_windows": len(windows), "stated_windows_not_repeated": len(others)}
        return {
            "trees": len(trees),
            "leaves": sum(item.present for item in files),
            "records": sum(len(tree.records) for tree in trees),
            "values": sum(int(tree.columns.values.sum()) for tree in trees),
            "gap_slots": sum(gap.slots for tree in trees for _, gap in tree.gaps),
            "heads": sum(len(item.checkpoints) for item in files),
            **(stated if windows else {}),
            **(kept_back if away else {}),
            **({"raw_leaves": self.raw_leaves} if self.raw_leaves else {}),
        }

    @property
    def report(self) -> Mapping[str, Any]:
        """The report as printed; empty unless it is verified."""
        if self.case is None or self.status != "verified":
            return {}
        content: Mapping[str, Any] = parse_canonical(self.case.bundle.members[REPORT])
        return content

    def _trees(self) -> list[Tree]:
        return list(readable(self.case.trees).values()) if self.case else []


def verify(
    data: bytes,
    policy: Policy | None,
    steps: tuple[Step, ...] = STEPS,
    files: Mapping[str, bytes] | None = None,
    raw: Mapping[str, bytes] | None = None,
) -> Verdict:
    """The verdict on the bytes of a bundle; without a policy it speaks of consistency alone.

    Args:
        data: the bundle.
        policy: the keys that are trusted.
        steps: what is checked.
        files: what was handed out beside the bundle, by name.
        raw: exports of the gateway's archive, by name.
    """
    try:
        case = Case(open_bundle(data))
    except EvidenceError as error:
        return Verdict("undecidable", (found(error, "container"),), policy)
    findings = tuple(finding for step in steps for finding in _taken(step, case, policy))
    findings += tuple(beside.check(case, files or {}))
    more, raw_leaves = _taken_raw(case, raw or {})
    findings += tuple(more)
    status: Status = "refuted" if findings else "verified"
    decided = tuple(item for item in findings if item.code != anchors.UNCHECKED)
    if findings and (not decided or _is_other_software(case, decided)):
        status = "undecidable"
    return Verdict(status, findings, policy, case, tuple(sorted(files or {})), raw_leaves)


def _taken(step: Step, case: Case, policy: Policy | None) -> list[Finding]:
    """The findings of one step; what nobody foresaw in a hostile bundle refutes it, too."""
    try:
        return step(case, policy)
    except Exception as error:  # noqa: BLE001 - never verified because a check broke down
        layer = step.__module__.rpartition(".")[2]
        return [Finding(UNFORESEEN, f"the step {layer} broke down: {error!r}", layer)]


def _taken_raw(case: Case, files: Mapping[str, bytes]) -> tuple[list[Finding], int]:
    """The findings on raw records that came beside the bundle, and how many leaves they added."""
    if not files:
        return [], 0
    try:
        return raw_records.check(case, files)
    except Exception as error:  # noqa: BLE001 - as above
        return [Finding(UNFORESEEN, f"raw records: {error!r}", raw_records.LAYER)], 0


def _is_other_software(case: Case, findings: tuple[Finding, ...]) -> bool:
    """Whether all that is wrong may come from measuring with another version."""
    if isinstance(case.statement, EvidenceError):
        return False
    software = case.statement.predicate.get("software")
    version = software.get("version") if isinstance(software, dict) else None
    return version != VERSION and all(finding.layer == recompute.LAYER for finding in findings)
