"""A complete small bundle, its policy, and the means to change one thing and sign again."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Any

from joulemark_agent.contract.batch import Batch
from joulemark_agent.contract.canonical import canonical_bytes
from joulemark_agent.contract.signature import encode64, public_key
from joulemark_gateway.evidence import bundle as bundles
from joulemark_gateway.evidence.account import LogFiles, read_account
from joulemark_gateway.evidence.container import container_bytes
from joulemark_gateway.evidence.history import parse_tree
from joulemark_gateway.reports.issue import Issued, issue
from joulemark_gateway.reports.provenance import Claims, predicate_of
from joulemark_gateway.software import VERSION
from joulemark_gateway.verify.policy import Policy, policy_of
from support.evidence import (
    AGENT,
    COUNTER,
    FOREIGN,
    KEYS,
    METER,
    SITE,
    WITNESS,
    Documents,
    Groups,
    Keys,
    leaf_groups,
    leaves_of,
    seal,
)
from support.log_recipes import LogRecipe
from support.plant import small

CLAIMS = Claims(
    "2026-11-22T12:00:00Z", VERSION, hashlib.sha256(b"source").hexdigest(), {"bad_batch": 2}
)
README = files("joulemark_gateway.evidence").joinpath("bundle_readme.txt").read_bytes()
Members = dict[str, bytes]
Change = Callable[[list[Batch]], list[Batch]]


def policy_mapping(owner: Keys = KEYS) -> dict[str, Any]:
    """A policy that trusts this owner's keys."""
    return {
        "v": 1,
        "agents": [
            {
                "agent": AGENT,
                "site": SITE,
                "devices": [METER, COUNTER],
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


def groups_of(device: str) -> Groups:
    """The leaves of the small plant's device, approved by the true operator; yours to change."""
    return copy.deepcopy(_groups(device))


@dataclass(frozen=True)
class Recipe:
    """Everything a bundle of the small plant is made from; a test replaces one part of it.

    `owner` signs everything but the grants, which stay the true operator's unless `groups` brings
    others. The functions change what comes out of their stage; all later stages follow suit, so
    the bundle fits together and is signed, by whomever.
    """

    owner: Keys = KEYS
    reporter: Keys | None = None  # None: the owner
    claims: Claims = CLAIMS
    groups: Mapping[str, Groups] = field(default_factory=dict)  # instead of the plant's own
    sealing: Mapping[str, Any] = field(default_factory=dict)  # further arguments of `seal`
    epoch: int = 1
    plan: bytes | None = None  # None: the plant's
    documents: Mapping[str, bytes] = field(default_factory=dict)  # instead of, by digest
    batches: Mapping[str, Change] = field(default_factory=dict)
    predicate: Callable[[dict[str, Any]], dict[str, Any]] = lambda predicate: predicate
    members: Callable[[Members], Members] = lambda members: members  # before they are signed
    end: Callable[[Members], Members] = lambda members: members  # after that
    issued: Issued | None = None  # a report that does not follow suit
    log: LogRecipe = field(default_factory=LogRecipe)

    def made_batches(self) -> dict[str, list[Batch]]:
        """The signed batches of every device."""
        made = {}
        for device in (METER, COUNTER):
            if device in self.groups or self.sealing or self.epoch > 1:
                groups = self.groups.get(device) or groups_of(device)
                arguments = {"epoch": self.epoch, **self.sealing}
                sealed = seal(small().site, device, groups, self.owner, **arguments)
            else:
                sealed = list(_sealed(device, self.owner))
            made[device] = self.batches[device](sealed) if device in self.batches else sealed
        return made

    def report(self) -> Issued:
        """The report on what this recipe gives."""
        made = self.made_batches()
        return _issue(self, made, self.made_log(made))

    def made_log(self, batches: Mapping[str, list[Batch]]) -> LogFiles:
        """The collector's log about these batches; the owner's collector signs it."""
        is_own = self.log.key != KEYS.witness  # a test asks for a key of its own
        log = self.log if is_own else replace(self.log, key=self.owner.witness)
        return log.made(batches)

    def made_members(self) -> Members:
        """The members of the bundle."""
        made = self.made_batches()
        log = self.made_log(made)
        report = self.issued or _issue(self, made, log)
        members = {
            bundles.REPORT: report.report_json,
            bundles.PAGE: report.report_html,
            bundles.PLAN: self.plan or small().plan,
            bundles.README: README,
        }
        for digest, data in self.made_documents().items():
            members[f"documents/{digest}.json"] = data
        for device, batches in made.items():
            members |= tree_members(device, self.epoch, batches)
        members |= bundles.log_members(log)
        reporter = (self.reporter or self.owner).reporter
        signers = policy_mapping(replace(self.owner, reporter=reporter))
        predicate = self.predicate(predicate_of(report.provenance, signers, report.report))
        return self.end(bundles.signed(self.members(members), predicate, reporter))

    def made_documents(self) -> dict[str, bytes]:
        """The documents by the digest that their member's name claims."""
        return {**small().site.by_digest(), **self.documents}

    def make(self) -> bytes:
        """The bundle."""
        return container_bytes(self.made_members())


def tree_members(device: str, epoch: int, batches: Sequence[Batch]) -> Members:
    """The two members of one tree."""
    notes = [batch.checkpoint for batch in batches]
    tree = bundles.TreeFiles(device, epoch, leaves_of(batches), notes)
    return {
        f"{tree.folder}/leaves.jsonl.gz": bundles.packed(tree.leaves),
        f"{tree.folder}/checkpoints.json": canonical_bytes(notes),
    }


@cache
def true_bundle() -> bytes:
    """The bundle that everybody should accept."""
    return Recipe().make()


@cache
def true_report() -> Issued:
    """Its report."""
    return Recipe().report()


def forged_bundle() -> bytes:
    """One whose printed report says one digit more than its evidence gives; all signed anew."""
    printed = true_report().report_json
    text = printed.replace(b'"avoided_kwh":"', b'"avoided_kwh":"1', 1)
    assert text != printed
    return Recipe(members=lambda members: {**members, bundles.REPORT: text}).make()


def forger() -> Keys:
    """Keys of somebody who can sign everything anew, but whom no policy names."""
    return FOREIGN


def _issue(recipe: Recipe, batches: Mapping[str, list[Batch]], log: LogFiles) -> Issued:
    witnessed = [
        (parse_tree(leaves_of(made)), [batch.checkpoint for batch in made])
        for made in batches.values()
    ]
    plan = recipe.plan or small().plan
    return issue(plan, witnessed, recipe.made_documents(), recipe.claims, read_account(log))


@cache
def _groups(device: str) -> Groups:
    plant = small()
    return leaf_groups(plant.site, device, plant.results[device], KEYS)


@cache
def _sealed(device: str, owner: Keys) -> tuple[Batch, ...]:
    site: Documents = small().site
    return tuple(seal(site, device, groups_of(device), owner))
