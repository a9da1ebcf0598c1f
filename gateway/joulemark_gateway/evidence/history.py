"""From the leaves of one (device, epoch) back to readings: what measuring and verifying start from.

Values are decoded anew from the raw words with the signed profile; the `val` of a record is only
compared with them (`check_decode`), never used. Each check is a function of its own, so a verifier
can name the layer that failed.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from heapq import merge
from math import nan
from sys import intern
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.contract.batch import parse_u64
from joulemark_agent.contract.canonical import (
    canonical_bytes,
    digest_hex,
    is_same,
    parse_canonical,
)
from joulemark_agent.contract.committed import interval_us_in
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.leaf import COMMON_FIELDS, MINOR, parse_leaf
from joulemark_agent.contract.profile import Profile
from joulemark_agent.contract.reading import (
    SIMULATED,
    SYSTEM,
    VERSION,
    Gap,
    Instant,
    Response,
    instant_of,
)
from joulemark_agent.contract.rotation import KEY_ROTATION, Rotation, parse_rotation
from joulemark_agent.contract.signature import decode64, is_signed_by
from joulemark_agent.contract.sparse import Part, Withheld, numbered
from joulemark_agent.contract.topics import is_id, origin
from joulemark_agent.figures import EVENT as FIGURES
from joulemark_agent.figures import FIELDS, states_figures
from joulemark_agent.kernels.counter import LARGEST, count_of
from joulemark_agent.kernels.decode import NOT_DUE, decode_responses
from joulemark_agent.kernels.stamps import late_us
from joulemark_gateway.evidence.packed import Packed
from joulemark_gateway.evidence.withheld import (
    DISCONTINUITY,
    UNKNOWN_SLOT,
    Run,
    Slots,
    batches_of,
    lost_slots,
    runs_in,
    with_unseen,
    withheld_slots,
)

_SET_CLOCKS = {"ntp", SIMULATED}  # a word that nobody knows is no promise
_END_OF_TIME_US = 2**60  # 36,000 years
_MOST_W = 10**12  # of a connection
_SLACK_US = 300 * 1_000_000  # beside a period: what slow lines and a set clock may cost


class Record(NamedTuple):
    """One reading as it stands in a leaf, its text fields turned into numbers."""

    seq: int
    slot_us: int
    t_utc_us: int
    sync: str
    responses: tuple[Response, ...]
    values: Mapping[str, str]
    quality: Mapping[str, str]
    boot: int | None = None  # None: the clock is simulated, or nobody knows
    t_mono_us: int = 0  # by the other clock of the agent; comparable inside one boot

    @property
    def instant(self) -> Instant | None:
        """When it was read, by both clocks."""
        return None if self.boot is None else Instant(self.boot, self.t_utc_us, self.t_mono_us)


class Columns(NamedTuple):
    """What most checks need of the records of a tree, one row a record."""

    seq: NDArray[np.int64]
    slot_us: NDArray[np.int64]
    t_utc_us: NDArray[np.int64]
    values: NDArray[np.int64]  # how many
    sync: list[str]


@dataclass(frozen=True)
class Event:
    """One event as it stands in a leaf."""

    seq: int
    kind: str
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Tree:
    """All leaves of one (device, epoch) in order, parsed, and the grant that opened it."""

    site: str
    device: str
    epoch: int
    clock: str
    grant: Mapping[str, Any]
    operator_signature: bytes
    records: Sequence[Record]
    gaps: tuple[tuple[int, Gap], ...]  # with the seq of the leaf
    envelopes: tuple[Event, ...]
    figures: tuple[Event, ...] = ()  # what the agent states of windows
    boots: tuple[int, ...] = ()  # the leaves that say that the agent started
    rotations: tuple[Rotation, ...] = ()  # changes of the agent's key, each signed by both keys
    withheld: tuple[Run, ...] = ()  # leaves that are not here
    discontinuities: tuple[Event, ...] = ()  # what the agent says of leaves that it lost
    first_seq: int = 0  # of a part
    decoded: dict[Profile, Decoded] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )

    @property
    def origin(self) -> str:
        """The first line of this tree's checkpoints."""
        return origin(self.site, self.device, self.epoch)

    @cached_property
    def columns(self) -> Columns:
        """The records in columns."""
        numbers = array("q")
        sync: list[str] = []
        packed = self.records if isinstance(self.records, Packed) else None
        for plain in map(_plain, self.records) if packed is None else packed.plain():
            seq, slot_us, t_utc_us, _, _, clock, _, names, *_ = plain
            numbers.extend((seq, slot_us, t_utc_us, len(names)))
            sync.append(intern(clock))
        rows = np.array(numbers, np.int64).reshape(-1, 4)
        seq, slot_us, t_utc_us, values = (np.ascontiguousarray(rows[:, k]) for k in range(4))
        return Columns(seq, slot_us, t_utc_us, values, sync)


class Decoded(NamedTuple):
    """The raw words of the records of a tree as arrays, decoded with one profile."""

    counters: Mapping[str, NDArray[np.int64]]
    gauges: Mapping[str, NDArray[np.float64]]
    good: Mapping[str, NDArray[np.bool_]]
    not_due: Mapping[str, NDArray[np.bool_]]
    wrong: EvidenceError | None  # `decode_mismatch`: of the first record that says otherwise


@dataclass(frozen=True)
class DeviceHistory:
    """The readings of one device as arrays over its slots, decoded from raw words.

    Counters are exact integers in the unit of the point's name (a float's whole units) and 0 where
    `good` is False; gauges are NaN where the point is bad or absent. `sources` gives the leaf each
    reading came from, `time_zone` is that of the site.
    """

    site: str
    device: str
    epoch: int
    clock: str
    profile: Profile
    period_us: int
    slot_us: NDArray[np.int64]
    counters: Mapping[str, NDArray[np.int64]]
    gauges: Mapping[str, NDArray[np.float64]]
    good: Mapping[str, NDArray[np.bool_]]
    unsynchronised: NDArray[np.bool_]
    gaps: tuple[Gap, ...]
    sources: NDArray[np.int64]
    documents: Mapping[str, str]  # digest (hex) of profile, site, factors
    time_zone: str = "UTC"
    not_due: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)  # of slower points
    interval_us: int | None = None  # of committed evidence: a reading an interval is here
    withheld: tuple[Slots, ...] = ()  # whose records stay at the gateway
    lost: tuple[Slots, ...] = ()  # whose leaves a disk lost
    is_partial: NDArray[np.bool_] | None = None  # the agent missed a part of the time before
    late_us: NDArray[np.int64] | None = None  # the clock was set back by so much before; None: not

    @property
    def step_us(self) -> int:
        """The time between the readings that are here, where none is missing. [us]"""
        return self.period_us if self.interval_us is None else self.interval_us

    @property
    def synthetic(self) -> bool:
        """Whether no machine stands behind the values."""
        return self.profile.synthetic


def parse_tree(leaves: Sequence[Part], *, packed: bool = False) -> Tree:
    """The leaves of one (device, epoch), from the first, each in canonical form and contiguous.

    For leaves that are not here stands how many they are.

    Args:
        leaves: all of them.
        packed: whether the records are kept in an eighth of the memory.

    Raises:
        EvidenceError: `bad_leaf`, `not_canonical`, `unknown_version`, `bad_rotation`, or
            `bad_sequence` where a leaf is missing, repeated, or belongs to another tree.
    """
    if not leaves or isinstance(leaves[0], Withheld):
        raise _bad("bad_sequence", "there is no leaf, or the first is not here")
    return parse_part(leaves, 0, *grant_of(leaves[0]), packed=packed)


def parse_part(
    leaves: Sequence[Part],
    first_seq: int,
    grant: Mapping[str, Any],
    operator_signature: bytes,
    *,
    packed: bool = False,
) -> Tree:
    """A run of leaves of a tree whose grant is known: what `parse_tree` gives, for these leaves.

    Args:
        leaves: leaf first_seq and those after it.
        first_seq: index of the first leaf.
        grant: the grant that opened the tree.
        operator_signature: its signature.
        packed: as for `parse_tree`.

    Raises:
        EvidenceError: as `parse_tree`.
    """
    device, epoch = grant["dev"], grant["epoch"]
    records: list[Record] | Packed[Record] = Packed(_plain, _unpacked) if packed else []
    gaps: list[tuple[int, Gap]] = []
    envelopes: list[Event] = []
    figures: list[Event] = []
    boots: list[int] = []
    rotations: list[Rotation] = []
    withheld: list[Run] = []
    discontinuities: list[Event] = []
    for index, leaf in numbered(leaves, first_seq):
        if isinstance(leaf, Withheld):
            withheld.append(Run(index, leaf.count))
            continue
        content = parse_leaf(leaf)
        if content["dev"] != device or content["epoch"] != epoch or content["seq"] != str(index):
            raise _bad(
                "bad_sequence",
                f"leaf {index} of {device}/{epoch} says dev {content['dev']!r}, epoch "
                f"{content['epoch']!r}, seq {content['seq']!r}",
            )
        kind = content.get("type")
        if kind is None:
            records.append(_record(index, content))
        elif kind == "gap":
            gaps.append((index, _gap(index, content)))
        elif kind == "batch":
            envelopes.append(Event(index, "batch", content))
        elif kind == FIGURES:
            figures.append(_statement(index, content))
        elif kind == "boot":
            boots.append(index)
        elif kind == KEY_ROTATION:
            rotations.append(parse_rotation(content, grant["site"]))
        elif kind == DISCONTINUITY:
            discontinuities.append(Event(index, DISCONTINUITY, content))
        elif kind == "epoch_start" and index:
            raise _bad("bad_sequence", f"leaf {index} of {device}/{epoch} opens the epoch again")
    return Tree(
        grant["site"],
        device,
        epoch,
        grant["clock"],
        grant,
        operator_signature,
        records if isinstance(records, Packed) else tuple(records),
        tuple(gaps),
        tuple(envelopes),
        tuple(figures),
        tuple(boots),
        tuple(rotations),
        tuple(withheld),
        tuple(discontinuities),
        first_seq,
    )


def grant_of(leaf: bytes) -> tuple[dict[str, Any], bytes]:
    """The grant in the first leaf of a tree and the operator's signature beside it.

    Raises:
        EvidenceError: `bad_leaf` or `bad_sequence` where the leaf opens no epoch.
    """
    content = parse_leaf(leaf)
    grant, signature = content.get("grant"), content.get("operator_signature")
    if content.get("type") != "epoch_start" or not isinstance(grant, dict):
        raise _bad("bad_sequence", "the first leaf does not open an epoch")
    wanted = {"agent", "agent_key", "clock", "dev", "documents", "epoch", "first_slot", "site"}
    if set(grant) != wanted | {"type", "v"} or not isinstance(signature, str):
        raise _bad("bad_leaf", "the grant has other fields than a grant")
    documents, first_slot = grant["documents"], grant["first_slot"]
    if not isinstance(documents, dict) or set(documents) != {"profile", "site", "factors"}:
        raise _bad("bad_leaf", "the grant must name profile, site and factors")
    texts = [*documents.values(), *(grant[name] for name in ("agent", "agent_key", "dev", "site"))]
    if not all(isinstance(text, str) for text in texts) or type(grant["epoch"]) is not int:
        raise _bad("bad_leaf", "a field of the grant is of another kind")
    if (grant["type"], type(grant["v"]), grant["v"]) != ("grant", int, VERSION):
        raise _bad("bad_leaf", "what the operator signed is no grant of this version")
    if not all(is_id(grant[name]) for name in ("agent", "dev", "site")):
        raise _bad("bad_leaf", "a name in the grant is no id")
    if grant["clock"] not in (SIMULATED, SYSTEM):
        raise _bad("bad_leaf", f"the grant names the clock {str(grant['clock'])[:40]!r}")
    try:
        _time_us("0" if first_slot is None else first_slot, "first_slot")
    except EvidenceError as error:
        raise _bad("bad_leaf", f"the grant names the first slot {first_slot!r}") from error
    return grant, decode64(signature)


def operator_approved(tree: Tree, operator_key: bytes) -> bool:
    """Whether the operator signed the grant that opened this tree."""
    return is_signed_by(operator_key, canonical_bytes(dict(tree.grant)), tree.operator_signature)


def check_slots(tree: Tree, period_us: int, due_us: int | None = None) -> None:
    """Every slot from the first to the last has one reading, read at it, or stands in one gap.

    Args:
        tree: the leaves.
        period_us: distance of the slots. [us]
        due_us: the slot that must come first; None: the one the grant names, if it names one;
            UNKNOWN_SLOT: leaves before these were lost. [us]

    Raises:
        EvidenceError: `slot_missing`, `slot_twice`, `slot_unaligned` or `off_slot`.
    """
    rows = tree.columns
    order = np.lexsort((rows.seq, rows.slot_us))
    read = zip(rows.slot_us[order].tolist(), rows.seq[order].tolist(), strict=True)
    others = [(g.first_slot_us, g.last_slot_us, g.slots, seq) for seq, g in tree.gaps]
    if tree.withheld:
        others += [*withheld_slots(tree, period_us), *lost_slots(tree)]
    spans = merge(((slot_us, slot_us, 1, seq) for slot_us, seq in read), sorted(others))
    first = tree.grant["first_slot"]
    due = due_us if due_us is not None else int(first) if first is not None else None
    due = None if due_us == UNKNOWN_SLOT else due
    for start, end, slots, seq in spans:
        if start % period_us or end % period_us or slots != (end - start) // period_us + 1:
            raise _bad("slot_unaligned", f"leaf {seq} of {tree.origin} is off the slot grid")
        due = start if due is None else due
        if start < due:
            raise _bad("slot_twice", f"leaf {seq} of {tree.origin} repeats slot {start}")
        if start > due:
            raise _bad("slot_missing", f"slot {due} of {tree.origin} has no reading and no gap")
        due = end + period_us
    is_off = np.abs(rows.t_utc_us - rows.slot_us) > period_us + _SLACK_US
    if is_off.any():
        seq = rows.seq[is_off.argmax()]
        raise _bad("off_slot", f"leaf {seq} of {tree.origin} was not read at its slot")


def check_envelopes(tree: Tree) -> None:
    """Every envelope counts the leaves it covers as they are.

    Raises:
        EvidenceError: `bad_envelope`.
    """
    rows = tree.columns
    for start, envelope in batches_of(tree):
        fields, end = envelope.fields, envelope.seq
        inside = slice(bisect_left(rows.seq, start), bisect_left(rows.seq, end))
        slots_us, syncs = rows.slot_us[inside].tolist(), rows.sync[inside]
        gaps = [gap for seq, gap in tree.gaps if start <= seq < end]
        firsts = slots_us + [gap.first_slot_us for gap in gaps]
        lasts = slots_us + [gap.last_slot_us for gap in gaps]
        gap_slots = sum(gap.slots for gap in gaps)
        counted = {
            "first_seq": str(start),
            "last_seq": str(end - 1),
            "records": len(syncs),
            "values": int(rows.values[inside].sum()),
            "gap_slots": gap_slots,
            "slots": len(syncs) + gap_slots,
            "first_slot": str(min(firsts)) if firsts else None,
            "last_slot": str(max(lasts)) if lasts else None,
            "time": {"unsynchronised": syncs.count("unsynchronised")},
        }
        if runs := runs_in(tree, start, end):
            counted = with_unseen(counted, fields, sum(run.count for run in runs))
        told = {name: fields[name] for name in counted if name in fields}
        if not is_same(told, counted):
            wrong = [n for n in counted if n not in told or not is_same(told[n], counted[n])]
            raise _bad("bad_envelope", f"envelope {end} of {tree.origin} miscounts {wrong}")


def check_decode(tree: Tree, profile: Profile) -> None:
    """The raw words of every record, decoded with the profile, give its `val` and `q`.

    Raises:
        EvidenceError: `decode_mismatch` at the first record that differs.
    """
    wrong = decoded(tree, profile).wrong
    if wrong is not None:
        raise wrong


def decoded(tree: Tree, profile: Profile) -> Decoded:
    """The records decoded with this profile: once, however often it is asked for."""
    if profile not in tree.decoded:
        tree.decoded[profile] = _decoded(tree, profile)
    return tree.decoded[profile]


def _decoded(tree: Tree, profile: Profile) -> Decoded:
    n, wrong = len(tree.records), None
    counters = {p.name: array("q", bytes(8 * n)) for p in profile.points if p.counter}
    gauges = {p.name: array("d", [nan]) * n for p in profile.points if not p.counter}
    good = {p.name: bytearray(n) for p in profile.points}
    not_due = {p.name: bytearray(n) for p in profile.registers if p.every_s}
    for i, record in enumerate(tree.records):
        values, quality = decode_responses(profile, record.responses)
        if wrong is None and (values != record.values or quality != record.quality):
            wrong = _bad(
                "decode_mismatch",
                f"leaf {record.seq} of {tree.origin}: the raw words decode to {values} {quality}, "
                f"the record says {dict(record.values)} {dict(record.quality)}",
            )
        for name, column in not_due.items():
            column[i] = quality.get(name) == NOT_DUE
        for name, text in values.items():
            if name in quality:
                continue
            if name in gauges:
                gauges[name][i] = float(text)
            elif (count := count_of(text)) <= LARGEST:
                counters[name][i] = count
            else:
                continue
            good[name][i] = True
    return Decoded(
        {name: np.frombuffer(column, np.int64) for name, column in counters.items()},
        {name: np.frombuffer(column, np.float64) for name, column in gauges.items()},
        {name: np.frombuffer(column, np.bool_) for name, column in good.items()},
        {name: np.frombuffer(column, np.bool_) for name, column in not_due.items()},
        wrong,
    )


def check_documents(tree: Tree, documents: Mapping[str, bytes]) -> None:
    """The documents the operator approved are there, and every envelope names the same ones.

    Raises:
        EvidenceError: `document_missing` or `document_changed`.
    """
    approved = tree.grant["documents"]
    for name, digest in approved.items():
        if digest not in documents or digest_hex(documents[digest]) != digest:
            raise _bad("document_missing", f"the {name} document {digest[:16]} is not here")
    check_named_documents(tree)


def check_named_documents(tree: Tree) -> None:
    """Every envelope names the documents the operator approved, and a software digest.

    Raises:
        EvidenceError: `document_changed`.
    """
    approved = tree.grant["documents"]
    for envelope in tree.envelopes:
        named = envelope.fields.get("documents")
        if not isinstance(named, dict) or named != {**approved, "software": named.get("software")}:
            raise _bad(
                "document_changed",
                f"envelope {envelope.seq} of {tree.origin} names documents never approved",
            )


def profile_of(tree: Tree, documents: Mapping[str, bytes]) -> Profile:
    """The profile the operator approved for this tree, with what the site accepts of it.

    Raises:
        EvidenceError: `document_missing`, or `bad_document` where it is no profile.
    """
    document = _document(tree, documents, "profile")
    try:
        profile_from(document)
    except ValueError as error:
        raise _bad("bad_document", f"the profile of {tree.origin} is none: {error}") from error
    site = site_from(_document(tree, documents, "site"))
    return profile_at(document, site, tree.device)


def profile_at(document: bytes, site: Any, device: str) -> Profile:
    """The profile with what the site document accepts and bounds of the device.

    Raises:
        ValueError: it is no profile.
    """
    return profile_from(document, accepted_points(site, device), maximum_power_w(site, device))


def accepted_points(site: Any, device: str) -> frozenset[str]:
    """The disputed points that the site document accepts of a device: a test has passed."""
    names = row_of(site, device).get("accept_disputed", [])
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return frozenset(names if is_list else ())


def maximum_power_w(site: Any, device: str) -> int | None:
    """The most that the device's connection carries; None where the site document says nothing."""
    most = row_of(site, device).get("maximum_power_w")
    return most if type(most) is int and 0 < most <= _MOST_W else None


def row_of(site: Any, device: str) -> dict[str, Any]:
    """What the site document says of a device; empty where it says nothing."""
    rows = site.get("devices") if isinstance(site, dict) else None
    known = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return next((row for row in known if row.get("id") == device), {})


def _document(tree: Tree, documents: Mapping[str, bytes], name: str) -> bytes:
    digest = tree.grant["documents"][name]
    if digest not in documents:
        raise _bad("document_missing", f"the {name} document {digest[:16]} is not here")
    return documents[digest]


@lru_cache(maxsize=64)
def site_from(document: bytes) -> Any:
    """What a site document says, to be read only: all devices of a site have the same one."""
    return parse_canonical(document)


@lru_cache(maxsize=256)
def profile_from(
    document: bytes, accepted: frozenset[str] = frozenset(), most_w: int | None = None
) -> Profile:
    """One object for one document: decoding finds its tables by it, by identity.

    Raises:
        ValueError: it is no profile.
    """
    return Profile.model_validate(parse_canonical(document)).accepting(accepted).bounded(most_w)


def period_us_of(tree: Tree, documents: Mapping[str, bytes]) -> int:
    """The reading period of this device in the approved site document. [us].

    Raises:
        EvidenceError: `document_missing` where it is not here or does not know the device,
            `bad_document` where it is no site document.
    """
    site = site_from(_document(tree, documents, "site"))
    try:
        periods = {row["id"]: int(row["period_s"]) for row in site["devices"]}
    except (ValueError, TypeError, KeyError) as error:
        raise _bad("bad_document", f"the site document has no such field: {error}") from error
    if periods.get(tree.device, 0) <= 0:
        raise _bad("document_missing", f"the site document does not know {tree.device!r}")
    return periods[tree.device] * 1_000_000


def interval_us_of(tree: Tree, documents: Mapping[str, bytes]) -> int | None:
    """The interval of the evidence that the site approved; None: it is full. [us]

    Raises:
        EvidenceError: `document_missing`, or `bad_document` where it says neither.
    """
    try:
        return interval_us_in(site_from(_document(tree, documents, "site")))
    except ValueError as error:
        raise _bad("bad_document", f"the site document of {tree.origin} says {error}") from error


def step_us_of(tree: Tree, documents: Mapping[str, bytes]) -> int:
    """The time between the readings that are here: the period, or the interval of committed. [us]

    Raises:
        EvidenceError: as `period_us_of` and `interval_us_of`.
    """
    return interval_us_of(tree, documents) or period_us_of(tree, documents)


def time_zone_of(tree: Tree, documents: Mapping[str, bytes]) -> ZoneInfo:
    """The time zone of the site in the approved site document.

    Raises:
        EvidenceError: `document_missing`, or `bad_document` where it names no time zone.
    """
    site = site_from(_document(tree, documents, "site"))
    try:
        return ZoneInfo(site["time_zone"])
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise _bad("bad_document", f"the site document names no time zone: {error!r}") from error


def history_of(tree: Tree, documents: Mapping[str, bytes]) -> DeviceHistory:
    """The readings as arrays, decoded from the raw words with the approved profile."""
    profile, period_us = profile_of(tree, documents), period_us_of(tree, documents)
    rows, found = tree.columns, decoded(tree, profile)
    return DeviceHistory(
        site=tree.site,
        device=tree.device,
        epoch=tree.epoch,
        clock=tree.clock,
        profile=profile,
        period_us=period_us,
        slot_us=rows.slot_us,
        counters=found.counters,
        gauges=found.gauges,
        good=found.good,
        unsynchronised=np.array([sync not in _SET_CLOCKS for sync in rows.sync], np.bool_),
        gaps=tuple(gap for _, gap in tree.gaps),
        sources=rows.seq,
        documents=dict(tree.grant["documents"]),
        time_zone=time_zone_of(tree, documents).key,
        not_due=found.not_due,
        interval_us=interval_us_of(tree, documents),
        withheld=tuple(withheld_slots(tree, period_us)),
        lost=tuple(lost_slots(tree)),
        is_partial=_partial(tree) if tree.withheld else None,
        late_us=late_us([record.instant for record in tree.records]),
    )


def _partial(tree: Tree) -> NDArray[np.bool_]:
    """Which records end a time of which the envelope says that a part was not measured.

    It had the records in between and saw, for one, that a meter was without power.
    """
    seqs = tree.columns.seq
    found = np.zeros(len(seqs), np.bool_)
    for start, envelope in batches_of(tree):
        energy = envelope.fields.get("energy")
        missing_us = energy.get("missing_us", "0") if isinstance(energy, dict) else "0"
        last = bisect_left(seqs, envelope.seq) - 1
        if missing_us != "0" and last >= 0 and runs_in(tree, start, envelope.seq):
            found[last] = True
    return found


def _record(seq: int, content: Mapping[str, Any]) -> Record:
    values, quality = content["val"], content["q"]
    try:
        parse_u64(content["t_mono_ns"], "t_mono_ns")
        parse_u64(content["tq"]["err_us"], "err_us")
        record = Record(
            seq=seq,
            slot_us=_time_us(content["slot"], "slot"),
            t_utc_us=_time_us(content["t_utc_us"], "t_utc_us"),
            sync=_text(content["tq"]["sync"]),
            responses=tuple(_response(*entry) for entry in content["raw"]),
            values=values,
            quality=quality,
            boot=instant.boot if (instant := instant_of(content)) else None,
            t_mono_us=instant.t_mono_us if instant else 0,
        )
    except (EvidenceError, ValueError, TypeError, KeyError) as error:
        raise _bad("bad_leaf", f"leaf {seq} is not a record: {error}") from error
    if not (isinstance(values, dict) and isinstance(quality, dict)):
        raise _bad("bad_leaf", f"leaf {seq} is not a record: its values are no map")
    return record


def _plain(record: Record) -> tuple[Any, ...]:
    """The record as `Packed` keeps it."""
    responses = tuple((r.table, r.address, r.data) for r in record.responses)
    numbers = (record.seq, record.slot_us, record.t_utc_us, record.boot, record.t_mono_us)
    names = tuple(map(intern, record.values))
    return (*numbers, record.sync, responses, names, tuple(record.values.values()), record.quality)


def _unpacked(plain: tuple[Any, ...]) -> Record:
    seq, slot_us, t_utc_us, boot, t_mono_us, sync, responses, names, texts, quality = plain
    values = dict(zip(names, texts, strict=True))
    found = tuple(Response(*response) for response in responses)
    return Record(seq, slot_us, t_utc_us, sync, found, values, quality, boot, t_mono_us)


def _time_us(text: Any, name: str) -> int:
    """The time, small enough for every kernel and database that computes with it. [us]"""
    time_us = parse_u64(text, name)
    if time_us >= _END_OF_TIME_US:
        raise _bad("bad_leaf", f"{name} is {time_us}, which is no time")
    return time_us


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is no text")
    return value


def _response(table: Any, address: Any, words: Any) -> Response:
    data = bytes.fromhex(words)
    if data.hex() != words or type(address) is not int or not isinstance(table, str):
        raise ValueError("an entry of `raw` is not [table, address, lower-case hex]")
    return Response(table, address, data)


def _gap(seq: int, content: Mapping[str, Any]) -> Gap:
    try:
        gap = Gap(
            content["dev"],
            _time_us(content["first_slot"], "first_slot"),
            _time_us(content["last_slot"], "last_slot"),
            parse_u64(content["slots"], "slots"),
            _text(content["cause"]),
        )
    except (EvidenceError, KeyError, TypeError) as error:
        raise _bad("bad_leaf", f"leaf {seq} is not a gap: {error}") from error
    if gap.slots < 1 or gap.last_slot_us < gap.first_slot_us:
        raise _bad("bad_leaf", f"leaf {seq} is not a gap: it has no slots")
    return gap


def _statement(seq: int, content: Mapping[str, Any]) -> Event:
    known = FIELDS if MINOR in content else set(content) - COMMON_FIELDS
    fields = {name: value for name, value in content.items() if name in known}
    if not states_figures(fields) or int(fields["last_seq"]) >= seq:
        raise _bad("bad_leaf", f"leaf {seq} is no statement of figures")
    for name in ("start", "end"):
        _time_us(fields[name], name)
    return Event(seq, FIGURES, fields)


def _bad(code: str, what: str) -> EvidenceError:
    return EvidenceError(
        f"The evidence does not hold: {what}.",
        "Compare it with the copy of the collector and of the witness.",
        code=code,
    )
