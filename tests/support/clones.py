"""A gateway that was copied while it ran: two agents with one key and one history.

Both live on from the bytes of one state folder and deliver to one collector, in turns that are
drawn. Counted are the batches that the second of them delivers after the histories have parted.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from joulemark_agent.contract.batch import parse_batch
from joulemark_agent.contract.reading import Gap, Reading
from joulemark_agent.contract.signature import parse_checkpoint, parse_note
from joulemark_agent.contract.topics import batch_topic
from joulemark_agent.outbox import Outbox
from joulemark_agent.recorder import Recorder
from support import evidence
from support.evidence import AGENT, METER
from support.recording import StoppedWall, batches_of, recorded, recorder, state

SITE = evidence.documents()
SLOTS = 60
Deliver = Callable[[str, bytes], str]  # topic, payload -> 'receipt', or the code of the refusal


@dataclass
class Copy:
    """One of the two gateways."""

    box: Outbox
    writer: Recorder
    readings: list[Reading | Gap]
    sent: int = 0  # the size up to which the collector has confirmed

    def read(self, count: int) -> None:
        """Record the next slots and close what is full."""
        done = self.writer.summary()[METER]["slots"]
        self.writer.commit(self.readings[done : done + count])

    def deliver(self, deliver: Deliver) -> tuple[int, str] | None:
        """Send the oldest batch that is not confirmed; its size, and what was answered."""
        batch = self.box.next_batch(METER, 1, self.sent)
        if batch is None:
            return None
        answer = deliver(batch_topic(AGENT, METER), batch.payload)
        if answer == "receipt":
            self.sent = batch.size
        return batch.size, answer


def copied(folder: Path, draw: random.Random) -> tuple[Copy, Copy]:
    """A gateway that has run for a while, and its copy; the second machine reads other values."""
    first = folder / "first"
    before = draw.randrange(5, 20)
    box = Outbox(state(first))
    energy = [1000] * SLOTS
    readings = evidence.meter_readings(SITE, energy)
    writer = recorder(box, recorded(SITE), slots=4)
    writer.commit(readings[:before])
    box.close()
    shutil.copytree(first, folder / "second")
    changed = [*energy[:before], *(draw.randrange(1, 1000) for _ in energy[before:])]
    return (
        _started(first, readings, 0),
        _started(folder / "second", evidence.meter_readings(SITE, changed), 1),
    )


def _started(folder: Path, readings: list[Reading | Gap], number: int) -> Copy:
    wall = StoppedWall(now_us=evidence.SEALED_US + number, mono_s=100.0 + number)
    box = Outbox(state(folder))
    return Copy(box, recorder(box, recorded(SITE), slots=4, wall=wall), readings)


@dataclass(frozen=True)
class Run:
    """What came of two copies that lived on."""

    parted_at: int  # the size up to which their histories are one
    answers: list[tuple[int, int, str]]  # of every batch: which copy, its size, the answer

    @property
    def late(self) -> list[str]:
        """The answers to the copy that was second to show a history of its own."""
        apart = [(who, answer) for who, size, answer in self.answers if size > self.parted_at]
        return [answer for who, answer in apart if who != apart[0][0]]


def live_on(folder: Path, seed: int, deliver: Deliver) -> Run:
    """Both copies read and deliver, in turns that are drawn, until the first fork or for long."""
    draw = random.Random(seed)
    copies = copied(folder, draw)
    answers: list[tuple[int, int, str]] = []
    for _ in range(80):
        who = draw.randrange(2)
        copies[who].read(draw.randrange(1, 4))
        told = copies[who].deliver(deliver)
        if told is not None:
            answers.append((who, *told))
        if told is not None and told[1] == "fork":
            break
    found = Run(parted_at(*copies), answers)
    for copy in copies:
        copy.box.close()
    return found


def parted_at(one: Copy, other: Copy) -> int:
    """The size of the longest history that both share, as of the batches they have closed."""
    leaves = [_leaves(copy) for copy in (one, other)]
    same = [left == right for left, right in zip(*leaves, strict=False)]
    return same.index(False) if False in same else len(same)


def _leaves(copy: Copy) -> list[bytes]:
    found: list[bytes] = []
    for sealed in batches_of(copy.box):
        found += parse_batch(sealed.payload).leaves
    return found


class NaiveCollector:
    """The control: a unique key for every leaf, first come first kept; no root is compared."""

    def __init__(self) -> None:
        self.leaves: dict[int, bytes] = {}
        self.signed: set[bytes] = set()  # the roots that anybody signed

    def deliver(self, _topic: str, payload: bytes) -> str:
        """Take it."""
        batch = parse_batch(payload)
        for seq, leaf in enumerate(batch.leaves, batch.first_seq):
            self.leaves.setdefault(seq, leaf)
        self.signed.add(parse_checkpoint(parse_note(batch.checkpoint)[0]).root)
        return "receipt"
