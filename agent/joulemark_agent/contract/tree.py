"""RFC 6962 Merkle tree hashing over the leaves of one (device, epoch).

Source: RFC 6962 section 2.1 (domain separation 0x00 for leaves, 0x01 for nodes).

A run of leaves that is not at hand is stood for by its cover: the roots of the largest perfect
subtrees that lie in it whole. Whoever has the edge before the run gets the edge after it, and so
the root, from these few hashes: the consistency proof of RFC 6962 in the form an appender needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()
_LEAF, _NODE = b"\x00", b"\x01"


@dataclass(frozen=True)
class Edge:
    """The right edge of a tree: its size and the roots of its perfect subtrees, largest first.

    All that is needed to append a leaf or to state the root, in O(log n) hashes.
    """

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def to_bytes(self) -> bytes:
        """The hashes in one string, for a store; the size is kept beside it."""
        return b"".join(self.hashes)

    @staticmethod
    def from_bytes(size: int, data: bytes) -> Edge:
        """The edge kept by `to_bytes`.

        Raises:
            ValueError: the number of hashes does not belong to this size.
        """
        if size < 0 or len(data) != size.bit_count() * HASH_BYTES:
            raise ValueError(f"{len(data)} bytes are not the edge of a tree of {size} leaves")
        parts = tuple(data[i : i + HASH_BYTES] for i in range(0, len(data), HASH_BYTES))
        return Edge(size, parts)


def leaf_hash(leaf: bytes) -> bytes:
    """SHA-256(0x00 || leaf)."""
    return sha256(_LEAF + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return sha256(_NODE + left + right).digest()


def append(edge: Edge, leaves: Iterable[bytes]) -> Edge:
    """The edge after the leaves (their bytes, not their hashes) were added in order."""
    size, hashes = edge.size, list(edge.hashes)
    for leaf in leaves:  # `leaf_hash` and `node_hash` written out: their calls are a sixth of it
        node = sha256(_LEAF + leaf).digest()
        trailing = size
        while trailing & 1:
            node = sha256(_NODE + hashes.pop() + node).digest()
            trailing >>= 1
        hashes.append(node)
        size += 1
    return Edge(size, tuple(hashes))


def cover_sizes(first: int, count: int) -> list[int]:
    """How many leaves each subtree of the cover of leaves first .. first + count - 1 has."""
    sizes = []
    while count:
        largest = 1 << (count.bit_length() - 1)
        size = min(first & -first, largest) if first else largest
        sizes.append(size)
        first, count = first + size, count - size
    return sizes


def cover(leaf_hashes: Sequence[bytes], first: int) -> list[bytes]:
    """The roots of the subtrees that cover a run of leaves, left to right.

    Args:
        leaf_hashes: of the run, 32 bytes each.
        first: index of its first leaf.
    """
    found, at = [], 0
    for size in cover_sizes(first, len(leaf_hashes)):
        level = list(leaf_hashes[at : at + size])
        while len(level) > 1:
            level = [node_hash(level[i], level[i + 1]) for i in range(0, len(level), 2)]
        found.append(level[0])
        at += size
    return found


def append_covered(edge: Edge, count: int, hashes: Sequence[bytes]) -> Edge:
    """The edge after `count` leaves were added of which only the cover is known.

    Raises:
        ValueError: the cover of so many leaves after this edge has another number of hashes.
    """
    sizes = cover_sizes(edge.size, count)
    if count < 1 or len(hashes) != len(sizes):
        wanted = f"{len(sizes)} hashes, not {len(hashes)}"
        raise ValueError(f"{count} leaves after {edge.size} are covered by {wanted}")
    total, stack = edge.size, list(edge.hashes)
    for size, node in zip(sizes, hashes, strict=True):
        merged, width = node, size
        while total & width:
            merged = node_hash(stack.pop(), merged)
            width <<= 1
        stack.append(merged)
        total += size
    return Edge(total, tuple(stack))


def root(edge: Edge) -> bytes:
    """The tree's root hash (32 bytes); SHA-256 of nothing for the empty tree."""
    if not edge.hashes:
        return EMPTY_ROOT
    node = edge.hashes[-1]
    for left in reversed(edge.hashes[:-1]):
        node = node_hash(left, node)
    return node
