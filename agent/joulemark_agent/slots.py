"""Which slot of which device comes next, and how far all of them are accounted for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from joulemark_agent.clock import Clock, next_slot_us
from joulemark_agent.contract.reading import patience_us
from joulemark_agent.plan import PlannedDevice
from joulemark_agent.room import thinned_us

_Progress = tuple[int | None, int | None, int, int | None]


class Slots:
    """The devices of one agent: the last slot of each that was read, and the next."""

    def __init__(
        self,
        clock: Clock,
        devices: Iterable[PlannedDevice],
        committed_us: Callable[[str], int | None],
        *,
        is_replay: bool,
    ) -> None:
        """Every device goes on after what is committed.

        Args:
            clock: tells slots and times.
            devices: who they are.
            committed_us: the last slot of a device that is on disk. [us UTC]
            is_replay: whether the slots wait for us: then none passes.
        """
        self._clock, self._committed_of, self._is_replay = clock, committed_us, is_replay
        self.done_us: dict[str, int | None] = {}  # the last slot that was read
        self.change(devices, ())

    def change(self, devices: Iterable[PlannedDevice], same: Collection[str]) -> None:
        """Have these devices from now on; those that are the same go on where they are."""
        planned = tuple(devices)
        self.period_us = {device.id: device.period_us for device in planned}
        self._windows = {device.id: (device.first_us, device.last_us) for device in planned}
        self.done_us = {
            name: self.done_us[name] if name in same else self._committed_of(name)
            for name in self.period_us
        }

    def begin(self, names: Iterable[str]) -> None:
        """Have the first slot of a device stay the first until it is read."""
        for name in names:
            if self.done_us[name] is None:
                self.done_us[name] = self.next_of(name) - self.period_us[name]

    def begin_again(self) -> None:
        """Go back to what is committed: what was read since may not be true any more."""
        self.done_us = {name: self._committed_of(name) for name in self.period_us}

    def going_on(self) -> list[str]:
        """The devices whose recording has not been read to its end."""
        return [name for name in self.period_us if not self._has_ended(name)]

    def next(self, names: Iterable[str]) -> tuple[int, list[str]]:
        """The next slot of any of these devices, and those that are due at it."""
        slots_us = {name: self.next_of(name) for name in names}
        slot_us = min(slots_us.values())
        return slot_us, [name for name, at_us in slots_us.items() if at_us == slot_us]

    def next_of(self, name: str, *, is_thin: bool = False) -> int:
        """The next slot of a device; thin: of those that are read while room is short."""
        done_us, period_us = self.done_us[name], self.period_us[name]
        if done_us is None:
            return next_slot_us(self._clock.now_us(), period_us)
        slot_us = done_us + period_us
        if self._is_past(slot_us, period_us):
            slot_us = next_slot_us(self._clock.now_us() - patience_us(period_us), period_us)
        return thinned_us(slot_us, period_us) if is_thin else slot_us

    def is_now(self, name: str, slot_us: int) -> bool:
        """Whether a device's slot has come and may still be read."""
        has_come = slot_us <= self._clock.now_us()
        return has_come and not self._is_past(slot_us, self.period_us[name])

    def end_us(self) -> int:
        """After the last slot that any device was read at."""
        return max((at or 0) + self.period_us[name] for name, at in self.done_us.items())

    def committed_us(self) -> int | None:
        """The last slot of any device before which, and at which, nothing is left to commit."""
        known_us = {name: self._committed_of(name) for name in self.period_us}
        return last_committed_us(
            [(*self._windows[name], self.period_us[name], at) for name, at in known_us.items()]
        )

    def _has_ended(self, name: str) -> bool:
        done_us, (_, last_us) = self.done_us[name], self._windows[name]
        return done_us is not None and last_us is not None and done_us >= last_us

    def _is_past(self, slot_us: int, period_us: int) -> bool:
        """Whether a reading now would no longer be one of this slot."""
        late_us = self._clock.now_us() - slot_us
        return not self._is_replay and late_us >= patience_us(period_us)


def last_committed_us(devices: Sequence[_Progress]) -> int | None:
    """The last slot of any device up to which every slot of every device is committed.

    Args:
        devices: of each the first slot (None: what was committed says), the last (None: open), the
            period, and the last committed slot (before the first: none is). [us UTC]

    Returns:
        None: there is no such slot. [us UTC]
    """
    left_us: list[int] = []  # the first slot of each device that is still to be committed
    done: list[tuple[int, int, int]] = []  # first, period, last committed
    for first_us, last_us, period_us, committed_us in devices:
        if committed_us is None:
            return None
        begin_us = committed_us if first_us is None else first_us
        if committed_us >= begin_us:
            done.append((begin_us, period_us, committed_us))
        if last_us is None or committed_us < last_us:
            left_us.append(max(committed_us + period_us, begin_us))
    edge_us = min(left_us, default=None)
    found = [
        committed if edge_us is None else min(committed, (edge_us - 1) // period * period)
        for first, period, committed in done
        if edge_us is None or first < edge_us
    ]
    return max(found, default=None)
