"""Agent and collector on one disk whose power a test cuts: what they say is kept must be kept.

One process has both ends of the chain, with a call as the wire between them: a recorder over an
outbox, an intake over an evidence store, which is compacted now and again, and the collector's own
log. It prints a line after every commit.

    agent SLOTS         so many slots are in the outbox, or were
    collector LEAVES    so many leaves are in the evidence store; what was in the outbox of them
                        is deleted after this line
    log LEAVES          a head of the collector's log over so many leaves was signed
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.errors import JoulemarkError
from joulemark_agent.contract.topics import batch_topic, origin, receipt_topic
from joulemark_agent.envelope import warm
from joulemark_agent.outbox import Outbox
from joulemark_gateway.evidence.compactor import Compactor
from joulemark_gateway.evidence.log import CollectorLog
from joulemark_gateway.evidence.log_store import LogStore
from joulemark_gateway.evidence.store import FILE, SqliteStore
from support import evidence
from support.evidence import AGENT, METER, SITE, WITNESS
from support.intakes import new_intake
from support.recording import Kept, kept, recorded, recorder, slots_of, slots_read, state

DOCUMENTS = evidence.documents()
READINGS = evidence.meter_readings(DOCUMENTS, [1000 + i % 700 for i in range(6000)])
SLOTS = slots_read(READINGS)
NAME = origin(SITE, METER, 1)
GROUP, BATCH = 2, 12
_LATER_US = 2**60
NORMAL = "normal"


def ready() -> None:
    """Before the first fork."""
    warm(recorded(DOCUMENTS).profile, recorded(DOCUMENTS).carbon)


class Hasty(sqlite3.Connection):
    """The mutant: a commit returns before it is on disk."""

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        """As any connection, without waiting for the disk."""
        if sql.startswith("BEGIN"):
            super().execute("PRAGMA synchronous = NORMAL")
        return super().execute(sql, *values)


def write(words: list[str]) -> None:
    """Go on where the disk ends, until the power is cut; `normal` is the mutant."""
    connect = partial(sqlite3.connect, factory=Hasty if NORMAL in words[1:] else sqlite3.Connection)
    with mock.patch("sqlite3.connect", connect):
        _write(Path(words[0]))


def _write(folder: Path) -> None:
    topic = batch_topic(AGENT, METER)
    with (
        closing(Outbox(state(folder))) as box,
        closing(new_intake(folder / FILE)) as intake,
        closing(LogStore(folder / FILE)) as kept_log,
        closing(Compactor(folder / FILE)) as compactor,
    ):
        log = CollectorLog(kept_log, WITNESS, evidence.KEYS.witness)
        writer = recorder(box, recorded(DOCUMENTS), slots=BATCH)
        done = writer.summary()[METER]["slots"]
        while done < len(READINGS):
            writer.commit(READINGS[done : done + GROUP])
            done += GROUP
            _say("agent", done)
            while (batch := box.next_batch(METER, 1, 0)) is not None:
                answer = intake.take(topic, batch.payload)
                assert answer is not None
                assert answer.topic == receipt_topic(AGENT, METER), answer.payload
                _say("collector", batch.size)
                box.receipt(METER, 1, batch.size)
                log.take_heads(intake._store.heads(), evidence.SEALED_US)
                if (head := log.close(evidence.SEALED_US)) is not None:
                    _say("log", head.size)
                for _ in compactor.moves(_LATER_US, all_of_it=True):
                    pass  # also what moves in the store must not be lost on the way


def _say(who: str, count: int) -> None:
    sys.stdout.write(f"{who} {count}\n")
    sys.stdout.flush()


@dataclass
class Acked:
    """What the writer has said last."""

    slots: int = 0
    leaves: int = 0
    logged: int = 0

    def hear(self, said: str) -> None:
        """Lines of a writer; the last one may be cut short."""
        for line in said.splitlines(keepends=True):
            who, _, count = line.partition(" ")
            if line.endswith("\n") and who == "agent":
                self.slots = max(self.slots, int(count))
            elif line.endswith("\n") and who == "collector":
                self.leaves = max(self.leaves, int(count))
            elif line.endswith("\n") and who == "log":
                self.logged = max(self.logged, int(count))


@dataclass(frozen=True)
class Found:
    """What a disk holds after a cut, against what was said."""

    lost_slots: int = 0  # of those the agent had committed
    lost_leaves: int = 0  # of those the collector had confirmed
    lost_entries: int = 0  # of those over which the collector had signed a head
    corrupt: str = ""  # why what is there cannot be used, or is not what was written


def found(folder: Path, acked: Acked) -> Found:
    """Open both stores as a start does, and put what they hold together again."""
    try:
        held, logged = _held(folder / FILE), _logged(folder / FILE)
        with closing(Outbox(state(folder))) as box:
            own = kept(box) if box.trees() else Kept(len(held))
            mended = box.mended or len(box.ended()) or len(box.losses(METER, 1))
    except (JoulemarkError, AssertionError) as error:
        return Found(corrupt=f"{type(error).__name__}: {error}")
    lost_leaves = max(acked.leaves - len(held), own.first_seq - len(held), 0)
    both = held[own.first_seq :]
    if own.leaves[: len(both)] != both:
        return Found(lost_leaves=lost_leaves, corrupt="agent and collector hold different leaves")
    leaves = [parse_canonical(leaf) for leaf in (*held[: own.first_seq], *own.leaves)]
    slots = slots_of(leaves, evidence.PERIOD_US)
    is_strange = slots != SLOTS[: len(slots)] and not lost_leaves
    strange = "a slot is missing or twice" if is_strange else "mended" if mended else ""
    lost_entries = max(acked.logged - logged, 0)
    return Found(max(acked.slots - len(slots), 0), lost_leaves, lost_entries, strange)


def _logged(path: Path) -> int:
    """Up to where the collector's log has a head, every root checked."""
    with closing(LogStore(path)) as log:
        log.scrub()
        return max((head.size for head in log.heads()), default=0)


def _held(path: Path) -> list[bytes]:
    """The collector's leaves, every root checked."""
    with SqliteStore(path) as store:
        if store.head(NAME) is None:
            return []
        store.scrub(NAME)
        return store.leaves(NAME)
