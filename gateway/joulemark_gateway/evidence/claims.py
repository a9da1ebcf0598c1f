"""What the agent says of what it read, said again: energy and CO2e of envelopes, live figures."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any
from zoneinfo import ZoneInfo

from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.factor import FactorSet
from joulemark_agent.envelope import Carbon, Row, energy_sums
from joulemark_agent.equipment import parameters_of
from joulemark_agent.figures import Subject, Taken, agree, stated
from joulemark_gateway.evidence.history import (
    Event,
    Tree,
    period_us_of,
    profile_of,
    row_of,
    time_zone_of,
)

_SEQ = attrgetter("seq")
_US_PER_S = 1_000_000


def check_energy(tree: Tree, documents: Mapping[str, bytes]) -> None:
    """Every envelope that states energy states what its records give, to the last digit.

    An envelope may state nothing: a tail that was closed under a later configuration does.

    Raises:
        EvidenceError: `envelope_energy`, or what the documents lack.
    """
    profile, period_us = profile_of(tree, documents), period_us_of(tree, documents)
    carbon = _carbon_of(tree, documents)
    rows = [Row(r.slot_us, r.values, r.quality) for r in tree.records]
    seqs = [record.seq for record in tree.records]
    anchor: Row | None = None
    taken = 0
    for envelope in tree.envelopes:
        first, taken = taken, bisect_left(seqs, envelope.seq, taken)
        inside = rows[first:taken]
        given, last = energy_sums(profile, anchor, inside, period_us=period_us, carbon=carbon)
        anchor = inside[last] if last >= 0 else anchor
        claimed = envelope.fields.get("energy")
        if claimed not in ({}, given):
            raise EvidenceError(
                f"Envelope {envelope.seq} of {tree.origin} states {_told(claimed)}; its records "
                f"give {_told(given)}.",
                "Compare it with the copy of the collector and of the witness.",
                code="envelope_energy",
            )


def check_figures(tree: Tree, documents: Mapping[str, bytes]) -> None:
    """Every statement of figures says what its records give, and leaves none of them out.

    Only a restart of the agent excuses a window that does not begin with its first record.

    Raises:
        EvidenceError: `figures_mismatch`, or what the documents lack.
    """
    if not tree.figures:
        return
    subject = subject_of(tree, documents)
    taken = [Taken(r.seq, r.slot_us, r.t_utc_us, r.values, r.quality) for r in tree.records]
    for event in tree.figures:
        first = bisect_left(taken, int(event.fields["first_seq"]), key=_SEQ)
        after = bisect_right(taken, int(event.fields["last_seq"]), key=_SEQ)
        if (
            subject is None
            or after - first < 2
            or not _is_whole(tree, event, taken, (first, after), subject.period_us)
        ):
            raise _mismatch(tree, event, "its records are not those of its window")
        if not agree(event.fields, stated(subject, taken[first:after])):
            raise _mismatch(tree, event, "its records give other figures")


def subject_of(tree: Tree, documents: Mapping[str, bytes]) -> Subject | None:
    """What the figures of a device are made of; None where its site asks for none.

    Raises:
        EvidenceError: `bad_document`, or what the documents lack.
    """
    site = parse_canonical(documents[tree.grant["documents"]["site"]])
    row = row_of(site, tree.device)
    every_s = row.get("figures_every_s")
    if every_s is None:
        return None
    if type(every_s) is not int or every_s < 1:
        raise _bad_document(tree, f"when figures are due, but {str(every_s)[:20]!r}")
    profile = profile_of(tree, documents)
    try:
        parameters = parameters_of(profile.kind, row.get("equipment"))
    except ValueError as error:
        raise _bad_document(tree, f"what its equipment is: {error}") from error
    period_us, zone = period_us_of(tree, documents), time_zone_of(tree, documents)
    return Subject(profile, parameters, period_us, every_s * _US_PER_S, zone)


def _is_whole(
    tree: Tree, event: Event, taken: Sequence[Taken], span: tuple[int, int], period_us: int
) -> bool:
    """Whether these are the records that the agent had of the window that this leaf follows."""
    first, after = span
    start_us, end_us = (int(event.fields[name]) for name in ("start", "end"))
    known = bisect_left(taken, event.seq, key=_SEQ)
    closing = taken[known - 1]
    wanted = known if closing.slot_us < end_us + period_us else known - 1
    if closing.slot_us < end_us or after != wanted:
        return False
    if first == 0 or taken[first - 1].slot_us < start_us:
        return True
    return any(taken[first - 1].seq < boot < event.seq for boot in tree.boots)


def _mismatch(tree: Tree, event: Event, why: str) -> EvidenceError:
    return EvidenceError(
        f"Leaf {event.seq} of {tree.origin} states figures, and {why}.",
        "Compare it with the copy of the collector and of the witness.",
        code="figures_mismatch",
    )


def _carbon_of(tree: Tree, documents: Mapping[str, bytes]) -> Carbon:
    names = tree.grant["documents"]
    try:
        site = parse_canonical(documents[names["site"]])
        return Carbon(
            FactorSet.model_validate(parse_canonical(documents[names["factors"]])),
            str(site["factors"]["rule_set"]),
            str(site["factors"]["jurisdiction"]),
            ZoneInfo(site["time_zone"]),
        )
    except (KeyError, ValueError, TypeError, OSError) as error:
        raise _bad_document(tree, f"which factors apply: {error}") from error


def _bad_document(tree: Tree, what: str) -> EvidenceError:
    return EvidenceError(
        f"The documents of {tree.origin} do not say {what}.",
        "Compare them with the copy of the collector.",
        code="bad_document",
    )


def _told(claim: Any) -> str:
    if not isinstance(claim, dict):
        return "no sums"
    return f"{claim.get('energy_wh')!s:.40} Wh, {claim.get('co2e_kg')!s:.40} kg CO2e"
