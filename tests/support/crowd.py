"""Many agents in one process: each with a real outbox, recorder, uplink and MQTT connection.

What they send is written down as it is signed, so that a collector that is alone can be fed the
same batches afterwards. Only the readings are made up: there is no machine behind them.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from joulemark_agent.answers import Collector
from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.document import document_bytes
from joulemark_agent.contract.factor import FactorSet
from joulemark_agent.contract.profile import Profile
from joulemark_agent.contract.reading import Gap, Reading, grant, signed_grant
from joulemark_agent.contract.signature import encode64, public_key
from joulemark_agent.contract.topics import batch_topic, origin
from joulemark_agent.envelope import Carbon, warm
from joulemark_agent.keys import Key
from joulemark_agent.mqtt import Login
from joulemark_agent.outbox import Outbox, Sealed
from joulemark_agent.recorded import Limits, Recorded, Wall
from joulemark_agent.recorder import Recorder
from joulemark_agent.store_thread import StoreThread
from joulemark_agent.streams import Timing
from joulemark_agent.uplink import Uplink
from support import evidence
from support.evidence import KEYS, METER, PERIOD_US, SITE, START_US, WITNESS, Documents
from support.recording import SOFTWARE

SLOTS = 4  # of a batch
STOP, SENT, STATES = "stop", "sent.jsonl", "outboxes"


@dataclass(frozen=True)
class Member:
    """One agent of the crowd and its meter."""

    number: int

    @property
    def agent(self) -> str:
        """Its id."""
        return f"edge-{self.number:02}"

    @property
    def device(self) -> str:
        """The id of what it reads."""
        return f"meter-{self.number:02}"

    @property
    def origin(self) -> str:
        """The name of its tree."""
        return origin(SITE, self.device, 1)

    @cached_property
    def key(self) -> Key:
        """Its evidence key."""
        private = hashlib.sha256(self.agent.encode()).digest()
        return Key(private, public_key(private))

    @cached_property
    def documents(self) -> Documents:
        """What an operator approved for it."""
        base = evidence.documents()
        site = parse_canonical(base.site)
        row = next(row for row in site["devices"] if row["id"] == METER)
        site |= {"agent": self.agent, "devices": [{**row, "id": self.device}]}
        profiles = {self.device: base.profiles[METER]}
        return Documents(profiles, document_bytes(site), base.factors)

    @property
    def listed(self) -> str:
        """Its row in a collector's file."""
        key = encode64(self.key.public)
        return (
            f"  - {{agent: {self.agent}, site: {SITE}, key: {key!r}, devices: [{self.device}]}}\n"
        )

    def recorded(self) -> Recorded:
        """What its recorder knows of its meter."""
        site = self.documents
        content = grant(
            site=SITE,
            device=self.device,
            epoch=1,
            clock=site.clock,
            agent=self.agent,
            agent_key=self.key.public,
            first_slot_us=site.first_slot_us,
            documents=site.of(self.device),
        )
        return Recorded(
            profile=site.profile(self.device),
            period_us=PERIOD_US,
            grant=signed_grant(content, KEYS.operator),
            documents={
                "profile": site.profiles[self.device],
                "site": site.site,
                "factors": site.factors,
            },
            carbon=Carbon(
                FactorSet.model_validate(parse_canonical(site.factors)),
                "ESG",
                "KR",
                ZoneInfo("Asia/Seoul"),
            ),
        )

    def readings(self, first: int, count: int) -> list[Reading | Gap]:
        """What its meter answered at these slots."""
        profile = _profile()
        return [
            evidence.reading(
                profile,
                self.device,
                START_US + slot * PERIOD_US,
                {
                    "energy_wh": slot * (1000 + self.number),
                    "power_w": 4 * (1000 + self.number),
                    "power_factor_ratio": 1,
                    "reactive_lagging_varh": slot,
                    "reactive_leading_varh": 0,
                },
            )
            for slot in range(first, first + count)
        ]


@cache
def _profile() -> Profile:
    return evidence.documents().profile(METER)


def members(count: int) -> list[Member]:
    """So many agents."""
    return [Member(number) for number in range(count)]


def ready() -> None:
    """Compile what recorders need, before any fork."""
    one = Member(0).recorded()
    warm(one.profile, one.carbon)


class Running:
    """One member at work."""

    def __init__(self, member: Member, folder: Path, url: str) -> None:
        self.member, self.slots = member, 0
        self.store = StoreThread()
        self.box = Outbox(folder / STATES / member.agent / "outbox.db")
        wall_us = iter(range(evidence.SEALED_US, 2**60, 2_000_000))
        wall = Wall(partial(next, wall_us), lambda: 100_000_000_000)
        self.recorder = Recorder(
            self.box, member.key, [member.recorded()],
            limits=Limits(SLOTS, 1e9), software=SOFTWARE, observe=None, wall=wall,
        )  # fmt: skip
        collector = Collector(SITE, member.agent, WITNESS, public_key(KEYS.witness))
        login = Login(url, f"joulemark-{member.agent}")
        timing = Timing(receipt_s=3.0, retry_s=0.1, longest_retry_s=1.0, refused_s=1.0)
        self.uplink = Uplink(login, collector, self.box, timing, store=self.store)

    @property
    def first(self) -> Sealed | None:
        """The batch that was closed when the recorder began."""
        return self.box.next_batch(self.member.device, 1, 0)

    async def read(self) -> list[Sealed]:
        """One more batch, committed and offered."""
        found = self.member.readings(self.slots, SLOTS)
        batches = await self.store.run(partial(self.recorder.commit, found))
        self.slots += SLOTS
        self.uplink.offer(batches)
        return batches

    async def close(self) -> None:
        await self.uplink.close()
        self.store.close()
        self.box.close()


def run(words: Sequence[str]) -> None:
    """Be the crowd until told to stop, then send the rest: FOLDER URL COUNT PAUSE_S."""
    folder, url, count, pause_s = Path(words[0]), words[1], int(words[2]), float(words[3])
    asyncio.run(_run(folder, url, count, pause_s, drains=len(words) < 5))


async def _run(folder: Path, url: str, count: int, pause_s: float, *, drains: bool) -> None:
    crowd = [Running(member, folder, url) for member in members(count)]
    with (folder / SENT).open("w") as sent:

        def note(one: Running, batch: Sealed) -> None:
            data = base64.b64encode(batch.payload).decode()
            sent.write(json.dumps([one.member.number, data]) + "\n")

        for one in crowd:
            if (first := one.first) is not None:
                note(one, first)
        for one in crowd:
            one.uplink.start()
        while not (folder / STOP).exists():
            for one in crowd:
                for batch in await one.read():
                    note(one, batch)
                await asyncio.sleep(pause_s / count)
    if drains:
        for one in crowd:
            await one.uplink.wait_drained()
    for one in crowd:
        await one.close()
    sys.stdout.write(json.dumps({one.member.origin: one.slots for one in crowd}))


def sent(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Topic and payload of every batch that was signed, in order."""
    for line in (folder / SENT).read_text().splitlines():
        number, data = json.loads(line)
        member = Member(number)
        yield batch_topic(member.agent, member.device), base64.b64decode(data)


def oldest(folder: Path, member: Member) -> int | None:
    """The first leaf that a member still keeps for want of a receipt; None: it keeps nothing."""
    with contextlib.closing(Outbox(folder / STATES / member.agent / "outbox.db")) as box:
        batch = box.next_batch(member.device, 1, 0)
    return None if batch is None else batch.first_seq


def collector_file(count: int, **sections: Any) -> str:
    """A collector's file that knows the crowd; sections are added as JSON, which is YAML."""
    rows = "".join(member.listed for member in members(count))
    operator = encode64(public_key(KEYS.operator))
    lines = [f"{name}: {json.dumps(value)}\n" for name, value in sections.items()]
    return (
        f"accept_simulated: true\noperators: [{operator!r}]\npages: null\n"
        f"agents:\n{rows}{''.join(lines)}"
    )
