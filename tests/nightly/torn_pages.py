"""The agent is killed while it publishes, and a file of its outbox loses the end of its last pages.

What a disk does that says it has flushed and has not. Each time the outbox is opened again, and
sends what it has to the same collector. Nothing that it holds is contradicted, no slot is lost
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
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from joulemark_agent import outbox
from joulemark_agent.backlog import ASIDE
from joulemark_agent.contract.reading import Gap, Reading
from joulemark_agent.contract.sparse import Withheld
from joulemark_agent.envelope import warm
from joulemark_agent.outbox import Outbox
from joulemark_gateway.evidence.store import SqliteStore
from support import evidence
from support.collecting import LOST
from support.evidence import AGENT, METER, PERIOD_US, START_US
from support.forks import Forks
from support.intakes import new_intake
from support.large_outbox import large_outbox
from support.recording import batches_of, recorded, recorder, state

ROUNDS, FEW = 1000, 12
SITE = evidence.documents()
SLOTS, GROUP, LIFE = 3, 4, 25  # slots of a batch, of a commit; rounds before it begins anew
TOGETHER = 8  # batches of a group
LAST_BYTES = 4 * 4096
GB = 1_000_000_000


@dataclass
class Found:
    """What all rounds came to."""

    rounds: int = 0
    torn: Counter[str] = field(default_factory=Counter)
    slots: int = 0  # that the collector holds as records
    told: int = 0  # as gaps or discontinuities
    ended: int = 0  # epochs, where nothing here tells what was signed last
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
        "slots held, none contradicted": str(found.slots),
        "slots said to be missing": str(found.told),
        "slots lost unsaid, slots twice": "0, 0",
        "epochs that ended, told of by the next": str(found.ended),
        "longest start": f"{found.longest_start_s:.2f} s",
        "start with a backlog of " + ("1 GB" if full else "0.1 GB"): f"{start_s:.2f} s",
        "control (no index of heads)": f"{forks_of_control} second histories",
    }


# ---------------------------------------------------------------- the one that is killed


def prepare() -> None:
    """Whatever takes long; groups are small, so that there are some to tear."""
    outbox.MOST_BATCHES, outbox._LOOSE = TOGETHER, 2 * TOGETHER
    warm(recorded(SITE).profile, recorded(SITE).carbon)
    _readings()


@cache
def _readings() -> list[Reading | Gap]:
    return evidence.meter_readings(SITE, [1000 + i for i in range(40_000)])


def publish(words: Sequence[str]) -> None:
    """Read, commit, send and take receipts until killed; what is printed is with the collector."""
    name, epoch = words
    box = Outbox(state(Path(name)))
    writer = recorder(box, recorded(SITE, epoch=int(epoch)), slots=SLOTS)
    last_us = writer.committed_us(METER)
    done = 0 if last_us is None else (last_us - START_US) // PERIOD_US + 1
    rng = random.Random(done)
    is_heard = rng.random() < 0.5  # the others get no receipt, and so more and more waits
    while True:
        writer.commit(_readings()[done : done + GROUP])
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
            if size and is_heard and rng.random() < 0.7:  # a receipt may come late or never
                box.receipt(*place, size)
        box.upkeep()


def _live(forks: Forks, folder: Path, rng: random.Random, found: Found, rounds: int) -> None:
    """One outbox and one collector, torn again and again."""
    epoch = 1
    with closing(Collector(folder / "collector")) as collector:
        for _ in range(rounds):
            is_contradicted = not collector.take(_kill(forks, folder, epoch, rng))
            found.torn[_tear(folder, rng)] += 1
            found.rounds += 1
            begun_s = time.monotonic()
            with closing(Outbox(state(folder))) as box:
                found.longest_start_s = max(found.longest_start_s, time.monotonic() - begun_s)
                if is_contradicted:
                    box.end(METER, epoch, "the collector holds another head")
                if (METER, epoch) in {(item.device, item.epoch) for item in box.ended()}:
                    epoch, found.ended = epoch + 1, found.ended + 1
        with closing(Outbox(state(folder))) as box:
            recorder(box, recorded(SITE, epoch=epoch), slots=SLOTS).seal_all()
            rest = [
                {"kind": batch.kind, "payload": base64.b64encode(batch.payload).decode()}
                for batch in batches_of(box, epoch=epoch)
            ]
        assert collector.take(rest), "what is left contradicts nothing"
        trees = collector.trees()
    for ended in range(1, epoch):
        opening = [json.loads(leaf) for leaf in trees[ended + 1][:3]]
        assert opening[2]["type"] == "discontinuity", "the next epoch tells of it"
        assert opening[2]["old_epoch"] == ended
    records, others = _account(trees[epoch])
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


class Collector:
    """The product's intake over a store of its own, and what it holds in the end."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "evidence.sqlite"
        self._intake = new_intake(self._path)

    def take(self, said: Sequence[Mapping[str, str]]) -> bool:
        """Take what was sent; False where it contradicts what is held."""
        for item in said:
            topic = f"joulemark/v1/up/{AGENT}/{METER}/{item['kind']}"
            answer = self._intake.take(topic, base64.b64decode(item["payload"]))
            assert answer is not None
            if answer.topic.endswith("refusal"):
                code = json.loads(answer.payload)["code"]
                assert code in {"fork", "bad_envelope", "bad_root"}, answer.payload
                return False
        return True

    def trees(self) -> dict[int, list[bytes]]:
        """The leaves of each epoch; one that stayed away is LOST."""
        found = {}
        with SqliteStore(self._path, create=False) as store:
            for head in store.heads():
                parts = store.parts(head.origin, 0, head.size)
                found[head.epoch] = [
                    LOST if isinstance(part, Withheld) else part
                    for part in parts
                    for _ in range(part.count if isinstance(part, Withheld) else 1)
                ]
        return found

    def close(self) -> None:
        """Give the store back."""
        self._intake.close()


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


# ------------------------------------------------------------------- the control


def _control(forks: Forks, folder: Path, rng: random.Random) -> int:
    """How many of some outboxes without an index of heads sign what contradicts the collector."""
    second = 0
    for life in range(4):
        here = folder / str(life)
        with closing(Collector(here / "collector")) as collector:
            for _ in range(4):
                if not collector.take(_kill(forks, here, 1, rng)):
                    second += 1
                    break
                for path in state(here).parent.glob("outbox*"):
                    if "covers" in path.name or path.name.endswith("-shm"):
                        path.unlink()
                log = state(here).with_name("outbox.db-wal")
                os.truncate(log, rng.randrange(log.stat().st_size // 2))
                with closing(Outbox(state(here))) as box:
                    if box.ended():  # by luck a group told it what was sent
                        break
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
