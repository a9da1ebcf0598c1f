"""How full the outbox's disk is, and what gives way to evidence before it is quite full.

| from | what gives way |
|---|---|
| 70 % | figures of machines (they can be computed again); what waits is compressed without pause |
| 85 % | readings within a minute; counters go on, so no energy is lost, and a gap says so |
| 95 % | reading; a gap says so, written into room that was set aside for it |

The share is of the quota, or of what the disk can hold where that is less: what others take of the
disk is not ours to fill. What the collector has not confirmed is never deleted.
"""

from __future__ import annotations

import contextlib
import os
from enum import IntEnum
from pathlib import Path

from joulemark_agent.sqlite_file import store_error

THIN_US = 60_000_000  # between two readings of a device while room is short
MARKS = (0.70, 0.85, 0.95)
_BACK = 0.03  # so much below a mark it is over
_RESERVE_BYTES = 1024 * 1024
_RESERVE_SHARE = 16  # on a small disk the reserve is one part in so many


class Level(IntEnum):
    """What gives way."""

    NOTHING = 0
    FIGURES = 1
    READINGS = 2
    EVERYTHING = 3


def level_of(used_bytes: int, capacity_bytes: int, before: Level) -> Level:
    """What gives way at this use, so that it does not come and go at a mark.

    Args:
        used_bytes: what the evidence that waits takes.
        capacity_bytes: what it may take.
        before: what gave way so far.
    """
    share = used_bytes / capacity_bytes if capacity_bytes > 0 else 1.0
    marks = [mark - _BACK if level <= before else mark for level, mark in enumerate(MARKS, 1)]
    return Level(sum(share >= mark for mark in marks))


def thinned_us(slot_us: int, period_us: int) -> int:
    """The first slot at or after this one that is read while room is short. [us UTC]"""
    step_us = -(-THIN_US // period_us) * period_us
    return -(-slot_us // step_us) * step_us


class Reserve:
    """Room on the disk that nobody else can take, for the words that reading has stopped."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def is_held(self) -> bool:
        """Whether the room is ours."""
        return self._path.exists()

    @staticmethod
    def size(capacity_bytes: int) -> int:
        """How much it is where the evidence may take so much. [bytes]"""
        return min(_RESERVE_BYTES, capacity_bytes // _RESERVE_SHARE)

    def hold(self, capacity_bytes: int) -> bool:
        """Take the room; False where the disk does not have it.

        Raises:
            StoreError: the disk does not work.
        """
        wanted = self.size(capacity_bytes)
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                if os.fstat(descriptor).st_size < wanted:
                    os.posix_fallocate(descriptor, 0, wanted)
            finally:
                os.close(descriptor)
        except OSError as error:
            self.release()
            if store_error("", error).code != "disk_full":
                raise store_error(f"The file {self._path}", error) from error
            return False
        return True

    def release(self) -> None:
        """Give the room back, to be used at once."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
