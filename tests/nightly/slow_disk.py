"""Every flush of the disk takes half a second, as on a worn card: devices are read on time.

strace holds up each flush of an agent's keeper by 500 ms. Readings of a slot a second are timed:
none may come late for want of the disk, none may be lost, and batches go on being closed. The
control flushes in the loop that reads, as is usual.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from joulemark_agent.outbox import Outbox
from support import keeping
from support.forks import Forks
from support.recording import state
from support.tracing import traced, wait_for_tracer

FLUSHES, DELAY_US = "fsync,fdatasync", 500_000
PERIOD_S, SLOTS, FEW = 0.5, 120, 8  # a slot comes as often as a flush ends
LATE_S = 0.2


def run(seed: int, *, full: bool) -> dict[str, str]:
    """A minute in the full form."""
    del seed
    slots = SLOTS if full else FEW
    with tempfile.TemporaryDirectory() as name, Forks("support.keeping:prepare", __name__) as forks:
        folder = Path(name)
        late_s, promised = _slowed(forks, folder / "ours", "ours", slots)
        with closing(Outbox(state(folder / "ours"))) as box:
            found = keeping.account(box)
        of_control, _ = _slowed(forks, folder / "control", "control", slots)
    assert max(late_s) < LATE_S, f"{max(late_s):.2f} s"
    assert set(promised) <= set(found.records)
    assert found.missing == []
    assert max(of_control) > LATE_S, "the control is on time too: the test proves nothing"
    return {
        "readings with flushes of 500 ms": f"{len(late_s)}, at most"
        f" {max(late_s) * 1000:.0f} ms late",
        "slots lost": str(len(found.missing)),
        "slots kept when it ended": str(len(found.records)),
        "control (flushes where it reads)": f"up to {max(of_control) * 1000:.0f} ms late",
    }


def _slowed(forks: Forks, folder: Path, kind: str, slots: int) -> tuple[list[float], list[int]]:
    """How late each reading began, and which were promised."""
    folder.mkdir()
    log = folder.with_suffix(".log")
    process = forks.start(f"{__name__}:read", [str(folder), kind, str(slots)], log)
    inject = f"inject={FLUSHES}:delay_exit={DELAY_US}"
    with traced(process.pid, "-e", f"trace={FLUSHES}", "-e", inject):
        assert process.wait(120) == 0, log.read_text()[-3000:]
    said = json.loads(process.said())
    return said["late_s"], said["promised"]


def read(words: Sequence[str]) -> None:
    """Read so many slots, and say how late each began."""
    name, kind, slots = words
    wait_for_tracer()
    asyncio.run(_read(Path(name), int(slots), in_loop=kind == "control"))


async def _read(folder: Path, slots: int, *, in_loop: bool) -> None:
    with keeping.plant(folder) as plant:
        # The control has one thread, so nobody else may use its outbox.
        care = asyncio.create_task(asyncio.sleep(0) if in_loop else plant.keeper.care())
        late_s: list[float] = []
        waiting: list[asyncio.Task[None]] = []
        begun_s = time.monotonic() + PERIOD_S
        for slot in range(slots):
            due_s = begun_s + slot * PERIOD_S
            await asyncio.sleep(due_s - time.monotonic())
            late_s.append(time.monotonic() - due_s)
            if in_loop:
                plant.slot += 1
                reading = keeping.READINGS[plant.slot]
                plant.keeper._recorder.commit([reading])
            else:
                waiting.append(asyncio.create_task(plant.tick()))
        await asyncio.gather(*waiting)
        care.cancel()
        await asyncio.gather(care, return_exceptions=True)
        await plant.keeper.finish([])
        said = {"late_s": late_s, "promised": plant.promised}
        os.writev(1, [json.dumps(said).encode() + b"\n"])
