"""Whole chains whose processes start in milliseconds, before a factory that answers slowly.

The factory is the product's own (`kind: devices`) over real Modbus TCP, moved in lock step, so what
it served at every slot is known: a killed agent makes no gap, and every record can be compared with
the words of its slot.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from joulemark_agent import cli
from joulemark_agent.envelope import warm
from joulemark_agent.simulate import run as factory
from joulemark_agent.simulate.encode import Registers
from joulemark_agent.simulate.scenario import DevicesScenario, load_any_scenario
from joulemark_gateway.demo.chain import DEVICES, Chain, Place
from joulemark_gateway.evidence.store import SqliteStore
from support import evidence
from support.forks import Forked, Forks, until
from support.recording import recorded

SITE = "gwangyang"
PERIOD_US = evidence.PERIOD_US
PRELOAD = (
    "joulemark_agent.service",
    "joulemark_agent.simulate.command",
    "joulemark_agent.simulate.run",
    "joulemark_gateway.app",
    "joulemark_gateway.web.server",
    "joulemark_gateway.embedded_broker",
    "support.naive_chain",
    "support.chains:ready",
)
_FACTORY = """\
scenario: endured
kind: devices
about: a meter and a counter, each {delay_s} s slow, for {slots} slots
synthetic: true
first_slot: "2017-12-31T15:00:00Z"
period_s: 900
count: {slots}
devices:
  - {{unit: 1, profile: virtual_main_meter}}
  - {{unit: 2, profile: virtual_production_counter}}
faults:
  seed: 1
  plan:
    - {{unit: 1, kind: slow, first: 0, count: 1000000000, delay_s: {delay_s}}}
    - {{unit: 2, kind: slow, first: 0, count: 1000000000, delay_s: {delay_s}}}
"""


def ready() -> None:
    """Import and compile what the processes need, before any is forked."""
    for words in (["agent"], []):
        cli._parser(words)
    site = recorded(evidence.documents())
    warm(site.profile, site.carbon)


class QuickChain(Chain):
    """A chain in one folder whose processes are forks of one that has imported everything."""

    def __init__(self, folder: Path, place: Place, forks: Forks | None) -> None:
        super().__init__(folder, (place,))
        self._forks = forks  # None: each is started as a person starts it
        self.network: str | None = None  # the namespace in which all live
        self.behind: int | None = None  # where the broker listens, if a wire stands before it

    def start(self, name: str) -> None:
        """Start one process; a fork that will say when it is ready is waited for."""
        if self._forks is None:
            super().start(name)
            return
        self.start_only(name)
        if name in {"factory", "broker"}:
            until(cast("Forked", self.processes[name]).said, f"the {name} is ready")

    def start_only(self, name: str) -> None:
        """Start one fork and wait for nothing."""
        assert self._forks is not None
        self.processes[name] = self._forks.joulemark(
            self.command(name), self.folder / "logs" / f"{name}.log", network=self.network
        )

    def command(self, name: str) -> list[str]:
        """The command line of one of the processes."""
        words = super().command(name)
        if name == "broker" and self.behind is not None:
            words[words.index("--port") + 1] = str(self.behind)
        return words

    def begin(self) -> None:
        """Start all."""
        for name in self.order:
            self.start(name)


class ForkedChain(QuickChain):
    """A meter and a counter in lock step, each of them slow to answer."""

    def __init__(self, folder: Path, forks: Forks, *, slots: int, delay_s: float) -> None:
        self.scenario, self._delay_s = folder / "factory.yaml", delay_s
        ports = ("modbus", "control", "rtu")
        name = str(self.scenario)
        place = Place(SITE, "edge-1", "site", name, DEVICES, 2 * slots, ports, batch_slots=12)
        super().__init__(folder, place, forks)
        self.end_after(slots)

    @property
    def outbox_file(self) -> Path:
        """Where the agent keeps what has no receipt."""
        return self.places[0].site_file(self.folder).parent / "state" / "outbox.db"

    def end_after(self, slots: int) -> None:
        """A factory that is started from now on ends after so many slots."""
        self.slots = slots
        self.scenario.write_text(_FACTORY.format(slots=slots, delay_s=self._delay_s), "utf-8")

    def end_soon(self) -> None:
        """Let the recording end some slots from now: a factory that starts anew needs no state.

        The agent goes first: it would sign that a factory that is gone did not answer.
        """
        for name in ("agent", "factory"):
            self.kill(name)
        self.end_after(self.slots_committed() + 50)
        for name in ("factory", "agent"):
            self.start(name)

    def slots_committed(self) -> int:
        """Up to which slot the agent has committed every device."""
        last_us = None
        with suppress(sqlite3.OperationalError):  # not made yet
            box = sqlite3.connect(f"file:{self.outbox_file}?mode=ro", uri=True)
            with closing(box):
                (last_us,) = box.execute("SELECT min(last_slot_us) FROM trees").fetchone()
        return 0 if last_us is None else (int(last_us) - evidence.START_US) // PERIOD_US + 1


@dataclass(frozen=True)
class Compared:
    """What the ledger holds, against what the factory served."""

    served: int = 0
    lost: int = 0
    twice: int = 0
    altered: int = 0
    gap_slots: int = 0

    def __add__(self, other: Compared) -> Compared:
        """Of both."""
        mine, theirs = astuple(self), astuple(other)
        return Compared(*(a + b for a, b in zip(mine, theirs, strict=True)))

    @property
    def is_whole(self) -> bool:
        """Whether every reading is there once, as it was served."""
        return not (self.lost or self.twice or self.altered or self.gap_slots)


def compared(chain: ForkedChain) -> Compared:
    """Register by register, slot by slot; and every leaf under the head that was cosigned."""
    scenario = load_any_scenario(str(chain.scenario))
    assert isinstance(scenario, DevicesScenario)
    served = factory.factory_of(scenario)
    total = Compared()
    with SqliteStore(chain.store_file, create=False) as store:
        for unit, device in enumerate(DEVICES, 1):
            name = f"joulemark/{SITE}/{device}/1"
            head = store.head(name)
            assert head is not None, f"nothing of {device} is held"
            store.scrub(name)  # leaves, roots and notes
            leaves = [json.loads(leaf) for leaf in store.leaves(name)]
            assert [leaf["seq"] for leaf in leaves] == [str(i) for i in range(head.size)]
            total += _of_device(leaves, partial(served.shown, unit), chain.slots)
    return total


def _of_device(
    leaves: Sequence[dict[str, Any]], shown: Callable[[int], Registers], slots: int
) -> Compared:
    read: Counter[int] = Counter()
    altered = gap_slots = 0
    for leaf in leaves:
        if leaf.get("type") == "gap":
            gap_slots += int(leaf["slots"])
        if "type" in leaf:
            continue
        slot = (int(leaf["slot"]) - evidence.START_US) // PERIOD_US
        read[slot] += 1
        registers = shown(slot)
        for table, address, words in leaf["raw"]:
            held = registers.read(table, address, len(words) // 4)
            altered += held is None or held.hex() != words
    strange = sum(count for slot, count in read.items() if not 0 <= slot < slots)
    twice = sum(read.values()) - len(read) + strange
    return Compared(slots, slots - len(read) + strange, twice, altered, gap_slots)
