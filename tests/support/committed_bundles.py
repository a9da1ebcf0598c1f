"""A bundle on committed evidence: two hours of a meter and a counter, most records withheld."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

from joulemark_agent.contract.batch import Batch
from joulemark_agent.contract.committed import committed
from joulemark_agent.contract.document import document_bytes
from joulemark_agent.contract.signature import cosign
from joulemark_agent.contract.sparse import Part
from joulemark_gateway.evidence.account import LogFiles, read_account
from joulemark_gateway.evidence.bundle import Contents, TreeFiles, make_bundle
from joulemark_gateway.evidence.history import parse_tree
from joulemark_gateway.reports.issue import Issued, issue
from joulemark_gateway.reports.provenance import predicate_of
from support import evidence
from support.bundles import CLAIMS, policy_mapping
from support.committed import SLOTS, documents, run
from support.evidence import COUNTER, KEYS, METER, SEALED_US, WITNESS
from support.log_recipes import LogRecipe
from support.plant import plan_mapping

INTERVALS, DEVICES = 8, (METER, COUNTER)
SITE = documents()
Parts = Sequence[Sequence[Part]]  # of each batch


@cache
def batches_of(device: str) -> tuple[Batch, ...]:
    """The full batches of a device, cosigned."""
    slots = INTERVALS * SLOTS
    results = (
        evidence.meter_readings(SITE, [50 + i % 7 for i in range(slots)])
        if device == METER
        else evidence.counter_readings(SITE, [3 + i % 5 for i in range(slots)])
    )
    return tuple(_cosigned(batch) for batch in run(results, site=SITE, device=device))


def _cosigned(batch: Batch) -> Batch:
    note = cosign(KEYS.witness, WITNESS, batch.checkpoint, SEALED_US // 1_000_000 + 1)
    return replace(batch, checkpoint=note)


def sparse_parts(device: str) -> list[Sequence[Part]]:
    """What is sent of each batch; yours to change."""
    return [committed(batch).parts for batch in batches_of(device)]


@cache
def plan() -> bytes:
    """A plan for two days, of which there are two hours: it proves nothing, and is issued."""
    measure = {**plan_mapping()["measure"], "implemented": "2018-01-02"}
    days = {
        "baseline": {"from": "2018-01-01", "to": "2018-01-02"},
        "reporting": {"from": "2018-01-02", "to": "2018-01-03"},
    }
    return document_bytes(plan_mapping(measure=measure, **days))


@cache
def log() -> LogFiles:
    """The collector's log about the run."""
    return LogRecipe().made({device: batches_of(device) for device in DEVICES})


def report_on(parts: Mapping[str, Parts]) -> Issued:
    """The report on these parts."""
    trees = [
        (parse_tree([part for batch in parts[device] for part in batch]), notes_of(device))
        for device in DEVICES
    ]
    return issue(plan(), trees, SITE.by_digest(), CLAIMS, read_account(log()))


@cache
def report() -> Issued:
    """The report on the run as it was sent."""
    return report_on({device: sparse_parts(device) for device in DEVICES})


def notes_of(device: str) -> list[str]:
    """The cosigned heads of a device."""
    return [batch.checkpoint for batch in batches_of(device)]


def bundle(parts: Mapping[str, Parts] | None = None, *, follows: bool = False) -> bytes:
    """The bundle with these parts of the devices' batches; without, as they were sent.

    The report speaks of the true run, so what is changed must be found; unless it follows.
    """
    made = {device: sparse_parts(device) for device in DEVICES} | dict(parts or {})
    trees = [
        TreeFiles(device, 1, [part for batch in made[device] for part in batch], notes_of(device))
        for device in DEVICES
    ]
    issued, known = report_on(made) if follows else report(), SITE.by_digest()
    contents = Contents(issued.report_json, issued.report_html, plan(), known, trees, log())
    predicate = predicate_of(issued.provenance, policy_mapping(), issued.report)
    return make_bundle(contents, predicate, KEYS.reporter)
