"""Where clocks disagree with themselves: those of devices by their stamps, the agent's by its own.

Slots are the agent's and always go on. A device's own time is the point `sampled_at_s`, or with OPC
UA the source time of each variable; one that stands still or goes back is told with its record. A
variable may keep its source time from reading to reading: it tells when the value changed last.
The agent's clock was set where it parted from the monotonic clock beside it in every record.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise
from operator import itemgetter

import numpy as np

from joulemark_agent.contract.profile import NODE, NodePoint, Profile
from joulemark_agent.contract.reading import clock_step_us
from joulemark_agent.equipment.base import SAMPLED_AT
from joulemark_agent.kernels.datavalue import parse
from joulemark_agent.kernels.decode import decode_responses
from joulemark_agent.kernels.stamps import stamp_events
from joulemark_gateway.evidence.history import Record, Tree

AGENT, AGENT_CLOCK_SET = "agent", "agent_clock_set"
_US_PER_S = 1_000_000
_END_OF_TIME_S = 10**12  # 30,000 years: a larger number is no time


@dataclass(frozen=True)
class ClockEvent:
    """A device's stamp that is not later than one before it, or a clock that was set."""

    code: str  # see kernels/stamps.py; AGENT_CLOCK_SET
    point: str  # AGENT where it is the agent's clock
    slot_us: int  # of the reading that shows it
    seq: int  # its leaf
    before_us: int  # the stamp that it is compared with; what a clock showed had it not been set
    after_us: int

    @property
    def step_us(self) -> int:
        """How far it went, back where below 0. [us]"""
        return self.after_us - self.before_us


def clock_events(tree: Tree, profile: Profile) -> tuple[ClockEvent, ...]:
    """Every such stamp of a device, point by point in the order of reading."""
    stamps = sorted(
        (stamp for record in tree.records for stamp in _stamps(profile, record)), key=itemgetter(0)
    )
    found: list[ClockEvent] = []
    for point, those in groupby(stamps, key=itemgetter(0)):
        rows = list(those)
        if point != SAMPLED_AT:
            rows = [row for k, row in enumerate(rows) if not k or row[2] != rows[k - 1][2]]
        for event in stamp_events(np.array([at_us for _, _, at_us in rows], np.int64)):
            record = rows[event.row][1]
            at = record.slot_us, record.seq
            found.append(ClockEvent(event.code, point, *at, event.before_us, event.after_us))
    return tuple(found)


def agent_clock_events(tree: Tree) -> tuple[ClockEvent, ...]:
    """Every step of the agent's own clock between two records of one start of the agent."""
    found: list[ClockEvent] = []
    for before, after in pairwise(tree.records):
        if step_us := clock_step_us(before.instant, after.instant):
            at, shown_us = (after.slot_us, after.seq), after.t_utc_us
            found.append(ClockEvent(AGENT_CLOCK_SET, AGENT, *at, shown_us - step_us, shown_us))
    return tuple(found)


def states_time(profile: Profile) -> bool:
    """Whether a device of this profile tells times of its own."""
    return any(isinstance(p, NodePoint) or p.name == SAMPLED_AT for p in profile.points)


def _stamps(profile: Profile, record: Record) -> Iterator[tuple[str, Record, int]]:
    for response in record.responses:
        if response.table == NODE and response.address < len(profile.points):
            value = parse(response.data)
            if value is not None and value.source_time_us is not None:
                yield profile.points[response.address].name, record, value.source_time_us
    if any(point.name == SAMPLED_AT for point in profile.points):
        values, quality = decode_responses(profile, record.responses)
        at_s = float(values.get(SAMPLED_AT, "nan"))
        if SAMPLED_AT not in quality and 0 <= at_s < _END_OF_TIME_S:
            yield SAMPLED_AT, record, int(at_s * _US_PER_S)
