"""Batches of which leaves stay away: how they compare with what is held. Pure.

In committed mode records stay at the gateway, see `evidence.withheld`. A batch of which no leaf is
left was lost by a disk: its covers keep the tree whole, it is flagged `lost`, and the agent must
explain it by a `discontinuity` leaf. It may stand for several batches, some of them held already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from joulemark_agent.contract.batch import Batch
from joulemark_agent.contract.sparse import (
    Part,
    SparseBatch,
    Withheld,
    between,
    is_same_tree,
    leaves_in,
)

LOST = "lost"  # flag of a batch of which no leaf is left

AnyBatch = Batch | SparseBatch


def parts_of(batch: AnyBatch) -> tuple[Part, ...]:
    """The leaves of a batch, and runs of those that stay away."""
    return batch.parts if isinstance(batch, SparseBatch) else batch.leaves


def is_lost(batch: AnyBatch) -> bool:
    """Whether no leaf of the batch is left."""
    return all(isinstance(part, Withheld) for part in parts_of(batch))


def agree(sent: Sequence[Part], held: Sequence[Part], first_seq: int) -> bool:
    """Whether what was sent is what is held, as far as that goes, each with covers where it likes.

    A run that was cut shows nothing: then the signed heads must tell.
    """
    sent = between(sent, first_seq, first_seq, first_seq + leaves_in(held))
    if list(sent) == list(held):
        return True
    runs = [part for part in (*sent, *held) if isinstance(part, Withheld)]
    if not runs:
        return False
    return not all(run.hashes for run in runs) or is_same_tree(sent, held, first_seq)


def beyond(batch: AnyBatch, held: Sequence[Part], size: int) -> SparseBatch | None:
    """What a lost batch adds to a tree of this size that holds its beginning; None: no such thing.

    Args:
        batch: as it was sent.
        held: what is held from its first leaf on.
        size: of the tree.
    """
    if not isinstance(batch, SparseBatch) or not batch.first_seq < size < batch.size:
        return None
    rest = between(batch.parts, batch.first_seq, size, batch.size)
    is_cut = any(isinstance(part, Withheld) and not part.hashes for part in rest)
    if not is_lost(batch) or is_cut or not agree(batch.parts, held, batch.first_seq):
        return None
    return replace(batch, first_seq=size, parts=tuple(rest))
