"""A run of the meter whose batches go into an archive at their receipt, and what is left of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

from joulemark_agent.archive import FILE, Archive, ArchivedOutbox
from joulemark_agent.contract.batch import parse_batch
from joulemark_agent.contract.reading import Gap, Reading
from joulemark_agent.outbox import Outbox, Sealed
from joulemark_agent.recorded import Limits
from joulemark_agent.recorder import Recorder
from support import committed, evidence
from support.evidence import METER
from support.recording import KEY, SOFTWARE, StoppedWall, recorded

PERIOD_S, INTERVAL_S = 30, 60
SITE = committed.documents(period_s=PERIOD_S, interval_s=INTERVAL_S)
QUOTA_MB = 100
_PROFILE = SITE.profile(METER)

OpenOutbox = Callable[[Path, Archive], Outbox]


class DeletesFirst(Outbox):
    """The naive control: the receipt deletes, and what it deleted is archived by and by."""

    def __init__(self, path: Path, archive: Archive) -> None:
        super().__init__(path)
        self._archive = archive
        self._gone: list[Sealed] = []

    def receipt(self, device: str, epoch: int, size: int) -> int:
        self._gone += waiting(self, size)
        deleted = super().receipt(device, epoch, size)
        if len(self._gone) > 1:
            self._archive.keep(self._gone)
            self._gone = []
        return deleted


def waiting(outbox: Outbox, size: int | None = None) -> list[Sealed]:
    """The batches of the meter without receipt, up to a size of the tree."""
    found: list[Sealed] = []
    while batch := outbox.next_batch(METER, 1, found[-1].size if found else 0):
        if size is not None and batch.size > size:
            break
        found.append(batch)
    return found


@contextmanager
def stores(folder: Path, kind: OpenOutbox = ArchivedOutbox) -> Iterator[tuple[Outbox, Archive]]:
    """Archive and outbox of an agent; given back whatever happens, as a kill would."""
    archive = Archive(folder / FILE, QUOTA_MB)
    try:
        outbox = kind(folder / "outbox.db", archive)
        try:
            yield outbox, archive
        finally:
            outbox.close()
    finally:
        archive.close()


def record(outbox: Outbox, results: Sequence[Reading | Gap]) -> Iterator[Sealed]:
    """Each batch that recording closes, as soon as it is on disk."""
    yield from record_on(outbox, results.__getitem__, len(results))


def record_on(outbox: Outbox, at: Callable[[int], Reading | Gap], slots: int) -> Iterator[Sealed]:
    """The same, of slots that are read when they are due; it goes on where the outbox ends."""
    limits = Limits(1, 0.0, INTERVAL_S * 1_000_000)
    wall = StoppedWall().wall()
    devices = [recorded(SITE)]
    writer = Recorder(outbox, KEY, devices, limits=limits, software=SOFTWARE, wall=wall)
    for slot in range(writer.summary()[METER]["slots"], slots):
        yield from writer.commit([at(slot)])


def steady(slot: int) -> Reading:
    """What a meter shows that counts 10 Wh a slot."""
    values: dict[str, Decimal | int | None] = {
        "energy_wh": 10 * slot,
        "power_w": 1200,
        "power_factor_ratio": Decimal("0.9"),
        "reactive_lagging_varh": 5 * slot,
        "reactive_leading_varh": 0,
    }
    at_us = evidence.START_US + slot * PERIOD_S * 1_000_000
    return evidence.reading(_PROFILE, METER, at_us, values)


def leaves_left(folder: Path, kind: OpenOutbox = ArchivedOutbox) -> dict[int, bytes]:
    """Every leaf that archive and outbox still have, by its index; both copies are the same."""
    found: dict[int, bytes] = {}
    with stores(folder, kind) as (outbox, archive):
        kept = [*archive.covering(METER, 1, 0, 10**9), *waiting(outbox)]
        for batch in map(parse_batch, (one.payload for one in kept)):
            for seq, leaf in enumerate(batch.leaves, batch.first_seq):
                assert found.setdefault(seq, leaf) == leaf
        [tree] = outbox.trees()
        found |= dict(enumerate(outbox.open_leaves(METER, 1), tree.sealed.size))
        assert len(found) <= tree.edge.size
        return found if len(found) == tree.edge.size else {**found, -1: b"%d" % tree.edge.size}
