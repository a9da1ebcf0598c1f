"""The agent is killed while it publishes, and a file of its outbox loses the end of its last pages.

What a disk does that says it has flushed and has not. Each time the outbox is opened again, and
sends what it has to the same ledger. Nothing that the ledger has is contradicted, no slot is lost
unsaid, and none is counted twice. The start is timed, also with 1 GB waiting. The control is an
outbox without the index of heads: it signs two histories.
"""

from __future__ import annotations

import base64
import json
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from joulemark_agent.backlog import ASIDE
from joulemark_agent.contract.batch import parse_batch
from joulemark_agent.contract.sparse import SparseBatch, parse_sparse
from joulemark_agent.covers import SPARSE
from joulemark_agent.envelope import warm
from joulemark_agent.outbox import Outbox
from support import evidence
from support.collecting import LOST, Ledger, origin_of
from support.evidence import METER, PERIOD_US, START_US
from support.forks import Forks
from support.large_outbox import large_outbox
from support.recording import recorded, recorder, state

ROUNDS, FEW = 1000, 12
SITE = evidence.documents()
READINGS = evidence.meter_readings(SITE, [1000 + i for i in range(40_000)])
SLOTS, GROUP, LIFE = 3, 4, 25  # slots of a batch, of a commit; rounds before it begins anew
LAST_BYTES = 4 * 4096
GB = 1_000_000_000


@dataclass
class Found:
    """What all rounds came to."""

    rounds: int = 0
    torn: Counter[str] = field(default_factory=Counter)
    slots: int = 0  # that the ledger has as records
    told: int = 0  # as gaps or discontinuities
    ended: int = 0  # epochs, where nobody here knew what had been signed
    longest_start_s: float = 0.0


def run(seed: int, *, full: bool) -> dict[str, str]:
    """Tear a thousand times in the full form."""
    rng = random.Random(seed)
    found = Found()
    with (
        tempfile.TemporaryDirectory() as name,
        Forks("nightly.torn_pages:prepare") as forks,
    ):
        folder = Path(name)
        rounds = ROUNDS if full else FEW
        for life in range(-(-rounds // LIFE)):
            _live(forks, folder / str(life), rng, found, min(LIFE, rounds - life * LIFE))
        forks_of_control = _control(forks, folder / "control", rng)
        start_s = _start_large(folder / "large", rng, GB if full else GB // 10)
    assert forks_of_control, "the control signs one history: the test proves nothing"
    assert start_s < 3.0, f"{start_s:.1f} s"
    return {
        "kills, each with a torn file": f"{found.rounds}: {dict(found.torn)}",
        "slots in the ledger, none contradicted": str(found.slots),
        "slots said to be missing": str(found.told),
        "slots lost unsaid, slots twice": "0, 0",
        "epochs that only the collector could end": str(found.ended),
        "longest start": f"{found.longest_start_s:.2f} s",
        "start with a backlog of " + ("1 GB" if full else "0.1 GB"): f"{start_s:.2f} s",
        "control (no index of heads)": f"{forks_of_control} second histories",
    }


# ---------------------------------------------------------------- the one that is killed


def prepare() -> None:
    """Whatever takes long."""
    warm(recorded(SITE).profile, recorded(SITE).carbon)


def publish(words: Sequence[str]) -> None:
    """Read, commit, send and take receipts until killed; what is printed is with the collector."""
    name, epoch = words
    box = Outbox(state(Path(name)))
    writer = recorder(box, recorded(SITE, epoch=int(epoch)), slots=SLOTS)
    last_us = writer.committed_us(METER)
    done = 0 if last_us is None else (last_us - START_US) // PERIOD_US + 1
    rng = random.Random(done)
    while True:
        writer.commit(READINGS[done : done + GROUP])
        done += GROUP
        for place in box.waiting():
            seq, size = 0, 0
            for _ in range(rng.randrange(4)):
                batch = box.next_batch(*place, seq)
                if batch is None:
                    break
                seq = size = batch.size
                said = {"kind": batch.kind, "payload": base64.b64encode(batch.payload).decode()}
                os.write(1, json.dumps(said).encode() + b"\n")
            if size and rng.random() < 0.7:  # a receipt may come late or never
                box.receipt(*place, size)
        box.upkeep()


def _live(forks: Forks, folder: Path, rng: random.Random, found: Found, rounds: int) -> None:
    """One outbox and one ledger, torn again and again."""
    ledger, epoch = Ledger(), 1
    for _ in range(rounds):
        said = _kill(forks, folder, epoch, rng)
        is_known = _take(ledger, said)
        if not is_known:
            epoch, found.ended = epoch + 1, found.ended + 1
            with closing(Outbox(state(folder))) as box:
                box.end(METER, epoch - 1, "the collector holds another head")
        found.torn[_tear(folder, rng)] += 1
        found.rounds += 1
        begun_s = time.monotonic()
        with closing(Outbox(state(folder))):
            found.longest_start_s = max(found.longest_start_s, time.monotonic() - begun_s)
    with closing(Outbox(state(folder))) as box:
        recorder(box, recorded(SITE, epoch=epoch), slots=SLOTS).seal_all()
        rest = [
            {"kind": batch.kind, "payload": base64.b64encode(batch.payload).decode()}
            for place in box.waiting()
            for batch in _all(box, place)
        ]
    assert _take(ledger, rest), "what is left contradicts nothing"
    for leaves in ledger.leaves.values():
        records, others = _account(leaves)
        found.slots += records
        found.told += others


def _kill(forks: Forks, folder: Path, epoch: int, rng: random.Random) -> list[dict[str, str]]:
    """Let it publish for a while; what it said before it was killed."""
    log = folder.with_suffix(".log")
    process = forks.start("nightly.torn_pages:publish", [str(folder), str(epoch)], log)
    before = 0
    while before < 3 and process.poll() is None:
        before = process.said().count("\n")
        time.sleep(0.01)
    time.sleep(rng.uniform(0.0, 0.1))
    assert process.poll() is None, log.read_text()[-3000:]
    process.kill()
    process.wait()
    lines = process.said().split("\n")[:-1]  # the last one may be cut
    return [json.loads(line) for line in lines]


def _tear(folder: Path, rng: random.Random) -> str:
    """Cut a file of the outbox off at a random byte of its last pages; which one."""
    home = state(folder).parent
    both = rng.random() < 0.1
    databases = [
        path for path in home.glob("outbox*.db*") if not path.name.endswith(("lock", "shm"))
    ]
    groups = sorted(home.glob("outbox-backlog/*.group"), key=lambda path: path.stat().st_mtime)
    logs = [path for path in databases if path.name.endswith("-wal")]
    chosen = logs if both and len(logs) == 2 else [rng.choice([*databases, *groups[-1:]])]
    for path in chosen:
        size = path.stat().st_size
        os.truncate(path, rng.randrange(max(size - LAST_BYTES, 0), size + 1))
    for index in home.glob("*-shm"):  # as after a start of the machine
        index.unlink()
    if len(chosen) == 2:
        return "both logs"
    name = chosen[0].name
    return "a group" if name.endswith(".group") else name


def _take(ledger: Ledger, said: list[dict[str, str]]) -> bool:
    """Have the ledger take what was sent; False where it contradicts what is held."""
    for item in said:
        data = base64.b64decode(item["payload"])
        batch = parse_sparse(data) if item["kind"] == SPARSE else parse_batch(data)
        name = origin_of(batch)
        held = len(ledger.leaves.get(name, []))
        if isinstance(batch, SparseBatch) and batch.size <= held:
            continue  # the collector has them whole
        try:
            ledger.take(name, batch)
        except AssertionError:
            return False
    return True


def _account(leaves: Sequence[bytes]) -> tuple[int, int]:
    """How many slots are records, and how many are said to be missing; each stands once."""
    records: set[int] = set()
    others: set[int] = set()
    for leaf in leaves:
        content = {} if leaf == LOST else json.loads(leaf)
        if "raw" in content:
            assert int(content["slot"]) not in records, "a slot is there twice"
            records.add(int(content["slot"]))
        elif content.get("type") in {"gap", "discontinuity"} and content.get("first_slot"):
            first_us, last_us = int(content["first_slot"]), int(content["last_slot"])
            others |= set(range(first_us, last_us + 1, PERIOD_US))
    others -= records  # lost at the agent, and held by the collector
    if records:
        whole = records | others
        assert len(whole) == (max(whole) - min(whole)) // PERIOD_US + 1, "a slot is lost unsaid"
    return len(records), len(others)


def _all(box: Outbox, place: tuple[str, int]) -> list:  # type: ignore[type-arg]
    found = []
    while (batch := box.next_batch(*place, found[-1].size if found else 0)) is not None:
        found.append(batch)
    return found


# ------------------------------------------------------------------- the control


def _control(forks: Forks, folder: Path, rng: random.Random) -> int:
    """How often an outbox alone signs what contradicts the ledger, in some rounds."""
    ledger, second = Ledger(), 0
    for _ in range(8):
        said = _kill(forks, folder, 1, rng)
        if not _take(ledger, said):
            second += 1
            ledger = Ledger()
        home = state(folder).parent
        for path in home.glob("outbox-covers.db*"):
            path.unlink()
        log = home / "outbox.db-wal"
        if log.exists():
            os.truncate(log, rng.randrange(log.stat().st_size // 2))
        for index in home.glob("*-shm"):
            index.unlink()
    return second


def _start_large(folder: Path, rng: random.Random, size_bytes: int) -> float:
    """How long the start takes where so much waits and its end is torn. [s]"""
    large_outbox(folder, size_bytes)
    groups = sorted(state(folder).parent.glob("outbox-backlog/*.group"))
    os.truncate(rng.choice(groups), 1000)
    begun_s = time.monotonic()
    with closing(Outbox(state(folder))) as box:
        took_s = time.monotonic() - begun_s
        assert sum(box.waiting().values()) > 1000
        assert (state(folder).parent / ASIDE).exists()
    return took_s
