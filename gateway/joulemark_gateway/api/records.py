"""From a figure to its records: the leaves of a span, their sum computed anew, and their proof.

Leaves are found by halving, since the slots of a tree rise with its leaves. Nothing here trusts the
series: sums are decoded from the raw words once more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from joulemark_agent.contract.batch import MAX_LEAVES
from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.errors import EvidenceError, MeasureError
from joulemark_agent.contract.leaf import parse_leaf
from joulemark_agent.contract.profile import own_period_us
from joulemark_agent.contract.reading import SIMULATED, Gap
from joulemark_agent.contract.signature import (
    cosigned_at,
    encode64,
    is_log_signed,
    parse_checkpoint,
    parse_note,
)
from joulemark_agent.contract.sparse import leaves_in, present
from joulemark_agent.contract.tree import leaf_hash
from joulemark_agent.equipment.base import SAMPLED_AT, held
from joulemark_agent.equipment.readings import longest_step_us, of_records, slow_gauges_us
from joulemark_agent.kernels.checks import Verdict, failures, in_windows, sample_of
from joulemark_agent.kernels.decode import decode_responses
from joulemark_gateway.api.plant import Device
from joulemark_gateway.evidence.base import EvidenceStore, Head
from joulemark_gateway.evidence.clocks import (
    ClockEvent,
    agent_clock_events,
    clock_events,
    states_time,
)
from joulemark_gateway.evidence.history import (
    Tree,
    check_decode,
    history_of,
    parse_part,
)
from joulemark_gateway.evidence.proof import inclusion_path, nodes_of, path_over
from joulemark_gateway.measure.intervals import Counted, counted
from joulemark_gateway.series.base import Carry
from joulemark_gateway.series.project import part_of

MOST_SUMMED = 20_000  # leaves that are decoded anew for one request: some 2 s
MOST_GAP_LEAVES = 100_000  # leaves that are looked through for gaps
MOST_HASHED = 1_000_000  # leaves of a tree a proof is computed over
PROOF_FORMAT = "joulemark-proof/1"
_CHUNK = 8192
_BACK = 256
_AHEAD = 4  # leaves, so that the last reading is not left waiting


@dataclass(frozen=True)
class Leaf:
    """One leaf, for a reader."""

    seq: int
    kind: str  # record, gap, batch, boot, epoch_start
    data: bytes
    content: Mapping[str, Any]

    @property
    def hash_hex(self) -> str:
        """Its leaf hash."""
        return leaf_hash(self.data).hex()

    @property
    def slot_us(self) -> int | None:
        """The slot it is of; of a gap the first, of a batch the last; None where it has none."""
        name = {"record": "slot", "gap": "first_slot", "batch": "last_slot"}.get(self.kind)
        text = None if name is None else self.content.get(name)
        return int(text) if isinstance(text, str) and text.isdecimal() else None


@dataclass(frozen=True)
class Checkpoint:
    """The signed head that covers leaves, and who vouches for it as far as this collector knows."""

    size: int
    root: str  # base64
    note: str
    is_agent_signed: bool
    witness: str
    cosigned_s: int | None  # POSIX; None: not cosigned with the collector's key


@dataclass(frozen=True)
class Sum:
    """The energy of a span, computed from its records' raw words."""

    point: str
    basis: str
    energy_wh: float | None
    covered_us: int
    estimated_us: int
    missing_us: int
    first_seq: int  # the leaves it was computed from, the one before and the one after included
    last_seq: int


def leaf_of(data: bytes, seq: int) -> Leaf:
    """One leaf of the store."""
    content = parse_leaf(data)
    return Leaf(seq, str(content.get("type", "record")), data, content)


def lower_bound(store: EvidenceStore, head: Head, time_us: int) -> int:
    """The first leaf whose slot is not before the time, or the one after the last leaf."""
    low, high = 0, head.size
    while low < high:
        middle = (low + high) // 2
        found = next(_slots(store, head, middle, high), None)
        if found is None:  # no slots from the middle on
            high = middle
        elif found[1] < time_us:
            low = found[0] + 1
        else:
            high = middle
    return low


def _slots(store: EvidenceStore, head: Head, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Index and slot of the records and gaps from a leaf on."""
    width = 4
    while start < end:
        stop = min(start + width, end)
        for seq, data in present(store.parts(head.origin, start, stop), start):
            leaf = leaf_of(data, seq)
            if leaf.kind in {"record", "gap"} and leaf.slot_us is not None:
                yield seq, leaf.slot_us
        start, width = stop, _CHUNK


def span_of(store: EvidenceStore, head: Head, start_us: int, end_us: int) -> tuple[int, int]:
    """The leaves whose slots lie in [start, end): the first, and the one after the last."""
    first = lower_bound(store, head, start_us)
    return first, max(lower_bound(store, head, end_us), first)


def leaves_of(store: EvidenceStore, head: Head, start: int, end: int) -> list[Leaf]:
    """The leaves start .. end - 1 that are here."""
    rows = store.parts(head.origin, start, min(end, head.size))
    return [leaf_of(data, seq) for seq, data in present(rows, start)]


def checkpoint_over(
    store: EvidenceStore, head: Head, seq: int, witness: tuple[str, bytes]
) -> Checkpoint:
    """The checkpoint of the batch that holds the leaf: its envelope is the batch's last leaf.

    Args:
        store: the evidence.
        head: of the tree.
        seq: index of the leaf.
        witness: name and public key of the collector.

    Raises:
        EvidenceError: `bad_note` where the stored note is none.
    """
    size, start = head.size, seq
    stop = min(seq + MAX_LEAVES, head.size)
    for index, data in present(store.parts(head.origin, start, stop), start):
        if leaf_of(data, index).kind == "batch":
            size = index + 1
            break
    note = store.note_at(head.origin, size)
    if note is None:
        size, note = head.size, head.note
    checkpoint = parse_checkpoint(parse_note(note)[0])
    return Checkpoint(
        size=size,
        root=encode64(checkpoint.root),
        note=note,
        is_agent_signed=is_log_signed(note, head.key_at(size)),
        witness=witness[0],
        cosigned_s=cosigned_at(note, *witness),
    )


def gaps_in(
    store: EvidenceStore, head: Head, span: tuple[int, int]
) -> tuple[list[tuple[int, Gap]], bool]:
    """The gaps among the leaves of a span, with their place, and whether all were looked through.

    Args:
        store: the evidence.
        head: of the tree.
        span: first leaf, and the one after the last.
    """
    start, end = span[0], min(span[1], span[0] + MOST_GAP_LEAVES)
    found: list[tuple[int, Gap]] = []
    while start < end:
        stop = min(start + _CHUNK, end)
        for seq, data in present(store.parts(head.origin, start, stop), start):
            if b'"type":"gap"' in data:  # in JSON a text cannot hold these bytes
                content = parse_canonical(data)
                first, last = int(content["first_slot"]), int(content["last_slot"])
                gap = Gap(head.grant["dev"], first, last, int(content["slots"]), content["cause"])
                found.append((seq, gap))
        start = stop
    return found, end == span[1]


def sum_of(
    store: EvidenceStore, device: Device, point: str, basis: str, span_us: tuple[int, int]
) -> Sum | None:
    """What the records of a span give, decoded anew; None where they are too many to do so.

    Args:
        store: the evidence.
        device: with its head and profile.
        point: the counter, or the power.
        basis: `counter` or `held`.
        span_us: from, and before which. [us UTC]

    Raises:
        EvidenceError: a record's raw words do not give its values.
    """
    head = device.head
    first, after = span_of(store, head, *span_us)
    if after - first > MOST_SUMMED:
        return None
    if basis == "held":
        own_us = own_period_us(device.profile.point(point), device.period_us)
        around_us = 2 * longest_step_us(own_us)
        start, end = span_of(store, head, span_us[0] - around_us, span_us[1] + around_us)
    else:
        start, end = _anchored(store, device, point, first), _closed(store, device, point, after)
    if end - start > 2 * MOST_SUMMED:
        return None
    leaves = store.parts(head.origin, start, end)
    tree = parse_part(leaves, start, head.grant, head.operator_signature)
    check_decode(tree, device.profile)
    if basis == "held":
        sums = _held(tree, device, point, span_us)
    else:
        sums = _counted(tree, device, point, span_us)
    amount, covered_us, estimated_us, missing_us = sums
    energy_wh = amount if covered_us + estimated_us else None
    return Sum(
        point,
        basis,
        energy_wh,
        covered_us,
        estimated_us,
        missing_us,
        start,
        start + leaves_in(leaves) - 1,
    )


def _counted(
    tree: Tree, device: Device, point: str, span_us: tuple[int, int]
) -> tuple[float, int, int, int]:
    rows = part_of(tree, 0, device.profile, device.period_us, device.zone, Carry()).intervals
    mine = (rows.point == point) & (rows.start_us >= span_us[0]) & (rows.start_us < span_us[1])
    columns = (rows.amount, rows.covered_us, rows.estimated_us, rows.missing_us)
    amount, covered_us, estimated_us, missing_us = (int(column[mine].sum()) for column in columns)
    return float(amount), covered_us, estimated_us, missing_us


def implausible_in(
    store: EvidenceStore, device: Device, most: int
) -> tuple[list[Verdict], int, int | None]:
    """The checks that the last readings of a device fail, decoded anew: as an agent makes them.

    Args:
        store: the evidence.
        device: of one epoch.
        most: leaves that are looked at.

    Returns:
        what fails, how many readings were looked at, and when the last one was. [us UTC]
    """
    head = device.head
    start = max(head.size - most, 0)
    leaves = store.parts(head.origin, start, head.size)
    rows = parse_part(leaves, start, head.grant, head.operator_signature).records
    found: dict[str, Verdict] = {}
    windows = in_windows([row.t_utc_us / 1e6 for row in rows])
    for window in reversed(windows):
        samples = [
            sample_of(rows[i].t_utc_us / 1e6, *decode_responses(device.profile, rows[i].responses))
            for i in window
        ]
        found |= {verdict.name: verdict for verdict in failures(device.profile, samples)}
    looked_at = len({i for window in windows for i in window})
    return list(found.values()), looked_at, rows[-1].t_utc_us if rows else None


def counted_of(
    store: EvidenceStore, device: Device, span_us: tuple[int, int], most: int
) -> tuple[list[Counted], bool]:
    """Every counter of the device, followed over the records of a span from a count before it.

    Args:
        store: the evidence.
        device: of one epoch.
        span_us: from, and before which. [us UTC]
        most: leaves that are decoded; of more, the last.

    Returns:
        the counters, and whether the whole span was followed.

    Raises:
        EvidenceError: the records or documents cannot be read.
    """
    points = [point for point in device.profile.points if point.counter]
    if not points:
        return [], True
    head = device.head
    first, after = span_of(store, head, *span_us)
    earliest = max(after - most, 0)
    anchors = [_anchored(store, device, point.name, first, first - earliest) for point in points]
    start = max(min(anchors), earliest)
    leaves = store.parts(head.origin, start, min(after + _AHEAD, head.size))
    tree = parse_part(leaves, start, head.grant, head.operator_signature)
    found = history_of(tree, store.documents())
    counters = []
    for point in points:
        with suppress(MeasureError):  # out of range: no device counts that much
            counters.append(counted(found, point))
    return counters, start <= first


def clock_events_of(
    store: EvidenceStore, device: Device, span_us: tuple[int, int], most: int
) -> tuple[list[ClockEvent], bool]:
    """What the device's own times and the agent's clock did besides going on, in a span.

    Args:
        store: the evidence.
        device: of one epoch.
        span_us: from, and before which. [us UTC]
        most: leaves that are looked at; of more, the last.

    Returns:
        the events, and whether the whole span was looked at.

    Raises:
        EvidenceError: the records cannot be read.
    """
    head = device.head
    if head.grant["clock"] == SIMULATED and not states_time(device.profile):
        return [], True
    first, after = span_of(store, head, *span_us)
    start = max(first - _BACK, after - most, 0)
    leaves = store.parts(head.origin, start, after)
    tree = parse_part(leaves, start, head.grant, head.operator_signature)
    events = [*agent_clock_events(tree)]
    if states_time(device.profile):
        events += clock_events(tree, device.profile)
    return [one for one in events if span_us[0] <= one.slot_us < span_us[1]], start <= first


def _held(
    tree: Tree, device: Device, point: str, span_us: tuple[int, int]
) -> tuple[float, int, int, int]:
    names = {other.name for other in device.profile.points}
    points = [point, SAMPLED_AT] if SAMPLED_AT in names else [point]
    period_us = own_period_us(device.profile.point(point), device.period_us)
    samples = of_records(tree.records, points, period_us, slow_us=slow_gauges_us(device.profile))
    windows = held(samples, point, np.array(span_us, np.int64))
    return float(windows.amount[0]), int(windows.covered_us[0]), 0, int(windows.missing_us[0])


def _anchored(
    store: EvidenceStore, device: Device, point: str, first: int, most: int = MOST_SUMMED
) -> int:
    """A leaf before the first at which the counter had counted: there the first step begins."""
    start = first
    while start > 0 and first - start < most:
        stop, start = start, max(start - _BACK, 0)
        if any(_has_counted(leaf, point) for leaf in leaves_of(store, device.head, start, stop)):
            break
    return start


def _closed(store: EvidenceStore, device: Device, point: str, after: int) -> int:
    """After the second leaf at which the counter counted again: so the last step is certain."""
    end, counted = after, 0
    while end < device.head.size and end - after < MOST_SUMMED:
        stop = min(end + _BACK, device.head.size)
        for leaf in leaves_of(store, device.head, end, stop):
            counted += _has_counted(leaf, point)
            if counted == 2:
                return leaf.seq + 1
        end = stop
    return end


def _has_counted(leaf: Leaf, point: str) -> bool:
    if leaf.kind != "record" or point in leaf.content["q"]:
        return False
    text = leaf.content["val"].get(point, "0")
    return isinstance(text, str) and text.strip("-0.") != ""


def proof_of(
    store: EvidenceStore, head: Head, seq: int, witness: tuple[str, bytes]
) -> dict[str, Any]:
    """What a stranger needs to check that a leaf stands under a cosigned checkpoint.

    Raises:
        EvidenceError: `tree_too_long` where the tree is too long for one request, `withheld` where
            the leaf is not here.
    """
    checkpoint = checkpoint_over(store, head, seq, witness)
    if checkpoint.size > MOST_HASHED:
        raise EvidenceError(
            f"The tree has {checkpoint.size} leaves; a proof is computed over {MOST_HASHED}.",
            "Take the bundle of a report instead: it proves every leaf at once.",
            code="tree_too_long",
        )
    [data] = store.leaves(head.origin, seq, seq + 1)
    nodes = [
        node
        for batch in store.batches(head.origin)
        if batch.size <= checkpoint.size
        for node in nodes_of(store.parts(head.origin, batch.first_seq, batch.size), batch.first_seq)
    ]
    if len(nodes) == checkpoint.size:
        path = inclusion_path([node for _, node in nodes], seq)
    else:
        path = path_over(nodes, checkpoint.size, seq)
    return {
        "format": PROOF_FORMAT,
        "origin": head.origin,
        "leaf_index": seq,
        "tree_size": checkpoint.size,
        "leaf": data.decode(),
        "leaf_sha256": leaf_hash(data).hex(),
        "path_sha256": [node.hex() for node in path],
        "root_base64": checkpoint.root,
        "checkpoint": checkpoint.note,
        "agent_key": encode64(head.key_at(checkpoint.size)),
        "witness": {"name": witness[0], "key": encode64(witness[1])},
        "how": (
            "leaf_sha256 = SHA-256(0x00 || leaf). Going up, SHA-256(0x01 || left || right), gives "
            "the root (RFC 9162, section 2.1.3.2). The checkpoint (C2SP tlog-checkpoint) holds "
            "origin, size and this root, signed by the agent's key and cosigned by the witness "
            "(C2SP tlog-cosignature). Take both keys from somewhere else than this answer."
        ),
    }
