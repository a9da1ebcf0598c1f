"""Changes of the agent's key for the pure builder of evidence."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from joulemark_agent.contract.rotation import KEY_ROTATION, rotation_fields
from support.evidence import KEYS, SITE, Groups, Leaf

OLD = KEYS.agent
NEW, THIRD = (hashlib.sha256(f"{name} agent key".encode()).digest() for name in ("new", "third"))


def rotation_leaf(
    device: str, seq: int, old: bytes = OLD, new: bytes = NEW, *, epoch: int = 1
) -> Leaf:
    """The content of the leaf that both keys sign for this place."""
    fields = rotation_fields(old, new, site=SITE, device=device, epoch=epoch, seq=seq)
    return {"type": KEY_ROTATION, **fields}


def seq_of_end(groups: Groups, at: int) -> int:
    """Where a leaf would stand that is added to the leaves of a batch, before its envelope."""
    return sum(len(group) + 1 for group in groups[:at]) + len(groups[at])


def rotated(
    groups: Groups, device: str, at: int, old: bytes = OLD, new: bytes = NEW, *, epoch: int = 1
) -> Groups:
    """The leaves with a change of key at the end of batch `at`."""
    seq = seq_of_end(groups, at)
    leaf = rotation_leaf(device, seq, old, new, epoch=epoch)
    return [[*group, leaf] if index == at else group for index, group in enumerate(groups)]


def signed_from(*changes: tuple[int, bytes], first: bytes = OLD) -> Callable[[int], bytes]:
    """Which key signs the batch of an index: the last one that was changed to."""

    def signer(index: int) -> bytes:
        return [first, *(key for at, key in changes if at <= index)][-1]

    return signer


def rotated_often(
    groups: Groups, device: str, changes: Sequence[tuple[int, bytes]], *, epoch: int = 1
) -> Groups:
    """The leaves with several changes of key, one after the other."""
    keys = [OLD, *(key for _, key in changes)]
    for (at, new), old in zip(changes, keys, strict=False):
        groups = rotated(groups, device, at, old, new, epoch=epoch)
    return groups
