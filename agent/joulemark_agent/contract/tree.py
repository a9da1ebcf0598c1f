"""RFC 6962 Merkle tree hashing over the leaves of one (device, epoch).

Source: RFC 6962 section 2.1 (domain separation 0x00 for leaves, 0x01 for nodes).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()


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
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def append(edge: Edge, leaves: Iterable[bytes]) -> Edge:
    """The edge after the leaves (their bytes, not their hashes) were added in order."""
    size, hashes = edge.size, list(edge.hashes)
    for leaf in leaves:
        node = leaf_hash(leaf)
        trailing = size
        while trailing & 1:
            node = node_hash(hashes.pop(), node)
            trailing >>= 1
        hashes.append(node)
        size += 1
    return Edge(size, tuple(hashes))


def root(edge: Edge) -> bytes:
    """The tree's root hash (32 bytes); SHA-256 of nothing for the empty tree."""
    if not edge.hashes:
        return EMPTY_ROOT
    node = edge.hashes[-1]
    for left in reversed(edge.hashes[:-1]):
        node = node_hash(left, node)
    return node
