"""The slots of one device in a replay: from the first to the last, one period apart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Slots:
    """`count` slots from `first_us` on. [us UTC]"""

    first_us: int
    period_us: int
    count: int

    @classmethod
    def around(cls, first_us: int, last_us: int, period_us: int) -> Slots:
        """The multiples of the period since 1970 that show all that is between two instants.

        The first slot is the first multiple at or after the first instant, the last the first one
        at or after the last instant.
        """
        first, last = -(-first_us // period_us), -(-last_us // period_us)
        return cls(first * period_us, period_us, last - first + 1)

    @property
    def last_us(self) -> int:
        """The last slot. [us UTC]"""
        return self.first_us + (self.count - 1) * self.period_us

    def all_us(self) -> range:
        """Every slot. [us UTC]"""
        return range(self.first_us, self.last_us + 1, self.period_us)

    def index(self, now_us: int) -> int:
        """The slot that is shown at an instant: before them all the first, after them all the last.

        An agent cannot be misled by that: the lock-step clock stands at slots only, and a sample
        carries its own time.
        """
        return min(max((now_us - self.first_us) // self.period_us, 0), self.count - 1)


def union_us(all_slots: Iterable[Slots]) -> list[int]:
    """The slots of several devices together, in order, each once. [us UTC]"""
    return sorted({at_us for slots in all_slots for at_us in slots.all_us()})
