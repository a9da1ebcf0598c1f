"""The engine beside opendsm, in one run: times, memory, errors, and what the intervals hold.

opendsm is installed in an environment of its own, from the exact versions of peers.txt, and kept
for the next run. Both sides take turns, five times each: times of a busy machine mean little, the
ratios of one run more. `JOULEMARK_DATA` names the folder of the meters.
"""

from __future__ import annotations

import os
import platform
import tempfile
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import pytest

from support import peer_accuracy, peer_cases, peer_environment, peer_speed

DAILY, HOURLY = ("daily", "legacy"), ("hourly", "caltrack-hourly")


def run(seed: int, *, full: bool) -> dict[str, str]:
    """Everything; the short form is the daily models, and only where the environment is."""
    named = os.environ.get("JOULEMARK_DATA")
    if not named:
        pytest.skip("JOULEMARK_DATA is not set: it names the folder of recorded plant data")
    data = Path(named)
    wanted = full or bool(os.environ.get(peer_environment.ASKED))
    python = peer_environment.python(make=wanted)
    day = peer_cases.electricity(data)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        figures = machine() | peer_speed.compared(
            python, day.written(folder), peer_speed.DAILY_PEERS, peer_speed.DAYS, seed
        )
        peer = stack.enter_context(peer_accuracy.asked(python, folder))
        if not full:
            return figures | peer_accuracy.days(peer, [day])
        hour, buildings = peer_cases.house(data), peer_cases.buildings(data)
        figures |= peer_speed.compared(
            python, hour.written(folder), peer_speed.HOURLY_PEERS, peer_speed.HOURS, seed
        )
        figures |= peer_speed.memory(day.written(folder), seed)
        figures |= peer_accuracy.days(peer, [day, peer_cases.gas(data)])
        figures |= peer_accuracy.hours(peer, hour)
        figures |= peer_accuracy.known(peer, buildings, DAILY + HOURLY)
        figures |= peer_accuracy.widths(peer, day, hour, DAILY + HOURLY)
        return figures | peer_accuracy.simulated(peer, data, DAILY)


def machine() -> dict[str, str]:
    """Where and with what it was measured."""
    own = ", ".join(f"{name} {version(name)}" for name in ("numpy", "numba"))
    pins = peer_environment.PINS.read_text("utf-8").split()
    theirs = [one.replace("==", " ") for one in pins if one.startswith(("opendsm=", "numba="))]
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    busy = "; busy with other work, so only ratios say much" if os.getloadavg()[0] > 1 else ""
    return {
        "machine": f"{os.cpu_count()} cores ({platform.machine()}),"
        f" load before the run {load}{busy}",
        "run again": "`JOULEMARK_DATA=FOLDER python -m tests.nightly peers`; it installs the"
        " peer in the user's cache folder where it is not there, and takes ten minutes of a core",
        "ours with": own,
        "the peer": ", ".join(theirs),
    }
