"""Batches that came before the one they follow, where several collectors share what arrives.

The broker gives the messages of one agent to all collectors in turn, so the batch before may be
under way at another one. It is worth a short wait: when the tree has grown to where the batch
starts it is judged as any other; when it has not in time, the agent is told of the hole, as by a
collector that is alone, and sends again from there. A message that waits is not acknowledged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

WAIT_S = 2.0  # an agent sends again by itself after 5 s
LOOK_S = 0.01  # between two looks at how far the trees have grown
MOST = 256  # half of what the broker gives before it waits for acknowledgements

Item = TypeVar("Item")


@dataclass(frozen=True)
class Early:
    """What is said of such a batch: of which tree it is, and where it starts."""

    origin: str
    first_seq: int


@dataclass(frozen=True)
class _Waiting(Generic[Item]):
    early: Early
    owner: str
    item: Item
    until_s: float


class EarlyBatches(Generic[Item]):
    """Those that wait; at most `share` of each owner, and `most` of all together."""

    def __init__(self, share: int, most: int = MOST) -> None:
        """Nobody waits.

        Args:
            share: how many of one owner may wait.
            most: how many may wait: the broker gives nothing more, not even what they wait for,
                to whom acknowledges nothing.
        """
        self._share, self._most = share, most
        self._waiting: list[_Waiting[Item]] = []
        self._looked_s = float("-inf")

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def put(self, owner: str, item: Item, early: Early, now_s: float) -> bool:
        """Whether it may wait; False where its owner's share is full, or all room is taken."""
        if len(self._waiting) >= self._most:
            return False
        if Counter(one.owner for one in self._waiting)[owner] >= self._share:
            return False
        self._waiting.append(_Waiting(early, owner, item, now_s + WAIT_S))
        return True

    def is_time(self, now_s: float) -> bool:
        """Whether to look again how far the trees of `origins` have grown."""
        if not self._waiting or now_s < self._looked_s + LOOK_S:
            return False
        self._looked_s = now_s
        return True

    @property
    def origins(self) -> set[str]:
        """The trees of which batches wait."""
        return {one.early.origin for one in self._waiting}

    def due(self, sizes: Mapping[str, int], now_s: float) -> Iterator[tuple[str, Item]]:
        """Take out whose tree has grown to their place, by place, and who has waited too long.

        Args:
            sizes: of the trees, as held now; missing where nothing is held.
            now_s: monotonic.
        """
        found: list[_Waiting[Item]] = []
        left: list[_Waiting[Item]] = []
        for one in self._waiting:
            is_there = one.early.first_seq <= sizes.get(one.early.origin, 0)
            (found if is_there or now_s >= one.until_s else left).append(one)
        self._waiting = left
        found.sort(key=lambda one: (one.early.origin, one.early.first_seq))
        yield from ((one.owner, one.item) for one in found)
