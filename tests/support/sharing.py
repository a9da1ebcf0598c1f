"""Two collectors on one ledger and one subscription, killed at random before a crowd of agents."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from joulemark_agent import cli
from joulemark_agent.contract.signature import Checkpoint, encode64, public_key
from joulemark_agent.contract.tree import Edge, append, root
from joulemark_gateway.broker import start_broker
from joulemark_gateway.evidence import shared
from joulemark_gateway.evidence.base import Accepted, EvidenceStore
from joulemark_gateway.evidence.entries import parse_entry
from joulemark_gateway.evidence.ledger import Ledger, SqliteLedger
from joulemark_gateway.ingest.registered import Agent, Registry
from support import crowd
from support.accounts import accounted_of
from support.evidence import KEYS, SITE
from support.forks import JOULEMARK, Forked, Forks, until
from support.intakes import new_intake
from support.postgres import Cluster

PRELOAD = (
    "joulemark_gateway.app",
    "joulemark_gateway.evidence.shared",
    "support.sharing",
    "support.crowd:ready",
)
GROUP, HASTY = "collect", "support.sharing:hasty"
COMMIT_EVERY, COMMIT_S = 8, 0.3  # of the control


@dataclass
class Shared:
    """What runs: the collectors by name, the crowd, and where all of it is."""

    folder: Path
    forks: Forks
    cluster: Cluster
    ledger: shared.PostgresLedger
    url: str
    agents: int
    target: str = JOULEMARK
    collectors: dict[str, Forked] = field(default_factory=dict)
    heard: dict[str, int] = field(default_factory=dict)  # connections before the last start
    crowd: Forked | None = None

    def prepare(self, names: Sequence[str]) -> None:
        """Write a file and a state folder for each; all have one witness key."""
        key = self.folder / "witness.key"
        if not key.exists():
            write_key(key)
        for name in names:
            state = self.folder / name
            state.mkdir(mode=0o700)
            shutil.copy(key, state / "witness.key")
            text = crowd.collector_file(
                self.agents,
                state_dir=str(state),
                broker={"url": self.url, "group": GROUP},
                ledger={"kind": "postgresql", "url": self.ledger.server.url},
                log={"close_every_s": 1},
            )
            (self.folder / f"{name}.yaml").write_text(text)

    def start(self, name: str) -> None:
        """Start a collector, and do not wait."""
        self.heard[name] = self._connections(name)
        words = ["collector", "run", "-c", str(self.folder / f"{name}.yaml")]
        self.collectors[name] = self.forks.start(self.target, words, self.folder / f"{name}.log")

    def listens(self, name: str) -> bool:
        """Whether the collector that was started last under this name has subscribed."""
        return self._connections(name) > self.heard[name]

    def _connections(self, name: str) -> int:
        log = self.folder / f"{name}.log"
        return log.read_text().count('"broker_connected"') if log.exists() else 0

    def kill(self, name: str) -> None:
        """SIGKILL."""
        process = self.collectors.pop(name)
        process.kill()
        process.wait()

    def begin(self, pause_s: float, *words: str) -> None:
        """Start the crowd."""
        asked = [str(self.folder), self.url, str(self.agents), str(pause_s), *words]
        self.crowd = self.forks.start("support.crowd:run", asked, self.folder / "crowd.log")

    def end(self, within_s: float) -> dict[str, int]:
        """Let the crowd send what it has, and stop everything; slots by tree."""
        assert self.crowd is not None
        (self.folder / crowd.STOP).touch()
        said, _ = self.crowd.communicate(within_s)
        assert self.crowd.returncode == 0, (self.folder / "crowd.log").read_text()[-3000:]
        for process in self.collectors.values():
            process.terminate()
        for process in self.collectors.values():
            assert process.wait(60) == 0
        found: dict[str, int] = json.loads(said)
        return found

    def rows(self, sql: str) -> list[Any]:
        """What an administrator finds in the ledger."""
        return self.cluster.admin(sql, self.ledger.server.url.rpartition("/")[2])

    def leaves(self) -> int:
        """How many leaves the ledger holds."""
        [(found,)] = self.rows("SELECT coalesce(sum(size), 0)::bigint FROM joulemark.tree")
        return int(found)


def write_key(path: Path) -> None:
    """The witness key that the crowd knows, in the form of the product's key files."""
    path.touch(mode=0o600)
    path.write_text(encode64(KEYS.witness) + "\n")


@contextmanager
def running(
    folder: Path, cluster: Cluster, agents: int, names: Sequence[str], target: str = JOULEMARK
) -> Iterator[Shared]:
    """Mosquitto, a new ledger and these collectors; the crowd has not begun."""
    with (
        mock.patch.dict(os.environ, cluster.environment()),
        Forks(*PRELOAD) as forks,
        start_broker("mosquitto") as broker,
    ):
        made = Shared(folder, forks, cluster, cluster.ledger(), broker.url, agents, target)
        made.prepare(names)
        for name in names:
            made.start(name)
        for name in names:
            until(lambda name=name: made.listens(name), f"collector {name} listens")
        yield made


@dataclass(frozen=True)
class Killed:
    """What a run of kills has shown."""

    kills: int
    moving: int  # of them after something had arrived since the last
    took_s: tuple[float, ...]  # from a kill to the next batch in the ledger
    slots: Mapping[str, int]  # that the crowd read, by tree


def killed(
    made: Shared, draw: random.Random, kills: int, *, pause_s: float, spread_s: float
) -> Killed:
    """Kill a collector at random moments and start it again; then let the crowd send the rest."""
    made.begin(pause_s)
    until(lambda: made.leaves() > 0, "the first batch is held")
    took_s, moving, held = [], 0, 0
    for _ in range(kills):
        name = draw.choice(sorted(made.collectors))
        until(lambda name=name: made.listens(name), f"collector {name} listens")
        time.sleep(draw.uniform(0.0, spread_s))  # not to be safe, but to hit any moment
        before, held = held, made.leaves()
        moving += held > before
        made.kill(name)
        held = made.leaves()
        made.start(name)
        took_s.append(until(lambda held=held: made.leaves() > held, "batches arrive on"))
    slots = made.end(120.0)
    return Killed(kills, moving, tuple(took_s), slots)


def lost_by(
    made: Shared, draw: random.Random, kills: int, *, pause_s: float, spread_s: float
) -> int:
    """Kill the only collector at random moments; the leaves that are gone for good then."""
    [name] = made.collectors
    made.begin(pause_s, "without the rest")
    held = 0
    for number in range(kills):
        if number:
            made.start(name)
        until(lambda held=held: made.leaves() > held, "batches arrive")
        time.sleep(draw.uniform(0.0, spread_s))
        made.kill(name)
        held = made.leaves()
    made.end(60.0)
    return lost(made)


def alone(folder: Path, agents: int) -> Ledger:
    """The ledger of a single collector that was fed what the crowd signed, in order."""
    path = folder / "alone" / "evidence.sqlite"
    listed = {
        one.agent: Agent(one.agent, SITE, one.key.public, frozenset({one.device}))
        for one in crowd.members(agents)
    }
    operators = frozenset({public_key(KEYS.operator)})
    trusted = Registry(listed, operators, accept_simulated=True)
    with closing(new_intake(path, trusted)) as intake:
        for topic, payload in crowd.sent(folder):
            answer = intake.take(topic, payload)
            assert answer is not None
            assert answer.has_grown, answer
    return SqliteLedger(path)


def heads(store: EvidenceStore) -> dict[str, Checkpoint]:
    """The head of every tree."""
    return {head.origin: Checkpoint(head.origin, head.size, head.root) for head in store.heads()}


def ledger_root(found: Mapping[str, Checkpoint]) -> bytes:
    """One root over the heads of all trees, by name: it binds every leaf of the ledger."""
    bodies = [
        f"{one.origin} {one.size} {one.root.hex()}".encode() for _, one in sorted(found.items())
    ]
    return root(append(Edge(), bodies))


def compared(made: Shared, slots: Mapping[str, int]) -> dict[str, str]:
    """That the shared ledger is whole, and the same as that of a collector alone; the figures."""
    single = alone(made.folder, made.agents)
    with made.ledger.reader() as store, single.reader() as other:
        ours, theirs = heads(store), heads(other)
        assert ours == theirs
        assert ledger_root(ours) == ledger_root(theirs)
        for name in ours:
            store.scrub(name)
            assert store.leaves(name) == other.leaves(name)
        account = accounted_of(store)
        assert account.total.expected == account.total.received == sum(slots.values())
        assert store.quarantined() == []
    _check_log(made, ours)
    sizes = made.rows("SELECT count(*), sum(size - first_seq)::bigint FROM joulemark.batch")
    leaves = sum(head.size for head in ours.values())
    assert sizes[0][1] == leaves
    return {
        "batches, leaves held": f"{sizes[0][0]:,}, {leaves:,}",
        "slots read, received; gaps": f"{sum(slots.values()):,}, {account.total.received:,}; 0",
        "lost, twice": "0, 0",
        "ledger root": ledger_root(ours).hex()[:16] + ", the same as of one collector alone",
    }


def _check_log(made: Shared, ours: Mapping[str, Checkpoint]) -> None:
    """The collectors' one log is whole, and its last word is the heads that are held."""
    with made.ledger.log(write=False) as log:
        log.scrub()
        last: dict[str, Checkpoint] = {}
        for position, (_, leaf) in enumerate(log.leaves(10**9)):
            for head in parse_entry(leaf, position).heads:
                known = last.get(head.origin)
                assert known is None or known.size < head.size, "a tree went back in the log"
                last[head.origin] = head
        assert last == dict(ours)


def lost(made: Shared) -> int:
    """Leaves that have a receipt and are not in the ledger: the agents have deleted them."""
    gone = 0
    with made.ledger.reader() as store:
        held = heads(store)
    for one in crowd.members(made.agents):
        oldest, head = crowd.oldest(made.folder, one), held.get(one.origin)
        if oldest is not None:
            gone += max(oldest - (head.size if head else 0), 0)
    return gone


# ------------------------------------------------------------------------ the control


class Hasty(shared.PostgresStore):
    """Several batches in one transaction, receipted before its COMMIT: what must lose batches."""

    _open_s: float | None = None
    _taken = 0

    def accept(self, batch: Accepted, *, note: str, received_us: int) -> None:
        """Keep the batch, some time."""
        if self._open_s is None:
            self._session.execute("BEGIN")
            self._open_s, self._taken = time.monotonic(), 0
        super().accept(batch, note=note, received_us=received_us)
        self._taken += 1
        if self._taken >= COMMIT_EVERY or time.monotonic() - self._open_s > COMMIT_S:
            self._session.execute("COMMIT")
            self._open_s = None


def hasty(words: Sequence[str]) -> int:
    """`joulemark`, but for the store."""
    shared.PostgresStore = Hasty  # type: ignore[misc] # in a process of its own
    return cli.main(list(words))
