"""Which newest batches go ahead of a backlog, and when: a few at a time, every device in its turn.

A site of hundreds of devices with a backlog closes hundreds of batches at once. All of them sent
ahead would fill the collector's share for this agent, and the backlog itself would be turned away.
Pure.
"""

from __future__ import annotations

from joulemark_agent.outbox import Sealed

AT_ONCE = 16
PAUSE_S = 1.0  # then as many more; what a new batch of the device replaces is never sent

Place = tuple[str, int]  # device, epoch


class Ahead:
    """The newest batch of each device that was not shown yet."""

    def __init__(self) -> None:
        self._newest: dict[Place, Sealed] = {}  # whose turn it is comes first
        self._not_before_s = 0.0

    def put(self, batch: Sealed) -> None:
        """Show this instead of what waits of the device."""
        self._newest[batch.device, batch.epoch] = batch

    def due(self, now_s: float) -> list[Sealed]:
        """What may be looked at now, AT_ONCE at the most; it waits no more."""
        if now_s < self._not_before_s or not self._newest:
            return []
        self._not_before_s = now_s + PAUSE_S
        return [self._newest.pop(place) for place in list(self._newest)[:AT_ONCE]]

    @property
    def next_s(self) -> float | None:
        """When `due` has something; None: nothing waits."""
        return self._not_before_s if self._newest else None
