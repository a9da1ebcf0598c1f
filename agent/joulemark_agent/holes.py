"""Which devices of a line may have lost values between two slots: those whose subscription ended.

What was polled has lost nothing when a connection ended between two slots. A subscription has: its
next slot is a gap, once, unless a slot was a gap for another reason in the meantime.
"""

from __future__ import annotations

from collections.abc import Iterable

from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.plan import PlannedDevice

LOST = "subscription_lost"  # cause of the gap


class Holes:
    """What is known of the devices of one line."""

    def __init__(self, lost: Iterable[str] = ()) -> None:
        self._followed: set[str] = set()  # read by subscription on the present connection
        self._lost = set(lost)  # so read on one that is gone, and not yet told

    @property
    def untold(self) -> set[str]:
        """The devices that have a hole when the present connection ends now."""
        return self._followed | self._lost

    def note_reading(self, device: PlannedDevice) -> None:
        """The device was read."""
        if any(request.subscribe is not None for request in device.requests):
            self._followed.add(device.id)

    def note_gap(self, device: PlannedDevice) -> None:
        """The device has a gap at this slot: that tells of the hole."""
        self._followed.discard(device.id)
        self._lost.discard(device.id)

    def note_connection(self) -> None:
        """The connection is another one."""
        self._lost |= self._followed
        self._followed.clear()

    def check(self, device: PlannedDevice) -> None:
        """Raise once for a device that was followed on a connection that is gone."""
        if device.id in self._lost:
            raise DeviceError(
                f"The connection of {device.id} ended, and its subscription with it.",
                "It is made again; this slot is a gap, since values before it may be missing.",
                code=LOST,
            )
