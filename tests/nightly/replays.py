"""Batches come again, shuffled and interleaved from twenty devices: the ledger ends the same.

Every sequence is drawn from the seed: each batch arrives one to ten times, in any order, at one
collector or at either of two on one store, in every tenth sequence at both at once. What is missing
in the end is sent again in order, as an agent does. Heads, batches, leaves, notes and documents
must then be those of one collector that got everything once. The same sequences go to a ledger that
knows what came in the last two minutes only, which must hold rows twice.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from joulemark_agent.contract.batch import batch_bytes
from joulemark_agent.contract.reading import Reading
from joulemark_agent.contract.topics import batch_topic
from joulemark_gateway.evidence.base import Head, StoredBatch
from joulemark_gateway.evidence.store import SqliteStore
from joulemark_gateway.ingest.intake import Intake
from support import evidence
from support.book import registry
from support.evidence import AGENT, build_tree, documents, uncosigned
from support.intakes import new_intake

SEQUENCES, FEW = 10_000, 75
DEVICES = [f"meter-{number:02}" for number in range(1, 21)]
BATCHES, SLOTS = 2, 2
MOST_TIMES = 10
WINDOW_S, LONGEST_S = 120.0, 30.0  # of the mutant's memory; between two messages


@dataclass(frozen=True)
class Message:
    """One batch on its way."""

    device: str
    first_seq: int
    payload: bytes = field(repr=False)

    @property
    def topic(self) -> str:
        """Where it is published."""
        return batch_topic(AGENT, self.device)


def messages() -> list[Message]:
    """The batches of twenty devices, of each in order."""
    mapping = evidence.profile_mapping("virtual_production_counter")
    site = documents(profiles=dict.fromkeys(DEVICES, mapping))
    readings = evidence.counter_readings(site, [10] * (BATCHES * SLOTS - 1))
    found = []
    for device in DEVICES:
        own = [replace(r, device=device) for r in readings if isinstance(r, Reading)]
        tree = build_tree(site, device, own, slots_per_batch=SLOTS)
        found += [Message(device, b.first_seq, batch_bytes(uncosigned(b))) for b in tree]
    return found


def drawn(draw: random.Random, every: Sequence[Message]) -> list[Message]:
    """Each message once to ten times, most of them once, in any order."""
    times = [draw.choice((1, 1, 1, 1, draw.randint(2, MOST_TIMES))) for _ in every]
    found = [message for message, count in zip(every, times, strict=True) for _ in range(count)]
    draw.shuffle(found)
    return found


Held = tuple[list[Head], list[list[StoredBatch]], list[list[bytes]], dict[str, bytes]]


def held(path: Path) -> Held:
    """All that a store says of itself."""
    with SqliteStore(path, create=False) as store:
        heads = store.heads()
        names = [head.origin for head in heads]
        batches = [store.batches(name) for name in names]
        return heads, batches, [store.leaves(name) for name in names], store.documents()


def collected(
    path: Path,
    sequence: Sequence[Message],
    every: Sequence[Message],
    draw: random.Random,
    collectors: int,
    *,
    at_once: bool,
) -> Held:
    """What a store holds after a sequence and what was missing, in order."""
    with ExitStack() as opened:
        intakes = [
            opened.enter_context(closing(new_intake(path, registry(devices=DEVICES), step_us=0)))
            for _ in range(collectors)
        ]
        if at_once:
            with ThreadPoolExecutor(collectors) as pool:
                list(pool.map(_take_all, intakes, [sequence] * collectors))
        else:
            for message in sequence:
                _take_all(draw.choice(intakes), [message])
        _take_all(intakes[0], missing(path, every))
    return held(path)


def missing(path: Path, every: Sequence[Message]) -> list[Message]:
    """What an agent still has no receipt for."""
    with SqliteStore(path, create=False) as store:
        sizes = {head.grant["dev"]: head.size for head in store.heads()}
    return [message for message in every if message.first_seq >= sizes.get(message.device, 0)]


def _take_all(intake: Intake, sequence: Iterable[Message]) -> None:
    for message in sequence:
        assert intake.take(message.topic, message.payload) is not None


def forgetful(draw: random.Random, sequence: Sequence[Message], every: Sequence[Message]) -> bool:
    """Whether a ledger that forgets what it took after a while holds a batch twice."""
    rows: list[tuple[str, int]] = []
    seen_s: dict[tuple[str, int], float] = {}
    now_s = 0.0
    for message in (*sequence, *every):
        now_s += draw.uniform(0, LONGEST_S)
        key = (message.device, message.first_seq)
        if now_s - seen_s.get(key, -WINDOW_S) >= WINDOW_S:
            rows.append(key)
        seen_s[key] = now_s
    return len(rows) > len(every)


def run(seed: int, *, full: bool) -> dict[str, str]:
    """Ten thousand sequences; `full=False` 75."""
    draw, count = random.Random(seed), SEQUENCES if full else FEW
    every = messages()
    arrived = same = doubled = 0
    shared = Path("/dev/shm")  # no disk is asked for anything here
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as name:
        once = collected(Path(name) / "once.db", [], every, draw, 1, at_once=False)
        for number in range(count):
            sequence, path = drawn(draw, every), Path(name) / f"{number}.db"
            collectors = 1 + number % 2
            found = collected(path, sequence, every, draw, collectors, at_once=number % 10 == 1)
            same += found == once
            doubled += forgetful(draw, sequence, every)
            arrived += len(sequence)
            for left in path.parent.glob(f"{number}.db*"):
                left.unlink()
    assert same == count, f"{count - same} of {count} sequences ended otherwise"
    assert doubled > 0.9 * count, f"the mutant fails in {doubled} of {count} only"
    return {
        "sequences": f"{count:,}, half of them at two collectors on one store",
        "batches that arrived": f"{arrived:,} of {len(DEVICES)} devices",
        "sequences that ended with the same heads, roots and rows": f"{same:,}",
        "mutant with a window of 120 s: sequences with rows twice": f"{doubled:,}",
    }
