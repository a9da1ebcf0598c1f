"""What an operator states better than a device did: it supersedes, and never edits.

A correction stands in the collector's log, signed by the operator over

    {"type": "correction", "v": 1, "site", "origin", "first_seq", "last_seq", "point", "treatment",
     "value", "withdraws", "reason", "who"}

| treatment | the point's values in the readings first_seq to last_seq |
|---|---|
| excluded | count as bad: they enter no total |
| replaced | are `value`, decimal text in the point's unit |
| withdrawn | count as read again: the correction with the digest `withdraws` is taken back |

The readings stay where they are; a report gives its totals with the corrections and without.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from joulemark_agent.contract.batch import parse_u64
from joulemark_agent.contract.canonical import canonical_bytes, digest_hex, is_same
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.profile import Profile
from joulemark_agent.contract.signature import decode64, encode64, is_signed_by, public_key, sign
from joulemark_agent.contract.topics import parse_origin
from joulemark_agent.kernels.counter import LARGEST, count_of
from joulemark_agent.kernels.decode import NOT_DUE
from joulemark_gateway.evidence.entries import CORRECTION, Entry, Logged
from joulemark_gateway.evidence.history import DeviceHistory, Record, Tree

EXCLUDED, REPLACED, WITHDRAWN = "excluded", "replaced", "withdrawn"
VERSION = 1
MOST_TEXT = 1000  # letters of a reason or a name
_VALUE = re.compile(r"-?(0|[1-9][0-9]{0,24})(\.[0-9]{0,11}[1-9])?")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FIELDS = {
    "first_seq", "last_seq", "origin", "point", "reason", "site", "treatment", "type", "v",
    "value", "who", "withdraws",
}  # fmt: skip


@dataclass(frozen=True)
class Correction:
    """What is stated of one point in a run of readings."""

    origin: str
    first_seq: int
    last_seq: int
    point: str
    treatment: str
    reason: str
    who: str
    value: str | None = None
    withdraws: str | None = None  # digest of the correction that is taken back

    def content(self) -> dict[str, Any]:
        """What the operator signs."""
        return {
            "first_seq": str(self.first_seq),
            "last_seq": str(self.last_seq),
            "origin": self.origin,
            "point": self.point,
            "reason": self.reason,
            "site": parse_origin(self.origin)[0],
            "treatment": self.treatment,
            "type": CORRECTION,
            "v": VERSION,
            "value": self.value,
            "who": self.who,
            "withdraws": self.withdraws,
        }

    @property
    def digest(self) -> str:
        """What it is called by: SHA-256 (hex) of the signed bytes."""
        return digest_hex(canonical_bytes(self.content()))


@dataclass(frozen=True)
class Made:
    """A correction as it stands in the log."""

    correction: Correction
    operator_key: bytes
    signature: bytes
    position: int  # in the log
    time_us: int  # when it was logged

    @property
    def is_signed(self) -> bool:
        """Whether the operator with the key that is named signed it."""
        message = canonical_bytes(self.correction.content())
        return is_signed_by(self.operator_key, message, self.signature)


def correction_entry(correction: Correction, operator_key: bytes) -> Entry:
    """The correction, signed with the operator's private key, for the log."""
    signature = sign(operator_key, canonical_bytes(correction.content()))
    return signed_entry(Made(correction, public_key(operator_key), signature, -1, 0))


def signed_entry(made: Made) -> Entry:
    """A correction that its operator has signed, for the log."""
    content = made.correction.content()
    fields = {
        "correction": content,
        "operator_key": encode64(made.operator_key),
        "operator_signature": encode64(made.signature),
    }
    return Entry(content["site"], CORRECTION, fields, f"{CORRECTION} {made.correction.digest}")


def corrections_in(entries: Iterable[Logged]) -> list[Made]:
    """The corrections among what was logged, in order; signatures are checked elsewhere.

    Raises:
        EvidenceError: `correction_form`: a leaf holds none.
    """
    return [_made(entry) for entry in entries if entry.kind == CORRECTION]


def in_force(made: Sequence[Made]) -> list[Made]:
    """Those that count: none that was taken back, and of no reading and point two.

    What an operator signed counts once: his signature would fit again after he took it back.

    Raises:
        EvidenceError: `correction_overlap`, or `correction_position` where one takes back what is
            not there.
    """
    standing: dict[str, Made] = {}
    known: set[str] = set()
    for item in made:
        new = item.correction
        if new.digest in known:
            what = f"{new.digest[:16]} stands in the log already; make another, with its own reason"
            raise _bad("correction_overlap", what)
        known.add(new.digest)
        if new.treatment == WITHDRAWN:
            old = standing.pop(new.withdraws or "", None)
            if old is None or _place(old.correction) != _place(new):
                what = f"it takes back {str(new.withdraws)[:16]}, which is not there"
                raise _bad("correction_position", what)
            continue
        for other in standing.values():
            if _overlap(new, other.correction):
                raise _bad(
                    "correction_overlap",
                    f"{new.point} of leaves {new.first_seq} to {new.last_seq} of {new.origin} is"
                    f" corrected already, by {other.correction.digest[:16]}",
                )
        standing[new.digest] = item
    return list(standing.values())


def readings_of(correction: Correction, tree: Tree) -> list[Record]:
    """The readings that a correction is about.

    Raises:
        EvidenceError: `correction_position`: there is no such place in the tree.
    """
    first, last = correction.first_seq, correction.last_seq
    seqs = tree.columns.seq
    found = tree.records[bisect_left(seqs, first) : bisect_right(seqs, last)]
    due = [record for record in found if _is_due(record, correction.point)]
    ends = {record.seq for record in due}
    if not {first, last} <= ends:
        raise _bad(
            "correction_position",
            f"leaf {first if first not in ends else last} of {tree.origin} is no reading here with"
            f" a value of {correction.point!r}",
        )
    return due


def corrected(history: DeviceHistory, corrections: Iterable[Correction]) -> DeviceHistory:
    """The history with the corrections that are of its tree.

    Raises:
        EvidenceError: `correction_value` where a value is none of its point.
    """
    good, counters, gauges = dict(history.good), dict(history.counters), dict(history.gauges)
    for item in corrections:
        site, device, epoch = parse_origin(item.origin)
        if (site, device, epoch) != (history.site, history.device, history.epoch):
            continue
        if item.point not in good:
            raise _bad("correction_position", f"{device} has no point {item.point!r}")
        inside = (history.sources >= item.first_seq) & (history.sources <= item.last_seq)
        if item.point in history.not_due:
            inside &= ~history.not_due[item.point]
        is_replaced = item.treatment == REPLACED
        good[item.point] = np.where(inside, is_replaced, good[item.point])
        if item.point in counters:
            count = _count(item) if is_replaced else 0
            counters[item.point] = np.where(inside, count, counters[item.point])
        else:
            value = float(str(item.value)) if is_replaced else np.nan
            gauges[item.point] = np.where(inside, value, gauges[item.point])
    return replace(history, good=good, counters=counters, gauges=gauges)


def check_point(correction: Correction, profile: Profile) -> None:
    """Raise `EvidenceError` where the profile has no such point, or the value is none of it.

    Codes: `correction_position`, `correction_value`.
    """
    points = {point.name: point for point in profile.points}
    if correction.point not in points:
        known = ", ".join(sorted(points))
        raise _bad("correction_position", f"there is no point {correction.point!r}, but {known}")
    if correction.treatment == REPLACED and points[correction.point].counter:
        _count(correction)


def parse_correction(content: Any) -> Correction:
    """The correction that an operator signed.

    Raises:
        EvidenceError: `correction_form` where it is none.
    """
    if not isinstance(content, dict) or set(content) != _FIELDS:
        raise _bad("correction_form", "it has other fields")
    named = ("origin", "point", "reason", "treatment", "who")
    texts = {name: content[name] for name in named}
    if not all(isinstance(text, str) and 1 <= len(text) <= MOST_TEXT for text in texts.values()):
        raise _bad("correction_form", "a text is missing or too long")
    first, last = (parse_u64(content[name], name) for name in ("first_seq", "last_seq"))
    found = Correction(
        **texts,
        first_seq=first,
        last_seq=last,
        value=content["value"],
        withdraws=content["withdraws"],
    )
    if not is_same(found.content(), content):
        raise _bad("correction_form", "it is of another version or site")
    check_form(found)
    return found


def check_form(correction: Correction) -> None:
    """Raise `EvidenceError` (`correction_form`) where its parts do not fit together."""
    value, withdraws = correction.value, correction.withdraws
    if correction.first_seq > correction.last_seq:
        raise _bad("correction_form", "its last reading is before its first")
    if correction.treatment not in {EXCLUDED, REPLACED, WITHDRAWN}:
        raise _bad("correction_form", f"{correction.treatment[:40]!r} is no treatment")
    has_value = isinstance(value, str) and _VALUE.fullmatch(value) is not None and value != "-0"
    if has_value != (correction.treatment == REPLACED) or (value is not None and not has_value):
        raise _bad("correction_form", "a replaced value is decimal text, and nothing else has one")
    has_digest = isinstance(withdraws, str) and _DIGEST.fullmatch(withdraws) is not None
    if has_digest != (correction.treatment == WITHDRAWN) or (withdraws and not has_digest):
        raise _bad("correction_form", "what takes back names the digest of what it takes back")


def _made(entry: Logged) -> Made:
    fields: Mapping[str, Any] = entry.fields
    try:
        key, signature = decode64(fields["operator_key"]), decode64(fields["operator_signature"])
    except (TypeError, AttributeError) as error:
        raise _bad("correction_form", "its signature is no text") from error
    found = parse_correction(fields["correction"])
    if parse_origin(found.origin)[0] != entry.site:
        raise _bad("correction_form", "it is of another site than its leaf")
    return Made(found, key, signature, entry.position, entry.time_us)


def _place(correction: Correction) -> tuple[str, str, int, int]:
    return correction.origin, correction.point, correction.first_seq, correction.last_seq


def _overlap(one: Correction, other: Correction) -> bool:
    is_one = (one.origin, one.point) == (other.origin, other.point)
    return is_one and one.first_seq <= other.last_seq and other.first_seq <= one.last_seq


def _is_due(record: Record, point: str) -> bool:
    return point in record.values or record.quality.get(point, NOT_DUE) != NOT_DUE


def _count(correction: Correction) -> int:
    value = str(correction.value)
    count = -1 if value.startswith("-") else count_of(value)
    if not 0 <= count <= LARGEST:
        raise _bad("correction_value", f"{value} is no count of {correction.point}")
    return count


def _bad(code: str, what: str) -> EvidenceError:
    return EvidenceError(
        f"The correction does not hold: {what}.",
        "Look at the leaves with 'joulemark collector status' and the pages, and at what was"
        " corrected before.",
        code=code,
    )
