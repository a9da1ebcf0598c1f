"""Which batches of a tree hold the records of a time, and which of these are not here."""

from __future__ import annotations

from collections.abc import Sequence

from joulemark_agent.contract.batch import parse_u64
from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.sparse import Part, Withheld
from joulemark_gateway.evidence.base import EvidenceStore, StoredBatch


def batches_between(
    store: EvidenceStore, origin: str, from_us: int, to_us: int
) -> list[StoredBatch]:
    """The batches with slots in [from, to); a lost one counts where its neighbours do. [us UTC]"""
    batches = store.batches(origin)
    start = _first_after(store, origin, batches, from_us)
    return batches[start : _first_begun(store, origin, batches, start, to_us)]


def missing_in(store: EvidenceStore, origin: str, batches: Sequence[StoredBatch]) -> int:
    """How many leaves of these batches are known by their covers only."""
    return sum(
        part.count
        for batch in batches
        for part in store.parts(origin, batch.first_seq, batch.size)
        if isinstance(part, Withheld)
    )


def _first_after(
    store: EvidenceStore, origin: str, batches: Sequence[StoredBatch], from_us: int
) -> int:
    """The first batch whose last slot is not before an instant."""
    low, high = 0, len(batches)
    while low < high:
        middle = at = (low + high) // 2
        slots = None
        while at < high and slots is None:
            slots, at = _slots(store, origin, batches[at]), at + 1
        if slots is None or slots[1] >= from_us:
            high = middle
        else:
            low = at
    return low


def _first_begun(
    store: EvidenceStore, origin: str, batches: Sequence[StoredBatch], start: int, to_us: int
) -> int:
    """The first batch after some that begins at an instant or later."""
    for at in range(start, len(batches)):
        slots = _slots(store, origin, batches[at])
        if slots is not None and slots[0] >= to_us:
            return at
    return len(batches)


def _slots(store: EvidenceStore, origin: str, batch: StoredBatch) -> tuple[int, int] | None:
    """First and last slot of a batch, as its envelope says; None: it has none, or was lost."""
    last: Part = store.parts(origin, batch.size - 1, batch.size)[0]
    if isinstance(last, Withheld):
        return None
    content = parse_canonical(last)
    try:
        return (
            parse_u64(content.get("first_slot"), "first_slot"),
            parse_u64(content.get("last_slot"), "last_slot"),
        )
    except EvidenceError:
        return None
