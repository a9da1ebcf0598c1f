"""Which newest batches go ahead of a backlog, and when: a few at a time, every device in its turn.

A site of hundreds of devices with a backlog closes hundreds of batches at once. All of them sent
ahead would fill the collector's share for this agent, which serves what is live and what is not in
turn. So a few go once a second, and more where receipts show that it keeps up with more. Pure.
"""

from __future__ import annotations

from collections.abc import Callable

from joulemark_agent.outbox import Sealed

AT_ONCE = 16
PAUSE_S = 1.0  # or as many receipts; what a new batch of the device replaces is never sent

Place = tuple[str, int]  # device, epoch


class Ahead:
    """The newest batch of each device that was not shown yet."""

    def __init__(self) -> None:
        self._newest: dict[Place, Sealed] = {}  # whose turn it is comes first
        self._not_before_s = 0.0
        self._confirmed = 0  # batches of the backlog, since the last were shown

    def put(self, batch: Sealed) -> None:
        """Show this instead of what waits of the device."""
        self._newest[batch.place] = batch

    def confirmed(self, batches: int) -> None:
        """So many of the backlog have their receipt."""
        self._confirmed += batches

    def due(self, now_s: float, is_ahead: Callable[[Sealed], bool]) -> list[Sealed]:
        """What is to be shown now, AT_ONCE at the most; it waits no more."""
        if now_s < self._not_before_s and self._confirmed < AT_ONCE:
            return []
        found: list[Sealed] = []
        for place in list(self._newest):
            if len(found) == AT_ONCE:
                break
            batch = self._newest.pop(place)
            if is_ahead(batch):
                found.append(batch)
        if found:
            self._not_before_s, self._confirmed = now_s + PAUSE_S, 0
        return found

    @property
    def next_s(self) -> float | None:
        """When `due` has something; None: nothing waits."""
        return self._not_before_s if self._newest else None
