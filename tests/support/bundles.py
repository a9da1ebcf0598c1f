"""A complete small bundle, its policy, and the means to change one thing and sign again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from joulemark_agent.contract.batch import Batch
from joulemark_agent.contract.signature import encode64, public_key
from joulemark_gateway.evidence import bundle as bundles
from joulemark_gateway.evidence.container import container_bytes
from joulemark_gateway.evidence.history import parse_tree
from joulemark_gateway.reports.issue import Issued, issue
from joulemark_gateway.reports.provenance import Claims, predicate_of
from joulemark_gateway.software import VERSION
from joulemark_gateway.verify.policy import Policy, policy_of
from support.evidence import AGENT, KEYS, SITE, WITNESS, Groups, Keys, leaf_groups, leaves_of, seal
from support.plant import Plant

CLAIMS = Claims(
    "2026-11-22T12:00:00Z", VERSION, hashlib.sha256(b"source").hexdigest(), {"bad_batch": 2}
)
Members = dict[str, bytes]


def policy_mapping(owner: Keys = KEYS) -> dict[str, Any]:
    """A policy that trusts this owner's keys."""
    return {
        "v": 1,
        "agents": [
            {
                "agent": AGENT,
                "site": SITE,
                "devices": ["main-meter", "production-counter"],
                "key": encode64(public_key(owner.agent)),
            }
        ],
        "operators": [encode64(public_key(owner.operator))],
        "witnesses": [{"name": WITNESS, "key": encode64(public_key(owner.witness))}],
        "quorum": 1,
        "reporters": [encode64(public_key(owner.reporter))],
    }


def policy(owner: Keys = KEYS) -> Policy:
    """The same, parsed."""
    return policy_of(policy_mapping(owner))


@dataclass(frozen=True)
class Recipe:
    """Everything a bundle is made from; a test replaces one part of it and makes it again.

    The fields that are functions change what comes out of their stage: leaves before they are
    numbered and signed, batches after that, the predicate, the members before manifest and
    statement are made over them, and the members at the very end.
    """

    plant: Plant
    owner: Keys = KEYS
    reporter: Keys | None = None  # None: the owner
    claims: Claims = CLAIMS
    groups: Mapping[str, Groups] = field(default_factory=dict)  # instead of the plant's own
    epochs: Mapping[str, int] = field(default_factory=dict)
    sealing: Mapping[str, Any] = field(default_factory=dict)  # further arguments of `seal`
    change_batches: Callable[[str, list[Batch]], list[Batch]] = lambda _device, batches: batches
    change_predicate: Callable[[dict[str, Any]], dict[str, Any]] = lambda predicate: predicate
    change_members: Callable[[Members], Members] = lambda members: members
    change_end: Callable[[Members], Members] = lambda members: members

    def batches(self) -> dict[str, list[Batch]]:
        """The signed batches of every device."""
        made = {}
        for device, results in self.plant.results.items():
            epoch = self.epochs.get(device, 1)
            groups = self.groups.get(device) or leaf_groups(
                self.plant.site, device, results, self.owner, epoch=epoch
            )
            sealed = seal(
                self.plant.site, device, groups, self.owner, epoch=epoch, **self.sealing
            )
            made[device] = self.change_batches(device, sealed)
        return made

    def issued(self, batches: Mapping[str, list[Batch]]) -> Issued:
        """The report on these batches."""
        witnessed = [
            (parse_tree(leaves_of(made)), [batch.checkpoint for batch in made])
            for made in batches.values()
        ]
        documents = self.plant.site.by_digest()
        return issue(self.plant.plan, witnessed, documents, self.claims)

    def members(self, issued: Issued | None = None) -> Members:
        """The members of the bundle; `issued` is a report made elsewhere."""
        batches = self.batches()
        report = issued or self.issued(batches)
        members = {
            bundles.REPORT: report.report_json,
            bundles.PAGE: report.report_html,
            bundles.PLAN: self.plant.plan,
            bundles.README: b"how to read this\n" * 40,
        }
        for digest, data in self.plant.site.by_digest().items():
            members[f"documents/{digest}.json"] = data
        for device, made in batches.items():
            members |= tree_members(device, self.epochs.get(device, 1), made)
        reporter = self.reporter or self.owner
        signers = policy_mapping(replace(self.owner, reporter=reporter.reporter))
        predicate = self.change_predicate(predicate_of(report.provenance, signers))
        signed = bundles.signed(self.change_members(members), predicate, reporter.reporter)
        return self.change_end(signed)

    def make(self, issued: Issued | None = None) -> bytes:
        """The bundle."""
        return container_bytes(self.members(issued))


def tree_members(device: str, epoch: int, made: list[Batch]) -> Members:
    """The two members of one tree."""
    files = bundles.TreeFiles(
        device, epoch, leaves_of(made), [batch.checkpoint for batch in made]
    )
    return {
        f"{files.folder}/leaves.jsonl.gz": bundles.packed(files.leaves),
        f"{files.folder}/checkpoints.json": bundles.canonical_bytes(list(files.checkpoints)),
    }
