"""Two running copies of one gateway: the collector notices within two batches, and keeps the proof.

Both have the same key and the same state folder when they part, and read different values from then
on. They deliver in turns that are drawn. The control takes every leaf once by its number and
compares no root, as a database with a unique key does.
"""

import json
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from joulemark_agent.contract.batch import parse_batch
from joulemark_agent.contract.signature import (
    is_log_signed,
    parse_checkpoint,
    parse_note,
    public_key,
)
from joulemark_agent.contract.topics import origin
from joulemark_agent.contract.tree import Edge, append, root
from joulemark_gateway.evidence.store import FILE, SqliteStore
from support.clones import NaiveCollector, Run, live_on
from support.evidence import KEYS, METER, SITE
from support.intakes import new_intake
from support.present import present

ROUNDS, FEW = 200, 4
NAME = origin(SITE, METER, 1)


def judged(folder: Path, seed: int) -> Run:
    """What the collector's answers to two copies were."""
    folder.mkdir()
    intake = new_intake(folder / FILE)

    def deliver(topic: str, payload: bytes) -> str:
        answer = present(intake.take(topic, payload))
        is_refusal = answer.topic.endswith("refusal")
        return str(json.loads(answer.payload)["code"]) if is_refusal else "receipt"

    found = live_on(folder, seed, deliver)
    intake.close()
    return found


def check_proof(path: Path) -> None:
    """The batch that was kept is the key's own word for another history than the one held."""
    with closing(sqlite3.connect(path)) as db:
        [(code, payload)] = db.execute("SELECT code, payload FROM quarantine").fetchall()
    batch = parse_batch(payload)
    claimed = parse_checkpoint(parse_note(batch.checkpoint)[0])
    with SqliteStore(path, create=False) as store:
        held = store.leaves(NAME)
    assert code == "fork"
    assert is_log_signed(batch.checkpoint, public_key(KEYS.agent))
    before = append(Edge(), held[: batch.first_seq])
    assert root(append(before, batch.leaves)) == claimed.root, "it extends what both share"
    ours = held[batch.first_seq : claimed.size]
    assert list(batch.leaves[: len(ours)]) != ours, "and it is not what is held"


def naive(folder: Path, seed: int) -> bool:
    """The control: it notices nothing; whether it ends with a history that nobody signed."""
    collector = NaiveCollector()
    found = live_on(folder, seed, collector.deliver)
    assert set(found.late) == {"receipt"}
    held = root(append(Edge(), (leaf for _, leaf in sorted(collector.leaves.items()))))
    return held not in collector.signed


def run(seed: int, *, full: bool) -> dict[str, str]:
    """Two hundred pairs of copies; `full=False` four."""
    rounds = ROUNDS if full else FEW
    batches, mixed = [], 0
    with tempfile.TemporaryDirectory() as name:
        for number in range(rounds):
            folder = Path(name) / f"judged-{number}"
            found = judged(folder, seed * 1000 + number)
            assert found.late[-1] == "fork", f"seed {seed * 1000 + number}"
            assert "receipt" not in found.late, "nothing of the second history was taken"
            check_proof(folder / FILE)
            batches.append(len(found.late))
            mixed += naive(Path(name) / f"naive-{number}", seed * 1000 + number)
    assert max(batches) <= 2
    assert mixed > 0
    return {
        "pairs of copies, forks reported and proved": f"{rounds}, {len(batches)}",
        "batches of the second copy until the alarm": f"{min(batches)} to {max(batches)}",
        "control: noticed, ended with a history nobody signed": f"0, {mixed}",
    }
