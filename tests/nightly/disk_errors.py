"""Every call to the disk fails once, and for a while: nothing is lost unsaid, and reading goes on.

An agent's keeper opens its outbox, reads and commits while strace fails one call with EIO or
ENOSPC, or thirty of every kind from there. Whatever is hit, the process goes on by itself; what was
promised is there, and every other slot is in a gap that names the disk. Then a real small disk is
filled by somebody else and freed. The control goes on as if no call had failed, as many do.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from joulemark_agent.outbox import Outbox
from support import keeping
from support.disk import mounted
from support.evidence import METER
from support.forks import Forks
from support.recording import state
from support.tracing import WRITES, traced, wait_for_tracer

CALLS = {"EIO": f"pread64,{WRITES}", "ENOSPC": "pwrite64,write,ftruncate,fallocate,mkdir"}
LONG, STEP = 30, 5  # calls of a failure that lasts; from where to where the next such begins
FEW = 3  # points of each kind in the short form
CAUSES = {"disk_full", "disk_failed", "overrun"}


def run(seed: int, *, full: bool) -> dict[str, str]:
    """Fail every call in the full form, some of each kind in the short one."""
    figures: dict[str, str] = {}
    with (
        tempfile.TemporaryDirectory() as name,
        Forks("support.keeping:prepare", "nightly.disk_errors") as forks,
    ):
        folder = Path(name)
        rng = random.Random(seed)
        for error, calls in CALLS.items():
            made = _made(forks, folder, calls)
            once = [(name, n) for name, most in made.items() for n in range(1, most + 1)]
            long = [(calls, n) for n in range(1, max(made.values()) + 1, STEP)]
            for length, points in ((1, once), (LONG, long)):
                some = points if full else rng.sample(points, FEW)
                gaps: Counter[str] = Counter()
                for names, n in some:
                    gaps += _fail(forks, folder, (error, names), range(n, n + length))
                what = f"{error} for {length} call(s)"
                figures[what] = f"{len(some)} of {len(points)} points, slots in gaps: {dict(gaps)}"
        lost = sum(_control(forks, folder, point) for point in range(1, 4))
        (folder / "disk").mkdir()
        figures |= asyncio.run(fill(folder / "disk"))
    assert lost, "the control loses nothing: the test proves nothing"
    return figures | {"control (errors are ignored)": f"{lost} slots lost and not said"}


def _made(forks: Forks, folder: Path, calls: str) -> dict[str, int]:
    """How many calls of each kind a thread of a run makes at most; strace counts them like that."""
    log = folder / "calls"
    _go(forks, folder, "support.keeping:run", "-e", f"trace={calls}", log=log)
    shutil.rmtree(folder / "here")
    rows = [line.split("(")[0] for line in log.read_text().splitlines() if "(" in line]
    by_thread = Counter(tuple(row.split()) for row in rows)  # thread and name
    return {
        name: max(n for (_, one), n in by_thread.items() if one == name)
        for name in sorted({name for _, name in by_thread})
    }


def _go(forks: Forks, folder: Path, target: str, *options: str, log: Path | None = None) -> str:
    """Run it in a folder of its own under strace; what it said."""
    here = folder / "here"
    here.mkdir()
    process = forks.start(target, [str(here)], folder / "log")
    with traced(process.pid, *options, log=log):
        code = process.wait(60)
    assert code == 0, f"{code} {options}: {(folder / 'log').read_text()[-3000:]}"
    return process.said()


def _fail(forks: Forks, folder: Path, kind: tuple[str, str], points: range) -> Counter[str]:
    """Fail these calls; the slots in gaps by cause."""
    error, calls = kind
    inject = f"inject={calls}:error={error}:when={points[0]}..{points[-1]}"
    where = f"{error} at calls {points[0]} to {points[-1]}"
    output = _go(forks, folder, "support.keeping:run", "-e", f"trace={calls}", "-e", inject)
    said = json.loads(output)
    here = folder / "here"
    with closing(Outbox(state(here))) as box:
        found = keeping.account(box)
        assert box.ended() == [], where
        assert box.losses(METER, 1) == [], where
    assert set(said["promised"]) <= set(found.records), f"{where}: a promised slot is lost"
    assert found.missing == [], f"{where}: slots {found.missing} are lost and not said"
    assert set(found.gaps) <= CAUSES, where
    shutil.rmtree(here)
    return found.gaps


async def fill(folder: Path) -> dict[str, str]:
    """Fill the agent's disk from outside, and free it again."""
    with mounted(folder, "8m"), keeping.plant(folder) as plant:
        care = asyncio.create_task(plant.keeper.care())
        for _ in range(20):
            await plant.tick()
        ballast = folder / "ballast"
        with ballast.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                pass
        await plant.until("stopped")
        for _ in range(40):
            await asyncio.sleep(keeping.TICK_S)
            await plant.tick()
        await asyncio.sleep(4 * keeping.RETRY_S)
        said = keeping.account(plant.box)
        assert said.gaps["disk_full"] > 0, "the gap stands there while the disk is full"
        ballast.unlink()
        begun_s = time.monotonic()
        await plant.until("reading")
        took_s = time.monotonic() - begun_s
        await plant.tick()
        care.cancel()
        await asyncio.gather(care, return_exceptions=True)
        found = keeping.account(plant.box)
    assert took_s < 5.0, f"{took_s:.1f} s"
    assert found.missing == []
    assert set(plant.promised) <= set(found.records)
    return {
        "a full disk, freed again": f"{found.gaps['disk_full']} slots in a gap, "
        f"{len(found.missing)} missing, reading after {took_s:.2f} s",
    }


# ------------------------------------------------------------------- the control


def naive(words: Sequence[str]) -> None:
    """Write slot after slot, and go on whatever the disk says."""
    (name,) = words
    wait_for_tracer()
    path = Path(name) / "slots"
    for slot in range(10):
        try:
            with path.open("ab", buffering=0) as file:
                file.write(b"%d\n" % slot)
        except OSError:
            continue


def _control(forks: Forks, folder: Path, point: int) -> int:
    """How many slots are missing in the end."""
    inject = f"inject=write:error=ENOSPC:when={point}"
    _go(forks, folder, "nightly.disk_errors:naive", "-e", "trace=write", "-e", inject)
    left = (folder / "here" / "slots").read_text().split()
    shutil.rmtree(folder / "here")
    return 10 - len(left)
