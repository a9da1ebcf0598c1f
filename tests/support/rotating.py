"""An agent that is given a new key, and dies at a chosen moment of it: shared by its tests."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from contextlib import closing
from functools import wraps
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from joulemark_agent.contract.batch import parse_batch
from joulemark_agent.contract.signature import encode64, public_key
from joulemark_agent.keys import AGENT_KEY, Key, load_key
from joulemark_agent.outbox import Outbox
from joulemark_agent.rotation import (
    next_key,
    note_former,
    request_rotation,
    settled_key,
    take_over,
)
from support import evidence, killed
from support.book import Book
from support.evidence import COUNTER, METER
from support.recording import KEY, batches_of, recorded, recorder, state

SITE = evidence.documents()
DEVICES = METER, COUNTER
READINGS = {
    METER: evidence.meter_readings(SITE, [1000] * 400),
    COUNTER: evidence.counter_readings(SITE, [100] * 400),
}
GROUP = 3  # slots of each device that one life of the agent records, and leaves unsealed


def prepare(folder: Path) -> None:
    """A state folder with the key that the grants name."""
    state(folder).parent.mkdir(parents=True)
    path = state(folder).parent / AGENT_KEY
    path.write_text(encode64(KEY.private) + "\n")
    path.chmod(0o600)


def live(folder: Path) -> None:
    """One life of the agent: settle what was begun, take a new key into use, record some slots."""
    home = state(folder).parent
    key = load_key(home / AGENT_KEY)
    with closing(Outbox(state(folder))) as box:
        key = settled_key(home, key, [tree.head for tree in box.trees()])
        writer = recorder(box, *(recorded(SITE, device) for device in DEVICES), slots=4, key=key)
        record(writer)
        if (new := next_key(home)) is not None:
            note_former(home, key)
            writer.rotate(new)
            take_over(home, new)
        record(writer)


def record(writer: Any) -> None:
    """Commit the next slots of both devices."""
    found = writer.summary()
    done = [(device, found[device]["slots"]) for device in DEVICES]
    writer.commit([r for device, at in done for r in READINGS[device][at : at + GROUP]])


def rotate(folder: Path, number: int = 1) -> Key:
    """Ask for a new key and live until it is in use, so many times; the key."""
    for _ in range(number):
        _, new = request_rotation(state(folder).parent)
        live(folder)
    return new


def judged(folder: Path) -> Book:
    """The collector's ledger after it was offered all that waits; it must take every batch."""
    book = Book()
    with closing(Outbox(state(folder))) as box:
        for device in DEVICES:
            book.offer_all([parse_batch(batch.payload) for batch in batches_of(box, device)])
    return book


def holds(folder: Path, secret: bytes) -> list[str]:
    """The files of the state folder in which a private key can be read."""
    text = encode64(secret).encode()
    files = [path for path in state(folder).parent.rglob("*") if path.is_file()]
    return sorted(path.name for path in files if text in path.read_bytes())


def die_at(count: int, said: Callable[[int], None]) -> None:
    """Have this process killed by SIGKILL before its so many-th step that reaches the disk."""
    seen = 0

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def step(*args: Any, **named: Any) -> Any:
            nonlocal seen
            seen += 1
            said(seen)
            if seen == count:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **named)

        return step

    for name in ("fsync", "replace", "rename", "link", "unlink", "chmod"):
        setattr(os, name, counted(getattr(os, name)))
    Outbox.commit = counted(Outbox.commit)  # type: ignore[method-assign]


def rotate_and_die(folder: Path, said: Connection) -> None:
    """The step before which to die is told by a file; what is said: how many steps there were."""
    count = int((folder / "die_at").read_text())
    die_at(count, said.send)
    rotate(folder)


def rotate_until_killed(template: Path, folder: Path, count: int) -> bool:
    """A copy of a state folder, of which a rotation was killed at this step; whether it was."""
    shutil.copytree(template, folder)
    (folder / "die_at").write_text(str(count))
    process, pipe = killed.start(rotate_and_die, folder)
    process.join()
    pipe.close()
    return process.exitcode == -signal.SIGKILL


def public_of(private: bytes) -> bytes:
    """The public half."""
    return public_key(private)
