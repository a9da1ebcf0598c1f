"""The agent is killed at every single write, flush and rename of a batch cycle: all of it recovers.

strace kills the process at the n-th call of each kind, for n from 1 until the cycle gets to its
end. What is left is opened, checked against what had been promised, and gone on with. The control
writes its state as a file that is truncated and written anew, and loses it.
"""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from support import cycle
from support.forks import Forks
from support.tracing import WRITES, traced, wait_for_tracer


def run(seed: int, *, full: bool) -> dict[str, str]:
    """Kill at every point, in the short form at every fourth; it is the same with every seed."""
    del seed
    step = 1 if full else 4
    with (
        tempfile.TemporaryDirectory() as name,
        Forks("support.cycle:prepare", "nightly.crash_points") as forks,
    ):
        folder = Path(name)
        cycle.template(folder / "template")
        begun_s = time.monotonic()
        points, slots = _enumerate(forks, folder, "support.cycle:run", _check, step)
        took_s = time.monotonic() - begun_s
        (folder / "template" / "naive.json").write_text("[0]")
        of_control, lost = _enumerate(
            forks, folder, "nightly.crash_points:naive", _check_naively, 1
        )
    assert lost > 0, "the control recovers too: the test proves nothing"
    return {
        "points of the cycle": f"{points}, killed at each",
        "recovered": f"{points} of {points}",
        "slots kept beyond what was promised, at most": str(slots),
        "time": f"{took_s:.0f} s",
        "control (a file written anew)": f"{lost} of {of_control} points lost its state",
    }


def _enumerate(
    forks: Forks, folder: Path, target: str, check: Callable[[Path, str], int], step: int
) -> tuple[int, int]:
    """At how many points it was killed, and the most that `check` said of one."""
    points = found = 0
    for name in WRITES.split(","):  # strace counts each kind of call by itself
        for n in itertools.count(1, step):
            here = folder / "here"
            shutil.copytree(folder / "template", here)
            inject = f"inject={name}:signal=SIGKILL:when={n}"
            process = forks.start(target, [str(here)], folder / "log")
            with traced(process.pid, "-e", f"trace={name}", "-e", inject):
                code = process.wait(60)
            assert code in {0, -signal.SIGKILL}, (folder / "log").read_text()[-2000:]
            found = max(found, check(here, process.said()))
            shutil.rmtree(here)
            if code == 0:  # there is no such call any more
                break
            points += 1
    return points, found


def _check(folder: Path, said: str) -> int:
    promised = cycle.promised(said)
    return cycle.check(folder, promised) - promised.slots


# ------------------------------------------------------------------- the control


def naive(words: Sequence[str]) -> None:
    """Keep a list of slots as many programs keep their state."""
    (name,) = words
    wait_for_tracer()
    path = Path(name) / "naive.json"
    slots = json.loads(path.read_text())
    for _ in range(3):
        slots.append(slots[-1] + 1)
        path.write_text(json.dumps(slots))


_lost = 0


def _check_naively(folder: Path, said: str) -> int:
    """How many points lost the state so far."""
    global _lost  # noqa: PLW0603 - one run at a time
    del said
    try:
        json.loads((folder / "naive.json").read_text())
    except ValueError:
        _lost += 1
    return _lost
