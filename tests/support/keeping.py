"""A keeper over a real outbox, with devices that are always there and a clock that a test drives.

Every tick a slot comes; it is read and committed unless the keeper says that nothing is to be read,
as the agent does. In the end every slot is a record or in a gap.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from joulemark_agent import keeper as keeping
from joulemark_agent.contract.errors import StoreError
from joulemark_agent.contract.signature import public_key
from joulemark_agent.envelope import warm
from joulemark_agent.keeper import Keeper
from joulemark_agent.mqtt import Login
from joulemark_agent.outbox import Outbox
from joulemark_agent.store_thread import StoreThread
from joulemark_agent.uplink import Collector, Uplink
from support import evidence
from support.evidence import AGENT, KEYS, METER, PERIOD_US, START_US, WITNESS
from support.recording import kept, recorded, recorder, slots_of, state
from support.tracing import wait_for_tracer

SITE = evidence.documents()
READINGS = evidence.meter_readings(SITE, [1000 + i for i in range(3000)])
MB = 1_000_000
TICK_S, RETRY_S = 0.004, 0.05
TICKS = 20  # of a run under tampered system calls


@dataclass
class Plant:
    """What reads, and how far it has come."""

    box: Outbox
    keeper: Keeper
    slot: int = 0  # that has come last
    promised: list[int] = field(default_factory=list)  # slots whose commit returned

    async def tick(self) -> None:
        """Let a slot come, and read it unless nothing is to be read."""
        self.slot += 1
        if not self.keeper.is_stopped:
            await self.keeper.commit([READINGS[self.slot]])
            self.promised.append(self.slot)

    async def until(self, condition: str, ticks: int = 2000) -> int:
        """Tick until the keeper is 'stopped' or 'reading'; how many ticks that took."""
        for count in range(ticks):
            if self.keeper.is_stopped == (condition == "stopped"):
                return count
            await asyncio.sleep(TICK_S)
            await self.tick()
        raise AssertionError(f"not {condition} after {ticks} ticks")


@contextmanager
def plant(folder: Path, quota_mb: float = 2000.0, *, slots: int = 3) -> Iterator[Plant]:
    """A plant whose outbox is in this folder; it goes on where the outbox ends."""
    keeping.RETRY_S = RETRY_S
    store = StoreThread()
    with closing(Outbox(state(folder))) as box:
        writer = recorder(box, recorded(SITE), slots=slots)
        collector = Collector(evidence.SITE, AGENT, WITNESS, public_key(KEYS.witness))
        uplink = Uplink(Login("mqtt://192.0.2.1", AGENT), collector, box, store=store)
        found = Plant(
            box,
            Keeper(
                writer,
                box,
                uplink,
                store,
                folder=state(folder).parent,
                quota_bytes=int(quota_mb * MB),
                now_us=lambda: START_US + found.slot * PERIOD_US,
                is_replay=False,
            ),
            slot=writer.summary()[METER]["slots"] - 1,
        )
        try:
            yield found
        finally:
            store.close()


@dataclass
class Account:
    """What an outbox holds of the slots up to the last that came."""

    records: list[int]
    gaps: Counter[str]  # slots by cause
    missing: list[int]  # neither one nor the other

    @property
    def slots(self) -> int:
        """How many are accounted for."""
        return len(self.records) + self.gaps.total()


def account(box: Outbox) -> Account:
    """Read every leaf that waits and count the slots."""
    contents = kept(box).contents
    slots = [(at_us - START_US) // PERIOD_US for at_us in slots_of(contents, PERIOD_US)]
    assert len(slots) == len(set(slots)), "a slot stands there twice"
    gaps: Counter[str] = Counter()
    for leaf in contents:
        if leaf.get("type") == "gap":
            gaps[leaf["cause"]] += int(leaf["slots"])
    records = [(int(leaf["slot"]) - START_US) // PERIOD_US for leaf in contents if "raw" in leaf]
    return Account(records, gaps, sorted(set(range(max(slots) + 1)) - set(slots)))


# -------------------------------------------------------- in a process of its own


async def _opened(folder: Path, stack: ExitStack) -> Plant:
    """Try until the disk lets it, as the agent does at its start."""
    while True:
        try:
            return stack.enter_context(plant(folder))
        except StoreError as error:
            if error.code not in {"disk_full", "io_error"}:
                raise
            await asyncio.sleep(RETRY_S)


class _Untampered(io.TextIOBase):
    """Standard error by a call that no test tampers with."""

    def write(self, text: str) -> int:
        os.writev(2, [text.encode()])
        return len(text)


def prepare() -> None:
    """Whatever takes long."""
    warm(recorded(SITE).profile, recorded(SITE).carbon)


def run(words: Sequence[str]) -> None:
    """Tick in the folder that is named, and say which slots were promised."""
    (name,) = words
    sys.stderr = _Untampered()
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s %(what)s", defaults={"what": ""}))
    logging.basicConfig(handlers=[handler])
    wait_for_tracer()
    asyncio.run(_run(Path(name)))


async def _run(folder: Path) -> None:
    with ExitStack() as stack:
        found = await _opened(folder, stack)
        care = asyncio.create_task(found.keeper.care())
        for _ in range(TICKS):
            await asyncio.sleep(TICK_S)
            await found.tick()
            assert not care.done(), care.result()
        async with asyncio.timeout(20):
            await found.until("reading")
            await found.tick()
        care.cancel()
        await asyncio.gather(care, return_exceptions=True)
        await found.keeper.finish([])
        said = {"promised": found.promised, "last": found.slot}
        os.writev(1, [json.dumps(said).encode() + b"\n"])
