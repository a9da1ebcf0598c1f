"""One batch cycle of an outbox in a process of its own, and what must be left of it after a crash.

Read, commit, close, show, send, take the receipt, move together, look over: every kind of write
that an agent makes. It says what it promised as soon as a call has returned; a crash at any point
may leave more than that, never less.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from joulemark_agent import outbox
from joulemark_agent.backlog import ASIDE
from joulemark_agent.contract.batch import parse_batch
from joulemark_agent.envelope import warm
from joulemark_agent.outbox import Outbox, Sealed
from support import evidence
from support.collecting import Ledger, origin_of
from support.evidence import METER, PERIOD_US
from support.recording import batches_of, kept, recorded, recorder, slots_of, slots_read, state
from support.tracing import wait_for_tracer

SLOTS, GROUP, TOGETHER = 2, 5, 8  # slots of a batch and of a commit, batches of a group
BEFORE, COMMITS = 2 * SLOTS * TOGETHER, 3  # slots in the template, commits of the cycle
SITE = evidence.documents()
READINGS = evidence.meter_readings(SITE, [1000 + i for i in range(BEFORE + 200)])


@dataclass
class Promised:
    """What a process said before it ended."""

    slots: int = BEFORE
    sent: list[tuple[int, str]] = field(default_factory=list)  # size and checkpoint of each batch
    confirmed: int = 0  # leaves
    is_over: bool = False


def prepare() -> None:
    """Whatever takes long and is no part of a cycle; groups are small, so that it is short."""
    outbox.MOST_BATCHES, outbox._LOOSE = TOGETHER, 2 * TOGETHER
    warm(recorded(SITE).profile, recorded(SITE).carbon)


def template(folder: Path) -> None:
    """An outbox in which one more batch makes some move together."""
    with closing(Outbox(state(folder))) as box:
        recorder(box, recorded(SITE), slots=SLOTS).commit(READINGS[:BEFORE])


def run(words: Sequence[str]) -> None:
    """The cycle, in the folder that is named; it begins when the process is traced."""
    (name,) = words
    wait_for_tracer()
    box = Outbox(state(Path(name)))
    writer = recorder(box, recorded(SITE), slots=SLOTS)
    done = writer.summary()[METER]["slots"]
    for _ in range(COMMITS):
        writer.commit(READINGS[done : done + GROUP])
        done += GROUP
        _say(slots=done)
    first = batches_of(box)[:3]
    for batch in first:
        _say(sent=(batch.size, batch.checkpoint))
    box.receipt(METER, 1, first[1].size)
    _say(confirmed=first[1].size)
    while box.upkeep():
        pass
    grouped = _sent(box, first[-1].size, TOGETHER)
    box.receipt(METER, 1, grouped[-1].size)
    _say(confirmed=grouped[-1].size)
    writer.seal_all()
    _say(slots=done, sent=(_sent(box, 0, 2 * TOGETHER)[-1]))
    box.scrub()
    box.upkeep()
    box.close()
    _say(is_over=True)


def _sent(box: Outbox, from_seq: int, most: int) -> list[Sealed]:
    """Send so many batches, and say it."""
    found: list[Sealed] = []
    while len(found) < most and (batch := box.next_batch(METER, 1, from_seq)) is not None:
        found.append(batch)
        from_seq = batch.size
    _say(sent=(found[-1].size, found[-1].checkpoint))
    return found


def _say(**said: object) -> None:
    """With a call that no test tampers with."""
    if isinstance(batch := said.get("sent"), Sealed):
        said["sent"] = (batch.size, batch.checkpoint)
    os.writev(1, [json.dumps(said).encode() + b"\n"])


def promised(output: str) -> Promised:
    """What a process said."""
    found = Promised()
    for line in output.splitlines():
        said = json.loads(line)
        found.slots = said.get("slots", found.slots)
        found.confirmed = said.get("confirmed", found.confirmed)
        found.is_over = said.get("is_over", found.is_over)
        if "sent" in said:
            size, checkpoint = said["sent"]
            found.sent.append((size, checkpoint))
    return found


def check(folder: Path, said: Promised) -> int:
    """Open what is left and go on; how many slots were kept.

    Raises:
        AssertionError: something that was promised is not there, or is there otherwise.
    """
    with closing(Outbox(state(folder))) as box:
        assert not (state(folder).parent / ASIDE).exists(), "a crash damages nothing"
        assert box.ended() == []
        writer = recorder(box, recorded(SITE), slots=SLOTS)
        slots = int(writer.summary()[METER]["slots"])
        assert slots >= said.slots, "a slot that was kept is lost"
        writer.commit(READINGS[slots : slots + GROUP])
        writer.seal_all()
        batches = batches_of(box)
        first = batches[0].first_seq
        assert first >= said.confirmed, "what is confirmed is not sent again"
        assert all(one.size == other.first_seq for one, other in pairwise(batches))
        ends = {batch.size: batch.checkpoint for batch in batches}
        for size, checkpoint in said.sent:
            assert size <= first or ends[size] == checkpoint, "a head that left is signed otherwise"
        found = kept(box)
        assert box.losses(METER, 1) == []
        slots_now = slots_of(found.contents, PERIOD_US)
        expected = slots_read(READINGS[: slots + GROUP])
        assert slots_now == expected[len(expected) - len(slots_now) :], "a slot is missing or twice"
        if first == 0:
            ledger = Ledger()
            for batch in batches:
                whole = parse_batch(batch.payload)
                ledger.take(origin_of(whole), whole)
        return slots
