"""Proof that a leaf stands in a tree, and that a tree goes on from a smaller one. Pure.

Sources: RFC 6962 sections 2.1.1 (audit paths) and 2.1.2 (consistency proofs); checking after RFC
9162 sections 2.1.3.2 and 2.1.4.2.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from joulemark_agent.contract.sparse import Part, Withheld, numbered
from joulemark_agent.contract.tree import EMPTY_ROOT, cover_sizes, leaf_hash, node_hash

Node = tuple[int, bytes]  # the first leaf of a whole subtree, and its root


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
        level = _level_above(level)
        index //= 2
    return path


def nodes_of(parts: Sequence[Part], first_seq: int) -> list[Node]:
    """The leaf hashes of the leaves that are here, and the covers of the others, left to right."""
    nodes: list[Node] = []
    for seq, part in numbered(parts, first_seq):
        if isinstance(part, Withheld):
            starts = accumulate(cover_sizes(seq, part.count), initial=seq)
            nodes += zip(starts, part.hashes, strict=False)
        else:
            nodes.append((seq, leaf_hash(part)))
    return nodes


def path_over(nodes: Sequence[Node], size: int, index: int) -> list[bytes]:
    """The audit path of one leaf where others are known by their covers only.

    No hash beside the way of a leaf lies inside a cover's subtree: the leaf would lie in it, too.

    Args:
        nodes: of the whole tree.
        size: of the tree.
        index: of a leaf that is here.
    """
    starts = [start for start, _ in nodes]

    def root_over(low: int, high: int) -> bytes:
        at = bisect_left(starts, low)
        if at + 1 == len(starts) or starts[at + 1] >= high:
            return nodes[at][1]
        middle = low + _left_of(high - low)
        return node_hash(root_over(low, middle), root_over(middle, high))

    path: list[bytes] = []
    low, high = 0, size
    while high - low > 1:
        middle = low + _left_of(high - low)
        is_left = index < middle
        path.append(root_over(middle, high) if is_left else root_over(low, middle))
        low, high = (low, middle) if is_left else (middle, high)
    return path[::-1]


@dataclass(frozen=True)
class Joined:
    """One step up a tree: what stands beside the node, on which side, and what the two give."""

    is_left: bool  # the neighbour
    beside: bytes
    node: bytes


def joined_up(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> list[Joined] | None:
    """From the leaf up, neighbour by neighbour; None: the path fits no tree of that size.

    Args:
        leaf: its bytes.
        index: where it stands.
        size: of the tree.
        path: from `inclusion_path`.

    Source: RFC 9162, section 2.1.3.2.
    """
    if not 0 <= index < size:
        return None
    node, place, last = leaf_hash(leaf), index, size - 1
    found = []
    for beside in path:
        if last == 0:
            return None
        is_left = bool(place & 1) or place == last
        if is_left:
            node = node_hash(beside, node)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            node = node_hash(node, beside)
        place, last = place >> 1, last >> 1
        found.append(Joined(is_left, beside, node))
    return found if last == 0 else None


def root_of_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root of the tree of that size in which the path puts the leaf; None: it fits no tree.

    Args: as of `joined_up`.
    """
    steps = joined_up(leaf, index, size, path)
    if steps is None:
        return None
    return steps[-1].node if steps else leaf_hash(leaf)


def consistency_path(hashes: Sequence[bytes], old: int) -> list[bytes]:
    """The proof that the tree of all these leaves goes on from that of the first `old` ones.

    Args:
        hashes: the leaf hashes of the whole tree, 32 bytes each.
        old: size of the smaller tree, at least 1.
    """
    if not 1 <= old <= len(hashes):
        raise ValueError(f"there is no tree of {old} leaves in one of {len(hashes)}")
    return _subproof(old, hashes, is_known=True)


def is_consistent(old: int, old_root: bytes, size: int, root: bytes, path: Sequence[bytes]) -> bool:
    """Whether the path proves that the tree of `size` leaves goes on from that of `old` leaves.

    Every tree goes on from the empty one: its path is empty and proves nothing.
    """
    if old == size:
        return not path and old_root == root
    if old == 0 < size:
        return not path and old_root == EMPTY_ROOT
    if not 0 < old < size or not path:
        return False
    first, last = old - 1, size - 1
    while first & 1:
        first, last = first >> 1, last >> 1
    rest = list(path)
    seed = rest.pop(0) if first else old_root  # a whole subtree of the larger tree needs no proof
    older = newer = seed
    for node in rest:
        if last == 0:
            return False
        if first & 1 or first == last:
            older, newer = node_hash(node, older), node_hash(node, newer)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            newer = node_hash(newer, node)
        first, last = first >> 1, last >> 1
    return last == 0 and (older, newer) == (old_root, root)


def _subproof(old: int, hashes: Sequence[bytes], *, is_known: bool) -> list[bytes]:
    """SUBPROOF of RFC 6962; `is_known`: who checks has the root of the first `old` leaves."""
    if old == len(hashes):
        return [] if is_known else [_root_of(hashes)]
    cut = _left_of(len(hashes))
    if old <= cut:
        return [*_subproof(old, hashes[:cut], is_known=is_known), _root_of(hashes[cut:])]
    return [*_subproof(old - cut, hashes[cut:], is_known=False), _root_of(hashes[:cut])]


def _left_of(size: int) -> int:
    """How many of so many leaves stand left: the largest power of two that is less."""
    return 1 << (size - 1).bit_length() - 1


def _root_of(hashes: Sequence[bytes]) -> bytes:
    level = list(hashes)
    while len(level) > 1:
        level = _level_above(level)
    return level[0]


def _level_above(level: Sequence[bytes]) -> list[bytes]:
    pairs = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
    return [*pairs, *level[len(pairs) * 2 :]]  # an odd last node moves up as it is
