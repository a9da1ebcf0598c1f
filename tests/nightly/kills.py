"""Agent, broker and collector are killed at random: every reading arrives, once, as it was served.

Real processes over real sockets: the product's virtual factory over Modbus TCP, its agent, its
broker (mosquitto and the embedded one in turn) and its collector with pages and series. Each is a
fork of a process that has imported everything; only the start of Python is left out. The factory
moves in lock step, so what it served at every slot is known and is compared, word by word, with
what the collector holds in the end.

The same kills hit two naive chains beside ours (`support.naive_chain`), which must lose readings.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from joulemark_gateway.demo.chain import DEVICES
from support import naive_chain
from support.accounts import accounted
from support.chains import PRELOAD, Compared, ForkedChain, compared
from support.forks import Forked, Forks, until
from support.servers import free_port

VICTIMS = ("agent", "broker", "collector")
EACH, FEW_EACH, ROUNDS = 100, 34, 10  # kills of each a round
SLOTS, DELAY_S = 60_000, 0.001  # more slots than can be read in a round
SHORTEST_S, LONGEST_S = 0.05, 0.5  # between two kills
LEAST_EACH = 50  # readings from kill to kill: 150 a second, however slow the machine
LEAST_LOST = 0.01


class Naive:
    """The naive chains beside ours: a part of them is killed when ours is."""

    def __init__(self, folder: Path, forks: Forks) -> None:
        self.folder, self._forks, self._port = folder, forks, free_port()
        self._running: dict[str, list[Forked]] = {}
        for name in ("broker", *naive_chain.KINDS):
            (folder / name).mkdir(parents=True)
        for victim in ("broker", "collector", "agent"):
            self.start(victim)

    def start(self, victim: str) -> None:
        """Start what stands for that part."""
        does = {"broker": "broker", "collector": "consume", "agent": "produce"}[victim]
        port = str(self._port)
        asked = [[kind, port, str(self.folder / kind)] for kind in naive_chain.KINDS]
        if victim == "broker":
            asked = [[port, str(self.folder / "broker")]]
        target, log = f"support.naive_chain:{does}", self.folder / "log.txt"
        self._running[victim] = [self._forks.start(target, words, log) for words in asked]

    def kill(self, victim: str) -> None:
        """SIGKILL."""
        for process in self._running[victim]:
            process.kill()
        for process in self._running[victim]:
            process.wait()

    def stop(self) -> None:
        """Those who send first, each with the time it asks for."""
        for victim in ("agent", "collector", "broker"):
            for process in self._running[victim]:
                process.terminate()
            for process in self._running[victim]:
                process.wait(30)


@dataclass
class Round:
    """What a round of kills has shown."""

    found: Compared = field(default_factory=Compared)
    device_days: int = 0  # that add up
    kills: Counter[str] = field(default_factory=Counter)
    kills_s: list[float] = field(default_factory=list)  # from one kill to the next
    moving: int = 0  # kills before which something had arrived since the last
    reading_s: float = 0.0
    drained_s: list[float] = field(default_factory=list)
    made: Counter[str] = field(default_factory=Counter)  # by the naive chains
    lost: Counter[str] = field(default_factory=Counter)

    def take(self, other: Round) -> None:
        """Add another round."""
        self.found += other.found
        self.device_days += other.device_days
        self.kills += other.kills
        self.kills_s += other.kills_s
        self.moving += other.moving
        self.reading_s += other.reading_s
        self.drained_s += other.drained_s
        self.made += other.made
        self.lost += other.lost


def disturbed(folder: Path, forks: Forks, draw: random.Random, each: int) -> Round:
    """One round: kills, then the end of the recording, then what the collector holds."""
    (folder / "ours").mkdir()
    chain = ForkedChain(folder / "ours", forks, slots=SLOTS, delay_s=DELAY_S)
    chain.prepare()
    naive = Naive(folder / "naive", forks)
    done = Round()
    try:
        chain.begin()
        until(lambda: chain.leaves_held() > 0, "the first batch is held")
        begun_s = time.monotonic()
        _kill_all(chain, naive, draw, each, done)
        done.reading_s = time.monotonic() - begun_s
        chain.end_soon()
        ended_s = time.monotonic()
        chain.wait(lambda _: None, poll_s=0.05)
        done.drained_s.append(time.monotonic() - ended_s)
        naive.stop()
    finally:
        chain.stop()
    done.found, account = compared(chain), accounted(chain.store_file)
    assert account.total.expected == account.total.received == done.found.served
    done.device_days = account.device_days
    for kind in naive_chain.KINDS:
        done.made[kind], done.lost[kind] = naive_chain.lost(folder / "naive" / kind)
    return done


def _kill_all(
    chain: ForkedChain, naive: Naive, draw: random.Random, each: int, done: Round
) -> None:
    victims = [victim for victim in VICTIMS for _ in range(each)]
    draw.shuffle(victims)
    held = 0
    for victim in victims:
        begun_s = time.monotonic()
        time.sleep(draw.uniform(SHORTEST_S, LONGEST_S))  # not to be safe, but to hit any moment
        wanted = LEAST_EACH * done.kills.total() / len(DEVICES)
        until(lambda wanted=wanted: chain.slots_committed() >= wanted, "the agent reads on")
        held, before = chain.leaves_held(), held
        done.moving += held > before
        for part in (chain, naive):
            part.kill(victim)
        chain.broker_kind = draw.choice(("mosquitto", "embedded"))
        chain.start_only(victim)
        naive.start(victim)
        done.kills[victim] += 1
        done.kills_s.append(time.monotonic() - begun_s)


def run(seed: int, *, full: bool) -> dict[str, str]:
    """Ten rounds of 100 kills each; `full=False` one of 34."""
    draw, total = random.Random(seed), Round()
    with tempfile.TemporaryDirectory(prefix="joulemark-kills-") as name, Forks(*PRELOAD) as forks:
        for number in range(ROUNDS if full else 1):
            folder = Path(name) / str(number)
            folder.mkdir()
            total.take(disturbed(folder, forks, draw, EACH if full else FEW_EACH))
    found, kills = total.found, total.kills.total()
    assert found.is_whole, found
    assert found.served >= LEAST_EACH * kills, f"only {found.served} readings under {kills} kills"
    shares = {kind: total.lost[kind] / total.made[kind] for kind in naive_chain.KINDS}
    assert shares["memory"] > LEAST_LOST, f"the control loses {shares['memory']:.2%} only"
    assert total.lost["puback"] > 0, "deleting on PUBACK loses nothing here"
    by_victim = ", ".join(f"{total.kills[victim]:,} {victim}" for victim in VICTIMS)
    return {
        "SIGKILLs": f"{kills:,} ({by_victim})",
        "readings served, per second under kills": (
            f"{found.served:,}, {found.served / total.reading_s:.0f}"
        ),
        "lost, twice, altered": f"{found.lost}, {found.twice}, {found.altered}",
        "slots of gaps; device-days on which readings + gaps = slots": (
            f"{found.gap_slots}; {total.device_days:,} of {total.device_days:,}"
        ),
        "kills after something had arrived since the last": f"{total.moving:,}",
        "from kill to kill, median": f"{statistics.median(total.kills_s):.2f} s",
        "from the last kill to the last receipt, longest": f"{max(total.drained_s):.1f} s",
        "control, queue in memory and batched commits": _said(total, "memory"),
        "control, deleting on PUBACK": _said(total, "puback"),
    }


def _said(total: Round, kind: str) -> str:
    share = total.lost[kind] / total.made[kind]
    return f"{total.lost[kind]:,} of {total.made[kind]:,} lost ({share:.1%})"
