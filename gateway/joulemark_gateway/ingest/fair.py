"""A queue in which every owner has a share of its own, served in turn.

One agent that floods fills its own share; what does not fit is refused to it alone, and between two
of its messages every other agent's next one is served.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """Round robin over owners; at most `share` items of each wait."""

    def __init__(self, share: int) -> None:
        """Empty.

        Args:
            share: how many items of one owner may wait.
        """
        self._share = share
        self._waiting: OrderedDict[str, deque[Item]] = OrderedDict()
        self._changed = threading.Condition()

    def put(self, owner: str, item: Item) -> bool:
        """Whether the item was taken; False where the owner's share is full."""
        with self._changed:
            items = self._waiting.setdefault(owner, deque())
            if len(items) >= self._share:
                return False
            items.append(item)
            self._changed.notify()
            return True

    def get(self, timeout_s: float) -> tuple[str, Item, bool] | None:
        """The next owner's oldest item and whether it was its last; None if none came in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._waiting, timeout_s):
                return None
            owner, items = self._waiting.popitem(last=False)
            item = items.popleft()
            if items:
                self._waiting[owner] = items
            return owner, item, not items

    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting
