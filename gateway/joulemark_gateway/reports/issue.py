"""From evidence to the files of a report: the one path that writer and verifier share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_agent.contract.errors import EvidenceError, MeasureError
from joulemark_agent.contract.factor import FactorSet
from joulemark_gateway.evidence.account import Account
from joulemark_gateway.evidence.claims import check_energy
from joulemark_gateway.evidence.corrections import Correction, corrected
from joulemark_gateway.evidence.history import DeviceHistory, Tree, history_of
from joulemark_gateway.measure.ipmvp import fits_kind
from joulemark_gateway.measure.project import Project
from joulemark_gateway.measure.result import Measurement
from joulemark_gateway.measure.run import measure
from joulemark_gateway.reports.html import page
from joulemark_gateway.reports.provenance import Claims, Provenance, provenance_of
from joulemark_gateway.reports.reduction import reduction_report

Witnessed = tuple[Tree, Sequence[str]]  # a tree and its checkpoint notes in order


@dataclass(frozen=True)
class Issued:
    """A report: its content, and the bytes of the two files that show it."""

    provenance: Provenance
    report: Mapping[str, Any]
    report_json: bytes
    report_html: bytes


def measured(
    plan: bytes,
    trees: Sequence[Witnessed],
    documents: Mapping[str, bytes],
    corrections: Sequence[Correction] = (),
    plan_registered_us: int | None = None,
) -> Measurement:
    """The plan measured on the evidence, every value decoded anew from raw words.

    Args:
        plan: the measurement and verification plan, canonical.
        trees: one tree a device, with its checkpoint notes.
        documents: every document the grants name, by digest.
        corrections: those that count.
        plan_registered_us: when the collector's log says that the plan was registered. [us]

    Raises:
        EvidenceError: `bad_plan`, `bad_document`, `device_twice`, `factors_differ`,
            `plan_of_another_place`, `option_contradicted`, `envelope_energy` or what `history_of`
            raises.
        MeasureError: see `measure`.
    """
    histories = {}
    for tree, _ in trees:
        if tree.device in histories:
            raise _bad("device_twice", f"there are two epochs of {tree.device}")
        if tree.withheld:  # only what the envelopes bear out is measured
            check_energy(tree, documents)
        histories[tree.device] = corrected(history_of(tree, documents), corrections)
    sets = {tree.grant["documents"]["factors"] for tree, _ in trees}
    if len(sets) != 1:
        raise _bad("factors_differ", f"the devices name {len(sets)} factor documents, not one")
    try:
        project = Project.model_validate(parse_canonical(plan))
    except ValidationError as error:
        raise _bad("bad_plan", f"the plan is not one: {error.errors()[0]['msg']}") from error
    for tree, _ in trees:
        _check_place(project, tree, documents)
    _check_option(project, histories)
    try:
        factors = FactorSet.model_validate(parse_canonical(documents[sets.pop()]))
    except (ValidationError, KeyError) as error:
        raise _bad("bad_document", "the factor document is missing or is not one") from error
    return measure(project, histories, factors, plan_registered_us=plan_registered_us)


def issue(
    plan: bytes,
    trees: Sequence[Witnessed],
    documents: Mapping[str, bytes],
    claims: Claims,
    account: Account | None = None,
) -> Issued:
    """The report on this evidence.

    Args:
        plan: the measurement and verification plan, canonical.
        trees: one tree a device, with its checkpoint notes.
        documents: every document the grants name, by digest.
        claims: what the reporter adds: time of issue, software, refused batches.
        account: what the collector's log says; None: the first format, which has none.

    Raises:
        EvidenceError: see `measured` and `account_used`.
        MeasureError: see `measure`.
    """
    provenance = provenance_of(trees, documents, plan, claims, account)
    corrections = provenance.account.in_force if provenance.account else []
    registered_us = provenance.dated.registered.time_us if provenance.dated else None
    measurement = measured(plan, trees, documents, corrections, registered_us)
    whole: Measurement | MeasureError | None = None
    if corrections:
        try:
            whole = measured(plan, trees, documents)
        except MeasureError as error:
            whole = error
    report = reduction_report(measurement.project, measurement, provenance, whole)
    return Issued(provenance, report, canonical_bytes(report), page(report).encode())


def _check_place(project: Project, tree: Tree, documents: Mapping[str, bytes]) -> None:
    """The plan's days and factors are those of the place that the operator approved."""
    site = parse_canonical(documents[tree.grant["documents"]["site"]])
    try:
        approved = (site["time_zone"], site["factors"]["jurisdiction"])
    except (KeyError, TypeError) as error:
        raise _bad("bad_document", f"the site document has no {error}") from error
    planned = (project.time_zone, project.factors.jurisdiction)
    if planned != approved:
        what = f"the plan is for {' and '.join(planned)}, the site for {approved[0]!r} and "
        raise _bad("plan_of_another_place", what + repr(approved[1]))


def _check_option(project: Project, histories: Mapping[str, DeviceHistory]) -> None:
    """What the option says is measured is what the energy's device measures."""
    history = histories.get(project.energy.device)  # a device that is missing, `measure` names
    if history is not None and not fits_kind(project.option, history.profile.kind):
        what = f"option {project.option} measures the whole site, and {history.device} is of kind "
        raise _bad("option_contradicted", what + repr(history.profile.kind))


def _bad(code: str, what: str) -> EvidenceError:
    return EvidenceError(
        f"No report can be made: {what}.",
        "Look at the plan and at the site's documents.",
        code=code,
    )
