"""The account of a device's slots for a window, read from its evidence, over all its epochs."""

from __future__ import annotations

from itertools import pairwise

from joulemark_agent.contract.sparse import present
from joulemark_gateway.api.plant import Device
from joulemark_gateway.api.records import span_of
from joulemark_gateway.evidence.base import EvidenceStore, Head
from joulemark_gateway.evidence.history import parse_part
from joulemark_gateway.evidence.slots import Account, Held, of_epochs, total
from joulemark_gateway.evidence.withheld import UNKNOWN_SLOT

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US  # so much is held in memory at a time
_CHUNK = 512
_ENVELOPE, _EVENT, _GAP = b'"type":"batch"', b'"type":"', b'"type":"gap"'


def windows_of(span_us: tuple[int, int], step_us: int) -> list[tuple[int, int]]:
    """The span cut at the multiples of a step since 1970. [us UTC]"""
    first_us, end_us = span_us
    cuts = range(first_us // step_us * step_us + step_us, end_us, step_us)
    return list(pairwise((first_us, *cuts, end_us)))


def slots_of(
    store: EvidenceStore, device: Device, window_us: tuple[int, int], now_us: int
) -> Account:
    """The account of one window.

    Args:
        store: the evidence.
        device: in its latest epoch, with those before.
        window_us: its start, and the first instant after it. [us UTC]
        now_us: wall time: later slots are not due yet. [us UTC]

    Raises:
        EvidenceError: the leaves cannot be read.
    """
    found = [Account(*window_us)]
    epochs = device.epochs[::-1]
    for piece_us in windows_of(window_us, DAY_US):
        held = [
            _held(store, one, before, piece_us, now_us if one is device else None)
            for before, one in pairwise((None, *epochs))
            if one is not None
        ]
        found.append(of_epochs(held, *piece_us))
    return total(found)


def _held(
    store: EvidenceStore,
    device: Device,
    before: Device | None,
    window_us: tuple[int, int],
    until_us: int | None,
) -> Held:
    """Whole batches from before the window to after it: a gap that reaches into it is seen."""
    head = device.head
    first, after = span_of(store, head, *window_us)
    start, end = _begin(store, head, first), _end(store, head, after)
    parts = store.parts(head.origin, start, end)
    tree = parse_part(parts, start, head.grant, head.operator_signature)
    points = [point.name for point in device.profile.points]
    due_us = None if start else _first_due_us(device, before)
    until_us = None if device.is_simulated else until_us
    return Held(tree, device.slot_period_us, points, due_us, until_us)


def _first_due_us(device: Device, before: Device | None) -> int | None:
    """The slot that had to come first in an epoch; None: the first that did. [us UTC]"""
    named, period_us = device.head.grant["first_slot"], device.slot_period_us
    if named is not None:
        return int(named)
    next_us = None if before is None else before.head.next_slot_us
    if before is None or before.is_simulated or next_us in {None, UNKNOWN_SLOT}:
        return None
    return (next_us - before.slot_period_us) // period_us * period_us + period_us


def _begin(store: EvidenceStore, head: Head, first: int) -> int:
    """The first leaf of a batch that has a slot before leaf `first`; 0: there is none."""
    has_slot, stop = False, first
    while stop > 0:
        start = max(stop - _CHUNK, 0)
        for seq, data in reversed([*present(store.parts(head.origin, start, stop), start)]):
            if has_slot and _ENVELOPE in data:
                return seq + 1
            has_slot = has_slot or _EVENT not in data or _GAP in data
        stop = start
    return 0


def _end(store: EvidenceStore, head: Head, after: int) -> int:
    """The leaf after the batch that holds leaf `after`."""
    start = after
    while start < head.size:
        stop = min(start + _CHUNK, head.size)
        for seq, data in present(store.parts(head.origin, start, stop), start):
            if _ENVELOPE in data:
                return seq + 1
        start = stop
    return head.size
