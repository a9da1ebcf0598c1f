"""What time stamps do besides going on: a device's own, and those of the agent's clock.

The slots of a reading are the agent's, so no duration is ever taken from a device's stamp unasked;
this tells where the device's clock or its file disagrees with itself. The agent's clock may be set
too; its monotonic clock tells by how much.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.contract.reading import Instant, clock_step_us

REPEATED_STAMP, CLOCK_STEP = "repeated_stamp", "clock_step"
LATEST_US = 2**52  # 142 years


class StampEvent(NamedTuple):
    """A stamp that is not later than one before it."""

    code: str
    row: int  # of the stamp
    before_us: int  # the latest stamp until then (repeated), or the one just before (step)
    after_us: int

    @property
    def step_us(self) -> int:
        """How far the stamp is from the one it is compared with; never above 0. [us]"""
        return self.after_us - self.before_us


def stamp_events(stamp_us: NDArray[np.int64]) -> tuple[StampEvent, ...]:
    """Every stamp whose time the device has shown before, and every step of its clock backwards.

    `repeated_stamp`: the very stamp stood at an earlier sample. `clock_step`: it is earlier than
    the one just before it, so the clock was set back; both may be true of one sample.

    Args:
        stamp_us: the device's own times in the order of reading, shape (n,). [us]
    """
    events: list[StampEvent] = []
    seen: set[int] = set()
    latest = before = None
    for i, at_us in enumerate(stamp_us.tolist()):
        if before is not None and latest is not None:
            if at_us < before:
                events.append(StampEvent(CLOCK_STEP, i, before, at_us))
            if at_us in seen:
                events.append(StampEvent(REPEATED_STAMP, i, latest, at_us))
        seen.add(at_us)
        before, latest = at_us, at_us if latest is None else max(latest, at_us)
    return tuple(events)


def late_us(instants: Sequence[Instant | None]) -> NDArray[np.int64]:
    """How far the agent's clock was set back before each reading, since the one before; 0: not.

    By so much longer it was between the two than their slots say.

    Args:
        instants: of the readings in order; None: nobody can tell. [us]
    """
    steps_us = [0, *(clock_step_us(one, other) for one, other in pairwise(instants))]
    return np.array([min(max(-us, 0), LATEST_US) for us in steps_us[: len(instants)]], np.int64)
