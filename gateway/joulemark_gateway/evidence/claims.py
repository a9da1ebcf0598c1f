"""What the agent says of what it read, said again: energy and CO2e of envelopes, live figures."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any
from zoneinfo import ZoneInfo

from joulemark_agent.contract.batch import parse_u64
from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.factor import FactorSet
from joulemark_agent.envelope import Carbon, Row, energy_sums
from joulemark_agent.equipment import parameters_of
from joulemark_agent.figures import (
    FAILED,
    MOST_READINGS,
    VERSION,
    Subject,
    Taken,
    agree,
    end_of,
    failed,
    stated,
)
from joulemark_gateway.evidence.history import (
    Event,
    Tree,
    interval_us_of,
    period_us_of,
    profile_of,
    row_of,
    time_zone_of,
)
from joulemark_gateway.evidence.withheld import batches_of, runs_in

_SEQ = attrgetter("seq")
_US_PER_S = 1_000_000
_DAY_S = 86_400


def check_energy(tree: Tree, documents: Mapping[str, bytes]) -> None:
    """Every envelope that states energy states what its records give, to the last digit.

    An envelope may state nothing: a tail that was closed under a later configuration does. Where
    records stay away, the step between those that are here must be what the envelope states, which
    knew what the counter did in between; nothing can be said after leaves that were lost.

    Raises:
        EvidenceError: `envelope_energy`, or what the documents lack.
    """
    profile, period_us = profile_of(tree, documents), period_us_of(tree, documents)
    interval_us = interval_us_of(tree, documents) or period_us
    carbon = carbon_of(tree, documents)
    seqs = tree.columns.seq
    anchor: Row | None = None
    taken, next_seq = 0, tree.first_seq
    for start, envelope in batches_of(tree):
        first, taken = taken, bisect_left(seqs, envelope.seq, taken)
        records, hidden = tree.records[first:taken], runs_in(tree, start, envelope.seq)
        inside = [Row(r.slot_us, r.values, r.quality, r.instant) for r in records]
        is_lost, next_seq = start != next_seq, envelope.seq + 1
        given, last = energy_sums(
            profile,
            None if is_lost else anchor,
            inside,
            period_us=interval_us if hidden else period_us,
            carbon=carbon,
        )
        anchor = inside[last] if last >= 0 else anchor
        claimed = envelope.fields.get("energy")
        if is_lost or claimed == given or (not hidden and claimed == {}):
            continue
        if not hidden or not _is_same_step(claimed, given):
            kept = sum(run.count for run in hidden)
            fetch = f" {kept} of its records are not here: fetch them, and look." if kept else ""
            raise EvidenceError(
                f"Envelope {envelope.seq} of {tree.origin} states {_told(claimed)}; its records "
                f"give {_told(given)}.",
                f"Compare it with the copy of the collector and of the witness.{fetch}",
                code="envelope_energy",
            )


def _is_same_step(claimed: Any, given: Mapping[str, str | None]) -> bool:
    """Whether both speak of one time and one amount; how the time divides only all records show."""
    if not given:  # one record alone makes no step
        return True
    names, both = ("covered_us", "estimated_us", "missing_us"), (claimed, given)
    try:
        times_us = [sum(parse_u64(told.get(name), name) for name in names) for told in both]
    except (EvidenceError, AttributeError):
        return False
    return times_us[0] == times_us[1] and all(
        claimed.get(name) == given[name] for name in ("point", "energy_wh")
    )


def check_figures(tree: Tree, documents: Mapping[str, bytes]) -> None:
    """Every window that ended is stated once, as its records give it, and none of them is left out.

    Only a start of the agent excuses a window that does not begin with its first record, and only
    for what the agent had sent. What another version stated is not repeated, see `is_repeated`.

    Raises:
        EvidenceError: `figures_mismatch`, or what the documents lack.
    """
    others = [event for event in tree.figures if not _is_ours(event)]
    if others and len(others) == len(tree.figures):
        return
    subject = subject_of(tree, documents)
    if subject is None:
        if tree.figures:
            raise _mismatch(tree, tree.figures[0].seq, "it states figures, and its site wants none")
        return
    if tree.withheld:
        _check_present(tree, subject)
        return
    seqs, slots_us = tree.columns.seq, tree.columns.slot_us
    if (is_back := slots_us[1:] <= slots_us[:-1]).any():
        seq = int(seqs[is_back.argmax() + 1])
        raise _mismatch(tree, seq, "it is of an earlier slot than the record before it")
    due = _windows(tree, subject)
    for event in tree.figures:
        span = due.pop(bisect_left(seqs, event.seq), (0, 0))
        if _is_ours(event):
            _check_statement(tree, event, subject, _taken(tree, *span))
    silent = [after for after in due if after < len(seqs)]  # the next batch may state the last
    if silent and not others:
        raise _mismatch(tree, int(seqs[silent[0] - 1]), "it ends a window that is not stated")


def _taken(tree: Tree, start: int, end: int) -> list[Taken]:
    """What figures need of these records."""
    records = tree.records[start:end]
    return [Taken(r.seq, r.slot_us, r.t_utc_us, r.values, r.quality) for r in records]


def _check_present(tree: Tree, subject: Subject) -> None:
    """The statements whose records are all here say what these give."""
    seqs = tree.columns.seq
    for event in tree.figures:
        if _is_ours(event) and _is_present(tree, event):
            first, last = (int(event.fields[name]) for name in ("first_seq", "last_seq"))
            start, end = bisect_left(seqs, first), bisect_left(seqs, last + 1)
            _check_statement(tree, event, subject, _taken(tree, start, end))


def is_repeated(tree: Tree, event: Event) -> bool:
    """Whether a statement is computed again: this version made it, of records that are here."""
    is_stated = _is_ours(event) and event.fields["findings"] != [FAILED]
    return is_stated and _is_present(tree, event)


def _is_present(tree: Tree, event: Event) -> bool:
    """Whether none of the records that a statement names stays away."""
    if not tree.withheld:
        return True
    first, last = (int(event.fields[name]) for name in ("first_seq", "last_seq"))
    after = bisect_left(tree.withheld, last + 1, key=_SEQ)
    return after == 0 or tree.withheld[after - 1].end <= first


def _is_ours(event: Event) -> bool:
    """Whether this version made it; the figures of another may differ from ours."""
    return bool(event.fields["version"] == VERSION)


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
    period_us, zone = period_us_of(tree, documents), time_zone_of(tree, documents)
    is_divisor = type(every_s) is int and 0 < every_s <= _DAY_S and _DAY_S % every_s == 0
    if not is_divisor or every_s * _US_PER_S // period_us > MOST_READINGS:
        raise _bad_document(tree, f"when figures are due, but {str(every_s)[:20]!r}")
    profile = profile_of(tree, documents)
    try:
        parameters = parameters_of(profile.kind, row.get("equipment"))
    except ValueError as error:
        raise _bad_document(tree, f"what its equipment is: {error}") from error
    return Subject(profile, parameters, period_us, every_s * _US_PER_S, zone)


def _windows(tree: Tree, subject: Subject) -> dict[int, tuple[int, int]]:
    """The records of each window that ended, by how many there are up to the one that ended it.

    The agent goes from record to record by `figures.step`. A start leaves it those that it has not
    sent, which stand after the last envelope.
    """
    seqs, slots_us = tree.columns.seq, tree.columns.slot_us.tolist()
    starts = {bisect_left(seqs, boot): boot for boot in tree.boots}
    envelopes = [envelope.seq for envelope in tree.envelopes]
    found: dict[int, tuple[int, int]] = {}
    first = 0
    for at, slot_us in enumerate(slots_us):
        if at in starts:
            before = bisect_left(envelopes, starts[at])
            sent = bisect_left(seqs, envelopes[before - 1]) if before else 0
            first = max(first, sent)
        end_us = end_of(slots_us[first], subject.every_us)
        if first < at and slot_us >= end_us:
            after = at + 1 if slot_us < end_us + subject.period_us else at
            if after - first > 1:
                found[at + 1] = (first, after)
            first = at
    return found


def _check_statement(tree: Tree, event: Event, subject: Subject, closed: Sequence[Taken]) -> None:
    """That the statement is of these records, which may be none, and says what they give."""
    named = (event.fields["first_seq"], event.fields["last_seq"])
    if not closed or named != (str(closed[0].seq), str(closed[-1].seq)):
        raise _mismatch(tree, event.seq, "its records are not those of its window")
    if agree(event.fields, failed(subject, closed)):
        return  # no figure is stated; the log of the agent says why
    try:
        given = stated(subject, closed)
    except Exception as error:  # whatever a model does with hostile records
        raise _mismatch(tree, event.seq, f"its records give no figures: {error!r:.200}") from error
    if not agree(event.fields, given):
        raise _mismatch(tree, event.seq, "its records give other figures")


def _mismatch(tree: Tree, seq: int, why: str) -> EvidenceError:
    return EvidenceError(
        f"Leaf {seq} of {tree.origin} does not fit the figures that are stated: {why}.",
        "Compare it with the copy of the collector and of the witness.",
        code="figures_mismatch",
    )


def carbon_of(tree: Tree, documents: Mapping[str, bytes]) -> Carbon:
    """Which factors apply to the energy of envelopes, and in which time zone.

    Raises:
        EvidenceError: `bad_document` where the documents do not say so.
    """
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
