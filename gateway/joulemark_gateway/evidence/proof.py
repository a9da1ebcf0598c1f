"""Proof that a leaf stands in a tree: the hashes beside its way up to the root. Pure.

Source: RFC 6962 section 2.1.1 (Merkle audit paths); checking after RFC 9162 section 2.1.3.2.
"""

from __future__ import annotations

from collections.abc import Sequence

from joulemark_agent.contract.tree import leaf_hash, node_hash


def inclusion_path(hashes: Sequence[bytes], index: int) -> list[bytes]:
    """The audit path of one leaf, the lowest hash first.

    Args:
        hashes: the leaf hashes of the whole tree, 32 bytes each.
        index: of the leaf.
    """
    if not 0 <= index < len(hashes):
        raise ValueError(f"there is no leaf {index} in a tree of {len(hashes)}")
    path: list[bytes] = []
    level = list(hashes)
    while len(level) > 1:
        beside = index ^ 1
        if beside < len(level):
            path.append(level[beside])
        pairs = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = pairs + level[len(pairs) * 2 :]  # an odd last node moves up as it is
        index //= 2
    return path


def root_of_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root of the tree of that size in which the path puts the leaf; None: it fits no tree.

    Args:
        leaf: its bytes.
        index: where it stands.
        size: of the tree.
        path: from `inclusion_path`.
    """
    if not 0 <= index < size:
        return None
    node, place, last = leaf_hash(leaf), index, size - 1
    for beside in path:
        if last == 0:
            return None
        if place & 1 or place == last:
            node = node_hash(beside, node)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            node = node_hash(node, beside)
        place, last = place >> 1, last >> 1
    return node if last == 0 else None
