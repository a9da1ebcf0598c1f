"""Two whole years through real sockets: the demo as a user runs it, and one under SIGKILLs."""

import random
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from joulemark_agent.contract.tree import Edge
from joulemark_gateway.demo.chain import DEVICES, Chain, steel
from joulemark_gateway.evidence.store import FILE, SqliteStore

VICTIMS = ("agent", "broker", "collector")
KILLS_EACH = 10
SEED = 20181108


@dataclass
class Run:
    """What a run left behind: its folder, the agent's summary, and the collector's evidence."""

    folder: Path
    summary: dict[str, Any]
    kills: dict[str, int] = field(default_factory=dict)
    output: str = ""
    leaves: dict[str, list[bytes]] = field(default_factory=dict)
    edges: dict[str, Edge] = field(default_factory=dict)
    documents: dict[str, bytes] = field(default_factory=dict)

    def load(self) -> "Run":
        with SqliteStore(self.folder / "collector/state" / FILE, create=False) as store:
            self.documents = store.documents()
            for head in store.heads():
                store.scrub(head.origin)
                self.leaves[head.origin] = store.leaves(head.origin)
                self.edges[head.origin] = head.edge
        return self


@pytest.fixture(scope="session")
def demo(tmp_path_factory) -> Run:
    """`joulemark demo --no-serve`, scenario `retrofit`, as a process of its own."""
    out = tmp_path_factory.mktemp("demo") / "out"
    command = [sys.executable, "-m", "joulemark_agent.cli", "demo", "--no-serve", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return Run(out / "run", {}, output=done.stdout).load()


@pytest.fixture(scope="session")
def killed_year(tmp_path_factory) -> Run:
    """Scenario `unchanged`, with 30 seeded SIGKILLs over agent, broker and collector."""
    chain = Chain(tmp_path_factory.mktemp("killed"), (steel("unchanged"),))
    chain.prepare()
    try:
        for name in chain.order:
            chain.start(name)
        kills = kill_along(chain, random.Random(SEED), KILLS_EACH)
        summary = chain.wait(lambda _: None)["gwangyang"]
    finally:
        chain.stop()
    return Run(chain.folder, summary, kills).load()


def kill_along(
    chain: Chain, chance: random.Random, each: int, last: int = 33_000
) -> dict[str, int]:
    """Kill and restart each victim so many times, at seeded places of the year."""
    victims = [name for name in VICTIMS for _ in range(each)]
    chance.shuffle(victims)
    places = sorted(chance.sample(range(300, last), len(victims)))
    done = dict.fromkeys(VICTIMS, 0)
    for place, victim in zip(places, victims, strict=True):
        wait_until(chain, place)
        kill_once(chain, victim, chance)
        done[victim] += 1
    return done


def kill_once(chain: Chain, victim: str, chance: random.Random) -> None:
    """Kill and restart one process, at any moment of its work."""
    time.sleep(chance.uniform(0, 0.1))  # not to be safe, but to hit any moment
    chain.kill(victim)
    chain.start(victim)


def wait_until(chain: Chain, leaves: int) -> None:
    while chain.slots_held() < leaves:
        assert chain.processes["agent"].poll() is None, "the agent ended before the last kill"
        time.sleep(0.05)


def origins() -> list[str]:
    return [f"joulemark/gwangyang/{device}/1" for device in DEVICES]


def agent_heads(run: Run) -> dict[str, Any]:
    """Size and root of every tree as the agent itself stated them at its end."""
    heads: dict[str, Any] = run.summary["heads"]
    return heads
