"""An agent's process whose wall clock libfaketime sets while it runs; nothing else is faked."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from support.child import search_path
from support.needed import missing
from support.set_clocks import TrueMeter, enroll, metering, site_file

_WAIT_S = 60.0
_READINGS, _SILENCE_S = 3, 4.0  # that show how the clock stands


@dataclass(frozen=True)
class Life:
    """One start of the agent: how much later than ours its clock is, one after the other. [s]"""

    ahead_s: Sequence[int]
    silent: Collection[int] = ()  # places in it where nothing is read: its slots are recorded
    epoch: int | None = None  # to be opened before it
    environment: Mapping[str, str] | None = None


def library() -> str:
    """The library; without it the test is not run."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    return str(found[0]) if found else missing("libfaketime", "Debian: apt-get install faketime")


def until_s(utc: str) -> int:
    """How much later than now an instant is. [s]"""
    return round(
        time.mktime(time.strptime(utc, "%Y-%m-%dT%H:%M:%SZ")) - time.timezone - time.time()
    )


async def lived(folder: Path, lives: Sequence[Life]) -> tuple[TrueMeter, str]:
    """The meter that was read, and what the agent said; its evidence is in the state folder."""
    log = folder / "agent.log"
    async with metering() as (meter, port):
        path = site_file(folder, port)
        enroll(path)
        for life in lives:
            if life.epoch is not None:
                enroll(path, life.epoch)
            await _live(folder, path, life, meter)
    return meter, log.read_text()


async def _live(folder: Path, path: Path, life: Life, meter: TrueMeter) -> None:
    offset, log = folder / "offset", folder / "agent.log"
    _set(offset, life.ahead_s[0])
    environment = {
        **os.environ,
        "PYTHONPATH": search_path(),
        "LD_PRELOAD": library(),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        **(life.environment or {}),
    }
    command = [sys.executable, "-m", "support.under_faketime", "agent", "run", "-c", str(path)]
    with log.open("a") as said:
        process = subprocess.Popen(  # noqa: ASYNC220 - forking is what is wanted
            command, env=environment, stdout=said, stderr=said
        )
        try:
            async with asyncio.timeout(_WAIT_S * len(life.ahead_s)):
                for place, ahead_s in enumerate(life.ahead_s):
                    _set(offset, ahead_s)
                    known = len(meter.served)
                    if place in life.silent:
                        await asyncio.sleep(_SILENCE_S)
                        assert len(meter.served) == known, "a slot was read twice"
                    while place not in life.silent and len(meter.served) < known + _READINGS:
                        assert process.poll() is None, log.read_text()[-2000:]
                        await asyncio.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, _WAIT_S) == 0, log.read_text()[-2000:]
        finally:
            process.kill()
            process.wait()


def _set(offset: Path, by_s: int) -> None:
    """Set the clock, at once: the file is never seen half written."""
    new = offset.with_suffix(".new")
    new.write_text(f"{by_s:+d}\n")
    new.rename(offset)
