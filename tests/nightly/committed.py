"""Committed mode: kills between archive and receipt lose no raw record; bytes on a thin link.

An agent records and has each batch confirmed at once; it is killed again and again, at a random
moment, and goes on. In the end archive and outbox together must have every leaf of every tree. The
naive control deletes at the receipt and archives then.
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path

from joulemark_agent.archive import Archive, ArchivedOutbox
from joulemark_agent.contract.batch import Batch, batch_bytes, parse_batch
from joulemark_agent.contract.committed import committed
from joulemark_agent.contract.signature import cosign
from joulemark_agent.contract.sparse import sparse_bytes
from joulemark_agent.contract.topics import batch_topic, receipt_topic, sparse_topic
from joulemark_agent.outbox import Outbox
from joulemark_agent.recorded import Limits
from joulemark_agent.recorder import Recorder
from support import evidence, killed
from support.archives import DeletesFirst, leaves_left, record_on, steady, stores
from support.committed import documents
from support.evidence import AGENT, KEYS, METER, WITNESS
from support.recording import KEY, SOFTWARE, StoppedWall, batches_of, recorded, state

KILLS, FEW = 400, 8
LONGEST_S = 0.25  # from the first batch that was confirmed to the kill
SLOTS = 1_000_000  # more than will be read
SECOND, INTERVAL_S = 1, 900
LINK_BIT_S = 64_000
_Writer = Callable[[Path, Connection], None]


def archive_first(folder: Path, said: Connection) -> None:
    """Record where the outbox ends; every batch is confirmed at once."""
    _live(folder, said, ArchivedOutbox)


def delete_first(folder: Path, said: Connection) -> None:
    """The same in the naive order."""
    _live(folder, said, DeletesFirst)


def _live(folder: Path, said: Connection, kind: type[Outbox]) -> None:
    with stores(folder, kind) as (outbox, _):
        for batch in record_on(outbox, steady, SLOTS):
            outbox.receipt(METER, 1, batch.size)
            said.send(batch.size)


def losses(folder: Path, writer: _Writer, kills: int, draw: random.Random) -> tuple[int, int]:
    """Leaves that are gone after so many kills, and leaves that were written."""
    for _ in range(kills):
        process, said = killed.start(writer, folder)
        said.recv()
        time.sleep(draw.uniform(0, LONGEST_S))
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        said.close()
    kind: Callable[[Path, Archive], Outbox] = (
        ArchivedOutbox if writer is archive_first else DeletesFirst
    )
    left = leaves_left(folder, kind)
    size = int(left.pop(-1, b"%d" % len(left)))
    return size - len(left), size


def _closed(limits: Limits, intervals: int, seed: int) -> list[Batch]:
    """The batches of a meter that is read every second."""
    site, draw = documents(period_s=SECOND, interval_s=INTERVAL_S), random.Random(seed)
    steps = [max(round(draw.gauss(30, 6)), 0) for _ in range(intervals * INTERVAL_S)]
    results = evidence.meter_readings(site, steps)
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(Outbox(state(Path(folder)))) as outbox,
    ):
        wall = StoppedWall().wall()
        devices = [recorded(site)]
        writer = Recorder(outbox, KEY, devices, limits=limits, software=SOFTWARE, wall=wall)
        writer.commit(results[:1])
        writer.seal_all()
        sealed = writer.commit(results[1:]) + writer.seal_all()
        assert len(batches_of(outbox)) >= len(sealed)
        return [parse_batch(one.payload) for one in sealed]


def wire(seed: int, intervals: int) -> dict[str, str]:
    """What an interval costs on the line, topics and receipts included."""
    in_full = _closed(Limits(5, 1e9), intervals, seed)
    whole = _closed(Limits(1, 0.0, INTERVAL_S * 1_000_000), intervals, seed)
    up = {
        "full, a batch every 5 s": [
            len(batch_topic(AGENT, METER)) + len(batch_bytes(batch)) for batch in in_full
        ],
        "full, a batch an interval": [
            len(batch_topic(AGENT, METER)) + len(batch_bytes(batch)) for batch in whole
        ],
        "committed": [
            len(sparse_topic(AGENT, METER)) + len(sparse_bytes(committed(batch))) for batch in whole
        ],
    }
    note = cosign(KEYS.witness, WITNESS, whole[0].checkpoint, 1_735_689_600)
    receipt = len(receipt_topic(AGENT, METER)) + len(note.encode())
    sums = {name: sum(sizes) / intervals for name, sizes in up.items()}
    base = sums["full, a batch every 5 s"]
    assert sums["committed"] * 20 < base, "a twentieth at most"
    return {
        f"bytes an interval of 900 records, {name}": (
            f"{sums[name]:,.0f} up, {len(sizes) / intervals * receipt:,.0f} down"
            f" ({sums[name] / base:.2%} of the first; {sums[name] * 8 / LINK_BIT_S:.2f} s of a"
            f" line of 64 kbit/s)"
        )
        for name, sizes in up.items()
    }


def run(seed: int, *, full: bool) -> dict[str, str]:
    """Kills of both orders, and the bytes."""
    draw, kills = random.Random(seed), KILLS if full else FEW
    with tempfile.TemporaryDirectory() as folder:
        places = {name: Path(folder) / name for name in ("ours", "naive")}
        for place in places.values():
            place.mkdir()
        lost, size = losses(places["ours"], archive_first, kills, draw)
        naive, naive_size = losses(places["naive"], delete_first, kills, draw)
    assert lost == 0, f"{lost} of {size} leaves are gone after {kills} kills"
    assert naive > 0, f"the naive control lost none of {naive_size} leaves: the check sees nothing"
    return {
        "kills of each order": str(kills),
        "archive first, then delete: leaves lost": f"{lost} of {size:,}",
        "delete first (naive control): leaves lost": f"{naive} of {naive_size:,}",
        **wire(seed, 4 if full else 1),
    }
