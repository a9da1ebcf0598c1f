"""Writers that a test kills: run in a process of their own, they say what they have kept."""

from __future__ import annotations

import multiprocessing
import os
import resource
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from unittest import mock

from joulemark_agent.contract.errors import StoreError
from joulemark_agent.envelope import warm
from joulemark_agent.outbox import Outbox
from support import evidence
from support.child import search_path
from support.recording import recorded, recorder, state

SLOTS, GROUP = 4000, 3
SITE = evidence.documents()
READINGS = evidence.meter_readings(SITE, [1000 + i for i in range(SLOTS)])

# One clean process imports everything; each writer is a fork of it, started in milliseconds.
warm(recorded(SITE).profile, recorded(SITE).carbon)
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["support.killed"])


def start(
    writer: Callable[[Path, Connection], None], folder: Path
) -> tuple[BaseProcess, Connection]:
    """The writer in a process of its own, and the end of the pipe on which it says what it kept."""
    mine, theirs = _CONTEXT.Pipe(duplex=False)
    process = _CONTEXT.Process(target=writer, args=(folder, theirs), daemon=True)
    search = {"PYTHONPATH": search_path()}
    with mock.patch.dict(os.environ, search):  # before 3.13 the preload does not see our sys.path
        process.start()
    theirs.close()
    return process, mine


def record(folder: Path, said: Connection) -> None:
    """Go on recording where the outbox ends; say the number of slots after every commit."""
    writer = recorder(Outbox(state(folder)), recorded(SITE), slots=20)
    done = writer.summary()[evidence.METER]["slots"]
    while done < len(READINGS):
        writer.commit(READINGS[done : done + GROUP])
        done += GROUP
        said.send(done)


def record_naively(folder: Path, said: Connection) -> None:
    """The same with a file that is flushed now and then, as a log is."""
    path = folder / "naive.txt"
    done = len(path.read_text().splitlines()) if path.exists() else 0
    with path.open("a") as file:
        while True:
            file.writelines(f"{done + i}\n" for i in range(GROUP))
            done += GROUP
            said.send(done)


def record_on_a_small_disk(folder: Path, said: Connection) -> None:
    """Commit until no file may grow, then again when it may; say each time what happened."""
    box = Outbox(state(folder))
    writer = recorder(box, recorded(SITE), slots=20)
    done = 0
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (96 * 1024, hard))
    while True:
        try:
            writer.commit(READINGS[done : done + GROUP])
        except StoreError as error:
            said.send((done, error.code, error.do))
            break
        done += GROUP
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    if box.needs_reopening:
        box.reopen()
        writer.resume()
    writer.commit(READINGS[done : done + GROUP])
    said.send((done + GROUP, "", ""))
    box.close()
