"""Up to where a key that is no longer trusted may have signed: a size of each tree, not a time.

A time of signing is the word of whoever holds the key; a size is what others hold already. A key
that is revoked anywhere is trusted nowhere else: of a tree that is not named it signs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from joulemark_agent.contract.signature import fingerprint


@dataclass(frozen=True)
class Revoked:
    """One key in one tree: heads above this size are not this key's to sign."""

    key: bytes  # public, 32 bytes
    origin: str
    size: int


def limit_of(revoked: Iterable[Revoked], key: bytes, origin: str) -> int | None:
    """The largest head of a tree that the key may have signed; None: it is not revoked."""
    mine = [item for item in revoked if item.key == key]
    if not mine:
        return None
    return min((item.size for item in mine if item.origin == origin), default=0)


def objection(revoked: Iterable[Revoked], key: bytes, origin: str, size: int) -> str | None:
    """What is to be said against a head of this size that the key signed; None: nothing."""
    limit = limit_of(revoked, key, origin)
    if limit is None or size <= limit:
        return None
    return (
        f"the key {fingerprint(key)} is revoked in {origin} above {limit} leaves, and it signed"
        f" the head of {size}"
    )
